"""The fast path: commands that need no closer look, run one after the other.

A command takes it when nothing about the client, the server or the command asks for more (`node/serving/dispatch.py` is
the slow path): no gate is raised that concerns it, the command has no subcommands, the number of its arguments is
right, and its only key, if it has one, lies in a slot that this node serves. That is nearly every command of nearly
every client, so this loop is the hot path of the whole server, and the one place where a few nanoseconds are worth a
line.

It has a twin in `node/compiled/fast_path.pyx` with the same contract, used where it was built; `best_path` chooses.
What is here is what it means. Both are given `finish`, which takes over a reply of an unusual kind and says whether it
blocks the client.

The pseudo-client for the primary (GATE_PRIMARY) takes it as well, with a `finish` of its own: what the primary did
happens here, too, whatever clients may do at present and whoever serves the slot, and nobody is answered, so only
errors are handed to `finish`. Only SERVER_SLOT_STATS and SERVER_HOT_KEYS send it the slow path.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, Final, Protocol

from slotmesh.cluster.slots import key_slot
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.base.gates import SERVER_HOT_KEYS, SERVER_MONITORS, SERVER_SLOT_STATS
from slotmesh.node.base.native import compiled
from slotmesh.node.clients.block import Block
from slotmesh.node.clients.blocking import Blocking
from slotmesh.node.clients.client import GATE_ACL, GATE_PRIMARY, GATE_READONLY, Client
from slotmesh.node.observe.calls import CallReports
from slotmesh.node.observe.histogram import SHIFT as LATENCY_SHIFT
from slotmesh.node.resp.encoder import BULK_HEADER, CRLF, INTEGER, NULL3, NULL_BULK
from slotmesh.node.resp.values import OK
from slotmesh.node.spec.registry import GATES_OF_READERS, LOOKUP, UNKNOWN, CommandSpec
from slotmesh.node.state import NodeState

#: Takes (client, spec, argv, result); True when the result is a Block, that is: the client waits from here on.
Finish = Callable[[Client, CommandSpec, list[bytes], Any], bool]


#: Gates of a client that concern only some of its commands.
_SELECTIVE: Final = GATE_ACL | GATE_READONLY
#: Gates of the server that are checked for each client, and for the pseudo-client for the primary. Monitors are shown
#: commands of the fast path as well.
_ALL_GATES: Final = ~SERVER_MONITORS
_GATES_OF_WATCHERS: Final = SERVER_SLOT_STATS | SERVER_HOT_KEYS


def gates_are_open(client: Client, spec: CommandSpec, argv: list[bytes]) -> bool:
    """Whether the gates of this client, one of which is raised at least, have nothing against this command for sure."""
    gates = client.gates
    if gates & ~_SELECTIVE:
        return False
    if gates & GATE_ACL:
        prefixes = client.grants.get(spec, ())
        return prefixes is None or argv[spec.single_key].startswith(prefixes)
    return True


class Offsets(Protocol):
    """The replication stream, as far as clients wait for it."""

    @property
    def offset(self) -> int:
        """That of the last byte produced."""


class FastPath(Protocol):
    """What both twins are."""

    def run(self, client: Client, commands: list[list[bytes]], position: int, until_ns: int) -> int:
        """Run `commands` from `position` on; the position of the first that did not run.

        That one is for the slow path, unless the command before it blocked the client (then the position comes back
        negated), made somebody ready who was blocked, ended the connection, or was over at `until_ns` or later.
        """


class PlainFastPath:
    """The fast path in plain Python."""

    def __init__(
        self, state: NodeState, blocking: Blocking, stream: Offsets, reports: CallReports, finish: Finish
    ) -> None:
        self._state = state
        self._ready = blocking.ready
        self._stream = stream
        self._reports = reports
        self._finish = finish

    def run(self, client: Client, commands: list[list[bytes]], position: int, until_ns: int) -> int:
        """See `FastPath.run`."""
        state, reports = self._state, self._reports
        keyspace = state.keyspace
        follows = client.gates & GATE_PRIMARY
        checked = _GATES_OF_WATCHERS if follows else _ALL_GATES
        own_slots = None if follows else state.served
        slow_nanos = state.slow_nanos
        ready = self._ready
        stream = self._stream
        out = client.out
        lookup = LOOKUP
        total = len(commands)
        ran: CommandSpec | None = None
        last = perf_counter_ns()
        while position < total:
            argv = commands[position]
            spec = lookup.get(argv[0], UNKNOWN)
            server_gates = state.gates
            if (
                server_gates & spec.checked_gates & checked
                or not spec.on_fast_path
                or not spec.min_arity <= len(argv) <= spec.max_arity
            ):
                break
            served = own_slots
            if client.gates != follows:
                if not gates_are_open(client, spec, argv):
                    break
                if client.gates & GATE_READONLY and spec.checked_gates == GATES_OF_READERS:
                    served = state.readable
            if served is not None and spec.single_key:
                if spec.single_key < 0:
                    break
                key = argv[spec.single_key]
                slot = key_slot(key) if b"{" in key else crc_hqx(key, 0) & 0x3FFF
                if not served[slot]:
                    break
                keyspace.hot_key = key
                keyspace.hot_slot = slot
            position += 1
            ran = spec
            dirty = keyspace.dirty
            try:
                result = spec.run(client, argv)
            except CommandError as error:
                result = error.reply
                spec.failed_calls += 1
                state.stats.count_error(result)
            except Exception:  # a bug of ours: it is logged, and must not end the process that holds the data
                result = reports.handler_failed(spec, argv)
            if keyspace.dirty > dirty or client.rewritten is not None:
                state.propagation.after_command(client, argv)
                client.write_offset = stream.offset
            now = perf_counter_ns()
            kind = type(result)
            if kind is not Block:  # else it counts once it is served
                spec.calls += 1
                spec.nanos += now - last
            timings = spec.timings
            if timings is not None:
                try:
                    timings[now - last >> LATENCY_SHIFT] += 1
                except IndexError:
                    reports.note_latency(spec, now - last)
            if now - last >= slow_nanos and kind is not Block:
                reports.note_slow(client, spec, argv, now - last)
            last = now
            if server_gates & SERVER_MONITORS:
                reports.monitors.called(client, spec, argv)
            if follows:
                if kind is ErrorReply:
                    self._finish(client, spec, argv, result)
            elif kind is bytes:
                size = len(result)
                if size < 1024:
                    out.append(BULK_HEADER[size] + result + CRLF)
                else:
                    header = b"$%d\r\n" % size
                    out += (header, result, CRLF)
                    size += len(header) + 2
                    if size >= state.reply_limit:
                        reports.note_large_reply(client, argv, size)
            elif result is OK:
                out.append(b"+OK\r\n")
            elif kind is int and 0 <= result < 1024:
                out.append(INTEGER[result])
            elif result is None:
                out.append(NULL3 if client.resp3 else NULL_BULK)
            elif self._finish(client, spec, argv, result):
                position = -position
                break
            if now >= until_ns or ready or (client.sock is None and not follows) or client.close_after_reply:
                break
        if ran is not None:
            client.last_command = ran.full_name
        return position


class Kinds:
    """What the compiled fast path has to recognise, so that it needs no import of ours."""

    lookup: Final = LOOKUP
    client: Final = Client
    spec: Final = CommandSpec
    error: Final = CommandError
    error_reply: Final = ErrorReply
    block: Final = Block
    ok: Final = OK
    latency_shift: Final = LATENCY_SHIFT
    gates_are_open: Final = staticmethod(gates_are_open)
    readonly_gate: Final = GATE_READONLY
    gates_of_readers: Final = GATES_OF_READERS
    primary_gate: Final = GATE_PRIMARY
    gates_of_watchers: Final = _GATES_OF_WATCHERS
    all_gates: Final = _ALL_GATES
    monitors_gate: Final = SERVER_MONITORS


def best_path(state: NodeState, blocking: Blocking, stream: Offsets, reports: CallReports, finish: Finish) -> FastPath:
    """The compiled fast path where it was built, else the plain one."""
    if compiled is not None:
        path: FastPath = compiled.FastPath(state, blocking, stream, reports, Kinds, finish)
        return path
    return PlainFastPath(state, blocking, stream, reports, finish)
