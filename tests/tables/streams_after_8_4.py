"""Requests and replies of what streams learned with Redis 8.4 to 8.10: no oracle at hand knows it.

Replies and texts are those that the vendor documents. The clock of the node stands still.
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
    Row,
    Table,
    array,
    bulk,
    error,
    number,
    texts,
    wrong_arity,
)

_MOST = 2**63 - 1
_NO_GROUP = error("NOGROUP No such key 's' or consumer group 'none'")


def pending(entry: int, consumer: str, idle: int, count: int) -> bytes:
    """A row of XPENDING."""
    return array(bulk(f"{entry}-0"), bulk(consumer), number(idle), number(count))


def entry(number_: int) -> bytes:
    """The entry `n-0` with the field f and the value v."""
    return array(bulk(f"{number_}-0"), texts("f", "v"))


def reading(request: str, *streams: tuple[str, list[bytes]]) -> Row:
    """A row of XREAD or XREADGROUP: the entries of each stream."""
    parts = [(bulk(key), array(*entries)) for key, entries in streams]
    return (
        request,
        array(*(array(key, entries) for key, entries in parts)),
        b"%%%d\r\n" % len(parts) + b"".join(key + entries for key, entries in parts),
    )


def _adding(key: str, *numbers: int) -> tuple[Row, ...]:
    return tuple((f"XADD {key} {number_} f v", bulk(f"{number_}-0")) for number_ in numbers)


RELEASING: Table = (
    *_adding("s", 1, 2, 3, 4),
    ("XGROUP CREATE s g 0", OK),
    reading("XREADGROUP GROUP g c STREAMS s >", ("s", [entry(1), entry(2), entry(3), entry(4)])),
    ("XNACK s g FAIL IDS 2 3 9", number(1)),
    ("XNACK s g fatal ids 1 1", number(1)),
    ("XNACK s g SILENT IDS 1 2", number(1)),
    (
        "XPENDING s g - + 10",
        array(pending(1, "", -1, _MOST), pending(2, "", -1, 0), pending(3, "", -1, 1), pending(4, "c", 0, 1)),
    ),
    ("XPENDING s g IDLE 5 - + 10", array(pending(1, "", -1, _MOST), pending(2, "", -1, 0), pending(3, "", -1, 1))),
    ("XPENDING s g - + 10 c", array(pending(4, "c", 0, 1))),
    ("XPENDING s g - + 10 nobody", array()),
    ("XPENDING s g", array(number(4), bulk("1-0"), bulk("4-0"), array(texts("c", "1")))),
    ("XNACK s g SILENT IDS 2 2 3", number(2)),
    ("XPENDING s g 2 3 10", array(pending(2, "", -1, 0), pending(3, "", -1, 0))),
    ("XNACK s g FATAL IDS 1 3 RETRYCOUNT 42", number(1)),
    ("XPENDING s g 3 3 10", array(pending(3, "", -1, 42))),
    # claimed like any other entry, whatever time it is asked to have been idle; the count goes no higher than it can
    ("XCLAIM s g d 9223372036854775807 1 4", array(entry(1))),
    ("XPENDING s g 1 1 10", array(pending(1, "d", 0, _MOST))),
    reading("XREADGROUP GROUP g d STREAMS s 0", ("s", [entry(1)])),
    ("XPENDING s g 1 1 10", array(pending(1, "d", 0, _MOST))),
    ("XAUTOCLAIM s g d 99999 0 JUSTID", array(bulk("0-0"), texts("2-0", "3-0"), array())),
    ("XNACK s g FAIL IDS 1 2", number(1)),
    ("XACK s g 2", number(1)),
    ("XPENDING s g 2 2 10", array()),
    ("XGROUP DELCONSUMER s g d", number(2)),
    ("XPENDING s g", array(number(1), bulk("4-0"), bulk("4-0"), array(texts("c", "1")))),
    ("XNACK s g FAIL IDS 1 4", number(1)),
    ("XGROUP DELCONSUMER s g c", number(0)),
    ("XPENDING s g - + 10", array(pending(4, "", -1, 1))),
    ("COPY s t", number(1)),
    ("XGROUP DESTROY s g", number(1)),
    ("XPENDING t g - + 10", array(pending(4, "", -1, 1))),
)

RELEASING_BY_FORCE: Table = (
    *_adding("s", 1, 2),
    ("XGROUP CREATE s g 0", OK),
    ("XNACK s g FAIL IDS 1 1", number(0)),
    ("XNACK s g FAIL FORCE IDS 2 1 9", number(1)),
    ("XNACK s g FATAL IDS 1 2 FORCE", number(1)),
    ("XPENDING s g - + 10", array(pending(1, "", -1, 0), pending(2, "", -1, _MOST))),
    ("XNACK s g FAIL RETRYCOUNT 7 IDS 2 1 2 FORCE", number(2)),
    ("XPENDING s g - + 10", array(pending(1, "", -1, 7), pending(2, "", -1, 7))),
    ("XDEL s 1", number(1)),
    ("XNACK s g SILENT IDS 1 1", number(1)),
    ("XCLAIM s g c 0 1", array()),
    ("XPENDING s g - + 10", array(pending(2, "", -1, 7))),
)

RELEASING_WRONGLY: Table = (
    *_adding("s", 1, 2),
    ("XGROUP CREATE s g 0", OK),
    ("XNACK s g FAIL IDS 1", wrong_arity("xnack")),
    ("XNACK s none FAIL IDS 1 1", _NO_GROUP),
    ("XNACK none g FAIL IDS 1 1", error("NOGROUP No such key 'none' or consumer group 'g'")),
    ("XNACK s g MAYBE IDS 1 1", error("ERR mode must be SILENT, FAIL, or FATAL")),
    ("XNACK s g FAIL FATAL IDS 1 1", error("ERR Unrecognized XNACK option 'FATAL'")),
    ("XNACK s g FAIL IDS 1 1 2", error("ERR Unrecognized XNACK option '2'")),
    ("XNACK s g FAIL IDS 1 1 RETRYCOUNT", error("ERR Unrecognized XNACK option 'RETRYCOUNT'")),
    ("XNACK s g FAIL IDS 1 1 IDS 1 1", error("ERR Unrecognized XNACK option 'IDS'")),
    ("XNACK s g FAIL FORCE RETRYCOUNT 5", error("ERR syntax error, expected IDS keyword")),
    ("XNACK s g FAIL IDS x 1", error("ERR numids must be a positive integer")),
    ("XNACK s g FAIL IDS 0 1", error("ERR numids must be a positive integer")),
    ("XNACK s g FAIL IDS 2 1", error("ERR number of IDs doesn't match numids")),
    ("XNACK s g FAIL IDS 1 x", error("ERR Invalid stream ID specified as stream command argument")),
    ("XNACK s g FAIL IDS 1 1 RETRYCOUNT x", NOT_INTEGER),
    ("XNACK s g FAIL IDS 1 1 RETRYCOUNT -1", error("ERR Invalid RETRYCOUNT value, must be >= 0")),
    ("SET word x", OK),
    ("XNACK word g FAIL IDS 1 1", WRONG_TYPE),
    # only our own words in a log mean a release; for a client these are an ordinary claim
    (
        ("XCLAIM", "s", "g", "", 0, 1, "IDLE", 0, "TIME", 0, "RETRYCOUNT", 1, "FORCE", "JUSTID", "LASTID", "0-0"),
        texts("1-0"),
    ),
    ("XPENDING s g - + 10", array(pending(1, "", START_MS, 1))),
)


def claimed(number_: int, idle: int, count: int) -> bytes:
    """The entry `n-0` as CLAIM returns it."""
    return array(bulk(f"{number_}-0"), texts("f", "v"), number(idle), number(count))


CLAIMING_WHILE_READING: Table = (
    *_adding("s", 1, 2, 3),
    ("XGROUP CREATE s g 0", OK),
    reading("XREADGROUP GROUP g c COUNT 1 CLAIM 5 STREAMS s >", ("s", [claimed(1, 0, 0)])),
    reading("XREADGROUP GROUP g c CLAIM 5 COUNT 1 STREAMS s >", ("s", [claimed(2, 0, 0)])),
    # the times are those that XCLAIM sets: 2-0 has waited for longer than 1-0
    ("XCLAIM s g c 0 1 IDLE 500 RETRYCOUNT 3 JUSTID", texts("1-0")),
    ("XCLAIM s g c 0 2 IDLE 900 RETRYCOUNT 4 JUSTID", texts("2-0")),
    (
        "XREADGROUP GROUP g d CLAIM 901 COUNT 0 STREAMS s 5",
        array(array(bulk("s"), array())),
        b"%1\r\n$1\r\ns\r\n*0\r\n",
    ),
    reading("XREADGROUP GROUP g d CLAIM 600 COUNT 1 STREAMS s >", ("s", [claimed(2, 900, 4)])),
    reading("XREADGROUP GROUP g d CLAIM 500 STREAMS s >", ("s", [claimed(1, 500, 3), claimed(3, 0, 0)])),
    ("XPENDING s g - + 10", array(pending(1, "d", 0, 4), pending(2, "d", 0, 5), pending(3, "d", 0, 1))),
    ("XREADGROUP GROUP g e CLAIM 1 STREAMS s >", NULL_ARRAY, NIL3),
    reading(
        "XREADGROUP GROUP g e CLAIM 0 NOACK STREAMS s >",
        ("s", [claimed(1, 0, 4), claimed(2, 0, 5), claimed(3, 0, 1)]),
    ),
    ("XPENDING s g", array(number(3), bulk("1-0"), bulk("3-0"), array(texts("e", "3")))),
    # what was given back comes first, in the order of that
    ("XNACK s g FAIL IDS 2 3 1", number(2)),
    reading("XREADGROUP GROUP g c CLAIM 0 COUNT 2 STREAMS s >", ("s", [claimed(3, -1, 2), claimed(1, -1, 5)])),
    ("XNACK s g FATAL IDS 1 1", number(1)),
    reading(f"XREADGROUP GROUP g c CLAIM {_MOST} STREAMS s >", ("s", [claimed(1, -1, _MOST)])),
    ("XPENDING s g 1 1 1", array(pending(1, "c", 0, _MOST))),
    # what the stream has no more is pending no longer
    ("XNACK s g FAIL IDS 1 3", number(1)),
    ("XDEL s 2 3", number(2)),
    reading("XREADGROUP GROUP g c CLAIM 0 STREAMS s >", ("s", [claimed(1, 0, _MOST)])),
    ("XPENDING s g", array(number(1), bulk("1-0"), bulk("1-0"), array(texts("c", "1")))),
    # CLAIM means nothing for the history of a consumer
    reading("XREADGROUP GROUP g c CLAIM 0 STREAMS s 0", ("s", [entry(1)])),
    *_adding("t", 7),
    ("XGROUP CREATE t g 0", OK),
    reading(
        "XREADGROUP GROUP g c CLAIM 0 STREAMS s t > >",
        ("s", [claimed(1, 0, _MOST)]),
        ("t", [claimed(7, 0, 0)]),
    ),
    ("XREADGROUP GROUP g c CLAIM x STREAMS s >", error("ERR min-idle-time is not an integer or out of range")),
    ("XREADGROUP GROUP g c CLAIM -1 STREAMS s >", error("ERR min-idle-time must be a positive integer")),
    (
        "XREAD CLAIM 1 STREAMS s 0",
        error("ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead."),
    ),
)

READING_UP_TO_A_BOUND: Table = (
    *_adding("a", 1, 2, 3),
    *_adding("b", 4, 5, 6),
    reading("XREAD MAXCOUNT 4 STREAMS a b 0 0", ("a", [entry(1), entry(2), entry(3)]), ("b", [entry(4)])),
    reading("XREAD MAXCOUNT 3 STREAMS a b 0 0", ("a", [entry(1), entry(2), entry(3)])),
    reading("XREAD COUNT 2 MAXCOUNT 3 STREAMS a b 0 0", ("a", [entry(1), entry(2)]), ("b", [entry(4)])),
    reading("XREAD MAXSIZE 1 STREAMS a b 0 0", ("a", [entry(1)])),
    # of this reply an entry is 31 bytes, what is around a stream 15, and around all 4
    reading("XREAD MAXSIZE 80 STREAMS a b 0 0", ("a", [entry(1)])),
    reading("XREAD MAXSIZE 81 STREAMS a b 0 0", ("a", [entry(1), entry(2)])),
    reading("XREAD MAXSIZE 158 STREAMS a b 0 0", ("a", [entry(1), entry(2), entry(3)]), ("b", [entry(4)])),
    reading("XREAD MAXSIZE 157 STREAMS a b 0 0", ("a", [entry(1), entry(2), entry(3)])),
    reading("XREAD MAXSIZE 1000 MAXCOUNT 1 STREAMS b a 0 0", ("b", [entry(4)])),
    ("XGROUP CREATE a g 0", OK),
    ("XGROUP CREATE b g 0", OK),
    reading("XREADGROUP GROUP g c MAXCOUNT 2 STREAMS a b > >", ("a", [entry(1), entry(2)])),
    ("XPENDING a g", array(number(2), bulk("1-0"), bulk("2-0"), array(texts("c", "2")))),
    reading("XREADGROUP GROUP g c MAXSIZE 100 STREAMS a b > >", ("a", [entry(3)]), ("b", [entry(4)])),
    reading(
        "XREADGROUP GROUP g c MAXCOUNT 4 STREAMS a b 0 0", ("a", [entry(1), entry(2), entry(3)]), ("b", [entry(4)])
    ),
    reading("XREADGROUP GROUP g c MAXCOUNT 3 STREAMS a b 0 0", ("a", [entry(1), entry(2), entry(3)])),
    reading(
        "XREADGROUP GROUP g c MAXCOUNT 5 CLAIM 0 STREAMS a b > >",
        ("a", [claimed(1, 0, 3), claimed(2, 0, 3), claimed(3, 0, 3)]),
        ("b", [claimed(4, 0, 2), claimed(5, 0, 0)]),
    ),
    reading("XREADGROUP GROUP g c MAXCOUNT 1 CLAIM 0 STREAMS a b > >", ("a", [claimed(1, 0, 4)])),
    ("XPENDING b g - + 9", array(pending(4, "c", 0, 3), pending(5, "c", 0, 1))),
    ("XREAD MAXCOUNT 0 STREAMS a 0", error("ERR MAXCOUNT must be a positive integer")),
    ("XREAD MAXCOUNT x STREAMS a 0", error("ERR MAXCOUNT must be a positive integer")),
    ("XREAD MAXSIZE 0 STREAMS a 0", error("ERR MAXSIZE must be a positive integer")),
    ("XREAD COUNT 3 MAXCOUNT 2 STREAMS a 0", error("ERR MAXCOUNT must be greater than or equal to COUNT")),
)


def _auto(number_: int) -> bytes:
    """The ID of an entry that was added with `*`: the clock stands still."""
    return bulk(f"{START_MS}-{number_}")


ADDING_ONCE: Table = (
    ("XADD s IDMP p 1 * f v", _auto(0)),
    ("XADD s idmp p 1 * other text and more", _auto(0)),
    ("XADD s IDMP p 2 * f v", _auto(1)),
    ("XADD s IDMP q 1 * f v", _auto(2)),
    ("XADD s MAXLEN = 1 IDMP p 2 * f v", _auto(1)),
    ("XLEN s", number(3)),
    ("XADD s IDMP p 3 MAXLEN 2 * f v", _auto(3)),
    ("XLEN s", number(2)),
    # an entry that is gone was sent all the same
    ("XADD s IDMP p 1 * f v", _auto(0)),
    ("XADD s IDMPAUTO p * a 1 b 2", _auto(4)),
    ("XADD s IDMPAUTO p * b 2 a 1", _auto(4)),
    ("XADD s IDMPAUTO p * b 1 a 2", _auto(5)),
    ("XADD s IDMPAUTO q * a 1 b 2", _auto(6)),
    ("XADD s IDMPAUTO q * a 11", _auto(7)),
    ("XADD s IDMPAUTO q * a1 1", _auto(8)),
    ("XADD none NOMKSTREAM IDMP p 1 * f v", NIL2, NIL3),
    ("EXISTS none", number(0)),
    ("XADD s NOMKSTREAM IDMP p 9 * f v", _auto(9)),
)

ADDING_ONCE_WRONGLY: Table = (
    ("XADD s IDMP p i 1-1 f v", error("ERR IDMP/IDMPAUTO can be used only with auto-generated IDs")),
    ("XADD s IDMPAUTO p 1-* f v", error("ERR IDMP/IDMPAUTO can be used only with auto-generated IDs")),
    ("XADD s IDMP p i IDMP p i * f v", error("ERR IDMP/IDMPAUTO specified multiple times")),
    ("XADD s IDMPAUTO p IDMP p i * f v", error("ERR IDMP/IDMPAUTO specified multiple times")),
    (("XADD", "s", "IDMP", "", "i", "*", "f", "v"), error("ERR IDMP requires a non-empty producer ID")),
    (("XADD", "s", "IDMP", "p", "", "*", "f", "v"), error("ERR IDMP requires a non-empty idempotent ID")),
    (("XADD", "s", "IDMPAUTO", "", "*", "f", "v"), error("ERR IDMPAUTO requires a non-empty producer ID")),
    ("XADD s IDMP p * f v", error("ERR Invalid stream ID specified as stream command argument")),
    ("XADD s IDMP p i * f", wrong_arity("xadd")),
    ("XADD s x y z IDMP", error("ERR Invalid stream ID specified as stream command argument")),
    ("XADD s MAXLEN 1 IDMP p", SYNTAX),
    ("EXISTS s", number(0)),
    ("SET word x", OK),
    ("XADD word IDMP p i * f v", WRONG_TYPE),
    ("XCFGSET word IDMP-MAXSIZE 5", WRONG_TYPE),
    ("XIDMPRECORD word p i 1-1", WRONG_TYPE),
    ("XCFGSET s IDMP-MAXSIZE 5", error("ERR no such key")),
    ("XIDMPRECORD s p i 1-1", error("ERR no such key")),
    ("XADD s 1-1 f v", bulk("1-1")),
    ("XCFGSET s", error("ERR At least one parameter must be specified")),
    ("XCFGSET s IDMP-DURATION", SYNTAX),
    ("XCFGSET s nonsense 1", SYNTAX),
    ("XCFGSET s IDMP-DURATION x", NOT_INTEGER),
    ("XCFGSET s IDMP-DURATION 0", error("ERR IDMP-DURATION must be between 1 and 86400 seconds")),
    ("XCFGSET s IDMP-DURATION 86401", error("ERR IDMP-DURATION must be between 1 and 86400 seconds")),
    ("XCFGSET s IDMP-MAXSIZE 10001", error("ERR IDMP-MAXSIZE must be between 1 and 10000 entries")),
    ("XIDMPRECORD s p i 9-9", error("ERR XIDMPRECORD requires the ID of an existing entry")),
    (
        ("XIDMPRECORD", "s", "", "i", "1-1"),
        error("ERR XIDMPRECORD requires a non-empty producer ID and idempotent ID"),
    ),
)

REMEMBERING_WHAT_WAS_SENT: Table = (
    ("XADD s IDMP p 1 * f v", _auto(0)),
    ("XCFGSET s IDMP-MAXSIZE 2 IDMP-DURATION 60", OK),
    # other settings: all is forgotten
    ("XADD s IDMP p 1 * f v", _auto(1)),
    ("XADD s IDMP p 2 * f v", _auto(2)),
    ("XCFGSET s IDMP-MAXSIZE 2", OK),
    ("XADD s IDMP p 1 * f v", _auto(1)),
    ("XADD s IDMP p 3 * f v", _auto(3)),
    # two are remembered, and the oldest one had to go
    ("XADD s IDMP p 1 * f v", _auto(4)),
    ("XADD s IDMP p 2 * f v", _auto(5)),
    ("XADD s IDMP p 1 * f v", _auto(4)),
    ("XADD s IDMP q 1 * f v", _auto(6)),
    (f"XIDMPRECORD s p 2 {START_MS}-5", OK),
    (f"XIDMPRECORD s p 2 {START_MS}-6", error("ERR XIDMPRECORD: the idempotent ID belongs to another entry")),
    (f"XIDMPRECORD s r 7 {START_MS}-6", OK),
    ("XADD s IDMP r 7 * f v", _auto(6)),
)

TRIMMING_WITH_REFERENCES: Table = (
    *_adding("s", 1, 2, 3, 4, 5),
    ("XGROUP CREATE s g 0", OK),
    ("XGROUP CREATE s h 0", OK),
    reading("XREADGROUP GROUP g c COUNT 3 STREAMS s >", ("s", [entry(1), entry(2), entry(3)])),
    reading("XREADGROUP GROUP h c COUNT 4 STREAMS s >", ("s", [entry(1), entry(2), entry(3), entry(4)])),
    ("XACK s g 1 3", number(2)),
    ("XACK s h 1 2 3", number(3)),
    # 2 is pending for g, 4 for h and not yet read by g, 5 not yet read by either
    ("XTRIM s MAXLEN 0 ACKED", number(2)),
    ("XRANGE s - +", array(entry(2), entry(4), entry(5))),
    ("XTRIM s MINID 9 ACKED", number(0)),
    ("XTRIM s MAXLEN 2", number(1)),
    ("XPENDING s g - + 9", array(pending(2, "c", 0, 1))),
    ("XTRIM s KEEPREF MAXLEN = 1", number(1)),
    ("XPENDING s h - + 9", array(pending(4, "c", 0, 1))),
    ("XADD s DELREF MAXLEN 0 6 f v", bulk("6-0")),
    ("XPENDING s h - + 9", array(pending(4, "c", 0, 1))),
    *_adding("t", 1, 2, 3),
    ("XGROUP CREATE t g 0", OK),
    reading("XREADGROUP GROUP g c STREAMS t >", ("t", [entry(1), entry(2), entry(3)])),
    ("XADD t MAXLEN 3 DELREF 4 f v", bulk("4-0")),
    ("XPENDING t g - + 9", array(pending(2, "c", 0, 1), pending(3, "c", 0, 1))),
    ("XTRIM t MINID 3 DELREF", number(1)),
    ("XPENDING t g - + 9", array(pending(3, "c", 0, 1))),
    ("XADD t ACKED MAXLEN 1 5 f v", bulk("5-0")),
    ("XLEN t", number(3)),
    ("XACK t g 3", number(1)),
    ("XADD t ACKED MAXLEN 1 6 f v", bulk("6-0")),
    ("XRANGE t - +", array(entry(4), entry(5), entry(6))),
    # without groups the words mean nothing
    *_adding("u", 1, 2),
    ("XTRIM u MAXLEN 1 ACKED", number(1)),
    ("XADD u KEEPREF 3 f v", bulk("3-0")),
    ("XADD u KEEPREF DELREF 4 f v", SYNTAX),
    ("XTRIM u MAXLEN 1 ACKED ACKED", SYNTAX),
    ("XTRIM u LIMIT 0 ACKED", error("ERR syntax error, XTRIM must be called with a trimming strategy")),
)

TABLES = {
    "newest streams: releasing": RELEASING,
    "newest streams: releasing by force": RELEASING_BY_FORCE,
    "newest streams: releasing wrongly": RELEASING_WRONGLY,
    "newest streams: trimming with references": TRIMMING_WITH_REFERENCES,
    "newest streams: adding once": ADDING_ONCE,
    "newest streams: adding once wrongly": ADDING_ONCE_WRONGLY,
    "newest streams: remembering what was sent": REMEMBERING_WHAT_WAS_SENT,
    "newest streams: claiming while reading": CLAIMING_WHILE_READING,
    "newest streams: reading up to a bound": READING_UP_TO_A_BOUND,
}
