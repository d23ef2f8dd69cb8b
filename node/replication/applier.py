"""Running the commands of the primary's stream on this replica.

They run through the same handlers as those of clients, in the name of a stand-in client that no check stops
(`GATE_PRIMARY`). While they run no key is past its expiry: the primary decides that, and says DEL.

The offset, which must be exact whenever another task may look (a snapshot taken then claims it), counts whole commands
and whole transactions: what of a MULTI is queued already is not applied, and is asked for again after a broken link.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from node.client import GATE_PRIMARY, Client
from node.dispatch import call, execute
from node.errors import ErrorReply
from node.keyspace.database import IGNORE
from node.pause import BY_CLIENT
from node.registry import LOOKUP
from node.replication.stream import Stream
from node.replication.stream_parser import StreamParser, wire_length

if TYPE_CHECKING:
    from node.server import Server

log = logging.getLogger("node")

#: How long commands may run before others get their turn, and how many run between two looks at the clock.
SLICE_NS: Final = 2_000_000
_LOOK_EVERY: Final = 32


class Applier:
    """Applies one connection's stream; `client` is the stand-in, whose database outlives the connection."""

    def __init__(self, server: Server, stream: Stream, client: Client) -> None:
        self._server = server
        self._stream = stream
        self._client = client
        self._parser = StreamParser()
        self._raw: list[bytes] = []
        #: Bytes of this connection's stream that were applied and passed on.
        self._applied = 0
        #: Bytes of the transaction that is being received.
        self._queued = 0

    @property
    def unapplied(self) -> int:
        """Bytes received that are not applied yet."""
        return self._parser.fed - self._applied

    def feed(self, data: bytes) -> Iterator[None]:
        """Run what `data` completes; yields whenever others should get their turn. Raises ProtocolError.

        CLIENT PAUSE holds the primary's commands back as well: it is the caller who waits then, at a yield.
        """
        self._raw.append(data)
        commands = self._parser.feed(data)
        if self._server.pause.is_paused_for(BY_CLIENT):
            yield
        client = self._client
        deadline = perf_counter_ns() + SLICE_NS
        self._enter()
        try:
            for position, argv in enumerate(commands, 1):
                self._run(argv)
                if client.multi is not None:
                    self._queued += wire_length(argv)
                elif self._queued:
                    self._queued = 0
                if not position % _LOOK_EVERY and perf_counter_ns() > deadline:
                    self._leave()
                    self._pass_on(sum(map(wire_length, commands[position:])))
                    yield
                    self._enter()
                    deadline = perf_counter_ns() + SLICE_NS
        finally:
            self._leave()
        self._pass_on(0)

    def _enter(self) -> None:
        """The primary's commands run now: no key is past its expiry."""
        self._server.keyspace.expiry_mode = IGNORE
        self._server.replication.local_expiry.suspended = True

    def _leave(self) -> None:
        """Clients may look again. The role may have changed meanwhile."""
        replication = self._server.replication
        self._server.keyspace.expiry_mode = replication.expiry_mode
        replication.local_expiry.suspended = False

    def _run(self, argv: list[bytes]) -> None:
        client, server = self._client, self._server
        spec = LOOKUP.get(argv[0])
        if (
            spec is not None
            and spec.quick
            and client.multi is None
            and spec.min_arity <= len(argv) <= spec.max_arity  # `execute` refuses what is not
        ):
            server.keyspace.hot_key = None
            result: Any = call(client, spec, argv)
        else:
            result = execute(client, argv)
        server.stats.commands += 1
        if type(result) is ErrorReply:
            log.warning(
                "== CRITICAL == This replica is sending an error to its master: '%s' after processing the command '%s'",
                result.line.decode(errors="replace"),
                argv[0].decode(errors="replace"),
            )
        if server.blocking.ready and client.multi is None:
            self._serve_blocked()

    def _serve_blocked(self) -> None:
        """Clients of this replica that wait for a key are none of the primary's."""
        self._leave()
        self._server.blocking.serve_ready()
        self._enter()

    def _pass_on(self, not_run: int) -> None:
        """Count and relay the bytes of what was applied; `not_run` of the bytes parsed have not been run yet."""
        applied = self._parser.used - not_run - self._queued
        size = applied - self._applied
        if size <= 0:
            return
        raw = self._raw[0] if len(self._raw) == 1 else b"".join(self._raw)
        if size == len(raw):
            self._raw = []
            self._stream.relay(raw)
        else:
            self._raw = [raw[size:]]
            self._stream.relay(raw[:size])
        self._applied = applied
        self._client.out.clear()


def new_primary_client(server: Server) -> Client:
    """The stand-in for a primary."""
    client = server.new_client()
    client.set_gate(GATE_PRIMARY, True)
    return client
