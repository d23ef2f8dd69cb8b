"""What each message does: the receiving side of the bus.

A message is believed as far as its sender is known. Anybody may PING (and is answered); MEET starts an acquaintance;
everything else counts only from a member. The order of the checks in :meth:`Inbound.on_heartbeat` matters: role before
slots, slots before epoch collision, all of them before gossip.
"""

from __future__ import annotations

from slotmesh.cluster.addresses import is_ip
from slotmesh.cluster.detector import FailureDetector
from slotmesh.cluster.effects import DeliverPublish
from slotmesh.cluster.election import Candidate, Voter
from slotmesh.cluster.epochs import is_credible
from slotmesh.cluster.events import MessageReceived
from slotmesh.cluster.gossip import Gossip
from slotmesh.cluster.heartbeat import send_heartbeat
from slotmesh.cluster.links import Links
from slotmesh.cluster.manual_failover import ManualFailover
from slotmesh.cluster.members import Link, Member
from slotmesh.cluster.messages import (
    TYPE_NAMES,
    AuthAck,
    AuthRequest,
    Fail,
    Header,
    Heartbeat,
    ManualFailoverStart,
    Meet,
    Message,
    Ping,
    Pong,
    Publish,
    Update,
)
from slotmesh.cluster.terms import FLAG_NOFAILOVER, MESSAGE_EXTENSIONS, MESSAGE_SHARES_OPEN_SLOTS, role_of
from slotmesh.cluster.topology import Topology
from slotmesh.cluster.view import ClusterView


class Inbound:
    """Hands each message to the parts of the core it concerns."""

    __slots__ = ("_candidate", "_detector", "_gossip", "_links", "_manual", "_topology", "_view", "_voter")

    def __init__(
        self,
        view: ClusterView,
        topology: Topology,
        links: Links,
        detector: FailureDetector,
        gossip: Gossip,
        manual: ManualFailover,
        candidate: Candidate,
        voter: Voter,
    ) -> None:
        self._view = view
        self._topology = topology
        self._links = links
        self._detector = detector
        self._gossip = gossip
        self._manual = manual
        self._candidate = candidate
        self._voter = voter

    def on_message(self, event: MessageReceived) -> None:
        """A message arrived on a link (one that we closed meanwhile is ignored)."""
        view = self._view
        link = view.links.get(event.link)
        if link is None:
            return
        message = event.message
        if message.type_code < len(TYPE_NAMES):
            view.received_by_type[message.type_code] += 1
        if not self._is_credible(message):
            self._links.close(link, violation="epoch out of range")
            return
        sender = self._identify(link, message.header)
        if sender is not None:
            sender.data_received_ms = view.now_ms
            self._on_header(sender, message.header)
        if isinstance(message, Ping | Pong | Meet):
            self.on_heartbeat(link, sender, message)
        elif sender is not None:
            self._on_other(link, sender, message)

    def _is_credible(self, message: Message) -> bool:
        """Whether the epochs of a message can be true; what is believed ends up in nodes.conf and with all others."""
        header, known = message.header, self._view.epochs.current_epoch
        told = max(header.current_epoch, header.config_epoch)
        if isinstance(message, Update):
            told = max(told, message.config_epoch)
        return is_credible(told, known)

    def _identify(self, link: Link, header: Header) -> Member | None:
        """The member that sent this, by its own word; None for a stranger."""
        sender = self._view.members.met(header.sender)
        if sender is None or sender.is_myself:
            return None
        if link.inbound and link.member is not sender:
            self._links.bind_inbound(link, sender)
        return sender

    def _on_header(self, sender: Member, header: Header) -> None:
        view = self._view
        if view.epochs.observe(header.current_epoch):
            view.save()
        sender.offset = header.offset
        self._manual.on_header(sender, header)

    # PING, PONG, MEET

    def on_heartbeat(self, link: Link, sender: Member | None, message: Ping | Pong | Meet) -> None:
        """Answer it, settle who is at the other end, and take over what the sender says of itself."""
        header = message.header
        if not isinstance(message, Pong):
            self._links.learn_own_ip(link, was_meet=isinstance(message, Meet))
            if sender is None and isinstance(message, Meet) and header.sender != self._view.myself.node_id:
                ip = header.ip or link.peer_ip
                if ip:
                    self._links.start_handshake(ip, header.port, header.cport, header.pport, meet=False)
            send_heartbeat(self._view, link, Pong)
        if not link.inbound:
            sender = self._confirm_peer(link, sender, header)
            if sender is not None and isinstance(message, Pong):
                sender.pong_received_ms = sender.answered_ms = self._view.now_ms
                sender.ping_sent_ms = 0
                self._detector.on_answer(sender)
        elif sender is not None and not (sender.ping_sent_ms or sender.pfail or sender.failed):
            sender.pong_received_ms = self._view.now_ms  # no need to ask now (but see `gossip.OWN_LINK_FACTOR`)
        if sender is not None:
            if isinstance(message, Ping):
                self._links.update_address(sender, link, header)
            self._on_self_description(sender, message)

    def _confirm_peer(self, link: Link, sender: Member | None, header: Header) -> Member | None:
        """Who answers on a link of our own; None when it is not whom we meant, and the link was of no use."""
        member = link.member
        assert member is not None
        if not member.in_handshake:
            if sender is member:
                return member
            self._links.lose_address(member)
        elif header.sender == self._view.myself.node_id:
            self._links.drop_member(member)
        elif sender is not None:
            self._finish_duplicate_handshake(member, sender, header)
        elif self._view.members.get(header.sender) is not None:
            self._links.drop_member(member)  # it says the id that we made up for it, or for another one
        else:
            self._finish_handshake(member, header)
            return member
        return None

    def _finish_duplicate_handshake(self, stranger: Member, known: Member, header: Header) -> None:
        """The stranger turned out to be a member already; what is new is at most its address."""
        ip = header.ip if is_ip(header.ip) else stranger.ip
        there = (ip, header.port, header.cport, header.pport)
        if there != (known.ip, known.port, known.cport, known.pport):
            self._links.move(known, *there)
        self._links.drop_member(stranger)

    def _finish_handshake(self, member: Member, header: Header) -> None:
        view = self._view
        view.members.rename(member, header.sender)
        member.in_handshake = member.must_meet = False
        member.role = role_of(header.flags)
        self._on_header(member, header)
        view.save()
        view.notice("handshake", f"met {member.node_id} at {member.ip}:{member.port}@{member.cport}")

    def _on_self_description(self, sender: Member, message: Heartbeat) -> None:
        """Role, slots, epoch, gossip and extras of a member, in this order."""
        view = self._view
        topology = self._topology
        header = message.header
        sender.no_failover = bool(header.flags & FLAG_NOFAILOVER)
        sender.shares_open_slots = bool(header.message_flags & MESSAGE_SHARES_OPEN_SLOTS)
        sender.told_slots = header.slots
        if header.config_epoch > sender.config_epoch and not header.primary_id:
            # Only together with the slots: a new epoch with old slots would be a false claim.
            sender.config_epoch = header.config_epoch
            view.save()
        if header.primary_id:
            topology.on_claims_replica(sender, view.members.met(header.primary_id))
            if sender is view.myself.primary:
                topology.maybe_follow_grand_primary()
        else:
            topology.on_claims_primary(sender)
        if sender.is_primary:
            sender.slots_confirmed = True
        shard = sender.shard_primary
        if shard is not None and shard.slots != header.slots:
            if sender.is_primary:
                topology.on_slots_claimed(sender, header.config_epoch, header.slots)
            topology.correct_stale_claim(sender, header.config_epoch, header.slots)
        if sender.is_primary and view.myself.is_primary and header.config_epoch == view.myself.config_epoch:
            topology.on_epoch_collision(sender)
        self._gossip.on_gossip(message.gossip, sender)
        understood = bool(header.message_flags & MESSAGE_EXTENSIONS)
        self._gossip.on_extensions(sender, message.extensions, understood=understood)

    # The rest

    def _on_other(self, link: Link, sender: Member, message: Message) -> None:
        view = self._view
        if isinstance(message, Publish):
            view.emit(DeliverPublish(message.channel, message.payload, message.sharded))
        elif isinstance(message, Fail):
            failing = view.members.met(message.node_id)
            if failing is not None:
                self._detector.on_fail(failing, sender)
        elif isinstance(message, AuthRequest):
            self._voter.on_request(sender, message.header, link)
        elif isinstance(message, AuthAck):
            self._candidate.on_vote(sender, message.header)
        elif isinstance(message, ManualFailoverStart):
            self._manual.on_start_request(sender)
        elif isinstance(message, Update):
            self._on_update(message)

    def _on_update(self, message: Update) -> None:
        """Somebody holds our view for outdated."""
        view = self._view
        owner = view.members.met(message.node_id)
        if owner is None or owner.is_myself or owner.config_epoch >= message.config_epoch:
            return
        self._topology.on_claims_primary(owner)
        owner.config_epoch = message.config_epoch
        owner.slots_confirmed = True
        view.save()
        self._topology.on_slots_claimed(owner, message.config_epoch, message.slots)
