"""From a request to its reply: the checks every command passes, in one fixed order, and the call itself.

The data plane has a shorter path for commands of clients and servers without any gate raised (`data_plane.py`); it
leads to the same handlers. Everything else comes through `Dispatch.execute`:

    known -> the checks of `checks.py` -> queue in MULTI, or run
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, Final

from slotmesh.cluster.numbers import to_uint
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.base.gates import (
    SERVER_COMMAND_LOG,
    SERVER_HOT_KEYS,
    SERVER_MONITORS,
    SERVER_SLOT_STATS,
)
from slotmesh.node.clients.block import Block
from slotmesh.node.clients.client import (
    GATE_ASKING,
    GATE_IMPORT,
    GATE_LARGE_REQUEST,
    GATE_MONITOR,
    GATE_MULTI,
    GATE_NO_TOUCH,
    GATE_REPLY,
    GATE_SUBSCRIBED,
    GATE_TRACKING,
    REPLY_OFF,
    REPLY_ON,
    REPLY_SKIP,
    REPLY_SKIP_NEXT,
    Client,
)
from slotmesh.node.clients.import_mode import Importing
from slotmesh.node.clients.tracking import Tracking
from slotmesh.node.clients.watching import Watching
from slotmesh.node.observe.calls import INTERNAL_ERROR, CallReports
from slotmesh.node.observe.hot_keys import HotKeys
from slotmesh.node.observe.slot_stats import NO_SLOT
from slotmesh.node.resp.values import NO_REPLY, QUEUED, Many, Push
from slotmesh.node.serving.checks import Checks, Deferred
from slotmesh.node.serving.http_guard import HTTP_WORDS, HttpGuard
from slotmesh.node.spec import registry
from slotmesh.node.spec.registry import CommandSpec
from slotmesh.node.state import NodeState

_REDIRECTIONS: Final = frozenset((b"MOVED", b"ASK", b"CROSSSLOT", b"CLUSTERDOWN", b"TRYAGAIN", b"REDIRECT"))


def _use_up_asking(client: Client, spec: CommandSpec | None) -> None:
    """ASKING holds for one command, whatever becomes of that, or for one transaction."""
    if client.multi is None and (spec is None or spec.name != b"asking"):
        client.set_gate(GATE_ASKING, False)


def _spoken(client: Client, result: Any) -> Any:
    """`result`, unless CLIENT REPLY silences it. Pushes are never silenced."""
    mode = client.reply_mode
    if mode == REPLY_ON or type(result) in (Push, Many, Block):
        return result
    if mode == REPLY_SKIP_NEXT:
        client.reply_mode = REPLY_SKIP
        return NO_REPLY
    if mode == REPLY_SKIP:
        client.reply_mode = REPLY_ON
        client.set_gate(GATE_REPLY, False)
        return NO_REPLY
    assert mode == REPLY_OFF
    return NO_REPLY


class Dispatch:
    """The slow path of one node."""

    __slots__ = (
        "_checks",
        "_command_logs",
        "_hot_keys",
        "_http_guard",
        "_importing",
        "_monitors",
        "_reports",
        "_state",
        "_tracking",
        "_watching",
        "_write_offset",
        "checks",
    )

    def __init__(
        self,
        state: NodeState,
        checks: Checks,
        reports: CallReports,
        *,
        hot_keys: HotKeys,
        http_guard: HttpGuard,
        importing: Importing,
        tracking: Tracking,
        watching: Watching,
        write_offset: Callable[[], int],
    ) -> None:
        """`write_offset`: that of the replication stream after the last write."""
        self._state = state
        self.checks = checks
        self._checks = checks.in_order
        self._reports = reports
        self._monitors = reports.monitors
        self._command_logs = reports.command_logs
        self._hot_keys = hot_keys
        self._http_guard = http_guard
        self._importing = importing
        self._tracking = tracking
        self._watching = watching
        self._write_offset = write_offset

    def execute(self, client: Client, argv: list[bytes]) -> Any:
        """Check and run one request; the value to reply, an error included.

        Raises Deferred when the request must wait for a pause to end.
        """
        spec = None
        if client.gates & GATE_TRACKING:
            self._tracking.limit_table(self._state.config.tracking_table_max_keys)
        if client.gates & GATE_MONITOR:
            self._monitors.hand_out()
        try:
            spec = registry.find(argv)
            client.last_command = spec.full_name
            judged = spec if spec.judge is None else spec.judged(client, argv)
            for check in self._checks:
                check(client, judged, argv)
        except Deferred:
            raise
        except CommandError as error:
            return self._refuse(client, spec, argv, error.reply)
        except Exception:  # a bug of ours: nothing has run
            self._state.complaints.fault(f"a check of {argv[0][:64]!r}")
            return self._refuse(client, spec, argv, INTERNAL_ERROR)
        if client.multi is not None and not spec.flags & registry.NOT_QUEUED:
            client.multi.append((spec, argv))
            if spec.name == b"select":
                client.queued_db = to_uint(argv[1])
            if self._state.gates & SERVER_SLOT_STATS and self.checks.cluster is not None:
                self.checks.cluster.slot_stats.queued(spec, argv)
            result: Any = QUEUED
        else:
            call = self._call_listener if client.gates & GATE_SUBSCRIBED else self.call
            result = call(client, spec, argv)
            if client.gates & GATE_ASKING:
                _use_up_asking(client, spec)
        if client.gates & GATE_LARGE_REQUEST or self._state.gates & SERVER_COMMAND_LOG:
            client.set_gate(GATE_LARGE_REQUEST, False)
            self._command_logs.note_request(client, spec, argv)
        return _spoken(client, result)

    def _refuse(self, client: Client, spec: CommandSpec | None, argv: list[bytes], error: ErrorReply) -> Any:
        """A request did not pass its checks, or is of no command that we know (no `spec`); what to reply."""
        client.set_gate(GATE_LARGE_REQUEST, False)
        if spec is None and argv[0].lower() in HTTP_WORDS and client.sock is not None:
            self._http_guard.turn_away(client)
            return NO_REPLY
        if spec is not None:
            spec.rejected_calls += 1
        if spec is not None and spec.full_name == b"exec":
            error = self._reject_exec(client, error)
        elif client.multi is not None:
            client.multi_failed = True
        if client.gates & GATE_ASKING:
            _use_up_asking(client, spec)
        self._state.stats.count_error(error)
        return _spoken(client, error)

    def _call_listener(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> Any:
        """Run a command of a client with subscriptions. From level 7.2 on, messages that it causes and gets itself
        follow its reply; before, they precede it.
        """
        if not COMPAT.newer:
            return self.call(client, spec, argv)
        client.to_follow = []
        try:
            result = self.call(client, spec, argv)
        finally:
            messages, client.to_follow = client.to_follow, None
        if not messages:
            return result
        if type(result) is Block:
            client.reply(Many(messages))
            return result
        replies = result.items if type(result) is Many else [_spoken(client, result)]
        return Many([*replies, *messages])

    def leave_multi(self, client: Client) -> None:
        """Forget the queue of MULTI, and the watches with it."""
        client.multi = client.queued_db = None
        client.multi_failed = False
        client.set_gate(GATE_MULTI, False)
        self._watching.unwatch(client)

    def _reject_exec(self, client: Client, error: ErrorReply) -> ErrorReply:
        """EXEC may not run: the transaction is over. A redirection stays one, so that clients understand it."""
        self.leave_multi(client)
        if error.code in _REDIRECTIONS:
            return error
        return ErrorReply(b"EXECABORT Transaction discarded because of: " + error.line.removeprefix(b"ERR "))

    def call(self, client: Client, spec: CommandSpec, argv: list[bytes], *, again: bool = False) -> Any:
        """Run a command that passed its checks: statistics, propagation, slow log. Errors are returned, not raised.

        EXEC, scripts and blocked clients that are served call this directly; the latter run their command `again`. A
        command that blocks counts as a call once it is served.
        """
        keyspace = self._state.keyspace
        if client.gates & GATE_TRACKING:
            self._tracking.before_command(client)
        access = keyspace.access
        quiet = (
            client.gates & GATE_NO_TOUCH
            and not spec.flags & registry.ADMIN
            and not spec.full_name.startswith(b"object|")
        )
        if quiet:  # commands that tell of access times touch nothing, and need them
            keyspace.access = None
        sees_expired = client.gates & GATE_IMPORT and self._importing.sees_expired(client)
        if sees_expired:
            keyspace.expiry_ignored.__enter__()
        slot_stats = None
        if self._state.gates & SERVER_SLOT_STATS and self.checks.cluster is not None:
            slot_stats = self.checks.cluster.slot_stats
        slot = NO_SLOT if slot_stats is None else slot_stats.slot_of(client, spec, argv)
        dirty = keyspace.dirty
        client.last_command = spec.full_name
        started = perf_counter_ns()
        try:
            assert spec.handler is not None
            result = spec.handler(client, argv)
        except CommandError as error:
            spec.failed_calls += 1
            self._state.stats.count_error(error.reply)
            result = error.reply
        except Exception:  # a bug of ours, as in the data plane
            result = self._reports.handler_failed(spec, argv)
        if quiet and keyspace.access is None:
            keyspace.access = access
        if sees_expired:
            keyspace.expiry_ignored.__exit__()
        nanos = perf_counter_ns() - started
        if type(result) is not Block:
            spec.calls += 1
            spec.nanos += nanos
        if spec.timings is not None:
            self._reports.note_latency(spec, nanos)
        if keyspace.dirty > dirty or client.rewritten is not None:
            self._state.propagation.after_command(client, argv)
            client.write_offset = self._write_offset()
        if slot_stats is not None and slot != NO_SLOT:
            slot_stats.called(slot, client, spec, argv, nanos, result, again=again)
        if self._state.gates & SERVER_HOT_KEYS:
            self._hot_keys.called(client, spec, argv, nanos, result)
        if nanos >= self._state.slow_nanos and type(result) is not Block:
            self._reports.note_slow(client, spec, argv, nanos)
        if self._state.gates & SERVER_MONITORS and not again:
            self._monitors.called(client, spec, argv)
        if client.gates & GATE_TRACKING:
            self._tracking.after_command(client, spec, argv)
        if type(result) is Block:
            if client.deny_blocking or client.in_exec:
                return result.timeout_reply()
            result.spec, result.argv = spec, argv
        return result

    def run_again(self, client: Client, block: Block) -> Any:
        """Try a blocked command once more: its reply, or a Block when it must go on waiting.

        Level 7.2 asks first whether the client's user still may.
        """
        if COMPAT.newer:
            try:
                self.checks.check_acl(client, block.spec, block.argv)
            except CommandError as error:
                block.spec.rejected_calls += 1
                self._state.stats.count_error(error.reply)
                return error.reply
        return self.call(client, block.spec, block.argv, again=True)
