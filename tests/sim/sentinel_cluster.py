"""Real sentinels over real cluster nodes, in one simulation: both cores, the real guard, the real bus.

`sentinel_world` checks the sentinels against a model of the nodes, `guarded_world` the nodes against a model of the
sentinels. Here nobody is a model but the data: whatever the two sides understand differently shows.

Checked after every step: at no moment do two nodes of a shard accept writes, and no primary does so again after its
successor began. Then everything has to recover, as in `sentinel_world`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from attrs import define, field

from slotmesh.cluster.config import ClusterConfig
from slotmesh.cluster.effects import DeliverPublish, Effect, RoleChanged
from slotmesh.cluster.errors import ClusterRefusal
from slotmesh.cluster.events import ReplicationStatus
from slotmesh.cluster.guard import Fence
from slotmesh.cluster.messages import NodeAddress
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.slots import SLOT_COUNT
from slotmesh.cluster.state_file import SavedNode, SavedState, encode_state
from slotmesh.cluster.terms import FLAG_MYSELF, FLAG_PRIMARY, FLAG_REPLICA
from slotmesh.node.resp.values import OK, PONG
from slotmesh.sentinel.effects import ErrorReply
from tests.sim.checks import Safety
from tests.sim.lag import Lag
from tests.sim.network import Connection
from tests.sim.node import BUS_PORT, CLIENT_PORT, EPOCH_MS, SimNode
from tests.sim.sentinel_hosts import wire_value
from tests.sim.sentinel_world import GUARD_NAME, SafetyViolation, SentinelWorld

DATA_PERIOD_MS = 60


@define(eq=False)
class GuardedNode(SimNode):
    """A node that answers the sentinels' commands from its core, as `node.commands.cluster` does."""

    shard: int = 0
    rate: float = 1.0
    peers: list[GuardedNode] = field(factory=list)
    run_id: str = ""
    lag: Lag = field(factory=Lag)
    by_hand: list[int] = field(factory=list)
    """Config epochs that this node took by an operator's order, behind everybody's back."""
    on_ordered: Callable[[Any], None] = lambda node: None
    _subscribers: list[Connection] = field(factory=list)

    # What `SentinelWorld` asks of a server

    @property
    def node_id(self) -> str:
        return self.core.view.myself.node_id

    @property
    def leads(self) -> GuardedNode | None:
        """The primary this node follows; None when it is one itself."""
        primary = self.core.view.myself.primary
        if primary is None:
            return None
        return next((peer for peer in self.peers if peer.core.view.myself.node_id == primary.node_id), self)

    @property
    def frozen(self) -> bool:
        return self.network.now_ms < self.frozen_until_ms

    @property
    def link_up(self) -> bool:
        return self.data.link_up

    @property
    def is_armed(self) -> bool:
        return self.core.guard.is_armed

    def writable(self) -> bool:
        return self.may_write

    def clock_ms(self) -> int:
        """This machine's clock: right but for a constant and a slightly wrong rate."""
        return EPOCH_MS + int(self.network.now_ms * self.rate) + self.skew_ms

    def start(self) -> None:
        self.run_id = f"{self.rng.getrandbits(160):040x}"
        self._subscribers.clear()
        self.lag.restart(self.data.offset)
        super().start()

    def crash(self, *, lose_unsynced: bool = False) -> None:
        super().crash(lose_unsynced=lose_unsynced)

    def offer(self, call: Callable[..., None], *args: Any) -> None:
        """An operator's order: only to a process that runs."""
        if self.up and not self.frozen:
            call(*args)

    def take_over(self, least: int) -> None:
        if self._refusable(lambda admin: admin.failover(takeover=True)) is OK:
            self.by_hand.append(self.core.view.myself.config_epoch)

    def _refusable(self, order: Callable[[Any], None]) -> Any:
        try:
            self.order(order)
        except ClusterRefusal as refusal:
            return ErrorReply(f"ERR {refusal}")
        return OK

    # Data

    def _to_succeed(self) -> int:
        return self.lag.to_succeed(self.data.offset, linked=self.data.link_up)

    def _replication(self) -> ReplicationStatus:
        data = self.data
        return ReplicationStatus(self._to_succeed() if data.follows else data.offset, data.link_up, data.last_io_ms)

    def _on_role(self, effect: RoleChanged) -> None:
        if self.data.follows and not effect.primary_id:
            self.data.offset = self.lag.drain(self.data.offset)
        super()._on_role(effect)
        if effect.other_shard:
            self.lag.restart(self.data.offset)

    # Commands

    def _answer_guard(self, connection: Connection, ping: Any) -> None:
        name = ping[0].upper()
        if name == b"SUBSCRIBE":
            self._subscribers.append(connection)
            reply: Any = [b"subscribe", ping[1], 1]
        elif name == b"PUBLISH":
            self._hand_out(ping[1], ping[2])
            self.core.publish(self.clock_ms(), ping[1], ping[2])
            reply = len(self._subscribers)
        else:
            reply = self._run(ping)
        self._carry_out()
        if not connection.dead:
            self.network.send(connection, self, wire_value(reply))

    def _hand_out(self, channel: bytes, payload: bytes) -> None:
        self._subscribers = [one for one in self._subscribers if not one.dead]
        for connection in self._subscribers:
            self.network.send(connection, self, [b"message", channel, payload])

    def _carry_out_one(self, effect: Effect) -> bool:
        if isinstance(effect, DeliverPublish):
            self._hand_out(effect.channel, effect.payload)
        return super()._carry_out_one(effect)

    def _run(self, argv: tuple[bytes, ...]) -> Any:
        name, sub = argv[0].upper(), argv[1].upper() if len(argv) > 1 else b""
        if name == b"PING":
            return PONG
        if name == b"INFO":
            return self._info()
        if name != b"CLUSTER":
            return OK
        if sub == b"MYID":
            return self.node_id.encode()
        if sub == b"INFO":
            return f"cluster_current_epoch:{self.core.view.epochs.current_epoch}\r\n".encode()
        if sub == b"NODES":
            return self.core.state_text().partition("vars ")[0].encode()
        if sub == b"SHARDS":
            return self._shards()
        if sub == b"GUARD":
            return self._guard(argv[2:])
        assert sub == b"FAILOVER", f"the sentinels sent {argv!r}"
        return self._failover(argv[2:])

    def _info(self) -> bytes:
        me = self.core.view.myself
        lines = ["cluster_enabled:1", "server_name:slotmesh", f"run_id:{self.run_id}"]
        if me.primary is None:
            lines.append("role:master")
        else:
            link = "up" if self.data.link_up else "down"
            lines += ["role:slave", f"master_host:{me.primary.ip}", f"master_port:{me.primary.port}"]
            lines += [f"master_link_status:{link}", f"slave_repl_offset:{self._to_succeed()}", "slave_priority:100"]
            if not self.data.link_up:
                down_s = (self.clock_ms() - self.data.last_io_ms) // 1000 if self.data.last_io_ms else -1
                lines.append(f"master_link_down_since_seconds:{down_s}")
        return "\r\n".join(lines).encode()

    def _shards(self) -> list[Any]:
        members = [member for member in self.core.view.members if not member.in_handshake]
        shards: dict[str, list[Any]] = {}
        for member in members:
            shards.setdefault(member.shard_id, []).append([b"id", member.node_id.encode()])
        return [[b"nodes", nodes, b"id", shard_id.encode()] for shard_id, nodes in shards.items() if shard_id]

    def _guard(self, args: tuple[bytes, ...]) -> Any:
        lease_ms, voters, echo_ms = (int(word) for word in args[3:6])
        name, sentinel = args[0].decode(), args[1].decode()
        watch = len(args) > 6
        reply = self.core.on_guard(self.clock_ms(), name, sentinel, lease_ms, voters, echo_ms, watch=watch)
        heir = [reply.heir.encode()] if reply.heir else []
        return [reply.clock_ms, reply.fence_epoch, int(reply.armed), int(reply.fenced), *heir]

    def _failover(self, args: tuple[bytes, ...]) -> Any:
        words = [word.upper() for word in args]
        if not words:
            return self._refusable(lambda admin: admin.failover())
        assert words[:2] == [b"TAKEOVER", b"FENCE"], f"the sentinels sent {words}"
        fence = Fence(*(int(word) for word in words[2:]))
        reply = self._refusable(lambda admin: admin.failover(takeover=True, fence=fence))
        if reply is OK:
            self.on_ordered(self)
        return reply


class ClusterWorld(SentinelWorld):
    """`SentinelWorld` with real nodes. All seeds guard a cluster."""

    flags = "--cluster "
    servers: list[Any]

    def __init__(self, seed: int) -> None:
        self.safety = Safety()
        super().__init__(2 * seed + 1)
        self.seed = seed
        self.last_writer: dict[int, tuple[int, str]] = {}

    # Building

    def _make_servers(self, replicas: int) -> list[Any]:
        rng = self.rng
        config = ClusterConfig(
            port=CLIENT_PORT,
            cport=BUS_PORT,
            node_timeout_ms=rng.choice((1_000, 4_000)),
            allow_replica_migration=False,
        )
        nodes = []
        for index in range(self.shards * (1 + replicas)):
            node = GuardedNode(
                self.network,
                f"10.0.0.{index + 1}",
                Random(rng.getrandbits(64)),
                config,
                self.safety,
                shard=index % self.shards,
                on_ordered=self._on_ordered,
            )
            nodes.append(node)
        ids = [f"{rng.getrandbits(160):040x}" for _ in nodes]
        for me, node in enumerate(nodes):
            node.peers = nodes
            saved = tuple(self._saved_node(nodes, ids, other, me) for other in range(len(ids)))
            state = SavedState(saved, current_epoch=self.shards, last_vote_epoch=0)
            node.disk.store(encode_state(state), sync=True)
        self.network.at(0, self._move_data)
        return nodes

    def _saved_node(self, nodes: list[GuardedNode], ids: list[str], index: int, me: int) -> SavedNode:
        is_primary = index < self.shards
        first = SLOT_COUNT * index // self.shards
        last = SLOT_COUNT * (index + 1) // self.shards - 1
        return SavedNode(
            node_id=ids[index],
            address=NodeAddress(nodes[index].address, CLIENT_PORT, BUS_PORT),
            flags=(FLAG_PRIMARY if is_primary else FLAG_REPLICA) | (FLAG_MYSELF if index == me else 0),
            primary_id="" if is_primary else ids[index % self.shards],
            config_epoch=index + 1 if is_primary else 0,
            slots=SlotSet.from_range(first, last) if is_primary else SlotSet(),
        )

    def _make_sentinel(self, index: int) -> Any:
        sentinel = super()._make_sentinel(index)
        sentinel.disk = sentinel.disk.replace(f"{GUARD_NAME} 10.0.0.1 6379", f"{GUARD_NAME} 10.0.0.1 {CLIENT_PORT}")
        return sentinel

    # Data

    def _move_data(self) -> None:
        self.network.after(DATA_PERIOD_MS, self._move_data)
        for node in self.servers:
            if not node.up or node.frozen:
                continue
            if node.leads is None:
                if node.writable():
                    node.data.offset += 1 + int(self.rng.random() * 9)
                    self._on_write(node)
                continue
            self._replicate(node, node.leads)

    def _replicate(self, node: Any, primary: Any) -> None:
        node.data.offset = node.lag.apply(node.data.offset)
        cut = self.network.is_cut(primary, node) or self.network.is_cut(node, primary)
        if cut or not primary.up or primary.frozen or primary.leads is not None:
            if node.data.link_up:
                node.data.link_up, node.data.last_io_ms = False, node.clock_ms()
            return
        node.data.link_up, node.data.last_io_ms = True, node.clock_ms()
        node.data.offset = node.lag.receive(node.data.offset, primary.data.offset)

    # Checks

    def _on_write(self, server: Any) -> None:
        self.write_count += 1
        for other in self.servers:
            if other is not server and other.up and other.may_write and _same_slots(server, other):
                raise SafetyViolation(f"{server.address} and {other.address} accept writes of the same slots")
        epoch = server.core.view.myself.config_epoch
        last_epoch, last_node = self.last_writer.get(server.shard, (0, server.node_id))
        if last_node != server.node_id:
            self.remember(f"first write of {server.address} (epoch {epoch})")
            if epoch < last_epoch and not any(last_epoch in node.by_hand for node in self.servers):
                raise SafetyViolation(
                    f"{server.address} accepts a write with epoch {epoch} after {last_node[:8]} with {last_epoch}"
                )
        self.last_writer[server.shard] = (epoch, server.node_id)

    def _on_ordered(self, server: Any) -> None:
        for other in self.servers:
            if other is not server and other.up and other.shard == server.shard and other.may_write:
                raise SafetyViolation(f"{server.address} is promoted while {other.address} accepts writes")


def _same_slots(one: GuardedNode, other: GuardedNode) -> bool:
    return bool(one.core.view.myself.slots & other.core.view.myself.slots)


def run_cluster_seed(seed: int) -> ClusterWorld:
    """Run one seed; the world afterwards."""
    world = ClusterWorld(seed)
    world.run()
    return world
