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
from collections.abc import Callable
from time import perf_counter_ns
from typing import Final, Protocol

import trio

from slotmesh.node.base.fibers import DONE
from slotmesh.node.base.gates import SERVER_BUSY, SERVER_LOADING
from slotmesh.node.base.native import compiled
from slotmesh.node.clients.blocking import Blocking
from slotmesh.node.clients.client import GATE_PRIMARY, Client
from slotmesh.node.clients.memory_limit import ClientEviction
from slotmesh.node.clients.pause import Pause
from slotmesh.node.clustering.lease import Lease
from slotmesh.node.memory.eviction import Eviction
from slotmesh.node.observe.calls import CallReports
from slotmesh.node.serving.acceptor import Acceptor
from slotmesh.node.serving.client_io import Input
from slotmesh.node.serving.cron import Cron
from slotmesh.node.serving.dispatch import Dispatch
from slotmesh.node.serving.fast_path import Offsets
from slotmesh.node.serving.output import IN, OUT, Output
from slotmesh.node.state import NodeState

log = logging.getLogger("node")

SLICE_NS: Final = 2_000_000


class Node(Protocol):
    """What the data plane asks of the node as a whole."""

    def forget(self, client: Client) -> None:
        """Take a client that is gone out of everything that knows it."""

    def before_replies(self) -> bool:
        """End of a pass: what was changed goes to the log and to the replicas; False when the log did not take it."""


class DataPlane:
    """Sockets of clients: accepting, reading, running, writing, closing."""

    def __init__(
        self,
        state: NodeState,
        dispatch: Dispatch,
        reports: CallReports,
        stream: Offsets,
        *,
        blocking: Blocking,
        client_eviction: ClientEviction,
        cron: Cron,
        eviction: Eviction,
        pause: Pause,
        admit: Callable[[socket.socket], Client | None],
        drop_link: Callable[[], None],
        look_at_waiting: Callable[[], None],
        node: Node,
    ) -> None:
        """`admit`: a client for an accepted socket, or None when it was turned away. `drop_link`: breaks the connection
        to our primary. `look_at_waiting`: serves the clients that wait for replicas or for the log.
        """
        self._state = state
        self._blocking = blocking
        self._cron = cron
        self._eviction = eviction
        self._node = node
        self._admit_socket = admit
        self._drop_link = drop_link
        self._look_at_waiting = look_at_waiting
        #: Whether writes are tied to leases of sentinels; None for a node that none has guarded.
        self.lease: Lease | None = None
        self._epoll = select.epoll()
        self.input = Input(state, self, dispatch, blocking, pause, reports, stream)
        self._output = Output(state, self._epoll, self.drop, self.fault, client_eviction.held)
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self.acceptor = Acceptor(self._epoll, self._admit)
        self._clients: dict[int, Client] = {}
        #: Clients with replies that no pass has sent yet, and replicas with something of the stream.
        self.touched: list[Client] = []
        self._fed_replicas: list[Client] = []
        #: What epoll said of clients that the last pass had no time for.
        self.postponed: list[tuple[int, int]] = []
        self._in_pass = False
        #: Receives, runs and sends for clients without a raised gate; None where it was not built.
        self._client_io = (
            None if compiled is None else compiled.ClientIO(state, blocking, Client, self.input.path, self, self.input)
        )
        #: The socket of the client whose script gives way.
        self._busy_fd = -1
        self.stopping = False

    # -- life ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled or `stopping`."""
        epoll_fd = self._epoll.fileno()
        fibers = self._state.fibers
        worker = fibers.worker(self._run_passes)
        while not self.stopping:
            await trio.lowlevel.wait_readable(epoll_fd)
            if worker.switch() is not DONE:
                await fibers.finish(worker, self._serve_others)

    def _run_passes(self) -> None:
        stats = self._state.stats
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
        state = self._state
        state.clock.refresh()
        state.keyspace.now_ms = state.clock.now_ms
        if self.lease is not None:
            self.lease.begin_pass()
        if state.config.maxmemory:
            try:
                self._eviction.look()
            except Exception:  # a bug of ours
                state.complaints.fault("a look at the memory")
        self._in_pass = True
        if self.postponed:
            events = self._with_postponed(events)
        self.input.begin_pass(len(events))
        if self._client_io is not None:
            events = self._client_io.receive(events, self._clients, self.input.turn_ns, self.input.share_ns)
        if events:
            self._serve(events)
        self._serve_waiting()
        if self.input.going_on:
            self.input.run_going_on()
        self.flush()
        if self._cron.at_rest:
            self._cron.end_pass()

    def _with_postponed(self, events: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Who came too late in the last pass is first in this one. epoll has told of them again."""
        postponed, self.postponed = self.postponed, []
        first = {fd for fd, _ in postponed}
        return postponed + [event for event in events if event[0] not in first]

    def _serve(self, events: list[tuple[int, int]]) -> None:
        """What each socket has to say, until the share of all of them is used up; the others are postponed."""
        now_ns = perf_counter_ns()
        end_ns = now_ns + self.input.share_ns
        served = False
        for event in events:
            fd, what = event
            client = self._clients.get(fd)
            if client is not None:
                if served and now_ns >= end_ns:
                    self.postponed.append(event)
                    continue
                served = True
                try:
                    if what & ~OUT:
                        self.input.read(client)
                    if what & OUT and client.unsent is not None:
                        self._output.send_more(client)
                except Exception:  # a bug of ours
                    self.fault(client)
                now_ns = perf_counter_ns()
            elif fd in self.acceptor.listeners:
                try:
                    self.acceptor.accept(fd)
                except Exception:  # a bug of ours
                    self._state.complaints.fault("a new connection")
            elif fd == self._wake_fd:
                os.eventfd_read(fd)

    def give_way(self, caller: Client) -> None:
        """Let others have their turn while a script of `caller` runs. What of the pass under way is not done waits.

        Time stands still for the script: keys do not expire under it.
        """
        state = self._state
        keyspace, lease = state.keyspace, self.lease
        now_ms, in_pass = keyspace.now_ms, self._in_pass
        pass_began_ms = None if lease is None else lease.pass_began_ms
        mine = [client for client in self.touched if client is caller]
        self.touched = [client for client in self.touched if client is not caller]
        state.fibers.halfway = True
        if self.touched:
            self.flush()  # of the pass that the script belongs to
        self._in_pass = False
        self._busy_fd = caller.fd
        state.fibers.give_way()
        self._busy_fd = -1
        self.touched = mine + self.touched
        self._in_pass = in_pass
        keyspace.now_ms = now_ms
        if lease is not None and pass_began_ms is not None:
            lease.pass_began_ms = pass_began_ms

    def _serve_others(self) -> None:
        """A pass while a script, begun in another pass, waits."""
        # What its caller sends meanwhile stays in the socket, where level-triggered epoll finds it again.
        busy_fd = self._busy_fd
        events = [event for event in self._epoll.poll(0) if event[0] != busy_fd]
        self.postponed = [event for event in self.postponed if event[0] != busy_fd]
        if events:
            self.run_pass(events)

    def flush(self) -> None:
        """End of a pass: the log first, then the replicas, then the replies: nobody is told of a write that would be
        lost with this process, as far as the replicas' sockets take it."""
        self._serve_waiting()
        self._in_pass = True  # whoever is touched now is served below; no need to wake the loop
        kept = self._node.before_replies()
        self._in_pass = False
        touched, self.touched = self.touched, []
        fed, self._fed_replicas = self._fed_replicas, []
        lease = self.lease
        unsafe = lease is not None and lease.outlasted()
        if fed:
            self._send(fed, unsafe)
        if not kept:
            log.warning("The clients of this moment are disconnected: what they wrote could not be logged")
            unsafe = True
        if self._client_io is not None and not unsafe:
            touched = self._client_io.send(touched)
        self._send(touched, unsafe)
        if self.input.going_on:
            self._wake()  # epoll would not tell of them

    def _send(self, clients: list[Client], unsafe: bool) -> None:
        for client in clients:
            client.pending = False
            if client.sock is None:
                continue
            if unsafe:
                self.drop(client)  # it may not be told of a write that the successor or the log does not have
                continue
            try:
                self._output.send(client)
            except Exception:  # a bug of ours
                self.fault(client)

    def _serve_waiting(self) -> None:
        """End of a pass: serve the clients that wait for what no command did (keys expired, were evicted, gave way to
        other data; a log was switched off).
        """
        if self._blocking.ready:
            self.serve_ready()
        self._look_at_waiting()

    def serve_ready(self) -> None:
        """Serve the clients whose keys have changed, unless the change is still going on."""
        state = self._state
        if not state.gates & (SERVER_BUSY | SERVER_LOADING):
            state.refresh_clock()  # what a long command wrote may have expired before it ended
            self._blocking.serve_ready()

    def enforce_soft_limits(self) -> bool:
        """Housekeeping: close the clients that have not read for too long; whether others may be next."""
        return self._output.enforce_soft_limits()

    def touch(self, client: Client) -> None:
        """`client` has replies to be sent at the end of this pass, or soon if no pass is under way."""
        waiting = self.touched if client.replica is None else self._fed_replicas
        waiting.append(client)
        if not self._in_pass and len(waiting) == 1:
            self._wake()

    def resume(self, client: Client) -> None:
        """Go on with the commands that a client sent while it was blocked or paused."""
        going_on = self.input.going_on
        going_on[client] = None
        if not self._in_pass and len(going_on) == 1:
            self._wake()

    def _wake(self) -> None:
        if not self.stopping:
            os.eventfd_write(self._wake_fd, 1)

    # -- clients --------------------------------------------------------------------------------------------

    def _admit(self, sock: socket.socket) -> None:
        client: Client | None = None
        try:
            client = self._admit_socket(sock)
            if client is not None:
                self.attach(client)
        except OSError:
            raise  # a matter of the network: the acceptor knows
        except Exception:  # a bug of ours
            if client is None:
                self._state.complaints.fault("a new connection")
                sock.close()
            else:
                self.fault(client)

    def attach(self, client: Client) -> None:
        """Serve a client whose socket is connected and non-blocking."""
        self._clients[client.fd] = client
        self._epoll.register(client.fd, IN)

    def detach(self, client: Client) -> socket.socket:
        """Give a client's socket away (a replica link that another task will drive); nothing is closed."""
        assert client.sock is not None
        self._epoll.unregister(client.fd)
        del self._clients[client.fd]
        self.input.going_on.pop(client, None)
        sock, client.sock = client.sock, None
        return sock

    def drop(self, client: Client) -> None:
        """Close a client's connection and forget it."""
        sock, client.sock = client.sock, None
        if sock is None:
            if client.gates & GATE_PRIMARY:
                self._drop_link()  # its socket is another task's
            return
        self._clients.pop(client.fd, None)
        self.input.going_on.pop(client, None)
        with contextlib.suppress(OSError):
            self._epoll.unregister(client.fd)
        sock.close()
        client.unsent = None
        client.commands = []
        client.parser = None
        self._node.forget(client)

    def fault(self, client: Client) -> None:
        """For `except` clauses: a bug of ours showed while `client` was served. It costs that connection.

        What the client was told so far may be half a reply, and what it holds half a command.
        """
        self._state.complaints.fault(f"the connection of client {client.addr}")
        try:
            self.drop(client)
        except Exception:
            self._state.complaints.fault("the rest of that client")

    def give_up(self, client: Client) -> None:
        """As `fault`, while others are served: the connection ends with the pass, and nothing more is sent."""
        self._state.complaints.fault(f"the connection of client {client.addr}")
        client.out.clear()
        client.close_after_reply = True
