"""Receiving: what clients send is read, parsed and run, by each client for no longer than its turn.

Commands cannot be stopped half-way, but between two of them a client gives way when its turn is over: what it has sent
beyond that stays in `Client.commands`, or in its parser, and goes on in the next pass. Meanwhile nothing more is read
from it, so what it can make us hold is one chunk. A turn is measured in time, not in commands, because a pipeline of
MIGRATE, SORT or EVAL takes a thousand times as long as one of GET (docs/adr/0009).

The clients of a pass share `share_ns`; a turn is the share of one of them, but `least_turn_ns` at least. Who has not
had a turn when the time of all is over has it in the next pass, before the others. Every turn runs one command at
least, so nobody waits for ever.
"""

from __future__ import annotations

import logging
from time import perf_counter_ns
from typing import Any, Final, Protocol

from slotmesh.node.base.errors import ErrorReply
from slotmesh.node.clients.block import Block
from slotmesh.node.clients.blocking import Blocking
from slotmesh.node.clients.client import GATE_LARGE_REQUEST, Client
from slotmesh.node.clients.pause import Pause
from slotmesh.node.observe.calls import CallReports
from slotmesh.node.observe.command_log import has_bytes
from slotmesh.node.resp.parser import NOTHING_PARSED, ProtocolError, RequestParser, parse_plain
from slotmesh.node.serving.checks import Deferred
from slotmesh.node.serving.dispatch import Dispatch
from slotmesh.node.serving.fast_path import Offsets, best_path
from slotmesh.node.spec.registry import UNKNOWN, CommandSpec
from slotmesh.node.state import NodeState

log = logging.getLogger("node")

#: What all turns of one kind may take in a pass.
SHARE_NS: Final = 2_000_000
#: The shortest turn: below it, taking turns would cost more than the commands.
LEAST_TURN_NS: Final = 250_000
READ_SIZE: Final = 64 * 1024
#: In the middle of a long argument.
LONG_READ_SIZE: Final = 1024 * 1024
#: Commands of one turn before authentication: about as many short replies as `Output` lets a stranger have unread.
STRANGERS_COMMANDS: Final = 256


class Passes(Protocol):
    """The other half: what the data plane does between clients."""

    stopping: bool
    #: Clients with replies that no pass has sent yet.
    touched: list[Client]

    def drop(self, client: Client) -> None:
        """Close the connection of `client`."""

    def fault(self, client: Client) -> None:
        """For `except` clauses: a bug of ours costs `client` its connection."""

    def serve_ready(self) -> None:
        """Serve the clients whose keys have changed."""


class Input:
    """The receiving half of the data plane."""

    def __init__(
        self,
        state: NodeState,
        plane: Passes,
        dispatch: Dispatch,
        blocking: Blocking,
        pause: Pause,
        reports: CallReports,
        stream: Offsets,
    ) -> None:
        self._state = state
        self._plane = plane
        self._dispatch = dispatch
        self._blocking = blocking
        self._pause = pause
        self._reports = reports
        self.path = best_path(state, blocking, stream, reports, self._finish)
        self.share_ns = SHARE_NS
        self.least_turn_ns = LEAST_TURN_NS
        #: How long a turn of this pass may be.
        self.turn_ns = SHARE_NS
        #: Clients that have commands left, or may run what they sent while they were blocked or paused; in order.
        self.going_on: dict[Client, None] = {}
        #: Those of them who gave way in this pass.
        self._had_turn: set[Client] = set()

    def begin_pass(self, clients: int) -> None:
        """So many clients are about to share the time of a pass."""
        self.turn_ns = max(self.share_ns // max(clients, 1), self.least_turn_ns)
        self._had_turn.clear()

    def run_going_on(self) -> None:
        """Give those who go on, and had no turn in this pass, one each, as far as the time reaches."""
        now_ns = perf_counter_ns()
        end_ns = now_ns + self.share_ns
        served = False
        for client in list(self.going_on):
            if client in self._had_turn:
                continue
            if served and now_ns >= end_ns:
                break
            served = True
            self.going_on.pop(client, None)
            if client.sock is not None and client.blocked is None:
                try:
                    self._run_waiting(client, now_ns + self.turn_ns)
                except Exception:  # a bug of ours
                    self._plane.fault(client)
            now_ns = perf_counter_ns()

    def _give_way(self, client: Client) -> None:
        """The turn of `client` is over, and it has more to do."""
        self.going_on[client] = None
        self._had_turn.add(client)

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self, client: Client) -> None:
        """The socket of `client` has something to say."""
        assert client.sock is not None
        if self._plane.stopping or client in self.going_on:
            return
        parser = client.parser
        try:
            chunk = client.sock.recv(LONG_READ_SIZE if parser is not None and parser.in_long_argument else READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._plane.drop(client)
            return
        if chunk:
            self.take_chunk(client, chunk)
        else:
            self._plane.drop(client)

    def take_chunk(self, client: Client, chunk: bytes) -> None:
        """Parse what a client sent, with what it sent before, and run it."""
        state = self._state
        stats = state.stats
        stats.input_bytes += len(chunk)
        stats.reads += 1
        client.input_bytes += len(chunk)
        client.last_used_ms = state.clock.now_ms
        if client.close_after_reply:
            return
        until_ns = perf_counter_ns() + self.turn_ns
        parser = client.parser
        if parser is None or parser.untouched:
            if parser is not None:
                chunk = parser.take_held() + chunk
            parsed, used, rest_is_plain = parse_plain(chunk) if client.authenticated else NOTHING_PARSED
            if used == len(chunk):
                client.parser = None
                self._run_or_keep(client, parsed, until_ns)
                return
            if parser is None:
                parser = client.parser = RequestParser(state.config.proto_max_bulk_len, client.authenticated)
            parser.feed(chunk[used:])
            if used:
                parser.needs_more = rest_is_plain
                self._run_or_keep(client, parsed, until_ns)
                if rest_is_plain:
                    return  # the rest of it comes with the next chunk
        else:
            parser.feed(chunk)
        if parser.held_bytes > state.config.client_query_buffer_limit:
            log.warning("closing client %s that reached the max query buffer length", client.addr)
            stats.query_buffer_disconnections += 1
            self._plane.drop(client)
        elif client.blocked is None and client not in self.going_on:
            self._run_waiting(client, until_ns)

    # -- running ---------------------------------------------------------------------------------------------

    def _run_or_keep(self, client: Client, commands: list[list[bytes]], until_ns: int) -> None:
        """Run what was parsed, or keep it for later behind what the client waits for."""
        if client.commands or client.blocked is not None:
            client.commands += commands
        else:
            self._run(client, commands, until_ns)

    def _run_waiting(self, client: Client, until_ns: int) -> None:
        """Run what is parsed already, then what the exact parser yields, until the client blocks, runs dry or has had
        its turn."""
        if self._plane.stopping:
            return
        ran = 0
        if client.commands:
            commands, client.commands = client.commands, []
            self._run(client, commands, until_ns)
            ran = 1
        parser = client.parser
        if parser is None or parser.needs_more:
            return
        while (
            client.sock is not None and client.blocked is None and not client.commands and not client.close_after_reply
        ):
            if ran and (perf_counter_ns() >= until_ns or (ran >= STRANGERS_COMMANDS and not client.authenticated)):
                self._give_way(client)
                return
            ran += 1
            parser.authenticated = client.authenticated
            try:
                argv = parser.next_step()
            except ProtocolError as error:
                client.parser = None
                reply = ErrorReply(f"ERR {error}")
                self._state.stats.count_error(reply)
                client.reply(reply)
                client.close_after_reply = True
                return
            if argv is None:
                if parser.idle:
                    client.parser = None
                return
            if argv:
                if has_bytes(argv, self._state.request_limit):
                    client.set_gate(GATE_LARGE_REQUEST, True)
                self._run(client, [argv], until_ns)

    def _run(self, client: Client, commands: list[list[bytes]], until_ns: int) -> None:
        """Run parsed commands in order; the replies gather in `client.out`."""
        self.run_from(client, commands, self.path.run(client, commands, 0, until_ns), until_ns)

    def run_from(self, client: Client, commands: list[list[bytes]], position: int, until_ns: int) -> None:
        """Go on where the fast path stopped: run what it leaves, and enter it again, while the turn lasts.

        `commands` are those of this turn: what lies before `position` has run in it.
        """
        execute = self._dispatch.execute
        total = len(commands)
        while True:
            if position < 0:
                position = -position
                client.commands = commands[position:]
                break  # whatever wakes the client goes on from `client.commands`
            if not self._goes_on(client) or position == total:
                break
            if position and perf_counter_ns() >= until_ns:
                client.commands = commands[position:]
                self._give_way(client)
                break
            argv = commands[position]
            try:
                result = execute(client, argv)
            except Deferred:
                client.commands = commands[position:]
                self._pause.defer(client)
                break
            position += 1
            if self._finish(client, UNKNOWN, argv, result):
                client.commands = commands[position:]
                break
            if not self._goes_on(client) or position == total:
                break
            position = self.path.run(client, commands, position, until_ns)
        self._state.stats.commands += position
        client.commands_run += position
        if client.out and not client.pending:
            client.pending = True
            self._plane.touched.append(client)
        if client.close_at_once:
            self._plane.drop(client)

    def _goes_on(self, client: Client) -> bool:
        """Between two commands: serve those whom the last one woke; whether `client` may run the next."""
        if self._blocking.ready:
            self._plane.serve_ready()
        return client.sock is not None and not client.close_after_reply

    def _finish(self, client: Client, spec: CommandSpec, argv: list[bytes], result: Any) -> bool:
        """Encode a reply of any kind. Returns True for a `Block`: there is no reply yet, and the client waits."""
        if type(result) is Block:
            self._block(client, result, spec, argv)
            return True
        out = client.out
        before = len(out)
        client.add_reply(result)
        size = sum(map(len, out[before:]))
        if size >= self._state.reply_limit:
            self._reports.note_large_reply(client, argv, size)
        return False

    def _block(self, client: Client, block: Block, spec: CommandSpec, argv: list[bytes]) -> None:
        if block.spec is None:
            block.spec, block.argv = spec, argv
        client.commands_run -= 1  # it counts once it is served
        self._blocking.block(client, block, self._state.clock.mono_ms)
        if block.deadline_ms:
            self._blocking.timers_changed()
