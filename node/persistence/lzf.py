"""LZF, the compression of strings inside RDB files and DUMP payloads.

The format: a control byte below 32 announces that many + 1 literal bytes; any other control byte is a back reference
with its length - 2 in the top three bits (7: a byte of more length follows) and the distance - 1 in thirteen bits.

The system's liblzf does the work where it is installed (Debian's redis-server brings it along): 100 times faster than
the functions below, which are complete, produce and read the same format and need no compiler. Most short values hold
no three bytes twice; that is found out at the speed of C (`_has_repetition`) before the loop is entered at all.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

from slotmesh.node.persistence.errors import FormatError

_MAX_DISTANCE: Final = 1 << 13
_MAX_MATCH: Final = 264
_MAX_LITERALS: Final = 32
#: Up to this size the check for any repetition pays.
_SHORT: Final = 4096
#: A compressed form must be at least this much smaller to be worth its header (the rule of stock).
MIN_GAIN: Final = 4


def _has_repetition(data: bytes) -> bool:
    """False when no three bytes occur twice, so that nothing can be compressed."""
    count = len(data) - 2
    return len(set(zip(data, data[1:], data[2:], strict=False))) < count


def compress_pure(data: bytes) -> bytes | None:
    """The LZF form of `data`, or None when it would not be `MIN_GAIN` bytes shorter."""
    size = len(data)
    if size <= MIN_GAIN or (size <= _SHORT and not _has_repetition(data)):
        return None
    out = bytearray()
    seen: dict[bytes, int] = {}
    position = literals = 0
    last = size - 2
    while position < last:
        word = data[position : position + 3]
        reference = seen.get(word, -_MAX_DISTANCE - 1)
        seen[word] = position
        distance = position - reference - 1
        if distance >= _MAX_DISTANCE:
            position += 1
            continue
        length = _match_length(data, reference, position, size)
        _put_literals(out, data, literals, position)
        if length < 9:
            out.append((length - 2) << 5 | distance >> 8)
        else:
            out += bytes((0xE0 | distance >> 8, length - 9))
        out.append(distance & 0xFF)
        position += length
        literals = position
        if position < last:  # index the tail of the match: the next repetition often starts there
            seen[data[position - 1 : position + 2]] = position - 1
    _put_literals(out, data, literals, size)
    return bytes(out) if len(out) <= size - MIN_GAIN else None


def _match_length(data: bytes, reference: int, position: int, size: int) -> int:
    limit = min(_MAX_MATCH, size - position)
    length = 3
    while length + 16 <= limit and (
        data[reference + length : reference + length + 16] == data[position + length : position + length + 16]
    ):
        length += 16
    while length < limit and data[reference + length] == data[position + length]:
        length += 1
    return length


def _put_literals(out: bytearray, data: bytes, start: int, end: int) -> None:
    while start < end:
        stop = min(end, start + _MAX_LITERALS)
        out.append(stop - start - 1)
        out += data[start:stop]
        start = stop


def decompress_pure(data: bytes, size: int) -> bytes:
    """The `size` bytes that `data` stands for. Raises FormatError when it is no LZF of that size."""
    out = bytearray()
    position, end = 0, len(data)
    try:
        while position < end:
            control = data[position]
            position += 1
            if control < 32:
                stop = position + control + 1
                if stop > end:
                    raise FormatError("invalid LZF compressed string")
                out += data[position:stop]
                position = stop
                continue
            length = control >> 5
            if length == 7:
                length += data[position]
                position += 1
            start = len(out) - ((control & 31) << 8) - data[position] - 1
            position += 1
            length += 2
            if start < 0 or len(out) + length > size:
                raise FormatError("invalid LZF compressed string")
            if start + length <= len(out):
                out += out[start : start + length]
            else:  # the reference runs into its own output: a repeated pattern
                pattern = bytes(out[start:])
                out += (pattern * (length // len(pattern) + 1))[:length]
    except IndexError:
        raise FormatError("invalid LZF compressed string") from None
    if len(out) != size:
        raise FormatError("invalid LZF compressed string")
    return bytes(out)


def _load_library() -> Any:
    for name in ("liblzf.so.1", "liblzf.so"):
        try:
            # PyDLL keeps the interpreter lock: a call lasts microseconds, giving the lock away and back costs as much
            library = ctypes.PyDLL(name)
        except OSError:
            continue
        for function in (library.lzf_compress, library.lzf_decompress):
            function.argtypes = (ctypes.c_char_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint)
            function.restype = ctypes.c_uint
        return library
    return None


_library: Final = _load_library()


#: Where short strings are compressed to: making room anew would take half the time of a call. One for the whole
#: process, as only one thread of a process encodes.
_scratch: Final = ctypes.create_string_buffer(1 << 16)
_scratch_address: Final = ctypes.addressof(_scratch)
_scratch_view: Final = memoryview(_scratch).cast("B")


def _compress_native(data: bytes) -> bytes | None:
    room = len(data) - MIN_GAIN
    if room <= 0:
        return None
    if room <= len(_scratch):
        size = _library.lzf_compress(data, len(data), _scratch_address, room)
        return bytes(_scratch_view[:size]) if size else None
    out = bytearray(room)
    size = _library.lzf_compress(data, len(data), ctypes.addressof(ctypes.c_char.from_buffer(out)), room)
    return bytes(memoryview(out)[:size]) if size else None


def _decompress_native(data: bytes, size: int) -> bytes:
    out = bytearray(max(size, 1))
    address = ctypes.addressof(ctypes.c_char.from_buffer(out))
    if _library.lzf_decompress(data, len(data), address, size) != size:
        raise FormatError("invalid LZF compressed string")
    return bytes(memoryview(out)[:size])


compress: Final = _compress_native if _library is not None else compress_pure
decompress: Final = _decompress_native if _library is not None else decompress_pure
