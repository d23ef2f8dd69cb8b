"""Counters of one node, as the `stats` section of INFO reports them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from node.errors import CommandError

_SAMPLES: Final = 16
_MAX_ERROR_KINDS: Final = 128


class Rate:
    """Events per second over the last 16 samples, as stock's `instantaneous_*` fields."""

    __slots__ = ("_at", "_last_ms", "_last_total", "_samples")

    def __init__(self) -> None:
        self._samples = [0] * _SAMPLES
        self._at = 0
        self._last_ms = 0
        self._last_total = 0

    def sample(self, total: int, now_ms: int) -> None:
        """Note the running total; called about ten times a second."""
        if self._last_ms and now_ms > self._last_ms:
            self._samples[self._at] = (total - self._last_total) * 1000 // (now_ms - self._last_ms)
            self._at = (self._at + 1) % _SAMPLES
        self._last_ms, self._last_total = now_ms, total

    @property
    def per_second(self) -> int:
        """The mean rate."""
        return sum(self._samples) // _SAMPLES


class Stats:
    """Running totals since the start or CONFIG RESETSTAT."""

    def __init__(self) -> None:
        self.ops = Rate()
        self.input_rate = Rate()
        self.output_rate = Rate()
        self.reset()

    def reset(self) -> None:
        """Back to zero, as CONFIG RESETSTAT."""
        self.commands = 0
        self.connections = 0
        self.rejected_connections = 0
        self.input_bytes = 0
        self.output_bytes = 0
        self.reads = 0
        self.writes = 0
        self.error_replies = 0
        self.errors: dict[bytes, int] = {}
        self.query_buffer_disconnections = 0
        self.output_buffer_disconnections = 0
        self.evicted_clients = 0
        self.expire_nanos = 0
        self.repl_input_bytes = 0
        self.repl_output_bytes = 0
        self.sync_full = 0
        self.sync_partial_ok = 0
        self.sync_partial_err = 0
        self.forks = 0

    def count_error(self, error: CommandError) -> None:
        """One error reply; `errorstats` keeps a bounded number of kinds."""
        self.error_replies += 1
        code = error.code
        if code in self.errors or len(self.errors) < _MAX_ERROR_KINDS:
            self.errors[code] = self.errors.get(code, 0) + 1

    def sample(self, now_ms: int) -> None:
        """Feed the rates."""
        self.ops.sample(self.commands, now_ms)
        self.input_rate.sample(self.input_bytes, now_ms)
        self.output_rate.sample(self.output_bytes, now_ms)
