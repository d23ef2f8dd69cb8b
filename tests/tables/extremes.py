"""Requests at the edges of numbers, and the replies to them: what does not fit is refused, in stock's words."""

from __future__ import annotations

from slotmesh.node.persistence.crc64 import crc64
from tests.tables.support import NOT_INTEGER, OK, Table, array, bulk, error, number, texts

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

#: Timeouts beyond an int64 wrap around in the 7.0 line.
TIMEOUTS: Table = (
    *(
        (f"{blocking} inf", error("ERR timeout is negative"))
        for blocking in ("BZPOPMIN k", "BLPOP k", "BRPOPLPUSH a b")
    ),
    ("BLMOVE a b LEFT RIGHT 1e300", error("ERR timeout is negative")),
    ("BLMPOP inf 1 k LEFT", error("ERR timeout is negative")),
    ("BZMPOP 9223372036854775807 1 k MIN", error("ERR timeout is negative")),
    ("BLPOP k -inf", error("ERR timeout is negative")),
    ("BLPOP k nan", error("ERR timeout is not a float or out of range")),
)

_HLL = b"HYLL\0\0\0\0" + bytes(7) + b"\x80"

#: Registers that no elements lead to.
REGISTERS: Table = (
    (("SET", "h", _HLL + b"\xff" * 12288), OK),
    ("PFCOUNT h", number(-(2**63))),
    ("PFCOUNT h", number(-(2**63))),
    ("PFCOUNT h nosuch", number(-(2**63))),
    ("PFADD h a b", number(0)),
    ("PFMERGE d h", OK),
    ("PFCOUNT d", number(-(2**63))),
    (("SET", "h", _HLL + b"\xff" * 6144 + bytes(6144)), OK),
    ("PFCOUNT h", number(13268)),
)

#: Times at the ends of an int64, by every command that takes one.
EXPIRIES: Table = (
    ("SET s v", OK),
    ("EXPIRE s 9223372036854775807", error("ERR invalid expire time in 'expire' command")),
    ("EXPIRE s 9223372036854775", error("ERR invalid expire time in 'expire' command")),
    ("EXPIRE s -9223372036854775808", error("ERR invalid expire time in 'expire' command")),
    ("PEXPIRE s 9223372036854775807", error("ERR invalid expire time in 'pexpire' command")),
    ("EXPIREAT s 9223372036854775807", error("ERR invalid expire time in 'expireat' command")),
    ("SET s v EX 9223372036854775", error("ERR invalid expire time in 'set' command")),
    ("SET s v PX 9223372036854775807", error("ERR invalid expire time in 'set' command")),
    ("SETEX s 9223372036854775 v", error("ERR invalid expire time in 'setex' command")),
    ("PSETEX s 9223372036854775807 v", error("ERR invalid expire time in 'psetex' command")),
    ("GETEX s EX 9223372036854775", error("ERR invalid expire time in 'getex' command")),
    ("PEXPIREAT s 9223372036854775807", number(1)),
    ("PEXPIRETIME s", number(2**63 - 1)),
    ("EXPIRETIME s", number(9223372036854776)),
    ("SET s v PXAT 9223372036854775807", OK),
    ("PEXPIRETIME s", number(2**63 - 1)),
    ("PEXPIREAT s -9223372036854775808", number(1)),
    ("EXISTS s", number(0)),
)

_VALUE = b"\x00\x01v\x0a\x00" + crc64(b"\x00\x01v\x0a\x00").to_bytes(8, "little")

#: RESTORE: a time that wraps around is past, an idle time ends where the clock of 24 bits does.
RESTORED: Table = (
    (("RESTORE", "k", 2**63 - 1, _VALUE), OK),
    ("EXISTS k", number(0)),
    (("RESTORE", "k", 2**63 - 1, _VALUE, "ABSTTL"), OK),
    ("PEXPIRETIME k", number(2**63 - 1)),
    (("RESTORE", "k", 2**63 - 1, _VALUE, "REPLACE"), OK),
    ("EXISTS k", number(0)),
    (("RESTORE", "k", 0, _VALUE, "IDLETIME", 2**63 - 1), OK),
    ("OBJECT IDLETIME k", number(16777214)),
    (("RESTORE", "k", 0, _VALUE, "REPLACE", "IDLETIME", -1), error("ERR Invalid IDLETIME value, must be >= 0")),
    (("RESTORE", "k", 0, _VALUE, "REPLACE", "FREQ", 256), error("ERR Invalid FREQ value, must be >= 0 and <= 255")),
    (("RESTORE", "k", -1, _VALUE, "REPLACE"), error("ERR Invalid TTL value, must be >= 0")),
    (("RESTORE", "k", 2**63, _VALUE, "REPLACE"), NOT_INTEGER),
)

TABLES: dict[str, Table] = {
    "extremes: many digits": MANY_DIGITS,
    "extremes: positions": POSITIONS,
    "extremes: timeouts": TIMEOUTS,
    "extremes: registers": REGISTERS,
    "extremes: expiries": EXPIRIES,
    "extremes: restored": RESTORED,
}
