"""CLUSTER SLOT-STATS: how many keys each slot of this shard has and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from slotmesh.cluster.slots import SLOT_COUNT
from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.cluster_args import host_of, slot_number
from slotmesh.node.spec.arguments import integer_between
from slotmesh.node.spec.registry import LOADING, STALE, command

if TYPE_CHECKING:
    from slotmesh.node.clustering.host import ClusterHost
    from slotmesh.node.server import NodeClient

_KEY_COUNT: Final = b"key-count"
_BAD_METRIC: Final = ErrorReply("ERR Unrecognized sort metric for ORDERBY.")
_BAD_LIMIT: Final = ErrorReply("ERR Limit has to lie in between 1 and 16384 (maximum number of slots).")
_TWICE: Final = ErrorReply("ERR Multiple filters of the same type are disallowed.")


@command(
    "cluster|slot-stats",
    arity=-4,
    syntax="<SLOTSRANGE start-slot end-slot | ORDERBY metric [LIMIT limit] [ASC | DESC]>",
    flags=LOADING | STALE,
    group="cluster",
    since="8.0.0",
    complexity="O(N), N the number of slots asked for; O(N*log(N)) with ORDERBY",
    summary="Returns the usage of the slots of this node's shard.",
    tips=(b"nondeterministic_output", b"request_policy:all_shards"),
)
def cmd_slot_stats(client: NodeClient, argv: list[bytes]) -> Any:
    host = host_of(client)
    metrics = _metrics(host)
    kind = argv[2].upper()
    if kind == b"SLOTSRANGE" and len(argv) == 5:
        first, last = slot_number(argv[3]), slot_number(argv[4])
        if first > last:
            raise CommandError(f"ERR Start slot number {first} is greater than end slot number {last}")
        chosen: Iterable[int] = (slot for slot in range(first, last + 1) if _is_ours(host, slot))
    elif kind == b"ORDERBY":
        chosen = _ordered(host, metrics, argv)
    else:
        raise CommandError(errors.subcommand_syntax(b"cluster", argv[1]))
    return [[slot, {name: read(slot) for name, read in metrics.items()}] for slot in chosen]


def _metrics(host: ClusterHost) -> dict[bytes, Callable[[int], int]]:
    """Name -> the value for a slot. Without `cluster-slot-stats-enabled` only what costs nothing is known."""
    metrics: dict[bytes, Callable[[int], int]] = {_KEY_COUNT: host.state.keyspace.dbs[0].count_in_slot}
    if host.state.config.cluster_slot_stats_enabled:
        stats = host.slot_stats
        metrics[b"cpu-usec"] = lambda slot: stats.nanos[slot] // 1000
        metrics[b"network-bytes-in"] = stats.bytes_in.__getitem__
        metrics[b"network-bytes-out"] = stats.bytes_out.__getitem__
    return metrics


def _is_ours(host: ClusterHost, slot: int) -> bool:
    view = host.core.view
    owner = view.slots.owners[slot]
    return owner is not None and owner is view.myself.shard_primary


def _ordered(host: ClusterHost, metrics: dict[bytes, Callable[[int], int]], argv: list[bytes]) -> list[int]:
    """ORDERBY metric [LIMIT n] [ASC|DESC]."""
    read = metrics.get(argv[3].lower())
    if read is None:
        raise CommandError(_BAD_METRIC)
    limit: int | None = None
    descending: bool | None = None
    words = iter(argv[4:])
    for word in words:
        option = word.upper()
        if option in (b"ASC", b"DESC"):
            if descending is not None:
                raise CommandError(_TWICE)
            descending = option == b"DESC"
        elif option == b"LIMIT" and (number := next(words, None)) is not None:
            if limit is not None:
                raise CommandError(_TWICE)
            limit = integer_between(number, 1, SLOT_COUNT, _BAD_LIMIT)
        else:
            raise CommandError(errors.SYNTAX)
    sign = 1 if descending is False else -1
    slots = (slot for slot in range(SLOT_COUNT) if _is_ours(host, slot))
    return sorted(slots, key=lambda slot: (sign * read(slot), slot))[:limit]
