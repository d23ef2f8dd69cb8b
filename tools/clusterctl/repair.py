"""Carrying out repairs: close slots, give them one owner, bring stray keys home, promote replicas of the dead.

Every repair is made of the same few commands and can be repeated: killed half-way, the next run finds less to do. The
order inside one repair protects the keys: a node is told that a slot is not its own only after it holds no key of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from slotmesh.cluster.plan import Address
from slotmesh.cluster.plan_repair import SlotFacts, SlotRepair, group_repairs, plan_slot_repair
from slotmesh.cluster.slot_set import ALL_SLOTS, SlotSet
from slotmesh.tools.clusterctl.agreement import poll_until
from slotmesh.tools.clusterctl.connect import Access, NodeLink, for_each, pack, words
from slotmesh.tools.clusterctl.errors import ServerError
from slotmesh.tools.clusterctl.health import Strays, doubly_owned
from slotmesh.tools.clusterctl.mover import (
    DEFAULT_MIGRATE_TIMEOUT_MS,
    NOT_A_PRIMARY,
    KeyDrain,
    count_per_slot,
    set_slots,
    tell_giver,
)
from slotmesh.tools.clusterctl.view import ClusterView, Node, ask_node, union

TAKEOVER_DEADLINE_S = 30.0


@attrs.frozen
class Takeover:
    """A dead primary and the live replica to promote in its place."""

    dead: Node
    replica: Node


def plan_takeovers(view: ClusterView) -> list[Takeover]:
    """For every dead primary with slots that the cluster suspects too: its live replica with the most data.

    A node that only we cannot reach is none of our business: the network between us may be the broken part.
    """
    found: list[Takeover] = []
    for node in view.primaries:
        if node.reachable or not node.slots or not view.suspects(node):
            continue
        replicas = [replica for replica in view.replicas_of(node.id) if replica.reachable]
        if replicas:
            found.append(Takeover(node, max(replicas, key=lambda replica: replica.offset)))
    return found


def take_over(takeover: Takeover, access: Access) -> None:
    """Promote the replica without asking the dead or the majority, and wait until it owns the slots."""
    with NodeLink(takeover.replica.address, access) as link:
        if words(link.call("ROLE")[0]) == "slave":
            link.call("CLUSTER", "FAILOVER", "TAKEOVER")

        def missing() -> str | None:
            return None if words(link.call("ROLE")[0]) == "master" else f"{takeover.replica.name} is still a replica"

        poll_until(missing, TAKEOVER_DEADLINE_S)


def slots_of_the_dead(view: ClusterView) -> SlotSet:
    """Slots whose owner, as the live nodes see it, cannot be reached."""
    return union(node.slots for node in view.primaries if not node.reachable) - view.covered()


def collect_facts(view: ClusterView, leave_out: SlotSet, access: Access) -> list[SlotFacts]:
    """The facts about every slot that may need repair: open, doubly owned, unowned, or with keys on another node."""
    live = view.live_primaries
    held = dict(zip([n.id for n in live], for_each(live, lambda node: _strays(node, access)), strict=True))
    suspicious = view.open_slots() | doubly_owned(view) | view.uncovered()
    suspicious |= SlotSet(slot for counts in held.values() for slot in counts)
    suspicious -= leave_out
    if not suspicious:
        return []
    for node in live:
        with NodeLink(node.address, access) as link:
            held[node.id] |= count_per_slot(link, list(suspicious & node.slots))
    return [_facts_of(slot, live, held) for slot in suspicious]


def find_strays(view: ClusterView, access: Access) -> list[Strays]:
    """The primaries that hold keys in slots that are neither theirs nor half-moved."""
    open_slots = view.open_slots()
    suspects = [node for node in view.live_primaries if node.key_count]
    answers = for_each(suspects, lambda node: _strays_of(node, open_slots, access))
    return [one for one in answers if one is not None]


def _strays_of(node: Node, open_slots: SlotSet, access: Access) -> Strays | None:
    if not _may_hold_strays(node, access):
        return None
    counts = _strays(node, access)
    # Slots that moved in while we counted are no strays.
    now = ask_node(node.address, access)
    slots = SlotSet(counts) - open_slots - now.slots - SlotSet([*now.line.importing, *now.line.migrating])
    return Strays(node, slots, sum(counts[slot] for slot in slots)) if slots else None


def _may_hold_strays(node: Node, access: Access) -> bool:
    """Whether the node has more keys than its own slots hold.

    Counting its own slots takes one look at every slot of the cluster, however many nodes there are; counting all the
    others as well would take one per node. Keys that come and go meanwhile can hide as many strays, or look like some.
    """
    counting = [("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in node.slots]
    with NodeLink(node.address, access) as link:
        before, *counts, after = link.batch([("DBSIZE",), *counting, ("DBSIZE",)])
    for reply in (before, *counts, after):
        if isinstance(reply, ServerError):
            raise reply
    return bool(max(before, after) > sum(counts))


def _strays(node: Node, access: Access) -> dict[int, int]:
    with NodeLink(node.address, access) as link:
        return count_per_slot(link, list(ALL_SLOTS - node.slots))


def _facts_of(slot: int, live: Sequence[Node], held: Mapping[str, Mapping[int, int]]) -> SlotFacts:
    return SlotFacts(
        slot,
        claims={node.id: node.line.config_epoch for node in live if slot in node.slots},
        migrating={node.id: node.line.migrating[slot] for node in live if slot in node.line.migrating},
        importing={node.id: node.line.importing[slot] for node in live if slot in node.line.importing},
        keys={node.id: held[node.id][slot] for node in live if slot in held[node.id]},
    )


def plan_repairs(view: ClusterView, facts: Sequence[SlotFacts]) -> list[tuple[SlotRepair, SlotSet]]:
    """One repair per group of slots. Slots without owner and keys go to whoever has the fewest."""
    live = view.live_primaries
    usable = [node.id for node in live]
    load = {node.id: len(node.slots) for node in live}
    repairs: list[tuple[int, SlotRepair]] = []
    for one in facts:
        # Primaries without any slot stay empty: someone may be about to take them out.
        fallback = min((n for n in usable if load[n]), key=lambda node: load[node], default=usable[0])
        repair = plan_slot_repair(one, usable, fallback)
        if repair is None:
            continue
        if not one.claims:
            load[repair.owner] += 1
        repairs.append((one.slot, repair))
    return group_repairs(repairs)


class Repairer:
    """Carries out `SlotRepair`s on the nodes of a view."""

    def __init__(self, view: ClusterView, access: Access, on_keys: Callable[[int], None]) -> None:
        self._access = access
        self._live = view.live_primaries
        self._addresses = {node.id: node.address for node in view.nodes}
        self._claims = {node.id: node.slots for node in view.live_primaries}
        self._on_keys = on_keys
        self._links: dict[str, NodeLink] = {}

    def close(self) -> None:
        for link in self._links.values():
            link.close()

    def _link(self, node_id: str) -> NodeLink:
        if node_id not in self._links:
            patience_s = DEFAULT_MIGRATE_TIMEOUT_MS / 1000 + self._access.timeout_s
            self._links[node_id] = NodeLink(self._addresses[node_id], self._access, patience_s)
        return self._links[node_id]

    def adopt(self, repairs: Sequence[tuple[SlotRepair, SlotSet]]) -> None:
        """Give every slot that nobody serves its owner, before any key is carried: a cluster with a slot unowned is
        down, and its nodes take no keys in.
        """
        for repair, slots in repairs:
            if repair.serving is None:
                self._own(self._link(repair.owner), repair.owner, slots)
                self._tell_others(repair.owner, slots)

    def run(self, repair: SlotRepair, slots: SlotSet) -> None:
        """Bring the keys to the owner, make it the only one, and remove every mark. `adopt` must have been called."""
        owner = self._link(repair.owner)
        owned = self._claims[repair.owner] & slots
        if repair.serving is None:
            owned = slots
        elif repair.serving == repair.owner and repair.owner in repair.marked:
            # Nothing of it has moved away, so the owner may as well serve (and take in) every key again.
            set_slots(owner, slots, "STABLE")
        for holder in repair.carry_from:
            self._carry(holder, repair, slots, owned)
        if repair.serving not in (None, repair.owner) or len(self._claims_of(slots)) > 1:
            self._own(owner, repair.owner, slots)
        for node in repair.marked:
            # The serving node keeps its mark until it has been told the new owner: without the mark it would accept
            # new keys again. Being told removes the mark, as it holds no key any more.
            if node != repair.serving or repair.serving == repair.owner:
                set_slots(self._link(node), slots, "STABLE", tolerate=NOT_A_PRIMARY)
        self._tell_others(repair.owner, slots)

    def _tell_others(self, owner_id: str, slots: SlotSet) -> None:
        for other in self._live:
            if other.id != owner_id:
                tell_giver(self._link(other.id), slots, owner_id)

    def _claims_of(self, slots: SlotSet) -> list[str]:
        return [node for node, claimed in self._claims.items() if claimed & slots]

    def _own(self, owner: NodeLink, owner_id: str, slots: SlotSet) -> None:
        """Make a node the owner with an epoch above all others: gossip of an older owner must lose."""
        set_slots(owner, slots, "NODE", owner_id)
        owner.call("CLUSTER", "BUMPEPOCH")

    def _carry(self, holder_id: str, repair: SlotRepair, slots: SlotSet, owned: SlotSet) -> None:
        holder = self._link(holder_id)
        owner = self._link(repair.owner)
        set_slots(owner, slots - owned, "IMPORTING", holder_id)
        claimed = self._claims[holder_id] & slots
        set_slots(holder, claimed, "MIGRATING", repair.owner)
        # A node answers MIGRATE for a slot that is not its own only while the slot is marked; the mark goes below.
        set_slots(holder, slots - claimed, "IMPORTING", repair.owner)
        if holder_id != repair.serving:
            self._drop_duplicates(holder, owner, slots, owned)
        KeyDrain(holder, self._addresses[repair.owner], self._access, DEFAULT_MIGRATE_TIMEOUT_MS).run(
            slots, self._on_keys
        )
        set_slots(holder, slots - claimed, "STABLE")

    def _drop_duplicates(self, holder: NodeLink, owner: NodeLink, slots: SlotSet, owned: SlotSet) -> None:
        """Delete on `holder` the keys that `owner` has too: the owner's copy is the one clients know."""
        for slot, count in count_per_slot(holder, list(slots)).items():
            keys: Sequence[bytes] = holder.call("CLUSTER", "GETKEYSINSLOT", slot, count)
            there = _asking(owner, [("EXISTS", key) for key in keys])
            both = [key for key, exists in zip(keys, there, strict=True) if exists]
            _asking(holder, [("DEL", key) for key in both])


def _asking(link: NodeLink, commands: Sequence[Sequence[bytes | str]]) -> list[int]:
    """Commands on a slot that the node is importing; on one that it owns, ASKING does no harm."""
    link.send(b"".join(pack(("ASKING",)) + pack(command) for command in commands))
    answers: list[int] = []
    for command in commands:
        link.receive("ASKING")
        reply = link.receive(words(command[0]))
        if isinstance(reply, ServerError):
            raise reply
        answers.append(reply)
    return answers


def introduce_strangers(view: ClusterView, access: Access) -> int:
    """MEET between reachable nodes that do not know each other; returns how many introductions were made."""
    count = 0
    for node in view.reachable:
        known = {line.id for line in node.seen}
        strangers: list[Address] = [other.address for other in view.reachable if other.id not in known]
        if strangers:
            with NodeLink(node.address, access) as link:
                for address in strangers:
                    link.call("CLUSTER", "MEET", address.host, address.port)
            count += len(strangers)
    return count


def teach_map(view: ClusterView, access: Access) -> None:
    """Tell primaries with another opinion who owns what, as the owners themselves see it."""
    for dissenter in view.dissenters():
        if not dissenter.is_primary:
            continue  # replicas do not take SETSLOT; they follow gossip
        believed = {line.id: line.slots for line in dissenter.seen}
        with NodeLink(dissenter.address, access) as link:
            for owner in view.live_primaries:
                wrong = owner.slots - believed.get(owner.id, SlotSet()) - dissenter.slots
                if wrong and any(line.id == owner.id for line in dissenter.seen):
                    set_slots(link, wrong, "NODE", owner.id)


def separate_epochs(view: ClusterView, access: Access) -> None:
    """Give primaries that share a config epoch one of their own."""
    seen: set[int] = set()
    for node in view.live_primaries:
        if node.line.config_epoch in seen and node.slots:
            with NodeLink(node.address, access) as link:
                link.call("CLUSTER", "BUMPEPOCH")
        seen.add(node.line.config_epoch)
