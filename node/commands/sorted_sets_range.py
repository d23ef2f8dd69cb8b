"""Ranges of sorted sets by rank, score or member: returned, stored, counted, removed.

All of them come down to two ranks. ZRANGE and its older relatives share one parser, which is told what may vary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.keyspace.notify import ZSET
from slotmesh.node.keyspace.results import store_result
from slotmesh.node.resp.values import Pairs
from slotmesh.node.spec.arguments import integer, lex_bound, score_bound
from slotmesh.node.spec.key_specs import KEY_DELETE, KEY_READ, KeySpec, key_at
from slotmesh.node.spec.registry import DENYOOM, FAST, READONLY, WRITE, command
from slotmesh.node.types.score_order import Pair
from slotmesh.node.types.sorted_set import SortedSetValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_BY_RANK: Final = 0
_BY_SCORE: Final = 1
_BY_LEX: Final = 2
_KEYS_STORE: Final[tuple[KeySpec, ...]] = key_at(b"OW", b"UPDATE") + key_at(b"RO", b"ACCESS", index=2)
_LIMIT_NEEDS_BOUNDS: Final = ErrorReply(
    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
)
_LEX_HAS_NO_SCORES: Final = ErrorReply("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
_RANGE_COMPLEXITY: Final = "O(log(N)+M), N the size of the sorted set, M the number of members returned"
_REMOVE_COMPLEXITY: Final = "O(log(N)+M), N the size of the sorted set, M the number of members removed"


class _Range:
    """A parsed range: two bounds of one kind, the direction, and what part of it is wanted."""

    __slots__ = ("count", "high", "kind", "low", "offset", "reverse", "with_scores")

    def __init__(self, kind: int, reverse: bool) -> None:
        self.kind = kind
        self.reverse = reverse
        self.with_scores = False
        self.offset = 0
        self.count = -1
        self.low: Any = 0
        self.high: Any = 0

    def parse_bounds(self, first: bytes, second: bytes) -> None:
        """Read the bounds; ranges by score or member that run backwards name the upper one first."""
        if self.kind == _BY_RANK:
            self.low, self.high = integer(first), integer(second)
            return
        if self.reverse:
            first, second = second, first
        bound = score_bound if self.kind == _BY_SCORE else lex_bound
        self.low, self.high = bound(first), bound(second)

    def span(self, value: SortedSetValue) -> tuple[int, int]:
        """(start, stop) in ascending ranks, before LIMIT is applied."""
        if self.kind == _BY_SCORE:
            return value.score_span(self.low, self.high)
        if self.kind == _BY_LEX:
            return value.lex_span(self.low, self.high)
        start, stop = rank_span(self.low, self.high, len(value))
        return (len(value) - stop, len(value) - start) if self.reverse else (start, stop)

    def pairs(self, value: SortedSetValue) -> list[Pair]:
        """The pairs in the order asked for."""
        start, stop = self.span(value)
        if self.offset or self.count >= 0:
            start, stop = self._limited(start, stop)
        if start >= stop:
            return []
        found = value.slice(start, stop)
        if self.reverse:
            found.reverse()
        return found

    def _limited(self, start: int, stop: int) -> tuple[int, int]:
        if self.offset < 0:
            return 0, 0
        if self.reverse:
            stop -= self.offset
            return (max(start, stop - self.count) if self.count >= 0 else start), stop
        start += self.offset
        return start, (min(stop, start + self.count) if self.count >= 0 else stop)


def rank_span(start: int, end: int, size: int) -> tuple[int, int]:
    """Inclusive, possibly negative ranks as (start, stop) inside [0, size]; (0, 0) when there are none."""
    if start < 0:
        start = max(start + size, 0)
    if end < 0:
        end += size
    if end >= size:
        end = size - 1
    return (0, 0) if start > end else (start, end + 1)


def _parse(
    argv: list[bytes], at: int, kind: int | None = None, reverse: bool | None = None, storing: bool = False
) -> _Range:
    """The range in `argv[at]`, `argv[at + 1]` and the options behind; `kind` or `reverse` None: an option decides."""
    wanted = _Range(kind or _BY_RANK, reverse or False)
    i = at + 2
    while i < len(argv):
        option = argv[i].lower()
        if option == b"withscores" and not storing:
            wanted.with_scores = True
        elif option == b"limit" and i + 2 < len(argv):
            wanted.offset, wanted.count = integer(argv[i + 1]), integer(argv[i + 2])
            i += 2
        elif option == b"rev" and reverse is None:
            reverse = wanted.reverse = True
        elif option == b"bylex" and kind is None:
            kind = wanted.kind = _BY_LEX
        elif option == b"byscore" and kind is None:
            kind = wanted.kind = _BY_SCORE
        else:
            raise CommandError(errors.SYNTAX)
        i += 1
    if wanted.kind == _BY_RANK:
        if wanted.count != -1:
            raise CommandError(_LIMIT_NEEDS_BOUNDS)
        wanted.offset = 0  # a count of -1 is no limit at all, so that stock does not notice it
    if wanted.with_scores and wanted.kind == _BY_LEX:
        raise CommandError(_LEX_HAS_NO_SCORES)
    wanted.parse_bounds(argv[at], argv[at + 1])
    return wanted


def _answer(client: NodeClient, key: bytes, wanted: _Range) -> Any:
    value = client.db.read_as(key, SortedSetValue)
    if value is None:
        return []
    pairs = wanted.pairs(value)
    if wanted.with_scores:
        return Pairs([(member, score) for score, member in pairs])
    return [member for _, member in pairs]


@command(
    "zrange",
    arity=-4,
    syntax="key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
    flags=READONLY,
    keys=KEY_READ,
    group="sorted_set",
    since="1.2.0",
    complexity=_RANGE_COMPLEXITY,
    summary="Returns members in a range of ranks, scores or names.",
)
def cmd_zrange(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) == 4:  # the plain form, without the parser
        first, last = integer(argv[2]), integer(argv[3])
        value = client.db.read(argv[1])
        if type(value) is SortedSetValue:
            start, stop = rank_span(first, last, len(value.scores))
            return value.members(start, stop)
        if value is None:
            return []
        raise CommandError(errors.WRONG_TYPE)
    return _answer(client, argv[1], _parse(argv, 2))


@command(
    "zrevrange",
    arity=-4,
    syntax="key start(integer) stop(integer) [WITHSCORES]",
    flags=READONLY,
    keys=KEY_READ,
    group="sorted_set",
    since="1.2.0",
    complexity=_RANGE_COMPLEXITY,
    summary="Returns members in a range of ranks, the highest score first.",
    deprecated=("6.2.0", "`ZRANGE` with the `REV` argument"),
)
def cmd_zrevrange(client: NodeClient, argv: list[bytes]) -> Any:
    return _answer(client, argv[1], _parse(argv, 2, _BY_RANK, True))


@command(
    "zrangebyscore",
    arity=-4,
    syntax="key min(double) max(double) [WITHSCORES] [LIMIT offset count]",
    flags=READONLY,
    keys=KEY_READ,
    group="sorted_set",
    since="1.0.5",
    complexity=_RANGE_COMPLEXITY,
    summary="Returns members in a range of scores.",
    deprecated=("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
)
def cmd_zrangebyscore(client: NodeClient, argv: list[bytes]) -> Any:
    return _answer(client, argv[1], _parse(argv, 2, _BY_SCORE, False))


@command(
    "zrevrangebyscore",
    arity=-4,
    syntax="key max(double) min(double) [WITHSCORES] [LIMIT offset count]",
    flags=READONLY,
    keys=KEY_READ,
    group="sorted_set",
    since="2.2.0",
    complexity=_RANGE_COMPLEXITY,
    summary="Returns members in a range of scores, the highest first.",
    deprecated=("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
)
def cmd_zrevrangebyscore(client: NodeClient, argv: list[bytes]) -> Any:
    return _answer(client, argv[1], _parse(argv, 2, _BY_SCORE, True))


@command(
    "zrangebylex",
    arity=-4,
    syntax="key min max [LIMIT offset count]",
    flags=READONLY,
    keys=KEY_READ,
    group="sorted_set",
    since="2.8.9",
    complexity=_RANGE_COMPLEXITY,
    summary="Returns members in a range of names.",
    deprecated=("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
)
def cmd_zrangebylex(client: NodeClient, argv: list[bytes]) -> Any:
    return _answer(client, argv[1], _parse(argv, 2, _BY_LEX, False))


@command(
    "zrevrangebylex",
    arity=-4,
    syntax="key max min [LIMIT offset count]",
    flags=READONLY,
    keys=KEY_READ,
    group="sorted_set",
    since="2.8.9",
    complexity=_RANGE_COMPLEXITY,
    summary="Returns members in a range of names, the last one first.",
    deprecated=("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
)
def cmd_zrevrangebylex(client: NodeClient, argv: list[bytes]) -> Any:
    return _answer(client, argv[1], _parse(argv, 2, _BY_LEX, True))


@command(
    "zrangestore",
    arity=-5,
    syntax="dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
    flags=WRITE | DENYOOM,
    keys=_KEYS_STORE,
    group="sorted_set",
    since="6.2.0",
    complexity="O(log(N)+M), N the size of the sorted set, M the number of members stored",
    summary="Stores members in a range of ranks, scores or names.",
)
def cmd_zrangestore(client: NodeClient, argv: list[bytes]) -> Any:
    wanted = _parse(argv, 3, storing=True)
    value = client.db.read_as(argv[2], SortedSetValue)
    pairs = [] if value is None else wanted.pairs(value)
    result = SortedSetValue({member: score for score, member in pairs})
    return store_result(client.db, argv[1], result, ZSET, b"zrangestore")


def _count(client: NodeClient, argv: list[bytes], kind: int) -> int:
    wanted = _Range(kind, False)
    wanted.parse_bounds(argv[2], argv[3])
    value = client.db.read_as(argv[1], SortedSetValue)
    if value is None:
        return 0
    start, stop = wanted.span(value)
    return max(0, stop - start)


@command(
    "zcount",
    arity=4,
    syntax="key min(double) max(double)",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="sorted_set",
    since="2.0.0",
    complexity="O(log(N)), N the size of the sorted set",
    summary="Counts the members in a range of scores.",
)
def cmd_zcount(client: NodeClient, argv: list[bytes]) -> Any:
    return _count(client, argv, _BY_SCORE)


@command(
    "zlexcount",
    arity=4,
    syntax="key min max",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="sorted_set",
    since="2.8.9",
    complexity="O(log(N)), N the size of the sorted set",
    summary="Counts the members in a range of names.",
)
def cmd_zlexcount(client: NodeClient, argv: list[bytes]) -> Any:
    return _count(client, argv, _BY_LEX)


def _remove(client: NodeClient, argv: list[bytes], kind: int, event: bytes) -> int:
    wanted = _Range(kind, False)
    wanted.parse_bounds(argv[2], argv[3])
    db, key = client.db, argv[1]
    value = db.write_as(key, SortedSetValue)
    if value is None:
        return 0
    start, stop = wanted.span(value)
    if start >= stop:
        return 0
    removed = len(value.delete_slice(start, stop))
    db.changed(key, ZSET, event, removed)
    db.drop_if_empty(key, value)
    return removed


@command(
    "zremrangebyrank",
    arity=4,
    syntax="key start(integer) stop(integer)",
    flags=WRITE,
    keys=KEY_DELETE,
    group="sorted_set",
    since="2.0.0",
    complexity=_REMOVE_COMPLEXITY,
    summary="Removes the members in a range of ranks.",
)
def cmd_zremrangebyrank(client: NodeClient, argv: list[bytes]) -> Any:
    return _remove(client, argv, _BY_RANK, b"zremrangebyrank")


@command(
    "zremrangebyscore",
    arity=4,
    syntax="key min(double) max(double)",
    flags=WRITE,
    keys=KEY_DELETE,
    group="sorted_set",
    since="1.2.0",
    complexity=_REMOVE_COMPLEXITY,
    summary="Removes the members in a range of scores.",
)
def cmd_zremrangebyscore(client: NodeClient, argv: list[bytes]) -> Any:
    return _remove(client, argv, _BY_SCORE, b"zremrangebyscore")


@command(
    "zremrangebylex",
    arity=4,
    syntax="key min max",
    flags=WRITE,
    keys=KEY_DELETE,
    group="sorted_set",
    since="2.8.9",
    complexity=_REMOVE_COMPLEXITY,
    summary="Removes the members in a range of names.",
)
def cmd_zremrangebylex(client: NodeClient, argv: list[bytes]) -> Any:
    return _remove(client, argv, _BY_LEX, b"zremrangebylex")
