"""DELREF and ACKED of XADD and XTRIM: trimming with a say in what consumer groups still refer to (Redis 8.2).

KEEPREF, the default, trims and leaves the references alone. DELREF removes those to the trimmed entries as well. ACKED
trims only what every group has read and acknowledged; what is still needed stays, even in between, and the stream stays
longer than asked for if need be. With `~` ACKED stops at the first node that cannot go as a whole.

A 7.0 server knows neither word: AOF and replicas get the trim and an XACK for each group, or an XDEL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slotmesh.node.types.stream_id import format_id

if TYPE_CHECKING:
    from slotmesh.node.commands.stream_args import Trimming
    from slotmesh.node.server import NodeClient
    from slotmesh.node.types.stream import StreamValue


def trim_with_references(
    client: NodeClient, key: bytes, value: StreamValue, trimming: Trimming
) -> tuple[int, list[list[bytes]]]:
    """Trim a stream that has groups; how many entries went, and what to tell beside `Trimming.outcome`."""
    if trimming.policy == b"ACKED":
        gone = _trim_acknowledged(client, value, trimming)
        return len(gone), [[b"XDEL", key, *map(format_id, gone)]] if gone else []
    candidates = value.ids_up_to(trimming.last_candidate(value), trimming.spare(value))
    removed = trimming.apply(client, value)
    told: list[list[bytes]] = []
    for name, group in value.groups.items():
        dropped = [format_id(entry_id) for entry_id in candidates[:removed] if group.acknowledge(entry_id)]
        if dropped:
            told.append([b"XACK", key, name, *dropped])
    return removed, told


def _trim_acknowledged(client: NodeClient, value: StreamValue, trimming: Trimming) -> list[int]:
    """Remove the oldest entries that no group needs any more, as far as the strategy wants; their IDs."""
    bound = trimming.spare(value)
    most = trimming.most(client)
    if most:
        bound = min(bound, most)
    groups = list(value.groups.values())
    last = min(trimming.last_candidate(value), *(group.last_id for group in groups))
    gone: list[int] = []
    for node in value.nodes:
        if len(gone) >= bound or node.ids[0] > last:
            break
        free = [i for i in node.ids if i <= last and not any(i in group.pel for group in groups)]
        if trimming.approximate and (len(free) < len(node.ids) or len(gone) + len(free) > bound):
            break
        gone += free[: bound - len(gone)]
    for entry_id in gone:
        value.remove(entry_id)
        value.max_deleted_id = max(value.max_deleted_id, entry_id)
    return gone
