"""The cluster as its nodes describe it: one snapshot, read by every verb.

Any node lists all others (CLUSTER NODES), but only from its own point of view, and the open slots only for itself. So
the view asks every node, in parallel, and keeps all answers: what a node says about itself is the truth about its slots
and epoch, what the others say shows whether the gossip has settled. A node that cannot be reached is described by the
others.

Line format of CLUSTER NODES (https://redis.io/docs/latest/commands/cluster-nodes/):
`id ip:port@cport[,hostname[,aux=value]*] flags primary ping-sent pong-recv config-epoch link-state slot...`, where a
slot is `n`, `first-last`, `[n->-id]` (migrating away) or `[n-<-id]` (importing).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from slotmesh.cluster.numbers import UINT64_MAX, to_uint
from slotmesh.cluster.plan import Address
from slotmesh.cluster.slot_set import ALL_SLOTS, NO_SLOTS, SlotSet
from slotmesh.cluster.slots import SLOT_COUNT
from slotmesh.cluster.terms import (
    FLAG_FAIL,
    FLAG_HANDSHAKE,
    FLAG_MYSELF,
    FLAG_NOADDR,
    FLAG_PFAIL,
    FLAG_REPLICA,
    decode_flags,
)
from slotmesh.tools.clusterctl.connect import Access, NodeLink, for_each, words
from slotmesh.tools.clusterctl.errors import (
    CannotConnect,
    ClusterctlError,
    OperationFailed,
    ServerError,
    StillLoading,
    UsageMistake,
    WrongPassword,
)

SlotMap = tuple[tuple[str, int], ...]
"""A comparable slot map: (node id, slot mask) of every node with slots, by id."""

_ASKED_SETTINGS = ("min-replicas-to-write", "stop-writes-on-bgsave-error")
"""What decides about writes and does not stand in INFO."""


@attrs.frozen
class NodeLine:
    """One line of CLUSTER NODES. `address.port` is 0 for a node of which only the id is known."""

    id: str
    address: Address
    flags: int
    primary_id: str | None
    config_epoch: int
    link_up: bool
    slots: SlotSet
    migrating: Mapping[int, str]
    importing: Mapping[int, str]

    @property
    def is_replica(self) -> bool:
        return bool(self.flags & FLAG_REPLICA)


@attrs.frozen
class Node:
    """One member of the cluster. For an unreachable one, `line` is what another node says, and `error` why.

    `settings` are those of `_ASKED_SETTINGS` that it tells us. One that still loads its data counts as unreachable.
    """

    line: NodeLine
    seen: tuple[NodeLine, ...] = ()
    cluster_info: Mapping[str, str] = attrs.field(factory=dict)
    info: Mapping[str, str] = attrs.field(factory=dict)
    error: str | None = None
    loading: bool = False
    settings: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def id(self) -> str:
        return self.line.id

    @property
    def short_id(self) -> str:
        return self.line.id[:8]

    @property
    def address(self) -> Address:
        return self.line.address

    @property
    def reachable(self) -> bool:
        return self.error is None

    @property
    def is_primary(self) -> bool:
        return not self.line.is_replica

    @property
    def slots(self) -> SlotSet:
        return self.line.slots

    @property
    def failed(self) -> bool:
        """Whether the cluster itself has declared it failed."""
        return bool(self.line.flags & FLAG_FAIL)

    @property
    def name(self) -> str:
        """Address and short id, for messages."""
        return f"{self.address} ({self.short_id})"

    @property
    def key_count(self) -> int:
        """Keys in database 0, from INFO keyspace (`db0:keys=3,expires=0,...`)."""
        fields = self.info.get("db0", "")
        return to_uint(fields.partition(",")[0].removeprefix("keys=")) or 0

    @property
    def replica_link_up(self) -> bool:
        """For a replica: whether it is connected to its primary and in sync."""
        return self.info.get("master_link_status") == "up"

    @property
    def offset(self) -> int:
        """Replication offset in bytes; the larger, the more of the primary's writes are here."""
        field = "master_repl_offset" if self.is_primary else "slave_repl_offset"
        return to_uint(self.info.get(field, "")) or 0

    def slot_map(self) -> SlotMap:
        """Who owns what, as this node sees it."""
        return tuple(sorted((line.id, line.slots.mask) for line in self.seen if line.slots))

    def describe(self) -> dict[str, Any]:
        """The node for JSON output. `slots` holds [first, last] pairs; fields that only the node knows are null."""
        return {
            "id": self.id,
            "address": str(self.address),
            "host": self.address.host,
            "port": self.address.port,
            "role": "primary" if self.is_primary else "replica",
            "primary_id": self.line.primary_id,
            "reachable": self.reachable,
            "error": self.error,
            "failed": self.failed,
            "config_epoch": self.line.config_epoch,
            "slots": [list(run) for run in self.slots.ranges()],
            "slot_count": len(self.slots),
            "keys": self.key_count if self.reachable else None,
            "replication_offset": self.offset if self.reachable else None,
            "replica_link_up": self.replica_link_up if self.reachable and not self.is_primary else None,
            "migrating": {str(slot): node for slot, node in self.line.migrating.items()},
            "importing": {str(slot): node for slot, node in self.line.importing.items()},
        }


def parse_nodes(text: str, asked: Address) -> list[NodeLine]:
    """All lines of a CLUSTER NODES reply. `asked` stands in for the address of a node that does not know its own."""
    return [_parse_line(line.split(" "), asked) for line in text.splitlines() if line.strip()]


def _parse_line(fields: Sequence[str], asked: Address) -> NodeLine:
    try:
        return _read_line(fields, asked)
    except (ValueError, IndexError):
        what = " ".join(fields)
        raise OperationFailed(f"{asked} sent a line of CLUSTER NODES that cannot be read: {what!r}") from None


def _number(text: str, most: int) -> int:
    value = to_uint(text, most)
    if value is None:
        raise ValueError(text)
    return value


def _read_line(fields: Sequence[str], asked: Address) -> NodeLine:
    if len(fields) < 8:
        raise IndexError
    flags = _parse_flags(fields[2])
    host, _, port = fields[1].partition(",")[0].partition("@")[0].rpartition(":")
    address = Address(host or asked.host, _number(port, 65535) or (asked.port if flags & FLAG_MYSELF else 0))
    if flags & FLAG_MYSELF and asked.host and not host:
        address = asked
    owned = NO_SLOTS
    migrating: dict[int, str] = {}
    importing: dict[int, str] = {}
    for word in fields[8:]:
        if not word.startswith("["):
            owned |= SlotSet.from_text(word)
        elif "->-" in word:
            slot, _, node = word.strip("[]").partition("->-")
            migrating[_number(slot, SLOT_COUNT - 1)] = node
        else:
            slot, _, node = word.strip("[]").partition("-<-")
            importing[_number(slot, SLOT_COUNT - 1)] = node
    primary_id = None if fields[3] == "-" else fields[3]
    epoch = _number(fields[6], UINT64_MAX)
    return NodeLine(fields[0], address, flags, primary_id, epoch, fields[7] == "connected", owned, migrating, importing)


def _parse_flags(text: str) -> int:
    flags = 0
    for word in text.split(","):
        try:
            flags |= decode_flags(word)
        except ValueError:
            continue  # a newer server's flag tells us nothing we act upon
    return flags


def parse_info(text: str) -> dict[str, str]:
    """INFO or CLUSTER INFO as a dict of field to text."""
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {field: value.strip() for field, colon, value in pairs if colon}


def ask_node(address: Address, access: Access) -> Node:
    """What the node at `address` says. `CannotConnect` when it says nothing."""
    with NodeLink(address, access) as link:
        nodes, cluster_info, info, *settings = link.batch(
            [
                ("CLUSTER", "NODES"),
                ("CLUSTER", "INFO"),
                ("INFO",),
                *(("CONFIG", "GET", name) for name in _ASKED_SETTINGS),
            ]
        )
    for reply in (nodes, cluster_info, info):
        if isinstance(reply, ServerError):
            if "cluster support disabled" in reply.text:
                raise UsageMistake(f"{address} is not a cluster node", "start it with `cluster-enabled yes`")
            raise reply
    seen = tuple(parse_nodes(words(nodes), address))
    mine = next((line for line in seen if line.flags & FLAG_MYSELF), None)
    if mine is None:
        raise OperationFailed(f"{address} does not list itself in CLUSTER NODES")
    return Node(mine, seen, parse_info(words(cluster_info)), parse_info(words(info)), settings=_settings(settings))


def _settings(replies: Iterable[Any]) -> dict[str, str]:
    """CONFIG GET's answers; a user who may not ask (ACL) gets on without."""
    pairs = (reply for reply in replies if isinstance(reply, list) and len(reply) == 2)
    return {words(name): words(value) for name, value in pairs}


@attrs.frozen
class ClusterView:
    """A snapshot of all members, ordered by address."""

    nodes: tuple[Node, ...]

    @classmethod
    def load(cls, seeds: Iterable[Address], access: Access) -> ClusterView:
        """Ask the first seed that answers, then everybody it knows of, and whoever those know of."""
        first = _first_answer(seeds, access)
        by_id: dict[str, Node] = {first.id: first}
        while True:
            unknown: dict[str, NodeLine] = {}
            for node in by_id.values():
                for line in node.seen:
                    if line.id not in by_id and not line.flags & FLAG_HANDSHAKE:
                        unknown.setdefault(line.id, line)
            if not unknown:
                break
            for node in for_each(unknown.values(), lambda line: _ask_member(line, access)):
                by_id[node.id] = node
        return cls(tuple(sorted(by_id.values(), key=lambda node: (node.address.host, node.address.port, node.id))))

    @property
    def reachable(self) -> list[Node]:
        return [node for node in self.nodes if node.reachable]

    @property
    def primaries(self) -> list[Node]:
        """All primaries, also unreachable ones."""
        return [node for node in self.nodes if node.is_primary]

    @property
    def live_primaries(self) -> list[Node]:
        return [node for node in self.nodes if node.is_primary and node.reachable]

    def replicas_of(self, primary_id: str) -> list[Node]:
        return [node for node in self.nodes if not node.is_primary and node.line.primary_id == primary_id]

    def get(self, node_id: str) -> Node | None:
        return next((node for node in self.nodes if node.id == node_id), None)

    def find(self, reference: str) -> Node:
        """The node named by an id, the unique beginning of one, HOST:PORT or PORT; `UsageMistake` otherwise."""
        wanted = reference.strip().lower()
        hits = [node for node in self.nodes if wanted in (str(node.address).lower(), str(node.address.port))]
        if not hits and wanted:
            hits = [node for node in self.nodes if node.id.startswith(wanted)]
        if len(hits) == 1:
            return hits[0]
        if hits:
            names = ", ".join(node.name for node in hits)
            raise UsageMistake(f"{reference!r} could be any of {names}", "give more of the id")
        raise UsageMistake(f"there is no node {reference!r} in this cluster", "`clusterctl nodes` lists them")

    def owned(self) -> dict[str, SlotSet]:
        """Slots per primary id, primaries without slots included, as each says of itself."""
        return {node.id: node.slots for node in self.primaries}

    def covered(self) -> SlotSet:
        """Slots with an owner that can be reached."""
        return union(node.slots for node in self.live_primaries)

    def uncovered(self) -> SlotSet:
        return ALL_SLOTS - self.covered()

    def open_slots(self) -> SlotSet:
        """Slots that some node has marked as migrating or importing."""
        return SlotSet(slot for node in self.nodes for slot in (*node.line.migrating, *node.line.importing))

    def dissenters(self) -> list[Node]:
        """Reachable nodes whose slot map is not the one most nodes have."""
        maps = {node.id: node.slot_map() for node in self.reachable}
        if not maps:
            return []
        common, _ = Counter(maps.values()).most_common(1)[0]
        return [node for node in self.reachable if maps[node.id] != common]

    def suspects(self, node: Node) -> bool:
        """Whether any reachable node suspects `node` (fail? or fail)."""
        marks = FLAG_FAIL | FLAG_PFAIL | FLAG_NOADDR
        return any(line.id == node.id and line.flags & marks for other in self.reachable for line in other.seen)


def union(sets: Iterable[SlotSet]) -> SlotSet:
    mask = 0
    for one in sets:
        mask |= one.mask
    return SlotSet.from_mask(mask)


def _first_answer(seeds: Iterable[Address], access: Access) -> Node:
    errors: list[CannotConnect] = []
    for seed in seeds:
        try:
            return ask_node(seed, access)
        except CannotConnect as error:
            errors.append(error)
    # A node that runs is the one to speak of. What it lacks is a password or time, not another address.
    if (alive := next((e for e in errors if isinstance(e, WrongPassword | StillLoading)), None)) is not None:
        raise alive
    if len(errors) == 1:
        raise CannotConnect(
            errors[0].message, "name another node with --node HOST:PORT; `clusterctl up` starts a local cluster"
        )
    raise CannotConnect(
        "none of the known nodes answers: " + "; ".join(error.message for error in errors),
        "name one that runs with --node HOST:PORT; `clusterctl up` starts a local cluster",
    )


def _ask_member(line: NodeLine, access: Access) -> Node:
    if line.address.port == 0 or line.flags & FLAG_NOADDR:
        return Node(line, error="the cluster has lost its address")
    try:
        node = ask_node(line.address, access)
    except ClusterctlError as error:
        return Node(line, error=error.message, loading=isinstance(error, StillLoading))
    if node.id != line.id:
        return Node(line, error=f"another node ({node.short_id}) answers at {line.address}")
    return node
