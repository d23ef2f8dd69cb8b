"""A guarded cluster's shards, read from what its nodes say.

CLUSTER NODES works on every server since 3.0 and says who is whose replica, who owns slots and with which config epoch.
Shard ids are taken from CLUSTER SHARDS where it gives them. One view is one node's opinion at one moment: it may be old
(a node cut off from the rest) or incomplete (a node that has just joined). What is done with it is `guarding`'s matter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import frozen

from slotmesh.cluster.numbers import to_uint
from slotmesh.sentinel.effects import Reply
from slotmesh.sentinel.hello import MAX_PORT

_MIN_FIELDS = 8
_ID = re.compile(r"[0-9A-Za-z._-]{1,40}")
"""Ids become names of units and words of the file."""


@frozen
class NodeView:
    """One line of CLUSTER NODES."""

    node_id: str
    host: str
    port: int
    flags: tuple[str, ...]
    primary_id: str  # "" for a primary
    config_epoch: int
    linked: bool
    has_slots: bool

    @property
    def myself(self) -> bool:
        return "myself" in self.flags

    @property
    def is_primary(self) -> bool:
        return "master" in self.flags

    @property
    def usable(self) -> bool:
        """Whether the node is a known member with an address."""
        return self.port > 0 and not {"handshake", "noaddr"} & set(self.flags)


@frozen
class ShardView:
    """A primary that owns slots, with its replicas."""

    shard_id: str  # "" where the servers give none
    primary: NodeView
    replicas: tuple[NodeView, ...]

    def members(self) -> tuple[NodeView, ...]:
        return (self.primary, *self.replicas)


def parse_nodes(text: bytes) -> list[NodeView]:
    """The lines of CLUSTER NODES; lines that cannot be understood are left out."""
    views = []
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(" ")
        if len(fields) < _MIN_FIELDS:
            continue
        host, port = _split_address(fields[1])
        config_epoch = to_uint(fields[6])
        primary_id = "" if fields[3] == "-" else fields[3]
        if port < 0 or config_epoch is None or not all(map(_ID.fullmatch, (fields[0], primary_id or fields[0]))):
            continue
        has_slots = any(not slot.startswith("[") for slot in fields[8:] if slot)
        flags = tuple(fields[2].split(","))
        views.append(
            NodeView(fields[0], host, port, flags, primary_id, config_epoch, fields[7] == "connected", has_slots)
        )
    return views


def _split_address(field: str) -> tuple[str, int]:
    """`10.0.0.1:6379@16379,host,...`; the port is -1 when there is none to read."""
    address = field.split(",")[0].split("@")[0]
    host, colon, port = address.rpartition(":")
    number = to_uint(port, MAX_PORT)
    return (host, number) if colon and number is not None else ("", -1)


def parse_current_epoch(text: bytes) -> int:
    """`cluster_current_epoch` of CLUSTER INFO; 0 when it is not there."""
    for line in text.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"cluster_current_epoch":
            return to_uint(value) or 0
    return 0


def parse_shard_ids(reply: Reply) -> dict[str, str]:
    """Node id -> shard id, from CLUSTER SHARDS; empty where shards have no ids (stock 7.0)."""
    ids: dict[str, str] = {}
    for told in reply if isinstance(reply, list) else []:
        fields = _pairs(told)
        shard_id = fields.get(b"id")
        nodes = fields.get(b"nodes")
        if not isinstance(shard_id, bytes) or not isinstance(nodes, list):
            continue
        for one in nodes:
            node_id = _pairs(one).get(b"id")
            if not isinstance(node_id, bytes):
                continue
            node, shard = node_id.decode("ascii", "replace"), shard_id.decode("ascii", "replace")
            if _ID.fullmatch(node) and _ID.fullmatch(shard):
                ids[node] = shard
    return ids


def _pairs(reply: Reply) -> dict[bytes, Reply]:
    if not isinstance(reply, list):
        return {}
    return {name: value for name, value in zip(reply[::2], reply[1::2], strict=False) if isinstance(name, bytes)}


def group_shards(views: Sequence[NodeView], shard_ids: dict[str, str]) -> list[ShardView]:
    """The shards of a view: every primary that owns slots, with the replicas that follow it."""
    usable = [view for view in views if view.usable]
    followers: dict[str, list[NodeView]] = {}
    for view in usable:
        followers.setdefault(view.primary_id, []).append(view)
    return [
        ShardView(shard_ids.get(view.node_id, ""), view, tuple(followers.get(view.node_id, ())))
        for view in usable
        if view.is_primary and view.has_slots
    ]
