"""Forged and mutated frames against the decoder and the core of a node, with a restart from its file after each.

Senders are members, strangers, the node itself and ids of handshakes; frames are of every type, with extreme fields and
extensions, and some are damaged afterwards. After each the state must read back as it is, whatever is sent must be
a frame that another node takes, and every report must work.
"""

from __future__ import annotations

from random import Random
from typing import Any

from slotmesh.cluster import reports
from slotmesh.cluster.addresses import is_ip
from slotmesh.cluster.core import ClusterCore
from slotmesh.cluster.effects import Connect, Persist, Send
from slotmesh.cluster.errors import ClusterRefusal
from slotmesh.cluster.events import LinkDown
from slotmesh.cluster.guard import Fence
from slotmesh.cluster.messages import (
    AuthAck,
    AuthRequest,
    Extensions,
    Fail,
    ForgottenNode,
    GossipEntry,
    Header,
    ManualFailoverStart,
    Meet,
    Message,
    OpenSlots,
    Ping,
    Pong,
    Publish,
    Update,
)
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.wire import BusProtocolError, FrameDecoder, decode_frame, encode_message
from tests.fuzz.values import HOSTS, NUMBERS, TEXTS, assert_same, damage
from tests.support.lone_core import LoneCore, node_id

STEPS = 40
NAMES = ("P1", "P2", "P3", "R1", "R2", "R3", "X1", "X2")
KINDS = (Ping, Pong, Meet, Fail, Publish, Update, AuthRequest, AuthAck, ManualFailoverStart)
SLOTS = (SlotSet(), SlotSet([1]), SlotSet.from_range(0, 5460), SlotSet.from_range(0, 16383), SlotSet([5, 6000, 16000]))


class Forger:
    """Makes frames about a node's cluster."""

    def __init__(self, rng: Random, lone: LoneCore) -> None:
        self._rng = rng
        self._lone = lone

    def number(self, bits: int) -> int:
        return self._rng.choice([number for number in NUMBERS if number < 2**bits])

    def epoch(self) -> int:
        return self._rng.randrange(12) if self._rng.random() < 0.7 else self.number(64)

    def slots(self) -> SlotSet:
        return self._rng.choice(SLOTS)

    def some_id(self) -> str:
        made_up = [member.node_id for member in self._lone.core.view.members if member.in_handshake]
        return self._rng.choice([*map(node_id, NAMES), f"{self._rng.getrandbits(160):040x}", *made_up])

    def host(self) -> str:
        host = self._rng.choice(HOSTS)
        return host if host.isascii() else ""

    def header(self, name: str) -> Header:
        rng = self._rng
        changes: dict[str, Any] = {}
        for field, make in (
            ("sender", self.some_id),
            ("port", lambda: self.number(16)),
            ("cport", lambda: self.number(16)),
            ("pport", lambda: self.number(16)),
            ("ip", self.host),
            ("flags", lambda: rng.getrandbits(16)),
            ("cluster_ok", lambda: rng.random() < 0.5),
            ("message_flags", lambda: rng.getrandbits(24)),
            ("current_epoch", self.epoch),
            ("config_epoch", self.epoch),
            ("offset", lambda: self.number(63)),
            ("slots", self.slots),
            ("primary_id", lambda: rng.choice(("", self.some_id()))),
        ):
            if rng.random() < 0.2:
                changes[field] = make()
        return self._lone.header(name, **changes)

    def gossip(self) -> tuple[GossipEntry, ...]:
        rng = self._rng
        return tuple(
            GossipEntry(
                self.some_id(),
                self.number(32),
                self.number(32),
                self.host(),
                self.number(16),
                self.number(16),
                rng.getrandbits(16),
                self.number(16),
            )
            for _ in range(rng.randrange(4))
        )

    def extensions(self) -> Extensions:
        rng = self._rng
        text = rng.choice([text for text in TEXTS if text.isascii()])
        entries = tuple((slot, self.some_id()) for slot in rng.sample((0, 5, 6000, 16383), 2))
        return Extensions(
            hostname=rng.choice(("", "h.example", text, "h" * 300)),
            human_nodename=rng.choice(("", "name", text)),
            shard_id=rng.choice(("", self.some_id())),
            forgotten=tuple(ForgottenNode(self.some_id(), self.number(64)) for _ in range(rng.randrange(3))),
            open_slots=rng.choice((None, OpenSlots(entries, (), self.number(64)), OpenSlots((), entries, 7))),
        )

    def message(self, name: str) -> Message:
        rng = self._rng
        kind: Any = rng.choice(KINDS)
        header = self.header(name)
        if kind in (Ping, Pong, Meet):
            return kind(header, self.gossip(), self.extensions())  # type: ignore[no-any-return]
        if kind is Fail:
            return Fail(header, self.some_id())
        if kind is Update:
            return Update(header, self.some_id(), self.epoch(), self.slots())
        if kind is Publish:
            return Publish(
                header, rng.randbytes(rng.randrange(5)), rng.randbytes(rng.randrange(50)), rng.random() < 0.5
            )
        return kind(header)  # type: ignore[no-any-return]

    def frame(self, name: str) -> bytes:
        frame = encode_message(self.message(name))
        return damage(self._rng, frame) if self._rng.random() < 0.4 else frame


def run(seed: int) -> int:
    """One history."""
    rng = Random(seed)
    lone = LoneCore(rng.choice(("P1", "R2")))
    lone.greet()
    lone.replicate_to(100)
    forger = Forger(rng, lone)
    for _ in range(STEPS):
        lone.drain()
        what = rng.random()
        if what < 0.8:
            deliver(rng, lone, rng.choice(NAMES), forger)
        elif what < 0.9:
            lone.pass_ms(rng.choice((1, 100, 1500)))
        else:
            order(rng, lone, forger)
        check(lone)
    return STEPS


def deliver(rng: Random, lone: LoneCore, name: str, forger: Forger) -> None:
    """A frame arrives in pieces, on the sender's link or on ours to it."""
    frame = forger.frame(name)
    member = lone.core.view.members.get(node_id(name))
    link = lone.inbound(name)
    if rng.random() < 0.4 and member is not None and member.link is not None:
        link = member.link.link_id
    decoder = FrameDecoder()
    cut = rng.randrange(len(frame) + 1)
    try:
        for piece in (frame[:cut], frame[cut:]):
            for message in decoder.feed(piece):
                lone.say(name, message, link=link)
    except BusProtocolError:
        lone.step(LinkDown(link, "violated the protocol"))
        lone.forget_link(link)


def order(rng: Random, lone: LoneCore, forger: Forger) -> None:
    """An operator or a sentinel orders something."""
    fence = Fence(forger.epoch(), forger.epoch())
    orders: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = (
        ("meet", (rng.choice(TEXTS), rng.choice((0, 7000, 70000)), rng.choice((1, 17000, 70000))), {}),
        ("forget", (forger.some_id(),), {}),
        ("add_slots", ([rng.choice((1, 6000, 16384))],), {}),
        ("del_slots", ([rng.choice((1, 6000, -1))],), {}),
        ("set_slot_migrating", (1, forger.some_id()), {}),
        ("set_slot_importing", (6000, forger.some_id()), {}),
        ("set_config_epoch", (forger.epoch(),), {}),
        ("bump_epoch", (), {}),
        ("replicate", (forger.some_id(),), {"keyspace_empty": True, "fence": rng.choice((None, fence))}),
        ("failover", (), {"takeover": True, "fence": rng.choice((None, fence))}),
    )
    name, args, kwargs = rng.choice(orders)
    try:
        if rng.random() < 0.3:
            guard, sentinel = rng.choice(TEXTS), rng.choice(TEXTS)
            numbers = [rng.choice((0, 1, 3, 2**63 - 1)) for _ in range(3)]
            lone.core.on_guard(lone.now_ms, guard, sentinel, *numbers, watch=rng.random() < 0.5)
            lone.core.on_guard(lone.now_ms, "mesh", "s1", 1000, 1, lone.now_ms)
        else:
            lone.order(name, *args, **kwargs)
    except ClusterRefusal:
        pass
    lone._carry_out()


def check(lone: LoneCore) -> None:
    """Whatever happened: what is saved, sent, wanted and told makes sense."""
    view = lone.core.view
    for effect in lone.effects:
        if isinstance(effect, Send):
            decode_frame(encode_message(effect.message))
        elif isinstance(effect, Connect):
            assert is_ip(effect.ip), effect
        elif isinstance(effect, Persist):
            effect.text.encode("ascii")
    again = ClusterCore(view.config, view.rng, lone.now_ms, lone.core.state_text())
    assert_same(fingerprint(again), fingerprint(lone.core))
    reports.nodes_text(view)
    reports.slot_ranges(view)
    reports.shards_by_id(view)
    reports.links(view)
    reports.info_fields(view)


def fingerprint(core: ClusterCore) -> tuple[object, ...]:
    """What has to survive a restart."""
    view = core.view
    members = sorted(
        (
            member.node_id,
            member.role,
            (member.ip, member.port, member.cport, member.hostname),
            member.primary.node_id if member.primary is not None else "",
            member.slots.mask,
            0 if member.is_replica and member.primary is not None else member.config_epoch,
        )
        for member in view.members
        if not member.in_handshake
    )
    guard = (core.guard.name, core.guard.voters if core.guard.is_armed else 0, core.guard.fence_epoch)
    # A replica's line tells the epoch of its primary; one of its own, from an earlier role, is of no use.
    own_epochs = [member.config_epoch for member in view.members if member.primary is None and not member.in_handshake]
    highest = max(view.epochs.current_epoch, *own_epochs, 0)
    return (*members, highest, view.epochs.last_vote_epoch, view.myself.shard_id, guard)
