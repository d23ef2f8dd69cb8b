"""Waiting until every node tells the same story.

Stock tools return as soon as the commands are sent; the gossip settles later, and the next command then finds "nodes
that disagree". Every verb of ours that changes the map ends here: it returns when all reachable nodes, replicas too,
show the same owners, know each other's roles, no slot is half-moved, and (when the caller knows it) the map is the
intended one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from slotmesh.cluster.plan import Address
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.terms import FLAG_MYSELF
from slotmesh.tools.clusterctl.connect import Access, NodeLink, for_each, words
from slotmesh.tools.clusterctl.errors import OperationFailed, StillLoading
from slotmesh.tools.clusterctl.view import NodeLine, SlotMap, parse_nodes

POLL_S = 0.05
AGREEMENT_DEADLINE_S = 60.0


def slot_map_of(owned: Mapping[str, SlotSet]) -> SlotMap:
    """The comparable form of an intended map."""
    return tuple(sorted((node, slots.mask) for node, slots in owned.items() if slots))


def poll_until(done: Callable[[], str | None], deadline_s: float) -> None:
    """Call `done` until it returns None; what it returns otherwise says what is missing, and ends up in the error.

    A node that says that it loads its data stops the clock: how long that takes is a matter of how much it has. A
    replica may load twice, its own files and then what its primary sends.
    """
    end = time.monotonic() + deadline_s
    while True:
        try:
            missing = done()
        except StillLoading:
            time.sleep(POLL_S)
            end = time.monotonic() + deadline_s
            continue
        if missing is None:
            return
        if time.monotonic() > end:
            raise OperationFailed(f"not within {deadline_s:.0f} s: {missing}", "`clusterctl check` shows the state")
        time.sleep(POLL_S)


@contextmanager
def open_links(addresses: Sequence[Address], access: Access) -> Iterator[list[NodeLink]]:
    """A link to each address, closed at the end."""
    links = [NodeLink(address, access) for address in addresses]
    try:
        yield links
    finally:
        for link in links:
            link.close()


def wait_for_agreement(
    addresses: Sequence[Address],
    access: Access,
    expected: Mapping[str, SlotSet] | None = None,
    deadline_s: float = AGREEMENT_DEADLINE_S,
    allow_open: bool = False,
) -> None:
    """Until the nodes at `addresses` agree on the owners, equal to `expected` if given, with no slot open.

    `allow_open` leaves half-moved slots out of it (a repair that is not finished yet).
    A node that stops answering meanwhile fails the wait: nobody knows what it believes.
    """
    target = None if expected is None else slot_map_of(expected)
    with open_links(addresses, access) as links:
        poll_until(lambda: disagreement(links, target, allow_open), deadline_s)


def disagreement(links: Sequence[NodeLink], target: SlotMap | None, allow_open: bool = False) -> str | None:
    """What keeps the nodes from agreeing (on `target` if given), or None."""
    answers = for_each(links, _nodes_of)
    maps: list[SlotMap] = []
    # What each says of itself: a primary that does not know its replica yet would ignore its wish to take over.
    roles = {line.id: line.primary_id for lines in answers for line in lines if line.flags & FLAG_MYSELF}
    for link, lines in zip(links, answers, strict=True):
        if not allow_open and any(line.migrating or line.importing for line in lines):
            return f"{link.address} still has an open slot"
        believed = {line.id: line.primary_id for line in lines}
        if any(believed.get(node, "") != primary for node, primary in roles.items()):
            return f"{link.address} does not yet know who is primary and who is replica"
        maps.append(slot_map_of({line.id: line.slots for line in lines}))
    wanted = maps[0] if target is None else target
    for link, one in zip(links, maps, strict=True):
        if one != wanted:
            return f"{link.address} does not yet know the new slot map"
    return None


def _nodes_of(link: NodeLink) -> list[NodeLine]:
    return parse_nodes(words(link.call("CLUSTER", "NODES")), link.address)


def wait_for_state_ok(addresses: Sequence[Address], access: Access, deadline_s: float = AGREEMENT_DEADLINE_S) -> None:
    """Until every node reports cluster_state:ok."""

    def problem(info: str) -> str | None:
        return None if "cluster_state:ok" in info else "reports cluster_state:fail"

    _wait_for_info(addresses, access, deadline_s, problem)


def wait_for_guard(addresses: Sequence[Address], access: Access, deadline_s: float = AGREEMENT_DEADLINE_S) -> None:
    """Until no node refuses writes for want of the sentinels' leases. Nodes that nobody guards do not speak of it."""

    def problem(info: str) -> str | None:
        return "has too few leases of the sentinels, and refuses writes" if "cluster_guard_state:fail" in info else None

    _wait_for_info(addresses, access, deadline_s, problem)


def _wait_for_info(
    addresses: Sequence[Address], access: Access, deadline_s: float, problem: Callable[[str], str | None]
) -> None:
    """Until `problem` finds none in the CLUSTER INFO of any node."""

    def missing() -> str | None:
        for link in links:
            if (found := problem(words(link.call("CLUSTER", "INFO")))) is not None:
                return f"{link.address} {found}"
        return None

    with open_links(addresses, access) as links:
        poll_until(missing, deadline_s)
