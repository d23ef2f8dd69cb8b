"""Messages this node says about itself: the header of every message, and PING, PONG and MEET.

A heartbeat describes its sender in full (header) and a few others in brief (gossip): a tenth of the known nodes, at
least three, chosen at random, plus every node suspected of failing, so that failure reports spread fast, and every new
one. Two nodes exchange at least four heartbeats in the validity time of a report, so a tenth is enough for a report
about one node to reach the majority (stock's argument).

Extensions: the hostname goes to everybody, as stock 7.0 does it. The others go only to nodes that have shown, by the
flag in their headers, that they understand extensions: 7.0 would log a line for each. Open slots are for the nodes of
our shard that take part in sharing them (``open_slots``).

Not here: what is learned from the heartbeats of others (``gossip``, ``inbound``).
"""

from __future__ import annotations

from slotmesh.cluster.members import Link, Member
from slotmesh.cluster.messages import Extensions, ForgottenNode, GossipEntry, Header, Meet, Message, Ping, Pong
from slotmesh.cluster.terms import MESSAGE_EXTENSIONS, MESSAGE_PAUSED, MESSAGE_SHARES_OPEN_SLOTS
from slotmesh.cluster.view import ClusterView

MIN_GOSSIP_ENTRIES = 3
NEWS_MS = 3000
MAX_NEWS = 64
"""A member that we met so recently is gossiped to everybody, up to so many at a time. By chance alone the last few
pairs of fifty new nodes would find each other seconds after the rest."""


def build_header(view: ClusterView, message_flags: int = 0) -> Header:
    """Who we are, what we own (or our primary does) and how far we have come."""
    me = view.myself
    config = view.config
    shard = me.shard_primary or me
    offset = view.replication.offset
    if view.paused_offset is not None and me.is_primary:
        message_flags |= MESSAGE_PAUSED
        offset = view.paused_offset
    return Header(
        sender=me.node_id,
        port=config.told_port,
        cport=config.told_cport,
        pport=config.told_pport,
        ip=config.announce_ip,
        flags=me.flags,
        cluster_ok=view.cluster_ok,
        message_flags=message_flags,
        current_epoch=view.epochs.current_epoch,
        config_epoch=shard.config_epoch,
        offset=offset,
        slots=shard.slots,
        primary_id=me.primary.node_id if me.primary is not None else "",
    )


def _entry(member: Member) -> GossipEntry:
    return GossipEntry(
        member.node_id,
        member.ping_sent_ms // 1000,
        member.pong_received_ms // 1000,
        member.ip,
        member.port,
        member.cport,
        member.flags,
        member.pport,
    )


def choose_gossip(view: ClusterView, receiver: Member | None) -> tuple[GossipEntry, ...]:
    """Entries for one heartbeat. Nodes without address, in handshake, or unreachable and without slots are no news."""
    members = view.members
    candidates: list[Member] = []
    suspects: list[Member] = []
    news: list[Member] = []
    for member in members:
        if member.is_myself or member is receiver or member.in_handshake or member.no_address:
            continue
        if member.pfail:
            suspects.append(member)
        elif view.now_ms - member.created_ms < NEWS_MS and len(news) < MAX_NEWS:
            news.append(member)
        elif member.link is not None or member.slots:
            candidates.append(member)
    wanted = max(0, max(MIN_GOSSIP_ENTRIES, len(members) // 10) - len(news))
    if wanted < len(candidates):
        for chosen in range(wanted):
            other = chosen + int(view.rng.random() * (len(candidates) - chosen))
            candidates[chosen], candidates[other] = candidates[other], candidates[chosen]
        del candidates[wanted:]
    return tuple(map(_entry, news + candidates + suspects))


def build_extensions(view: ClusterView, receiver: Member | None) -> Extensions:
    """The extensions for one heartbeat; ``receiver`` is None when the peer is not known yet."""
    me = view.myself
    if receiver is None or not receiver.speaks_extensions:
        return Extensions(hostname=me.hostname)
    forgotten = tuple(
        ForgottenNode(node_id, left_ms // 1000) for node_id, left_ms in view.members.forgotten(view.now_ms)
    )
    of_our_shard = receiver.primary is me or me.primary is receiver
    opened = view.slots.opened(view.open_slots_number) if of_our_shard and receiver.shares_open_slots else None
    return Extensions(me.hostname, me.human_nodename, me.shard_id, forgotten, opened)


def send_heartbeat(view: ClusterView, link: Link | None, kind: type[Ping] | type[Pong] | type[Meet]) -> None:
    """Send a heartbeat on ``link``, if it is up. A PING or MEET on a link of our own starts the wait for its answer."""
    if link is None or not link.up:
        return
    receiver = link.member
    if kind is not Pong and receiver is not None and not link.inbound:
        receiver.ping_sent_ms = view.now_ms
    header = build_header(view, MESSAGE_EXTENSIONS | MESSAGE_SHARES_OPEN_SLOTS)
    view.send(link, kind(header, choose_gossip(view, receiver), build_extensions(view, receiver)))


def broadcast(view: ClusterView, message: Message) -> None:
    """Send one message to every known node over our link to it."""
    for member in view.members:
        if not member.is_myself and not member.in_handshake:
            view.send(member.link, message)


def broadcast_pong(view: ClusterView, *, only_shard: bool = False) -> None:
    """Tell everybody (or the replicas of our shard) at once how things are, without waiting to be asked."""
    me = view.myself
    for member in view.members:
        if member.is_myself or member.in_handshake:
            continue
        if only_shard and not (member.primary is not None and member.primary in (me, me.primary)):
            continue
        send_heartbeat(view, member.link, Pong)
