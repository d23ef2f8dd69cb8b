"""Running the commands of the primary's stream on this replica.

They run through the same handlers as those of clients, and on the same fast path, in the name of a pseudo-client
that no check stops (`GATE_PRIMARY`). While they run no key is past its expiry: the primary decides that, and says DEL.

What was received waits here as the chunks it came in; `run` applies them for a slice of time. The offset, which must be
exact whenever another task may look (a snapshot taken then claims it), counts whole commands and whole transactions:
what of a MULTI is queued already is not applied, and is asked for again after a broken link.
"""

from __future__ import annotations

import logging
from collections import deque
from time import perf_counter_ns
from typing import Any, Final

import attrs

from slotmesh.node.base.errors import ErrorReply
from slotmesh.node.clients.blocking import Blocking
from slotmesh.node.clients.client import GATE_PRIMARY, Client
from slotmesh.node.observe.calls import CallReports
from slotmesh.node.replication.local_expiry import LocalExpiry
from slotmesh.node.replication.stream import Stream
from slotmesh.node.replication.stream_parser import StreamParser, wire_length
from slotmesh.node.serving.dispatch import Dispatch
from slotmesh.node.serving.fast_path import best_path
from slotmesh.node.spec.registry import CommandSpec
from slotmesh.node.state import NodeState

log = logging.getLogger("node")

#: How many commands run between two looks at the clock.
_BATCH: Final = 32
#: A batch is short: the fast path need not look at the clock for it.
_NO_LIMIT_NS: Final = 2**63 - 1
#: In the middle of a chunk a slice may exceed its time by this factor: what a chunk's remainder weighs must be counted
#: command by command, at its end nothing must.
_OVERRUN: Final = 2


@attrs.frozen
class Applying:
    """What commands of a primary are run with."""

    state: NodeState
    dispatch: Dispatch
    blocking: Blocking
    reports: CallReports
    local_expiry: LocalExpiry


class Applier:
    """Applies one connection's stream; `client` is the pseudo-client, whose database outlives the connection."""

    def __init__(self, applying: Applying, stream: Stream, client: Client) -> None:
        state = self._state = applying.state
        self._dispatch = applying.dispatch
        self._blocking = applying.blocking
        self._local_expiry = applying.local_expiry
        self._stream = stream
        self._client = client
        self._path = best_path(state, applying.blocking, stream, applying.reports, self._finish)
        self._parser = StreamParser()
        #: Received, not parsed; parsed, not applied in full.
        self._chunks: deque[bytes] = deque()
        self._raw: deque[bytes] = deque()
        self._commands: list[list[bytes]] = []
        self._position = 0
        #: Bytes that were not even parsed yet.
        self.waiting_bytes = 0
        #: Bytes of this connection's stream that were applied and passed on.
        self._applied = 0
        #: Bytes of the transaction that is being received.
        self._queued = 0

    @property
    def unapplied(self) -> int:
        """Bytes received that are not applied yet."""
        return self.waiting_bytes + self._parser.fed - self._applied

    @property
    def has_work(self) -> bool:
        """Whether `run` would find anything to do; what remains else is the beginning of a command or transaction."""
        return bool(self._chunks) or self._position < len(self._commands)

    def take(self, data: bytes) -> None:
        """Keep the next bytes of the stream for `run`."""
        if data:
            self._chunks.append(data)
            self.waiting_bytes += len(data)

    def run(self, budget_ns: int) -> None:
        """Apply what was received: at least some of it, and for about `budget_ns`.

        Raises ProtocolError; nothing must be applied after that.
        """
        deadline = perf_counter_ns() + budget_ns
        latest = deadline + (_OVERRUN - 1) * budget_ns
        self._enter()
        try:
            while self.has_work:
                if self._position == len(self._commands):
                    self._parse(self._chunks.popleft())
                self._run_batch()
                if perf_counter_ns() > (deadline if self._position == len(self._commands) else latest):
                    break
        finally:
            self._leave()
            self._pass_on()

    def _parse(self, data: bytes) -> None:
        self.waiting_bytes -= len(data)
        self._raw.append(data)
        self._commands, self._position = [], 0
        self._commands = self._parser.feed(data)

    def _enter(self) -> None:
        """The primary's commands run now: no key is past its expiry."""
        self._state.keyspace.expiry_ignored.__enter__()
        self._local_expiry.suspended = True

    def _leave(self) -> None:
        """Clients may look again."""
        self._state.keyspace.expiry_ignored.__exit__()
        self._local_expiry.suspended = False

    def _run_batch(self) -> None:
        """Run some of the parsed commands, by the fast path as far as it goes."""
        client, blocking, commands = self._client, self._blocking, self._commands
        began = self._position
        end = min(began + _BATCH, len(commands))
        while self._position < end:
            if client.multi is None:
                self._position += self._path.run(client, commands[self._position : end], 0, _NO_LIMIT_NS)
                if blocking.ready:
                    self._serve_blocked()
                    continue
                if self._position == end:
                    break
            self._run_long(commands[self._position])
        self._state.stats.commands += self._position - began

    def _run_long(self, argv: list[bytes]) -> None:
        """Run a command that the fast path leaves: those of transactions, containers, unusual spellings."""
        client = self._client
        self._position += 1
        result = self._dispatch.execute(client, argv)
        if type(result) is ErrorReply:
            self._tell_error(argv, result)
        if client.multi is not None:
            self._queued += wire_length(argv)
        else:
            self._queued = 0
            if self._blocking.ready:
                self._serve_blocked()

    def _finish(self, client: Client, spec: CommandSpec, argv: list[bytes], result: Any) -> bool:
        """The fast path has an error; nobody waits for an answer."""
        self._tell_error(argv, result)
        return False

    @staticmethod
    def _tell_error(argv: list[bytes], error: ErrorReply) -> None:
        log.warning(
            "== CRITICAL == This replica is sending an error to its master: '%s' after processing the command '%s'",
            error.line.decode(errors="replace"),
            argv[0].decode(errors="replace"),
        )

    def _serve_blocked(self) -> None:
        """Clients of this replica that wait for a key are none of the primary's."""
        self._leave()
        self._blocking.serve_ready()
        self._enter()

    def _pass_on(self) -> None:
        """Count and relay the bytes of what was applied.

        What was not run yet is taken to be written as servers write it. A line (an inline command) is shorter,
        so the difference may come out below nothing; it is right again once the chunk has been run.
        """
        not_run = sum(map(wire_length, self._commands[self._position :]))
        size = max(0, self._parser.used - not_run - self._queued - self._applied)
        self._applied += size
        raw = self._raw
        while size:
            piece = raw.popleft()
            if len(piece) > size:
                raw.appendleft(piece[size:])
                piece = piece[:size]
            self._stream.relay(piece)
            size -= len(piece)


def new_primary_client(client: Client) -> Client:
    """Make `client` the pseudo-client for a primary."""
    client.set_gate(GATE_PRIMARY, True)
    return client
