"""Requests and replies of string commands."""

from __future__ import annotations

from tests.tables.support import (
    EMPTY,
    NIL2,
    NIL3,
    NOT_FLOAT,
    NOT_INTEGER,
    OK,
    SYNTAX,
    WRONG_TYPE,
    Table,
    array,
    bulk,
    error,
    number,
    wrong_arity,
)

_TOO_LONG = error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
_OVERFLOW = error("ERR increment or decrement would overflow")

SET_AND_GET: Table = (
    ("GET k", NIL2, NIL3),
    ("SET k v", OK),
    ("get k", bulk("v")),
    ("GET", wrong_arity("get")),
    ("GET a b", wrong_arity("get")),
    ("SET k", wrong_arity("set")),
    (("SET", b"\x00\r\n", b"\xff\x00"), OK),
    (("GET", b"\x00\r\n"), bulk(b"\xff\x00")),
    ("SET k w NX", NIL2, NIL3),
    ("SET k w XX", OK),
    ("SET nosuch w XX", NIL2, NIL3),
    ("SET k w NX XX", SYNTAX),
    ("SET k w EX", SYNTAX),
    ("SET k w EX 10 PX 10", SYNTAX),
    ("SET k w EX 10 KEEPTTL", SYNTAX),
    ("SET k w EX ten", NOT_INTEGER),
    ("SET k w EX 0", error("ERR invalid expire time in 'set' command")),
    ("SET k w PX -5", error("ERR invalid expire time in 'set' command")),
    ("SET k w EX 9223372036854775807", error("ERR invalid expire time in 'set' command")),
    ("SET k x GET", bulk("w")),
    ("SET fresh x GET", NIL2, NIL3),
    ("SET k y XX GET", bulk("x")),
    ("SET k z NX GET", bulk("y")),
    ("GET k", bulk("y")),
    ("SET k t EX 100", OK),
    ("TTL k", number(100)),
    ("SET k t KEEPTTL", OK),
    ("TTL k", number(100)),
    ("SET k t", OK),
    ("TTL k", number(-1)),
    ("SETNX k u", number(0)),
    ("SETNX n u", number(1)),
    ("SETEX k 10 v", OK),
    ("TTL k", number(10)),
    ("SETEX k 0 v", error("ERR invalid expire time in 'setex' command")),
    ("PSETEX k 20000 v", OK),
    ("TTL k", number(20)),
    ("PSETEX k -1 v", error("ERR invalid expire time in 'psetex' command")),
    ("GETSET k new", bulk("v")),
    ("GETSET fresh2 new", NIL2, NIL3),
    ("GETDEL k", bulk("new")),
    ("GETDEL k", NIL2, NIL3),
    ("RPUSH list x", number(1)),
    ("GET list", WRONG_TYPE),
    ("GETDEL list", WRONG_TYPE),
    ("GETSET list x", WRONG_TYPE),
    ("SET list x GET", WRONG_TYPE),
    ("STRLEN list", WRONG_TYPE),
    ("APPEND list x", WRONG_TYPE),
    ("SET list x", OK),
    ("TYPE list", b"+string\r\n"),
)

GETEX: Table = (
    ("GETEX k", NIL2, NIL3),
    ("SET k v", OK),
    ("GETEX k", bulk("v")),
    ("GETEX k EX 100", bulk("v")),
    ("TTL k", number(100)),
    ("GETEX k PERSIST", bulk("v")),
    ("TTL k", number(-1)),
    ("GETEX k PERSIST EX 1", SYNTAX),
    ("GETEX k KEEPTTL", SYNTAX),
    ("GETEX k PX 0", error("ERR invalid expire time in 'getex' command")),
    ("GETEX nosuch PX 0", NIL2, NIL3),
    ("GETEX k PXAT 1", bulk("v")),
    ("EXISTS k", number(0)),
)

SEVERAL: Table = (
    ("MSET a 1 b 2", OK),
    ("MSET a 1 b", wrong_arity("mset")),
    ("MSETNX", wrong_arity("msetnx")),
    ("MSETNX b 3 c 4", number(0)),
    ("MSETNX c 3 d 4", number(1)),
    ("RPUSH list x", number(1)),
    ("MGET a nosuch list c", array(bulk("1"), NIL2, NIL2, bulk("3")), array(bulk("1"), NIL3, NIL3, bulk("3"))),
    ("MGET", wrong_arity("mget")),
)

PARTS: Table = (
    ("APPEND k Hello", number(5)),
    (("APPEND", "k", " World"), number(11)),
    ("STRLEN k", number(11)),
    ("STRLEN nosuch", number(0)),
    ("GETRANGE k 0 4", bulk("Hello")),
    ("GETRANGE k -5 -1", bulk("World")),
    ("GETRANGE k 5 1", EMPTY),
    ("GETRANGE k -1 -5", EMPTY),
    ("GETRANGE k 0 999", bulk("Hello World")),
    ("GETRANGE nosuch 0 -1", EMPTY),
    ("GETRANGE k a 1", NOT_INTEGER),
    ("SUBSTR k 0 0", bulk("H")),
    (("SETRANGE", "k", 6, "Redis"), number(11)),
    ("GET k", bulk("Hello Redis")),
    ("SETRANGE p 5 x", number(6)),
    ("GET p", bulk(b"\0\0\0\0\0x")),
    (("SETRANGE", "nosuch", 5, ""), number(0)),
    ("EXISTS nosuch", number(0)),
    ("SETRANGE k -1 x", error("ERR offset is out of range")),
    ("SETRANGE k 536870912 x", _TOO_LONG),
    ("SETRANGE k 9223372036854775807 x", _TOO_LONG),
    ("OBJECT ENCODING k", bulk("raw")),
)

COUNTERS: Table = (
    ("INCR n", number(1)),
    ("INCR n", number(2)),
    ("INCRBY n 10", number(12)),
    ("DECR n", number(11)),
    ("DECRBY n 20", number(-9)),
    ("OBJECT ENCODING n", bulk("int")),
    ("INCRBY n x", NOT_INTEGER),
    ("DECRBY n -9223372036854775808", error("ERR decrement would overflow")),
    ("SET n 9223372036854775807", OK),
    ("INCR n", _OVERFLOW),
    ("SET n -9223372036854775808", OK),
    ("DECR n", _OVERFLOW),
    ("SET n 007", OK),
    ("INCR n", NOT_INTEGER),
    (("SET", "n", " 1"), OK),
    ("INCR n", NOT_INTEGER),
    (("SET", "n", "1_0"), OK),
    ("INCR n", NOT_INTEGER),
    ("INCRBYFLOAT f 0.1", bulk("0.1")),
    ("INCRBYFLOAT f 0.2", bulk("0.3")),
    ("INCRBYFLOAT f -0.3", bulk("0")),
    ("INCRBYFLOAT f 1e3", bulk("1000")),
    ("INCRBYFLOAT f 3.0e-5", bulk("1000.00002999999999997")),
    ("INCRBYFLOAT f abc", NOT_FLOAT),
    ("INCRBYFLOAT f nan", NOT_FLOAT),
    ("INCRBYFLOAT f inf", error("ERR increment would produce NaN or Infinity")),
    ("RPUSH list 1", number(1)),
    ("INCR list", WRONG_TYPE),
    ("INCRBYFLOAT list 1", WRONG_TYPE),
)

LCS: Table = (
    ("MSET a ohmytext b mynewtext", OK),
    ("LCS a b", bulk("mytext")),
    ("LCS a b LEN", number(6)),
    ("LCS a nosuch", EMPTY),
    (
        "LCS a b IDX",
        array(
            bulk("matches"),
            array(
                array(array(number(4), number(7)), array(number(5), number(8))),
                array(array(number(2), number(3)), array(number(0), number(1))),
            ),
            bulk("len"),
            number(6),
        ),
        b"%2\r\n"
        + bulk("matches")
        + array(
            array(array(number(4), number(7)), array(number(5), number(8))),
            array(array(number(2), number(3)), array(number(0), number(1))),
        )
        + bulk("len")
        + number(6),
    ),
    (
        "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
        array(
            bulk("matches"),
            array(array(array(number(4), number(7)), array(number(5), number(8)), number(4))),
            bulk("len"),
            number(6),
        ),
        b"%2\r\n"
        + bulk("matches")
        + array(array(array(number(4), number(7)), array(number(5), number(8)), number(4)))
        + bulk("len")
        + number(6),
    ),
    ("LCS a b IDX LEN", error("ERR If you want both the length and indexes, please just use IDX.")),
    ("LCS a b MINMATCHLEN", SYNTAX),
    ("RPUSH list x", number(1)),
    ("LCS a list", error("ERR The specified keys must contain string values")),
)

#: Commands and options that 7.0 lacks; played on ours only.
NEWER: Table = (
    ("SET k v IFEQ x", NIL2, NIL3),
    ("SET k v", OK),
    ("SET k w IFEQ v", OK),
    ("SET k x IFEQ v GET", bulk("w")),
    ("GET k", bulk("w")),
    ("SET k x IFNE w", NIL2, NIL3),
    ("SET k x IFNE v", OK),
    ("SET fresh x IFNE v", OK),
    ("SET k x NX IFEQ v", SYNTAX),
    ("SET k x IFEQ", SYNTAX),
    ("SET k abc", OK),
    ("DIGEST k", bulk("78af5f94892f3950")),
    ("DIGEST nosuch", NIL2, NIL3),
    ("SET k abd IFDEQ 78AF5F94892F3950", OK),
    ("SET k abe IFDNE 78af5f94892f3950", OK),
    ("DELIFEQ k x", number(0)),
    ("DELIFEQ k abe", number(1)),
    ("DELIFEQ k abe", number(0)),
    ("RPUSH list x", number(1)),
    ("DELIFEQ list x", WRONG_TYPE),
    ("SET list x IFEQ v", WRONG_TYPE),
    ("DELEX list IFEQ x", error("ERR Key should be of string type if conditions are specified")),
    ("DELEX list", number(1)),
    ("DELEX nosuch IFNE x", number(0)),
    ("SET k v", OK),
    ("DELEX k IFNE v", number(0)),
    ("DELEX k IFEQ", wrong_arity("delex")),
    ("DELEX k NX v", SYNTAX),
    ("DELEX k IFEQ v", number(1)),
    ("MSETEX 2 a 1 b 2 EX 100", number(1)),
    ("TTL b", number(100)),
    ("MSETEX 1 a 2 KEEPTTL", number(1)),
    ("TTL a", number(100)),
    ("MSETEX 2 a 1 z 2 XX", number(0)),
    ("MSETEX 2 a 1 z 2 NX", number(0)),
    ("MSETEX 0 a 1", error("ERR invalid numkeys value")),
    ("MSETEX 3 a 1 b 2", wrong_arity("msetex")),
    ("MSETEX 1 a 1 EX 0", error("ERR invalid expire time in 'msetex' command")),
    ("MSETEX 1 a 1 PXAT 1", number(1)),
    ("EXISTS a", number(0)),
)

#: Scripts run without a connection, as the append-only file does, but unlike that they keep to the limits.
LIMITS_OF_SCRIPTS = (
    (("EVAL", "return redis.pcall('setrange', 'k', '536870911999', 'x')", 0), _TOO_LONG),
    (("EVAL", "return redis.pcall('setbit', 'k', '4294967295000', 1)", 0), error(
        "ERR bit offset is not an integer or out of range")),
    ("EXISTS k", number(0)),
)  # fmt: skip

TABLES = {
    "set and get": SET_AND_GET,
    "getex": GETEX,
    "several": SEVERAL,
    "parts": PARTS,
    "counters": COUNTERS,
    "lcs": LCS,
    "limits of scripts": LIMITS_OF_SCRIPTS,
}
