"""Finishing a cluster whose making was interrupted, and bringing its nodes together again when their addresses changed.

`create --if-needed` runs at every start of a stack of containers. What it finds may be empty nodes, a whole cluster, or
anything that an earlier run left when it was killed: slots without MEET, a MEET without replicas. And containers that
were made anew know each other by addresses that are gone. The plan is the same every time (`cluster.plan`), so each
step asks what is there, and does what is missing. It never takes slots from a node that has them, and never makes a
replica of a node that holds keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from slotmesh.cluster.plan import Address, Layout
from slotmesh.cluster.slot_set import ALL_SLOTS, SlotSet
from slotmesh.cluster.terms import FLAG_HANDSHAKE
from slotmesh.tools.clusterctl.agreement import open_links, poll_until, wait_for_state_ok
from slotmesh.tools.clusterctl.connect import Access, NodeLink, for_each
from slotmesh.tools.clusterctl.errors import Refused
from slotmesh.tools.clusterctl.forming import (
    FORM_DEADLINE_S,
    follow,
    introduce,
    not_yet_met,
    wait_for_replica_links,
    why_not_fresh,
)
from slotmesh.tools.clusterctl.view import Node, ask_node, union


@attrs.frozen
class Unfinished:
    """What the nodes of a planned cluster still lack; all empty for a cluster that is whole."""

    nodes: Mapping[Address, Node]
    strangers: bool
    """Whether two of the nodes are not connected."""
    slots: Mapping[Address, SlotSet]
    """Slots that nobody owns, by the node that is to have them."""
    followers: Mapping[Address, Address]
    """Nodes that are to become replicas, and of which planned primary."""

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was begun at all."""
        return all(why_not_fresh(node) is None for node in self.nodes.values())

    @property
    def is_whole(self) -> bool:
        return not (self.strangers or self.slots or self.followers)

    def describe(self) -> list[str]:
        """The steps to come, a line each."""
        lines = [f"{address} gets the slots {slots.to_text()}" for address, slots in self.slots.items()]
        if self.strangers:
            lines.append("all nodes meet")
        return lines + [f"{replica} becomes a replica of {primary}" for replica, primary in self.followers.items()]


def look(layout: Layout, access: Access) -> Unfinished:
    """Compare the nodes of a planned cluster with the plan. `Refused` when one holds keys and no slots."""
    planned = {replica: shard.primary for shard in layout.shards for replica in shard.replicas}
    addresses = [shard.primary for shard in layout.shards] + list(planned)
    nodes = dict(zip(addresses, for_each(addresses, lambda address: ask_node(address, access)), strict=True))
    for node in nodes.values():
        if node.is_primary and node.key_count and not node.slots:
            raise Refused(
                f"{node.address} holds {node.key_count:,} keys and owns no slots",
                "save what is needed of them, then FLUSHALL there",
            )
    ids = {node.id for node in nodes.values()}
    owned = union(node.slots for node in nodes.values())
    owned |= union(line.slots for node in nodes.values() for line in node.seen if line.id not in ids)
    slots = {}
    for shard in layout.shards:
        missing = shard.slots & (ALL_SLOTS - owned)
        if not missing:
            continue
        if not nodes[shard.primary].is_primary:
            raise Refused(
                f"{len(missing)} slots have no owner, and {shard.primary} is a replica", "`clusterctl fix` heals"
            )
        slots[shard.primary] = missing
    followers = {}
    for replica, primary in planned.items():
        node = nodes[replica]
        if node.is_primary and not node.slots:
            followers[replica] = primary
    return Unfinished(nodes, any(_knows_not_all(node, ids) for node in nodes.values()), slots, followers)


def _knows_not_all(node: Node, ids: set[str]) -> bool:
    linked = {line.id for line in node.seen if line.link_up and not line.flags & FLAG_HANDSHAKE}
    return not ids <= linked | {node.id}


def finish(work: Unfinished, access: Access) -> None:
    """Do what is missing, and return when the cluster serves all slots and its replicas are in sync."""
    with open_links(list(work.nodes), access) as links:
        by_address = {link.address: link for link in links}
        _give_epochs(work, links)
        for address, slots in work.slots.items():
            by_address[address].call("CLUSTER", "ADDSLOTS", *slots)
        if work.strangers:
            introduce(links)
            poll_until(lambda: not_yet_met(links), FORM_DEADLINE_S)
        for replica, primary in work.followers.items():
            follow(by_address[replica], _shard_head(work.nodes[primary]))
    wait_for_replica_links(list(work.followers), access)
    wait_for_state_ok(list(work.nodes), access, FORM_DEADLINE_S)


def _shard_head(node: Node) -> str:
    """The id of the primary of the shard of `node`, which a failover may have made a replica meanwhile."""
    return node.id if node.line.primary_id is None else node.line.primary_id


def _give_epochs(work: Unfinished, links: Sequence[NodeLink]) -> None:
    """Nodes that are still alone get epochs that differ, so that they need not sort that out when they meet."""
    taken = {node.line.config_epoch for node in work.nodes.values()}
    free = (epoch for epoch in range(1, 2 * len(links) + 2) if epoch not in taken)
    for link in links:
        node = work.nodes[link.address]
        if len(node.seen) == 1 and node.line.config_epoch == 0:
            link.call("CLUSTER", "SET-CONFIG-EPOCH", next(free))
