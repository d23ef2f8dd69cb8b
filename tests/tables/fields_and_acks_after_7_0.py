"""Requests and replies of collection commands that are younger than the 7.0 line: no oracle at hand knows them.

Replies and texts are those that Redis 7.4 (expiry of hash fields), 8.0 (HGETEX, HSETEX, HGETDEL) and 8.2 (XDELEX,
XACKDEL) document. The clock of the node stands still at `START_MS`.
"""

from __future__ import annotations

from tests.support.inprocess import START_MS
from tests.tables.support import (
    NIL2,
    NIL3,
    NOT_INTEGER,
    NULL_ARRAY,
    OK,
    SYNTAX,
    WRONG_TYPE,
    Table,
    array,
    bulk,
    double,
    error,
    number,
    texts,
    wrong_arity,
)

_NO_WORD = error("ERR Mandatory argument FIELDS is missing or not at the right position")
_MISMATCH = error("ERR The `numfields` parameter must match the number of arguments")
_BAD_COUNT = error("ERR The `numids` parameter must match the number of arguments")


def numbers(*values: int) -> bytes:
    """An array of integers."""
    return array(*(number(value) for value in values))


EXPIRING: Table = (
    ("HSET h a 1 b 2 c 3", number(3)),
    ("HEXPIRE h 100 FIELDS 2 a none", numbers(1, -2)),
    ("HTTL h FIELDS 3 a b none", numbers(100, -1, -2)),
    ("HPTTL h FIELDS 1 a", numbers(100_000)),
    ("HEXPIRETIME h FIELDS 1 a", numbers(START_MS // 1000 + 100)),
    ("HPEXPIRETIME h FIELDS 1 a", numbers(START_MS + 100_000)),
    ("HPEXPIRE h 1500 FIELDS 1 b", numbers(1)),
    ("HTTL h FIELDS 1 b", numbers(2)),
    (f"HEXPIREAT h {START_MS // 1000 + 7} FIELDS 1 b", numbers(1)),
    ("HTTL h FIELDS 1 b", numbers(7)),
    (f"HPEXPIREAT h {START_MS + 9} FIELDS 1 b", numbers(1)),
    ("HPTTL h FIELDS 1 b", numbers(9)),
    ("HPERSIST h FIELDS 3 b c none", numbers(1, -1, -2)),
    ("HTTL h FIELDS 1 b", numbers(-1)),
    ("HEXPIRE h 50 NX FIELDS 2 a b", numbers(0, 1)),
    ("HEXPIRE h 40 XX FIELDS 2 a c", numbers(1, 0)),
    ("HEXPIRE h 30 GT FIELDS 3 a b c", numbers(0, 0, 0)),
    ("HEXPIRE h 45 GT FIELDS 2 a b", numbers(1, 0)),
    ("HEXPIRE h 46 LT FIELDS 3 a b c", numbers(0, 1, 1)),
    ("HEXPIRE h 0 FIELDS 2 c none", numbers(2, -2)),
    ("HGET h c", NIL2, NIL3),
    ("HPEXPIREAT h 1 FIELDS 2 a b", numbers(2, 2)),
    ("EXISTS h", number(0)),
    ("HEXPIRE h 5 FIELDS 1 a", numbers(-2)),
    ("HTTL h FIELDS 2 a b", numbers(-2, -2)),
    ("HPERSIST h FIELDS 1 a", numbers(-2)),
    ("HSET h a 1", number(1)),
    ("HEXPIRE h 5 FIELDS 1 a", numbers(1)),
    ("HINCRBY h a 1", number(2)),
    ("HTTL h FIELDS 1 a", numbers(5)),
    ("HSET h a 1", number(0)),
    ("HTTL h FIELDS 1 a", numbers(-1)),
)

EXPIRING_WRONGLY: Table = (
    ("HSET h a 1", number(1)),
    ("HEXPIRE h x FIELDS 1 a", NOT_INTEGER),
    ("HEXPIRE h -1 FIELDS 1 a", error("ERR invalid expire time, must be >= 0")),
    ("HEXPIRE h 9223372036854775807 FIELDS 1 a", error("ERR invalid expire time in 'hexpire' command")),
    ("HPEXPIREAT h 70368744177664 FIELDS 1 a", error("ERR invalid expire time in 'hpexpireat' command")),
    ("HEXPIRE h 5 1 a b", _NO_WORD),
    ("HEXPIRE h 5 NX XX FIELDS 1 a", _NO_WORD),
    ("HEXPIRE h 5 FIELDS 2 a", _MISMATCH),
    ("HEXPIRE h 5 FIELDS 1 a b", _MISMATCH),
    ("HEXPIRE h 5 FIELDS 0 a", error("ERR Parameter `numFields` should be greater than 0")),
    ("HEXPIRE h 5 FIELDS x a", error("ERR Parameter `numFields` should be greater than 0")),
    ("HEXPIRE h 5 FIELDS 1", wrong_arity("hexpire")),
    ("HTTL h FIELDS 0 a", error("ERR Number of fields must be a positive integer")),
    ("HTTL h 1 a b", _NO_WORD),
    ("HTTL h FIELDS 2 a", _MISMATCH),
    ("HPERSIST h FIELDS 2 a", _MISMATCH),
    ("SET s x", OK),
    ("HEXPIRE s 5 FIELDS 1 a", WRONG_TYPE),
    ("HTTL s FIELDS 1 a", WRONG_TYPE),
    ("HPERSIST s FIELDS 1 a", WRONG_TYPE),
    ("HGETEX s FIELDS 1 a", WRONG_TYPE),
    ("HSETEX s FIELDS 1 a 1", WRONG_TYPE),
    ("HGETDEL s FIELDS 1 a", WRONG_TYPE),
)

GETTING_AND_SETTING: Table = (
    ("HSETEX h EX 10 FIELDS 2 a 1 b 2", number(1)),
    ("HTTL h FIELDS 2 a b", numbers(10, 10)),
    ("HSETEX h KEEPTTL FIELDS 1 a 3", number(1)),
    ("HTTL h FIELDS 1 a", numbers(10)),
    ("HSETEX h FIELDS 1 a 4", number(1)),
    ("HTTL h FIELDS 1 a", numbers(-1)),
    ("HSETEX h FNX FIELDS 2 a 5 c 6", number(0)),
    ("HSETEX h FXX FIELDS 2 a 5 c 6", number(0)),
    ("HSETEX h FNX PX 500 FIELDS 1 c 6", number(1)),
    ("HSETEX h FXX FIELDS 1 c 7", number(1)),
    ("HSETEX h FXX FNX FIELDS 1 c 7", SYNTAX),
    ("HSETEX h EX 1 PX 1 FIELDS 1 c 7", SYNTAX),
    ("HSETEX h EX 1 KEEPTTL FIELDS 1 c 7", SYNTAX),
    ("HSETEX h nonsense FIELDS 1 c 7", SYNTAX),
    ("HSETEX h EX x FIELDS 1 c 7", NOT_INTEGER),
    ("HSETEX h FIELDS 2 c 7", _MISMATCH),
    ("HSETEX h PXAT 1 FIELDS 1 gone 1", number(1)),
    ("HEXISTS h gone", number(0)),
    ("HGETEX h FIELDS 2 a none", array(bulk("4"), NIL2), array(bulk("4"), NIL3)),
    ("HGETEX h EX 20 FIELDS 1 a", texts("4")),
    ("HTTL h FIELDS 1 a", numbers(20)),
    ("HGETEX h PERSIST FIELDS 2 a c", texts("4", "7")),
    ("HTTL h FIELDS 1 a", numbers(-1)),
    ("HGETEX h PXAT 1 FIELDS 1 a", texts("4")),
    ("HEXISTS h a", number(0)),
    ("HGETEX none EX 5 FIELDS 1 a", array(NIL2), array(NIL3)),
    ("HGETEX h EX 5 PERSIST FIELDS 1 a", _NO_WORD),
    ("HGETDEL h FIELDS 2 b none", array(bulk("2"), NIL2), array(bulk("2"), NIL3)),
    ("HGETDEL h FIELDS 1 c", texts("7")),
    ("EXISTS h", number(0)),
    ("HGETDEL h FIELDS 1 c", array(NIL2), array(NIL3)),
)

DELETING_ENTRIES: Table = (
    ("XADD s 1 a 1", bulk("1-0")),
    ("XADD s 2 a 2", bulk("2-0")),
    ("XADD s 3 a 3", bulk("3-0")),
    ("XADD s 4 a 4", bulk("4-0")),
    ("XGROUP CREATE s g 0", OK),
    ("XGROUP CREATE s h 0", OK),
    (
        "XREADGROUP GROUP g c COUNT 2 STREAMS s >",
        array(array(bulk("s"), array(array(bulk("1-0"), texts("a", "1")), array(bulk("2-0"), texts("a", "2"))))),
        b"%1\r\n" + bulk("s") + array(array(bulk("1-0"), texts("a", "1")), array(bulk("2-0"), texts("a", "2"))),
    ),
    ("XDELEX s ACKED IDS 2 1 9", numbers(2, -1)),
    ("XDELEX s IDS 1 1", numbers(1)),
    ("XDELEX s DELREF IDS 1 1", numbers(-1)),
    ("XACK s g 1", number(0)),
    ("XDELEX s ids 2 2 2 delref", numbers(1, -1)),
    ("XACK s g 2", number(0)),
    ("XLEN s", number(2)),
    ("XGROUP SETID s g $", OK),
    ("XGROUP SETID s h $", OK),
    ("XDELEX s ACKED IDS 1 3", numbers(1)),
    ("XDELEX s IDS 2 3", _BAD_COUNT),
    ("XDELEX s IDS 0 3", error("ERR Number of IDs must be a positive integer")),
    ("XDELEX s IDS 1 x", error("ERR Invalid stream ID specified as stream command argument")),
    ("XDELEX s 1 3 4", SYNTAX),
    ("XDELEX s KEEPREF DELREF IDS 1 3", SYNTAX),
    ("XDELEX none IDS 2 1 2", numbers(-1, -1)),
    ("XADD s 5 a 5", bulk("5-0")),
    ("XGROUP SETID s g 0", OK),
    ("XGROUP SETID s h 4", OK),
    ("XCLAIM s g c 0 4 5 FORCE JUSTID", texts("4-0", "5-0")),
    ("XACKDEL s g ACKED IDS 3 4 5 6", numbers(2, 2, -1)),
    ("XGROUP SETID s g 5", OK),
    ("XCLAIM s g c 0 4 5 FORCE JUSTID", texts("4-0", "5-0")),
    ("XACKDEL s g ACKED IDS 2 4 5", numbers(1, 2)),
    ("XCLAIM s g c 0 5 FORCE JUSTID", texts("5-0")),
    ("XACKDEL s g IDS 1 5", numbers(1)),
    ("XLEN s", number(0)),
    ("XACKDEL none g IDS 1 5", numbers(-1)),
    ("XACKDEL s none IDS 1 5", numbers(-1)),
    ("XACKDEL s g IDS 2 5", _BAD_COUNT),
)

SMALL_ADDITIONS: Table = (
    ("HSET h a 1", number(1)),
    ("HSCAN h 0 NOVALUES", array(bulk("0"), texts("a"))),
    ("XADD s 1 a 1", bulk("1-0")),
    ("XADD s 2 a 2", bulk("2-0")),
    (
        "XREAD STREAMS s +",
        array(array(bulk("s"), array(array(bulk("2-0"), texts("a", "2"))))),
        b"%1\r\n" + bulk("s") + array(array(bulk("2-0"), texts("a", "2"))),
    ),
    ("RPUSH l a", number(1)),
    (
        "LPOS l a RANK -9223372036854775808",
        error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"),
    ),
)

RANKS_WITH_SCORES: Table = (
    ("ZADD z 1 a 2.5 b 3 c", number(3)),
    ("ZRANK z b WITHSCORE", array(number(1), bulk("2.5")), array(number(1), double("2.5"))),
    ("ZREVRANK z a withscore", array(number(2), bulk("1")), array(number(2), double("1"))),
    ("ZRANK z none WITHSCORE", NULL_ARRAY, NIL3),
    ("ZREVRANK none a WITHSCORE", NULL_ARRAY, NIL3),
    ("ZRANK z a WITHSCORES", SYNTAX),
    ("ZRANK none a x", SYNTAX),
    ("ZRANK z a WITHSCORE x", wrong_arity("zrank")),
    ("ZREVRANK z a WITHSCORE x", wrong_arity("zrevrank")),
)

TABLES = {
    "newer hashes: expiring": EXPIRING,
    "newer hashes: expiring wrongly": EXPIRING_WRONGLY,
    "newer hashes: getting and setting": GETTING_AND_SETTING,
    "newer streams: deleting entries": DELETING_ENTRIES,
    "newer collections: small additions": SMALL_ADDITIONS,
    "newer sorted sets: ranks with scores": RANKS_WITH_SCORES,
}
