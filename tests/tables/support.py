"""Tables of byte-exact requests and replies, and how to play them.

A table is read from top to bottom on one empty database. A row is (request, reply) where both protocols agree, else
(request, RESP2 reply, RESP3 reply). The request is a line of words, or a tuple when a word holds blanks or bytes. The
same tables are played on our node in the test's own process (`tests/commands`) and on a stock server
(`tests/oracle/test_tables.py`), which proves that they say what stock says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Request = str | tuple[str | bytes | int, ...]
Row = tuple[Request, bytes] | tuple[Request, bytes, bytes]
Table = Sequence[Row]


def words(request: Request) -> tuple[str | bytes | int, ...]:
    """The arguments of a request."""
    return tuple(request.split()) if isinstance(request, str) else request


def play(table: Table, call: Callable[[tuple[str | bytes | int, ...]], bytes], *, resp3: bool) -> None:
    """Send every request and compare the replies."""
    for number, row in enumerate(table):
        wanted = row[-1] if resp3 else row[1]
        got = call(words(row[0]))
        assert got == wanted, f"row {number}: {row[0]!r}\n  wanted: {wanted!r}\n  got:    {got!r}"


def bulk(*texts: str | bytes) -> bytes:
    """One bulk string, or several one after the other."""
    parts = [text.encode() if isinstance(text, str) else text for text in texts]
    return b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def array(*items: bytes) -> bytes:
    """An array of replies."""
    return b"*%d\r\n%b" % (len(items), b"".join(items))


def texts(*items: str | bytes) -> bytes:
    """An array of bulk strings."""
    return b"*%d\r\n%b" % (len(items), bulk(*items))


def a_set(*items: bytes) -> bytes:
    """A set of replies (RESP3)."""
    return b"~%d\r\n%b" % (len(items), b"".join(items))


def a_map(*items: bytes) -> bytes:
    """A map of replies, key, value, key, value (RESP3)."""
    return b"%%%d\r\n%b" % (len(items) // 2, b"".join(items))


def map_of(*items: str | bytes) -> bytes:
    """A map of bulk strings (RESP3)."""
    return a_map(*(bulk(item) for item in items))


def double(text: str) -> bytes:
    """A double (RESP3)."""
    return b",%b\r\n" % text.encode()


def number(value: int) -> bytes:
    """An integer reply."""
    return b":%d\r\n" % value


def error(text: str) -> bytes:
    """An error reply."""
    return b"-%b\r\n" % text.encode()


OK = b"+OK\r\n"
NULL_ARRAY = b"*-1\r\n"
NIL2, NIL3 = b"$-1\r\n", b"_\r\n"
EMPTY = b"$0\r\n\r\n"
WRONG_TYPE = error("WRONGTYPE Operation against a key holding the wrong kind of value")
SYNTAX = error("ERR syntax error")
NOT_INTEGER = error("ERR value is not an integer or out of range")
NOT_FLOAT = error("ERR value is not a valid float")


def wrong_arity(name: str) -> bytes:
    """The error for a wrong number of arguments."""
    return error(f"ERR wrong number of arguments for '{name}' command")
