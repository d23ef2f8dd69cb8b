"""Requests and replies of XCLAIM and XAUTOCLAIM."""

from __future__ import annotations

from tests.tables.support import (
    OK,
    SYNTAX,
    Table,
    a_map,
    array,
    bulk,
    error,
    number,
    texts,
)

CLAIMING: Table = (
    ("XADD s 1 a 1", bulk("1-0")),
    ("XADD s 2 a 2", bulk("2-0")),
    ("XADD s 3 a 3", bulk("3-0")),
    ("XGROUP CREATE s g 0", OK),
    (
        "XREADGROUP GROUP g c STREAMS s >",
        array(
            array(
                bulk("s"),
                array(
                    array(bulk("1-0"), texts("a", "1")),
                    array(bulk("2-0"), texts("a", "2")),
                    array(bulk("3-0"), texts("a", "3")),
                ),
            )
        ),
        a_map(
            bulk("s"),
            array(
                array(bulk("1-0"), texts("a", "1")),
                array(bulk("2-0"), texts("a", "2")),
                array(bulk("3-0"), texts("a", "3")),
            ),
        ),
    ),
    ("XCLAIM s g d 0 1 9", array(array(bulk("1-0"), texts("a", "1")))),
    ("XCLAIM s g d 1000000 2", array()),
    ("XCLAIM s g d 0 2 JUSTID", array(bulk("2-0"))),
    ("XCLAIM s g d 0 2 RETRYCOUNT 7 IDLE 10 FORCE", array(array(bulk("2-0"), texts("a", "2")))),
    ("XCLAIM s g d x 2", error("ERR Invalid min-idle-time argument for XCLAIM")),
    ("XCLAIM s g d 0 2 IDLE x", error("ERR Invalid IDLE option argument for XCLAIM")),
    ("XCLAIM s g d 0 2 TIME x", error("ERR Invalid TIME option argument for XCLAIM")),
    ("XCLAIM s g d 0 2 RETRYCOUNT x", error("ERR Invalid RETRYCOUNT option argument for XCLAIM")),
    ("XCLAIM s g d 0 2 LASTID x", error("ERR Invalid stream ID specified as stream command argument")),
    ("XCLAIM s g d 0 2 nonsense", error("ERR Unrecognized XCLAIM option 'nonsense'")),
    ("XCLAIM s g d 0 2 LASTID 9", array(array(bulk("2-0"), texts("a", "2")))),
    ("XCLAIM s none d 0 2", error("NOGROUP No such key 's' or consumer group 'none'")),
    ("XCLAIM none g d 0 2", error("NOGROUP No such key 'none' or consumer group 'g'")),
    (
        "XINFO GROUPS s",
        array(
            array(
                bulk("name"),
                bulk("g"),
                bulk("consumers"),
                number(2),
                bulk("pending"),
                number(3),
                bulk("last-delivered-id"),
                bulk("9-0"),
                bulk("entries-read"),
                number(3),
                bulk("lag"),
                number(0),
            )
        ),
        array(
            a_map(
                bulk("name"),
                bulk("g"),
                bulk("consumers"),
                number(2),
                bulk("pending"),
                number(3),
                bulk("last-delivered-id"),
                bulk("9-0"),
                bulk("entries-read"),
                number(3),
                bulk("lag"),
                number(0),
            )
        ),
    ),
    ("XACK s g 3", number(1)),
    ("XCLAIM s g d 0 3", array()),
    ("XCLAIM s g d 0 3 FORCE", array(array(bulk("3-0"), texts("a", "3")))),
    ("XAUTOCLAIM s g e 0 0 COUNT 1", array(bulk("2-0"), array(array(bulk("1-0"), texts("a", "1"))), array())),
    ("XAUTOCLAIM s g e 0 2 JUSTID", array(bulk("0-0"), texts("2-0", "3-0"), array())),
    ("XAUTOCLAIM s g e 1000000 0", array(bulk("0-0"), array(), array())),
    ("XDEL s 1", number(1)),
    (
        "XAUTOCLAIM s g c 0 0",
        array(
            bulk("0-0"),
            array(array(bulk("2-0"), texts("a", "2")), array(bulk("3-0"), texts("a", "3"))),
            array(bulk("1-0")),
        ),
    ),
    ("XAUTOCLAIM s g c x 0", error("ERR Invalid min-idle-time argument for XAUTOCLAIM")),
    ("XAUTOCLAIM s g c 0 x", error("ERR Invalid stream ID specified as stream command argument")),
    ("XAUTOCLAIM s g c 0 0 COUNT 0", error("ERR COUNT must be > 0")),
    ("XAUTOCLAIM s g c 0 0 COUNT x", error("ERR COUNT must be > 0")),
    ("XAUTOCLAIM s g c 0 0 COUNT", SYNTAX),
    ("XAUTOCLAIM s none c 0 0", error("NOGROUP No such key 's' or consumer group 'none'")),
    ("XAUTOCLAIM none g c 0 0", error("NOGROUP No such key 'none' or consumer group 'g'")),
    ("XPENDING s g", array(number(2), bulk("2-0"), bulk("3-0"), array(texts("c", "2")))),
)

TABLES = {
    "stream claims: claiming": CLAIMING,
}
