"""Sorted set commands about single members. Ranges, pops and algebra have modules of their own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.keyspace.notify import ZSET
from slotmesh.node.resp.values import NULL_ARRAY, Pairs
from slotmesh.node.spec.arguments import floating, negatable, random_count, to_float
from slotmesh.node.spec.key_specs import KEY_ACCESS_UPDATE, KEY_DELETE, KEY_READ, KEY_UPDATE, key_at
from slotmesh.node.spec.registry import DENYOOM, FAST, READONLY, WRITE, command
from slotmesh.node.types.sorted_set import SortedSetValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_KEY_LOOK: Final = key_at(b"RO")
_NX, _XX, _GT, _LT, _CH, _INCR = (1 << i for i in range(6))
_OPTIONS: Final = {b"nx": _NX, b"xx": _XX, b"gt": _GT, b"lt": _LT, b"ch": _CH, b"incr": _INCR}
_NX_AND_XX: Final = ErrorReply("ERR XX and NX options at the same time are not compatible")
_GT_AND_LT: Final = ErrorReply("ERR GT, LT, and/or NX options at the same time are not compatible")
_ONE_PAIR: Final = ErrorReply("ERR INCR option supports a single increment-element pair")
_NAN: Final = ErrorReply("ERR resulting score is not a number (NaN)")
#: Distinct random members are drawn one by one only from sets this many times larger than the draw.
_DRAW_FACTOR: Final = 3


def _check_options(options: int, pairs: int) -> None:
    if options & _NX and options & _XX:
        raise CommandError(_NX_AND_XX)
    if (options & _NX and options & (_GT | _LT)) or (options & _GT and options & _LT):
        raise CommandError(_GT_AND_LT)
    if options & _INCR and pairs > 1:
        raise CommandError(_ONE_PAIR)


@command(
    "zadd",
    arity=-4,
    syntax="key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_UPDATE,
    group="sorted_set",
    since="1.2.0",
    complexity="O(M*log(N)), M the number of members to add, N the size of the sorted set",
    summary="Gives members a score, adding those that are missing.",
)
def cmd_zadd(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) == 4 and (score := to_float(argv[2])) is not None:
        return _add_one(client, argv[1], score, argv[3])
    options, at = 0, 2
    while at < len(argv) and (option := _OPTIONS.get(argv[at].lower())) is not None:
        options |= option
        at += 1
    if (len(argv) - at) & 1 or at == len(argv):
        raise CommandError(errors.SYNTAX)
    if options:
        _check_options(options, (len(argv) - at) >> 1)
    scores = [floating(text) for text in argv[at::2]]
    if options & _INCR:
        return _increment(client, argv[1], scores[0], argv[at + 1], options)
    db, key = client.db, argv[1]
    value = db.write_as(key, SortedSetValue)
    if value is None:
        if options & _XX:
            return 0
        value = SortedSetValue()
        db.put(key, value)
    added = changed = 0
    held, put = value.scores, value.put
    for score, member in zip(scores, argv[at + 1 :: 2], strict=True):
        old = held.get(member)
        if options and not _allowed(options, old, score):
            continue
        if old is None:
            added += 1
        elif old != score:
            changed += 1
        put(member, score)
    if added or changed:
        db.changed(key, ZSET, b"zadd", added + changed)
    return added + changed if options & _CH else added


def _add_one(client: NodeClient, key: bytes, score: float, member: bytes) -> int:
    """ZADD of one member without options: by far the most frequent form."""
    db = client.db
    value = db.write(key)
    if type(value) is not SortedSetValue:
        value = db.create(key, value, SortedSetValue)
    old = value.put(member, score)
    if old == score:
        return 0
    keyspace = db.keyspace
    keyspace.dirty += 1  # `changed`, written out
    if keyspace.observed:
        keyspace.on_changed(db.index, key, ZSET, b"zadd")
    return 1 if old is None else 0


def _allowed(options: int, old: float | None, score: float) -> bool:
    """Whether the options let a member with score `old` (None: a new one) get `score`."""
    if old is None:
        return not options & _XX
    return not (options & _NX or (options & _GT and score <= old) or (options & _LT and score >= old))


def _increment(client: NodeClient, key: bytes, step: float, member: bytes, options: int) -> float | None:
    """ZINCRBY, and ZADD with INCR: the new score, None when the options forbade it."""
    db = client.db
    value = db.write_as(key, SortedSetValue)
    if value is None:
        if options & _XX:
            return None
        value = SortedSetValue()
        db.put(key, value)
    old = value.scores.get(member)
    if old is not None and options & _NX:
        return None
    score = step if old is None else old + step
    if math.isnan(score):
        raise CommandError(_NAN)
    if not _allowed(options, old, score):
        return None
    if old != score:
        value.put(member, score)
        db.changed(key, ZSET, b"zincr")
    return score


@command(
    "zincrby",
    arity=4,
    syntax="key increment member",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_ACCESS_UPDATE,
    group="sorted_set",
    since="1.2.0",
    complexity="O(log(N)), N the size of the sorted set",
    summary="Adds to the score of a member; a missing one counts as 0.",
)
def cmd_zincrby(client: NodeClient, argv: list[bytes]) -> Any:
    increment = to_float(argv[2])
    if increment is None:  # stock reads the options of ZADD here, and then misses the pair
        raise CommandError(errors.SYNTAX if argv[2].lower() in _OPTIONS else errors.NOT_FLOAT)
    return _increment(client, argv[1], increment, argv[3], 0)


@command(
    "zrem",
    arity=-3,
    syntax="key member [member ...]",
    flags=WRITE | FAST,
    keys=KEY_DELETE,
    group="sorted_set",
    since="1.2.0",
    complexity="O(M*log(N)), M the number of members to remove, N the size of the sorted set",
    summary="Removes members; the sorted set goes with its last one.",
)
def cmd_zrem(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    value = db.write_as(key, SortedSetValue)
    if value is None:
        return 0
    removed = 0
    for member in argv[2:]:
        removed += value.remove(member)
    if removed:
        db.changed(key, ZSET, b"zrem", removed)
        db.drop_if_empty(key, value)
    return removed


@command(
    "zscore",
    arity=3,
    syntax="key member",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="sorted_set",
    since="1.2.0",
    complexity="O(1)",
    summary="Returns the score of a member.",
)
def cmd_zscore(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.read_as(argv[1], SortedSetValue)
    return None if value is None else value.scores.get(argv[2])


@command(
    "zmscore",
    arity=-3,
    syntax="key member [member ...]",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="sorted_set",
    since="6.2.0",
    complexity="O(N), N the number of members asked for",
    summary="Returns the scores of several members.",
)
def cmd_zmscore(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.read_as(argv[1], SortedSetValue)
    if value is None:
        return [None] * (len(argv) - 2)
    get = value.scores.get
    return [get(member) for member in argv[2:]]


@command(
    "zcard",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=_KEY_LOOK,
    group="sorted_set",
    since="1.2.0",
    complexity="O(1)",
    summary="Returns the number of members.",
)
def cmd_zcard(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.read_as(argv[1], SortedSetValue)
    return 0 if value is None else len(value.scores)


def _ranked(client: NodeClient, argv: list[bytes], backwards: bool) -> Any:
    """The rank of a member, with WITHSCORE (7.2) and its score beside."""
    if len(argv) > 4:
        raise CommandError(errors.wrong_arity(argv[0].lower()))
    with_score = len(argv) == 4
    if with_score and argv[3].lower() != b"withscore":
        raise CommandError(errors.SYNTAX)
    value = client.db.read_as(argv[1], SortedSetValue)
    rank = None if value is None else value.rank(argv[2])
    if value is None or rank is None:
        return NULL_ARRAY if with_score else None
    if backwards:
        rank = len(value) - 1 - rank
    return [rank, value.scores[argv[2]]] if with_score else rank


@command(
    "zrank",
    arity=-3,
    syntax="key member [WITHSCORE]",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="sorted_set",
    since="2.0.0",
    complexity="O(log(N)), N the size of the sorted set",
    summary="Returns the position of a member, counted from the lowest score.",
)
def cmd_zrank(client: NodeClient, argv: list[bytes]) -> Any:
    return _ranked(client, argv, False)


@command(
    "zrevrank",
    arity=-3,
    syntax="key member [WITHSCORE]",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="sorted_set",
    since="2.0.0",
    complexity="O(log(N)), N the size of the sorted set",
    summary="Returns the position of a member, counted from the highest score.",
)
def cmd_zrevrank(client: NodeClient, argv: list[bytes]) -> Any:
    return _ranked(client, argv, True)


@command(
    "zrandmember",
    arity=-2,
    syntax="key [count [WITHSCORES]]",
    flags=READONLY,
    keys=KEY_READ,
    group="sorted_set",
    since="6.2.0",
    complexity="O(N), N the number of members returned",
    summary="Returns random members.",
    tips=(b"nondeterministic_output",),
)
def cmd_zrandmember(client: NodeClient, argv: list[bytes]) -> Any:
    """A positive count gives distinct members, a negative one exactly that many, repeats allowed."""
    rng = client.server.rng
    if len(argv) == 2:
        value = client.db.read_as(argv[1], SortedSetValue)
        return None if value is None else value.at(int(rng.random() * len(value)))[1]
    with_scores = len(argv) == 4
    if len(argv) > 4 or (with_scores and argv[3].lower() != b"withscores"):
        negatable(argv[2])
        raise CommandError(errors.SYNTAX)
    count = random_count(argv[2], with_scores)
    value = client.db.read_as(argv[1], SortedSetValue)
    if value is None or not count:
        return []
    size = len(value)
    if count < 0:
        ranks = [int(rng.random() * size) for _ in range(-count)]
    elif count >= size:
        ranks = list(range(size))
    elif count * _DRAW_FACTOR > size:
        ranks = rng.sample(range(size), count)
    else:
        chosen: dict[int, None] = {}
        while len(chosen) < count:
            chosen[int(rng.random() * size)] = None
        ranks = list(chosen)
    pairs = [value.at(rank) for rank in ranks]
    if with_scores:
        return Pairs([(member, score) for score, member in pairs])
    return [member for _, member in pairs]
