"""What strings are worth knowing beyond their bytes.

A string value is `bytes`, or a `bytearray` once a command edited it in place; nothing wraps it. Stock keeps strings in
three encodings and OBJECT ENCODING tells them apart; here the answer follows from the value.
"""

from __future__ import annotations

from typing import Final

from slotmesh.cluster.numbers import to_int64

#: The longest string that stock stores in one piece with its header.
EMBSTR_MAX: Final = 44


def string_encoding(value: bytes | bytearray) -> bytes:
    """The word of OBJECT ENCODING: `int` for a canonical int64, `embstr` up to 44 bytes, else `raw`.

    A value that was edited in place stays `raw`, as in stock. One difference remains: the result of INCRBYFLOAT is an
    `embstr` in stock even when it is a whole number, which here is an `int` (as it is in stock after a restart).
    """
    if type(value) is bytearray:
        return b"raw"
    if to_int64(value) is not None:
        return b"int"
    return b"embstr" if len(value) <= EMBSTR_MAX else b"raw"


def clamp_range(start: int, end: int, length: int) -> tuple[int, int]:
    """The half-open (begin, stop) that inclusive, possibly negative indexes mean in a string of `length`.

    begin >= stop when nothing is selected.
    """
    if start < 0 and end < 0 and start > end:
        return 0, 0
    if start < 0:
        start = max(0, start + length)
    if end < 0:
        end = max(0, end + length)
    if end >= length:
        end = length - 1
    return start, end + 1
