"""How much of the stream is in the synced part of this node's log: what a replica reports (FACK) for WAITAOF.

The log counts its own bytes, the stream others. So at the end of each pass the two positions are noted together, and a
position of the stream is on disk when the position of the log that was noted with it is.
"""

from __future__ import annotations

from collections import deque

from slotmesh.node.persistence import aof as states
from slotmesh.node.persistence.aof import Aof


class OnDisk:
    """Follows the log of a replica."""

    def __init__(self, aof: Aof) -> None:
        self._aof = aof
        self._noted: deque[tuple[int, int]] = deque()  # (bytes of the log, offset)
        self._last = -1
        self._synced = 0

    def note(self, offset: int) -> None:
        """End of a pass: the stream is at `offset`."""
        if offset != self._last and self._aof.is_open:
            self._last = offset
            self._noted.append((self._aof.fed_total, offset))

    @property
    def offset(self) -> int | None:
        """Everything up to here is on disk; None without a log, or while it is not complete yet."""
        if self._aof.state != states.ON:
            return None
        while self._noted and self._noted[0][0] <= self._aof.synced_total:
            self._synced = self._noted.popleft()[1]
        return self._synced

    def restart(self) -> None:
        """Other data takes the place of what the log was about."""
        self._noted.clear()
        self._last = -1
        self._synced = 0
