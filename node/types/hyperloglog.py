"""HyperLogLog in the stock server's byte layout, so that DUMP payloads, RDB files and GET / SET go both ways.

A value is an ordinary string (facts of the format: the stock server's hyperloglog.c):

    "HYLL" | encoding: 0 dense, 1 sparse | 3 zero bytes | cached cardinality, 8 bytes, little endian | registers

The highest bit of the cardinality says that the cache is stale. There are 16384 registers of 6 bits. Dense: packed from
the lowest bit on. Sparse: a sequence of opcodes,

    00llllll             l+1 registers are 0 ("ZERO")
    01llllll llllllll    l+1 registers are 0 ("XZERO")
    1vvvvvll             l+1 registers are v+1 ("VAL"), v+1 <= 32

A register holds the longest run of zeros (plus one) seen in the hashes that fall to it; what they say about the number
of elements is in `cardinality.py`. How an opcode is split and merged on update follows stock, so that the bytes agree,
too.

Whole register files are handled as 16384 bytes; unpacking, packing and merging them is done by `bytes.translate` and
big integers, in some 50 us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from slotmesh.node.base.native import compiled
from slotmesh.node.types.cardinality import HASH_BITS
from slotmesh.node.types.murmur import hash_element

REGISTERS: Final = 1 << 14
HEADER: Final = 16
DENSE_SIZE: Final = HEADER + REGISTERS * 6 // 8
DENSE: Final = 0
SPARSE: Final = 1
MAGIC: Final = b"HYLL"
_DENSE_HEAD: Final = MAGIC + bytes((DENSE,))
_SPARSE_HEAD: Final = MAGIC + bytes((SPARSE,))

_VAL_MAX: Final = 32
_VAL_RUN_MAX: Final = 4
_ZERO_RUN_MAX: Final = 64
_INDEX_MASK: Final = REGISTERS - 1
_TAIL_END: Final = 1 << HASH_BITS
#: By the value of a register: the bits of a hash that are all zero if it raises the register.
_RUN_MASKS: Final = tuple((1 << value) - 1 << 14 for value in range(64))
#: Opcodes looked at for a merge after an update (the same number as stock, or the bytes would differ).
_MERGE_SCAN: Final = 5
#: Opcodes that are walked one by one.
_WALK: Final = 32
#: The registers that an opcode of one byte stands for.
_SPANS: Final = bytes((x & 3) + 1 if x & 0x80 else (x & 0x3F) + 1 for x in range(256))
#: Marks of XZERO, and of bytes that come second in one.
_XZEROS: Final = bytes(x >> 6 == 1 for x in range(256))
#: How much longer than its end a sparse string may be while registers are added in order.
_TRANSIENT: Final = 4

# Byte tables for packing: a group of four registers r0..r3 fills three bytes a, b, c.
_LOW6: Final = bytes(x & 63 for x in range(256))
_SHIFT6: Final = bytes(x >> 6 for x in range(256))
_LOW4_UP2: Final = bytes((x & 15) << 2 for x in range(256))
_SHIFT4: Final = bytes(x >> 4 for x in range(256))
_LOW2_UP4: Final = bytes((x & 3) << 4 for x in range(256))
_SHIFT2: Final = bytes(x >> 2 for x in range(256))
_LOW2_UP6: Final = bytes((x & 3) << 6 for x in range(256))
_LOW4_UP4: Final = bytes((x & 15) << 4 for x in range(256))
_UP2: Final = bytes(x << 2 & 255 for x in range(256))
_HIGH_BITS: Final = int.from_bytes(b"\x80" * REGISTERS, "little")


class CorruptHyperLogLog(Exception):
    """The registers of a sparse value do not add up."""


def new() -> bytearray:
    """An empty HyperLogLog: sparse, one XZERO over all registers."""
    return bytearray(_SPARSE_HEAD + bytes(HEADER - 5)) + _zeros(REGISTERS)


def is_hyperloglog(value: bytes | bytearray) -> bool:
    """True when a string has the outer form of one (what stock checks before every command)."""
    if value.startswith(_DENSE_HEAD):
        return len(value) == DENSE_SIZE
    return value.startswith(_SPARSE_HEAD) and len(value) >= HEADER


# -- updating ----------------------------------------------------------------------------------------------------------


def add_dense_plain(data: bytearray, element: bytes) -> bool | None:
    """`add` to a dense value, in half the time; None, and nothing done, where `data` is none.

    A register rises when the bits of the hash behind those that choose it are all zero for as long as it says, which
    few are.
    """
    if len(data) != DENSE_SIZE or not _DENSE_HEAD < data < _SPARSE_HEAD:  # cheaper than `startswith`
        return None
    h = hash_element(element)
    bit = (h & _INDEX_MASK) * 6
    at, shift = HEADER + (bit >> 3), bit & 7
    held = data[at] >> shift  # `_dense_register`, written out
    if shift > 2:
        held |= data[at + 1] << 8 - shift
    if h & _RUN_MASKS[held & 63]:
        return False
    tail = h >> 14 | _TAIL_END
    _set_register(data, at, shift, (tail & -tail).bit_length())
    return True


add_dense: Callable[[bytearray, bytes], bool | None] = add_dense_plain if compiled is None else compiled.add_dense


def add(data: bytearray, element: bytes, sparse_max_bytes: int) -> bool:
    """Count an element in place; True when a register rose. Raises CorruptHyperLogLog.

    The low bits of the hash choose the register; it wants to know how many zeros lead up from there.
    """
    h = hash_element(element)
    tail = h >> 14 | _TAIL_END
    return raise_register(data, h & _INDEX_MASK, (tail & -tail).bit_length(), sparse_max_bytes)


def _dense_register(data: bytearray, index: int) -> int:
    """One register of a dense value."""
    bit = index * 6
    at, shift = HEADER + (bit >> 3), bit & 7
    low = data[at] >> shift
    return (low if shift <= 2 else low | data[at + 1] << 8 - shift) & 63


def raise_register(data: bytearray, index: int, value: int, sparse_max_bytes: int) -> bool:
    """Lift a register to `value` in place; False when it is that high. A sparse value that cannot hold it becomes
    dense.

    Raises CorruptHyperLogLog.
    """
    if data[4] == SPARSE:
        raised = _raise_sparse(data, index, value, sparse_max_bytes) if value <= _VAL_MAX else None
        if raised is not None:
            return raised
        make_dense(data)
    if _dense_register(data, index) >= value:
        return False
    bit = index * 6
    _set_register(data, HEADER + (bit >> 3), bit & 7, value)
    return True


def _set_register(data: bytearray, at: int, shift: int, value: int) -> None:
    """Store a register of a dense value: the one that begins at a bit of a byte."""
    data[at] = data[at] & ~(63 << shift) | value << shift & 0xFF
    if shift > 2:
        data[at + 1] = data[at + 1] & ~(63 >> 8 - shift) | value >> 8 - shift
    invalidate(data)


def make_dense(data: bytearray) -> bool:
    """Turn a sparse value into a dense one in place; False when it was. Raises CorruptHyperLogLog."""
    if data[4] == DENSE:
        return False
    data[HEADER:] = _pack(registers(data))
    data[4] = DENSE
    return True


def _raise_sparse(data: bytearray, index: int, value: int, limit: int) -> bool | None:
    """`raise_register` on opcodes; None when the value would grow beyond `limit` bytes."""
    end = len(data)
    before, at, first = _near(data, index)
    while at < end:
        opcode = data[at]
        if opcode & 0x80:
            width, span = 1, (opcode & 3) + 1
        elif opcode & 0x40:
            if at + 1 == end:
                raise CorruptHyperLogLog
            width, span = 2, ((opcode & 0x3F) << 8 | data[at + 1]) + 1
        else:
            width, span = 1, opcode + 1
        if index < first + span:
            break
        before = at
        at += width
        first += span
    else:
        raise CorruptHyperLogLog
    old = (opcode >> 2 & 0x1F) + 1 if opcode & 0x80 else 0
    if old >= value:
        return False
    left, right = index - first, first + span - 1 - index
    if old:
        parts = _values(old, left) + _values(value, 1) + _values(old, right)
    else:
        parts = _zeros(left) + _values(value, 1) + _zeros(right)
    growth = len(parts) - width
    if growth > 0 and end + growth > limit:
        return None
    data[at : at + width] = parts
    _merge_values(data, before)
    invalidate(data)
    return True


def _near(data: bytearray, index: int) -> tuple[int, int, int]:
    """Where to start looking for the opcode of a register: (the opcode before, an opcode, its first register).

    Sparse strings reach thousands of opcodes; all but XZERO take one byte. So stretches between XZEROs are summed up
    in C, and the last one is halved until a short walk is left.
    """
    before = at = HEADER
    first = 0
    spans, find_xzero = data.translate(_SPANS), data.translate(_XZEROS).find
    while (high := find_xzero(1, at)) >= 0:
        if high - at == 1:
            total = spans[at]
            if index < first + total:
                return before, at, first
            first += total
            before, at = at, high
        elif high > at:
            total = sum(spans[at:high])
            if index < first + total:
                return _near_in(spans[at:high], before, at, first, index)
            first += total
            before, at = high - 1, high
        if high + 1 == len(data):
            return before, at, first  # it is cut off
        total = ((data[high] & 0x3F) << 8 | data[high + 1]) + 1
        if index < first + total:
            return before, at, first
        first += total
        before, at = high, high + 2
    return _near_in(spans[at:], before, at, first, index)


def _near_in(spans: bytearray, before: int, at: int, first: int, index: int) -> tuple[int, int, int]:
    """`_near` among opcodes of one byte, the first of them at `at`: the registers that they stand for."""
    while len(spans) > _WALK:
        half = len(spans) >> 1
        left = sum(spans[:half])
        if index < first + left:
            spans = spans[:half]
        else:
            spans = spans[half:]
            first += left
            at += half
            before = at - 1
    return before, at, first


def _merge_values(data: bytearray, at: int) -> None:
    """Join neighbouring VAL opcodes of one value where the result fits one opcode."""
    for _ in range(_MERGE_SCAN):
        if at >= len(data):
            return
        opcode = data[at]
        if not opcode & 0x80:
            at += 2 if opcode & 0x40 else 1
            continue
        if at + 1 < len(data) and data[at + 1] & 0xFC == opcode & 0xFC:
            run = (opcode & 3) + (data[at + 1] & 3) + 2
            if run <= _VAL_RUN_MAX:
                data[at : at + 2] = bytes((opcode & 0xFC | run - 1,))
                continue
        at += 1


def _zeros(run: int) -> bytes:
    """The opcode for a run of empty registers."""
    if not run:
        return b""
    if run > _ZERO_RUN_MAX:
        return bytes((0x40 | run - 1 >> 8, run - 1 & 0xFF))
    return bytes((run - 1,))


def _values(value: int, run: int) -> bytes:
    """The opcode for up to four registers of one value."""
    return bytes((0x80 | value - 1 << 2 | run - 1,)) if run else b""


# -- register files ----------------------------------------------------------------------------------------------------


def registers(data: bytes | bytearray) -> bytearray:
    """All registers, one byte each. Raises CorruptHyperLogLog."""
    return _unpack(data) if data[4] == DENSE else _expand(data)


def opcodes(data: bytes | bytearray) -> list[tuple[int, int, bool]]:
    """The opcodes of a sparse value as (value, run, is XZERO). Raises CorruptHyperLogLog when one is cut off."""
    found: list[tuple[int, int, bool]] = []
    at, end = HEADER, len(data)
    while at < end:
        opcode = data[at]
        if opcode & 0x80:
            found.append(((opcode >> 2 & 0x1F) + 1, (opcode & 3) + 1, False))
        elif opcode & 0x40:
            at += 1
            if at == end:
                raise CorruptHyperLogLog
            found.append((0, ((opcode & 0x3F) << 8 | data[at]) + 1, True))
        else:
            found.append((0, opcode + 1, False))
        at += 1
    return found


def _expand(data: bytes | bytearray) -> bytearray:
    out = bytearray()
    for value, run, _ in opcodes(data):
        out += bytes((value,)) * run
        if len(out) > REGISTERS:
            break
    if len(out) != REGISTERS:
        raise CorruptHyperLogLog
    return out


def _unpack(data: bytes | bytearray) -> bytearray:
    a, b, c = (bytes(data[HEADER + i :: 3]) for i in range(3))
    out = bytearray(REGISTERS)
    out[0::4] = a.translate(_LOW6)
    out[1::4] = _or_bytes(a.translate(_SHIFT6), b.translate(_LOW4_UP2))
    out[2::4] = _or_bytes(b.translate(_SHIFT4), c.translate(_LOW2_UP4))
    out[3::4] = c.translate(_SHIFT2)
    return out


def _pack(values: bytearray) -> bytearray:
    r0, r1, r2, r3 = (bytes(values[i::4]) for i in range(4))
    out = bytearray(DENSE_SIZE - HEADER)
    out[0::3] = _or_bytes(r0, r1.translate(_LOW2_UP6))
    out[1::3] = _or_bytes(r1.translate(_SHIFT2), r2.translate(_LOW4_UP4))
    out[2::3] = _or_bytes(r2.translate(_SHIFT4), r3.translate(_UP2))
    return out


def _or_bytes(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "little") | int.from_bytes(b, "little")).to_bytes(len(a), "little")


def merge(files: Iterable[bytearray]) -> bytearray:
    """The maximum of every register over several register files."""
    top = 0
    for values in files:
        other = int.from_bytes(values, "little")
        # In each byte the high bit survives the subtraction where top >= other; registers need six bits only.
        keeps = (top | _HIGH_BITS) - other & _HIGH_BITS
        mask = keeps | keeps - (keeps >> 7)
        top = top & mask | other & ~mask
    return bytearray(top.to_bytes(REGISTERS, "little"))


def store(data: bytearray, values: bytearray, sparse_max_bytes: int, dense: bool) -> None:
    """Lift the registers of `data` in place to those of `values`; `dense`: even if sparse would do.

    Raises CorruptHyperLogLog.
    """
    if dense:
        make_dense(data)
    if data[4] == DENSE:
        data[HEADER:] = _pack(merge((registers(data), values)))
        invalidate(data)
        return
    old = registers(data)
    if not any(old):
        fresh = _encode_sparse(values)
        if fresh is not None and HEADER + len(fresh) <= sparse_max_bytes - _TRANSIENT:
            data[HEADER:] = fresh
            invalidate(data)
            return
    for index, value in enumerate(values):
        if value > old[index]:
            raise_register(data, index, value, sparse_max_bytes)
    invalidate(data)


def _encode_sparse(values: bytearray) -> bytearray | None:
    """The opcodes that adding the registers one by one, in ascending order, would lead to; None if one is too high."""
    if max(values) > _VAL_MAX:
        return None
    out = bytearray()
    index = 0
    while index < REGISTERS:
        value = values[index]
        run = 1
        longest = _VAL_RUN_MAX if value else REGISTERS
        while run < longest and index + run < REGISTERS and values[index + run] == value:
            run += 1
        out += _values(value, run) if value else _zeros(run)
        index += run
    return out


# -- the cached cardinality --------------------------------------------------------------------------------------------


def invalidate(data: bytearray) -> None:
    """The cached cardinality no longer holds."""
    data[HEADER - 1] |= 0x80


def cached_count(data: bytes | bytearray) -> int | None:
    """The cached cardinality, None when it is stale."""
    return None if data[HEADER - 1] & 0x80 else int.from_bytes(data[8:HEADER], "little")


def set_cached_count(data: bytearray, count: int) -> None:
    """Remember the cardinality. (A negative one is none: its highest bit says so.)"""
    data[8:HEADER] = count.to_bytes(8, "little", signed=True)
