"""Making a cluster out of empty nodes, and taking an empty node into one.

The order matters: slots and a config epoch of its own go to every node while it is still alone (two nodes that meet
with equal epochs would have to sort that out first), then all meet, then replicas are told whom to follow, which they
can only obey once they know that node. Every step waits for what the next one needs; nothing sleeps and hopes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slotmesh.cluster.plan import Address, Layout
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.tools.clusterctl.agreement import open_links, poll_until, wait_for_agreement, wait_for_state_ok
from slotmesh.tools.clusterctl.connect import Access, NodeLink, for_each, ip_of, words
from slotmesh.tools.clusterctl.errors import Refused, ServerError
from slotmesh.tools.clusterctl.view import Node, ask_node, parse_info, parse_nodes

FORM_DEADLINE_S = 60.0

_ALL_PAIRS_UP_TO = 16
"""Up to this many nodes all pairs are introduced, which saves a second or two of gossip; beyond it a star will do."""


def why_not_fresh(node: Node) -> str | None:
    """What stands in the way of taking `node` into a cluster, or None."""
    if len(node.seen) > 1:
        return f"{node.address} already belongs to a cluster of {len(node.seen)} nodes"
    if node.slots:
        return f"{node.address} already owns {len(node.slots)} slots"
    if node.key_count:
        return f"{node.address} holds {node.key_count:,} keys"
    return None


def require_fresh(address: Address, access: Access) -> Node:
    """The node at `address`, which must be alone, without slots and without keys."""
    node = ask_node(address, access)
    if (problem := why_not_fresh(node)) is not None:
        raise Refused(
            problem, "only empty nodes can join; when nothing on it is needed: FLUSHALL, then CLUSTER RESET HARD there"
        )
    return node


def form_cluster(layout: Layout, access: Access) -> Mapping[str, SlotSet]:
    """Turn fresh nodes into the cluster of `layout`; returns slots per node id when all nodes agree and serve."""
    primaries = [shard.primary for shard in layout.shards]
    members = primaries + [replica for shard in layout.shards for replica in shard.replicas]
    with open_links(members, access) as links:
        by_address = {link.address: link for link in links}
        slots_of = {shard.primary: shard.slots for shard in layout.shards}

        def prepare(numbered: tuple[int, NodeLink]) -> str:
            epoch, link = numbered
            link.call("CLUSTER", "SET-CONFIG-EPOCH", epoch)
            if slots := slots_of.get(link.address):
                link.call("CLUSTER", "ADDSLOTS", *slots)
            return words(link.call("CLUSTER", "MYID"))

        # Every node saves what it is told, so side by side: the syncs of all take hardly longer than that of one.
        told = for_each(enumerate(links, start=1), prepare)
        ids = dict(zip((link.address for link in links), told, strict=True))
        introduce(links)
        poll_until(lambda: not_yet_met(links), FORM_DEADLINE_S)
        pairs = [(replica, shard.primary) for shard in layout.shards for replica in shard.replicas]
        for_each(pairs, lambda pair: follow(by_address[pair[0]], ids[pair[1]]))
        owned = {ids[shard.primary]: shard.slots for shard in layout.shards}
    wait_for_agreement(members, access, owned, FORM_DEADLINE_S)
    replicas = [replica for shard in layout.shards for replica in shard.replicas]
    wait_for_replica_links(replicas, access)
    wait_for_state_ok(members, access, FORM_DEADLINE_S)
    return owned


def introduce(links: Sequence[NodeLink]) -> None:
    """Tell the nodes of each other. One that is known already under another address is found under the new one."""
    for index, link in enumerate(links):
        earlier = links[:index] if len(links) <= _ALL_PAIRS_UP_TO else links[: min(index, 1)]
        for other in earlier:
            link.call("CLUSTER", "MEET", ip_of(other.address), other.address.port)


def not_yet_met(links: Sequence[NodeLink]) -> str | None:
    for link in links:
        known = parse_nodes(words(link.call("CLUSTER", "NODES")), link.address)
        linked = sum(line.link_up for line in known)
        if linked < len(links):
            return f"{link.address} has met {linked - 1} of {len(links) - 1} other nodes"
    return None


def follow(link: NodeLink, primary_id: str, deadline_s: float = FORM_DEADLINE_S) -> None:
    """Make the node at `link` a replica of `primary_id`, waiting until gossip has told it about that primary."""

    def missing() -> str | None:
        try:
            link.call("CLUSTER", "REPLICATE", primary_id)
        except ServerError as error:
            if "Unknown node" in error.text or "only replicate a master" in error.text:
                return error.message
            raise
        return None

    poll_until(missing, deadline_s)


def wait_for_replica_links(replicas: Sequence[Address], access: Access, deadline_s: float = FORM_DEADLINE_S) -> None:
    """Until every replica is in sync with its primary."""

    def missing() -> str | None:
        for link in links:
            info = parse_info(words(link.call("INFO", "replication")))
            if info.get("master_link_status") != "up":
                return f"the replica {link.address} is not yet in sync with its primary"
        return None

    with open_links(replicas, access) as links:
        poll_until(missing, deadline_s)


def meet(newcomer: Address, members: Sequence[Address], access: Access) -> None:
    """Introduce a fresh node to a running cluster and wait until every member knows it, and it every member."""
    with open_links([newcomer, *members], access) as links:
        new, old = links[0], links[1:]
        new_id = words(new.call("CLUSTER", "MYID"))
        ids = [words(link.call("CLUSTER", "MYID")) for link in old]
        for link in old[:_ALL_PAIRS_UP_TO]:
            new.call("CLUSTER", "MEET", ip_of(link.address), link.address.port)

        def missing() -> str | None:
            for link in old:
                if not _connected_to(link, [new_id]):
                    return f"{link.address} is not yet connected to {newcomer}"
            return None if _connected_to(new, ids) else f"{newcomer} does not yet know all members"

        poll_until(missing, FORM_DEADLINE_S)


def _connected_to(link: NodeLink, ids: Sequence[str]) -> bool:
    lines = parse_nodes(words(link.call("CLUSTER", "NODES")), link.address)
    return set(ids) <= {line.id for line in lines if line.link_up}
