"""MurmurHash64A (Austin Appleby, public domain), the hash behind HyperLogLog.

Its compiled twin (`node/compiled/hyperloglog.pyx`) takes a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import iter_unpack
from typing import Final

from slotmesh.node.base.native import compiled

#: The seed that HyperLogLogs are hashed with; another one would not add up with values from other servers.
SEED: Final = 0xADC83B19
_MULTIPLIER: Final = 0xC6A4A7935BD1E995
_M64: Final = (1 << 64) - 1
#: Up to this size all of the data is taken as one integer; shifting a long one word by word would cost O(N**2).
_SHORT: Final = 128


def murmur64a(data: bytes, seed: int = SEED) -> int:
    """The hash: 64 bits.

    The low 64 bits of a product, or of a sum by XOR, depend on nothing but low bits, so numbers are cut to 64 bits
    only where they are about to be shifted right.
    """
    size = len(data)
    h = seed ^ size * _MULTIPLIER
    if size > _SHORT:
        whole = size & ~7
        for (word,) in iter_unpack("<Q", data[:whole]):
            k = word * _MULTIPLIER & _M64
            h = (h ^ (k ^ k >> 47) * _MULTIPLIER) * _MULTIPLIER & _M64
        rest = int.from_bytes(data[whole:], "little")
    else:
        rest = int.from_bytes(data, "little")
        for _ in range(size >> 3):
            k = rest * _MULTIPLIER & _M64
            h = (h ^ (k ^ k >> 47) * _MULTIPLIER) * _MULTIPLIER & _M64
            rest >>= 64
    if size & 7:
        h = (h ^ rest) * _MULTIPLIER
    h &= _M64
    h = (h ^ h >> 47) * _MULTIPLIER & _M64
    return h ^ h >> 47


#: `murmur64a` with SEED, by whoever does it best here.
hash_element: Final[Callable[[bytes], int]] = murmur64a if compiled is None else compiled.murmur64a
