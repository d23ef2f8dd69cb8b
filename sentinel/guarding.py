"""Guarding a whole cluster with one `sentinel monitor` line.

The line names any node. When that node's INFO says cluster_enabled, the plain unit becomes a `Guard`: the shards are
learned from the nodes, each shard is a `Unit` of its own, and every node of the cluster is watched. From then on one
reachable node after the other is asked for its view, and the units follow what the cluster does: replicas come, go and
move, shards appear and vanish, operators fail over by hand.

Trust in views. A view adds nodes at once. It makes another member the primary only with a larger cluster config epoch
than that of the primary we know (as the bus itself decides), or when both nodes say so themselves; and not while we
lead a failover of that shard, nor between a switch and the first view that shows it. It removes a node only after
several views without it, and a view that lacks half of the nodes we know is not believed at all.
"""

from __future__ import annotations

from attrs import define

from slotmesh.cluster.epochs import is_credible
from slotmesh.sentinel.detector import NEVER
from slotmesh.sentinel.effects import NOTICE, WARNING, Reply
from slotmesh.sentinel.failover import Failover
from slotmesh.sentinel.instance import REPLICA, Address, Channel, Guard, Instance, Settings, Unit
from slotmesh.sentinel.leases import Leases
from slotmesh.sentinel.links import DISCARD, EPOCHS, NODES, SHARDS, Links
from slotmesh.sentinel.roster import Roster
from slotmesh.sentinel.state import Context
from slotmesh.sentinel.topology import (
    NodeView,
    ShardView,
    group_shards,
    parse_current_epoch,
    parse_nodes,
    parse_shard_ids,
)
from slotmesh.sentinel.unit_names import NAMING_MS, UnitNames

VIEW_PERIOD_MS = 1_000
LARGE_CLUSTER = 50
"""From so many shards on views are asked for less often: they grow with the cluster, and so does what they cost."""

LARGE_VIEW_PERIOD_MS = 5_000
ABSENT_VIEWS = 3
SEED_AFTER_MS = 5_000

MAX_LISTENERS = 12
MIN_LISTENERS = 3
"""On how many nodes we listen for hello messages. The bus carries each one to every node: more would be the same
again.
"""


@define
class _Reading:
    """A view under evaluation: who told it, and who of those it names is known already."""

    guard: Guard
    teller: Instance
    nodes: dict[str, Instance]
    by_shard: dict[str, Unit]
    told_shards: dict[str, ShardView]


class Guarding:
    """Turns views of the cluster into units, and keeps them in step with it."""

    def __init__(self, ctx: Context, links: Links, roster: Roster, leases: Leases, failover: Failover) -> None:
        self._ctx = ctx
        self._links = links
        self._roster = roster
        self._leases = leases
        self._failover = failover
        self._shard_ids: dict[str, dict[str, str]] = {}  # guard name -> node id -> shard id
        self.names = UnitNames(ctx)

    # ------------------------------------------------------------------------------------------------- becoming a guard

    def convert(self, unit: Unit, *, unnamed: bool = False) -> Guard:
        """The watched primary turned out to be a cluster node: guard its cluster. ``unnamed``: nobody does yet."""
        ctx, node = self._ctx, unit.primary
        guard = self.add_guard(unit.name, node.address, unit.settings)
        if unnamed:
            guard.names_settled_ms = ctx.now_ms
        for other in [*unit.replicas.values(), *unit.sentinels.values()]:
            self._links.release(other)
        self._roster.forget_unit(unit)
        ctx.log(f"{unit.name} is a cluster node: guarding its whole cluster", NOTICE)
        node.unit, node.guard, node.role, node.name = None, guard, REPLICA, ctx.label(node.address)
        node.role_reported = REPLICA
        guard.spares[node.name] = node  # until a view tells its id
        ctx.touch(node)
        return guard

    def add_guard(self, name: str, seed: Address, settings: Settings) -> Guard:
        guard = Guard(name, settings, seed)
        guard.started_ms = self._ctx.now_ms
        guard.names_settled_ms = self._ctx.now_ms + NAMING_MS
        self._ctx.guards[name] = guard
        self._ctx.touch(guard)
        self._ctx.persist()
        return guard

    def remove_guard(self, guard: Guard) -> None:
        """Stop guarding: forget all units and nodes, and tell our nodes that they are free again.

        Sentinels that still guard the cluster arm them again with their next ping; the last one to leave frees them.
        """
        for node in guard.nodes():
            if node.ours:
                self._links.send(node, DISCARD, "CLUSTER", "UNGUARD", guard.name)
        for unit in list(guard.units.values()):
            self._roster.remove_unit(unit)
        for spare in guard.spares.values():
            self._links.release(spare)
        guard.removed = True
        del self._ctx.guards[guard.name]
        self._shard_ids.pop(guard.name, None)
        self.names.forget(guard)

    # ---------------------------------------------------------------------------------------------------- asking around

    def review(self, guard: Guard) -> int:
        """Ask the next node for its view if it is time; returns when the next is due."""
        period_ms = VIEW_PERIOD_MS if len(guard.units) < LARGE_CLUSTER else LARGE_VIEW_PERIOD_MS
        due_ms = guard.asked_ms + period_ms
        if guard.ask_again_ms > guard.asked_ms:
            due_ms = min(due_ms, guard.ask_again_ms)
        if self._ctx.now_ms < due_ms and guard.asked_ms:
            return due_ms
        ready = [node for node in guard.nodes() if node.link.commands.up and self._links.has_room(node)]
        if not ready:
            return self._call_on_seed(guard)
        self._keep_listening(ready)
        labels = [self._ctx.label(node.address) for node in ready]
        start = labels.index(guard.asked_node) + 1 if guard.asked_node in labels else 0
        node = ready[start % len(ready)]
        guard.asked_ms, guard.asked_node = self._ctx.now_ms, labels[start % len(ready)]
        self._links.send(node, SHARDS, "CLUSTER", "SHARDS")
        self._links.send(node, EPOCHS, "CLUSTER", "INFO")
        self._links.send(node, NODES, "CLUSTER", "NODES")
        return self.review(guard)

    def _call_on_seed(self, guard: Guard) -> int:
        """No node can be reached. After a while try the address of the `monitor` line again: if it is a name, it may
        lead to where the nodes are now. A connection that comes up has the guard reviewed anyway.
        """
        quiet_since_ms = max(guard.heard_ms, guard.started_ms)
        if self._ctx.now_ms < quiet_since_ms + SEED_AFTER_MS:
            return quiet_since_ms + SEED_AFTER_MS
        if not any(node.address.same_place(guard.seed) for node in guard.nodes()):
            label = self._ctx.label(guard.seed)
            seed = self._roster.new_instance(REPLICA, label, guard.seed, guard.settings, None)
            seed.guard = guard
            guard.spares[label] = seed
        return NEVER

    def _keep_listening(self, ready: list[Instance]) -> None:
        """Where too few of the nodes we listen on are left, listen on others as well."""
        listening = sum(node.link.pubsub is not None and node.link.pubsub.up for node in ready)
        for node in ready:
            if listening >= MIN_LISTENERS:
                return
            if node.link.pubsub is None:
                node.link.pubsub = Channel(True)
                node.link.heard_ms = self._ctx.now_ms
                self._ctx.touch(node)
                listening += 1

    @staticmethod
    def wants_listener(guard: Guard) -> bool:
        """Whether one more node should be listened on."""
        return sum(node.link.pubsub is not None for node in guard.nodes()) < MAX_LISTENERS

    def ask_soon(self, guard: Guard | None) -> None:
        """Something changed: look again without waiting for the period."""
        if guard is not None:
            guard.asked_ms = 0
            self._ctx.touch(guard)

    def on_shards(self, node: Instance, reply: Reply) -> None:
        if node.guard is not None:
            self._shard_ids[node.guard.name] = parse_shard_ids(reply)

    def on_epochs(self, node: Instance, reply: Reply) -> None:
        if node.guard is not None and isinstance(reply, bytes):
            self._note_epoch(node.guard, parse_current_epoch(reply))

    @staticmethod
    def _note_epoch(guard: Guard, told: int) -> None:
        if is_credible(told, guard.max_cluster_epoch):
            guard.max_cluster_epoch = max(guard.max_cluster_epoch, told)

    def on_nodes(self, node: Instance, reply: Reply) -> None:
        """A node told its view of the cluster."""
        guard = node.guard
        if guard is None or guard.removed or not isinstance(reply, bytes):
            return
        views = [view for view in parse_nodes(reply) if is_credible(view.config_epoch, guard.max_cluster_epoch)]
        myself = next((view for view in views if view.myself), None)
        if myself is None:
            return
        self._identify(guard, node, myself)
        epochs = [view.config_epoch for view in views]
        guard.max_cluster_epoch = max(guard.max_cluster_epoch, *epochs)
        if not self._believable(guard, views):
            return
        guard.heard_ms = self._ctx.now_ms
        known = {one.node_id: one for one in guard.nodes() if one.node_id}
        by_shard = {unit.shard_id: unit for unit in guard.units.values() if unit.shard_id}
        shards = group_shards(views, self._shard_ids.get(guard.name, {}))
        told_shards = {shard.shard_id: shard for shard in shards if shard.shard_id}
        reading = _Reading(guard, node, known, by_shard, told_shards)
        alive = [self._apply_shard(reading, shard) for shard in shards]
        self._apply_absence(guard, views, [unit for unit in alive if unit is not None])

    def _identify(self, guard: Guard, node: Instance, myself: NodeView) -> None:
        """A node told its own id: the seed gets its name, an address taken over by another node is noticed."""
        if node.node_id == myself.node_id:
            return
        if node.node_id:
            self._ctx.log(f"{self._ctx.label(node.address)} of {guard.name} is node {myself.node_id} now")
            return
        guard.spares.pop(node.name, None)
        known = self._find(guard, myself.node_id)
        if known is not None:
            self._links.release(node)
            return
        node.node_id = myself.node_id
        guard.spares[node.node_id] = node

    @staticmethod
    def _believable(guard: Guard, views: list[NodeView]) -> bool:
        known = [node.node_id for node in guard.nodes() if node.node_id]
        told = {view.node_id for view in views}
        return len(known) <= 2 or 2 * sum(node_id in told for node_id in known) > len(known)

    @staticmethod
    def _find(guard: Guard, node_id: str) -> Instance | None:
        return next((node for node in guard.nodes() if node.node_id == node_id), None)

    # -------------------------------------------------------------------------------------------------- following views

    def _apply_shard(self, reading: _Reading, shard: ShardView) -> Unit | None:
        """Bring the unit of a shard up to date; None while it has none."""
        unit = self._unit_of(reading, shard)
        if unit is None:
            unit = self._maybe_add_unit(reading, shard)
            if unit is None:
                return None
        unit.slotless_views = 0
        if shard.shard_id and unit.shard_id != shard.shard_id:
            unit.shard_id = shard.shard_id
            self._ctx.persist()
        for view in shard.members():
            self._apply_member(reading, unit, view)
        if unit.primary.node_id == shard.primary.node_id:
            if unit.unconfirmed or shard.primary.config_epoch > unit.cluster_epoch:
                unit.cluster_epoch, unit.unconfirmed = max(unit.cluster_epoch, shard.primary.config_epoch), False
                self._ctx.persist()
        elif not unit.failover.active and self._deposed(unit, shard.primary):
            self._follow_cluster(unit, shard.primary)
        return unit

    @staticmethod
    def _deposed(unit: Unit, view: NodeView) -> bool:
        """Whether a view that shows another primary is newer than what we know."""
        if unit.primary.role_reported == REPLICA:
            return view.myself  # both say so themselves: the old one that it follows, the new one that it leads
        return not unit.unconfirmed and view.config_epoch > unit.cluster_epoch

    def _follow_cluster(self, unit: Unit, view: NodeView) -> None:
        """The cluster made another member the primary: by hand, by its own election, or by a leader we missed."""
        member = next((m for m in unit.replicas.values() if m.node_id == view.node_id), None)
        if member is not None:
            self._failover.switch(unit, member.address)
            unit.cluster_epoch, unit.unconfirmed = view.config_epoch, False

    @staticmethod
    def _unit_of(reading: _Reading, shard: ShardView) -> Unit | None:
        """By the shard's id where it has one, else by the unit that its primary belongs to.

        A shard may get another id; it is the same one as long as no other shard goes by the id we knew.
        """
        if shard.shard_id in reading.by_shard:
            return reading.by_shard[shard.shard_id]
        primary = reading.nodes.get(shard.primary.node_id)
        unit = primary.unit if primary is not None else None
        return unit if unit is not None and unit.shard_id not in reading.told_shards else None

    def _apply_member(self, reading: _Reading, unit: Unit, view: NodeView) -> None:
        """Have the node of `view` in `unit`, at the address it has now."""
        guard = reading.guard
        host = view.host or (reading.teller.address.host if view.myself else "")
        if not self._ctx.reachable(host):
            return
        address = self._ctx.address(host, view.port)
        node = reading.nodes.get(view.node_id)
        if node is None:
            listen = self.wants_listener(guard)
            label = self._ctx.label(address)
            node = self._roster.new_instance(REPLICA, label, address, guard.settings, unit, listen=listen)
            node.node_id, node.guard = view.node_id, guard
            reading.nodes[node.node_id] = node
            self._join(unit, node)
        elif node.unit is not unit:
            if node.unit is not None and node is node.unit.primary:
                return  # its own shard is about to be dropped; it moves after that
            self._leave(guard, node)
            self._join(unit, node)
        elif not node.address.same_place(address) and (view.myself or view.linked):
            self._relocate(unit, node, address)
        node.no_failover = "nofailover" in view.flags
        node.missing_views = 0

    def _join(self, unit: Unit, node: Instance) -> None:
        node.unit, node.role, node.name = unit, REPLICA, self._ctx.label(node.address)
        unit.replicas[node.name] = node
        self._ctx.emit(NOTICE, "+slave", node)
        self._ctx.persist()
        self._ctx.touch_unit(unit)

    def _leave(self, guard: Guard, node: Instance) -> None:
        """Take a node out of wherever it is."""
        guard.spares.pop(node.node_id, None)
        unit = node.unit
        if unit is not None:
            self._leases.left(unit, node)
            unit.replicas.pop(node.name, None)
            node.unit = None

    def _relocate(self, unit: Unit, node: Instance, address: Address) -> None:
        self._ctx.emit(NOTICE, "+node-address-change", node, f" to {self._ctx.label(address)}")
        if node is not unit.primary:
            unit.replicas.pop(node.name, None)
            node.name = self._ctx.label(address)
            unit.replicas[node.name] = node
        node.address = address
        self._links.close(node.link)
        node.link.retry_at_ms = node.link.refusals = 0
        self._ctx.persist()
        self._ctx.touch_unit(unit)

    def _apply_absence(self, guard: Guard, views: list[NodeView], alive: list[Unit]) -> None:
        """Count what a view lacks; drop what several views in a row lacked. `alive`: units with slots."""
        told = {view.node_id for view in views}
        for unit in list(guard.units.values()):
            if any(unit is one for one in alive):
                continue
            unit.slotless_views += 1
            if unit.slotless_views >= ABSENT_VIEWS and not unit.failover.active:
                self._drop_unit(guard, unit)
        for node in guard.nodes():
            if not node.node_id or node.node_id in told:
                continue
            node.missing_views += 1
            if node.missing_views >= ABSENT_VIEWS and (node.unit is None or node is not node.unit.primary):
                self._ctx.emit(NOTICE, "-slave", node)
                self._leave(guard, node)
                self._links.release(node)
                self._ctx.persist()

    def _drop_unit(self, guard: Guard, unit: Unit) -> None:
        """A shard without slots is none: its nodes stay known, as spares."""
        self._ctx.emit(WARNING, "-monitor", unit)
        del guard.units[unit.name]
        for member in unit.members():
            member.unit, member.role, member.name = None, REPLICA, self._ctx.label(member.address)
            guard.spares[member.node_id] = member
        for peer in unit.sentinels.values():
            self._links.release(peer)
        self._roster.forget_unit(unit)
        self._ctx.persist()

    # ------------------------------------------------------------------------------------------------------- new units

    def _maybe_add_unit(self, reading: _Reading, shard: ShardView) -> Unit | None:
        """Make a unit of a shard that has none yet, once its name is settled."""
        guard = reading.guard
        primary = reading.nodes.get(shard.primary.node_id)
        if primary is not None and primary.unit is not None and primary is primary.unit.primary:
            return None  # its old shard gets another primary, or is dropped, first
        name = self.names.name_for(guard, shard)
        if name is None:
            return None
        host = shard.primary.host or reading.teller.address.host
        if not self._ctx.reachable(host):
            return None
        unit = self.new_unit(guard, name, shard.primary.node_id, self._ctx.address(host, shard.primary.port))
        reading.nodes[unit.primary.node_id] = unit.primary
        unit.shard_id, unit.cluster_epoch = shard.shard_id, shard.primary.config_epoch
        self._ctx.emit(WARNING, "+monitor", unit, f" quorum {guard.settings.quorum}")
        return unit

    def new_unit(self, guard: Guard, name: str, primary_id: str, address: Address) -> Unit:
        """A unit of the guard; a primary that is known as a spare keeps its record and its link."""
        unit = self._roster.add_unit(name, address, guard.settings, listen=self.wants_listener(guard))
        unit.guard = guard
        guard.units[name] = unit
        known = self._find(guard, primary_id)
        if known is not None and known is not unit.primary:
            self._leave(guard, known)
            self._links.release(unit.primary)
            unit.primary = known
            known.unit, known.role, known.name = unit, "primary", name
            known.role_reported, known.role_reported_ms = "primary", self._ctx.now_ms
        unit.primary.node_id, unit.primary.guard = primary_id, guard
        self._ctx.persist()
        self._ctx.touch_unit(unit)
        return unit
