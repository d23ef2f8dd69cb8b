"""One simulated cluster node: a process that can die, a disk that can forget, a clock that is off, and the real core.

It is the driver of ``ClusterCore`` over the virtual network, with the same duties as the one over sockets: effects are
carried out in order, and a synced ``Persist`` is on disk before the next effect. The data model is a number: the
replication offset. A primary that may take writes grows it; a replica that reaches its primary copies it.
"""

from __future__ import annotations

import re
from collections import deque
from random import Random
from typing import Any

from attrs import define, field

from slotmesh.cluster.config import ClusterConfig
from slotmesh.cluster.core import ClusterCore
from slotmesh.cluster.effects import (
    Connect,
    Disconnect,
    Effect,
    EmptyKeyspace,
    PauseWrites,
    Persist,
    PersistSoon,
    ResumeWrites,
    RoleChanged,
    Send,
)
from slotmesh.cluster.events import (
    LinkAccepted,
    LinkDown,
    LinkUp,
    MessageReceived,
    ReplicationStatus,
    Tick,
    WritesPaused,
)
from slotmesh.cluster.guard import GuardReply
from slotmesh.cluster.messages import Message
from slotmesh.cluster.wire import FrameDecoder, encode_message
from tests.sim.network import Connection, Network

_VARS = re.compile(r"^vars currentEpoch (\d+) lastVoteEpoch (\d+)", re.MULTILINE)
_MYSELF = re.compile(r"^\S+ \S+ \S*\bmyself\b\S* (\S+) \d+ \d+ (\d+)", re.MULTILINE)
SYNC_DELAY_MS = 100
MOST_SYNC_MS = 400
"""How long after it was due a state is synced in the background, and how long a slow disk takes for it."""
BUS_PORT = 17000
CLIENT_PORT = 7000
CLIENT_LINK = 0
"""Key of connections to the client port; the bus uses positive and negative numbers."""
EPOCH_MS = 1_700_000_000_000
"""Unix time at which every simulation starts."""


@define
class Disk:
    """What ``nodes.conf`` holds: ``written`` survives a crash of the process, only ``synced`` one of the machine."""

    written: str = ""
    synced: str = ""
    synced_epoch: int = 0
    synced_vote_epoch: int = 0
    synced_config_epoch: int = 0
    """The greatest one that the node itself ever had as a primary."""
    saves: int = 0
    syncs: int = 0

    def store(self, text: str, *, sync: bool) -> None:
        self.written = text
        self.saves += 1
        if sync:
            self._sync(text)

    def sync_late(self, text: str, saves: int, syncs: int) -> None:
        """A state that was rendered after ``saves`` and ``syncs`` is on disk now, unless a later one is."""
        if self.syncs == syncs:
            self._sync(text)
            if self.saves == saves:
                self.written = text

    def _sync(self, text: str) -> None:
        self.synced = text
        self.syncs += 1
        found, mine = _VARS.search(text), _MYSELF.search(text)
        assert found is not None
        assert mine is not None
        self.synced_epoch, self.synced_vote_epoch = int(found[1]), int(found[2])
        if mine[1] == "-":
            self.synced_config_epoch = max(self.synced_config_epoch, int(mine[2]))

    def lose_unsynced(self) -> None:
        self.written = self.synced


@define
class Data:
    """The node's data set and its replication link."""

    offset: int = 1
    follows: str = ""
    """Id of the primary we replicate; empty for a primary."""
    link_up: bool = False
    last_io_ms: int = 0
    paused_until_ms: int = 0


@define(frozen=True, eq=False)
class GuardPing:
    """What a guard sends to the client port (``guards``)."""

    name: str
    guard_id: str
    lease_ms: int
    voters: int
    echo_ms: int


@define(frozen=True, eq=False)
class GuardPong:
    """The node's answer."""

    reply: GuardReply
    is_replica: bool


class Observer:
    """What wants to see every effect before it is carried out: the safety checks."""

    def on_effect(self, node: SimNode, effect: Effect, position: int) -> None: ...

    def on_settled(self, node: SimNode) -> None: ...


@define(eq=False)
class SimNode:
    """A host on the network that runs one cluster node."""

    network: Network
    address: str
    rng: Random
    config: ClusterConfig
    observer: Observer
    through_wire: bool = False
    """Encode and decode every message, as over a real socket."""
    disk: Disk = field(factory=Disk)
    data: Data = field(factory=Data)
    up: bool = False
    skew_ms: int = 0
    frozen_until_ms: int = 0
    core: ClusterCore = field(init=False)
    history: list[str] = field(factory=list)
    _connections: dict[int, Connection] = field(factory=dict)
    _decoders: dict[int, FrameDecoder] = field(factory=dict)
    _inbox: deque[Any] = field(factory=deque)
    _next_inbound: int = -1
    incarnation: int = 0
    _sync_due: bool = False

    # Life of the process

    def start(self) -> None:
        """Start from what is on disk."""
        assert not self.up
        self.up = True
        self.incarnation += 1
        self.data.link_up = False
        self.data.paused_until_ms = 0
        self._inbox.clear()
        self._sync_due = False
        self.frozen_until_ms = 0
        self.core = ClusterCore(self.config, self.rng, self.clock_ms(), self.disk.written)
        primary = self.core.view.myself.primary
        self.data.follows = primary.node_id if primary is not None else ""
        self.data.last_io_ms = 0
        self._carry_out()
        self._schedule_tick()

    def crash(self, *, lose_unsynced: bool) -> None:
        """The process, or the whole machine, dies. A primary's data set survives (as by a dump), or half of it."""
        assert self.up
        self.up = False
        self.incarnation += 1
        self.network.kill(self)
        self._connections.clear()
        self._decoders.clear()
        if lose_unsynced:
            self.disk.lose_unsynced()
            self.data.offset = max(1, self.data.offset - int(self.rng.random() * 50))

    def freeze(self, duration_ms: int) -> None:
        """The process is stopped for a while (SIGSTOP, swap, a VM that moves); what arrives waits."""
        self.frozen_until_ms = self.network.now_ms + duration_ms
        self.network.at(self.frozen_until_ms, self._thaw, self.incarnation)

    def _thaw(self, incarnation: int) -> None:
        if incarnation != self.incarnation or self.network.now_ms < self.frozen_until_ms:
            return
        while self._inbox and self.up:
            self._step(self._inbox.popleft())
        if self.up:
            self._step(Tick())

    def clock_ms(self) -> int:
        """This machine's idea of the time."""
        return EPOCH_MS + self.network.now_ms + self.skew_ms

    # Events

    def _schedule_tick(self) -> None:
        delay_ms = max(1, self.core.next_deadline_ms() - self.clock_ms())
        self.network.after(delay_ms, self._on_timer, self.incarnation)

    def _on_timer(self, incarnation: int) -> None:
        if incarnation != self.incarnation:
            return
        if self.network.now_ms >= self.frozen_until_ms:
            self._step(Tick())
        self._schedule_tick()

    def _offer(self, event: Any) -> None:
        """Step an event, now or when the process runs again."""
        if self.network.now_ms < self.frozen_until_ms:
            self._inbox.append(event)
        elif self.up:
            self._step(event)

    def _step(self, event: Any) -> None:
        if isinstance(event, MessageReceived) and event.link not in self._connections:
            return
        self.report_replication()
        if isinstance(event, tuple):
            self._answer_guard(*event)
            return
        self.core.step(self.clock_ms(), event)
        self._carry_out()

    def _answer_guard(self, connection: Connection, ping: GuardPing) -> None:
        reply = self.core.on_guard(self.clock_ms(), ping.name, ping.guard_id, ping.lease_ms, ping.voters, ping.echo_ms)
        self._carry_out()
        self.network.send(connection, self, GuardPong(reply, self.core.view.myself.is_replica))

    def report_replication(self) -> None:
        """Tell the core how replication stands, when that changed."""
        status = self._replication()
        if status != self.core.view.replication:
            self.core.step(self.clock_ms(), status)

    def _replication(self) -> ReplicationStatus:
        return ReplicationStatus(self.data.offset, self.data.link_up, self.data.last_io_ms)

    # Network side

    def on_accept(self, connection: Connection, port: int) -> None:
        if port == CLIENT_PORT:
            connection.key[1] = CLIENT_LINK
            return
        assert port == BUS_PORT
        link = self._next_inbound
        self._next_inbound -= 1
        connection.key[1] = link
        self._connections[link] = connection
        self._offer(LinkAccepted(link, connection.ends[0].address, self.address))

    def on_connected(self, connection: Connection) -> None:
        link = connection.key[connection.side(self)]
        if self.up and self._connections.get(link) is connection:
            self._offer(LinkUp(link))

    def on_closed(self, connection: Connection, *, refused: bool) -> None:
        link = connection.key[connection.side(self)]
        if self.up and self._connections.get(link) is connection:
            del self._connections[link]
            self._offer(LinkDown(link, "closed", refused))

    def on_payload(self, connection: Connection, payload: Any) -> None:
        link = connection.key[connection.side(self)]
        if link == CLIENT_LINK and self.up:
            self._offer((connection, payload))
            return
        if not self.up or self._connections.get(link) is not connection:
            return
        if not self.through_wire:
            self._offer(MessageReceived(link, payload))
            return
        for message in self._decoders.setdefault(link, FrameDecoder()).feed(payload):
            self._offer(MessageReceived(link, message))

    # Effects

    def order(self, give: Any) -> None:
        """Give the core an order: ``give`` is called with its ``Admin``; refusals are the caller's to expect."""
        self.report_replication()
        give(self.core.admin(self.clock_ms()))
        self._carry_out()

    def _carry_out(self) -> None:
        again = True
        while again:
            again = False
            for position, effect in enumerate(self.core.take_effects()):
                self.observer.on_effect(self, effect, position)
                if self._carry_out_one(effect):
                    again = True
        self.observer.on_settled(self)

    def _carry_out_one(self, effect: Effect) -> bool:
        """Carry out one effect; true when it stepped the core again."""
        if isinstance(effect, Send):
            self._send(effect.link, effect.message)
        elif isinstance(effect, Persist):
            self.network.note(effect.text)
            self.disk.store(effect.text, sync=effect.sync)
            if not effect.sync:
                self._sync_before_long()
        elif isinstance(effect, PersistSoon):
            self._sync_before_long()
        elif isinstance(effect, Connect):
            connection = self.network.connect(self, effect.ip, effect.cport, effect.link)
            self._connections[effect.link] = connection
        elif isinstance(effect, Disconnect):
            gone = self._connections.pop(effect.link, None)
            self._decoders.pop(effect.link, None)
            if gone is not None:
                self.network.close(gone, self)
        elif isinstance(effect, RoleChanged):
            self._on_role(effect)
        elif isinstance(effect, EmptyKeyspace):
            self.data.offset = 1
        elif isinstance(effect, PauseWrites):
            self.data.paused_until_ms = effect.until_ms
            self.core.step(self.clock_ms(), WritesPaused(self.data.offset))
            return True
        elif isinstance(effect, ResumeWrites):
            self.data.paused_until_ms = 0
        return False

    def _sync_before_long(self) -> None:
        if not self._sync_due:
            self._sync_due = True
            self.network.at(self.network.now_ms + SYNC_DELAY_MS, self._begin_sync, self.incarnation)

    def _begin_sync(self, incarnation: int) -> None:
        if incarnation == self.incarnation and self.up:
            self._sync_due = False
            written = (self.core.state_text(), self.disk.saves, self.disk.syncs)
            over_ms = self.network.now_ms + int(self.rng.random() * MOST_SYNC_MS)
            self.network.at(over_ms, self._end_sync, incarnation, *written)

    def _end_sync(self, incarnation: int, text: str, saves: int, syncs: int) -> None:
        if incarnation == self.incarnation and self.up:
            self.disk.sync_late(text, saves, syncs)

    def _on_role(self, effect: RoleChanged) -> None:
        if effect.primary_id != self.data.follows:
            self.data.follows = effect.primary_id
            if effect.other_shard:
                self.data.offset = 0  # as the node tells it, until it has the data of its new primary
            if self.data.link_up:
                self.data.link_up = False
                self.data.last_io_ms = self.clock_ms()

    def _send(self, link: int, message: Message) -> None:
        connection = self._connections.get(link)
        self.network.mark(link, message.type_code, message.header.current_epoch)
        if connection is not None:
            self.network.send(connection, self, encode_message(message) if self.through_wire else message)

    # Data

    @property
    def may_write(self) -> bool:
        """Whether this node would accept a write now."""
        core = self.core
        me = core.view.myself
        now_ms = self.clock_ms()
        return (
            self.up
            and self.network.now_ms >= self.frozen_until_ms
            and me.is_primary
            and bool(me.slots)
            and core.view.cluster_ok
            and not core.is_fenced(now_ms)
            and self.data.paused_until_ms <= now_ms
        )
