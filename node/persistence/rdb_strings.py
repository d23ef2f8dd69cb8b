"""Lengths, strings and numbers of the RDB format: the atoms that files, DUMP payloads and replication share.

A length is 6, 14, 32 or 64 bits, told apart by the top two bits of its first byte (big-endian); the fourth pattern
announces a specially encoded string: an integer of 1, 2 or 4 bytes (little-endian) or an LZF-compressed string.

`Reader` walks over bytes that are in memory. A read past their end raises `ShortRead`, which says how many bytes
would do, and leaves the caller free to come back to an earlier position with more: streaming needs nothing else.
"""

from __future__ import annotations

import struct
from typing import Final

from slotmesh.cluster.numbers import to_int64, to_lenient_float
from slotmesh.node.persistence import lzf
from slotmesh.node.persistence.errors import FormatError, ShortRead

_DOUBLE: Final = struct.Struct("<d")
_FLOAT: Final = struct.Struct("<f")
_INT64: Final = struct.Struct("<q")

_ENCODED: Final = 0xC0
_INT8: Final = 0xC0
_INT16: Final = 0xC1
_INT32: Final = 0xC2
_LZF: Final = 0xC3

#: Shortest string that stock tries to compress (shorter ones cannot win).
_COMPRESS_ABOVE: Final = 20
#: No string of an RDB may claim to be larger (the largest `proto-max-bulk-len`): guards against absurd allocations.
_MAX_STRING: Final = 1 << 40

_SMALL_INTS: Final = {b"%d" % value: bytes((_INT8, value & 0xFF)) for value in range(-128, 128)}


def encode_length(value: int) -> bytes:
    """A length (or any unsigned number up to 64 bits)."""
    if value < 1 << 6:
        return bytes((value,))
    if value < 1 << 14:
        return bytes((0x40 | value >> 8, value & 0xFF))
    if value < 1 << 32:
        return b"\x80" + value.to_bytes(4, "big")
    return b"\x81" + value.to_bytes(8, "big")


def _encode_integer(text: bytes) -> bytes | None:
    """The integer encoding of a canonical decimal of up to 32 bits, else None."""
    small = _SMALL_INTS.get(text)
    if small is not None:
        return small
    value = to_int64(text)
    if value is None:
        return None
    if -(1 << 15) <= value < 1 << 15:
        return bytes((_INT16,)) + (value & 0xFFFF).to_bytes(2, "little")
    if -(1 << 31) <= value < 1 << 31:
        return bytes((_INT32,)) + (value & 0xFFFFFFFF).to_bytes(4, "little")
    return None


def encode_string(data: bytes, compress: bool = True) -> bytes:
    """A string in its shortest form: integer, LZF (if `compress`) or verbatim."""
    size = len(data)
    if size <= 11:
        encoded = _encode_integer(data)
        if encoded is not None:
            return encoded
        return bytes((size,)) + data
    if compress and size > _COMPRESS_ABOVE:
        packed = lzf.compress(data)
        if packed is not None:
            return b"\xc3%b%b%b" % (encode_length(len(packed)), encode_length(size), packed)
    if size < 64:
        return bytes((size,)) + data
    return encode_length(size) + data


def encode_double(value: float) -> bytes:
    """A double, 8 bytes little-endian (RDB 8 and later)."""
    return _DOUBLE.pack(value)


def encode_int64(value: int) -> bytes:
    """A signed 64-bit number, little-endian: times in ms."""
    return _INT64.pack(value)


class Reader:
    """A cursor over `buf`; `base` is the offset of `buf[0]` in the whole file, for error messages."""

    __slots__ = ("base", "buf", "end", "pos")

    def __init__(self, buf: bytes, base: int = 0) -> None:
        self.buf = buf
        self.pos = 0
        self.end = len(buf)
        self.base = base

    def error(self, what: str) -> FormatError:
        """A FormatError at the present position."""
        return FormatError(what, self.base + self.pos)

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        stop = self.pos + count
        if stop > self.end:
            raise ShortRead(stop)
        data = self.buf[self.pos : stop]
        self.pos = stop
        return data

    def byte(self) -> int:
        """The next byte."""
        pos = self.pos
        if pos >= self.end:
            raise ShortRead(pos + 1)
        self.pos = pos + 1
        return self.buf[pos]

    def length(self) -> int:
        """A plain length."""
        first = self.byte()
        if first < 0x40:
            return first
        if first < 0x80:
            return (first & 0x3F) << 8 | self.byte()
        if first == 0x80:
            return int.from_bytes(self.take(4), "big")
        if first == 0x81:
            return int.from_bytes(self.take(8), "big")
        self.pos -= 1
        raise self.error(f"unknown length encoding {first:#04x}")

    def string(self) -> bytes:
        """A string in any of its encodings."""
        pos = self.pos
        if pos >= self.end:
            raise ShortRead(pos + 1)
        first = self.buf[pos]
        if first < 0x40:  # by far the most frequent case, so without a further call
            start = pos + 1
            stop = start + first
            if stop > self.end:
                raise ShortRead(stop)
            self.pos = stop
            return self.buf[start:stop]
        if first < _ENCODED:
            size = self.length()
            if size > _MAX_STRING:
                raise self.error(f"string of {size} bytes")
            return self.take(size)
        self.pos = pos + 1
        if first == _LZF:
            packed_size, size = self.length(), self.length()
            packed = self.take(packed_size)
            # a back reference of 3 bytes stands for at most 264, so no honest string is larger than this
            if size > packed_size * 264:
                raise self.error("invalid LZF compressed string")
            return lzf.decompress(packed, size)
        width = {_INT8: 1, _INT16: 2, _INT32: 4}.get(first)
        if width is None:
            self.pos = pos
            raise self.error(f"unknown string encoding {first & 0x3F}")
        return b"%d" % int.from_bytes(self.take(width), "little", signed=True)

    def double(self) -> float:
        """A binary double."""
        return float(_DOUBLE.unpack(self.take(8))[0])

    def float32(self) -> float:
        """A binary float (module values only)."""
        return float(_FLOAT.unpack(self.take(4))[0])

    def int64(self) -> int:
        """A signed 64-bit number, little-endian."""
        return int(_INT64.unpack(self.take(8))[0])

    def uint(self, width: int) -> int:
        """An unsigned little-endian number of `width` bytes."""
        return int.from_bytes(self.take(width), "little")

    def text_double(self) -> float:
        """A double as decimal text behind its length byte (sorted sets before RDB 8); 253-255: NaN, inf, -inf."""
        size = self.byte()
        if size >= 253:
            return (float("nan"), float("inf"), float("-inf"))[size - 253]
        text = self.take(size)
        value = to_lenient_float(text)
        if value is None:
            raise self.error(f"bad number {text!r}")
        return value
