"""Unions, intersections and differences of sorted sets. Plain sets take part with a score of 1 for each member.

Scores are combined in stock's order, sets from the smallest to the largest, because float sums depend on it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.keyspace.notify import ZSET
from slotmesh.node.keyspace.results import store_result
from slotmesh.node.resp.encoder import format_double
from slotmesh.node.resp.values import Pairs
from slotmesh.node.spec.arguments import INT64_MAX, floating, integer, integer_between
from slotmesh.node.spec.key_specs import KeySpec, key_at, keys_counted
from slotmesh.node.spec.registry import DENYOOM, READONLY, WRITE, command
from slotmesh.node.types.set import SetValue
from slotmesh.node.types.sorted_set import SortedSetValue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slotmesh.node.server import NodeClient

    Scores = Mapping[bytes, float]

_SUM: Final = 0
_MIN: Final = 1
_MAX: Final = 2
#: How many sets have a member, or the sum of their weights (Redis 8.8): the sum of scores that are all 1.
_COUNT: Final = 3
_AGGREGATES: Final = {b"sum": _SUM, b"min": _MIN, b"max": _MAX, b"count": _COUNT}
_AGGREGATE: Final = "[AGGREGATE <SUM | MIN | MAX | COUNT>]"
#: Members in one ZADD for AOF and replicas.
_BATCH: Final = 512
_KEYS_READ: Final = keys_counted(b"RO", b"ACCESS")
_KEYS_STORE: Final[tuple[KeySpec, ...]] = key_at(b"OW", b"UPDATE") + keys_counted(b"RO", b"ACCESS", index=2)
_BAD_WEIGHT: Final = ErrorReply("ERR weight value is not a float")
_LIMIT_NEGATIVE: Final = ErrorReply("ERR LIMIT can't be negative")
_UNION_COMPLEXITY: Final = "O(N+M*log(M)), N the number of members in all sets, M in the result"
_INTER_COMPLEXITY: Final = "O(N*K+M*log(M)), N the size of the smallest set, K the number of sets, M the result's size"
_DIFF_COMPLEXITY: Final = "O(N+M*log(M)), N the number of members in all sets, M in the result"


class _Operands:
    """The parsed arguments of one command: sets with weights, and what to do with them."""

    __slots__ = ("aggregate", "limit", "sets", "weights", "with_scores")

    def __init__(self, sets: list[Scores]) -> None:
        self.sets = sets
        self.weights = [1.0] * len(sets)
        self.aggregate = _SUM
        self.with_scores = False
        self.limit = 0

    def by_size(self) -> list[tuple[Scores, float]]:
        """Sets and weights, the smallest set first."""
        return sorted(zip(self.sets, self.weights, strict=True), key=lambda pair: len(pair[0]))


def _parse(client: NodeClient, argv: list[bytes], at: int, name: bytes, options: frozenset[bytes]) -> _Operands:
    """`numkeys key...` from index `at` on, and those options that the command knows."""
    numkeys = integer(argv[at])
    if numkeys < 1:
        raise CommandError(b"ERR at least 1 input key is needed for '%b' command" % name)
    i = at + 1 + numkeys
    if i > len(argv):
        raise CommandError(errors.SYNTAX)
    operands = _Operands([_scores_of(client, key) for key in argv[at + 1 : i]])
    while i < len(argv):
        option = argv[i].lower()
        left = len(argv) - i
        if option not in options:
            raise CommandError(errors.SYNTAX)
        if option == b"withscores":
            operands.with_scores = True
            i += 1
        elif option == b"weights" and left > numkeys:
            operands.weights = [floating(text, _BAD_WEIGHT) for text in argv[i + 1 : i + 1 + numkeys]]
            i += 1 + numkeys
        elif option == b"aggregate" and left >= 2 and argv[i + 1].lower() in _AGGREGATES:
            operands.aggregate = _AGGREGATES[argv[i + 1].lower()]
            i += 2
        elif option == b"limit" and left >= 2:
            operands.limit = integer_between(argv[i + 1], 0, INT64_MAX, _LIMIT_NEGATIVE)
            i += 2
        else:
            raise CommandError(errors.SYNTAX)
    if operands.aggregate == _COUNT:
        operands.sets = [dict.fromkeys(scores, 1.0) for scores in operands.sets]
    return operands


_COMBINE_OPTIONS: Final = frozenset((b"weights", b"aggregate", b"withscores"))
_STORE_OPTIONS: Final = frozenset((b"weights", b"aggregate"))
_DIFF_OPTIONS: Final = frozenset((b"withscores",))
_CARD_OPTIONS: Final = frozenset((b"limit",))
_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()


def _scores_of(client: NodeClient, key: bytes) -> Scores:
    value = client.db.read(key)
    if value is None:
        return {}
    if type(value) is SortedSetValue:
        return value.scores
    if type(value) is SetValue:
        return dict.fromkeys(value.members, 1.0)
    raise CommandError(errors.WRONG_TYPE)


def _weighted(score: float, weight: float) -> float:
    """Infinity times zero counts as zero."""
    product = score * weight
    return 0.0 if math.isnan(product) else product


def _combined(first: float, second: float, aggregate: int) -> float:
    """Two scores as one; opposite infinities cancel out."""
    if aggregate in (_SUM, _COUNT):
        total = first + second
        return 0.0 if math.isnan(total) else total
    if aggregate == _MIN:
        return second if second < first else first
    return second if second > first else first


def _union(operands: _Operands) -> dict[bytes, float]:
    result: dict[bytes, float] = {}
    aggregate = operands.aggregate
    for scores, weight in operands.by_size():
        for member, score in scores.items():
            score = _weighted(score, weight)
            old = result.get(member)
            result[member] = score if old is None else _combined(old, score, aggregate)
    return result


def _inter(operands: _Operands) -> dict[bytes, float]:
    (smallest, weight), *others = operands.by_size()
    aggregate = operands.aggregate
    result: dict[bytes, float] = {}
    for member, score in smallest.items():
        total = _weighted(score, weight)
        for scores, other_weight in others:
            other = scores.get(member)
            if other is None:
                break
            # As in stock, only the first product is cleaned of NaN; a sum is, as a whole.
            total = _combined(total, other * other_weight, aggregate)
        else:
            result[member] = total
    return result


def _diff(operands: _Operands) -> dict[bytes, float]:
    first, *others = operands.sets
    return {member: score for member, score in first.items() if not any(member in other for other in others)}


def _answer(result: dict[bytes, float], with_scores: bool) -> Any:
    pairs = sorted((score, member) for member, score in result.items())
    if with_scores:
        return Pairs([(member, score) for score, member in pairs])
    return [member for _, member in pairs]


@command(
    "zunion",
    arity=-3,
    syntax=f"numkeys key [key ...] [WEIGHTS weight [weight ...]] {_AGGREGATE} [WITHSCORES]",
    flags=READONLY,
    keys=_KEYS_READ,
    group="sorted_set",
    since="6.2.0",
    complexity=_UNION_COMPLEXITY,
    summary="Returns the members of all sorted sets with combined scores.",
)
def cmd_zunion(client: NodeClient, argv: list[bytes]) -> Any:
    operands = _parse(client, argv, 1, b"zunion", _COMBINE_OPTIONS)
    return _answer(_union(operands), operands.with_scores)


@command(
    "zinter",
    arity=-3,
    syntax=f"numkeys key [key ...] [WEIGHTS weight [weight ...]] {_AGGREGATE} [WITHSCORES]",
    flags=READONLY,
    keys=_KEYS_READ,
    group="sorted_set",
    since="6.2.0",
    complexity=_INTER_COMPLEXITY,
    summary="Returns the members that all sorted sets share, with combined scores.",
)
def cmd_zinter(client: NodeClient, argv: list[bytes]) -> Any:
    operands = _parse(client, argv, 1, b"zinter", _COMBINE_OPTIONS)
    return _answer(_inter(operands), operands.with_scores)


@command(
    "zdiff",
    arity=-3,
    syntax="numkeys key [key ...] [WITHSCORES]",
    flags=READONLY,
    keys=_KEYS_READ,
    group="sorted_set",
    since="6.2.0",
    complexity=_DIFF_COMPLEXITY,
    summary="Returns the members of the first sorted set that no other one has.",
)
def cmd_zdiff(client: NodeClient, argv: list[bytes]) -> Any:
    operands = _parse(client, argv, 1, b"zdiff", _DIFF_OPTIONS)
    return _answer(_diff(operands), operands.with_scores)


@command(
    "zunionstore",
    arity=-4,
    syntax=f"destination numkeys key [key ...] [WEIGHTS weight [weight ...]] {_AGGREGATE}",
    flags=WRITE | DENYOOM,
    keys=_KEYS_STORE,
    group="sorted_set",
    since="2.0.0",
    complexity=_UNION_COMPLEXITY,
    summary="Stores the members of all sorted sets with combined scores.",
)
def cmd_zunionstore(client: NodeClient, argv: list[bytes]) -> Any:
    operands = _parse(client, argv, 2, b"zunionstore", _STORE_OPTIONS)
    return _store(client, argv[1], _union(operands), operands.aggregate, b"zunionstore")


def _store(client: NodeClient, key: bytes, scores: dict[bytes, float], aggregate: int, event: bytes) -> int:
    """Store a combination. One by COUNT is told to AOF and replicas by its result: a 7.0 server does not know it."""
    existed = client.db.write(key) is not None
    count = store_result(client.db, key, SortedSetValue(scores), ZSET, event)
    if aggregate == _COUNT:
        commands = [[b"DEL", key]] if existed else []
        flat = [text for member, score in scores.items() for text in (format_double(score), member)]
        commands += [[b"ZADD", key, *flat[i : i + 2 * _BATCH]] for i in range(0, len(flat), 2 * _BATCH)]
        client.propagate_as(*commands)
    return count


@command(
    "zinterstore",
    arity=-4,
    syntax=f"destination numkeys key [key ...] [WEIGHTS weight [weight ...]] {_AGGREGATE}",
    flags=WRITE | DENYOOM,
    keys=_KEYS_STORE,
    group="sorted_set",
    since="2.0.0",
    complexity=_INTER_COMPLEXITY,
    summary="Stores the members that all sorted sets share, with combined scores.",
)
def cmd_zinterstore(client: NodeClient, argv: list[bytes]) -> Any:
    operands = _parse(client, argv, 2, b"zinterstore", _STORE_OPTIONS)
    return _store(client, argv[1], _inter(operands), operands.aggregate, b"zinterstore")


@command(
    "zdiffstore",
    arity=-4,
    syntax="destination numkeys key [key ...]",
    flags=WRITE | DENYOOM,
    keys=_KEYS_STORE,
    group="sorted_set",
    since="6.2.0",
    complexity=_DIFF_COMPLEXITY,
    summary="Stores the members of the first sorted set that no other one has.",
)
def cmd_zdiffstore(client: NodeClient, argv: list[bytes]) -> Any:
    operands = _parse(client, argv, 2, b"zdiffstore", _NO_OPTIONS)
    return store_result(client.db, argv[1], SortedSetValue(_diff(operands)), ZSET, b"zdiffstore")


@command(
    "zintercard",
    arity=-3,
    syntax="numkeys key [key ...] [LIMIT limit]",
    flags=READONLY,
    keys=_KEYS_READ,
    group="sorted_set",
    since="7.0.0",
    complexity="O(N*K), N the size of the smallest sorted set, K the number of sets",
    summary="Returns how many members all sorted sets share, up to a limit.",
)
def cmd_zintercard(client: NodeClient, argv: list[bytes]) -> Any:
    operands = _parse(client, argv, 1, b"zintercard", _CARD_OPTIONS)
    (smallest, _), *others = operands.by_size()
    found = 0
    for member in smallest:
        if all(member in scores for scores, _ in others):
            found += 1
            if found == operands.limit:
                break
    return found
