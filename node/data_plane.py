"""The data plane: one epoll loop in one trio task serves every client.

A pass takes the sockets that have something to say, and for each: receive, parse all whole commands, run them in order,
gather the replies. At the end of the pass, and only then, what the commands changed is written to the append-only file,
and every client gets its replies in one send. So nobody is told of a change that the log does not know, and the cost of
a system call is shared by a whole pipeline.

trio waits for the epoll descriptor itself; per wake-up the loop goes on until poll finds nothing, or until it has held
the processor for `SLICE_NS`, so that the bus, the replicas and the timers get their turn. A task per client would cost
four times as much as the commands themselves (docs/adr/0001).

Code outside a pass (bus, timers, the primary's stream) may reply to clients as well: `touch` then wakes the loop by an
eventfd.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

import trio

from node.accepting import Acceptor
from node.blocking import Block
from node.client import GATE_LARGE_REQUEST, GATE_PRIMARY, Client
from node.dispatch import SERVER_BUSY, SERVER_LOADING, Deferred, execute
from node.errors import ErrorReply
from node.fibers import DONE
from node.native import compiled
from node.observe.command_log import has_bytes
from node.output import IN, OUT, Output
from node.registry import UNKNOWN, CommandSpec
from node.resp.parser import NOTHING_PARSED, ProtocolError, RequestParser, parse_quick
from node.straight import best_road

if TYPE_CHECKING:
    from node.server import Server

log = logging.getLogger("node")

SLICE_NS: Final = 2_000_000
READ_SIZE: Final = 64 * 1024
#: In the middle of a long command.
LONG_READ_SIZE: Final = 1024 * 1024


class DataPlane:
    """Sockets of clients: accepting, reading, running, writing, closing."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._epoll = select.epoll()
        self._output = Output(server, self._epoll, self.drop)
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self.acceptor = Acceptor(self._epoll, self._admit)
        self._clients: dict[int, Client] = {}
        #: Clients with replies that no pass has sent yet, and replicas with something of the stream.
        self.touched: list[Client] = []
        self._fed_replicas: list[Client] = []
        self._resumed: list[Client] = []
        self._in_pass = False
        self._road = best_road(server, self._finish)
        #: Serves the clients about whom there is nothing special; None where it was not built.
        self._turn = None if compiled is None else compiled.Turn(server, Client, self._road, self)
        #: The socket of the client whose script gives way.
        self._busy_fd = -1
        self.stopping = False

    # -- life ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled or `stopping`."""
        epoll_fd = self._epoll.fileno()
        fibers = self.server.fibers
        worker = fibers.worker(self._run_passes)
        while not self.stopping:
            await trio.lowlevel.wait_readable(epoll_fd)
            if worker.switch() is not DONE:
                await fibers.finish(worker, self._serve_others)

    def _run_passes(self) -> None:
        stats = self.server.stats
        started = perf_counter_ns()
        deadline = started + SLICE_NS
        while events := self._epoll.poll(0):
            self.run_pass(events)
            now = perf_counter_ns()
            stats.loop.end_cycle(now - started, stats.commands)
            if now > deadline:
                break
            started = now

    def close(self) -> None:
        """Drop every client and listener."""
        self.acceptor.close()
        for client in list(self._clients.values()):
            self.drop(client)
        os.close(self._wake_fd)
        self._epoll.close()

    # -- a pass ----------------------------------------------------------------------------------------------

    def run_pass(self, events: list[tuple[int, int]]) -> None:
        """One round over the sockets that are ready."""
        server = self.server
        server.clock.refresh()
        server.keyspace.now_ms = server.clock.now_ms
        if server.cluster is not None:
            server.cluster.begin_pass()
        if server.config.maxmemory:
            server.eviction.look()
        self._in_pass = True
        clients = self._clients
        if self._turn is not None:
            events = self._turn.receive(events, clients)
        for fd, event in events:
            client = clients.get(fd)
            if client is not None:
                if event & ~OUT:
                    self._read(client)
                if event & OUT and client.unsent is not None:
                    self._output.send_more(client)
            elif fd in self.acceptor.listeners:
                self.acceptor.accept(fd)
            elif fd == self._wake_fd:
                os.eventfd_read(fd)
        self._serve_waiting()
        if self._resumed:
            self._run_resumed()
        self.flush()

    def give_way(self, caller: Client) -> None:
        """Let others have their turn while a script of `caller` runs. What of the pass under way is not done waits.

        Time stands still for the script: keys do not expire under it.
        """
        server = self.server
        keyspace, cluster = server.keyspace, server.cluster
        now_ms, in_pass = keyspace.now_ms, self._in_pass
        pass_began_ms = None if cluster is None else cluster.pass_began_ms
        mine = [client for client in self.touched if client is caller]
        self.touched = [client for client in self.touched if client is not caller]
        server.fibers.halfway = True
        if self.touched:
            self.flush()  # of the pass that the script belongs to
        self._in_pass = False
        self._busy_fd = caller.fd
        server.fibers.give_way()
        self._busy_fd = -1
        self.touched = mine + self.touched
        self._in_pass = in_pass
        keyspace.now_ms = now_ms
        if cluster is not None and pass_began_ms is not None:
            cluster.pass_began_ms = pass_began_ms

    def _serve_others(self) -> None:
        """A pass while a script, begun in another pass, waits."""
        # What its caller sends meanwhile stays in the socket, where level-triggered epoll finds it again.
        events = [event for event in self._epoll.poll(0) if event[0] != self._busy_fd]
        if events:
            self.run_pass(events)

    def flush(self) -> None:
        """End of a pass: the log first, then the replicas, then the replies: nobody is told of a write that would be
        lost with this process, as far as the replicas' sockets take it."""
        self._serve_waiting()
        self._in_pass = True  # whoever is touched now is served below; no need to wake the loop
        self.server.before_replies()
        self._in_pass = False
        touched, self.touched = self.touched, []
        fed, self._fed_replicas = self._fed_replicas, []
        cluster = self.server.cluster
        unsafe = cluster is not None and cluster.lease_outlasted()
        if fed:
            self._send(fed, unsafe)
        if self._turn is not None and not unsafe:
            touched = self._turn.send(touched)
        self._send(touched, unsafe)

    def _send(self, clients: list[Client], unsafe: bool) -> None:
        for client in clients:
            client.pending = False
            if client.sock is None:
                continue
            if unsafe:
                self.drop(client)  # it may not be told of a write that the successor of this primary does not have
            else:
                self._output.send(client)

    def _serve_waiting(self) -> None:
        """End of a pass: serve the clients that wait for what no command did (keys expired, were evicted, gave way to
        other data; a log was switched off).
        """
        if self.server.blocking.ready:
            self._serve_ready()
        self.server.replication.serving.waiting.check()

    def _serve_ready(self) -> None:
        """Serve the clients whose keys have changed, unless the change is still going on."""
        server = self.server
        if not server.gates & (SERVER_BUSY | SERVER_LOADING):
            server.refresh_clock()  # what a long command wrote may have expired before it ended
            server.blocking.serve_ready()

    def enforce_soft_limits(self) -> None:
        """Housekeeping: close the clients that have not read for too long."""
        self._output.enforce_soft_limits()

    def touch(self, client: Client) -> None:
        """`client` has replies to be sent at the end of this pass, or soon if no pass is under way."""
        waiting = self.touched if client.replica is None else self._fed_replicas
        waiting.append(client)
        if not self._in_pass and len(waiting) == 1:
            self._wake()

    def resume(self, client: Client) -> None:
        """Go on with the commands that a client sent while it was blocked or paused."""
        self._resumed.append(client)
        if not self._in_pass and len(self._resumed) == 1:
            self._wake()

    def _wake(self) -> None:
        if not self.stopping:
            os.eventfd_write(self._wake_fd, 1)

    def _run_resumed(self) -> None:
        while self._resumed:
            resumed, self._resumed = self._resumed, []
            for client in resumed:
                if client.sock is not None and client.blocked is None:
                    self._run_waiting(client)

    # -- clients --------------------------------------------------------------------------------------------

    def _admit(self, sock: socket.socket) -> None:
        client = self.server.admit(sock)
        if client is not None:
            self.attach(client)

    def attach(self, client: Client) -> None:
        """Serve a client whose socket is connected and non-blocking."""
        self._clients[client.fd] = client
        self._epoll.register(client.fd, IN)

    def detach(self, client: Client) -> socket.socket:
        """Give a client's socket away (a replica link that another task will drive); nothing is closed."""
        assert client.sock is not None
        self._epoll.unregister(client.fd)
        del self._clients[client.fd]
        sock, client.sock = client.sock, None
        return sock

    def drop(self, client: Client) -> None:
        """Close a client's connection and forget it."""
        sock, client.sock = client.sock, None
        if sock is None:
            if client.gates & GATE_PRIMARY:
                self.server.replication.drop_link()  # its socket is another task's
            return
        del self._clients[client.fd]
        with contextlib.suppress(OSError):
            self._epoll.unregister(client.fd)
        sock.close()
        client.unsent = None
        client.commands = []
        client.parser = None
        self.server.forget(client)

    # -- reading and running ---------------------------------------------------------------------------------

    def _read(self, client: Client) -> None:
        assert client.sock is not None
        if self.stopping:
            return
        parser = client.parser
        try:
            chunk = client.sock.recv(READ_SIZE if parser is None or parser.untouched else LONG_READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self.drop(client)
            return
        if chunk:
            self.take_chunk(client, chunk)
        else:
            self.drop(client)

    def take_chunk(self, client: Client, chunk: bytes) -> None:
        """Parse what a client sent, with what it sent before, and run it."""
        server = self.server
        stats = server.stats
        stats.input_bytes += len(chunk)
        stats.reads += 1
        client.input_bytes += len(chunk)
        client.last_used_ms = server.clock.now_ms
        if client.close_after_reply:
            return
        parser = client.parser
        if parser is None or parser.untouched:
            if parser is not None:
                chunk = parser.take_held() + chunk
            parsed, used, rest_is_plain = parse_quick(chunk) if client.authenticated else NOTHING_PARSED
            if used == len(chunk):
                client.parser = None
                self._run_or_keep(client, parsed)
                return
            if parser is None:
                parser = client.parser = RequestParser(server.config.proto_max_bulk_len, client.authenticated)
            if used:
                parser.feed(chunk[used:])
                self._run_or_keep(client, parsed)
                if rest_is_plain:
                    return  # the rest of it comes with the next chunk
            else:
                parser.feed(chunk)
        else:
            parser.feed(chunk)
        if parser.held_bytes > server.config.client_query_buffer_limit:
            log.warning("closing client %s that reached the max query buffer length", client.addr)
            stats.query_buffer_disconnections += 1
            self.drop(client)
        elif client.blocked is None:
            self._run_waiting(client)

    def _run_or_keep(self, client: Client, commands: list[list[bytes]]) -> None:
        """Run what was parsed, or keep it for later behind what the client waits for."""
        if client.commands or client.blocked is not None:
            client.commands += commands
        else:
            self._run(client, commands)

    def _run_waiting(self, client: Client) -> None:
        """Run what is parsed already, then what the exact parser yields, until the client blocks or runs dry."""
        if self.stopping:
            return
        if client.commands:
            commands, client.commands = client.commands, []
            self._run(client, commands)
        parser = client.parser
        if parser is None:
            return
        while (
            client.sock is not None and client.blocked is None and not client.commands and not client.close_after_reply
        ):
            parser.authenticated = client.authenticated
            try:
                argv = parser.next_command()
            except ProtocolError as error:
                client.parser = None
                reply = ErrorReply(f"ERR {error}")
                self.server.stats.count_error(reply)
                client.reply(reply)
                client.close_after_reply = True
                return
            if argv is None:
                if parser.idle:
                    client.parser = None
                return
            if has_bytes(argv, self.server.request_limit):
                client.set_gate(GATE_LARGE_REQUEST, True)
            self._run(client, [argv])

    def _run(self, client: Client, commands: list[list[bytes]]) -> None:
        """Run parsed commands in order; the replies gather in `client.out`."""
        self.run_from(client, commands, self._road.run(client, commands, 0))

    def run_from(self, client: Client, commands: list[list[bytes]], position: int) -> None:
        """Go on where the straight road stopped: run what it leaves, and enter it again."""
        server = self.server
        total = len(commands)
        while True:
            if position < 0:
                position = -position
                client.commands = commands[position:]
                break  # whatever wakes the client goes on from `client.commands`
            if not self._goes_on(client) or position == total:
                break
            argv = commands[position]
            try:
                result = execute(client, argv)
            except Deferred:
                client.commands = commands[position:]
                server.pause.defer(client)
                break
            position += 1
            if self._finish(client, UNKNOWN, argv, result):
                client.commands = commands[position:]
                break
            if not self._goes_on(client) or position == total:
                break
            position = self._road.run(client, commands, position)
        server.stats.commands += position
        client.commands_run += position
        if client.out and not client.pending:
            client.pending = True
            self.touched.append(client)
        if client.close_at_once:
            self.drop(client)

    def _goes_on(self, client: Client) -> bool:
        """Between two commands: serve those whom the last one woke; whether `client` may run the next."""
        if self.server.blocking.ready:
            self._serve_ready()
        return client.sock is not None and not client.close_after_reply

    def _finish(self, client: Client, spec: CommandSpec, argv: list[bytes], result: Any) -> bool:
        """Encode a reply of any kind; a Block is none yet: True, and the client waits."""
        if type(result) is Block:
            self._block(client, result, spec, argv)
            return True
        out = client.out
        before = len(out)
        client.add_reply(result)
        size = sum(map(len, out[before:]))
        if size >= self.server.reply_limit:
            self.server.note_large_reply(client, argv, size)
        return False

    def _block(self, client: Client, block: Block, spec: CommandSpec, argv: list[bytes]) -> None:
        if block.spec is None:
            block.spec, block.argv = spec, argv
        client.commands_run -= 1  # it counts once it is served
        self.server.blocking.block(client, block, self.server.clock.mono_ms)
        if block.deadline_ms:
            self.server.timers_changed()
