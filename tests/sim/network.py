"""A network in virtual time: hosts, connections between them, and everything that can go wrong in between.

Time is an integer of ms that jumps from event to event; one heap orders all events, ties by order of creation, so a
run depends on the seed alone. A connection behaves like TCP: ordered, nothing lost or doubled while it lasts, and when
it is reset each side has seen some prefix of what the other sent. Messages of different connections may overtake.

Hosts are anything with the methods of :class:`Host`: the cluster nodes of ``node``, and later sentinels. Payloads are
opaque here. A partition cuts single directions: what is sent that way waits, and is delivered when the partition heals,
or lost with the connection when that is reset first.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

from attrs import Factory, define


class Host(Protocol):
    """A machine on the network. ``address`` is its IP; ``up`` is whether anybody listens on its ports."""

    address: str
    up: bool

    def on_accept(self, connection: Connection, port: int) -> None:
        """A peer connected to ``port``."""

    def on_connected(self, connection: Connection) -> None:
        """A connection this host asked for stands."""

    def on_closed(self, connection: Connection, *, refused: bool) -> None:
        """A connection broke, or could not be made."""

    def on_payload(self, connection: Connection, payload: Any) -> None:
        """A message arrived on a connection."""


@define(eq=False)
class Connection:
    """One TCP connection; ``ends[0]`` opened it. ``key[i]`` is whatever the host at end *i* knows it by."""

    ends: tuple[Host, Host]
    open: bool = False
    dead: bool = False
    key: list[int] = Factory(lambda: [0, 0])
    last_arrival_ms: list[int] = Factory(lambda: [0, 0])
    """Per direction (index of the sender), when its last message arrives: order is kept."""
    held: list[list[Any]] = Factory(lambda: [[], []])
    """Per direction, what waits for a partition to heal."""

    def side(self, host: Host) -> int:
        return 0 if self.ends[0] is host else 1

    def peer(self, host: Host) -> Host:
        return self.ends[1 - self.side(host)]


class Network:
    """The event loop, the wires, and the partition of the day."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.now_ms = 0
        self.max_delay_ms = 8
        self.trace = 0
        """Checksum of all events so far: equal traces mean equal runs."""
        self.events = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._hosts: dict[str, Host] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._connections: list[Connection] = []

    def add(self, host: Host) -> None:
        self._hosts[host.address] = host

    # Time

    def at(self, when_ms: int, call: Callable[..., None], *args: Any) -> None:
        """Run ``call(*args)`` at a time (not before now)."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(when_ms, self.now_ms), self._sequence, call, args))

    def after(self, delay_ms: int, call: Callable[..., None], *args: Any) -> None:
        self.at(self.now_ms + delay_ms, call, *args)

    def run_until(self, end_ms: int, after_each: Callable[[], None]) -> None:
        """Run all events up to ``end_ms``, calling ``after_each`` after every one."""
        heap = self._heap
        while heap and heap[0][0] <= end_ms:
            self.now_ms, _, call, args = heapq.heappop(heap)
            self.events += 1
            call(*args)
            after_each()
        self.now_ms = end_ms

    def mark(self, *numbers: int) -> None:
        """Add numbers to the trace, at the present time."""
        self.trace = zlib.crc32(b"%d" * len(numbers) % numbers, zlib.crc32(b"%d" % self.now_ms, self.trace))

    def note(self, text: str) -> None:
        """Add something that happened to the trace."""
        self.trace = zlib.crc32(text.encode(), self.trace)

    def _delay(self) -> int:
        return 1 + int(self.rng.random() * self.max_delay_ms)

    # Connections

    def connect(self, source: Host, address: str, port: int, key: int) -> Connection:
        """Start a connection; the answer comes by ``on_connected`` or ``on_closed``. ``key`` names it at our end."""
        target = self._hosts.get(address)
        connection = Connection((source, target if target is not None else source))
        connection.key[0] = key
        if target is None or self.is_cut(source, target):
            # Nobody answers: the connect times out.
            self.after(400 + self._delay(), self._fail, connection, False)
            return connection
        self.after(self._delay(), self._arrive_syn, connection, port)
        return connection

    def _arrive_syn(self, connection: Connection, port: int) -> None:
        source, target = connection.ends
        if connection.dead:
            return
        if self.is_cut(source, target):
            self.after(400, self._fail, connection, False)
        elif not target.up:
            self.after(self._delay(), self._fail, connection, True)
        else:
            connection.open = True
            self._connections.append(connection)
            target.on_accept(connection, port)
            self.after(self._delay(), self._arrive_ack, connection)

    def _arrive_ack(self, connection: Connection) -> None:
        if not connection.dead:
            connection.ends[0].on_connected(connection)

    def _fail(self, connection: Connection, refused: bool) -> None:
        if not connection.dead:
            connection.dead = True
            connection.ends[0].on_closed(connection, refused=refused)

    def send(self, connection: Connection, sender: Host, payload: Any) -> None:
        """Send on an open connection; what is sent on a dead one is lost."""
        if connection.dead:
            return
        side = connection.side(sender)
        arrival_ms = max(self.now_ms + self._delay(), connection.last_arrival_ms[side])
        connection.last_arrival_ms[side] = arrival_ms
        self.at(arrival_ms, self._deliver, connection, side, payload)

    def _deliver(self, connection: Connection, side: int, payload: Any) -> None:
        if connection.dead:
            return
        receiver = connection.ends[1 - side]
        if connection.held[side] or self.is_cut(connection.ends[side], receiver):
            connection.held[side].append(payload)
            return
        receiver.on_payload(connection, payload)

    def close(self, connection: Connection, host: Host) -> None:
        """``host`` ends a connection; the other side hears of it."""
        if connection.dead:
            return
        connection.dead = True
        if connection.open:
            peer = connection.peer(host)
            self.after(self._delay(), self._tell_closed, connection, peer)

    def _tell_closed(self, connection: Connection, host: Host) -> None:
        host.on_closed(connection, refused=False)

    def reset(self, connection: Connection) -> None:
        """The connection breaks; both sides hear of it, and what is under way is lost."""
        if connection.dead:
            return
        connection.dead = True
        for host in connection.ends:
            self.after(self._delay(), self._tell_closed, connection, host)

    def live_connections(self) -> list[Connection]:
        """Those that stand now, oldest first."""
        self._connections = [one for one in self._connections if not one.dead]
        return self._connections

    def kill(self, host: Host) -> None:
        """The process behind ``host`` is gone; its peers get resets."""
        for connection in self.live_connections():
            if host in connection.ends:
                self.close(connection, host)

    # Partitions

    def is_cut(self, source: Host, target: Host) -> bool:
        return (source.address, target.address) in self._blocked

    def cut(self, sources: Sequence[Host], targets: Sequence[Host], *, both_ways: bool) -> None:
        """Block all traffic from ``sources`` to ``targets`` (and back)."""
        for source in sources:
            for target in targets:
                if source is not target:
                    self._blocked.add((source.address, target.address))
                    if both_ways:
                        self._blocked.add((target.address, source.address))

    def heal(self) -> None:
        """End all partitions; what waited is delivered now, or the connection breaks."""
        if not self._blocked:
            return
        self._blocked.clear()
        for connection in self.live_connections():
            for side in (0, 1):
                if not connection.held[side] or connection.dead:
                    continue
                if self.rng.random() < 0.3:
                    self.reset(connection)
                else:
                    self.after(self._delay(), self._flush, connection, side)

    def _flush(self, connection: Connection, side: int) -> None:
        """Deliver what waited, in order; what arrived meanwhile had to queue behind it."""
        waiting, connection.held[side] = connection.held[side], []
        for payload in waiting:
            self._deliver(connection, side, payload)
