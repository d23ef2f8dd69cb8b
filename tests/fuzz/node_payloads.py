"""Damaged DUMP payloads and hostile arguments of RESTORE. What is accepted can be read, saved, rewritten and dumped."""

from __future__ import annotations

import re
from random import Random
from typing import Any

from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.persistence import aof_commands
from slotmesh.node.persistence.crc64 import crc64
from slotmesh.node.persistence.loading import KeyspaceSink
from slotmesh.node.persistence.payload import dump_payload
from slotmesh.node.persistence.rdb_file import load_rdb
from slotmesh.node.persistence.snapshot import SnapshotOptions, write_snapshot
from slotmesh.node.types.hash import HashValue
from slotmesh.node.types.list import ListValue
from slotmesh.node.types.set import SetValue
from slotmesh.node.types.sorted_set import SortedSetValue
from slotmesh.node.types.stream import StreamValue
from tests.fuzz.node_support import HOSTILE, KEYS, filled_node
from tests.fuzz.values import damage
from tests.support.inprocess import InProcessClient, InProcessNode

COUNT = 60
READS: tuple[tuple[str | int, ...], ...] = (
    ("TYPE", "k"),
    ("TTL", "k"),
    ("PTTL", "k"),
    ("EXPIRETIME", "k"),
    ("PEXPIRETIME", "k"),
    ("OBJECT", "ENCODING", "k"),
    ("OBJECT", "IDLETIME", "k"),
    ("OBJECT", "FREQ", "k"),
    ("MEMORY", "USAGE", "k", "SAMPLES", 0),
    ("DEBUG", "OBJECT", "k"),
    ("GET", "k"),
    ("BITCOUNT", "k"),
    ("PFCOUNT", "k"),
    ("HGETALL", "k"),
    ("HPEXPIRETIME", "k", "FIELDS", 1, "f"),
    ("HTTL", "k", "FIELDS", 1, "f"),
    ("HRANDFIELD", "k", -5, "WITHVALUES"),
    ("LRANGE", "k", 0, -1),
    ("SMEMBERS", "k"),
    ("SRANDMEMBER", "k", -5),
    ("ZRANGE", "k", 0, -1, "WITHSCORES"),
    ("GEOPOS", "k", "a", "c", "here"),
    ("GEOHASH", "k", "a", "c", "here"),
    ("ZRANDMEMBER", "k", -5, "WITHSCORES"),
    ("XRANGE", "k", "-", "+"),
    ("XINFO", "STREAM", "k"),
    ("XINFO", "STREAM", "k", "FULL"),
    ("XINFO", "GROUPS", "k"),
    ("XINFO", "CONSUMERS", "k", "g"),
    ("XPENDING", "k", "g"),
    ("XPENDING", "k", "g", "-", "+", 10),
    ("SORT", "k", "ALPHA"),
    ("SCAN", 0, "TYPE", "stream"),
    ("COPY", "k", "twin", "REPLACE"),
)
WRITES: tuple[tuple[str | int, ...], ...] = (
    ("XREADGROUP", "GROUP", "g", "me", "STREAMS", "k", ">"),
    ("XREADGROUP", "GROUP", "g", "me", "STREAMS", "k", "0"),
    ("XAUTOCLAIM", "k", "g", "you", 0, "0"),
    ("XCLAIM", "k", "g", "you", 0, "1-1", "RETRYCOUNT", 2**63 - 1),
    ("XADD", "k", "*", "f", "v"),
    ("HINCRBYFLOAT", "k", "f", 1),
    ("PFADD", "k", "x"),
    ("PERSIST", "k"),
)


def _damaged(rng: Random, payload: bytes) -> bytes:
    """The object inside changed, with a checksum that says otherwise."""
    body = payload[:-10]
    if rng.random() < 0.8:
        body = body[:1] + damage(rng, body[1:]) if rng.random() < 0.9 else damage(rng, body)
    body += payload[-10:-8]
    return body + crc64(body).to_bytes(8, "little")


def _answers(client: InProcessClient, commands: tuple[tuple[str | int, ...], ...], payload: bytes) -> None:
    for words in commands:
        reply = client.raw(*words)
        assert b"internal error" not in reply, (words, payload)


def saved(node: InProcessNode) -> bytes:
    """The data as an RDB."""
    parts: list[bytes] = []
    write_snapshot(parts.append, node.server.keyspace, SnapshotOptions(access=True))
    return b"".join(parts)


def _content(value: Any) -> object:
    """What a value holds, whatever its encoding and order in memory."""
    if isinstance(value, HashValue):
        return value.fields, value.ttls
    if isinstance(value, ListValue):
        return value.items
    if isinstance(value, SetValue):
        return set(value.members)
    if isinstance(value, SortedSetValue):
        return value.scores
    return dump_payload(value) if isinstance(value, StreamValue) else bytes(value)


def _check(node: InProcessNode, client: InProcessClient, other: InProcessClient, payload: bytes) -> None:
    """What was accepted goes through a file, through the log and through another payload."""
    dumped = client.call("DUMP", "k")
    if dumped is None:
        return  # it has expired
    again: Any = client.call("RESTORE", "again", 0, dumped)
    assert again == b"OK", (payload, again)
    fresh = Keyspace(node.server.config.databases, clustered=False)
    load_rdb([saved(node)], KeyspaceSink(fresh, lambda code: None))
    assert _content(fresh.dbs[0].peek(b"k")) == _content(node.server.keyspace.dbs[0].peek(b"k")), payload
    parts: list[bytes] = []
    aof_commands.write_commands(parts.append, node.server.keyspace, SnapshotOptions(), False)
    other.call("FLUSHALL")
    replies = other.send(b"".join(parts))
    assert not re.search(rb"^-[A-Z]", replies, re.MULTILINE), (payload, replies[:300])


def run(seed: int) -> int:
    """Payloads restored to one node."""
    rng = Random(seed)
    with filled_node(rng) as node, InProcessNode("--compat-level", node.server.config.compat_level) as second:
        client, other = node.client(), second.client()
        node.server.config.enable_debug_command = "yes"
        payloads = [client.call("DUMP", key) for key in KEYS[:-1]]
        for _ in range(COUNT):
            payload = _damaged(rng, rng.choice(payloads))
            ttl = rng.choice((b"0", b"0", rng.choice(HOSTILE)))
            words: list[bytes] = [b"RESTORE", b"k", ttl, payload, b"REPLACE"]
            if rng.random() < 0.5:
                words += rng.choice(((b"ABSTTL",), (b"IDLETIME", rng.choice(HOSTILE)), (b"FREQ", rng.choice(HOSTILE))))
            reply = client.raw(*words)
            assert b"internal error" not in reply, words
            if reply == b"+OK\r\n":
                _answers(client, READS, payload)
                if rng.random() < 0.5:
                    _answers(client, WRITES, payload)
                _check(node, client, other, payload)
            client.call("DEL", "k", "again", "twin")
    return COUNT
