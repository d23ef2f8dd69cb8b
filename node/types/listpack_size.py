"""How many bytes an element takes in a listpack (format: the stock server's listpack.c), its back length included.

Streams are cut into nodes by these sizes; listpacks themselves are made and read in `node/persistence`.
"""

from __future__ import annotations

from typing import Final

from slotmesh.cluster.numbers import to_int64

#: A listpack's header and end mark.
EMPTY_LISTPACK_BYTES: Final = 7
#: The longest decimal form of an int64.
INTEGER_LENGTH: Final = 20
#: So long, a text is not in `SIZES`.
MANY_BYTES: Final = 512


def integer_size(value: int) -> int:
    """Bytes of an integer element."""
    if 0 <= value <= 127:
        return 2
    if -4096 <= value <= 4095:
        return 3
    if -32768 <= value <= 32767:
        return 4
    if -(1 << 23) <= value < 1 << 23:
        return 5
    return 6 if -(1 << 31) <= value < 1 << 31 else 10


def text_size(text: bytes) -> int:
    """Bytes of a string element; what looks like an integer is stored as one."""
    length = len(text)
    if length <= INTEGER_LENGTH and text[:1] <= b"9":
        value = to_int64(text)
        if value is not None:
            return integer_size(value)
    return SIZES[length] if length < MANY_BYTES else _size_of_length(length)


def _size_of_length(length: int) -> int:
    """Bytes of a string element that is no integer."""
    if length < 64:
        return length + 2
    size = length + (2 if length < 4096 else 5)
    if size <= 127:
        return size + 1
    return size + (2 if size < 16383 else 3 if size < 2097151 else 4 if size < 268435455 else 5)


#: By length, so that most texts need no arithmetic: bytes of one that is no integer.
SIZES: Final = tuple(map(_size_of_length, range(MANY_BYTES)))
