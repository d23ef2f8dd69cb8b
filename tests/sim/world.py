"""One simulated run: a cluster, a while of faults, then peace, in which it has to recover.

Everything random comes from the seed: the size of the cluster and its settings, the delays of the wires, the faults and
when they strike, the cores' own dice. ``run()`` returns the checksum of the trace, and raises ``SafetyViolation`` or
``LivenessViolation``, whose text has the command that replays it.

To let sentinels (or any other host) join: give the host an ``address`` and the methods of ``network.Host``, call
``world.network.add(host)`` and let it open connections with ``world.network.connect``; a node answers on
``CLIENT_PORT`` once ``SimNode.on_accept`` is taught to. Register it in :attr:`World.guests` to have it crash and be
partitioned like the nodes, and add a check to :attr:`World.extra_checks`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from slotmesh.cluster.config import ClusterConfig
from slotmesh.cluster.messages import NodeAddress
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.slots import SLOT_COUNT
from slotmesh.cluster.state_file import SavedNode, SavedState, encode_state
from slotmesh.cluster.terms import FLAG_MYSELF, FLAG_PRIMARY, FLAG_REPLICA
from tests.sim.bugs import bug_option
from tests.sim.checks import Safety, SafetyViolation, describe_disagreement
from tests.sim.faults import Faults
from tests.sim.network import Host, Network
from tests.sim.node import BUS_PORT, CLIENT_PORT, SimNode

SETTLE_LIMIT_MS = 90_000
SETTLE_STEP_MS = 500
DATA_PERIOD_MS = 60
SAFETY_ERRORS: tuple[type[Exception], ...] = (SafetyViolation,)


class LivenessViolation(AssertionError):
    """The cluster did not recover in time after all faults had ended."""


class World:
    """The simulation of one seed."""

    options = ""
    """What ``python -m tests.sim`` needs besides the seed to run this kind of world."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = Random(seed)
        self.network = Network(Random(rng.getrandbits(64)))
        self.network.max_delay_ms = rng.choice((3, 8, 20))
        self.safety = Safety()
        self.guests: list[Host] = []
        self.extra_checks: list[Callable[[World], None]] = []
        self.log: list[str] = []
        self.node_timeout_ms = rng.choice((400, 600, 1000))
        self.primaries = rng.choice((2, 3, 3, 3, 4, 5))
        self.replicas = 1 if self.primaries > 3 else rng.choice((1, 1, 2, 3))
        self.nodes = [self._make_node(index) for index in range(self.primaries * (1 + self.replicas))]
        self.faults = Faults(self, Random(rng.getrandbits(64)))

    def add_node(self) -> SimNode:
        """A new, empty node, started."""
        node = self._make_node(len(self.nodes))
        self.nodes.append(node)
        node.start()
        return node

    def _make_node(self, index: int) -> SimNode:
        rng = self.rng
        config = ClusterConfig(
            port=CLIENT_PORT,
            cport=BUS_PORT,
            node_timeout_ms=self.node_timeout_ms,
            repl_ping_period_ms=500,
            replica_validity_factor=10,
            allow_replica_migration=self.seed % 4 != 0,
        )
        node = SimNode(
            self.network,
            f"10.0.0.{index + 1}",
            Random(rng.getrandbits(64)),
            config,
            self.safety,
            through_wire=self.seed % 8 == 7,
        )
        node.skew_ms = rng.randrange(-300, 300)
        self.network.add(node)
        return node

    def replay_command(self) -> str:
        return f"python -m tests.sim {self.options}{bug_option()}--seed {self.seed}"

    # Phases

    def run(self, fault_ms: int | None = None) -> int:
        """The whole run; the checksum of its trace."""
        try:
            if self.seed % 5 == 4:
                self._bootstrap_by_orders()
            else:
                self._bootstrap_by_files()
            self.network.at(0, self._move_data)
            self._settle("at the start")
            self.faults.begin(fault_ms if fault_ms is not None else self.rng.randrange(4, 13) * 1000)
            self._run_until(self.faults.end_ms)
            self.faults.cease()
            self._settle("after the faults")
        except AssertionError as error:
            error.add_note(f"seed {self.seed} at {self.network.now_ms} ms; replay: {self.replay_command()}")
            raise
        return self.network.trace

    def _run_until(self, end_ms: int) -> None:
        self.network.run_until(end_ms, self._after_event)

    def _after_event(self) -> None:
        for check in self.extra_checks:
            check(self)

    def _settle(self, when: str) -> None:
        """Run until all nodes agree on a working cluster, twice in a row."""
        limit_ms = self.network.now_ms + SETTLE_LIMIT_MS
        agreed = False
        while True:
            self._run_until(self.network.now_ms + SETTLE_STEP_MS)
            missing = describe_disagreement(self.nodes)
            if not missing and agreed:
                return
            agreed = not missing
            if self.network.now_ms > limit_ms:
                raise LivenessViolation(f"no agreement {SETTLE_LIMIT_MS} ms {when}: {missing}")

    # Start of the cluster

    def _bootstrap_by_files(self) -> None:
        """Every node finds the whole cluster in its nodes.conf."""
        ids = [f"{self.rng.getrandbits(160):040x}" for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            saved = tuple(self._saved_node(ids, other, me=index) for other in range(len(ids)))
            state = SavedState(saved, current_epoch=self.primaries, last_vote_epoch=0)
            node.disk.store(encode_state(state), sync=True)
            node.start()

    def _saved_node(self, ids: list[str], index: int, *, me: int) -> SavedNode:
        is_primary = index < self.primaries
        return SavedNode(
            node_id=ids[index],
            address=NodeAddress(self.nodes[index].address, CLIENT_PORT, BUS_PORT),
            flags=(FLAG_PRIMARY if is_primary else FLAG_REPLICA) | (FLAG_MYSELF if index == me else 0),
            primary_id="" if is_primary else ids[index % self.primaries],
            config_epoch=index + 1 if is_primary else 0,
            slots=self._share(index) if is_primary else SlotSet(),
        )

    def _share(self, index: int) -> SlotSet:
        first = SLOT_COUNT * index // self.primaries
        return SlotSet.from_range(first, SLOT_COUNT * (index + 1) // self.primaries - 1)

    def _bootstrap_by_orders(self) -> None:
        """New nodes are made a cluster by MEET, ADDSLOTS and REPLICATE, as tools do it."""
        for index, node in enumerate(self.nodes):
            node.start()
            if index < self.primaries:
                node.order(lambda admin, index=index: admin.set_config_epoch(index + 1))
                node.order(lambda admin, index=index: admin.add_slots(self._share(index)))
        for node in self.nodes[1:]:
            node.order(lambda admin: admin.meet(self.nodes[0].address, CLIENT_PORT, BUS_PORT))
        everybody = len(self.nodes)
        while any(
            sum(not m.in_handshake and m.role != 0 for m in node.core.view.members) < everybody for node in self.nodes
        ):
            self._run_until(self.network.now_ms + 100)
            if self.network.now_ms > SETTLE_LIMIT_MS:
                raise LivenessViolation("the nodes did not all meet")
        for index in range(self.primaries, everybody):
            primary_id = self.nodes[index % self.primaries].core.view.myself.node_id
            self.nodes[index].order(lambda admin, chosen=primary_id: admin.replicate(chosen, keyspace_empty=True))

    # Data

    def _move_data(self) -> None:
        """Writes come in at the primaries, and the streams flow to the replicas that can reach them."""
        self.network.after(DATA_PERIOD_MS, self._move_data)
        by_id = {node.core.view.myself.node_id: node for node in self.nodes if node.up}
        for node in self.nodes:
            if not node.up or self.network.now_ms < node.frozen_until_ms:
                continue
            if not node.data.follows:
                if node.may_write:
                    node.data.offset += 1 + int(self.rng.random() * 100)
                continue
            self._replicate(node, by_id.get(node.data.follows))

    def _replicate(self, replica: SimNode, primary: SimNode | None) -> None:
        data = replica.data
        network = self.network
        reachable = (
            primary is not None
            and network.now_ms >= primary.frozen_until_ms
            and not network.is_cut(primary, replica)
            and not network.is_cut(replica, primary)
        )
        if not reachable or primary is None:
            if data.link_up:
                data.link_up = False
                data.last_io_ms = replica.clock_ms()
            return
        data.link_up = True
        data.last_io_ms = replica.clock_ms()
        data.offset = primary.data.offset

    # For the faults

    def remember(self, text: str) -> None:
        """Log what was done to the cluster, and make it part of the trace."""
        line = f"{self.network.now_ms:>7} {text}"
        self.log.append(line)
        self.network.note(line)

    def choose(self, candidates: list[Any]) -> Any:
        return candidates[int(self.rng.random() * len(candidates))]
