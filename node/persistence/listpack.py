"""Listpacks: the flat sequence of strings and integers that small values, list nodes and stream nodes are stored as.

    <total bytes: u32le> <element count: u16le, 65535 = unknown> <entry>* 0xFF
    entry = <encoding and value> <length of that, in 7-bit groups to be read backwards>

An element that reads as a canonical 64-bit decimal is stored as an integer. Decoding gives such elements back as `int`
and all others as `bytes`: a stream needs the numbers, other values call `as_bytes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from slotmesh.cluster.numbers import to_int64
from slotmesh.node.persistence.errors import FormatError

Element = bytes | int

_HEADER: Final = 6
_UNKNOWN: Final = 0xFFFF
_INT_WIDTHS: Final = {0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8}


def _with_back_length(entry: bytes) -> bytes:
    size = len(entry)
    if size <= 127:
        return entry + bytes((size,))
    if size < 16383:
        return entry + bytes((size >> 7, size & 127 | 128))
    groups = [size & 127 | 128]
    size >>= 7
    # the limits of stock are one short of what the groups hold; readers compute the same
    for limit in (2097151, 268435455):
        if len(entry) < limit:
            break
        groups.append(size & 127 | 128)
        size >>= 7
    groups += (size & 127 | 128, size >> 7)
    return entry + bytes(reversed(groups))


def _back_length_size(size: int) -> int:
    if size <= 127:
        return 1
    if size < 16383:
        return 2
    if size < 2097151:
        return 3
    return 4 if size < 268435455 else 5


def _integer_entry(value: int) -> bytes:
    if 0 <= value <= 127:
        return bytes((value, 1))
    if -4096 <= value <= 4095:
        value &= 0x1FFF
        return bytes((0xC0 | value >> 8, value & 0xFF, 2))
    for mark, width in _INT_WIDTHS.items():
        if -(1 << width * 8 - 1) <= value < 1 << width * 8 - 1:
            return bytes((mark,)) + value.to_bytes(width, "little", signed=True) + bytes((width + 1,))
    raise OverflowError(value)


_SMALL: Final = {b"%d" % value: _integer_entry(value) for value in range(128)}


def encode_entry(element: Element) -> bytes:
    """One entry, as it stands in a listpack."""
    if type(element) is int:
        return _integer_entry(element)
    assert not isinstance(element, int)
    size = len(element)
    if size <= 20:
        small = _SMALL.get(element)
        if small is not None:
            return small
        value = to_int64(element)
        if value is not None:
            return _integer_entry(value)
    if size < 64:
        return b"%c%b%c" % (0x80 | size, element, size + 1)
    if size < 4096:
        return _with_back_length(bytes((0xE0 | size >> 8, size & 0xFF)) + element)
    return _with_back_length(b"\xf0" + size.to_bytes(4, "little") + element)


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """A listpack of encoded entries."""
    body = b"".join(entries)
    total = _HEADER + len(body) + 1
    return b"%b%b%b\xff" % (total.to_bytes(4, "little"), min(len(entries), _UNKNOWN).to_bytes(2, "little"), body)


def encode_listpack(elements: Iterable[Element]) -> bytes:
    """The listpack of `elements`."""
    return pack_entries([encode_entry(element) for element in elements])


def decode_listpack(data: bytes) -> list[Element]:
    """All elements of a listpack. Raises FormatError when the bytes are not exactly one sound listpack."""
    end = len(data) - 1
    if end < _HEADER or data[end] != 0xFF or int.from_bytes(data[:4], "little") != len(data):
        raise FormatError("listpack integrity check failed: wrong frame")
    found: list[Element] = []
    pos = _HEADER
    try:
        while pos < end:
            first = data[pos]
            if first < 0x80:
                found.append(first)
                size = 1
            elif first < 0xC0:
                size = 1 + (first & 0x3F)
                found.append(data[pos + 1 : pos + size])
            elif first < 0xE0:
                value = (first & 0x1F) << 8 | data[pos + 1]
                found.append(value if value < 4096 else value - 8192)
                size = 2
            elif first < 0xF0:
                size = 2 + ((first & 0x0F) << 8 | data[pos + 1])
                found.append(data[pos + 2 : pos + size])
            elif first == 0xF0:
                size = 5 + int.from_bytes(data[pos + 1 : pos + 5], "little")
                found.append(data[pos + 5 : pos + size])
            else:
                width = _INT_WIDTHS[first]
                size = 1 + width
                found.append(int.from_bytes(data[pos + 1 : pos + size], "little", signed=True))
            pos += size
            back = _back_length_size(size)
            if pos + back > end or (data[pos] != size if back == 1 else not _back_length_is(data, pos, back, size)):
                raise FormatError("listpack integrity check failed: wrong length")
            pos += back
    except (IndexError, KeyError):
        raise FormatError("listpack integrity check failed: bad entry") from None
    count = int.from_bytes(data[4:6], "little")
    if count not in (_UNKNOWN, len(found)):
        raise FormatError("listpack integrity check failed: wrong count")
    return found


def _back_length_is(data: bytes, pos: int, back: int, size: int) -> bool:
    value = 0
    for byte in data[pos : pos + back]:
        value = value << 7 | byte & 127
    return value == size


def as_bytes(elements: Iterable[Element]) -> list[bytes]:
    """The elements as the strings they stand for."""
    return [b"%d" % element if isinstance(element, int) else element for element in elements]
