"""What is reported of calls beyond their counters: slow ones, the first of their kind, failures of handlers of ours.

Both twins of the fast path, and dispatch, report here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import ErrorReply
from slotmesh.node.clients.client import Client
from slotmesh.node.observe.command_log import CommandLogs
from slotmesh.node.observe.histogram import Histogram
from slotmesh.node.observe.monitors import Monitors
from slotmesh.node.spec import registry
from slotmesh.node.spec.registry import CommandSpec
from slotmesh.node.state import NEVER, NodeState

log = logging.getLogger("node")

INTERNAL_ERROR: Final = ErrorReply(
    "ERR internal error: the command failed in a way that is a bug of this server; see its log"
)


class CallReports:
    """The reports of one node. `monitors` are shown every call while there are any."""

    def __init__(self, state: NodeState, monitors: Monitors, principal: Callable[[Client], Client]) -> None:
        """`principal`: the client that a pseudo-client of scripts speaks for."""
        self._state = state
        self._principal = principal
        self.monitors = monitors
        self.command_logs = CommandLogs(state, self.set_slow_threshold)
        self.note_large_reply = self.command_logs.note_reply

    def wire(self) -> None:
        """Follow the configuration from now on."""
        config = self._state.config
        config.on_change("latency-monitor-threshold", lambda _: self.set_slow_threshold())
        self.command_logs.wire()
        config.on_change("latency-tracking", self.set_latency_tracking)
        self.set_latency_tracking(config.latency_tracking)

    def set_slow_threshold(self) -> None:
        """What is reported to `note_slow`: whatever the slow log or the latency monitor may want."""
        state = self._state
        spike_ms = state.latency.threshold_ms = state.config.latency_monitor_threshold
        spike_nanos = spike_ms * 1_000_000 if spike_ms else NEVER
        state.slow_nanos = min(self.command_logs.slow.wanted_from * 1000, spike_nanos, NEVER)

    @staticmethod
    def set_latency_tracking(on: bool) -> None:
        """`latency-tracking`: whether the histograms of commands are kept up."""
        for spec in registry.every_spec():
            spec.timings = None if not on else [] if spec.latency is None else spec.latency.counts

    def note_slow(self, client: Client, spec: CommandSpec, argv: list[bytes], nanos: int) -> None:
        """A command took longer than the slow log or the latency monitor lets pass."""
        # 7.0 names no client for what a script calls.
        shown = self._principal(client) if COMPAT.newer else client
        self.command_logs.slow.maybe_add(shown, spec, argv, nanos // 1000)
        event = "fast-command" if spec.flags & registry.FAST else "command"
        self._state.latency.add(event, nanos // 1_000_000, self._state.clock.now_ms // 1000)

    @staticmethod
    def note_latency(spec: CommandSpec, nanos: int) -> None:
        """Record how long a call took: the first of its command, or one that the fast path cannot."""
        if spec.latency is None:
            spec.latency = Histogram()
            spec.timings = spec.latency.counts
        spec.latency.add(nanos)

    @staticmethod
    def handler_failed(spec: CommandSpec, argv: list[bytes]) -> ErrorReply:
        """A handler raised something else than CommandError: a bug of ours, which must not take the data with it."""
        log.exception("a handler failed: command %r with %d arguments", spec.full_name, len(argv))
        spec.failed_calls += 1
        return INTERNAL_ERROR

    def reset(self) -> None:
        """CONFIG RESETSTAT: the counters of all commands start again."""
        for spec in registry.every_spec():
            spec.calls = spec.nanos = spec.rejected_calls = spec.failed_calls = 0
            spec.latency = None
        self.set_latency_tracking(self._state.config.latency_tracking)
