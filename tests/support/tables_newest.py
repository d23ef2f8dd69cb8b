"""Requests and replies of commands of strings, sets, lists and hashes that came with Redis 8.8 to 8.10 and Valkey 9.2.

No oracle at hand knows them: replies and texts are those that the vendors document. The clock of the node stands still.
"""

from __future__ import annotations

from tests.support.tables import (
    EMPTY,
    NIL2,
    NIL3,
    NOT_FLOAT,
    NOT_INTEGER,
    NULL_ARRAY,
    OK,
    SYNTAX,
    WRONG_TYPE,
    Row,
    Table,
    array,
    bulk,
    double,
    error,
    number,
    texts,
    wrong_arity,
)
from tests.support.tables_newer_collections import numbers

_MAX = 2**63 - 1
_MIN = -(2**63)
_NO_RANGE = error("ERR LBOUND can't be greater than UBOUND")
_BAD_STEP = error("ERR Increment is not an integer or out of range")
_NO_EXPIRY = error("ERR invalid expire time in 'increx' command")


def _floats(request: str, *values: str) -> Row:
    """A row whose reply is an array of numbers with a fraction."""
    return request, texts(*values), array(*(double(value) for value in values))


COUNTING: Table = (
    ("INCREX n", numbers(1, 1)),
    ("INCREX n", numbers(2, 1)),
    ("INCREX n BYINT 40", numbers(42, 40)),
    ("increx n byint -50", numbers(-8, -50)),
    ("GET n", bulk("-8")),
    ("OBJECT ENCODING n", bulk("int")),
    ("INCREX n NX", numbers(-8, 0)),
    ("INCREX n XX", numbers(-7, 1)),
    ("INCREX none XX", numbers(0, 0)),
    ("EXISTS none", number(0)),
    ("INCREX fresh NX BYINT 3", numbers(3, 3)),
    _floats("INCREX f BYFLOAT 0.1", "0.1", "0.1"),
    _floats("INCREX f BYFLOAT 2e1", "20.1", "20"),
    _floats("INCREX f BYFLOAT -0.1 XX", "20", "-0.1"),
    _floats("INCREX f NX BYFLOAT 1", "20", "0"),
    _floats("INCREX none XX BYFLOAT 1", "0", "0"),
    ("GET f", bulk("20")),
    ("INCREX f", numbers(21, 1)),
    ("SET f 1.5", OK),
    ("INCREX f", NOT_INTEGER),
    ("SET word hello", OK),
    ("INCREX word", NOT_INTEGER),
    ("INCREX word BYFLOAT 1", NOT_FLOAT),
    ("RPUSH list a", number(1)),
    ("INCREX list", WRONG_TYPE),
    ("INCREX list BYFLOAT 1", WRONG_TYPE),
)

COUNTING_WITHIN_BOUNDS: Table = (
    ("SET n 99", OK),
    ("INCREX n BYINT 5 UBOUND 100", numbers(99, 0)),
    ("GET n", bulk("99")),
    ("INCREX n UBOUND 100", numbers(100, 1)),
    ("INCREX n UBOUND 100 EX 10", numbers(100, 0)),
    ("TTL n", number(-1)),
    ("INCREX n BYINT 5 SATURATE UBOUND 103 EX 10", numbers(103, 3)),
    ("TTL n", number(10)),
    ("INCREX n BYINT -5 LBOUND 100", numbers(103, 0)),
    ("INCREX n BYINT -5 LBOUND 100 SATURATE", numbers(100, -3)),
    # a bound is one of the result, whatever way the step goes
    ("INCREX n UBOUND 30 SATURATE", numbers(30, -70)),
    ("INCREX n BYINT -10 UBOUND 25", numbers(20, -10)),
    ("INCREX n BYINT -10 LBOUND 20 UBOUND 20", numbers(20, 0)),
    ("INCREX none BYINT 5 LBOUND 10", numbers(0, 0)),
    ("EXISTS none", number(0)),
    ("INCREX made LBOUND 5 SATURATE", numbers(5, 5)),
    (f"SET n {_MAX - 7}", OK),
    ("INCREX n BYINT 8", numbers(_MAX - 7, 0)),
    ("INCREX n BYINT 8 SATURATE", numbers(_MAX, 7)),
    (f"INCREX n SATURATE UBOUND {_MIN}", error("ERR applied increment would overflow")),
    (f"INCREX n BYINT {_MIN}", numbers(-1, _MIN)),
    (f"INCREX n BYINT {_MIN} SATURATE", numbers(_MIN, _MIN + 1)),
    ("SET f 10", OK),
    _floats("INCREX f BYFLOAT 5.5 UBOUND 12.5", "10", "0"),
    _floats("INCREX f BYFLOAT 5.5 UBOUND 12.5 SATURATE", "12.5", "2.5"),
    _floats("INCREX f BYFLOAT -5 LBOUND 8 SATURATE", "8", "-4.5"),
    _floats("INCREX f BYFLOAT 1 LBOUND -inf UBOUND inf", "9", "1"),
    _floats("INCREX f BYFLOAT 1 LBOUND -inf UBOUND -inf", "9", "0"),
    ("INCREX f BYFLOAT 1 UBOUND -inf LBOUND -inf SATURATE", error("ERR applied increment would be Infinity")),
    _floats("INCREX f BYFLOAT 1e4932 UBOUND 100", "9", "0"),
    _floats("INCREX f BYFLOAT 1e4932 UBOUND 100 SATURATE", "100", "91"),
    ("INCREX f BYFLOAT inf", error("ERR BYFLOAT increment cannot be Infinity")),
    ("SET f inf", OK),
    ("INCREX f BYFLOAT 1", error("ERR value cannot be Infinity")),
)

COUNTING_FOR_A_TIME: Table = (
    ("INCREX n EX 100", numbers(1, 1)),
    ("TTL n", number(100)),
    ("INCREX n", numbers(2, 1)),
    ("TTL n", number(100)),
    ("INCREX n EX 7 ENX", numbers(3, 1)),
    ("TTL n", number(100)),
    ("INCREX n PX 7000", numbers(4, 1)),
    ("TTL n", number(7)),
    ("INCREX n PERSIST", numbers(5, 1)),
    ("TTL n", number(-1)),
    ("INCREX n ENX PX 9000", numbers(6, 1)),
    ("TTL n", number(9)),
    ("INCREX n PXAT 1 ENX", numbers(7, 1)),
    ("TTL n", number(9)),
    ("INCREX n EXAT 1", numbers(8, 1)),
    ("EXISTS n", number(0)),
    ("INCREX n EXAT 1", numbers(1, 1)),
    ("EXISTS n", number(0)),
    ("INCREX n PXAT 32503680000000", numbers(1, 1)),
    ("PEXPIRETIME n", number(32503680000000)),
)

COUNTING_WRONGLY: Table = (
    ("INCREX", wrong_arity("increx")),
    ("INCREX n nonsense", SYNTAX),
    ("INCREX n BYINT", SYNTAX),
    ("INCREX n LBOUND", SYNTAX),
    ("INCREX n BYINT 1 BYFLOAT 1", SYNTAX),
    ("INCREX n BYINT 1 BYINT 1", SYNTAX),
    ("INCREX n NX XX", SYNTAX),
    ("INCREX n EX 1 PX 1", SYNTAX),
    ("INCREX n EX 1 PERSIST", SYNTAX),
    ("INCREX n PERSIST EX 1", SYNTAX),
    ("INCREX n PERSIST ENX", SYNTAX),
    ("INCREX n SATURATE SATURATE", SYNTAX),
    ("INCREX n ENX", error("ERR ENX flag requires an expiration")),
    ("INCREX n BYINT x", _BAD_STEP),
    ("INCREX n BYINT 1.5", _BAD_STEP),
    ("INCREX n BYFLOAT x", error("ERR Increment is not a valid float")),
    ("INCREX n LBOUND x", error("ERR LBOUND is not an integer or out of range")),
    ("INCREX n UBOUND 1.5", error("ERR UBOUND is not an integer or out of range")),
    ("INCREX n BYFLOAT 1 UBOUND x", error("ERR UBOUND is not a valid float")),
    ("INCREX n LBOUND 2 UBOUND 1", _NO_RANGE),
    ("INCREX n BYFLOAT 1 LBOUND inf", _NO_RANGE),
    ("INCREX n EX 0", _NO_EXPIRY),
    ("INCREX n PX -1", _NO_EXPIRY),
    (f"INCREX n EX {_MAX}", _NO_EXPIRY),
    ("INCREX n EX x", NOT_INTEGER),
    ("EXISTS n", number(0)),
)

TABLES = {
    "newest strings: counting": COUNTING,
    "newest strings: counting within bounds": COUNTING_WITHIN_BOUNDS,
    "newest strings: counting for a time": COUNTING_FOR_A_TIME,
    "newest strings: counting wrongly": COUNTING_WRONGLY,
}
