"""Open slots within a shard: replicas know which slots their primary is moving, so that a successor goes on with it.

A primary says in every heartbeat to a replica of its shard which slots it has open, and at once when that changes, an
order's reply included: the frame is with the kernel before the reply is sent. A replica takes the whole statement over,
keeps it in its ``nodes.conf`` and repeats its number in its own heartbeats, which is how the primary learns that it
knows (``SETSLOT ... TIMEOUT``). Statements are complete, so nothing needs to arrive in order, or once; a replica that
comes later, or missed one, has the next. Their numbers rise, over restarts as well: they are times.

Only nodes whose headers say that they take part are told; stock nodes see none of it (docs/adr/0033).

Not here: what happens to open slots when somebody else fails over (``topology``).
"""

from __future__ import annotations

from slotmesh.cluster.epochs import is_credible
from slotmesh.cluster.heartbeat import send_heartbeat
from slotmesh.cluster.members import Member
from slotmesh.cluster.messages import OpenSlots, Pong
from slotmesh.cluster.view import ClusterView


class OpenSlotSharing:
    """Both sides of the talk about open slots."""

    __slots__ = ("_told_version", "_view")

    def __init__(self, view: ClusterView) -> None:
        self._view = view
        self._told_version = view.slots.version

    # On the primary

    def tell_replicas(self) -> None:
        """Tell our replicas what has changed about slots since the last call, if anything."""
        view = self._view
        if view.slots.version == self._told_version:
            return
        self.note_change()
        if view.myself.is_replica:
            return
        for replica in view.myself.replicas:
            if replica.shares_open_slots:
                send_heartbeat(view, replica.link, Pong)

    def note_change(self) -> None:
        """Number the statement anew if slots changed; whoever calls this tells the replicas."""
        view = self._view
        if view.slots.version != self._told_version:
            self._told_version = view.slots.version
            if view.myself.is_primary:
                view.open_slots_number = max(view.now_ms, view.open_slots_number + 1)

    def replicas_agree(self) -> bool:
        """Whether all our replicas that work and take part know our slots, and the open ones, as they are now."""
        view = self._view
        me = view.myself
        return view.slots.version == self._told_version and all(
            replica.told_open_number == view.open_slots_number and replica.told_slots == me.slots
            for replica in me.replicas
            if replica.shares_open_slots and not (replica.failed or replica.pfail)
        )

    # On both

    def on_told(self, sender: Member, told: OpenSlots) -> None:
        """A node of our shard tells which slots are open; our primary is believed. Its numbers count on, as epochs do:
        one near the end of the range would leave its successor none."""
        view = self._view
        if not is_credible(told.number, view.open_slots_number):
            return
        sender.told_open_number = told.number
        if view.myself.primary is not sender:
            return
        migrating, importing = (
            {slot: member for slot, node_id in entries if (member := view.members.met(node_id)) is not None}
            for entries in (told.migrating_to, told.importing_from)
        )
        if view.slots.replace_open(migrating, importing):
            view.save(write=True)  # the primary hears that we know, and answers an operator
        if len(migrating) + len(importing) < len(told.migrating_to) + len(told.importing_from):
            view.verbose("open-slots", f"{sender.node_id} moves slots from or to nodes that are not known here yet")
        elif view.open_slots_number != told.number:
            view.open_slots_number = told.number
            send_heartbeat(view, sender.link, Pong)
