"""The other flat encodings: intsets (still written) and the ziplists and zipmaps of older servers (only read).

Sources of the layouts: the comments at the head of stock's `intset.c`, `ziplist.c` and `zipmap.c`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import pairwise
from sys import byteorder
from typing import Final

from slotmesh.node.persistence.errors import FormatError

_TYPE_CODES: Final = {2: "h", 4: "i", 8: "q"}


def encode_intset(members: Iterable[int]) -> bytes:
    """An intset: element width (2, 4 or 8) and count as u32le, then the sorted integers."""
    numbers = sorted(members)
    width = 2
    if numbers:
        low, high = numbers[0], numbers[-1]
        width = next(w for w in (2, 4, 8) if -(1 << w * 8 - 1) <= low and high < 1 << w * 8 - 1)
    packed = array(_TYPE_CODES[width], numbers)
    if byteorder == "big":
        packed.byteswap()
    return b"%b%b%b" % (width.to_bytes(4, "little"), len(numbers).to_bytes(4, "little"), packed.tobytes())


def decode_intset(data: bytes) -> list[int]:
    """The members of an intset. Raises FormatError when size, width or order are wrong."""
    width, count = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
    if width not in _TYPE_CODES or len(data) != 8 + width * count:
        raise FormatError("intset integrity check failed: wrong frame")
    numbers = array(_TYPE_CODES[width])
    numbers.frombytes(data[8:])
    if byteorder == "big":
        numbers.byteswap()
    found = numbers.tolist()
    if any(a >= b for a, b in pairwise(found)):
        raise FormatError("intset integrity check failed: out of order")
    return found


_ZIPLIST_INTS: Final = {0xC0: 2, 0xD0: 4, 0xE0: 8, 0xF0: 3, 0xFE: 1}


def decode_ziplist(data: bytes) -> list[bytes]:
    """The elements of a ziplist. Raises FormatError when the bytes are not exactly one sound ziplist."""
    end = len(data) - 1
    if end < 10 or data[end] != 0xFF or int.from_bytes(data[:4], "little") != len(data):
        raise FormatError("ziplist integrity check failed: wrong frame")
    found: list[bytes] = []
    start = pos = 10
    previous_size = 0
    try:
        while pos < end:
            start = pos
            if data[pos] < 254:
                claimed, pos = data[pos], pos + 1
            else:
                claimed, pos = int.from_bytes(data[pos + 1 : pos + 5], "little"), pos + 5
            if claimed != previous_size:
                raise FormatError("ziplist integrity check failed: wrong length")
            element, pos = _ziplist_value(data, pos)
            if pos > end:
                raise FormatError("ziplist integrity check failed: past its end")
            found.append(element)
            previous_size = pos - start
    except (IndexError, KeyError):
        raise FormatError("ziplist integrity check failed: bad entry") from None
    if found and int.from_bytes(data[4:8], "little") != start:
        raise FormatError("ziplist integrity check failed: the last entry is elsewhere")
    count = int.from_bytes(data[8:10], "little")
    if count not in (0xFFFF, len(found)):
        raise FormatError("ziplist integrity check failed: wrong count")
    return found


def _ziplist_value(data: bytes, pos: int) -> tuple[bytes, int]:
    """The value whose encoding byte is at `pos`, and the position behind it."""
    first = data[pos]
    if first < 0xC0:
        if first < 0x40:
            size, pos = first, pos + 1
        elif first < 0x80:
            size, pos = (first & 0x3F) << 8 | data[pos + 1], pos + 2
        else:
            size, pos = int.from_bytes(data[pos + 1 : pos + 5], "big"), pos + 5
        return data[pos : pos + size], pos + size
    if 0xF1 <= first <= 0xFD:
        return b"%d" % ((first & 0x0F) - 1), pos + 1
    width = _ZIPLIST_INTS[first]
    return b"%d" % int.from_bytes(data[pos + 1 : pos + 1 + width], "little", signed=True), pos + 1 + width


def decode_zipmap(data: bytes) -> list[tuple[bytes, bytes]]:
    """The (field, value) pairs of a zipmap (hashes before RDB 4)."""
    end = len(data) - 1
    if end < 1 or data[end] != 0xFF:
        raise FormatError("zipmap integrity check failed: wrong frame")
    found: list[tuple[bytes, bytes]] = []
    pos = 1
    try:
        while pos < end:
            size, pos = _zipmap_length(data, pos)
            field, pos = data[pos : pos + size], pos + size
            size, pos = _zipmap_length(data, pos)
            unused = data[pos]
            value, pos = data[pos + 1 : pos + 1 + size], pos + 1 + size + unused
            if pos > end:
                raise FormatError("zipmap integrity check failed: past its end")
            found.append((field, value))
    except IndexError:
        raise FormatError("zipmap integrity check failed: bad entry") from None
    if data[0] not in (254, 255, len(found)):
        raise FormatError("zipmap integrity check failed: wrong count")
    return found


def _zipmap_length(data: bytes, pos: int) -> tuple[int, int]:
    if data[pos] < 254:
        return data[pos], pos + 1
    return int.from_bytes(data[pos + 1 : pos + 5], "little"), pos + 5
