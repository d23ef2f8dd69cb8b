"""A data set as the commands that make it: the base of a log with `aof-use-rdb-preamble no`.

Containers are built in batches, so that replaying never has to hold one enormous command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from slotmesh.cluster.numbers import INT64_MAX
from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.keyspace.markers import marker
from slotmesh.node.keyspace.nack_encoding import release_command
from slotmesh.node.persistence.snapshot import SnapshotOptions
from slotmesh.node.resp.encoder import encode_command, format_double
from slotmesh.node.types.hash import HashValue
from slotmesh.node.types.list import ListValue
from slotmesh.node.types.set import SetValue
from slotmesh.node.types.sorted_set import SortedSetValue
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_group import Group
from slotmesh.node.types.stream_id import format_id

Command = list[bytes]

_BATCH: Final = 64
_PROGRESS_EVERY: Final = 1024


def write_commands(
    write: Callable[[bytes], object],
    keyspace: Keyspace,
    options: SnapshotOptions,
    timestamps: bool,
    progress: Callable[[int], None] = lambda keys: None,
) -> None:
    """Write commands that rebuild every database. `timestamps`: begin with the time (`aof-timestamp-enabled`)."""
    if timestamps:
        write(b"#TS:%d\r\n" % time.time())
    for code in options.functions:
        write(encode_command([b"FUNCTION", b"LOAD", code]))
    keys = 0
    for db in keyspace.dbs:
        if len(db):
            write(encode_command([b"SELECT", b"%d" % db.index]))
        for key, value, expire_at_ms in db.items():
            commands = list(value_commands(key, value))
            if expire_at_ms is not None:
                commands.append([b"PEXPIREAT", key, b"%d" % expire_at_ms])
            write(b"".join(map(encode_command, commands)))
            keys += 1
            if not keys % _PROGRESS_EVERY:
                progress(keys)
            if options.key_delay_us > 0:
                time.sleep(options.key_delay_us / 1e6)


def value_commands(key: bytes, value: Any) -> Iterator[Command]:
    """The commands that make `value` under a key that does not exist."""
    kind = type(value)
    if kind is bytes or kind is bytearray:
        yield [b"SET", key, bytes(value)]
    elif kind is ListValue:
        yield from _batches([b"RPUSH", key], value)
    elif kind is SetValue:
        yield from _batches([b"SADD", key], value.listed())
    elif kind is SortedSetValue:
        pairs = [(format_double(score), member) for score, member in value]
        yield from _batches([b"ZADD", key], (part for pair in pairs for part in pair))
    elif kind is HashValue:
        yield from _batches([b"HMSET", key], (part for pair in value.fields.items() for part in pair))
        for field, at_ms in (value.ttls or {}).items():
            yield [b"HPEXPIREAT", key, b"%d" % at_ms, b"FIELDS", b"1", field]
    else:
        assert kind is StreamValue, kind
        yield from _stream_commands(key, value)


def _batches(head: Command, parts: Iterable[bytes]) -> Iterator[Command]:
    """`head` followed by at most 2 * `_BATCH` of `parts` (so that pairs stay together), as often as needed."""
    command = head.copy()
    for part in parts:
        command.append(part)
        if len(command) == len(head) + 2 * _BATCH:
            yield command
            command = head.copy()
    if len(command) > len(head):
        yield command


def _stream_commands(key: bytes, stream: StreamValue) -> Iterator[Command]:
    for entry_id, flat in stream:
        yield [b"XADD", key, format_id(entry_id), *flat]
    if not len(stream):  # an entry that is trimmed away at once leaves an empty stream
        yield [b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]
    # A payload may claim what XSETID refuses; nothing follows from such counters, but the log must load.
    added = max(min(stream.entries_added, INT64_MAX), len(stream))
    yield [
        b"XSETID",
        key,
        format_id(stream.last_id),
        b"ENTRIESADDED",
        b"%d" % added,
        b"MAXDELETEDID",
        format_id(min(stream.max_deleted_id, stream.last_id)),
    ]
    for group in stream.groups.values():
        yield from _group_commands(key, group)
    sent = stream.sent
    if sent is not None:
        settings = (b"IDMP-DURATION", b"%d" % sent.duration_s, b"IDMP-MAXSIZE", b"%d" % sent.max_messages)
        yield marker(b"XCFGSET", key, *settings)
        for producer, message, entry_id in sent.listed():
            yield marker(b"XIDMPRECORD", key, producer, message, format_id(entry_id))


def _group_commands(key: bytes, group: Group) -> Iterator[Command]:
    name = group.name
    yield [b"XGROUP", b"CREATE", key, name, format_id(group.last_id), b"ENTRIESREAD", b"%d" % group.entries_read]
    for consumer in group.consumers.values():
        yield [b"XGROUP", b"CREATECONSUMER", key, name, consumer.name]
    for entry_id in group.pel.ids():
        pending = group.pel.values[entry_id]
        if pending.consumer is group.unowned:
            continue
        yield [
            *(b"XCLAIM", key, name, pending.consumer.name, b"0", format_id(entry_id)),
            *(b"TIME", b"%d" % pending.delivered_ms, b"RETRYCOUNT", b"%d" % pending.count, b"JUSTID", b"FORCE"),
        ]
    for entry_id, pending in group.unowned.pel.values.items():  # in the order in which they were given back
        yield release_command(key, group, entry_id, pending.count)
