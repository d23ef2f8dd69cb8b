"""Memory of a large buffer that nobody needs any more, given back to the system bit by bit.

Freeing a buffer of 512 MB takes the system 40 ms, in one go: it has to take back every page. Given back before, some MB
at a time, its pages are gone by then. Python has no call for that, but the C library has (`madvise`).
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Final

_madvise: Final = getattr(ctypes.PyDLL(None), "madvise", None)


def shorten(buffer: bytearray, size: int) -> None:
    """Take up to `size` bytes off the end of a buffer whose content no longer matters, and give their pages back."""
    start = max(0, len(buffer) - size)
    if _madvise is not None:
        held = (ctypes.c_char * (len(buffer) - start)).from_buffer(buffer, start)
        first = ctypes.addressof(held)
        whole = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (first + len(held)) // mmap.PAGESIZE * mmap.PAGESIZE
        if end > whole:
            # Whether it works does not matter: the pages go with the buffer at the latest.
            _madvise(ctypes.c_void_p(whole), ctypes.c_size_t(end - whole), mmap.MADV_DONTNEED)
        del held  # while it exists the buffer cannot be resized
    del buffer[start:]
