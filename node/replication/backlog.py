"""The backlog: the most recent bytes of the replication stream, kept for replicas that come back.

It is a queue of the very chunks that were sent to the replicas, so a byte exists once, however many replicas wait for
it. What a slow replica keeps in memory anyway therefore stays in the backlog too, for others to use. Apart from that
whole chunks fall out at the old end, and of a chunk larger than the backlog only the end is kept; so it holds less than
twice its size.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Final

#: As an offset: no replica holds anything.
NOTHING: Final = 1 << 62
_CHUNK_COST: Final = sys.getsizeof(b"") + 8


class Backlog:
    """`first_offset` is the offset of the oldest byte held, `length` the number of bytes."""

    __slots__ = ("_chunks", "first_offset", "length", "size")

    def __init__(self, size: int, next_offset: int) -> None:
        self._chunks: deque[bytes] = deque()
        self.size = size
        self.first_offset = next_offset
        self.length = 0

    @property
    def next_offset(self) -> int:
        """Offset of the next byte to come."""
        return self.first_offset + self.length

    @property
    def memory(self) -> int:
        """Bytes of memory, bookkeeping included."""
        return self.length + len(self._chunks) * _CHUNK_COST

    def append(self, data: bytes, pinned: int = NOTHING) -> None:
        """Take the next bytes of the stream. `pinned`: offset of the oldest byte that a replica holds."""
        excess = len(data) - self.size
        if excess > 0 and pinned == NOTHING:
            self._chunks.clear()
            self.first_offset = self.next_offset + excess
            self.length = 0
            data = data[excess:]
        self._chunks.append(data)
        self.length += len(data)
        self.trim(pinned)

    def resize(self, size: int) -> None:
        """Follow `repl-backlog-size`."""
        self.size = size
        self.trim()

    def trim(self, pinned: int = NOTHING) -> None:
        """Drop what is too much, unless a replica holds it."""
        chunks = self._chunks
        while len(chunks) > 1 and self.length - len(chunks[0]) >= self.size:
            if self.first_offset + len(chunks[0]) > pinned:
                break
            gone = len(chunks.popleft())
            self.length -= gone
            self.first_offset += gone

    def holds(self, offset: int) -> bool:
        """Whether the stream can be continued from `offset` on; true for the byte that comes next."""
        return self.first_offset <= offset <= self.next_offset

    def since(self, offset: int) -> list[bytes]:
        """The bytes from `offset` on, which the backlog must hold, as the chunks they came in."""
        assert self.holds(offset)
        wanted = self.next_offset - offset
        found: list[bytes] = []
        for chunk in reversed(self._chunks):
            if wanted <= 0:
                break
            found.append(chunk if len(chunk) <= wanted else chunk[len(chunk) - wanted :])
            wanted -= len(chunk)
        found.reverse()
        return found
