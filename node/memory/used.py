"""How much memory the data use: an estimate that follows deletions, and the resident set beside it.

The resident set is exact, but it does not fall when keys go: both allocators keep what they got from the system. So
`used` counts what is in use inside of them (docs/adr/0006):

    used = resident set at the start + growth of what malloc has in use + growth in blocks x bytes per block

malloc (all that is larger than 512 bytes) tells its bytes by `mallinfo2`. pymalloc (everything smaller) tells only how
many blocks are in use. How large they are on average is learned while the process grows: when pymalloc had to ask the
system for more, it had next to nothing left inside, and its share of the resident set divided by its blocks is the size
of one. That size is an intensive quantity: it stays good while blocks come and go.

A look at the allocators takes them a while (they walk their lists), more so when they hold much. `sample` therefore
names the time of the next look: soon when the limit is near, later when that would cost too much. The cost is the
processor's time: what a busy machine adds to it would put the next look off while data come in unseen.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from time import thread_time_ns
from typing import Final, NamedTuple

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
#: What a block is taken to be before anything was learned, and the least that is believed. The most is pymalloc's
#: largest block, its share of a pool's header included.
_BLOCK_BYTES: Final = 64.0
_LEAST_BLOCK: Final = 32.0
_LARGEST_BLOCK: Final = 520.0
#: What pymalloc took since the start before the size of a block is learned from it: below, the free blocks that the
#: start left over would spoil it.
_ENOUGH: Final = 4 << 20
#: pymalloc takes memory from the system by arenas of this size. Less is noise: pages of malloc's that come and go.
_ARENA: Final = 1 << 20
#: Looks take at most this share of the time, and the other one as long as no limit is near.
_SHARE: Final = 0.04
_RELAXED_SHARE: Final = 0.002
_RELAXED_MS: Final = 100
#: The fastest that data are taken to come in: a look follows before they can use up what is left.
_BYTES_PER_MS: Final = 200 << 10

_HEAP_FIELDS: Final = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class _Mallinfo(ctypes.Structure):
    """The C library's account of its heap, in bytes (`struct mallinfo2` of glibc)."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _HEAP_FIELDS)


def _find_mallinfo() -> Callable[[], _Mallinfo] | None:
    """glibc's `mallinfo2`, or None where there is none. PyDLL: nobody else needs the interpreter meanwhile."""
    found = getattr(ctypes.PyDLL(None), "mallinfo2", None)
    if found is not None:
        found.restype, found.argtypes = _Mallinfo, ()
    return found


_mallinfo: Final = _find_mallinfo()


def heap_figures() -> dict[str, int]:
    """The C library's account of its heap by the names of its fields; empty where it keeps none."""
    heap = None if _mallinfo is None else _mallinfo()
    return {} if heap is None else {name: getattr(heap, name) for name in _HEAP_FIELDS}


class Figures(NamedTuple):
    """What can be known. Bytes, but for `blocks`. `anonymous`: the part of `resident` that belongs to no file;
    `heap_used` and `heap_held`: what malloc gave out, and what it has from the system; both 0 if it does not tell."""

    resident: int
    anonymous: int
    blocks: int
    heap_used: int
    heap_held: int


def resident_bytes() -> int:
    """The resident set of this process."""
    return _resident_and_shared()[0]


def _resident_and_shared() -> tuple[int, int]:
    with open("/proc/self/statm", "rb") as statm:
        fields = statm.read().split()
    return int(fields[1]) * _PAGE, int(fields[2]) * _PAGE


def measure() -> Figures:
    """The figures of this process as of now."""
    resident, shared = _resident_and_shared()
    blocks = sys.getallocatedblocks()
    if _mallinfo is None:
        return Figures(resident, resident - shared, blocks, 0, 0)
    heap = _mallinfo()
    return Figures(resident, resident - shared, blocks, heap.uordblks + heap.hblkhd, heap.arena + heap.hblkhd)


class Memory:
    """Memory use of one node. All figures are bytes."""

    def __init__(self, source: Callable[[], Figures] = measure) -> None:
        self._source = source
        self._start = start = source()
        self._largest_block = _LARGEST_BLOCK if start.heap_held else float(1 << 40)
        #: Bytes that a block is taken to be, and pymalloc's share of the resident set from which that was learned.
        self.block_bytes = _BLOCK_BYTES
        self._learned_at = start.anonymous - start.heap_held
        self.startup = self.used = self.peak = self.resident = start.resident
        #: Monotonic ms from which on `used` is too old to rely on.
        self.next_look_ms = 0

    def sample(self, now_ms: int, limit: int = 0) -> None:
        """Look, at `now_ms` (monotonic), and set the time of the next look. `limit`: the use that must not be exceeded
        unnoticed; 0: none."""
        began = thread_time_ns()
        now = self._source()
        start = self._start
        self._learn(now)
        used = start.resident + now.heap_used - start.heap_used + int((now.blocks - start.blocks) * self.block_bytes)
        self.resident = now.resident
        # Blocks of the start may go, too, and at a size learned from later ones that could come to less than nothing:
        # a limit of one byte must be exceeded even then.
        self.used = max(used, now.heap_used + int(now.blocks * _LEAST_BLOCK))
        self.peak = max(self.peak, self.used)
        cost_ms = (thread_time_ns() - began) / 1e6
        wait_ms = max(_RELAXED_MS, cost_ms / _RELAXED_SHARE)
        if limit:
            wait_ms = min(wait_ms, (limit - used) // _BYTES_PER_MS)
        self.next_look_ms = now_ms + int(max(1, wait_ms, cost_ms / _SHARE))

    def _learn(self, now: Figures) -> None:
        """Find the size of a block, when pymalloc has just grown; it can never be more than what its pages allow."""
        held = now.anonymous - now.heap_held
        grown = held - (self._start.anonymous - self._start.heap_held)
        blocks = now.blocks - self._start.blocks
        if grown < _ENOUGH or blocks <= 0:
            self._learned_at = min(self._learned_at, held)
            return
        allowed = min(max(grown / blocks, _LEAST_BLOCK), self._largest_block)
        if held >= self._learned_at + _ARENA or allowed < self.block_bytes:
            self.block_bytes = allowed
            self._learned_at = held
        elif held < self._learned_at * 0.9:
            self._learned_at = held  # pages went back to the system: what grows from here tells of today's blocks
