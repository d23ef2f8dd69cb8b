# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True
"""The hash of HyperLogLog, and counting an element in a dense value.

The twins: `murmur64a` in `node/types/murmur.py`, `add_dense_plain` in `node/types/hyperloglog.py`, where the layout is
described.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy


cdef enum:
    HEADER = 16
    DENSE_SIZE = 12304
    INDEX_BITS = 14

cdef uint64_t MULTIPLIER = <uint64_t>0xC6A4A7935BD1E995
cdef uint64_t SEED = 0xADC83B19


cdef uint64_t _hash(const unsigned char* data, Py_ssize_t size, uint64_t seed) noexcept:
    cdef uint64_t h = seed ^ (<uint64_t>size * MULTIPLIER)
    cdef uint64_t k
    cdef Py_ssize_t position
    for position in range(size >> 3):
        k = _word(data + 8 * position, 8) * MULTIPLIER
        h = (h ^ ((k ^ (k >> 47)) * MULTIPLIER)) * MULTIPLIER
    if size & 7:
        h = (h ^ _word(data + (size & ~7), size & 7)) * MULTIPLIER
    h = (h ^ (h >> 47)) * MULTIPLIER
    return h ^ (h >> 47)


cdef inline uint64_t _word(const unsigned char* data, Py_ssize_t size) noexcept:
    """Up to eight bytes, the first one lowest; a compiler makes one load of eight."""
    cdef uint64_t word = 0
    cdef Py_ssize_t position
    for position in range(size):
        word |= <uint64_t>data[position] << (8 * position)
    return word


def murmur64a(bytes data not None, uint64_t seed=0xADC83B19):
    """The hash: 64 bits."""
    return _hash(<const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), seed)


def add_dense(bytearray data not None, bytes element not None):
    """Count an element in a dense value: whether a register rose; None, and nothing done, where `data` is none."""
    cdef unsigned char* registers
    cdef uint64_t h, tail
    cdef int index, shift, held, run = 1
    if PyByteArray_GET_SIZE(data) != DENSE_SIZE or memcmp(PyByteArray_AS_STRING(data), b"HYLL\0", 5):
        return None
    h = _hash(<const unsigned char*>PyBytes_AS_STRING(element), PyBytes_GET_SIZE(element), SEED)
    index = (h & ((1 << INDEX_BITS) - 1)) * 6
    registers = <unsigned char*>PyByteArray_AS_STRING(data) + HEADER + (index >> 3)
    shift = index & 7
    held = registers[0] >> shift
    if shift > 2:
        held |= registers[1] << (8 - shift)
    held &= 63
    tail = (h >> INDEX_BITS) | (<uint64_t>1 << (64 - INDEX_BITS))
    while not tail & 1:
        tail >>= 1
        run += 1
    if run <= held:
        return False
    registers[0] = <unsigned char>((registers[0] & ~(63 << shift)) | (run << shift))
    if shift > 2:
        registers[1] = <unsigned char>((registers[1] & ~(63 >> (8 - shift))) | (run >> (8 - shift)))
    PyByteArray_AS_STRING(data)[HEADER - 1] |= <char>0x80  # the cached cardinality is stale
    return True
