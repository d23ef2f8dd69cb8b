"""Streams as RDB objects (versions 1 to 3 of the type are read, version 2 or 3 is written).

A stream is a sequence of nodes, each an ID and a listpack of entries that are relative to a master entry:

    count, deleted, n, field * n, 0, entry*        entry = flags, ms - master ms, seq - master seq,
                                                           [n, field * n unless SAME_FIELDS], values, element count

then its counters and its groups: name, last ID, the pending entries, and for each consumer which of them are its own.
Version 2 (7.0) added the first ID, the greatest deleted ID, the entries ever added and how many a group has read;
version 3 (7.2) a consumer's active time. Source: `rdbSaveObject` and the comments of `t_stream.c` in stock.

Pending entries that nobody owns (XNACK) are those of a consumer without a name that was never seen, in the order in
which they were given back: a stock server makes such a consumer of it, from which the entries can be claimed.

Entries deleted one by one stay in stock's listpacks with a flag; ours are gone, so we write none and count none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from slotmesh.cluster.numbers import wrapped
from slotmesh.node.persistence.errors import FormatError
from slotmesh.node.persistence.listpack import Element, as_bytes, decode_listpack, encode_entry, pack_entries
from slotmesh.node.persistence.rdb_strings import Reader, encode_int64, encode_length
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_group import (
    ENTRIES_READ_UNKNOWN,
    MAX_DELIVERIES,
    NEVER_ACTIVE,
    NEVER_SEEN,
    UNOWNED,
    Consumer,
    Group,
    Pending,
)
from slotmesh.node.types.stream_id import U64_MAX, pack_id, split_id
from slotmesh.node.types.stream_node import StreamNode

_DELETED: Final = 1
_SAME_FIELDS: Final = 2
_ID_BYTES: Final = 16


def encode_stream(stream: StreamValue, string: Callable[[bytes], bytes], version: int) -> bytes:
    """The payload of the type's version 2 or 3. `string` encodes an RDB string."""
    parts = [encode_length(len(stream.nodes))]
    for node in stream.nodes:
        parts += (string(node.master_id.to_bytes(_ID_BYTES, "big")), string(_encode_node(node)))
    parts.append(encode_length(len(stream)))
    for entry_id in (stream.last_id, stream.first_id, stream.max_deleted_id):
        parts += map(encode_length, split_id(entry_id))
    parts += (encode_length(stream.entries_added & U64_MAX), encode_length(len(stream.groups)))
    for name in sorted(stream.groups):
        _encode_group(parts, stream.groups[name], string, version)
    return b"".join(parts)


def _encode_node(node: StreamNode) -> bytes:
    names = node.names
    master_ms, master_seq = split_id(node.master_id)
    head: tuple[Element, ...] = (len(node.ids), 0, len(names), *names, 0)
    entries = [encode_entry(element) for element in head]
    same_flags, other_flags = encode_entry(_SAME_FIELDS), encode_entry(0)
    same_count = encode_entry(len(names) + 3)
    for entry_id, flat in zip(node.ids, node.entries, strict=True):
        ms, seq = split_id(entry_id)
        place = (encode_entry(wrapped(ms - master_ms)), encode_entry(wrapped(seq - master_seq)))
        if flat[::2] == names:
            entries += (same_flags, *place, *map(encode_entry, flat[1::2]), same_count)
        else:
            count = len(flat) // 2
            entries += (other_flags, *place, encode_entry(count), *map(encode_entry, flat), encode_entry(len(flat) + 4))
    return pack_entries(entries)


def _encode_group(parts: list[bytes], group: Group, string: Callable[[bytes], bytes], version: int) -> None:
    parts += (string(group.name), *map(encode_length, split_id(group.last_id)))
    parts += (encode_length(group.entries_read & U64_MAX), encode_length(len(group.pel)))
    for entry_id in group.pel.ids():
        pending = group.pel.values[entry_id]
        parts += (entry_id.to_bytes(_ID_BYTES, "big"), encode_int64(pending.delivered_ms), encode_length(pending.count))
    consumers = [group.consumers[name] for name in sorted(group.consumers)]
    released = list(group.unowned.pel.values)
    if released and UNOWNED not in group.consumers:
        consumers.insert(0, group.unowned)
    parts.append(encode_length(len(consumers)))
    for consumer in consumers:
        parts += (string(consumer.name), encode_int64(consumer.seen_ms))
        if version >= 3:
            parts.append(encode_int64(consumer.active_ms))
        ids = [] if consumer is group.unowned else list(consumer.pel.ids())
        if consumer.name == UNOWNED:
            ids += released
        parts.append(encode_length(len(ids)))
        parts += (entry_id.to_bytes(_ID_BYTES, "big") for entry_id in ids)


# -- decoding ------------------------------------------------------------------------------------------------------


def decode_stream(reader: Reader, version: int) -> StreamValue:
    """A stream of the type's version 1, 2 or 3. Raises FormatError."""
    stream = StreamValue()
    for _ in range(reader.length()):
        key = reader.string()
        if len(key) != _ID_BYTES:
            raise reader.error("stream node without an ID")
        node = _decode_node(int.from_bytes(key, "big"), decode_listpack(reader.string()))
        if node.ids:
            if stream.nodes and stream.nodes[-1].last_id >= node.ids[0]:
                raise reader.error("stream nodes out of order")
            stream.add_node(node)
    length = reader.length()
    if length != len(stream):
        raise reader.error("stream whose length is not that of its nodes")
    stream.last_id = _read_id(reader)
    if stream.last_id < stream.last_entry_id:
        raise reader.error("stream with an entry above its last ID")
    if version >= 2:
        _read_id(reader)  # the first ID, which follows from the nodes
        stream.max_deleted_id = _read_id(reader)
        stream.entries_added = reader.length()
    else:
        stream.entries_added = length
    for _ in range(reader.length()):
        group = _decode_group(reader, stream, version)
        if group.name in stream.groups:
            raise reader.error("duplicate consumer group")
        stream.groups[group.name] = group
    return stream


def _read_id(reader: Reader) -> int:
    ms = reader.length()
    return pack_id(ms, reader.length())


class _Cursor:
    """Walks over the elements of a node's listpack."""

    __slots__ = ("_at", "_elements")

    def __init__(self, elements: list[Element]) -> None:
        self._elements = elements
        self._at = 0

    def number(self) -> int:
        element = self._elements[self._at]
        self._at += 1
        if type(element) is not int:
            raise FormatError("stream entry with text in place of a number")
        return element

    def count(self) -> int:
        count = self.number()
        if not 0 <= count <= len(self._elements) - self._at:
            raise FormatError("stream entry with a bad count")
        return count

    def texts(self, count: int) -> list[bytes]:
        taken = self._elements[self._at : self._at + count]
        if len(taken) != count:
            raise IndexError
        self._at += count
        return as_bytes(taken)

    @property
    def at_end(self) -> bool:
        return self._at == len(self._elements)


def _decode_node(master_id: int, elements: list[Element]) -> StreamNode:
    cursor = _Cursor(elements)
    try:
        return _read_node(master_id, cursor)
    except IndexError:
        raise FormatError("stream node that ends inside an entry") from None


def _read_node(master_id: int, cursor: _Cursor) -> StreamNode:
    live, deleted = cursor.number(), cursor.number()
    names = tuple(cursor.texts(cursor.count()))
    if cursor.number() != 0:
        raise FormatError("stream node with a bad master entry")
    node = StreamNode(master_id, names)
    master_ms, master_seq = split_id(master_id)
    last_id = -1
    while not cursor.at_end:
        flags = cursor.number()
        ms, seq = cursor.number(), cursor.number()
        entry_id = pack_id(master_ms + ms & U64_MAX, master_seq + seq & U64_MAX)
        if entry_id <= last_id:
            raise FormatError("stream entries out of order")
        last_id = entry_id
        if flags & _SAME_FIELDS:
            values = cursor.texts(len(names))
            flat = [text for pair in zip(names, values, strict=True) for text in pair]
            expected = len(names) + 3
        else:
            flat = cursor.texts(2 * cursor.count())
            expected = len(flat) + 4
        if cursor.number() != expected:
            raise FormatError("stream entry with a wrong element count")
        if flags & _DELETED:
            node.deleted += 1
        else:
            node.append(entry_id, flat)
    if len(node.ids) != live or node.deleted != deleted:
        raise FormatError("stream node with a wrong count")
    node.last_id = max(last_id, master_id)
    return node


def _decode_group(reader: Reader, stream: StreamValue, version: int) -> Group:
    name = reader.string()
    last_id = _read_id(reader)
    entries_read = wrapped(reader.length()) if version >= 2 else _entries_before(stream, last_id)
    group = Group(name, last_id, max(entries_read, ENTRIES_READ_UNKNOWN))
    deliveries: dict[int, tuple[int, int]] = {}
    for _ in range(reader.length()):
        entry_id = int.from_bytes(reader.take(_ID_BYTES), "big")
        delivered_ms = reader.int64()
        if entry_id in deliveries:
            raise reader.error("duplicate pending entry")
        deliveries[entry_id] = (max(delivered_ms, 0), min(reader.length(), MAX_DELIVERIES))
    owners: dict[int, Consumer] = {}
    for _ in range(reader.length()):
        consumer = Consumer(reader.string(), max(reader.int64(), NEVER_SEEN))
        consumer.active_ms = max(reader.int64(), NEVER_ACTIVE) if version >= 3 else consumer.seen_ms
        if consumer.name in group.consumers:
            raise reader.error("duplicate consumer")
        if consumer.name == UNOWNED and consumer.seen_ms == NEVER_SEEN:
            group.unowned = consumer
        else:
            group.consumers[consumer.name] = consumer
        for _ in range(reader.length()):
            entry_id = int.from_bytes(reader.take(_ID_BYTES), "big")
            if entry_id in owners:
                raise reader.error("pending entry of two consumers")
            owners[entry_id] = consumer
    if owners.keys() != deliveries.keys():
        raise reader.error("pending entries that do not agree with those of the consumers")
    for entry_id, (delivered_ms, count) in deliveries.items():
        consumer = owners[entry_id]
        pending = Pending(consumer, delivered_ms, count)
        group.pel.set(entry_id, pending)
        if consumer is not group.unowned:
            consumer.pel.set(entry_id, pending)
    for entry_id, consumer in owners.items():
        if consumer is group.unowned:  # their order counts
            consumer.pel.set(entry_id, group.pel.values[entry_id])
    return group


def _entries_before(stream: StreamValue, entry_id: int) -> int:
    """How many entries up to `entry_id` were ever added, where an old file lets us know."""
    if not stream.entries_added:
        return 0
    if entry_id == stream.last_id or (not len(stream) and entry_id < stream.last_id):
        return stream.entries_added
    if entry_id < stream.first_id:
        return stream.entries_added - len(stream)
    if entry_id == stream.first_id:
        return stream.entries_added - len(stream) + 1
    return ENTRIES_READ_UNKNOWN
