"""How much memory the process uses, and whether that is within `maxmemory`.

Python gives no cheap exact count of the bytes that values use, so the measure is what the operating system counts: the
resident set, sampled by the cron. Its value at the end of start-up is reported as `used_memory_startup`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from node.server import Server

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """The resident set of this process."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * _PAGE


class Memory:
    """Memory use of one node. All figures are bytes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.startup = resident_bytes()
        self.used = self.startup
        self.peak = self.startup

    def sample(self) -> None:
        """Read the current use."""
        self.used = resident_bytes()
        self.peak = max(self.peak, self.used)

    def make_room(self) -> bool:
        """Whether the use is within `maxmemory` (0: no limit)."""
        limit = self._server.config.maxmemory
        return not limit or self.used <= limit
