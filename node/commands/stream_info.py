"""XINFO: what a stream, its groups and their consumers look like from outside."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from slotmesh.cluster.numbers import wrapped
from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.help import help_reply
from slotmesh.node.commands.stream_args import KEY_SUB_READ, entries_reply, entry_reply
from slotmesh.node.spec.arguments import integer
from slotmesh.node.spec.registry import LOADING, READONLY, STALE, command, container
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_group import ENTRIES_READ_UNKNOWN, NEVER_ACTIVE, Consumer, Group
from slotmesh.node.types.stream_id import format_id

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

#: Up to so many nodes the size of stock's radix tree is computed exactly; beyond, it is projected from them.
_EXACT_NODES: Final = 1024
_KEY_BYTES: Final = 16
_DEFAULT_COUNT: Final = 10

container(
    "xinfo",
    group="stream",
    since="5.0.0",
    summary="Groups the commands that tell about streams.",
    categories=("-stream",),
)


def _stream(client: NodeClient, key: bytes) -> StreamValue:
    value = client.db.read_as(key, StreamValue)
    if value is None:
        raise CommandError(errors.NO_SUCH_KEY)
    return value


def radix_tree_nodes(keys: list[bytes], low: int = 0, high: int | None = None, depth: int = 0) -> int:
    """How many nodes stock's radix tree has for these sorted keys of equal length.

    A run of bytes without a choice is one node, a choice is one node, and each key ends in a node.
    """
    high = len(keys) if high is None else high
    if low == high:
        return 1
    first, last = keys[low], keys[high - 1]
    fork = depth
    while fork < len(first) and first[fork] == last[fork]:
        fork += 1
    nodes = 1 + (fork > depth)
    if high - low == 1:
        return nodes
    start = low
    for i in range(low + 1, high + 1):
        if i == high or keys[i][fork] != keys[start][fork]:
            nodes += radix_tree_nodes(keys, start, i, fork + 1)
            start = i
    return nodes


def _radix_tree_nodes(value: StreamValue) -> int:
    masters = [node.master_id.to_bytes(_KEY_BYTES, "big") for node in value.nodes[:_EXACT_NODES]]
    return radix_tree_nodes(masters) * max(len(value.nodes), 1) // max(len(masters), 1)


@command(
    "xinfo|stream",
    arity=-3,
    syntax="key [FULL [COUNT count]]",
    flags=READONLY,
    keys=KEY_SUB_READ,
    group="stream",
    since="5.0.0",
    complexity="O(1), O(N) with FULL, N the number of entries returned",
    summary="Tells about a stream.",
)
def cmd_xinfo_stream(client: NodeClient, argv: list[bytes]) -> Any:
    value = _stream(client, argv[2])
    options = [word.lower() for word in argv[3:]]
    if options and (options[0] != b"full" or len(options) not in (1, 3) or options[1:2] not in ([], [b"count"])):
        raise CommandError(errors.subcommand_syntax(b"xinfo", argv[1]))
    reply: dict[bytes, Any] = {
        b"length": len(value),
        b"radix-tree-keys": len(value.nodes),
        b"radix-tree-nodes": _radix_tree_nodes(value),
        b"last-generated-id": format_id(value.last_id),
        b"max-deleted-entry-id": format_id(value.max_deleted_id),
        b"entries-added": _counter(value.entries_added),
        b"recorded-first-entry-id": format_id(value.first_id),
    }
    if value.sent is not None:  # else the reply is that of a server without IDMP
        producers, messages = value.sent.counts(client.db.keyspace.now_ms)
        reply[b"idmp-duration"] = value.sent.duration_s
        reply[b"idmp-maxsize"] = value.sent.max_messages
        reply[b"pids-tracked"], reply[b"iids-tracked"] = producers, messages
        reply[b"iids-added"], reply[b"iids-duplicates"] = value.sent.added, value.sent.duplicates
    if not options:
        first, last = value.range(count=1), value.range_reversed(count=1)
        reply[b"groups"] = len(value.groups)
        reply[b"first-entry"] = entry_reply(*first[0]) if first else None
        reply[b"last-entry"] = entry_reply(*last[0]) if last else None
        return reply
    count = integer(argv[5]) if len(argv) > 5 else _DEFAULT_COUNT
    if count < 0:
        count = _DEFAULT_COUNT
    reply[b"entries"] = entries_reply(value.range(count=count))
    reply[b"groups"] = [_full_group(value, group, count) for _, group in sorted(value.groups.items())]
    return reply


def _counter(number: int | None) -> int | None:
    """A counter as an int64: XSETID can push one beyond, and then stock's wraps around."""
    return None if number is None else wrapped(number)


def _read_counter(group: Group) -> int | None:
    return None if group.entries_read == ENTRIES_READ_UNKNOWN else _counter(group.entries_read)


def _full_group(value: StreamValue, group: Group, count: int) -> dict[bytes, Any]:
    pending = group.pel.values
    reply: dict[bytes, Any] = {
        b"name": group.name,
        b"last-delivered-id": format_id(group.last_id),
        b"entries-read": _read_counter(group),
        b"lag": _counter(value.lag_of(group)),
        b"pel-count": len(group.pel),
        b"pending": [
            (format_id(i), pending[i].consumer.name, pending[i].delivered_ms, pending[i].count)
            for i in islice(group.pel.ids(), count or None)
        ],
        b"consumers": [_full_consumer(consumer, count) for _, consumer in sorted(group.consumers.items())],
    }
    if len(group.unowned.pel):  # else the reply is that of a server without XNACK
        reply[b"nacked-count"] = len(group.unowned.pel)
    return reply


def _full_consumer(consumer: Consumer, count: int) -> dict[bytes, Any]:
    pending = consumer.pel.values
    reply: dict[bytes, Any] = {b"name": consumer.name, b"seen-time": consumer.seen_ms}
    if COMPAT.newer:
        reply[b"active-time"] = consumer.active_ms
    reply[b"pel-count"] = len(consumer.pel)
    reply[b"pending"] = [
        (format_id(i), pending[i].delivered_ms, pending[i].count) for i in islice(consumer.pel.ids(), count or None)
    ]
    return reply


@command(
    "xinfo|groups",
    arity=3,
    syntax="key",
    flags=READONLY,
    keys=KEY_SUB_READ,
    group="stream",
    since="5.0.0",
    complexity="O(N), N the number of groups",
    summary="Tells about the consumer groups of a stream.",
)
def cmd_xinfo_groups(client: NodeClient, argv: list[bytes]) -> Any:
    value = _stream(client, argv[2])
    return [
        {
            b"name": group.name,
            b"consumers": len(group.consumers),
            b"pending": len(group.pel),
            b"last-delivered-id": format_id(group.last_id),
            b"entries-read": _read_counter(group),
            b"lag": _counter(value.lag_of(group)),
        }
        for _, group in sorted(value.groups.items())
    ]


@command(
    "xinfo|consumers",
    arity=4,
    syntax="key groupname",
    flags=READONLY,
    keys=KEY_SUB_READ,
    group="stream",
    since="5.0.0",
    complexity="O(N), N the number of consumers",
    summary="Tells about the consumers of a group.",
    tips=(b"nondeterministic_output",),
)
def cmd_xinfo_consumers(client: NodeClient, argv: list[bytes]) -> Any:
    group = _stream(client, argv[2]).groups.get(argv[3])
    if group is None:
        raise CommandError(b"NOGROUP No such consumer group '%b' for key name '%b'" % (argv[3], argv[2]))
    now_ms = client.db.keyspace.now_ms
    found: list[dict[bytes, Any]] = []
    for name, consumer in sorted(group.consumers.items()):
        about: dict[bytes, Any] = {b"name": name, b"pending": len(consumer.pel)}
        about[b"idle"] = max(0, now_ms - consumer.seen_ms)
        if COMPAT.newer:
            active_ms = consumer.active_ms
            about[b"inactive"] = NEVER_ACTIVE if active_ms == NEVER_ACTIVE else max(0, now_ms - active_ms)
        found.append(about)
    return found


@command(
    "xinfo|help",
    arity=2,
    flags=LOADING | STALE,
    group="stream",
    since="5.0.0",
    complexity="O(1)",
    summary="Explains the subcommands.",
)
def cmd_xinfo_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"XINFO",
        (
            ("CONSUMERS <key> <groupname>", "Tell about the consumers of a group."),
            ("GROUPS <key>", "Tell about the groups of a stream."),
            ("STREAM <key> [FULL [COUNT <count>]", "Tell about a stream."),
        ),
    )
