"""Counters of one node, as the `stats` section of INFO reports them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotmesh.node.base.compat import COMPAT

if TYPE_CHECKING:
    from slotmesh.node.base.errors import ErrorReply

_SAMPLES: Final = 16
_MAX_ERROR_KINDS: Final = 128
#: Where level 7.2 counts errors of a kind that has no counter of its own any more.
_OTHER_ERRORS: Final = b"ERRORSTATS_OVERFLOW"
#: The first words of our own errors, which always have a counter. All others are made up by scripts.
_OWN_ERRORS: Final = frozenset(
    b"ASK BUSY BUSYGROUP BUSYKEY CLUSTERDOWN CROSSSLOT DENIED ERR EXECABORT INPROG INVALIDOBJ IOERR LOADING MASTERDOWN "
    b"MISCONF MOVED NOAUTH NOGOODSLAVE NOGROUP NOMASTERLINK NOPERM NOPROTO NOREPLICAS NOSCRIPT NOSUB NOTBUSY NOTREADY "
    b"OOM READONLY REDIRECT TRYAGAIN UNBLOCKED UNKILLABLE WRONGPASS WRONGTYPE".split()
)


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


class EventLoop:
    """How the loop fares: a cycle is a pass of the data plane or a tick of the cron. Times are nanoseconds."""

    __slots__ = (
        "_commands",
        "_last",
        "cron_nanos",
        "cycle_rate",
        "cycles",
        "log_nanos",
        "longest_nanos",
        "mean_nanos",
        "most_commands",
        "nanos",
    )

    def __init__(self) -> None:
        self.cycles = self.nanos = self.longest_nanos = self.cron_nanos = self.log_nanos = 0
        self.cycle_rate = Rate()
        self.mean_nanos = 0  # of the cycles between the last two samples
        self.most_commands = 0
        self._commands = 0
        self._last = (0, 0)

    def end_cycle(self, nanos: int, commands: int) -> None:
        """A cycle took `nanos`; `commands` is the running total of commands."""
        self.cycles += 1
        self.nanos += nanos
        if nanos > self.longest_nanos:
            self.longest_nanos = nanos
        if commands - self._commands > self.most_commands:
            self.most_commands = commands - self._commands
        self._commands = commands

    def sample(self, now_ms: int) -> None:
        """Feed the rate and the mean; called about ten times a second."""
        self.cycle_rate.sample(self.cycles, now_ms)
        cycles, nanos = self._last
        if self.cycles > cycles:
            self.mean_nanos = (self.nanos - nanos) // (self.cycles - cycles)
        self._last = (self.cycles, self.nanos)


class Stats:
    """Running totals since the start or CONFIG RESETSTAT."""

    def __init__(self) -> None:
        self.ops = Rate()
        self.input_rate = Rate()
        self.output_rate = Rate()
        self.repl_input_rate = Rate()
        self.repl_output_rate = Rate()
        self.reset()

    def reset(self) -> None:
        """Back to zero, as CONFIG RESETSTAT."""
        self.commands = 0
        self.loop = EventLoop()
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

    def count_error(self, error: ErrorReply) -> None:
        """One error reply; `errorstats` keeps a bounded number of kinds that scripts make up."""
        self.error_replies += 1
        code = error.code
        if code not in self.errors and code not in _OWN_ERRORS and len(self.errors) >= _MAX_ERROR_KINDS:
            if not COMPAT.newer:
                return
            code = _OTHER_ERRORS
        self.errors[code] = self.errors.get(code, 0) + 1

    def sample(self, now_ms: int) -> None:
        """Feed the rates."""
        self.loop.sample(now_ms)
        self.ops.sample(self.commands, now_ms)
        self.input_rate.sample(self.input_bytes, now_ms)
        self.output_rate.sample(self.output_bytes, now_ms)
        self.repl_input_rate.sample(self.repl_input_bytes, now_ms)
        self.repl_output_rate.sample(self.repl_output_bytes, now_ms)
