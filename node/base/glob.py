"""Glob patterns by the stock server's rules: `*`, `?`, `[abc]`, `[^abc]`, `[a-z]`, and `\\` to take a letter literally.

There are three forms, because patterns come from anybody and may have any length:

- A pattern without anything special is a text to compare with.
- A short pattern becomes a regular expression, so that KEYS spends 0.3 us on a key, not several. Each `*` but the
  last is an atomic group that ends at the first place where the text up to the next `*` fits; earlier stars are never
  reconsidered, which is all a glob needs. So matching takes O(pattern * text) at worst, as in stock.
- A long one is walked over, text by text, as stock does it: compiling a megabyte would take seconds and hundreds of
  megabytes, and most texts end after a few letters. Only its least length is computed.

What was made of short patterns is kept, up to a number of bytes.

Corner cases follow stock: an unclosed `[` closes at the end of the pattern, `[]` fits nothing and `[^]` anything, a
trailing `\\` is a backslash, ranges may be written backwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from slotmesh.node.base.compat import COMPAT

_STAR, _ANY, _OPEN, _CLOSE, _ESCAPE, _NOT, _DASH = b"*?[]\\^-"
_CAPITALS: Final = frozenset(range(0x41, 0x5B))
#: Longer patterns, and those with more stars, are not put into an expression.
_LONG: Final = 1024
_MANY_STARS: Final = 64
#: So many stars, but for one at the end, fit nothing since 7.2: stock then gives up, for it calls itself at each.
_TOO_MANY_STARS: Final = 1000
#: A letter behind a backslash, or a set: what fits exactly one letter, and may hold stars that are none.
_UNIT: Final = re.compile(rb"\\.|(\[)\^?(?>\\.|[^\]]-.|[^\]])*+\]?", re.DOTALL)
_PLAIN_LETTERS: Final = re.compile(rb"[^*?\[\\]+")
_ANY_LETTERS: Final = re.compile(rb"\?+")
_STARS: Final = re.compile(rb"\*+")


class Glob:
    """A pattern in the form that fits it. `fits(text)` is truthy when all of `text` fits: the quick form of `match`.

    `literal` is the only text that fits, None when there are others.
    """

    __slots__ = ("fits", "literal")

    def __init__(self, pattern: bytes, ignore_case: bool = False) -> None:
        units = _UNIT.sub(rb"\1x", pattern)  # where `[` still marks a set
        stars = len(_STARS.findall(units))
        literal = None if stars or _ANY in units or _OPEN in units else _unescaped(pattern)
        self.literal = None if ignore_case else literal
        self.fits: Callable[[bytes], object]
        if literal is not None:
            self.fits = _Folded(literal).fits if ignore_case else literal.__eq__
        elif not pattern.strip(b"*"):
            self.fits = bool  # as stock has it, even these fit no empty text
        elif COMPAT.newer and stars - units.endswith(b"*") > _TOO_MANY_STARS:
            self.fits = _fits_nothing
        elif len(pattern) > _LONG or stars > _MANY_STARS:
            self.fits = _Walk(pattern, ignore_case, len(units.translate(None, b"*["))).fits
        else:
            self.fits = _expression(pattern, ignore_case).fullmatch

    def match(self, text: bytes) -> bool:
        """True when the whole of `text` fits."""
        return bool(self.fits(text))


def _unescaped(pattern: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", pattern, flags=re.DOTALL) if b"\\" in pattern else pattern


def _fits_nothing(text: bytes) -> bool:
    return False


class _Folded:
    """A text to compare with whatever the case."""

    __slots__ = ("_literal",)

    def __init__(self, literal: bytes) -> None:
        self._literal = literal.lower()

    def fits(self, text: bytes) -> bool:
        """True when `text` is the same but for the case."""
        return text.lower() == self._literal


class _Walk:
    """A pattern as it is. Runs of plain letters are compared and searched for at once, all else letter by letter."""

    __slots__ = ("_fold", "_least", "_pattern")

    def __init__(self, pattern: bytes, ignore_case: bool, least: int) -> None:
        """`least` is the length of the shortest text that fits."""
        self._pattern = pattern
        self._fold = ignore_case
        self._least = least

    def fits(self, text: bytes) -> bool:
        """True when the whole of `text` fits."""
        if len(text) < self._least or not text:
            return False
        pattern, end, size = self._pattern, len(self._pattern), len(text)
        if self._fold:
            text = text.lower()
        at = place = 0
        star = -1  # the place behind the last star that was met, and where in the text its piece begins
        begin = 0
        while True:
            if at < end and pattern[at] == _STAR:
                at = star = self._stars_end(at)
                if at == end:
                    return True
                begin = place = self._candidate(text, star, place)
                if place < 0:
                    return False
                continue
            if at == end:
                if place == size:
                    return True
                if star < 0:
                    return False
                # The last piece always takes as many letters, so it can only lie at the end.
                begin = max(begin, size - (place - begin) - 1)
            else:
                step, letters = self._step(text, at, place)
                if letters > 0:
                    at, place = step, place + letters
                    continue
                if star < 0 or letters < 0:  # what is left of the text is too short, wherever the piece begins
                    return False
            begin = place = self._candidate(text, star, begin + 1)
            if place < 0:
                return False
            at = star

    def _stars_end(self, at: int) -> int:
        stars = _STARS.match(self._pattern, at)
        assert stars is not None
        return stars.end()

    def _plain(self, at: int) -> tuple[bytes, int] | None:
        """The run of plain letters at `at`, and the place behind it."""
        run = _PLAIN_LETTERS.match(self._pattern, at)
        if run is None:
            return None
        return (run[0].lower() if self._fold else run[0]), run.end()

    def _candidate(self, text: bytes, star: int, place: int) -> int:
        """The first place from `place` on where the piece behind a star may begin, or -1."""
        run = self._plain(star)
        if run is not None:
            return text.find(run[0], place)
        return place if place <= len(text) else -1

    def _step(self, text: bytes, at: int, place: int) -> tuple[int, int]:
        """(where the pattern goes on, how many letters fit what stands at `at`): 0 for none, -1 if they are too few."""
        pattern, left = self._pattern, len(text) - place
        char = pattern[at]
        if char == _ANY:
            run = _ANY_LETTERS.match(pattern, at)
            assert run is not None
            count = run.end() - at
            return run.end(), count if count <= left else -1
        if not left:
            return at, -1
        if char == _OPEN:
            negated, admitted, behind = _set_at(pattern, at + 1, self._fold)
            return behind, 1 if (text[place] in admitted) != negated else 0
        if char == _ESCAPE:
            behind = min(at + 2, len(pattern))
            letter = pattern[behind - 1 : behind]
            return behind, 1 if text.startswith(letter.lower() if self._fold else letter, place) else 0
        plain = self._plain(at)
        assert plain is not None
        if len(plain[0]) > left:
            return at, -1
        return plain[1], len(plain[0]) if text.startswith(plain[0], place) else 0


def _expression(pattern: bytes, ignore_case: bool) -> re.Pattern[bytes]:
    """A pattern as a regular expression."""
    pieces = _translate(pattern, ignore_case)
    source = pieces[0]
    if len(pieces) > 1:
        source += b"".join(b"(?>.*?%b)" % piece for piece in pieces[1:-1]) + b".*" + pieces[-1]
    return re.compile(source, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def _translate(pattern: bytes, ignore_case: bool) -> list[bytes]:
    """Expressions for the pieces between the stars."""
    pieces: list[bytearray] = [bytearray()]
    pos, end = 0, len(pattern)
    while pos < end:
        char = pattern[pos]
        pos += 1
        if char == _STAR:
            if pieces[-1] or len(pieces) == 1:  # else a star stands before this one
                pieces.append(bytearray())
        elif char == _ANY:
            pieces[-1] += b"."
        elif char == _OPEN:
            text, pos = _bracket(pattern, pos, ignore_case)
            pieces[-1] += text
        else:
            if char == _ESCAPE and pos < end:
                char = pattern[pos]
                pos += 1
            pieces[-1] += b"\\x%02x" % char
    return [bytes(piece) for piece in pieces]


def _bracket(pattern: bytes, pos: int, ignore_case: bool) -> tuple[bytes, int]:
    """The expression for the set that starts at `pos`, behind its `[`, and the position behind it."""
    negated, admitted, pos = _set_at(pattern, pos, ignore_case)
    if not admitted:
        return b"." if negated else b"(?!)", pos
    listed = b"".join(b"\\x%02x" % char for char in sorted(admitted))
    return b"[%b%b]" % (b"^" if negated else b"", listed), pos


def _set_at(pattern: bytes, pos: int, ignore_case: bool) -> tuple[bool, set[int], int]:
    """The set that starts at `pos`, behind its `[`: (whether it is negated, its letters, the position behind it)."""
    end = len(pattern)
    negated = pos < end and pattern[pos] == _NOT
    pos += negated
    admitted: set[int] = set()
    while pos < end and pattern[pos] != _CLOSE:
        if pattern[pos] == _ESCAPE and pos + 1 < end:
            admitted.add(pattern[pos + 1])
            pos += 2
        elif pos + 2 < end and pattern[pos + 1] == _DASH:
            low, high = sorted((pattern[pos], pattern[pos + 2]))
            if ignore_case:  # behind the sorting, as in stock: a range across the cases may come out empty
                low, high = bytes((low, high)).lower()
            admitted.update(range(low, high + 1))
            pos += 3
        else:
            admitted.add(pattern[pos])
            pos += 1
    pos = min(pos + 1, end)
    if ignore_case:
        admitted = set(bytes(admitted).lower()) - _CAPITALS | (admitted - _CAPITALS)
    return negated, admitted, pos


class _Cache:
    """Patterns that were used before, in the forms that were made of them. The oldest go when they get too many.

    An expression takes some 50 bytes a letter, and long patterns are not kept: a few megabytes at most.
    """

    def __init__(self, letters: int) -> None:
        self._room = letters
        self._globs: dict[tuple[bytes, bool], Glob] = {}

    def get(self, pattern: bytes, ignore_case: bool = False) -> Glob:
        """The form of `pattern`, made anew or as it was."""
        wanted = pattern, ignore_case
        glob = self._globs.get(wanted)
        if glob is None:
            glob = Glob(pattern, ignore_case)
            if len(pattern) <= _LONG:
                self._room -= len(pattern) + _OVERHEAD
                self._globs[wanted] = glob
                while self._room < 0:
                    oldest = next(iter(self._globs))
                    del self._globs[oldest]
                    self._room += len(oldest[0]) + _OVERHEAD
        return glob


#: What an entry costs beside its letters, in letters.
_OVERHEAD: Final = 16
compile_glob: Final = _Cache(letters=1 << 16).get


def match(pattern: bytes, text: bytes, ignore_case: bool = False) -> bool:
    """True when the whole of `text` fits `pattern`."""
    return compile_glob(pattern, ignore_case).match(text)
