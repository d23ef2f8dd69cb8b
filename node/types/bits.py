"""Bit strings inside byte strings: bit 0 is the highest bit of the first byte, and beyond the end all bits are 0.

Python's big integers do the work wherever many bits are concerned: they count, combine and shift whole strings in C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

Buffer = bytes | bytearray

WRAP: Final = 0
SAT: Final = 1
FAIL: Final = 2

#: Bytes that become one integer at a time: what fits into the processor's cache is done several times faster.
_CHUNK: Final = 1 << 16
#: Bytes of one kind that are passed over at a time.
_RUN: Final = 1 << 16
_ZEROS: Final = bytes(_RUN)
_ONES: Final = b"\xff" * _RUN
_INVERTED: Final = bytes(0xFF - byte for byte in range(256))


def count_ones(data: Buffer) -> int:
    """The number of set bits."""
    if len(data) <= _CHUNK:
        return int.from_bytes(data, "little").bit_count()
    view = memoryview(data)
    return sum(int.from_bytes(view[i : i + _CHUNK], "little").bit_count() for i in range(0, len(data), _CHUNK))


def count_ones_between(data: Buffer, first: int, last: int) -> int:
    """The number of set bits from bit `first` to bit `last`, both inside the string."""
    begin, end = first >> 3, (last >> 3) + 1
    outside = data[begin] >> (8 - (first & 7)) if first & 7 else 0
    total = count_ones(memoryview(data)[begin:end].tobytes()) - outside.bit_count()
    return total - (data[end - 1] & (1 << (7 - (last & 7))) - 1).bit_count()


def find_bit(data: Buffer, bit: int, first: int, last: int) -> int:
    """The first position from `first` to `last` (inside the string) that holds `bit`, or -1."""
    begin, end = first >> 3, (last >> 3) + 1
    run = _ZEROS if bit else _ONES
    while (
        data.startswith(run, begin) and begin + _RUN < end
    ):  # the first byte is all of a kind, so `first` is no matter
        begin += _RUN
        first = 8 * begin
    skipped, padding = first & 7, 7 - (last & 7)
    stop = min(begin + _RUN, end)
    window = bytearray(memoryview(data)[begin:stop])
    if stop < end:
        padding = 0
    if bit:
        window[0] &= 0xFF >> skipped
        window[-1] &= 0xFF << padding & 0xFF
        rest = window.lstrip(b"\x00")
    else:
        window[0] |= ~(0xFF >> skipped) & 0xFF
        window[-1] |= (1 << padding) - 1
        rest = window.lstrip(b"\xff")
    if rest:
        byte = rest[0] if bit else rest[0] ^ 0xFF
        return (begin + len(window) - len(rest)) * 8 + 8 - byte.bit_length()
    return find_bit(data, bit, 8 * stop, last) if stop < end else -1


def get_bit(data: Buffer, position: int) -> int:
    """The bit at a position, 0 beyond the end."""
    byte = position >> 3
    return data[byte] >> (7 - (position & 7)) & 1 if byte < len(data) else 0


def set_bit(data: bytearray, position: int, bit: int) -> None:
    """Change a bit inside the string."""
    mask = 0x80 >> (position & 7)
    if bit:
        data[position >> 3] |= mask
    else:
        data[position >> 3] &= ~mask & 0xFF


# -- integers of 1 to 64 bits at any position --------------------------------------------------------------------------


def get_field(data: Buffer, position: int, bits: int, signed: bool) -> int:
    """The integer in `bits` bits from `position` on."""
    begin, size = position >> 3, ((position & 7) + bits + 7) >> 3
    window = bytes(data[begin : begin + size]).ljust(size, b"\0")
    value = int.from_bytes(window, "big") >> (8 * size - (position & 7) - bits) & (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def set_field(data: bytearray, position: int, bits: int, value: int) -> None:
    """Store the low `bits` bits of `value`; the string must be long enough."""
    begin, size = position >> 3, ((position & 7) + bits + 7) >> 3
    shift = 8 * size - (position & 7) - bits
    mask = (1 << bits) - 1
    window = int.from_bytes(data[begin : begin + size], "big")
    window = window & ~(mask << shift) | (value & mask) << shift
    data[begin : begin + size] = window.to_bytes(size, "big")


def fit(value: int, bits: int, signed: bool, overflow: int) -> int | None:
    """`value` as an integer of that size: itself, or what the overflow rule makes of it (None: FAIL)."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if low <= value <= high:
        return value
    if overflow == FAIL:
        return None
    if overflow == SAT:
        return high if value > high else low
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


# -- BITOP -------------------------------------------------------------------------------------------------------------

# Numbers are read with the first byte lowest: so shorter strings are padded with zero bytes at their end for free.


def _and(numbers: Sequence[int]) -> int:
    result = numbers[0]
    for number in numbers[1:]:
        result &= number
    return result


def _or(numbers: Sequence[int]) -> int:
    result = 0
    for number in numbers:
        result |= number
    return result


def _xor(numbers: Sequence[int]) -> int:
    result = 0
    for number in numbers:
        result ^= number
    return result


def _diff(numbers: Sequence[int]) -> int:
    return numbers[0] & ~_or(numbers[1:])


def _diff1(numbers: Sequence[int]) -> int:
    return _or(numbers[1:]) & ~numbers[0]


def _and_or(numbers: Sequence[int]) -> int:
    return numbers[0] & _or(numbers[1:])


def _one(numbers: Sequence[int]) -> int:
    once = more = 0
    for number in numbers:
        more |= once & number
        once |= number
    return once & ~more


#: Operations on several strings: name -> function of the strings as numbers.
OPERATIONS: Final[dict[bytes, Callable[[Sequence[int]], int]]] = {
    b"AND": _and,
    b"OR": _or,
    b"XOR": _xor,
    b"DIFF": _diff,
    b"DIFF1": _diff1,
    b"ANDOR": _and_or,
    b"ONE": _one,
}


def combine(name: bytes, sources: Sequence[Buffer]) -> bytearray:
    """The result of a BITOP operation, as long as the longest source."""
    if name == b"NOT":
        source = sources[0]
        return (source if type(source) is bytearray else bytearray(source)).translate(_INVERTED)
    size = max(map(len, sources))
    operation, result = OPERATIONS[name], bytearray(size)
    views = [memoryview(source) for source in sources]
    for start in range(0, size, _CHUNK):
        stop = min(start + _CHUNK, size)
        numbers = [int.from_bytes(view[start:stop], "little") for view in views]
        result[start:stop] = operation(numbers).to_bytes(stop - start, "little")
    return result
