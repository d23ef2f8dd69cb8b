"""One real ``ClusterCore`` among made-up members, for unit tests of the cluster's parts.

The members are P1, P2, ... (primaries that share the slots evenly, config epochs 1, 2, ...) and R1, R2, ... (replicas
of the primary with the same number; with ``replicas=2`` also S1, S2, ...). The core plays one of them; a test speaks
for the others with :meth:`LoneCore.hear` and looks at what the core sends and wants done.

Connections the core asks for stand at once, unless the member is in ``unreachable``. Every effect ever taken is in
``effects``, every message sent in ``sent_messages``; :meth:`drain` empties both.
"""

from __future__ import annotations

from random import Random
from typing import Any, TypeVar

import attrs

from slotmesh.cluster.config import ClusterConfig
from slotmesh.cluster.core import ClusterCore
from slotmesh.cluster.effects import Connect, Disconnect, Effect, Send
from slotmesh.cluster.events import Event, LinkAccepted, LinkDown, LinkUp, MessageReceived, ReplicationStatus, Tick
from slotmesh.cluster.members import Member
from slotmesh.cluster.messages import GossipEntry, Header, Message, NodeAddress, Ping, Pong
from slotmesh.cluster.slot_set import NO_SLOTS, SlotSet
from slotmesh.cluster.slots import SLOT_COUNT
from slotmesh.cluster.state_file import SavedNode, SavedState, encode_state
from slotmesh.cluster.terms import FLAG_FAIL, FLAG_MYSELF, FLAG_PFAIL, FLAG_PRIMARY, FLAG_REPLICA

E = TypeVar("E")
M = TypeVar("M")

START_MS = 1_700_000_000_000
TIMEOUT_MS = 1000
FAILING = {"": 0, "pfail": FLAG_PFAIL, "fail": FLAG_FAIL}


def node_id(name: str) -> str:
    """The id of a member: ``01`` repeated for P1, ``a1`` for R1, ``b1`` for S1."""
    return ({"P": "0", "R": "a", "S": "b", "X": "c"}[name[0]] + name[1]) * 20


def ip_of(name: str) -> str:
    return f"10.0.{'PRSX'.index(name[0])}.{name[1]}"


class LoneCore:
    """See the module."""

    def __init__(
        self,
        me: str = "P1",
        *,
        primaries: int = 3,
        replicas: int = 1,
        variables: dict[str, str] | None = None,
        **config: Any,
    ) -> None:
        self.me = me
        self.primaries = primaries
        self.names = [f"{kind}{number}" for kind in "PRS"[: replicas + 1] for number in range(1, primaries + 1)]
        self.now_ms = START_MS
        self.unreachable: set[str] = set()
        self.effects: list[Effect] = []
        self.sent_messages: list[tuple[str, Message]] = []
        self._links: dict[int, str] = {}
        self._out: dict[str, int] = {}
        self._in: dict[str, int] = {}
        self._next_inbound = -1
        settings = {"node_timeout_ms": TIMEOUT_MS, "repl_ping_period_ms": 1000} | config
        saved = SavedState(
            tuple(self._saved(name) for name in self.names), current_epoch=primaries, variables=variables or {}
        )
        conf = ClusterConfig(port=7000, cport=17000, **settings)
        self.core = ClusterCore(conf, Random(7), self.now_ms, encode_state(saved))
        self._carry_out()

    # The cast

    def share(self, name: str) -> SlotSet:
        """The slots of a primary at the start (of its primary, for a replica)."""
        index = int(name[1]) - 1
        if index >= self.primaries:
            return NO_SLOTS
        first = SLOT_COUNT * index // self.primaries
        return SlotSet.from_range(first, SLOT_COUNT * (index + 1) // self.primaries - 1)

    def _saved(self, name: str) -> SavedNode:
        primary = name[0] == "P"
        return SavedNode(
            node_id=node_id(name),
            address=NodeAddress(ip_of(name), 7000, 17000),
            flags=(FLAG_PRIMARY if primary else FLAG_REPLICA) | (FLAG_MYSELF if name == self.me else 0),
            primary_id="" if primary else node_id(f"P{name[1]}"),
            config_epoch=int(name[1]) if primary else 0,
            slots=self.share(name) if primary else NO_SLOTS,
        )

    def member(self, name: str) -> Member:
        found = self.core.view.members.get(node_id(name))
        assert found is not None, f"{name} is not known"
        return found

    def knows(self, name: str) -> bool:
        return self.core.view.members.get(node_id(name)) is not None

    def header(self, name: str, **changes: Any) -> Header:
        """What ``name`` says of itself at the start, with ``changes``."""
        primary = name[0] == "P"
        header = Header(
            sender=node_id(name),
            port=7000,
            cport=17000,
            flags=FLAG_PRIMARY if primary else FLAG_REPLICA,
            current_epoch=self.primaries,
            config_epoch=int(name[1]) if int(name[1]) <= self.primaries else 0,
            offset=100,
            slots=self.share(name),
            primary_id="" if primary else node_id(f"P{name[1]}"),
        )
        return attrs.evolve(header, **changes)

    def about(self, name: str, failing: str = "", **changes: Any) -> GossipEntry:
        """A gossip entry on ``name``; ``failing`` is "", "pfail" or "fail"."""
        role = FLAG_PRIMARY if name[0] == "P" else FLAG_REPLICA
        entry = GossipEntry(node_id(name), 0, self.now_ms // 1000, ip_of(name), 7000, 17000, role | FAILING[failing])
        return attrs.evolve(entry, **changes)

    # Events

    def step(self, event: Event) -> None:
        self.core.step(self.now_ms, event)
        self._carry_out()

    def inbound(self, name: str) -> int:
        """The link that ``name`` opened to the core."""
        if name not in self._in:
            link = self._next_inbound
            self._next_inbound -= 1
            self._in[name] = link
            self._links[link] = name
            self.step(LinkAccepted(link, ip_of(name), ip_of(self.me)))
        return self._in[name]

    def outgoing(self, name: str) -> int:
        """The link that the core opened to ``name``."""
        return self._out[name]

    def say(self, name: str, message: Message, *, link: int | None = None) -> None:
        """Let a message of ``name`` arrive, by default on its own link (a PONG: on the core's link)."""
        if link is None:
            link = self._out[name] if isinstance(message, Pong) and name in self._out else self.inbound(name)
        self.step(MessageReceived(link, message))

    def hear(self, name: str, *gossip: GossipEntry, **changes: Any) -> None:
        """Let a PING of ``name`` arrive."""
        self.say(name, Ping(self.header(name, **changes), tuple(gossip)))

    def answer(self, *names: str, **changes: Any) -> None:
        """Let PONGs of members arrive on the core's own links."""
        for name in names:
            self.say(name, Pong(self.header(name, **changes)))

    def greet(self) -> None:
        """Everybody answers once: all members are known to work."""
        self.pass_ms(100)
        self.answer(*self.others())
        self.drain()

    def others(self) -> list[str]:
        return [name for name in self.names if name != self.me]

    def pass_ms(self, duration_ms: int, *, silent: tuple[str, ...] | None = None) -> None:
        """Let time pass. With ``silent`` all other members answer every PING meanwhile; without, nobody does."""
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, max(self.core.next_deadline_ms(), self.now_ms + 1))
            self.step(Tick())
            if silent is not None:
                for name in self.others():
                    if name not in silent and name in self._out and self.member(name).ping_sent_ms:
                        self.answer(name, slots=self._believed_slots(name))

    def _believed_slots(self, name: str) -> SlotSet:
        shard = self.member(name).shard_primary
        return shard.slots if shard is not None else NO_SLOTS

    def replicate_to(self, offset: int, *, link_up: bool = True, last_io_ms: int | None = None) -> None:
        """Report how replication stands."""
        self.step(ReplicationStatus(offset, link_up, self.now_ms if last_io_ms is None else last_io_ms))

    def order(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Give an order of ``Admin`` by name."""
        result = getattr(self.core.admin(self.now_ms), name)(*args, **kwargs)
        self._carry_out()
        return result

    # Effects

    def _carry_out(self) -> None:
        effects = self.core.take_effects()
        while effects:
            self.effects += effects
            for effect in effects:
                self._one(effect)
            effects = self.core.take_effects()

    def _one(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self.sent_messages.append((self._links.get(effect.link, "?"), effect.message))
        elif isinstance(effect, Connect):
            name = next((name for name in [*self.names, "X1"] if ip_of(name) == effect.ip), "X1")
            self._links[effect.link] = name
            if name in self.unreachable:
                self.core.step(self.now_ms, LinkDown(effect.link, "refused", refused=True))
            else:
                self._out[name] = effect.link
                self.core.step(self.now_ms, LinkUp(effect.link))
        elif isinstance(effect, Disconnect):
            self.forget_link(effect.link)

    def forget_link(self, link: int) -> None:
        """A link is gone: the next message of its member comes over another one."""
        name = self._links.get(link, "")
        for table in (self._out, self._in):
            if table.get(name) == link:
                del table[name]

    def drain(self) -> None:
        """Forget all effects and messages so far."""
        self.effects.clear()
        self.sent_messages.clear()

    def wanted(self, kind: type[E]) -> list[E]:
        """Effects of a kind since the last ``drain``."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def sent(self, kind: type[M], to: str | None = None) -> list[M]:
        """Messages of a kind (to one member) since the last ``drain``."""
        return [m for name, m in self.sent_messages if isinstance(m, kind) and to in (None, name)]

    def receivers(self, kind: type[M]) -> list[str]:
        """To whom messages of a kind went, in order of sending."""
        return [name for name, message in self.sent_messages if isinstance(message, kind)]
