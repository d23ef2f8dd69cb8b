"""What is learned from heartbeats about third nodes and about the sender's extras; and when to ping whom.

Gossip is hearsay: it may add a failure report, a newer sign of life, a new address of a node we cannot reach, or a node
we did not know. It never changes roles or slots; those only the node itself may tell. Only a sender we know is
believed, else a stray packet could merge two clusters.
"""

from __future__ import annotations

from slotmesh.cluster.addresses import is_ip
from slotmesh.cluster.detector import FailureDetector
from slotmesh.cluster.heartbeat import send_heartbeat
from slotmesh.cluster.links import Links
from slotmesh.cluster.members import FORGET_MS, Member
from slotmesh.cluster.messages import Extensions, ForgottenNode, GossipEntry, Ping
from slotmesh.cluster.open_slots import OpenSlotSharing
from slotmesh.cluster.terms import FLAG_FAIL, FLAG_HANDSHAKE, FLAG_NOADDR, FLAG_PFAIL, role_of
from slotmesh.cluster.view import ClusterView

_FAILING = FLAG_PFAIL | FLAG_FAIL
CLOCK_TOLERANCE_MS = 500
RANDOM_PING_PERIOD_MS = 1000
PING_SLACK_MS = 100
"""A PING may leave so much early, so that those due at about the same time leave, and are answered, together."""

OWN_LINK_FACTOR = 2
"""A PING of the other's shows that it lives, and saves it ours. That *our* link works shows only in the answers to our
own PINGs: one is sent after so many ping intervals without."""

RANDOM_PING_CANDIDATES = 5


class Gossip:
    """Reads the gossip of others and keeps our own pings going."""

    __slots__ = ("_detector", "_links", "_next_random_ping_ms", "_open_slots", "_view")

    def __init__(self, view: ClusterView, links: Links, detector: FailureDetector, open_slots: OpenSlotSharing) -> None:
        self._view = view
        self._open_slots = open_slots
        self._links = links
        self._detector = detector
        self._next_random_ping_ms = 0

    # Learning

    def on_gossip(self, entries: tuple[GossipEntry, ...], sender: Member) -> None:
        """The gossip of a known sender."""
        for entry in entries:
            member = self._view.members.get(entry.node_id)
            if member is None:
                self._maybe_add(entry)
            elif not member.is_myself and not member.in_handshake:
                self._on_entry(member, entry, sender)

    def _on_entry(self, member: Member, entry: GossipEntry, sender: Member) -> None:
        failing = entry.flags & _FAILING
        if sender.is_voter and sender is not member:
            if failing:
                self._detector.on_report(member, sender)
            else:
                self._detector.on_all_clear(member, sender)
        if failing:
            return
        if member.ping_sent_ms == 0 and not member.fail_reports:
            seen_ms = entry.pong_received_s * 1000
            if member.pong_received_ms < seen_ms <= self._view.now_ms + CLOCK_TOLERANCE_MS:
                member.pong_received_ms = seen_ms
        if not (member.pfail or member.failed) or entry.flags & FLAG_NOADDR or not is_ip(entry.ip):
            return
        here = (entry.ip, entry.port, entry.cport, entry.pport)
        if here != (member.ip, member.port, member.cport, member.pport):
            self._links.move(member, *here)

    def _maybe_add(self, entry: GossipEntry) -> None:
        view = self._view
        if entry.flags & (FLAG_NOADDR | FLAG_HANDSHAKE) or view.members.full or not is_ip(entry.ip):
            return
        if view.members.is_forgotten(entry.node_id, view.now_ms):
            return
        member = Member(entry.node_id, view.now_ms, role_of(entry.flags))
        member.ip, member.port, member.cport, member.pport = entry.ip, entry.port, entry.cport, entry.pport
        view.members.add(member)
        view.reassess()
        self._links.connect_missing(member)

    def on_extensions(self, sender: Member, extensions: Extensions, *, understood: bool) -> None:
        """The extras of a known sender; ``understood``: its header says that it reads extensions."""
        view = self._view
        sender.speaks_extensions = understood
        if sender.hostname != extensions.hostname:
            sender.hostname = extensions.hostname
            view.save()
        sender.human_nodename = extensions.human_nodename
        if extensions.shard_id:
            self._on_shard_id(sender, extensions.shard_id)
        if extensions.open_slots is not None:
            self._open_slots.on_told(sender, extensions.open_slots)
        for gone in extensions.forgotten:
            self._on_forgotten(sender, gone)

    def _on_forgotten(self, sender: Member, gone: ForgottenNode) -> None:
        """Somebody was told to forget a node. Stock 7.2 forgets it whatever it is, and its slots with it. Hearsay never
        changes who owns a slot: an operator who wants that gives the order to every node, as with 7.0."""
        view = self._view
        member = view.members.met(gone.node_id)
        if member is None or member.is_myself or member is sender or view.myself.primary is member:
            return
        if member.slots:
            view.verbose("forget", f"not forgetting {gone.node_id}, which owns slots, on the word of {sender.node_id}")
            return
        view.members.forget(gone.node_id, view.now_ms + min(gone.ttl_s * 1000, FORGET_MS))
        view.notice("forget", f"forgetting {gone.node_id}, as {sender.node_id} was told to")
        self._links.drop_member(member)

    def _on_shard_id(self, sender: Member, shard_id: str) -> None:
        if sender.shard_id == shard_id or (sender.is_replica and sender.primary is not None):
            return
        sender.shard_id = shard_id
        for replica in sender.replicas:
            replica.shard_id = shard_id
        self._view.save()

    # Pinging

    def maybe_ping_random(self) -> None:
        """Once a second, of a few random members ping the one heard of least recently, if that is a second ago."""
        view = self._view
        if view.now_ms < self._next_random_ping_ms:
            return
        self._next_random_ping_ms = view.now_ms + RANDOM_PING_PERIOD_MS
        members = view.members.all()
        oldest: Member | None = None
        for _ in range(RANDOM_PING_CANDIDATES):
            member = members[int(view.rng.random() * len(members))]
            if member.link is None or not member.link.up or member.ping_sent_ms or member.in_handshake:
                continue
            if oldest is None or member.pong_received_ms < oldest.pong_received_ms:
                oldest = member
        if oldest is not None and view.now_ms - oldest.pong_received_ms >= RANDOM_PING_PERIOD_MS:
            send_heartbeat(view, oldest.link, Ping)

    def maybe_ping_due(self, member: Member) -> None:
        """Ping a member not heard of for a ping interval, by default half a node timeout.

        The wait for its answer starts even while there is no link to send on: not getting one *is* the silence.
        """
        view = self._view
        slack_ms = min(PING_SLACK_MS, self._interval_ms // 5)
        if member.ping_sent_ms or view.now_ms <= self._ping_due_ms(member) - slack_ms:
            return
        send_heartbeat(view, member.link, Ping)
        member.ping_sent_ms = view.now_ms

    @property
    def _interval_ms(self) -> int:
        config = self._view.config
        return config.ping_interval_ms or config.node_timeout_ms // 2

    def _ping_due_ms(self, member: Member) -> int:
        """When our next PING to a member is due."""
        interval_ms = self._interval_ms
        return min(member.pong_received_ms + interval_ms, member.answered_ms + OWN_LINK_FACTOR * interval_ms)

    def due_ms(self, member: Member) -> int:
        """When the periodic work has to look at a member again; 0 while something is going on with it."""
        if member.no_address and not member.in_handshake:
            return self._view.now_ms + RANDOM_PING_PERIOD_MS
        if member.link is None or not member.link.up or member.in_handshake or member.pfail or member.failed:
            return 0
        if member.ping_sent_ms:
            return member.ping_sent_ms + self._view.config.node_timeout_ms // 2 + 1
        return self._ping_due_ms(member) + 1

    def maybe_relink(self, member: Member) -> None:
        """Replace a link on which half a node timeout passed without answer or any traffic: it may be broken."""
        view = self._view
        link = member.link
        half_ms = view.config.node_timeout_ms // 2
        if (
            link is not None
            and member.ping_sent_ms
            and view.now_ms - link.created_ms > view.config.node_timeout_ms
            and view.now_ms - member.ping_sent_ms > half_ms
            and view.now_ms - member.data_received_ms > half_ms
        ):
            self._links.close(link)
