"""The nodes this node knows: one :class:`Member` each, and the table of them.

A member is what *this* node believes about another (or about itself). Roles, replica lists and ids change only through
the methods of :class:`Members`, so that both ends of the primary/replica relation always agree. All loops over members
run in the order in which they became known: deterministic, which the simulator needs.

Not here: who owns which slot (``slot_map``; ``Member.slots`` is kept by it) and any rule of when beliefs change.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import Factory, define

from slotmesh.cluster.messages import NodeAddress
from slotmesh.cluster.slot_set import NO_SLOTS, SlotSet
from slotmesh.cluster.terms import (
    FLAG_EXTENSIONS,
    FLAG_FAIL,
    FLAG_HANDSHAKE,
    FLAG_MEET,
    FLAG_MIGRATE_TO,
    FLAG_MYSELF,
    FLAG_NOADDR,
    FLAG_NOFAILOVER,
    FLAG_PFAIL,
    FLAG_PRIMARY,
    FLAG_REPLICA,
)

FORGET_MS = 60_000
"""How long a forgotten id is not learned again (stock: 60 s), so that FORGET can reach every node."""

MAX_MEMBERS = 16_384
"""As many as there are slots. Stock knows no limit, and grows with every id that somebody makes up."""

MAX_FORGOTTEN = 1024
"""Ids barred at a time; the oldest one is let go for another. They all go into every heartbeat."""


@define(eq=False)
class Link:
    """One connection of the bus as the core sees it. ``link_id`` > 0: made by us; < 0: accepted."""

    link_id: int
    created_ms: int
    member: Member | None = None
    up: bool = False
    peer_ip: str = ""
    local_ip: str = ""

    @property
    def inbound(self) -> bool:
        """Whether the peer opened it."""
        return self.link_id < 0


@define(eq=False)
class Member:
    """One node, as believed here. Times are in ms; 0 means never (or, for ``ping_sent_ms``, no ping under way)."""

    node_id: str
    created_ms: int = 0
    role: int = 0
    """FLAG_PRIMARY, FLAG_REPLICA, or 0 while unknown."""
    ip: str = ""
    port: int = 0
    cport: int = 0
    pport: int = 0
    hostname: str = ""
    human_nodename: str = ""
    shard_id: str = ""
    is_myself: bool = False
    in_handshake: bool = False
    must_meet: bool = False
    """Introduce ourselves with MEET whenever the link comes up, until there is an answer: a MEET may get lost with its
    link, and whoever does not know us ignores a PING's content."""
    no_address: bool = False
    pfail: bool = False
    failed: bool = False
    migrate_to: bool = False
    """An orphaned primary that replicas of others may move to: it has, or had, replicas."""
    no_failover: bool = False
    speaks_extensions: bool = False
    shares_open_slots: bool = False
    """It tells its shard which slots are open, as we do (a node of ours)."""
    told_open_number: int = 0
    """The number of our statement about open slots that it has taken over, by its own word."""
    told_slots: SlotSet = NO_SLOTS
    """The slots in its last heartbeat: its own, or those of its primary as it knows them."""
    config_epoch: int = 0
    slots: SlotSet = NO_SLOTS
    slots_confirmed: bool = False
    """The member claimed its slots since we started (what the file says may be outdated)."""
    primary: Member | None = None
    replicas: list[Member] = Factory(list)
    offset: int = 0
    ping_sent_ms: int = 0
    pong_received_ms: int = 0
    """When it was last known to live: by its PONG or PING, or by what others gossip."""
    answered_ms: int = 0
    """Its last PONG on our own link."""
    data_received_ms: int = 0
    gone_ms: int = 0
    """When its machine last said that nobody listens at its address."""
    refusals: int = 0
    """How often it said so in a row."""
    retry_at_ms: int = 0
    """Before this a new link would only be refused again."""
    failed_since_ms: int = 0
    voted_ms: int = 0
    """When we last voted for a replica of this primary."""
    orphaned_since_ms: int = 0
    link: Link | None = None
    inbound: Link | None = None
    fail_reports: dict[str, int] = Factory(dict)
    """Ids of primaries that call this node failing -> when they last said so."""

    @property
    def is_primary(self) -> bool:
        return self.role == FLAG_PRIMARY

    @property
    def is_replica(self) -> bool:
        return self.role == FLAG_REPLICA

    @property
    def is_voter(self) -> bool:
        """Primaries with slots decide by majority; their number is the cluster's size."""
        return self.role == FLAG_PRIMARY and self.slots.mask != 0

    @property
    def shard_primary(self) -> Member | None:
        """The primary of this node's shard: itself, or the one it replicates (None while unknown)."""
        return self.primary if self.role == FLAG_REPLICA else self

    @property
    def working_replicas(self) -> int:
        """Replicas not flagged as failed."""
        return sum(not replica.failed for replica in self.replicas)

    @property
    def address(self) -> NodeAddress:
        return NodeAddress(self.ip, self.port, self.cport, self.hostname)

    @property
    def told_epoch(self) -> int:
        """The config epoch its shard's slots are held with."""
        return self.primary.config_epoch if self.is_replica and self.primary is not None else self.config_epoch

    @property
    def flags(self) -> int:
        """The flags field of the wire."""
        word = self.role
        if self.is_myself:
            word |= FLAG_MYSELF
        if self.pfail:
            word |= FLAG_PFAIL
        if self.failed:
            word |= FLAG_FAIL
        if self.in_handshake:
            word |= FLAG_HANDSHAKE
        if self.no_address:
            word |= FLAG_NOADDR
        if self.must_meet:
            word |= FLAG_MEET
        if self.migrate_to:
            word |= FLAG_MIGRATE_TO
        if self.no_failover:
            word |= FLAG_NOFAILOVER
        if self.speaks_extensions:
            word |= FLAG_EXTENSIONS
        return word

    def __repr__(self) -> str:
        return f"<Member {self.node_id[:8]} flags={self.flags:#x} epoch={self.config_epoch}>"


class Members:
    """All known nodes by id, ourselves included, and the ids not to be learned again for a while."""

    __slots__ = ("_by_id", "_forgotten_until_ms", "myself")

    def __init__(self, myself: Member) -> None:
        self.myself = myself
        self._by_id: dict[str, Member] = {myself.node_id: myself}
        self._forgotten_until_ms: dict[str, int] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def all(self) -> list[Member]:
        """A copy that stays whole while members come and go."""
        return list(self._by_id.values())

    def get(self, node_id: str) -> Member | None:
        """The member with this id; None for an unknown one and for ``""``."""
        return self._by_id.get(node_id)

    def met(self, node_id: str) -> Member | None:
        """The member with this id, unless it is one in handshake: that goes by an id of our own making, under which
        nobody can speak or be spoken of."""
        member = self._by_id.get(node_id)
        return None if member is None or member.in_handshake else member

    @property
    def full(self) -> bool:
        """Whether no more members are taken in."""
        return len(self._by_id) >= MAX_MEMBERS

    def add(self, member: Member) -> None:
        assert member.node_id not in self._by_id
        self._by_id[member.node_id] = member

    def rename(self, member: Member, node_id: str) -> None:
        """Give a member its real id (end of a handshake, or a hard reset of ourselves)."""
        assert node_id not in self._by_id
        del self._by_id[member.node_id]
        member.node_id = node_id
        self._by_id[node_id] = member

    def remove(self, member: Member) -> None:
        """Drop a member and every relation to it. Its slots must have been released, its links closed."""
        assert not member.slots
        assert member is not self.myself
        for replica in member.replicas:
            replica.primary = None
        member.replicas = []
        self.detach(member)
        del self._by_id[member.node_id]
        for other in self._by_id.values():
            other.fail_reports.pop(member.node_id, None)

    def attach(self, replica: Member, primary: Member) -> None:
        """Record that ``replica`` replicates ``primary``; both keep their other properties."""
        assert replica is not primary
        if replica.primary is primary:
            return
        self.detach(replica)
        replica.primary = primary
        primary.replicas.append(replica)
        # By id, so that all nodes list them in one order: clients and tools compare the answers of CLUSTER SLOTS.
        primary.replicas.sort(key=lambda member: member.node_id)
        primary.migrate_to = True

    def detach(self, replica: Member) -> None:
        """End the relation of a replica to its primary, if there is one."""
        primary = replica.primary
        if primary is None:
            return
        primary.replicas.remove(replica)
        if not primary.replicas:
            primary.migrate_to = False
        replica.primary = None

    def size(self) -> int:
        """The cluster's size in the sense of votes: primaries with at least one slot."""
        return sum(member.is_voter for member in self._by_id.values())

    def majority(self) -> int:
        """Votes, or agreeing primaries, needed to decide anything."""
        return self.size() // 2 + 1

    def max_config_epoch(self) -> int:
        return max(member.config_epoch for member in self._by_id.values())

    def forget(self, node_id: str, until_ms: int) -> None:
        """Do not learn this id again before ``until_ms``."""
        self._forgotten_until_ms[node_id] = until_ms
        if len(self._forgotten_until_ms) > MAX_FORGOTTEN:
            del self._forgotten_until_ms[next(iter(self._forgotten_until_ms))]

    def is_forgotten(self, node_id: str, now_ms: int) -> bool:
        return self._forgotten_until_ms.get(node_id, 0) > now_ms

    def forgotten(self, now_ms: int) -> list[tuple[str, int]]:
        """Ids still barred, with the ms left; drops those whose time is over."""
        self._forgotten_until_ms = {i: until for i, until in self._forgotten_until_ms.items() if until > now_ms}
        return [(node_id, until - now_ms) for node_id, until in self._forgotten_until_ms.items()]
