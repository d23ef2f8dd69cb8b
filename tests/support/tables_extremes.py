"""Requests at the edges of numbers, and the replies to them: what does not fit is refused, in stock's words."""

from __future__ import annotations

from tests.support.tables import NOT_INTEGER, OK, Table, array, bulk, error, number, texts

BIG = "9" * 5000

#: Numbers of 5,000 digits, where Python's own reader raises.
MANY_DIGITS: Table = (
    ("MULTI", OK),
    (f"SELECT {BIG}", b"+QUEUED\r\n"),
    ("EXEC", array(NOT_INTEGER)),
    (f"SELECT {BIG}", NOT_INTEGER),
    (f"LMPOP {BIG} k LEFT", error("ERR numkeys should be greater than 0")),
    (
        f"CONFIG SET maxmemory {BIG}",
        error("ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value"),
    ),
    (
        ("CONFIG", "SET", "client-output-buffer-limit", f"normal {BIG} 0 0"),
        error(
            "ERR CONFIG SET failed (possibly related to argument 'client-output-buffer-limit') - "
            "Error in hard, soft or soft_seconds setting in buffer limit configuration."
        ),
    ),
    (f"SCAN {BIG}", error("ERR invalid cursor")),
    ("SCAN 18446744073709551616", error("ERR invalid cursor")),
    (f"XADD s {BIG}-1 f v", error("ERR Invalid stream ID specified as stream command argument")),
    ("XADD s 0000000000000000000000000000001-00000000000000000000000000000001 f v", bulk(b"1-1")),
)

#: Scores that are no positions: what does not fit into 64 bits becomes what x86 makes of it.
POSITIONS: Table = (
    ("ZADD g inf a -inf b 1e300 c 9223372036854775808 d 18446744073709551616 e -1 f", number(6)),
    ("GEOHASH g a b c d e f", texts(*["00bh0hbj200"] * 5, "bp05b5048p0")),
    ("GEODIST g a a", bulk(b"0.0000")),
    ("GEODIST g a f", bulk(b"18919844.5891")),
)

TABLES: dict[str, Table] = {"extremes: many digits": MANY_DIGITS, "extremes: positions": POSITIONS}
