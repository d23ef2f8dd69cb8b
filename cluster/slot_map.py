"""Who owns each of the 16,384 slots, and which slots are on the move.

Ownership is stored twice, and changed only here: ``owners`` (slot -> member, for routing a command) and
``Member.slots`` (member -> slots, for gossip and claims). Bulk changes work on the integer masks of ``SlotSet``, so a
failover of 5,000 slots costs a few big-integer operations, not 5,000 steps.

``unclaimed`` are slots whose owner has stopped claiming them in its heartbeats: they stay routed to it (a redirect is
better than an error), but anybody may take them, and we tell nobody that the old owner has them (stock 7.0.10).

Not here: *whether* a claim is justified (``topology``).
"""

from __future__ import annotations

from slotmesh.cluster.members import Member, Members
from slotmesh.cluster.messages import OpenSlots
from slotmesh.cluster.slot_set import ALL_SLOTS, NO_SLOTS, SlotSet
from slotmesh.cluster.slots import SLOT_COUNT


class SlotMap:
    """The slot map as believed by this node. ``version`` grows with every change, for caches of the routing."""

    __slots__ = ("_members", "assigned", "importing_from", "migrating_to", "owners", "unclaimed", "version")

    def __init__(self, members: Members) -> None:
        self._members = members
        self.owners: list[Member | None] = [None] * SLOT_COUNT
        self.assigned: SlotSet = NO_SLOTS
        self.unclaimed: SlotSet = NO_SLOTS
        self.migrating_to: dict[int, Member] = {}
        """Our own slots that are being moved away -> to whom (ASK redirects there)."""
        self.importing_from: dict[int, Member] = {}
        """Slots being moved to us -> from whom (served after ASKING only)."""
        self.version = 0

    def assign(self, slots: SlotSet, owner: Member) -> None:
        """Make ``owner`` own ``slots``, whoever had them."""
        if not slots:
            return
        self.release(slots)
        if not owner.slots and any(member.is_primary and member.replicas for member in self._members):
            owner.migrate_to = True
        owner.slots |= slots
        self.assigned |= slots
        self._write(slots, owner)

    def release(self, slots: SlotSet) -> None:
        """Leave ``slots`` without owner."""
        held = slots & self.assigned
        self.unclaimed -= slots
        if not held:
            return
        for member in self._members:
            if member.slots.mask & held.mask:
                member.slots -= held
        self.assigned -= held
        self._write(held, None)

    def _write(self, slots: SlotSet, owner: Member | None) -> None:
        for first, last in slots.ranges():
            self.owners[first : last + 1] = [owner] * (last - first + 1)
        self.version += 1

    def set_migrating(self, slot: int, target: Member | None) -> None:
        """Open ``slot`` towards ``target``, or close it with None."""
        self._open(self.migrating_to, slot, target)

    def set_importing(self, slot: int, source: Member | None) -> None:
        """Open ``slot`` for import from ``source``, or close it with None."""
        self._open(self.importing_from, slot, source)

    def _open(self, table: dict[int, Member], slot: int, other: Member | None) -> None:
        if other is None:
            if table.pop(slot, None) is None:
                return
        else:
            table[slot] = other
        self.version += 1

    def opened(self, number: int = 0) -> OpenSlots:
        """All open slots as a statement to others, with its number."""
        migrating, importing = (
            tuple(sorted((slot, other.node_id) for slot, other in table.items()))
            for table in (self.migrating_to, self.importing_from)
        )
        return OpenSlots(migrating, importing, number)

    def replace_open(self, migrating_to: dict[int, Member], importing_from: dict[int, Member]) -> bool:
        """Take over the open slots of another node; true when that changes anything."""
        if (migrating_to, importing_from) == (self.migrating_to, self.importing_from):
            return False
        self.migrating_to, self.importing_from = migrating_to, importing_from
        self.version += 1
        return True

    def close_all(self) -> None:
        """Forget every open slot."""
        if self.migrating_to or self.importing_from:
            self.migrating_to.clear()
            self.importing_from.clear()
            self.version += 1

    def drop_member(self, member: Member) -> None:
        """Release what a member owns and close what is open with it, before it is removed."""
        self.release(member.slots)
        for table in (self.migrating_to, self.importing_from):
            for slot in [slot for slot, other in table.items() if other is member]:
                self._open(table, slot, None)

    def repoint(self, old: Member, new: Member) -> None:
        """Open slots that involve ``old`` now involve ``new``, which took over its shard."""
        for table in (self.migrating_to, self.importing_from):
            for slot in [slot for slot, other in table.items() if other is old]:
                self._open(table, slot, new)

    def covered(self) -> bool:
        """Whether every slot has an owner that is not flagged as failed."""
        if self.assigned != ALL_SLOTS:
            return False
        return not any(member.failed and member.slots for member in self._members)
