"""MurmurHash64A (Austin Appleby, public domain), the hash behind HyperLogLog.

GNU's C++ runtime hashes strings with this very function and exports it (`std::_Hash_bytes`, part of its ABI since
2011). Where that library is installed, as on most Linux systems, it does the work: four times faster than
`murmur64a`, which is complete and takes over elsewhere. What the library says is compared with it before it is trusted.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from struct import iter_unpack
from typing import Any, Final

#: The seed that HyperLogLogs are hashed with; another one would not add up with values from other servers.
SEED: Final = 0xADC83B19
_MULTIPLIER: Final = 0xC6A4A7935BD1E995
_M64: Final = (1 << 64) - 1
#: Up to this size all of the data is taken as one integer; shifting a long one word by word would cost O(N**2).
_SHORT: Final = 128
#: Texts that go through every part of the function: no word, whole words, each length of the rest.
_SAMPLES: Final = tuple(bytes(range(256 - size, 256)) for size in (*range(33), 256))


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


# Arguments that are C numbers already need no conversion, which would take longer than the hash itself.
C_SEED: Final = ctypes.c_size_t(SEED)
#: By size, of short data.
C_SIZES: Final = tuple(map(ctypes.c_size_t, range(_SHORT)))


def _native_hash(data: bytes) -> int:
    """`murmur64a` with SEED, by the C++ runtime."""
    size = len(data)
    return _native(data, C_SIZES[size] if size < _SHORT else ctypes.c_size_t(size), C_SEED)  # type: ignore[no-any-return]


def _sized_hash(data: bytes, size: Any, seed: Any) -> int:
    """Stands in for the function of the C++ runtime."""
    return murmur64a(data)


def _load_native() -> Any:
    """The function of the C++ runtime; None where there is none, or another one."""
    try:
        # PyDLL keeps the interpreter lock: a call takes less than giving the lock away and back
        function = ctypes.PyDLL("libstdc++.so.6")["_ZSt11_Hash_bytesPKvmm"]
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_size_t
    return function


_native: Final = _load_native()
_trusted: Final = _native is not None and all(_native_hash(text) == murmur64a(text) for text in _SAMPLES)

#: `murmur64a` with SEED, by whoever does it best here.
hash_element: Final[Callable[[bytes], int]] = _native_hash if _trusted else murmur64a
#: The same for callers that must not pay for a frame in between: (data, C_SIZES[its size], C_SEED).
hash_sized: Final[Callable[[bytes, Any, Any], int]] = _native if _trusted else _sized_hash
