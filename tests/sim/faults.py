"""What goes wrong during a run, and what operators do in the middle of it.

Faults strike at random moments: crashes (of the process, or of the machine with its unsynced writes), freezes, clock
jumps, broken connections, slow wires, partitions of one or both directions. Operators order manual failovers of all
kinds, move slots, make replicas follow other primaries, and add a node. Everything ends with :meth:`Faults.cease`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, TypeVar

from slotmesh.cluster.errors import ClusterRefusal
from tests.sim.network import Host
from tests.sim.node import BUS_PORT, CLIENT_PORT, SimNode

if TYPE_CHECKING:
    from tests.sim.world import World


T = TypeVar("T")


class Faults:
    """The troublemaker of one run."""

    def __init__(self, world: World, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self.end_ms = 0
        kinds: list[tuple[int, Callable[[], None]]] = [
            (6, self._crash),
            (3, self._crash_rack),
            (3, self._freeze),
            (2, self._jump_clock),
            (4, self._break_connections),
            (2, self._slow_wires),
            (4, self._partition),
            (2, self._heal),
            (3, self._order_failover),
            (3, self._order_slot_move),
            (1, self._order_replicate),
            (1, self._add_node),
        ]
        self._kinds = [kind for weight, kind in kinds for _ in range(weight)]
        self._newcomer: SimNode | None = None
        self._mean_gap_ms = rng.choice((250, 500, 1000))

    def begin(self, duration_ms: int) -> None:
        self.end_ms = self._world.network.now_ms + duration_ms
        self._next()

    def cease(self) -> None:
        """Heal everything: from here on nothing bad happens."""
        world = self._world
        world.remember("peace")
        world.network.heal()
        world.network.max_delay_ms = 8
        for node in world.nodes:
            if not node.up:
                node.start()
            if node.frozen_until_ms > world.network.now_ms:
                node.freeze(0)

    def _next(self) -> None:
        network = self._world.network
        when_ms = network.now_ms + 1 + int(self._rng.expovariate(1 / self._mean_gap_ms))
        if when_ms < self.end_ms:
            network.at(when_ms, self._strike)

    def _strike(self) -> None:
        self._pick(self._kinds)()
        self._next()

    def _pick(self, options: list[T]) -> T:
        return options[int(self._rng.random() * len(options))]

    def _running(self) -> list[SimNode]:
        return [node for node in self._world.nodes if node.up]

    # Machines

    def _crash(self) -> None:
        world = self._world
        running = self._running()
        if len(running) <= len(world.nodes) // 3:
            return
        self._crash_one(self._pick(running), 2.5 * world.node_timeout_ms)

    def _crash_rack(self) -> None:
        """Two primaries die together: two elections at the same time."""
        world = self._world
        running = self._running()
        primaries = [node for node in running if node.core.view.myself.is_primary and node.core.view.myself.slots]
        if len(primaries) < 4 or len(running) < len(world.nodes) - 1:
            return
        for node in self._rng.sample(primaries, 2):
            self._crash_one(node, 6 * world.node_timeout_ms)

    def _crash_one(self, node: SimNode, mean_down_ms: float) -> None:
        world = self._world
        lose = self._rng.random() < 0.5
        down_ms = 50 + int(self._rng.expovariate(1 / mean_down_ms))
        world.remember(f"crash {node.address} lose_unsynced={lose} for {down_ms}")
        node.crash(lose_unsynced=lose)
        world.network.after(down_ms, self._restart, node)

    def _restart(self, node: SimNode) -> None:
        if not node.up:
            node.skew_ms += self._rng.randrange(-400, 400)
            self._world.remember(f"restart {node.address} skew {node.skew_ms}")
            node.start()

    def _freeze(self) -> None:
        node = self._pick(self._running())
        duration_ms = int(self._rng.expovariate(1 / self._world.node_timeout_ms))
        self._world.remember(f"freeze {node.address} for {duration_ms}")
        node.freeze(duration_ms)

    def _jump_clock(self) -> None:
        node = self._pick(self._running())
        jump_ms = self._rng.randrange(1, 3 * self._world.node_timeout_ms)
        self._world.remember(f"clock of {node.address} jumps {jump_ms}")
        node.skew_ms += jump_ms

    # Wires

    def _break_connections(self) -> None:
        network = self._world.network
        for connection in list(network.live_connections()):
            if self._rng.random() < 0.2:
                network.reset(connection)
        self._world.remember("connections break")

    def _slow_wires(self) -> None:
        network = self._world.network
        network.max_delay_ms = self._pick([3, 8, 20, self._world.node_timeout_ms // 3])
        self._world.remember(f"delays up to {network.max_delay_ms}")

    def _partition(self) -> None:
        world = self._world
        hosts: list[Host] = [*world.nodes, *world.guests]
        left = [host for host in hosts if self._rng.random() < 0.35]
        right = [host for host in hosts if host not in left]
        both = self._rng.random() < 0.6
        names = " ".join(host.address for host in left)
        world.remember(f"partition {'both ways' if both else 'one way'}: {names}")
        world.network.cut(left, right, both_ways=both)

    def _heal(self) -> None:
        self._world.remember("heal")
        self._world.network.heal()

    # Operators

    def _order_failover(self) -> None:
        replicas = [node for node in self._running() if node.core.view.myself.is_replica and not self._is_frozen(node)]
        if not replicas:
            return
        node = self._pick(replicas)
        kind = self._pick(["plain", "plain", "force", "takeover"])
        self._world.remember(f"failover {kind} ordered from {node.address}")
        try:
            node.order(lambda admin: admin.failover(force=kind == "force", takeover=kind == "takeover"))
        except ClusterRefusal as refusal:
            self._world.remember(f"refused: {refusal.condition.name}")

    def _order_slot_move(self) -> None:
        """Move one slot as tools do: open it on both sides, close it on the target, then on the source. Some stay open.

        Tools first check that the nodes agree, and so does this: a target that does not know the config epoch of the
        source may close the import with a smaller one, and lose the slot to a heartbeat of the source that is under
        way. That is a gap of the protocol (stock has it too), not of the node.
        """
        world = self._world
        primaries = [node for node in self._running() if node.core.view.myself.is_primary and not self._is_frozen(node)]
        if len(primaries) < 2:
            return
        source, target = self._rng.sample(primaries, 2)
        slots = list(source.core.view.myself.slots)
        seen = target.core.view.members.get(source.core.view.myself.node_id)
        real = source.core.view.myself
        if len(slots) < 2 or seen is None or seen.config_epoch != real.config_epoch or seen.slots != real.slots:
            return
        slot = self._pick(slots)
        source_id, target_id = source.core.view.myself.node_id, target.core.view.myself.node_id
        world.remember(f"move slot {slot} from {source.address} to {target.address}")
        try:
            target.order(lambda admin: admin.set_slot_importing(slot, source_id))
            source.order(lambda admin: admin.set_slot_migrating(slot, target_id))
            if self._pick([True, False, False]):
                return  # whoever moved it died
            target.order(lambda admin: admin.set_slot_node(slot, target_id, keys_in_slot=0))
            world.safety.note_unconsented(target)
            source.order(lambda admin: admin.set_slot_node(slot, target_id, keys_in_slot=0))
        except ClusterRefusal as refusal:
            world.remember(f"refused: {refusal.condition.name}")

    def _order_replicate(self) -> None:
        replicas = [node for node in self._running() if node.core.view.myself.is_replica and not self._is_frozen(node)]
        if not replicas:
            return
        node = self._pick(replicas)
        primaries = [member for member in node.core.view.members if member.is_primary]
        if not primaries:
            return
        chosen = self._pick(primaries).node_id
        self._world.remember(f"{node.address} ordered to replicate {chosen[:8]}")
        try:
            node.order(lambda admin: admin.replicate(chosen, keyspace_empty=True))
        except ClusterRefusal as refusal:
            self._world.remember(f"refused: {refusal.condition.name}")

    def _add_node(self) -> None:
        """A new node joins (one per run)."""
        if self._newcomer is None:
            self._newcomer = self._world.add_node()
            self._world.remember(f"new node {self._newcomer.address}")
            self._introduce()

    def _introduce(self) -> None:
        """MEET a node of the cluster, again and again until everybody knows the newcomer, as an operator would."""
        world, newcomer = self._world, self._newcomer
        assert newcomer is not None
        known = [node for node in world.nodes if node.up and node is not newcomer and not self._is_frozen(node)]
        if newcomer.up and not self._is_frozen(newcomer) and known:
            node_id = newcomer.core.view.myself.node_id
            if all(node.core.view.members.get(node_id) is not None for node in known) and len(
                newcomer.core.view.members
            ) >= len(world.nodes):
                return
            introducer = self._pick(known)
            introducer.order(lambda admin: admin.meet(newcomer.address, CLIENT_PORT, BUS_PORT))
        world.network.after(2 * world.node_timeout_ms, self._introduce)

    def _is_frozen(self, node: SimNode) -> bool:
        return node.frozen_until_ms > self._world.network.now_ms
