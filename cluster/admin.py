"""The orders of operators and sentinels: everything in the CLUSTER command family that changes something.

Each order either happens in full or raises :class:`ClusterRefusal` and changes nothing. What the core cannot know
(keys) is told by the caller. Reading is in ``reports``.

What an order changes survives the process before it is answered, and the machine too where this node takes on slots or
a role. Stock leaves the latter to the kernel: there a target that crashes right after it closed an import may have
forgotten the slot, while the source has already given it up. That a slot is open survives the machine a moment later.
"""

from __future__ import annotations

from collections.abc import Iterable

from slotmesh.cluster.addresses import normal_ip
from slotmesh.cluster.detector import FailureDetector
from slotmesh.cluster.effects import EmptyKeyspace
from slotmesh.cluster.election import Candidate
from slotmesh.cluster.epochs import MOST_CREDIBLE_EPOCH
from slotmesh.cluster.errors import ClusterRefusal, Condition
from slotmesh.cluster.guard import Fence, Guard
from slotmesh.cluster.links import Links
from slotmesh.cluster.manual_failover import ManualFailover
from slotmesh.cluster.members import FORGET_MS, Member
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.slots import SLOT_COUNT
from slotmesh.cluster.topology import Topology
from slotmesh.cluster.view import ClusterView, random_id


class Admin:
    """Carries out orders on a view."""

    __slots__ = ("_candidate", "_detector", "_guard", "_links", "_manual", "_topology", "_view")

    def __init__(
        self,
        view: ClusterView,
        topology: Topology,
        links: Links,
        detector: FailureDetector,
        manual: ManualFailover,
        candidate: Candidate,
        guard: Guard,
    ) -> None:
        self._view = view
        self._topology = topology
        self._links = links
        self._detector = detector
        self._manual = manual
        self._candidate = candidate
        self._guard = guard

    def _known(self, node_id: str, unknown: Condition = Condition.UNKNOWN_NODE) -> Member:
        """A member that an order names. One in handshake is none yet: what refers to it could not be read back."""
        member = self._view.members.met(node_id)
        if member is None:
            raise ClusterRefusal(unknown, node_id)
        return member

    # Membership

    def meet(self, ip: str, port: int, cport: int) -> None:
        """Get to know the node at an address, and it us. Doing so twice is no error."""
        address = normal_ip(ip)
        if not address or not (0 < port < 65536 and 0 < cport < 65536):
            raise ClusterRefusal(Condition.BAD_ADDRESS, f"{ip}:{port}")
        self._links.start_handshake(address, port, cport, meet=True)

    def forget(self, node_id: str) -> None:
        """Remove a node, and do not learn it again from gossip for a minute."""
        view = self._view
        member = view.members.get(node_id)
        if member is None:
            raise ClusterRefusal(Condition.UNKNOWN_NODE, node_id)
        if member.is_myself:
            raise ClusterRefusal(Condition.FORGET_MYSELF)
        if view.myself.primary is member:
            raise ClusterRefusal(Condition.FORGET_MY_PRIMARY)
        view.members.forget(node_id, view.now_ms + FORGET_MS)
        self._links.drop_member(member)
        view.save(write=True)

    def reset(self, *, hard: bool, keyspace_empty: bool) -> None:
        """Forget all other nodes and all slots; ``hard`` also takes a new id and starts the epochs at 0."""
        view = self._view
        me = view.myself
        if me.is_primary and not keyspace_empty:
            raise ClusterRefusal(Condition.RESET_NOT_EMPTY)
        if me.is_replica:
            self._topology.become_primary("reset")
            self._topology.renew_shard_id()
            view.emit(EmptyKeyspace())
        view.slots.close_all()
        self._manual.reset()
        self._candidate.drop_ballot()
        view.slots.release(me.slots)
        for member in view.members.all():
            if not member.is_myself:
                self._links.drop_member(member)
        for link in list(view.links.values()):
            self._links.close(link)
        if hard:
            view.epochs.current_epoch = view.epochs.last_vote_epoch = 0
            me.config_epoch = 0
            view.members.rename(me, random_id(view.rng))
            self._topology.renew_shard_id()
            view.notice("reset", f"hard reset, this node is now {me.node_id}")
        view.reassess()
        view.save(sync=True)

    # Slots

    def add_slots(self, wanted: Iterable[int]) -> None:
        """Own slots that nobody owns."""
        slots = self._view.slots
        chosen = self._distinct(wanted, busy=True)
        for slot in chosen:
            slots.set_importing(slot, None)
        slots.assign(chosen, self._view.myself)
        self._slots_changed(sync=True)

    def del_slots(self, unwanted: Iterable[int]) -> None:
        """Leave slots without owner, in this node's view."""
        slots = self._view.slots
        chosen = self._distinct(unwanted, busy=False)
        for slot in chosen:
            slots.set_importing(slot, None)
        slots.release(chosen)
        self._slots_changed(sync=True)

    def _distinct(self, numbers: Iterable[int], *, busy: bool) -> SlotSet:
        """The slots as a set; refuses repeated ones, and those with an owner (``busy``) or without one (not)."""
        owners = self._view.slots.owners
        mask = 0
        for slot in numbers:
            self._check_slot(slot)
            if (owners[slot] is not None) == busy:
                raise ClusterRefusal(Condition.SLOT_BUSY if busy else Condition.SLOT_UNASSIGNED, slot)
            if mask >> slot & 1:
                raise ClusterRefusal(Condition.SLOT_REPEATED, slot)
            mask |= 1 << slot
        return SlotSet.from_mask(mask)

    def _slots_changed(self, *, sync: bool = False) -> None:
        self._view.reassess()
        self._view.save(write=True, sync=sync)

    def _check_slot(self, slot: int) -> None:
        if not 0 <= slot < SLOT_COUNT:
            raise ClusterRefusal(Condition.SLOT_OUT_OF_RANGE)

    def flush_slots(self, *, keyspace_empty: bool) -> None:
        """Give up all our slots."""
        if not keyspace_empty:
            raise ClusterRefusal(Condition.FLUSHSLOTS_NOT_EMPTY)
        self._view.slots.release(self._view.myself.slots)
        self._slots_changed(sync=True)

    def _check_setslot(self, slot: int) -> None:
        if self._view.myself.is_replica:
            raise ClusterRefusal(Condition.SETSLOT_ON_REPLICA)
        self._check_slot(slot)

    def set_slot_migrating(self, slot: int, node_id: str) -> None:
        """Open a slot of ours for moving it to a node."""
        self._check_setslot(slot)
        if self._view.slots.owners[slot] is not self._view.myself:
            raise ClusterRefusal(Condition.SETSLOT_NOT_OWNER, slot)
        self._view.slots.set_migrating(slot, self._setslot_primary(node_id))
        self._slots_changed()

    def set_slot_importing(self, slot: int, node_id: str) -> None:
        """Open a slot of another node for moving it here."""
        self._check_setslot(slot)
        if self._view.slots.owners[slot] is self._view.myself:
            raise ClusterRefusal(Condition.SETSLOT_ALREADY_OWNER, slot)
        self._view.slots.set_importing(slot, self._setslot_primary(node_id))
        self._slots_changed()

    def _setslot_primary(self, node_id: str) -> Member:
        member = self._known(node_id, Condition.UNKNOWN_SETSLOT_NODE)
        if member.is_replica:
            raise ClusterRefusal(Condition.SETSLOT_TARGET_REPLICA)
        return member

    def set_slot_stable(self, slot: int) -> None:
        """Close a slot; its owner stays."""
        self._check_setslot(slot)
        self._view.slots.set_migrating(slot, None)
        self._view.slots.set_importing(slot, None)
        self._slots_changed()

    def set_slot_node(self, slot: int, node_id: str, *, keys_in_slot: int) -> None:
        """Make a node the owner of a slot. When that is us, and we were importing it, the others are told at once."""
        self._check_setslot(slot)
        view = self._view
        slots = view.slots
        me = view.myself
        owner = self._known(node_id)
        if owner.is_replica:
            raise ClusterRefusal(Condition.SETSLOT_TARGET_REPLICA)
        was_mine = slots.owners[slot] is me
        if was_mine and owner is not me and keys_in_slot:
            raise ClusterRefusal(Condition.SETSLOT_HOLDS_KEYS, slot)
        if keys_in_slot == 0:
            slots.set_migrating(slot, None)
        slots.assign(SlotSet((slot,)), owner)
        self._slots_changed(sync=owner is me and not was_mine)
        if was_mine and owner is not me and not me.slots and view.config.allow_replica_migration:
            view.notice("demoted", f"our last slot went to {owner.node_id}: replicating it")
            self._topology.become_replica_of(owner, "slots-lost")
        if owner is me and slot in slots.importing_from:
            self._topology.bump_epoch()
            slots.set_importing(slot, None)
            view.tell_all_soon()

    def adopt_slots_of_keys(self, slots_with_keys: SlotSet) -> None:
        """After loading data: own the ownerless slots we have keys of, mark those of others as importing.

        So no key is hidden without anybody noticing: tools find the open slots.
        """
        view = self._view
        me = view.myself
        if me.is_replica:
            return
        strange = slots_with_keys - me.slots
        ownerless = strange - view.slots.assigned
        foreign = [slot for slot in strange - ownerless if slot not in view.slots.importing_from]
        if ownerless:
            view.warning("adopt", f"taking over slots without owner that there are keys of: {ownerless.to_text()}")
            view.slots.assign(ownerless, me)
        for slot in foreign:
            view.slots.set_importing(slot, view.slots.owners[slot])
        if foreign:
            view.warning("adopt", f"keys of slots of other nodes, set as importing: {SlotSet(foreign).to_text()}")
        if ownerless or foreign:
            view.reassess()
            view.save(sync=True)

    # Roles

    def replicate(self, node_id: str, *, keyspace_empty: bool, fence: Fence | None = None) -> None:
        """Replicate a primary. A primary must be empty for that; a fenced order may turn one that still has keys.

        The sentinels have promoted another one in its place: its slots are that one's, and its data are outdated.
        """
        view = self._view
        me = view.myself
        primary = self._known(node_id)
        if primary is me:
            raise ClusterRefusal(Condition.REPLICATE_MYSELF)
        if primary.is_replica:
            raise ClusterRefusal(Condition.REPLICATE_REPLICA)
        if me.is_primary and (me.slots or not keyspace_empty) and fence is None:
            raise ClusterRefusal(Condition.REPLICATE_NOT_EMPTY)
        if fence is not None:
            self._guard.obey(fence)
            view.slots.assign(me.slots, primary)
        if me.primary is not primary:
            self._candidate.drop_ballot()
            self._topology.become_replica_of(primary, "command")

    def failover(self, *, force: bool = False, takeover: bool = False, fence: Fence | None = None) -> None:
        """Take over from our primary: agreed with it, by an election (``force``), or at once (``takeover``).

        With a ``fence`` the order is that of the sentinels: it is refused when a newer one was obeyed, and the new
        config epoch is at least ``fence.min_config_epoch``.
        """
        me = self._view.myself
        primary = me.primary
        if me.is_primary:
            raise ClusterRefusal(Condition.FAILOVER_ON_PRIMARY)
        if primary is None:
            raise ClusterRefusal(Condition.FAILOVER_PRIMARY_UNKNOWN)
        if not (force or takeover) and (primary.failed or primary.link is None):
            raise ClusterRefusal(Condition.FAILOVER_PRIMARY_DOWN)
        if fence is not None:
            self._guard.obey(fence)
        self._candidate.drop_ballot()
        if takeover:
            self._view.notice("takeover", "taking over from the primary, by order")
            self._topology.bump_epoch(fence.min_config_epoch if fence is not None else 0)
            self._candidate.take_over(me.config_epoch, "takeover" if fence is None else "sentinel")
        else:
            self._manual.start(force=force)

    # Epochs

    def set_config_epoch(self, epoch: int) -> None:
        """Give a node that knows no other its first config epoch."""
        view = self._view
        if not 0 <= epoch <= MOST_CREDIBLE_EPOCH:
            raise ClusterRefusal(Condition.EPOCH_INVALID, epoch)
        if len(view.members) > 1:
            raise ClusterRefusal(Condition.EPOCH_NOT_ALONE)
        if view.myself.config_epoch:
            raise ClusterRefusal(Condition.EPOCH_SET)
        view.myself.config_epoch = epoch
        view.epochs.observe(epoch)
        view.reassess()
        view.save(sync=True)

    def bump_epoch(self) -> tuple[bool, int]:
        """Take a new config epoch unless ours is the greatest: (whether one was taken, our config epoch)."""
        return self._topology.bump_epoch(), self._view.myself.config_epoch

    def count_failure_reports(self, node_id: str) -> int:
        """Primaries that call a node failing at present."""
        return self._detector.count_reports(self._known(node_id))
