"""A data set with every type in every encoding, built by the same commands on any server, and how to read it back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.processes import ServerHandle

Command = tuple[str | bytes | int, ...]

#: Far enough that no key of a test expires before it is looked at, and fixed, so that servers can be compared.
FAR_MS = 4_102_444_800_000


def _strings() -> Iterator[Command]:
    yield "SET", "s:empty", ""
    for number in (0, -1, 127, 128, -129, 32767, 32768, -32769, 2**31 - 1, 2**31, 2**63 - 1, -(2**63)):
        yield "SET", f"s:int:{number}", number
    yield "SET", "s:embstr", "hello"
    yield "SET", "s:leading-zero", "007"
    yield "SET", "s:too-big-for-int64", str(2**63)
    yield "SET", "s:binary", bytes(range(256))
    yield "SET", "s:compressible", "abcdef" * 500
    yield "SET", "s:long", bytes((i * 7 + i // 256) % 256 for i in range(40_000))
    yield "SETRANGE", "s:edited", 60, "tail"
    yield "SET", b"s:key\x00\r\n\xff", "a key of any bytes"
    yield "SET", "s:with-expiry", "v", "PXAT", FAR_MS


def _containers() -> Iterator[Command]:
    yield "RPUSH", "l:small", "a", "1", "-5", "70000", str(2**40), "", "x" * 100
    for start in range(0, 3000, 100):
        yield "RPUSH", "l:many", *(f"element-{i}" for i in range(start, start + 100))
    yield "RPUSH", "l:large-elements", "y" * 10_000, "z" * 70_000, "small"
    yield "SADD", "set:ints", 1, 2, 3, -70_000, 2**40
    yield "SADD", "set:strings", "a", "b", "7"
    yield "SADD", "set:many-ints", *range(600)
    yield "HSET", "h:small", "f", "v", "number", "42", "empty", "", "bin", bytes(range(40))
    yield "HSET", "h:long-value", "f", "v" * 65
    yield "HSET", "h:many", *(part for i in range(600) for part in (f"field{i}", f"value{i}"))
    yield "HSET", "h:with-expiry", "f", "v"
    yield "PEXPIREAT", "h:with-expiry", FAR_MS
    yield "ZADD", "z:small", 1, "one", "2.5", "two", "-inf", "low", "inf", "high", "1e300", "huge", "-0.001", "small"
    yield "ZADD", "z:int-members", 3, "3", 1, "1", 2**40, str(2**40)
    yield "ZADD", "z:many", *(part for i in range(300) for part in (str(i / 7), f"member{i}"))
    yield "ZADD", "z:long-member", 5, "m" * 65
    yield "PFADD", "hll", *range(500)
    yield "GEOADD", "geo", "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania"


def _streams() -> Iterator[Command]:
    for i in range(250):
        fields = ("a", i, "b", f"v{i}") if i % 7 else ("other", i)
        yield "XADD", "x:groups", f"1000-{i + 1}", *fields
    yield "XADD", "x:groups", "2000-0", "last", "entry"
    yield "XGROUP", "CREATE", "x:groups", "readers", "0"
    yield "XGROUP", "CREATE", "x:groups", "late", "1000-5"
    yield "XGROUP", "CREATECONSUMER", "x:groups", "readers", "idle"
    yield "XREADGROUP", "GROUP", "readers", "one", "COUNT", 10, "STREAMS", "x:groups", ">"
    yield "XREADGROUP", "GROUP", "readers", "two", "COUNT", 3, "STREAMS", "x:groups", ">"
    yield "XACK", "x:groups", "readers", "1000-3"
    yield "XDEL", "x:groups", "1000-4", "1000-100"
    yield "XADD", "x:emptied", "5-5", "f", "v"
    yield "XDEL", "x:emptied", "5-5"
    yield "XGROUP", "CREATE", "x:made", "g", "$", "MKSTREAM"
    yield "XADD", "x:binary", "7-0", bytes(range(32)), b"\x00" * 5000, "n", 12345


def fill(server: ServerHandle) -> None:
    """Put the data set into databases 0 and 9 of a server."""
    pipe = server.client().pipeline(transaction=False)
    for command in (*_strings(), *_containers(), *_streams()):
        pipe.execute_command(*command)
    pipe.execute_command("SELECT", 9)
    pipe.execute_command("SET", "only-in-9", "v")
    pipe.execute_command("SELECT", 0)
    pipe.execute()


def keys(server: ServerHandle) -> list[bytes]:
    """All keys of database 0, sorted."""
    return sorted(server.call("KEYS", "*"))


def content(server: ServerHandle, key: bytes, *, replayed: bool = False) -> Any:
    """Everything that can be seen of a key: type, encoding, expiry and value, in a form that two servers agree on.

    `replayed`: without what a log of commands does not bring back, in stock either (of consumer groups: when a
    consumer was seen, pending entries that were deleted, sometimes how many entries were read).
    """
    kind = server.call("TYPE", key)
    about = (kind, server.call("OBJECT", "ENCODING", key), server.call("PEXPIRETIME", key))
    if kind == b"string":
        return *about, server.call("GET", key)
    if kind == b"list":
        return *about, server.call("LRANGE", key, 0, -1)
    if kind == b"set":
        return *about, sorted(server.call("SMEMBERS", key))
    if kind == b"hash":
        return *about, sorted(_mapping(server.call("HGETALL", key)).items())
    if kind == b"zset":
        return *about, server.call("ZRANGE", key, 0, -1, "WITHSCORES")
    entries = server.call("XRANGE", key, "-", "+")
    about_stream, groups = _stream_details(server, key)
    if replayed:
        alive = {entry[0] for entry in entries}
        groups = [
            (
                {name: group[name] for name in (b"name", b"last-delivered-id")},
                [pending for pending in group[b"pending"] if pending[0] in alive],
                [consumer[b"name"] for consumer in consumers],
            )
            for group, consumers in groups
        ]
    return *about, entries, about_stream, groups


def _mapping(reply: Any) -> dict[bytes, Any]:
    """A map as RESP3 gives it, or a RESP2 array of names and values."""
    return dict(reply) if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def _stream_details(server: ServerHandle, key: bytes) -> tuple[Any, list[Any]]:
    """XINFO without what tells of the representation (radix tree) or of now (idle times): the stream, its groups."""
    about = _mapping(server.call("XINFO", "STREAM", key, "FULL", "COUNT", 0))
    for field in (b"radix-tree-keys", b"radix-tree-nodes", b"entries"):
        about.pop(field)
    groups = []
    for reply in about.pop(b"groups"):
        group = _mapping(reply)
        consumers = [_mapping(consumer) for consumer in group.pop(b"consumers")]
        for consumer in consumers:
            consumer.pop(b"idle", None)
        groups.append((group, sorted(consumers, key=lambda consumer: bytes(consumer[b"name"]))))
    return about, groups


def everything(server: ServerHandle, *, replayed: bool = False) -> dict[bytes, Any]:
    """The content of every key of database 0, and the one of database 9."""
    found = {key: content(server, key, replayed=replayed) for key in keys(server)}
    pipe = server.client().pipeline(transaction=False)
    pipe.execute_command("SELECT", 9)
    pipe.execute_command("GET", "only-in-9")
    pipe.execute_command("SELECT", 0)
    found[b"only-in-9"] = pipe.execute()[1]
    return found
