"""Glob patterns by the stock server's rules: `*`, `?`, `[abc]`, `[^abc]`, `[a-z]`, and `\\` to take a letter literally.

A pattern becomes a regular expression, so that KEYS spends 0.3 us on a key, not several. Each `*` but the last is an
atomic group that ends at the first place where the text up to the next `*` fits; earlier stars are never reconsidered,
which is all a glob needs. So matching takes O(pattern * text) at worst, and no pattern that a client sends can stall
the loop. As compiling thousands of groups takes seconds, a pattern with very many stars is matched piece by piece
instead.

Corner cases follow stock: an unclosed `[` closes at the end of the pattern, `[]` fits nothing and `[^]` anything, a
trailing `\\` is a backslash, ranges may be written backwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from node.compat import COMPAT

_STAR, _ANY, _OPEN, _CLOSE, _ESCAPE, _NOT, _DASH = b"*?[]\\^-"
_CAPITALS: Final = frozenset(range(0x41, 0x5B))
#: More stars than this are not put into one expression.
_MANY_STARS: Final = 64
#: So many stars, but for one at the end, fit nothing since 7.2: stock then gives up, for it calls itself at each.
_TOO_MANY_STARS: Final = 1000


class Glob:
    """A compiled pattern. `fits(text)` is truthy when the whole of `text` fits: the quick form of `match`.

    `literal` is the only text that fits, None when there are others.
    """

    __slots__ = ("fits", "literal")

    def __init__(self, pattern: bytes, ignore_case: bool = False) -> None:
        pieces, literal = _translate(pattern, ignore_case)
        flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
        self.literal = None if ignore_case else literal
        self.fits: Callable[[bytes], object]
        if pattern and not pattern.strip(b"*"):
            self.fits = bool  # as stock has it, even these fit no empty text
            return
        if COMPAT.newer and len(pieces) - (2 if not pieces[-1] else 1) > _TOO_MANY_STARS:
            self.fits = _fits_nothing
            return
        if len(pieces) > _MANY_STARS:
            self.fits = _Walk(pieces, flags).fits
            return
        source = pieces[0]
        if len(pieces) > 1:
            source += b"".join(b"(?>.*?%b)" % piece for piece in pieces[1:-1]) + b".*" + pieces[-1]
        self.fits = re.compile(source, flags).fullmatch

    def match(self, text: bytes) -> bool:
        """True when the whole of `text` fits."""
        return bool(self.fits(text))


def _fits_nothing(text: bytes) -> bool:
    return False


class _Walk:
    """The pieces between many stars, found one behind the other."""

    def __init__(self, pieces: list[bytes], flags: int) -> None:
        self._first, *self._inner = (re.compile(piece, flags) for piece in pieces[:-1])
        #: The last piece may start anywhere behind the others, but must reach the end.
        self._last = re.compile(b".*" + pieces[-1], flags)

    def fits(self, text: bytes) -> bool:
        """True when the whole of `text` fits."""
        found = self._first.match(text)
        for piece in self._inner:
            if found is None:
                return False
            found = piece.search(text, found.end())
        return found is not None and self._last.fullmatch(text, found.end()) is not None


def _translate(pattern: bytes, ignore_case: bool) -> tuple[list[bytes], bytes | None]:
    """(expressions for the pieces between the stars, the text of a pattern that is just that)."""
    pieces: list[bytearray] = [bytearray()]
    literal: bytearray | None = bytearray()
    pos, end = 0, len(pattern)
    while pos < end:
        char = pattern[pos]
        pos += 1
        if char == _STAR:
            literal = None
            if pieces[-1] or len(pieces) == 1:  # else a star stands before this one
                pieces.append(bytearray())
        elif char == _ANY:
            literal = None
            pieces[-1] += b"."
        elif char == _OPEN:
            literal = None
            text, pos = _bracket(pattern, pos, ignore_case)
            pieces[-1] += text
        else:
            if char == _ESCAPE and pos < end:
                char = pattern[pos]
                pos += 1
            pieces[-1] += b"\\x%02x" % char
            if literal is not None:
                literal.append(char)
    return [bytes(piece) for piece in pieces], None if literal is None else bytes(literal)


def _bracket(pattern: bytes, pos: int, ignore_case: bool) -> tuple[bytes, int]:
    """The expression for the set that starts at `pos`, behind its `[`, and the position behind it."""
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
    if not admitted:
        return b"." if negated else b"(?!)", pos
    listed = b"".join(b"\\x%02x" % char for char in sorted(admitted))
    return b"[%b%b]" % (b"^" if negated else b"", listed), pos


@lru_cache(maxsize=1024)
def compile_glob(pattern: bytes, ignore_case: bool = False) -> Glob:
    """The compiled form of `pattern`, cached."""
    return Glob(pattern, ignore_case)


def match(pattern: bytes, text: bytes, ignore_case: bool = False) -> bool:
    """True when the whole of `text` fits `pattern`."""
    return compile_glob(pattern, ignore_case).match(text)
