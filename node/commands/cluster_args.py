"""What the CLUSTER commands share: access to the core, argument rules, refusals as error replies (no command lives
here).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from slotmesh.cluster.admin import Admin
from slotmesh.cluster.errors import ClusterRefusal
from slotmesh.cluster.slots import SLOT_COUNT
from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.spec.arguments import integer_between, to_int64

if TYPE_CHECKING:
    from slotmesh.node.clustering.host import ClusterHost
    from slotmesh.node.server import NodeClient

BAD_SLOT: Final = ErrorReply("ERR Invalid or out of range slot")

_BATCHED: Final = frozenset(
    {Admin.set_slot_stable, Admin.set_slot_migrating, Admin.set_slot_importing, Admin.set_slot_node}
)
"""Orders that tools give by the hundred in one go: what follows is carried out once, before the replies of the pass."""


def host_of(client: NodeClient) -> ClusterHost:
    """The cluster part of this node. Raises CommandError outside a cluster."""
    host = client.server.cluster
    if host is None:
        raise CommandError(errors.NO_CLUSTER)
    return host


def order(client: NodeClient, give: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Give the core an order and carry out what follows before the reply. A refusal is an error reply."""
    host = host_of(client)
    try:
        result = give(host.core.admin(host.clock.now_ms()), *args, **kwargs)
    except ClusterRefusal as refusal:
        raise CommandError(f"ERR {refusal}") from None
    client.propagate_as()  # what follows from an order is propagated as it happens
    if give in _BATCHED:
        host.settle_before_replies()
    else:
        host.bus.settle()
    return result


def slot_number(text: bytes) -> int:
    """A slot argument."""
    return integer_between(text, 0, SLOT_COUNT - 1, BAD_SLOT)


def slot_ranges(args: list[bytes]) -> list[int]:
    """The slots of `first last [first last ...]`."""
    slots: list[int] = []
    for low, high in zip(args[::2], args[1::2], strict=True):
        first, last = slot_number(low), slot_number(high)
        if first > last:
            raise CommandError(f"ERR start slot number {first} is greater than end slot number {last}")
        slots += range(first, last + 1)
    return slots


def epoch(text: bytes) -> int | None:
    """An epoch argument, None unless it is a number."""
    return to_int64(text)
