"""What this node tells about the cluster: the data behind CLUSTER NODES, SLOTS, SHARDS, LINKS, INFO and REPLICAS.

Plain data, no reply formatting: which endpoint a client is shown, and RESP, are the command layer's. Members are
returned as they are; they are to be read, not kept.
"""

from __future__ import annotations

from attrs import frozen

from slotmesh.cluster.members import Link, Member
from slotmesh.cluster.messages import TYPE_NAMES
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.snapshot import save_member
from slotmesh.cluster.state_file import encode_node_line
from slotmesh.cluster.view import ClusterView


@frozen
class SlotRange:
    """One entry of CLUSTER SLOTS: a run of slots, their owner, and its replicas that can serve reads."""

    first: int
    last: int
    primary: Member
    replicas: tuple[Member, ...]


@frozen
class Shard:
    """One entry of CLUSTER SHARDS. ``nodes`` has the primary first; ``shard_id`` may be empty (stock 7.0 peers)."""

    shard_id: str
    slots: SlotSet
    nodes: tuple[Member, ...]


def offset_of(view: ClusterView, member: Member) -> int:
    """A member's replication offset, as last heard; our own as it is."""
    return view.replication.offset if member.is_myself else member.offset


def health_of(view: ClusterView, member: Member) -> str:
    """``online``, ``loading`` (a replica without data yet) or ``fail``, as in CLUSTER SHARDS."""
    if member.failed:
        return "fail"
    return "loading" if member.is_replica and offset_of(view, member) == 0 else "online"


def node_line(view: ClusterView, member: Member, *, plain_port: bool = False) -> str:
    """One line of CLUSTER NODES."""
    return encode_node_line(save_member(member, view.slots, plain_port=plain_port))


def nodes_text(view: ClusterView, *, plain_port: bool = False, seen_from: str = "") -> str:
    """CLUSTER NODES; ``plain_port`` for a client without TLS in a TLS cluster, ``seen_from`` the one host that a client
    reaches all nodes under (empty: each under its own address)."""
    return "".join(
        encode_node_line(save_member(member, view.slots, plain_port=plain_port, told_ip=seen_from)) + "\n"
        for member in view.members
    )


def slot_ranges(view: ClusterView) -> list[SlotRange]:
    """CLUSTER SLOTS, ascending."""
    found = [(first, last, member) for member in view.members for first, last in member.slots.ranges()]
    found.sort(key=lambda one: one[0])
    return [
        SlotRange(first, last, owner, tuple(r for r in owner.replicas if health_of(view, r) == "online"))
        for first, last, owner in found
    ]


def shards(view: ClusterView) -> list[Shard]:
    """CLUSTER SHARDS: one per primary, with or without slots."""
    return [Shard(m.shard_id, m.slots, (m, *m.replicas)) for m in view.members if m.is_primary]


def shards_by_id(view: ClusterView) -> list[Shard]:
    """CLUSTER SHARDS as 7.2 has it: primaries of one shard id are one entry, the owner of its slots first.

    That is so while a primary that was replaced has not learned of it, because it is down.
    """
    together: dict[str, Shard] = {}
    for shard in shards(view):
        key = shard.shard_id or shard.nodes[0].node_id
        known = together.get(key)
        if known is not None:
            first, second = (shard, known) if shard.slots else (known, shard)
            shard = Shard(shard.shard_id, first.slots, first.nodes + second.nodes)
        together[key] = shard
    return list(together.values())


def links(view: ClusterView) -> list[Link]:
    """CLUSTER LINKS: the links with known members, ours first."""
    found: list[Link] = []
    for member in view.members:
        found += [link for link in (member.link, member.inbound) if link is not None]
    return found


def info_fields(view: ClusterView) -> list[tuple[str, int | str]]:
    """CLUSTER INFO in stock's order, but for the buffer-limit counter that the driver owns."""
    slots_pfail = slots_fail = 0
    for member in view.members:
        if member.failed:
            slots_fail += len(member.slots)
        elif member.pfail:
            slots_pfail += len(member.slots)
    assigned = len(view.slots.assigned)
    fields: list[tuple[str, int | str]] = [
        ("cluster_state", "ok" if view.cluster_ok else "fail"),
        ("cluster_slots_assigned", assigned),
        ("cluster_slots_ok", assigned - slots_pfail - slots_fail),
        ("cluster_slots_pfail", slots_pfail),
        ("cluster_slots_fail", slots_fail),
        ("cluster_known_nodes", len(view.members)),
        ("cluster_size", view.members.size()),
        ("cluster_current_epoch", view.epochs.current_epoch),
        ("cluster_my_epoch", view.myself.told_epoch),
    ]
    for direction, counts in (("sent", view.sent_by_type), ("received", view.received_by_type)):
        pairs = zip(TYPE_NAMES, counts, strict=True)
        fields += [(f"cluster_stats_messages_{name}_{direction}", count) for name, count in pairs if count]
        fields.append((f"cluster_stats_messages_{direction}", sum(counts)))
    return fields
