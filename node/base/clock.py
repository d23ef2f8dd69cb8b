"""The node's clock, read once per pass of the data plane."""

from __future__ import annotations

import time


class Clock:
    """`now_ms`: Unix time in ms. `mono_ms`: monotonic ms, for durations and deadlines that must survive clock jumps."""

    __slots__ = ("mono_ms", "now_ms")

    def __init__(self) -> None:
        self.now_ms = 0
        self.mono_ms = 0
        self.refresh()

    def refresh(self) -> None:
        """Read both clocks."""
        self.now_ms = time.time_ns() // 1_000_000
        self.mono_ms = time.monotonic_ns() // 1_000_000
