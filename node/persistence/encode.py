"""Values to RDB objects: one type byte, then the payload. Files, DUMP and replication share this.

Written are the types of the 7.0 line, compact wherever OBJECT ENCODING says that the value is: a stock server that
loads them reports the same encodings. At compat-level 7.2 a packed set is of type 20, which came with version 11. A
hash with expiring fields exists only in the types 24 and 25 of Redis 7.4; `needs_field_expiry` tells, and files and
payloads then claim version 12 (docs/adr/0020).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.persistence.compact import encode_intset
from slotmesh.node.persistence.listpack import Element, encode_entry, encode_listpack, pack_entries
from slotmesh.node.persistence.object_types import (
    HASH,
    HASH_LISTPACK,
    HASH_LISTPACK_EX,
    HASH_METADATA,
    LIST_QUICKLIST_2,
    PACKED_NODE,
    PLAIN_NODE,
    SET,
    SET_INTSET,
    SET_LISTPACK,
    STREAM_LISTPACKS_2,
    STREAM_LISTPACKS_3,
    STRING,
    ZSET_2,
    ZSET_LISTPACK,
)
from slotmesh.node.persistence.rdb_strings import encode_double, encode_int64, encode_length, encode_string
from slotmesh.node.persistence.streams import encode_stream
from slotmesh.node.types.hash import HashValue
from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.list import ListValue
from slotmesh.node.types.list_nodes import alone_bytes, node_bounds
from slotmesh.node.types.listpack_size import EMPTY_LISTPACK_BYTES
from slotmesh.node.types.set import INTSET, LISTPACK, SetValue
from slotmesh.node.types.sorted_set import SortedSetValue
from slotmesh.node.types.stream import StreamValue

#: Stock allows so much for an entry's own bytes when it asks whether an element still fits into a node.
_ENTRY_ESTIMATE: Final = 8
_ANY_SIZE: Final = 1 << 62
_MAX_INTEGER_SCORE: Final = float((2**63 - 1) // 2)


def needs_field_expiry(value: object) -> bool:
    """Whether only RDB 12 can express `value`: a hash in which a field has an expiry."""
    return type(value) is HashValue and value.ttls is not None


class Encoder:
    """Encodes values; `compress` switches LZF on (`rdbcompression`)."""

    def __init__(self, compress: bool = True) -> None:
        self._compress = compress

    def encode(self, value: Any) -> tuple[int, bytes]:
        """(object type, payload) of a value."""
        kind = type(value)
        if kind is bytes:
            return STRING, self._string(value)
        return _ENCODERS[kind](self, value)

    def _string(self, data: bytes) -> bytes:
        return encode_string(data, self._compress)

    def _strings(self, count: int, items: Iterable[bytes]) -> bytes:
        compress = self._compress
        return encode_length(count) + b"".join([encode_string(item, compress) for item in items])

    def _bytearray(self, value: bytearray) -> tuple[int, bytes]:
        return STRING, self._string(bytes(value))

    def _list(self, value: ListValue) -> tuple[int, bytes]:
        nodes = [encode_length(container) + self._string(node) for container, node in list_nodes(value)]
        return LIST_QUICKLIST_2, encode_length(len(nodes)) + b"".join(nodes)

    def _set(self, value: SetValue) -> tuple[int, bytes]:
        if value.form == INTSET:
            return SET_INTSET, self._string(encode_intset(map(int, value.members)))
        if value.form == LISTPACK:
            return SET_LISTPACK, self._string(encode_listpack(value.members))
        return SET, self._strings(len(value.members), value.members)

    def _hash(self, value: HashValue) -> tuple[int, bytes]:
        if value.ttls is not None:
            return self._expiring_hash(value)
        flat = [text for pair in value.fields.items() for text in pair]
        if value.packed:
            return HASH_LISTPACK, self._string(encode_listpack(flat))
        return HASH, self._strings(len(value.fields), flat)

    def _expiring_hash(self, value: HashValue) -> tuple[int, bytes]:
        ttls = value.ttls
        assert ttls is not None
        first = min(ttls.values())
        if value.packed:
            # stock keeps the fields that expire in front, soonest first
            order = sorted(value.fields, key=lambda field: ttls.get(field, math.inf))
            elements: list[Element] = []
            for field in order:
                elements += (field, value.fields[field], ttls.get(field, 0))
            return HASH_LISTPACK_EX, encode_int64(first) + self._string(encode_listpack(elements))
        parts = [encode_int64(first), encode_length(len(value.fields))]
        for field, text in value.fields.items():
            at_ms = ttls.get(field)
            parts += (
                encode_length(0 if at_ms is None else at_ms - first + 1),
                self._string(field),
                self._string(text),
            )
        return HASH_METADATA, b"".join(parts)

    def _sorted_set(self, value: SortedSetValue) -> tuple[int, bytes]:
        if value.packed:
            entries: list[bytes] = []
            for score, member in value:
                entries += (encode_entry(member), encode_entry(score_element(score)))
            return ZSET_LISTPACK, self._string(pack_entries(entries))
        parts = [encode_length(len(value))]
        for score, member in reversed(value.slice(0, len(value))):  # from the greatest down, as stock loads fastest
            parts += (self._string(member), encode_double(score))
        return ZSET_2, b"".join(parts)

    def _stream(self, value: StreamValue) -> tuple[int, bytes]:
        if COMPAT.newer:
            return STREAM_LISTPACKS_3, encode_stream(value, self._string, 3)
        return STREAM_LISTPACKS_2, encode_stream(value, self._string, 2)


_ENCODERS: Final[dict[type, Callable[[Encoder, Any], tuple[int, bytes]]]] = {
    bytearray: Encoder._bytearray,
    ListValue: Encoder._list,
    SetValue: Encoder._set,
    HashValue: Encoder._hash,
    SortedSetValue: Encoder._sorted_set,
    StreamValue: Encoder._stream,
}


def score_element(score: float) -> Element:
    """A score as stock puts it into a listpack: an integer where it is one, else 17 significant digits."""
    if -_MAX_INTEGER_SCORE <= score <= _MAX_INTEGER_SCORE and score == int(score):
        return int(score)
    return b"%.17g" % score


def list_nodes(value: ListValue) -> Iterator[tuple[int, bytes]]:
    """The elements in nodes of the size that `list-max-listpack-size` allows: (container, content)."""
    limit, most = (_ANY_SIZE, _ANY_SIZE) if value.packed else node_bounds(LIMITS.list_max_listpack_size)
    alone = alone_bytes()
    entries: list[bytes] = []
    size = EMPTY_LISTPACK_BYTES
    for element in value.slice(0, len(value)):
        large = len(element) >= alone
        if entries and (large or size + len(element) + _ENTRY_ESTIMATE > limit or len(entries) >= most):
            yield PACKED_NODE, pack_entries(entries)
            entries, size = [], EMPTY_LISTPACK_BYTES
        if large:
            yield PLAIN_NODE, element
            continue
        entry = encode_entry(element)
        entries.append(entry)
        size += len(entry)
    if entries:
        yield PACKED_NODE, pack_entries(entries)
