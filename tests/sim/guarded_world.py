"""A cluster whose failovers are left to guards: checks leases, fences and the real core together, under faults.

The guards are a model of the sentinels' duties, no more: each pings every node over the network with a lease; a
coordinator, who knows everything, decides when a primary is to be replaced. It then has the guards withhold their
leases, waits until a majority of them, each by its own clock, counts its last lease as over, and orders a replica to
take over. (How sentinels agree on that is ``sentinel_world``.) Guards neither crash nor jump in time; clocks of nodes
may jump forward, as far as the protocol allows.

The promise checked after every event: **at no moment do two nodes of a shard accept writes**, whatever is cut off,
frozen, slow or restarted.
"""

from __future__ import annotations

from random import Random
from typing import Any

import attrs
from attrs import define, field

from slotmesh.cluster.errors import ClusterRefusal
from slotmesh.cluster.guard import Fence
from tests.sim.checks import SafetyViolation
from tests.sim.faults import Faults
from tests.sim.network import Connection, Host, Network
from tests.sim.node import CLIENT_PORT, GuardPing, GuardPong, SimNode
from tests.sim.world import World

PERIOD_MS = 150
DOWN_MS = 700
LEASE_MS = 600


@define
class Watch:
    """What a guard knows of one node."""

    node: SimNode
    connection: Connection | None = None
    ready: bool = False
    echo_ms: int = 0
    echo_at_ms: int = 0
    """When, by the guard's clock, the echoed value arrived."""
    lease_over_ms: int = 0
    """When, by the guard's clock, every lease it granted is over."""
    heard_ms: int = 0
    withheld: bool = False


@define(eq=False)
class Guard:
    """One guard: a host that pings all nodes."""

    network: Network
    address: str
    voters: int
    nodes: list[SimNode]
    up: bool = True
    watches: dict[str, Watch] = field(factory=dict)

    def start(self) -> None:
        self.watches = {node.address: Watch(node) for node in self.nodes}
        self._beat()

    def _beat(self) -> None:
        self.network.after(PERIOD_MS, self._beat)
        for watch in self.watches.values():
            if watch.connection is None:
                watch.connection = self.network.connect(self, watch.node.address, CLIENT_PORT, 1)
            elif watch.ready:
                self._ping(watch)

    def _ping(self, watch: Watch) -> None:
        echo_ms = 0 if watch.withheld else watch.echo_ms
        if echo_ms:
            watch.lease_over_ms = max(watch.lease_over_ms, watch.echo_at_ms + LEASE_MS)
        assert watch.connection is not None
        self.network.send(watch.connection, self, GuardPing("sim", f"g{self.address}", LEASE_MS, self.voters, echo_ms))

    def _watch(self, connection: Connection) -> Watch:
        target = connection.ends[1]
        return self.watches[target.address]

    def on_accept(self, connection: Connection, port: int) -> None:
        raise AssertionError("nobody connects to a guard")

    def on_connected(self, connection: Connection) -> None:
        watch = self._watch(connection)
        if watch.connection is connection:
            watch.ready = True
            self._ping(watch)

    def on_closed(self, connection: Connection, *, refused: bool) -> None:
        watch = self._watch(connection)
        if watch.connection is connection:
            # A node that restarted must not get an echo of its former life.
            watch.connection, watch.ready, watch.echo_ms = None, False, 0

    def on_payload(self, connection: Connection, payload: Any) -> None:
        assert isinstance(payload, GuardPong)
        watch = self._watch(connection)
        watch.heard_ms = self.network.now_ms
        watch.echo_ms, watch.echo_at_ms = payload.reply.clock_ms, self.network.now_ms
        if payload.is_replica:
            watch.withheld = False

    def counts_as_down(self, node: SimNode) -> bool:
        return self.network.now_ms - self.watches[node.address].heard_ms > DOWN_MS

    def lease_is_over(self, node: SimNode) -> bool:
        return self.network.now_ms > self.watches[node.address].lease_over_ms


class GuardedFaults(Faults):
    """Faults without operators who would overrule the guards."""

    def __init__(self, world: World, rng: Random) -> None:
        super().__init__(world, rng)
        operators = {self._order_failover, self._order_slot_move, self._order_replicate, self._add_node}
        self._kinds = [kind for kind in self._kinds if kind not in operators]


class GuardedWorld(World):
    """One seed of the above."""

    options = "--guarded "

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        for node in self.nodes:
            node.config = attrs.evolve(node.config, replica_no_failover=True, allow_replica_migration=False)
        self.faults = GuardedFaults(self, Random(self.rng.getrandbits(64)))
        self.guards = [Guard(self.network, f"10.1.0.{number}", 3, self.nodes) for number in (1, 2, 3)]
        for guard in self.guards:
            self.network.add(guard)
        self.guests: list[Host] = list(self.guards)
        self.shards = [self.nodes[index :: self.primaries] for index in range(self.primaries)]
        self.primary_of = [shard[0] for shard in self.shards]
        self.fence_epoch = 0
        self.promotions = 0
        self.extra_checks.append(check_single_writer)
        self.network.at(0, self._start_guards)

    def _bootstrap_by_orders(self) -> None:
        self._bootstrap_by_files()

    def _start_guards(self) -> None:
        for guard in self.guards:
            guard.start()
        self.network.after(DOWN_MS, self._coordinate)

    def _coordinate(self) -> None:
        """Replace primaries that a majority of the guards cannot reach."""
        self.network.after(100, self._coordinate)
        needed = len(self.guards) // 2 + 1
        for index, primary in enumerate(self.primary_of):
            if sum(guard.counts_as_down(primary) for guard in self.guards) < needed:
                for guard in self.guards:
                    guard.watches[primary.address].withheld = False
                continue
            for guard in self.guards:
                guard.watches[primary.address].withheld = True
            if sum(guard.lease_is_over(primary) for guard in self.guards) >= needed:
                self._promote(index)

    def _promote(self, index: int) -> None:
        """Order the best replica that can be reached to take over."""
        now_ms = self.network.now_ms
        old = self.primary_of[index]
        candidates = [
            node
            for node in self.shards[index]
            if node is not old
            and node.up
            and node.frozen_until_ms <= now_ms
            and node.core.view.myself.is_replica
            and sum(guard.counts_as_down(node) for guard in self.guards) == 0
        ]
        if not candidates:
            return
        chosen = max(candidates, key=lambda node: node.data.offset)
        self.fence_epoch += 1
        epoch = max(node.disk.synced_epoch for node in self.nodes) + 1
        self.remember(f"guards order {chosen.address} to take over from {old.address}")
        try:
            chosen.order(lambda admin: admin.failover(takeover=True, fence=Fence(self.fence_epoch, epoch)))
        except ClusterRefusal as refusal:
            self.remember(f"refused: {refusal.condition.name}")
            return
        self.primary_of[index] = chosen
        self.promotions += 1


def check_single_writer(world: World) -> None:
    """At most one node of each shard accepts writes."""
    assert isinstance(world, GuardedWorld)
    for shard in world.shards:
        writers = [node for node in shard if node.up and node.may_write]
        if len(writers) > 1:
            raise SafetyViolation(f"{writers[0].address} and {writers[1].address} accept writes of one shard")
