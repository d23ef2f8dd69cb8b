"""Moving elements between lists, and popping from the first of several, at once or as soon as there is something.

A blocking command is its plain form that returns a `Block` where that finds nothing; it runs again when one of its
keys was written. AOF and replicas see only plain commands: LPOP, RPOP, LMOVE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.block import Block
from slotmesh.node.keyspace.notify import LIST
from slotmesh.node.resp.values import NULL_ARRAY
from slotmesh.node.spec.arguments import INT64_MAX, integer_between, timeout_ms
from slotmesh.node.spec.key_specs import KeySpec, key_at, keys_counted, keys_from
from slotmesh.node.spec.registry import BLOCKING, DENYOOM, NOSCRIPT, WRITE, command
from slotmesh.node.types.list import ListValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slotmesh.node.server import NodeClient

_POP_FLAGS: Final = (b"RW", b"ACCESS", b"DELETE")
KEYS_MOVE: Final[tuple[KeySpec, ...]] = key_at(*_POP_FLAGS) + key_at(b"RW", b"INSERT", index=2)
_KEYS_BEFORE_TIMEOUT: Final = keys_from(*_POP_FLAGS, last=-2)
_NUMKEYS: Final = ErrorReply("ERR numkeys should be greater than 0")
_COUNT: Final = ErrorReply("ERR count should be greater than 0")


def is_left(word: bytes) -> bool:
    """LEFT or RIGHT. Raises CommandError for anything else."""
    side = word.upper()
    if side == b"LEFT":
        return True
    if side == b"RIGHT":
        return False
    raise CommandError(errors.SYNTAX)


def source_list(client: NodeClient, key: bytes) -> ListValue | None:
    """The list to pop from. For a client that waits already, a key of another type is one that is not there yet."""
    if client.blocked is None:
        return client.db.write_as(key, ListValue)
    value = client.db.write(key)
    return value if type(value) is ListValue else None


def _move(client: NodeClient, source: bytes, target: bytes, from_left: bool, to_left: bool) -> bytes | None:
    """Move one element; None when there is none."""
    db = client.db
    value = source_list(client, source)
    if value is None:
        return None
    other = db.write_as(target, ListValue)
    if other is value:
        element = value.rotate(from_left, to_left)
    else:
        element = (value.pop_left() if from_left else value.pop_right())[0]
        if other is None:
            other = ListValue()
            db.put(target, other)
        if to_left:
            other.push_left((element,))
        else:
            other.push_right((element,))
    db.changed(target, LIST, b"lpush" if to_left else b"rpush", 0)
    db.changed(source, LIST, b"lpop" if from_left else b"rpop")
    db.drop_if_empty(source, value)
    return element


@command(
    "lmove",
    arity=5,
    syntax="source destination <LEFT | RIGHT> <LEFT | RIGHT>",
    flags=WRITE | DENYOOM,
    keys=KEYS_MOVE,
    group="list",
    since="6.2.0",
    complexity="O(1)",
    summary="Moves an element from an end of one list to an end of another.",
)
def cmd_lmove(client: NodeClient, argv: list[bytes]) -> Any:
    return _move(client, argv[1], argv[2], is_left(argv[3]), is_left(argv[4]))


@command(
    "rpoplpush",
    arity=3,
    syntax="source destination",
    flags=WRITE | DENYOOM,
    keys=KEYS_MOVE,
    group="list",
    since="1.2.0",
    complexity="O(1)",
    summary="Moves the last element of a list to the front of another.",
    deprecated=("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
)
def cmd_rpoplpush(client: NodeClient, argv: list[bytes]) -> Any:
    return _move(client, argv[1], argv[2], False, True)


def _wait_for_source(client: NodeClient, key: bytes, wait_ms: int) -> Block | None:
    """Nothing to move. As in stock, a client that may not wait gets a null, one that waited in vain a null array."""
    return None if client.deny_blocking or client.in_exec else Block([key], wait_ms)


@command(
    "blmove",
    arity=6,
    syntax="source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout(double)",
    flags=WRITE | DENYOOM | NOSCRIPT | BLOCKING,
    keys=KEYS_MOVE,
    group="list",
    since="6.2.0",
    complexity="O(1)",
    summary="Moves an element from one list to another, as soon as there is one.",
)
def cmd_blmove(client: NodeClient, argv: list[bytes]) -> Any:
    from_left, to_left = is_left(argv[3]), is_left(argv[4])
    wait_ms = timeout_ms(argv[5])
    element = _move(client, argv[1], argv[2], from_left, to_left)
    if element is None:
        return _wait_for_source(client, argv[1], wait_ms)
    client.propagate_as([b"LMOVE", *argv[1:5]])
    return element


@command(
    "brpoplpush",
    arity=4,
    syntax="source destination timeout(double)",
    flags=WRITE | DENYOOM | NOSCRIPT | BLOCKING,
    keys=KEYS_MOVE,
    group="list",
    since="2.2.0",
    complexity="O(1)",
    summary="Moves the last element of a list to the front of another, as soon as there is one.",
    deprecated=("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
)
def cmd_brpoplpush(client: NodeClient, argv: list[bytes]) -> Any:
    wait_ms = timeout_ms(argv[3])
    element = _move(client, argv[1], argv[2], False, True)
    if element is None:
        return _wait_for_source(client, argv[1], wait_ms)
    client.propagate_as([b"RPOPLPUSH", *argv[1:3]])
    return element


def _pop_first(client: NodeClient, keys: Sequence[bytes], left: bool, count: int) -> tuple[bytes, list[bytes]] | None:
    """Pop up to `count` elements of the first list that exists; its key and the elements."""
    db = client.db
    for key in keys:
        value = source_list(client, key)
        if value is None:
            continue
        taken = value.pop_left(count) if left else value.pop_right(count)
        db.changed(key, LIST, b"lpop" if left else b"rpop", len(taken))
        db.drop_if_empty(key, value)
        return key, taken
    return None


def _blocking_pop(client: NodeClient, argv: list[bytes], left: bool) -> Any:
    """BLPOP and BRPOP."""
    wait_ms = timeout_ms(argv[-1])
    found = _pop_first(client, argv[1:-1], left, 1)
    if found is None:
        return Block(argv[1:-1], wait_ms)
    key, taken = found
    client.propagate_as([b"LPOP" if left else b"RPOP", key])
    return [key, taken[0]]


@command(
    "blpop",
    arity=-3,
    syntax="key [key ...] timeout(double)",
    flags=WRITE | NOSCRIPT | BLOCKING,
    keys=_KEYS_BEFORE_TIMEOUT,
    group="list",
    since="2.0.0",
    complexity="O(N), N the number of keys",
    summary="Takes the first element of the first list that has one, as soon as there is one.",
)
def cmd_blpop(client: NodeClient, argv: list[bytes]) -> Any:
    return _blocking_pop(client, argv, True)


@command(
    "brpop",
    arity=-3,
    syntax="key [key ...] timeout(double)",
    flags=WRITE | NOSCRIPT | BLOCKING,
    keys=_KEYS_BEFORE_TIMEOUT,
    group="list",
    since="2.0.0",
    complexity="O(N), N the number of keys",
    summary="Takes the last element of the first list that has one, as soon as there is one.",
)
def cmd_brpop(client: NodeClient, argv: list[bytes]) -> Any:
    return _blocking_pop(client, argv, False)


def _parse_mpop(argv: list[bytes], at: int) -> tuple[list[bytes], bool, int]:
    """(keys, from the left, count) of `numkeys key... LEFT|RIGHT [COUNT n]` from index `at` on."""
    numkeys = integer_between(argv[at], 1, INT64_MAX, _NUMKEYS)
    where = at + numkeys + 1
    if where >= len(argv):
        raise CommandError(errors.SYNTAX)
    left = is_left(argv[where])
    count = 0
    for i in range(where + 1, len(argv), 2):
        if count or argv[i].lower() != b"count" or i + 1 >= len(argv):
            raise CommandError(errors.SYNTAX)
        count = integer_between(argv[i + 1], 1, INT64_MAX, _COUNT)
    return argv[at + 1 : where], left, count or 1


def _mpop(client: NodeClient, keys: list[bytes], left: bool, count: int) -> list[Any] | None:
    found = _pop_first(client, keys, left, count)
    if found is None:
        return None
    key, taken = found
    client.propagate_as([b"LPOP" if left else b"RPOP", key, b"%d" % len(taken)])
    return [key, taken]


@command(
    "lmpop",
    arity=-4,
    syntax="numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
    flags=WRITE,
    keys=keys_counted(*_POP_FLAGS),
    group="list",
    since="7.0.0",
    complexity="O(N+M), N the number of keys, M of elements returned",
    summary="Takes elements off the first list that has some.",
)
def cmd_lmpop(client: NodeClient, argv: list[bytes]) -> Any:
    return _mpop(client, *_parse_mpop(argv, 1)) or NULL_ARRAY


@command(
    "blmpop",
    arity=-5,
    syntax="timeout(double) numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
    flags=WRITE | BLOCKING,
    keys=keys_counted(*_POP_FLAGS, index=2),
    group="list",
    since="7.0.0",
    complexity="O(N+M), N the number of keys, M of elements returned",
    summary="Takes elements off the first list that has some, as soon as there are any.",
)
def cmd_blmpop(client: NodeClient, argv: list[bytes]) -> Any:
    keys, left, count = _parse_mpop(argv, 2)
    wait_ms = timeout_ms(argv[1])
    return _mpop(client, keys, left, count) or Block(keys, wait_ms)
