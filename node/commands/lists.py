"""List commands on one key. Those that move elements between lists, or wait for them, are in `lists_move.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.keyspace.notify import LIST
from slotmesh.node.resp.values import NULL_ARRAY, OK
from slotmesh.node.spec.arguments import INT64_MAX, integer, integer_between, negatable, positive_count
from slotmesh.node.spec.key_specs import KEY_DELETE, KEY_INSERT, KEY_READ, KEY_UPDATE, key_at
from slotmesh.node.spec.registry import DENYOOM, FAST, READONLY, WRITE, command
from slotmesh.node.types.list import ListValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_KEY_LOOK: Final = key_at(b"RO")
_KEY_POP: Final = key_at(b"RW", b"ACCESS", b"DELETE")
_RANK_ZERO: Final = ErrorReply(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from "
    "the end of the list"
)
_COUNT_NEGATIVE: Final = ErrorReply("ERR COUNT can't be negative")
_MAXLEN_NEGATIVE: Final = ErrorReply("ERR MAXLEN can't be negative")
#: LPOS compares this many elements at a time, so that a match near the start of a long list does not copy all of it.
_LPOS_CHUNK: Final = 1024


@command(
    "lpush",
    arity=-3,
    syntax="key element [element ...]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_INSERT,
    group="list",
    since="1.0.0",
    complexity="O(N), N the number of elements to add",
    summary="Puts elements in front of a list.",
)
def cmd_lpush(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    value = db.write(key)
    if type(value) is not ListValue:
        value = db.create(key, value, ListValue)
    if len(argv) == 3:
        length = value.push_first(argv[2])
        keyspace = db.keyspace
        keyspace.dirty += 1  # `changed`, written out
        if keyspace.observed:
            keyspace.on_changed(db.index, key, LIST, b"lpush")
        return length
    value.push_left(argv[2:])
    db.changed(key, LIST, b"lpush", len(argv) - 2)
    return len(value)


@command(
    "rpush",
    arity=-3,
    syntax="key element [element ...]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_INSERT,
    group="list",
    since="1.0.0",
    complexity="O(N), N the number of elements to add",
    summary="Appends elements to a list.",
)
def cmd_rpush(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    value = db.write(key)
    if type(value) is not ListValue:
        value = db.create(key, value, ListValue)
    if len(argv) == 3:
        length = value.push_last(argv[2])
        keyspace = db.keyspace
        keyspace.dirty += 1  # `changed`, written out
        if keyspace.observed:
            keyspace.on_changed(db.index, key, LIST, b"rpush")
        return length
    value.push_right(argv[2:])
    db.changed(key, LIST, b"rpush", len(argv) - 2)
    return len(value)


@command(
    "lpushx",
    arity=-3,
    syntax="key element [element ...]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_INSERT,
    group="list",
    since="2.2.0",
    complexity="O(N), N the number of elements to add",
    summary="Puts elements in front of a list that exists.",
)
def cmd_lpushx(client: NodeClient, argv: list[bytes]) -> Any:
    return 0 if client.db.write_as(argv[1], ListValue) is None else cmd_lpush(client, argv)


@command(
    "rpushx",
    arity=-3,
    syntax="key element [element ...]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_INSERT,
    group="list",
    since="2.2.0",
    complexity="O(N), N the number of elements to add",
    summary="Appends elements to a list that exists.",
)
def cmd_rpushx(client: NodeClient, argv: list[bytes]) -> Any:
    return 0 if client.db.write_as(argv[1], ListValue) is None else cmd_rpush(client, argv)


def _pop(client: NodeClient, argv: list[bytes], left: bool) -> Any:
    """LPOP and RPOP: one element, or with a count a list of up to so many."""
    db, key = client.db, argv[1]
    with_count = len(argv) == 3
    if len(argv) > 3:
        raise CommandError(errors.wrong_arity(b"lpop" if left else b"rpop"))
    count = positive_count(argv[2]) if with_count else 1
    value = db.write_as(key, ListValue)
    if value is None:
        return NULL_ARRAY if with_count else None
    if not count:
        return []
    taken = value.pop_left(count) if left else value.pop_right(count)
    db.changed(key, LIST, b"lpop" if left else b"rpop", len(taken))
    db.drop_if_empty(key, value)
    return taken if with_count else taken[0]


@command(
    "lpop",
    arity=-2,
    syntax="key [count]",
    flags=WRITE | FAST,
    keys=_KEY_POP,
    group="list",
    since="1.0.0",
    complexity="O(N), N the number of elements returned",
    summary="Takes elements off the front of a list.",
)
def cmd_lpop(client: NodeClient, argv: list[bytes]) -> Any:
    return _pop(client, argv, True)


@command(
    "rpop",
    arity=-2,
    syntax="key [count]",
    flags=WRITE | FAST,
    keys=_KEY_POP,
    group="list",
    since="1.0.0",
    complexity="O(N), N the number of elements returned",
    summary="Takes elements off the end of a list.",
)
def cmd_rpop(client: NodeClient, argv: list[bytes]) -> Any:
    return _pop(client, argv, False)


@command(
    "llen",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=_KEY_LOOK,
    group="list",
    since="1.0.0",
    complexity="O(1)",
    summary="Returns the length of a list.",
)
def cmd_llen(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.read_as(argv[1], ListValue)
    return 0 if value is None else len(value)


def _bounds(start: int, end: int, length: int) -> tuple[int, int]:
    """Inclusive, possibly negative indexes as a half-open range inside [0, length]; (0, 0) when it is empty."""
    if start < 0:
        start = max(start + length, 0)
    if end < 0:
        end += length
    end = min(end, length - 1)
    return (0, 0) if start > end else (start, end + 1)


@command(
    "lrange",
    arity=4,
    syntax="key start(integer) stop(integer)",
    flags=READONLY,
    keys=KEY_READ,
    group="list",
    since="1.0.0",
    complexity="O(N), N the number of elements returned",
    summary="Returns a range of elements.",
)
def cmd_lrange(client: NodeClient, argv: list[bytes]) -> Any:
    start, end = integer(argv[2]), integer(argv[3])
    value = client.db.read_as(argv[1], ListValue)
    if value is None:
        return []
    return value.slice(*_bounds(start, end, len(value)))


@command(
    "ltrim",
    arity=4,
    syntax="key start(integer) stop(integer)",
    flags=WRITE,
    keys=KEY_DELETE,
    group="list",
    since="1.0.0",
    complexity="O(N), N the number of elements removed",
    summary="Removes all elements outside a range.",
)
def cmd_ltrim(client: NodeClient, argv: list[bytes]) -> Any:
    start, end = integer(argv[2]), integer(argv[3])
    db, key = client.db, argv[1]
    value = db.write_as(key, ListValue)
    if value is not None:
        length = len(value)
        value.keep(*_bounds(start, end, length))
        db.changed(key, LIST, b"ltrim", length - len(value))
        db.drop_if_empty(key, value)
    return OK


@command(
    "lindex",
    arity=3,
    syntax="key index",
    flags=READONLY,
    keys=KEY_READ,
    group="list",
    since="1.0.0",
    complexity="O(1)",
    summary="Returns the element at an index.",
)
def cmd_lindex(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.read_as(argv[1], ListValue)
    if value is None:
        return None
    index, length = integer(argv[2]), len(value)
    if index < 0:
        index += length
    return value[index] if 0 <= index < length else None


@command(
    "lset",
    arity=4,
    syntax="key index element",
    flags=WRITE | DENYOOM,
    keys=KEY_UPDATE,
    group="list",
    since="1.0.0",
    complexity="O(1)",
    summary="Replaces the element at an index.",
)
def cmd_lset(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    value = db.write_as(key, ListValue)
    if value is None:
        raise CommandError(errors.NO_SUCH_KEY)
    index, length = integer(argv[2]), len(value)
    if index < 0:
        index += length
    if not 0 <= index < length:
        raise CommandError(errors.OUT_OF_RANGE)
    value[index] = argv[3]
    db.changed(key, LIST, b"lset")
    return OK


@command(
    "linsert",
    arity=5,
    syntax="key <BEFORE | AFTER> pivot element",
    flags=WRITE | DENYOOM,
    keys=KEY_INSERT,
    group="list",
    since="2.2.0",
    complexity="O(N), N the length of the list",
    summary="Inserts an element before or after another one.",
)
def cmd_linsert(client: NodeClient, argv: list[bytes]) -> Any:
    _, key, where, pivot, element = argv
    side = where.lower()
    if side not in (b"before", b"after"):
        raise CommandError(errors.SYNTAX)
    value = client.db.write_as(key, ListValue)
    if value is None:
        return 0
    index = value.find(pivot)
    if index < 0:
        return -1
    value.insert(index + (side == b"after"), element)
    client.db.changed(key, LIST, b"linsert")
    return len(value)


@command(
    "lrem",
    arity=4,
    syntax="key count element",
    flags=WRITE,
    keys=KEY_DELETE,
    group="list",
    since="1.0.0",
    complexity="O(N), N the length of the list",
    summary="Removes elements equal to a value.",
)
def cmd_lrem(client: NodeClient, argv: list[bytes]) -> Any:
    count = integer(argv[2])
    db, key = client.db, argv[1]
    value = db.write_as(key, ListValue)
    if value is None:
        return 0
    removed = value.remove(argv[3], count)
    if removed:
        db.changed(key, LIST, b"lrem", removed)
        db.drop_if_empty(key, value)
    return removed


@command(
    "lpos",
    arity=-3,
    syntax="key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
    flags=READONLY,
    keys=KEY_READ,
    group="list",
    since="6.0.6",
    complexity="O(N), N the number of elements looked at",
    summary="Returns the indexes of elements equal to a value.",
)
def cmd_lpos(client: NodeClient, argv: list[bytes]) -> Any:
    rank, count, most = 1, -1, 0
    for i in range(3, len(argv), 2):
        option = argv[i].lower()
        if option not in (b"rank", b"count", b"maxlen") or i + 1 >= len(argv):
            raise CommandError(errors.SYNTAX)
        if option == b"rank":
            rank = negatable(argv[i + 1])
            if not rank:
                raise CommandError(_RANK_ZERO)
        elif option == b"count":
            count = integer_between(argv[i + 1], 0, INT64_MAX, _COUNT_NEGATIVE)
        else:
            most = integer_between(argv[i + 1], 0, INT64_MAX, _MAXLEN_NEGATIVE)
    value = client.db.read_as(argv[1], ListValue)
    if value is None:
        return [] if count >= 0 else None
    length = len(value)
    most = min(most or length, length)
    wanted = abs(rank) - 1 + (1 if count < 0 else count or length)
    if rank > 0:
        found = _matches(value, argv[2], most, wanted)
    else:
        found = _matches_backwards(value, argv[2], most, wanted)
    found = found[abs(rank) - 1 :]
    if count >= 0:
        return found
    return found[0] if found else None


def _matches(value: ListValue, element: bytes, most: int, wanted: int) -> list[int]:
    """Up to `wanted` indexes of `element` among the first `most` elements, in order."""
    found: list[int] = []
    index = value.find(element)
    while 0 <= index < most:
        found.append(index)
        if len(found) == wanted:
            break
        index = value.find(element, index + 1)
    return found


def _matches_backwards(value: ListValue, element: bytes, most: int, wanted: int) -> list[int]:
    """Up to `wanted` indexes of `element` among the last `most` elements, from the end."""
    found: list[int] = []
    length = len(value)
    for stop in range(length, length - most, -_LPOS_CHUNK):
        start = max(stop - _LPOS_CHUNK, length - most)
        chunk = value.slice(start, stop)
        if element not in chunk:
            continue
        for offset in range(len(chunk) - 1, -1, -1):
            if chunk[offset] == element:
                found.append(start + offset)
                if len(found) == wanted:
                    return found
    return found
