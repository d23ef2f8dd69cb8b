"""Taking the lowest or highest members off sorted sets, at once or as soon as there are any.

AOF and replicas see ZPOPMIN and ZPOPMAX only; see `lists_move.py` for how blocking works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.block import Block
from slotmesh.node.keyspace.notify import ZSET
from slotmesh.node.resp.values import NULL_ARRAY, Pairs
from slotmesh.node.spec.arguments import INT64_MAX, integer_between, positive_count, timeout_ms
from slotmesh.node.spec.key_specs import key_at, keys_counted, keys_from
from slotmesh.node.spec.registry import BLOCKING, FAST, NOSCRIPT, WRITE, command
from slotmesh.node.types.score_order import Pair
from slotmesh.node.types.sorted_set import SortedSetValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slotmesh.node.server import NodeClient

_POP_FLAGS: Final = (b"RW", b"ACCESS", b"DELETE")
_KEY_POP: Final = key_at(*_POP_FLAGS)
_KEYS_BEFORE_TIMEOUT: Final = keys_from(*_POP_FLAGS, last=-2)
_NUMKEYS: Final = ErrorReply("ERR numkeys should be greater than 0")
_COUNT: Final = ErrorReply("ERR count should be greater than 0")
_POP_COMPLEXITY: Final = "O(M*log(N)), N the size of the sorted set, M the number of members returned"
_MPOP_COMPLEXITY: Final = "O(K+M*log(N)), K the number of keys, N the size of the sorted set, M of members returned"


def _take(client: NodeClient, key: bytes, value: SortedSetValue, highest: bool, count: int) -> list[Pair]:
    """Remove up to `count` pairs from one end, the outermost first."""
    size = len(value)
    if highest:
        taken = value.delete_slice(max(0, size - count), size)
        taken.reverse()
    else:
        taken = value.delete_slice(0, min(count, size))
    client.db.changed(key, ZSET, b"zpopmax" if highest else b"zpopmin", len(taken))
    client.db.drop_if_empty(key, value)
    return taken


def _pop(client: NodeClient, argv: list[bytes], highest: bool) -> Any:
    if len(argv) > 3:
        raise CommandError(errors.SYNTAX)
    count = positive_count(argv[2]) if len(argv) == 3 else 1
    value = client.db.write_as(argv[1], SortedSetValue)
    if value is None or not count:
        return []
    taken = _take(client, argv[1], value, highest, count)
    if len(argv) == 2:
        score, member = taken[0]
        return [member, score]
    return Pairs([(member, score) for score, member in taken])


@command(
    "zpopmin",
    arity=-2,
    syntax="key [count]",
    flags=WRITE | FAST,
    keys=_KEY_POP,
    group="sorted_set",
    since="5.0.0",
    complexity=_POP_COMPLEXITY,
    summary="Removes the members with the lowest scores and returns them.",
)
def cmd_zpopmin(client: NodeClient, argv: list[bytes]) -> Any:
    return _pop(client, argv, False)


@command(
    "zpopmax",
    arity=-2,
    syntax="key [count]",
    flags=WRITE | FAST,
    keys=_KEY_POP,
    group="sorted_set",
    since="5.0.0",
    complexity=_POP_COMPLEXITY,
    summary="Removes the members with the highest scores and returns them.",
)
def cmd_zpopmax(client: NodeClient, argv: list[bytes]) -> Any:
    return _pop(client, argv, True)


def _pop_first(client: NodeClient, keys: Sequence[bytes], highest: bool, count: int) -> tuple[bytes, list[Pair]] | None:
    """Pop from the first sorted set that exists; its key and the pairs.

    For a client that waits already, a key of another type is one that is not there yet.
    """
    for key in keys:
        value = client.db.write(key)
        if type(value) is SortedSetValue:
            return key, _take(client, key, value, highest, count)
        if value is not None and client.blocked is None:
            raise CommandError(errors.WRONG_TYPE)
    return None


def _blocking_pop(client: NodeClient, argv: list[bytes], highest: bool) -> Any:
    wait_ms = timeout_ms(argv[-1])
    found = _pop_first(client, argv[1:-1], highest, 1)
    if found is None:
        return Block(argv[1:-1], wait_ms)
    key, taken = found
    client.propagate_as([b"ZPOPMAX" if highest else b"ZPOPMIN", key])
    score, member = taken[0]
    return [key, member, score]


@command(
    "bzpopmin",
    arity=-3,
    syntax="key [key ...] timeout(double)",
    flags=WRITE | NOSCRIPT | BLOCKING | FAST,
    keys=_KEYS_BEFORE_TIMEOUT,
    group="sorted_set",
    since="5.0.0",
    complexity="O(log(N)), N the size of the sorted set",
    summary="Removes the member with the lowest score and returns it, as soon as there is one.",
)
def cmd_bzpopmin(client: NodeClient, argv: list[bytes]) -> Any:
    return _blocking_pop(client, argv, False)


@command(
    "bzpopmax",
    arity=-3,
    syntax="key [key ...] timeout(double)",
    flags=WRITE | NOSCRIPT | BLOCKING | FAST,
    keys=_KEYS_BEFORE_TIMEOUT,
    group="sorted_set",
    since="5.0.0",
    complexity="O(log(N)), N the size of the sorted set",
    summary="Removes the member with the highest score and returns it, as soon as there is one.",
)
def cmd_bzpopmax(client: NodeClient, argv: list[bytes]) -> Any:
    return _blocking_pop(client, argv, True)


def _parse_mpop(argv: list[bytes], at: int) -> tuple[list[bytes], bool, int]:
    """(keys, highest first, count) of `numkeys key... MIN|MAX [COUNT n]` from index `at` on."""
    numkeys = integer_between(argv[at], 1, INT64_MAX, _NUMKEYS)
    where = at + numkeys + 1
    if where >= len(argv):
        raise CommandError(errors.SYNTAX)
    side = argv[where].lower()
    if side not in (b"min", b"max"):
        raise CommandError(errors.SYNTAX)
    count = 0
    for i in range(where + 1, len(argv), 2):
        if count or argv[i].lower() != b"count" or i + 1 >= len(argv):
            raise CommandError(errors.SYNTAX)
        count = integer_between(argv[i + 1], 1, INT64_MAX, _COUNT)
    return argv[at + 1 : where], side == b"max", count or 1


def _mpop(client: NodeClient, keys: list[bytes], highest: bool, count: int) -> list[Any] | None:
    found = _pop_first(client, keys, highest, count)
    if found is None:
        return None
    key, taken = found
    client.propagate_as([b"ZPOPMAX" if highest else b"ZPOPMIN", key, b"%d" % len(taken)])
    return [key, [(member, score) for score, member in taken]]


@command(
    "zmpop",
    arity=-4,
    syntax="numkeys key [key ...] <MIN | MAX> [COUNT count]",
    flags=WRITE,
    keys=keys_counted(*_POP_FLAGS),
    group="sorted_set",
    since="7.0.0",
    complexity=_MPOP_COMPLEXITY,
    summary="Removes the lowest or highest members of the first sorted set that exists and returns them.",
)
def cmd_zmpop(client: NodeClient, argv: list[bytes]) -> Any:
    return _mpop(client, *_parse_mpop(argv, 1)) or NULL_ARRAY


@command(
    "bzmpop",
    arity=-5,
    syntax="timeout(double) numkeys key [key ...] <MIN | MAX> [COUNT count]",
    flags=WRITE | BLOCKING,
    keys=keys_counted(*_POP_FLAGS, index=2),
    group="sorted_set",
    since="7.0.0",
    complexity=_MPOP_COMPLEXITY,
    summary="Removes the lowest or highest members of the first sorted set that exists, as soon as there are any.",
)
def cmd_bzmpop(client: NodeClient, argv: list[bytes]) -> Any:
    keys, highest, count = _parse_mpop(argv, 2)
    wait_ms = timeout_ms(argv[1])
    return _mpop(client, keys, highest, count) or Block(keys, wait_ms)
