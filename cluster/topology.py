"""Roles and ownership: who replicates whom, and who gets a slot when two claim it.

The rule for slots is *last failover wins*: a claim with a greater config epoch takes a slot from its owner; a slot
without owner, or one its owner no longer claims, goes to the first claimant. What follows from a lost slot:

- our shard lost its last slot to one node: we become its replica (it was promoted in our place);
- our shard keeps other slots: the keys of the lost ones are no longer ours and are deleted.

A slot that is open (migrating or importing) when its other party fails over is pointed at the successor, so that the
move can go on; a migrating slot that we lose is closed.

All transitions of our own role go through :meth:`Topology.become_primary` and :meth:`Topology.become_replica_of`.
"""

from __future__ import annotations

from slotmesh.cluster.effects import DeleteKeysInSlots, RoleChanged
from slotmesh.cluster.epochs import holds_greatest_epoch, must_yield_epoch
from slotmesh.cluster.heartbeat import build_header
from slotmesh.cluster.members import Member
from slotmesh.cluster.messages import Update
from slotmesh.cluster.slot_set import NO_SLOTS, SlotSet
from slotmesh.cluster.terms import FLAG_PRIMARY, FLAG_REPLICA
from slotmesh.cluster.view import ClusterView, random_id


class Topology:
    """Changes roles and slots in a view."""

    __slots__ = ("_view",)

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    # Roles of others

    def on_claims_primary(self, member: Member) -> None:
        """``member`` says it is a primary."""
        if member.is_primary:
            return
        was_replica = member.primary is not None
        self._view.members.detach(member)
        member.role = FLAG_PRIMARY
        if was_replica and not member.is_myself:
            member.migrate_to = True
        self._view.reassess()

    def on_claims_replica(self, member: Member, primary: Member | None) -> None:
        """``member`` says it replicates ``primary`` (None when we do not know that one)."""
        view = self._view
        if not member.is_replica:
            view.slots.release(member.slots)
            member.role = FLAG_REPLICA
            member.migrate_to = False
            view.reassess()
        if primary is not None and primary is not member and member.primary is not primary:
            if member.shard_id and member.shard_id == primary.shard_id:
                view.slots.repoint(member, primary)
            view.members.attach(member, primary)
            if primary.shard_id:
                member.shard_id = primary.shard_id
            view.save()

    # Our own role

    def become_primary(self, why: str) -> None:
        """Stop replicating and be a primary (without slots yet); asserts that we were a replica."""
        view = self._view
        me = view.myself
        assert me.is_replica
        view.members.detach(me)
        me.role = FLAG_PRIMARY
        view.reassess()
        view.emit(RoleChanged("", None, why))

    def become_replica_of(self, primary: Member, why: str) -> None:
        """Replicate ``primary`` from now on.

        Slots that we still own become ownerless here, until their owner tells: a replica owns none, but an operator
        can give it some (ADDSLOTS).
        """
        view = self._view
        me = view.myself
        assert primary is not me
        view.slots.release(me.slots)
        view.slots.close_all()
        me.role = FLAG_REPLICA
        me.migrate_to = False
        view.members.attach(me, primary)
        view.pong_wanted = True  # else the others hear of it by the next ping, and see two primaries until then
        # Nodes of stock 7.0 tell no shard id: then nothing is known, and a partial resynchronisation is asked for.
        other_shard = bool(primary.shard_id and me.shard_id) and primary.shard_id != me.shard_id
        if primary.shard_id:
            me.shard_id = primary.shard_id
        view.reassess()
        view.save(sync=True)
        self.announce_primary(why, other_shard=other_shard)

    def announce_primary(self, why: str, *, other_shard: bool = False) -> None:
        """Tell the host whom to replicate, at its present address."""
        primary = self._view.myself.primary
        assert primary is not None
        self._view.emit(RoleChanged(primary.node_id, primary.address, why, other_shard))

    def take_over_shard(self, config_epoch: int, why: str) -> None:
        """Become primary in place of our primary, with all its slots, under a config epoch of our own."""
        view = self._view
        me = view.myself
        old = me.primary
        assert old is not None
        self.become_primary(why)
        if config_epoch > me.config_epoch:
            me.config_epoch = config_epoch
        view.slots.assign(old.slots, me)
        self._drop_moot_moves()
        view.save(sync=True)

    def _drop_moot_moves(self) -> None:
        """Of the open slots that our predecessor told, those stay that its slots, as we know them, go with."""
        slots, me = self._view.slots, self._view.myself
        for slot in [slot for slot in slots.migrating_to if slots.owners[slot] is not me]:
            slots.set_migrating(slot, None)
        for slot in [slot for slot in slots.importing_from if slots.owners[slot] is me]:
            slots.set_importing(slot, None)

    # Slots

    def on_slots_claimed(self, owner: Member, config_epoch: int, claimed: SlotSet) -> None:
        """``owner``, a primary, claims ``claimed`` with ``config_epoch`` (by its header, or by an UPDATE about it)."""
        view = self._view
        slots = view.slots
        me = view.myself
        if owner is me:
            return
        shard = me.shard_primary
        shard_slots_before = shard.slots if shard is not None else NO_SLOTS
        mine_before = me.slots
        slots.unclaimed = (slots.unclaimed - (owner.slots & claimed)) | (owner.slots - claimed)
        won = self._contested(owner, config_epoch, claimed - owner.slots)
        if won:
            losers = [member for member in view.members if member.slots & won]
            slots.assign(won, owner)
            self._settle_open_slots(won, [loser for loser in losers if not loser.slots], owner)
            view.reassess()
            view.save(write=bool(mine_before & won))  # unsynced: who forgets it is told again before it serves
        self._follow_slots(owner, shard, shard_slots_before & won, mine_before & won, claimed)

    def _settle_open_slots(self, won: SlotSet, replaced: list[Member], owner: Member) -> None:
        slots = self._view.slots
        ours = owner is self._view.myself.primary
        for slot in [slot for slot in slots.migrating_to if slot in won]:
            slots.set_migrating(slot, None)
        for slot in [slot for slot in slots.importing_from if slot in won]:
            slots.set_importing(slot, None if ours else owner)
        for loser in replaced:
            slots.repoint(loser, owner)

    def _contested(self, owner: Member, config_epoch: int, wanted: SlotSet) -> SlotSet:
        """The part of ``wanted`` that the claim wins from the present owners."""
        slots = self._view.slots
        won = (wanted - slots.assigned) | (wanted & slots.unclaimed)
        for member in self._view.members:
            if member is not owner and member.config_epoch < config_epoch:
                won |= wanted & member.slots
        return won

    def _follow_slots(
        self, owner: Member, shard: Member | None, lost_by_shard: SlotSet, lost_by_me: SlotSet, claimed: SlotSet
    ) -> None:
        view = self._view
        shard_is_empty = shard is not None and lost_by_shard and not shard.slots
        if shard_is_empty and (view.config.allow_replica_migration or lost_by_shard == claimed):
            view.notice(
                "demoted", f"Configuration change detected. Reconfiguring myself as a replica of {owner.node_id}"
            )
            self.become_replica_of(owner, "slots-lost")
            return
        if not self.maybe_follow_grand_primary() and lost_by_me:
            view.warning("slots-lost", f"slots lost to {owner.node_id}, deleting their keys: {lost_by_me.to_text()}")
            view.emit(DeleteKeysInSlots(lost_by_me))

    def maybe_follow_grand_primary(self) -> bool:
        """When our primary has become a replica itself, replicate its primary; true when that was done.

        A primary may turn replica without losing slots to anybody, so nothing else would move its replicas.
        """
        me = self._view.myself
        grand = me.primary.primary if me.primary is not None else None
        if grand is None or grand is me or not grand.is_primary:
            return False
        self._view.notice(
            "demoted", f"I'm a sub-replica! Reconfiguring myself as a replica of grandmaster {grand.node_id}"
        )
        self.become_replica_of(grand, "sub-replica")
        return True

    def correct_stale_claim(self, sender: Member, config_epoch: int, claimed: SlotSet) -> None:
        """Send an UPDATE about every newer owner of slots that ``sender`` claims with an older config epoch.

        A primary that was cut off and replaced learns so from whomever it meets first. Only what the owner itself
        claims is passed on: with its epoch of today, yesterday's slots would win back what it has given away.
        """
        view = self._view
        for member in view.members:
            if member is sender or member.config_epoch <= config_epoch or not member.slots_confirmed:
                continue
            owned = member.slots - view.slots.unclaimed
            if owned & claimed:
                view.verbose("update", f"node {sender.node_id} has outdated slots, telling it about {member.node_id}")
                view.send(sender.link, Update(build_header(view), member.node_id, member.config_epoch, owned))

    # Epochs

    def bump_epoch(self, at_least: int = 0) -> bool:
        """Take a fresh config epoch without asking anybody, unless ours is the greatest; true when one was taken."""
        view = self._view
        if holds_greatest_epoch(view.members, view.epochs) and view.myself.config_epoch >= at_least:
            return False
        view.epochs.observe(view.members.max_config_epoch())
        view.myself.config_epoch = view.epochs.advance(at_least)
        view.save(sync=True)
        view.notice("epoch", f"new config epoch {view.myself.config_epoch}")
        return True

    def on_epoch_collision(self, other: Member) -> None:
        """Another primary has our config epoch: one of the two moves on. An older epoch told late is no collision."""
        view = self._view
        if other.config_epoch == view.myself.config_epoch and must_yield_epoch(view.myself.node_id, other.node_id):
            view.myself.config_epoch = view.epochs.advance()
            view.save(sync=True)
            view.notice("epoch", f"config epoch collision with {other.node_id}, ours is now {view.myself.config_epoch}")

    # Members

    def remove(self, member: Member) -> None:
        """Forget a member and all it owns. Its links must be closed."""
        self._view.slots.drop_member(member)
        self._view.members.remove(member)
        self._view.reassess()

    def renew_shard_id(self) -> None:
        """Start a shard of our own (we were reset)."""
        self._view.myself.shard_id = random_id(self._view.rng)
