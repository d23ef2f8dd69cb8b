"""RDB objects to values: every type up to RDB 12.

Nothing that decodes here trusts a length or an order it can check: bad bytes end in FormatError, never in a value that
later commands stumble over. An empty container raises `EmptyValue`: files may hold one by an old bug of stock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from slotmesh.cluster.numbers import to_lenient_float
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.persistence.compact import decode_intset, decode_ziplist, decode_zipmap
from slotmesh.node.persistence.errors import FormatError
from slotmesh.node.persistence.listpack import Element, as_bytes, decode_listpack
from slotmesh.node.persistence.object_types import (
    HASH,
    HASH_LISTPACK,
    HASH_LISTPACK_EX,
    HASH_LISTPACK_EX_OLD,
    HASH_METADATA,
    HASH_METADATA_OLD,
    HASH_ZIPLIST,
    HASH_ZIPMAP,
    LIST,
    LIST_QUICKLIST,
    LIST_QUICKLIST_2,
    LIST_ZIPLIST,
    PACKED_NODE,
    PLAIN_NODE,
    SET,
    SET_INTSET,
    SET_LISTPACK,
    STREAM_LISTPACKS,
    STREAM_LISTPACKS_2,
    STREAM_LISTPACKS_3,
    STRING,
    ZSET,
    ZSET_2,
    ZSET_LISTPACK,
    ZSET_ZIPLIST,
)
from slotmesh.node.persistence.rdb_strings import Reader
from slotmesh.node.persistence.streams import decode_stream
from slotmesh.node.types.hash import LATEST_EXPIRY_MS, HashValue
from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.list import ListValue
from slotmesh.node.types.set import HASHTABLE, LISTPACK, SetValue, is_int64
from slotmesh.node.types.sorted_set import SortedSetValue
from slotmesh.node.types.stream import StreamValue

_MAX_EXPIRY_MS: Final = 1 << 48
_MODULE_NAME_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class EmptyValue(Exception):
    """The object is a container without elements."""


def decode_object(kind: int, reader: Reader) -> Any:
    """The value of object type `kind`. Raises FormatError (ShortRead included) or EmptyValue."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        if kind in (6, 7):
            name = skip_module(reader) if kind == 7 else "of a release candidate"
            raise reader.error(f"a value of the module type {name}, which is not available here")
        raise reader.error(f"unknown object type {kind}")
    value = decoder(reader)
    if not len(value) and type(value) not in (bytes, StreamValue):
        raise EmptyValue
    return value


def _read_strings(reader: Reader, count: int) -> list[bytes]:
    string = reader.string
    return [string() for _ in range(count)]


def _decode_list(reader: Reader) -> ListValue:
    return ListValue(_read_strings(reader, reader.length()))


def _decode_list_ziplist(reader: Reader) -> ListValue:
    return ListValue(decode_ziplist(reader.string()))


def _decode_quicklist(reader: Reader) -> ListValue:
    items: list[bytes] = []
    for _ in range(reader.length()):
        items += decode_ziplist(reader.string())
    return ListValue(items)


def _decode_quicklist_2(reader: Reader) -> ListValue:
    items: list[bytes] = []
    for _ in range(reader.length()):
        container = reader.length()
        if container == PLAIN_NODE:
            item = reader.string()
            if not item:
                raise reader.error("empty list node")  # an element so small never has a node of its own
            items.append(item)
        elif container == PACKED_NODE:
            items += as_bytes(decode_listpack(reader.string()))
        else:
            raise reader.error(f"unknown list node container {container}")
    return ListValue(items)


def _set_of(members: list[bytes]) -> SetValue:
    value = SetValue(members)
    if len(value) != len(members):
        raise FormatError("set with duplicate members")
    return value


def _decode_set(reader: Reader) -> SetValue:
    value = _set_of(_read_strings(reader, reader.length()))
    if COMPAT.newer and len(value) > LIMITS.set_max_intset_entries:
        value.form = HASHTABLE  # whatever else the members might fit into
    return value


def _decode_intset(reader: Reader) -> SetValue:
    return _set_of([b"%d" % number for number in decode_intset(reader.string())])


def _decode_set_listpack(reader: Reader) -> SetValue:
    value = _set_of(as_bytes(decode_listpack(reader.string())))
    if COMPAT.newer and all(map(is_int64, value.members)):  # no intset, as it had other members once
        value.form = LISTPACK if len(value) <= LIMITS.set_max_listpack_entries else HASHTABLE
    return value


def _sorted_set_of(pairs: list[tuple[bytes, float]], compact: bool = False) -> SortedSetValue:
    scores = dict(pairs)
    if len(scores) != len(pairs):
        raise FormatError("sorted set with duplicate members")
    if any(map(math.isnan, scores.values())):
        raise FormatError("sorted set with a score that is no number")
    value = SortedSetValue(scores)
    if compact:  # stock looks at the number of pairs only
        value.packed = len(scores) <= LIMITS.zset_max_listpack_entries
    return value


def _scored(texts: list[bytes]) -> SortedSetValue:
    if len(texts) % 2:
        raise FormatError("sorted set with an odd number of elements")
    pairs: list[tuple[bytes, float]] = []
    for member, text in zip(texts[::2], texts[1::2], strict=True):
        score = to_lenient_float(text)
        if score is None:
            raise FormatError("sorted set with a score that is no number")
        pairs.append((member, score))
    return _sorted_set_of(pairs, compact=True)


def _decode_zset(reader: Reader) -> SortedSetValue:
    return _sorted_set_of([(reader.string(), reader.text_double()) for _ in range(reader.length())])


def _decode_zset_2(reader: Reader) -> SortedSetValue:
    return _sorted_set_of([(reader.string(), reader.double()) for _ in range(reader.length())])


def _decode_zset_ziplist(reader: Reader) -> SortedSetValue:
    return _scored(decode_ziplist(reader.string()))


def _decode_zset_listpack(reader: Reader) -> SortedSetValue:
    return _scored(as_bytes(decode_listpack(reader.string())))


def _hash_of(flat: list[bytes], ttls: dict[bytes, int] | None = None, compact: bool = False) -> HashValue:
    if len(flat) % 2:
        raise FormatError("hash with an odd number of elements")
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    if 2 * len(fields) != len(flat):
        raise FormatError("hash with duplicate fields")
    value = HashValue(fields, ttls)
    if compact:  # stock looks at the number of fields only
        value.packed = len(fields) <= LIMITS.hash_max_listpack_entries
    return value


def _decode_hash(reader: Reader) -> HashValue:
    return _hash_of(_read_strings(reader, 2 * reader.length()))


def _decode_hash_zipmap(reader: Reader) -> HashValue:
    return _hash_of([text for pair in decode_zipmap(reader.string()) for text in pair])


def _decode_hash_ziplist(reader: Reader) -> HashValue:
    return _hash_of(decode_ziplist(reader.string()), compact=True)


def _decode_hash_listpack(reader: Reader) -> HashValue:
    return _hash_of(as_bytes(decode_listpack(reader.string())), compact=True)


def _decode_hash_listpack_ex(reader: Reader) -> HashValue:
    reader.take(8)  # the earliest expiry, which follows from the fields
    return _triples(decode_listpack(reader.string()))


def _decode_hash_listpack_ex_old(reader: Reader) -> HashValue:
    return _triples(decode_listpack(reader.string()))


def _triples(elements: list[Element]) -> HashValue:
    if len(elements) % 3:
        raise FormatError("hash with an incomplete field")
    texts = as_bytes(elements)
    flat: list[bytes] = []
    ttls: dict[bytes, int] = {}
    for i in range(0, len(texts), 3):
        flat += (texts[i], texts[i + 1])
        at_ms = elements[i + 2]
        if type(at_ms) is not int:
            raise FormatError("hash field with a bad expiry")
        if at_ms:
            ttls[texts[i]] = _checked_expiry(at_ms)
    return _hash_of(flat, ttls, compact=True)


def _checked_expiry(at_ms: int) -> int:
    if not 0 < at_ms < _MAX_EXPIRY_MS:
        raise FormatError("hash field with a bad expiry")
    return min(at_ms, LATEST_EXPIRY_MS)


def _decode_hash_metadata(reader: Reader) -> HashValue:
    return _expiring_fields(reader, reader.int64() - 1)


def _decode_hash_metadata_old(reader: Reader) -> HashValue:
    return _expiring_fields(reader, 0)


def _expiring_fields(reader: Reader, base_ms: int) -> HashValue:
    flat: list[bytes] = []
    ttls: dict[bytes, int] = {}
    for _ in range(reader.length()):
        at_ms = reader.length()
        field = reader.string()
        flat += (field, reader.string())
        if at_ms:
            ttls[field] = _checked_expiry(base_ms + at_ms)
    return _hash_of(flat, ttls)


_DECODERS: Final[dict[int, Callable[[Reader], Any]]] = {
    STRING: Reader.string,
    LIST: _decode_list,
    SET: _decode_set,
    ZSET: _decode_zset,
    HASH: _decode_hash,
    ZSET_2: _decode_zset_2,
    HASH_ZIPMAP: _decode_hash_zipmap,
    LIST_ZIPLIST: _decode_list_ziplist,
    SET_INTSET: _decode_intset,
    ZSET_ZIPLIST: _decode_zset_ziplist,
    HASH_ZIPLIST: _decode_hash_ziplist,
    LIST_QUICKLIST: _decode_quicklist,
    STREAM_LISTPACKS: lambda reader: decode_stream(reader, 1),
    HASH_LISTPACK: _decode_hash_listpack,
    ZSET_LISTPACK: _decode_zset_listpack,
    LIST_QUICKLIST_2: _decode_quicklist_2,
    STREAM_LISTPACKS_2: lambda reader: decode_stream(reader, 2),
    SET_LISTPACK: _decode_set_listpack,
    STREAM_LISTPACKS_3: lambda reader: decode_stream(reader, 3),
    HASH_METADATA_OLD: _decode_hash_metadata_old,
    HASH_LISTPACK_EX_OLD: _decode_hash_listpack_ex_old,
    HASH_METADATA: _decode_hash_metadata,
    HASH_LISTPACK_EX: _decode_hash_listpack_ex,
}


def skip_module(reader: Reader, aux: bool = False) -> str:
    """Read over a module's value (or its auxiliary record) and return the module type's name.

    The name is nine letters of six bits each in the upper bits of a 64-bit number.
    """
    number = reader.length()
    name = "".join(_MODULE_NAME_LETTERS[number >> shift & 63] for shift in range(58, 9, -6))
    if aux:
        reader.length(), reader.length()
    while (opcode := reader.length()) != 0:
        if opcode in (1, 2):
            reader.length()
        elif opcode == 3:
            reader.float32()
        elif opcode == 4:
            reader.double()
        elif opcode == 5:
            reader.string()
        else:
            raise reader.error(f"unknown module opcode {opcode}")
    return name
