"""Commands that are told to replicas and the log as other ones: expiries of keys and of fields are the same there."""

from __future__ import annotations

from typing import Any

import pytest

from slotmesh.node.types.hash import HashValue
from tests.support.inprocess import InProcessNode

AT = 1_800_000_000_000
STRING, HASH, LIST, SET, ZSET, STREAM = "string", "hash", "list", "set", "zset", "stream"
#: One key of each type with an expiry, and a hash of which each field has one.
SETUP = (
    ("SET", STRING, "10"),
    ("HSET", HASH, "a", "1", "b", "2", "c", "3"),
    ("RPUSH", LIST, "1", "2", "3"),
    ("SADD", SET, "1", "2", "3"),
    ("ZADD", ZSET, "1", "a", "2", "b"),
    ("XADD", STREAM, "1-1", "f", "v"),
    ("XGROUP", "CREATE", STREAM, "g", "0"),
    *(("PEXPIREAT", key, AT) for key in (STRING, HASH, LIST, SET, ZSET, STREAM)),
    ("HPEXPIREAT", HASH, AT, "FIELDS", "2", "a", "b"),
)
COMMANDS = (
    ("INCRBYFLOAT", STRING, "1.5"),
    ("INCRBY", STRING, "5"),
    ("INCREX", STRING, "BYFLOAT", "2"),
    ("APPEND", STRING, "1"),
    ("SETRANGE", STRING, "1", "x"),
    ("SETBIT", STRING, "7", "1"),
    ("BITFIELD", STRING, "INCRBY", "u8", "0", "1"),
    ("SET", STRING, "v", "KEEPTTL"),
    ("SET", STRING, "v", "KEEPTTL", "GET"),
    ("SET", STRING, "v", "EX", "100"),
    ("GETSET", STRING, "v"),
    ("GETEX", STRING, "PX", "5000"),
    ("GETEX", STRING, "PERSIST"),
    ("HINCRBYFLOAT", HASH, "a", "1.5"),
    ("HINCRBYFLOAT", HASH, "c", "1.5"),
    ("HINCRBY", HASH, "a", "1"),
    ("HSET", HASH, "a", "1"),
    ("HSETEX", HASH, "KEEPTTL", "FIELDS", "1", "a", "9"),
    ("HGETEX", HASH, "PX", "5000", "FIELDS", "1", "b"),
    ("HGETDEL", HASH, "FIELDS", "1", "a"),
    ("SPOP", SET, "2"),
    ("SPOP", SET),
    ("BLPOP", LIST, "0"),
    ("LMPOP", "1", LIST, "LEFT", "COUNT", "2"),
    ("BLMOVE", LIST, LIST, "LEFT", "RIGHT", "0"),
    ("RPOPLPUSH", LIST, LIST),
    ("BZPOPMIN", ZSET, "0"),
    ("ZMPOP", "1", ZSET, "MIN"),
    ("GEOADD", ZSET, "1", "1", "m"),
    ("ZINCRBY", ZSET, "1", "a"),
    ("XREADGROUP", "GROUP", "g", "me", "STREAMS", STREAM, ">"),
    ("XADD", STREAM, "MAXLEN", "1", "2-1", "f", "v"),
    ("COPY", HASH, "other"),
    ("RENAME", HASH, "other"),
    ("PERSIST", HASH),
    ("EXPIRE", HASH, "100", "GT"),
)


def state(node: InProcessNode) -> dict[bytes, Any]:
    """key -> (expiry, expiries of its fields)."""
    return {
        key: (at_ms, value.ttls if isinstance(value, HashValue) else None)
        for key, value, at_ms in node.server.keyspace.dbs[0].items()
    }


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command))
def test_replica_has_the_expiries_of_the_primary(command: tuple[str, ...]) -> None:
    with InProcessNode("--compat-level", "7.2") as primary, InProcessNode("--compat-level", "7.2") as replica:
        client, other = primary.client(), replica.client()
        for words in (*SETUP, command):
            reply = client.call(*words)
            assert not isinstance(reply, Exception), f"{words}: {reply}"
        for argv in primary.take_propagated():
            reply = other.call(*argv)
            assert not isinstance(reply, Exception), f"{argv}: {reply}"
        assert state(replica) == state(primary)
