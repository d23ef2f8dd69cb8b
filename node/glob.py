"""Glob patterns by the stock server's rules: `*`, `?`, `[abc]`, `[^abc]`, `[a-z]`, and `\\` to take a letter literally.

A pattern is compiled once into literals, single-byte sets and stars, and cached. Matching looks for the pieces between
stars from left to right and never reconsiders an earlier star, so it takes O(pattern * text) at worst: no pattern that
a client sends can stall the loop. Corner cases follow stock: an unclosed `[` closes at the end of the pattern, a
trailing `\\` is a backslash, ranges may be written backwards.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_STAR, _ANY, _OPEN, _CLOSE, _ESCAPE, _NOT, _DASH = b"*?[]\\^-"
_ALL: Final = frozenset(range(256))
#: One piece between stars: the set of bytes that each position admits, or the bytes themselves when all are literal.
Piece = bytes | tuple[frozenset[int], ...]


class Glob:
    """A compiled pattern."""

    __slots__ = ("_exact", "_ignore_case", "_pieces")

    def __init__(self, pattern: bytes, ignore_case: bool = False) -> None:
        self._ignore_case = ignore_case
        pieces = _compile(pattern.lower() if ignore_case else pattern, ignore_case)
        self._pieces = pieces
        self._exact = pieces[0] if len(pieces) == 1 and isinstance(pieces[0], bytes) else None

    def match(self, text: bytes) -> bool:
        """True when the whole of `text` fits."""
        if self._ignore_case:
            text = text.lower()
        if self._exact is not None:
            return text == self._exact
        pieces = self._pieces
        first = pieces[0]
        if not _fits(first, text, 0) or (len(pieces) == 1 and len(text) != len(first)):
            return False
        if len(pieces) == 1:
            return True
        pos, last = len(first), pieces[-1]
        end = len(text) - len(last)
        if end < pos or not _fits(last, text, end):
            return False
        for piece in pieces[1:-1]:
            found = _search(piece, text, pos, end)
            if found < 0:
                return False
            pos = found + len(piece)
        return True


def _fits(piece: Piece, text: bytes, pos: int) -> bool:
    if isinstance(piece, bytes):
        return text.startswith(piece, pos)
    if pos + len(piece) > len(text):
        return False
    return all(text[pos + i] in admitted for i, admitted in enumerate(piece))


def _search(piece: Piece, text: bytes, pos: int, end: int) -> int:
    """First place of `piece` in text[pos:end], or -1."""
    if isinstance(piece, bytes):
        return text.find(piece, pos, end)
    for at in range(pos, end - len(piece) + 1):
        if _fits(piece, text, at):
            return at
    return -1


def _compile(pattern: bytes, ignore_case: bool) -> list[Piece]:
    """The pieces between the stars; a pattern without a star is one piece."""
    pieces: list[Piece] = []
    piece: list[frozenset[int]] = []
    pos, end = 0, len(pattern)
    while pos < end:
        char = pattern[pos]
        pos += 1
        if char == _STAR:
            pieces.append(_simplify(piece))
            piece = []
            while pos < end and pattern[pos] == _STAR:
                pos += 1
        elif char == _ANY:
            piece.append(_ALL)
        elif char == _OPEN:
            admitted, pos = _bracket(pattern, pos, ignore_case)
            piece.append(admitted)
        else:
            if char == _ESCAPE and pos < end:
                char = pattern[pos]
                pos += 1
            piece.append(frozenset((char,)))
    pieces.append(_simplify(piece))
    return pieces


def _bracket(pattern: bytes, pos: int, ignore_case: bool) -> tuple[frozenset[int], int]:
    """The set that starts at `pos`, behind its `[`, and the position behind it."""
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
            admitted.update(range(low, high + 1))
            pos += 3
        else:
            admitted.add(pattern[pos])
            pos += 1
    if ignore_case:
        admitted |= set(bytes(admitted).lower())
    return (_ALL - admitted if negated else frozenset(admitted)), min(pos + 1, end)


def _simplify(piece: list[frozenset[int]]) -> Piece:
    if all(len(admitted) == 1 for admitted in piece):
        return bytes(next(iter(admitted)) for admitted in piece)
    return tuple(piece)


@lru_cache(maxsize=1024)
def compile_glob(pattern: bytes, ignore_case: bool = False) -> Glob:
    """The compiled form of `pattern`, cached."""
    return Glob(pattern, ignore_case)


def match(pattern: bytes, text: bytes, ignore_case: bool = False) -> bool:
    """True when the whole of `text` fits `pattern`."""
    return compile_glob(pattern, ignore_case).match(text)
