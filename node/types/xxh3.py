"""XXH3, 64 bits, without seed: the hash of DIGEST and of the IFDEQ / IFDNE conditions.

Written from the xxHash specification (doc/xxhash_spec.md, version 0.7.3); names of constants are those of the
specification. Python needs about 3 us for short strings and as much again for each further 64 bytes: fine for a command
that hashes one value, too slow for anything per key.
"""

from __future__ import annotations

from struct import unpack_from
from typing import Final

_M32: Final = (1 << 32) - 1
_M64: Final = (1 << 64) - 1
_PRIME32_1: Final = 0x9E3779B1
_PRIME32_2: Final = 0x85EBCA77
_PRIME32_3: Final = 0xC2B2AE3D
_PRIME64_1: Final = 0x9E3779B185EBCA87
_PRIME64_2: Final = 0xC2B2AE3D27D4EB4F
_PRIME64_3: Final = 0x165667B19E3779F9
_PRIME64_4: Final = 0x85EBCA77C2B2AE63
_PRIME64_5: Final = 0x27D4EB2F165667C5
_PRIME_MX1: Final = 0x165667919E3779F9
_PRIME_MX2: Final = 0x9FB21C651E98DF25
_SECRET: Final = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
    "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d"
    "8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc"
    "8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
_STRIPE: Final = 64
_STRIPES_PER_BLOCK: Final = (len(_SECRET) - _STRIPE) // 8
_BLOCK: Final = _STRIPE * _STRIPES_PER_BLOCK


def hex_digest(data: bytes | bytearray) -> bytes:
    """The hash as 16 lower-case hexadecimal digits."""
    return b"%016x" % xxh3_64(bytes(data))


def xxh3_64(data: bytes) -> int:
    """The 64-bit hash of `data`."""
    size = len(data)
    if size > 240:
        return _large(data)
    if size > 16:
        return _medium(data)
    if size > 8:
        return _from_9_to_16(data)
    if size >= 4:
        return _from_4_to_8(data)
    if size:
        return _from_1_to_3(data)
    first, second = unpack_from("<2Q", _SECRET, 56)
    return _avalanche_xxh64(first ^ second)


def _avalanche(x: int) -> int:
    x ^= x >> 37
    x = x * _PRIME_MX1 & _M64
    return x ^ x >> 32


def _avalanche_xxh64(x: int) -> int:
    x ^= x >> 33
    x = x * _PRIME64_2 & _M64
    x ^= x >> 29
    x = x * _PRIME64_3 & _M64
    return x ^ x >> 32


def _fold(product: int) -> int:
    """Both halves of a 128-bit product, xor-ed."""
    return (product & _M64) ^ (product >> 64)


def _rotate_left(x: int, bits: int) -> int:
    return (x << bits | x >> (64 - bits)) & _M64


def _from_1_to_3(data: bytes) -> int:
    size = len(data)
    combined = data[-1] | size << 8 | data[0] << 16 | data[size >> 1] << 24
    first, second = unpack_from("<2I", _SECRET, 0)
    return _avalanche_xxh64(int(first ^ second) ^ combined)


def _from_4_to_8(data: bytes) -> int:
    size = len(data)
    head = int.from_bytes(data[:4], "little")
    tail = int.from_bytes(data[-4:], "little")
    first, second = unpack_from("<2Q", _SECRET, 8)
    value = int(first ^ second) ^ (tail | head << 32)
    value ^= _rotate_left(value, 49) ^ _rotate_left(value, 24)
    value = value * _PRIME_MX2 & _M64
    value ^= (value >> 35) + size
    value = value * _PRIME_MX2 & _M64
    return value ^ value >> 28


def _from_9_to_16(data: bytes) -> int:
    size = len(data)
    head = int.from_bytes(data[:8], "little")
    tail = int.from_bytes(data[-8:], "little")
    secret = unpack_from("<4Q", _SECRET, 24)
    low = int(secret[0] ^ secret[1]) ^ head
    high = int(secret[2] ^ secret[3]) ^ tail
    swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
    return _avalanche((size + swapped + high + _fold(low * high)) & _M64)


def _mix(data: bytes, offset: int, secret_offset: int) -> int:
    first, second = unpack_from("<2Q", data, offset)
    secret = unpack_from("<2Q", _SECRET, secret_offset)
    return _fold((first ^ secret[0]) * (second ^ secret[1]))


def _medium(data: bytes) -> int:
    size = len(data)
    total = size * _PRIME64_1
    if size <= 128:
        for i in range((size - 1) >> 5, -1, -1):
            total += _mix(data, 16 * i, 32 * i) + _mix(data, size - 16 * i - 16, 32 * i + 16)
        return _avalanche(total & _M64)
    for i in range(8):
        total += _mix(data, 16 * i, 16 * i)
    total = _avalanche(total & _M64)
    for i in range(8, size >> 4):
        total += _mix(data, 16 * i, 16 * (i - 8) + 3)
    total += _mix(data, size - 16, 119)
    return _avalanche(total & _M64)


def _large(data: bytes) -> int:
    lanes = [
        _PRIME32_3, _PRIME64_1, _PRIME64_2, _PRIME64_3,
        _PRIME64_4, _PRIME32_2, _PRIME64_5, _PRIME32_1,
    ]  # fmt: skip
    size = len(data)
    blocks = (size - 1) // _BLOCK
    scramble = unpack_from("<8Q", _SECRET, len(_SECRET) - _STRIPE)
    for block in range(blocks):
        for n in range(_STRIPES_PER_BLOCK):
            _accumulate(lanes, data, block * _BLOCK + n * _STRIPE, 8 * n)
        for i in range(8):
            lane = lanes[i]
            lanes[i] = ((lane ^ lane >> 47) ^ scramble[i]) * _PRIME32_1 & _M64
    begin = blocks * _BLOCK
    for n in range((size - begin - 1) // _STRIPE):
        _accumulate(lanes, data, begin + n * _STRIPE, 8 * n)
    _accumulate(lanes, data, size - _STRIPE, len(_SECRET) - 71)
    secret = unpack_from("<8Q", _SECRET, 11)
    result = size * _PRIME64_1
    for i in range(0, 8, 2):
        result += _fold((lanes[i] ^ secret[i]) * (lanes[i + 1] ^ secret[i + 1]))
    return _avalanche(result & _M64)


def _accumulate(lanes: list[int], data: bytes, offset: int, secret_offset: int) -> None:
    stripe = unpack_from("<8Q", data, offset)
    secret = unpack_from("<8Q", _SECRET, secret_offset)
    for i in range(8):
        value = stripe[i] ^ secret[i]
        lanes[i ^ 1] = lanes[i ^ 1] + stripe[i] & _M64
        lanes[i] = lanes[i] + (value & _M32) * (value >> 32) & _M64
