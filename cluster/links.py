"""Connections of the bus: one of our own to every member, and those the members made to us.

A link of our own carries our PINGs and brings the PONGs; a link that was accepted brings the peer's PINGs and carries
our PONGs. Until a peer has said who it is, an accepted link belongs to no member. Addresses are learned here too: from
the headers of PINGs, and our own from the socket on which somebody who knew our address reached us.

Not here: sockets (the driver opens and closes them on our ``Connect`` and ``Disconnect``).
"""

from __future__ import annotations

from slotmesh.cluster.addresses import is_ip
from slotmesh.cluster.effects import Connect, Disconnect
from slotmesh.cluster.events import LinkAccepted, LinkDown, LinkUp
from slotmesh.cluster.heartbeat import send_heartbeat
from slotmesh.cluster.members import Link, Member
from slotmesh.cluster.messages import Header, Meet, Ping
from slotmesh.cluster.topology import Topology
from slotmesh.cluster.view import ClusterView, random_id

MIN_HANDSHAKE_MS = 1000
FIRST_RETRY_MS = 100
MAX_RETRY_MS = 500
"""Pauses before a member that refuses links is tried again: they double."""

MAX_STRANGERS = 1024
"""Accepted links that have not said who they are; beyond that the oldest one makes room. Anybody may connect, and a
member says at once who it is."""

MAX_HANDSHAKES = 4096
"""Handshakes under way because a MEET asked for them: anybody may send one. ``redis-cli --cluster create`` has all new
nodes MEET the first one within moments."""


class Links:
    """Keeps the links of a view."""

    __slots__ = ("_topology", "_view")

    def __init__(self, view: ClusterView, topology: Topology) -> None:
        self._view = view
        self._topology = topology

    # Events

    def on_accepted(self, event: LinkAccepted) -> None:
        assert event.link < 0
        assert event.link not in self._view.links
        strangers = [link for link in self._view.links.values() if link.inbound and link.member is None]
        if len(strangers) >= MAX_STRANGERS:
            self.close(strangers[0])
        link = Link(event.link, self._view.now_ms, up=True, peer_ip=event.peer_ip, local_ip=event.local_ip)
        self._view.links[event.link] = link

    def on_up(self, event: LinkUp) -> None:
        """Greet the member: with MEET when it is to learn that we exist, else with PING."""
        link = self._view.links.get(event.link)
        if link is None:
            return
        link.up = True
        member = link.member
        assert member is not None
        self._forget_refusals(member)
        waiting_since_ms = member.ping_sent_ms
        send_heartbeat(self._view, link, Meet if member.must_meet else Ping)
        if waiting_since_ms:
            # A ping was under way when the old link broke: the silence goes on.
            member.ping_sent_ms = waiting_since_ms

    def on_down(self, event: LinkDown) -> None:
        link = self._view.links.pop(event.link, None)
        if link is None:
            return
        self._unbind(link)
        if event.refused and link.member is not None:
            self._note_refusal(link.member)
        if event.reason:
            who = link.member.node_id if link.member is not None else link.peer_ip
            self._view.debug("link", f"link {event.link} with {who} lost: {event.reason}")

    def _note_refusal(self, member: Member) -> None:
        """Nobody listens there. All nodes try again and again, so each does so less and less often; whoever is back
        calls on the others, and is called back then."""
        now_ms = self._view.now_ms
        longest_ms = min(MAX_RETRY_MS, self._view.config.node_timeout_ms // 4)
        member.gone_ms = now_ms
        member.retry_at_ms = now_ms + min(FIRST_RETRY_MS << min(member.refusals, 8), longest_ms)
        member.refusals += 1

    @staticmethod
    def _forget_refusals(member: Member) -> None:
        member.refusals = member.retry_at_ms = 0

    # Keeping links

    def connect_missing(self, member: Member) -> None:
        """Open our link to a member that lacks one and has an address."""
        view = self._view
        if member.link is not None or member.no_address or member.is_myself or view.now_ms < member.retry_at_ms:
            return
        view.last_link_id += 1
        link = Link(view.last_link_id, view.now_ms, member)
        member.link = link
        view.links[link.link_id] = link
        view.emit(Connect(link.link_id, member.ip, member.cport))

    def close(self, link: Link | None, *, violation: str = "") -> None:
        """End a link of either kind; None is allowed. ``violation``: see ``Disconnect``."""
        if link is None or self._view.links.pop(link.link_id, None) is None:
            return
        self._unbind(link)
        self._view.emit(Disconnect(link.link_id, violation))

    def _unbind(self, link: Link) -> None:
        link.up = False
        member = link.member
        if member is not None and member.link is link:
            member.link = None
        elif member is not None and member.inbound is link:
            member.inbound = None

    def bind_inbound(self, link: Link, member: Member) -> None:
        """An accepted link has said who it is; a previous one of the same member is outdated."""
        if link.member is not None:
            link.member.inbound = None
        self.close(member.inbound)
        member.inbound = link
        link.member = member
        self._forget_refusals(member)

    def drop_member(self, member: Member) -> None:
        """Close a member's links and forget it."""
        self.close(member.link)
        self.close(member.inbound)
        self._topology.remove(member)

    # Handshakes

    def start_handshake(self, ip: str, port: int, cport: int, pport: int = 0, *, meet: bool) -> bool:
        """Get to know whoever listens at an address; false when that is under way already, or cannot be.

        The member has a made-up id until the answer tells the real one. With ``meet`` we ask it to know us as well.
        """
        view = self._view
        if not is_ip(ip) or view.members.full:
            return False
        strangers = [member for member in view.members if member.in_handshake]
        if any((member.ip, member.port, member.cport) == (ip, port, cport) for member in strangers):
            return False
        if not meet and len(strangers) >= MAX_HANDSHAKES:
            return False
        member = Member(random_id(view.rng), view.now_ms, ip=ip, port=port, cport=cport, pport=pport)
        member.in_handshake = True
        member.must_meet = meet
        view.members.add(member)
        self.connect_missing(member)
        return True

    def expire_handshake(self, member: Member) -> bool:
        """Give up on a handshake nobody answered in a node timeout; true when it was."""
        limit_ms = max(self._view.config.node_timeout_ms, MIN_HANDSHAKE_MS)
        if not member.in_handshake or self._view.now_ms - member.created_ms <= limit_ms:
            return False
        self._view.verbose("handshake", f"nobody answered at {member.ip}:{member.cport}")
        self.drop_member(member)
        return True

    # Addresses

    def learn_own_ip(self, link: Link, *, was_meet: bool) -> None:
        """Our address is the one somebody reached us at. A MEET is trusted more: its sender was given our address."""
        view = self._view
        me = view.myself
        if view.config.announce_ip or not link.local_ip or link.local_ip == me.ip or not (was_meet or not me.ip):
            return
        me.ip = link.local_ip
        view.save()
        view.notice("address", f"our own address is {me.ip}")

    def update_address(self, member: Member, link: Link, header: Header) -> None:
        """Take over a changed address from a PING that came over ``link``, and connect anew."""
        if link is member.link:
            return
        ip = header.ip if is_ip(header.ip) else link.peer_ip
        if not ip or (member.ip, member.port, member.cport, member.pport) == (
            ip,
            header.port,
            header.cport,
            header.pport,
        ):
            return
        self.move(member, ip, header.port, header.cport, header.pport)

    def move(self, member: Member, ip: str, port: int, cport: int, pport: int) -> None:
        """Record a member's new address."""
        view = self._view
        member.ip, member.port, member.cport, member.pport = ip, port, cport, pport
        member.no_address = False
        self._forget_refusals(member)
        self.close(member.link)
        view.reassess()
        view.notice("address", f"address of {member.node_id} is now {ip}:{port}@{cport}")
        if view.myself.primary is member:
            self._topology.announce_primary("address")

    def lose_address(self, member: Member) -> None:
        """Somebody else answers where ``member`` was: its address is unknown from now on."""
        self._view.notice("address", f"another node answers at {member.ip}:{member.cport}, not {member.node_id}")
        member.ip, member.port, member.cport, member.pport = "", 0, 0, 0
        member.no_address = True
        self.close(member.link)
        self._view.save()
