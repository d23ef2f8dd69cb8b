"""Requests and replies of what streams learned with Redis 8.4 to 8.10: no oracle at hand knows it.

Replies and texts are those that the vendor documents. The clock of the node stands still.
"""

from __future__ import annotations

from tests.support.inprocess import START_MS
from tests.support.tables import (
    NOT_INTEGER,
    OK,
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

TABLES = {
    "newest streams: releasing": RELEASING,
    "newest streams: releasing by force": RELEASING_BY_FORCE,
    "newest streams: releasing wrongly": RELEASING_WRONGLY,
}
