"""What a replica of a cluster runs of scripts and other commands after READONLY, byte for byte as a stock replica."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes import (
    OUR_NODE,
    STOCK_SERVER,
    ClusterHandle,
    ServerHandle,
    have_stock,
    start_cluster,
    wait_until,
)
from tests.support.twins import Wire

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

LIBRARY = """#!lua name=l
redis.register_function{function_name='r', flags={'no-writes'}, callback=function(k) return redis.call('get', k[1]) end}
redis.register_function('w', function(k) return redis.call('set', k[1], 'x') end)
redis.register_function('g', function(k) return redis.call('get', k[1]) end)
"""
GET = "return redis.call('get', KEYS[1])"
SET = "return redis.call('set', KEYS[1], 'x')"
NO_WRITES = "#!lua flags=no-writes\n" + GET
SHEBANG = "#!lua\n" + GET
#: In the replica's cache; conversations name them GET, NO_WRITES and SHEBANG.
CACHED = (GET, NO_WRITES, SHEBANG)
UNKNOWN = "0" * 40

#: Each is a conversation on a connection of its own. Slots: b 3300 (of the replica's primary), a 15495 (of the other).
CONVERSATIONS: list[list[list[str]]] = [
    [["EVAL", GET, "1", "b"]],
    [["READONLY"], ["EVAL", GET, "1", "b"], ["EVAL", GET, "1", "a"], ["READWRITE"], ["EVAL", GET, "1", "b"]],
    [["READONLY"], ["EVAL", SET, "1", "b"]],
    [["READONLY"], ["EVAL", "return redis.pcall('set', KEYS[1], 'x')", "1", "b"]],
    [["READONLY"], ["EVAL", "return redis.call('get', 'b')", "0"], ["EVAL", "return redis.call('get', 'a')", "0"]],
    [["EVAL", "return redis.call('get', 'b')", "0"], ["EVAL_RO", "return redis.call('get', 'b')", "0"]],
    [["READONLY"], ["EVAL", NO_WRITES, "1", "b"], ["EVAL", NO_WRITES, "1", "a"]],
    [["READONLY"], ["EVAL", SHEBANG, "1", "b"], ["EVAL", SHEBANG, "0"]],
    [["EVAL", SHEBANG, "1", "b"], ["EVAL", SHEBANG, "0"], ["EVAL", NO_WRITES, "1", "b"]],
    [["READONLY"], ["EVAL_RO", GET, "1", "b"], ["EVAL_RO", SET, "1", "b"], ["EVAL_RO", SHEBANG, "1", "b"]],
    [["EVAL_RO", GET, "1", "b"]],
    [["READONLY"], ["EVALSHA", UNKNOWN, "1", "b"], ["EVALSHA_RO", UNKNOWN, "1", "b"], ["EVALSHA", "x", "1", "b"]],
    [["EVALSHA", UNKNOWN, "1", "b"], ["EVALSHA_RO", UNKNOWN, "1", "b"], ["EVALSHA", UNKNOWN, "1", "a"]],
    [
        ["READONLY"],
        ["EVALSHA", "GET", "1", "b"],
        ["EVALSHA", "NO_WRITES", "1", "b"],
        ["EVALSHA", "SHEBANG", "1", "b"],
    ],
    [["READONLY"], ["EVALSHA_RO", "GET", "1", "b"], ["EVALSHA_RO", "NO_WRITES", "1", "b"]],
    [["READONLY"], ["FCALL_RO", "r", "1", "b"], ["FCALL_RO", "w", "1", "b"], ["FCALL_RO", "g", "1", "b"]],
    [["READONLY"], ["FCALL", "r", "1", "b"], ["FCALL", "w", "1", "b"], ["FCALL", "g", "1", "b"]],
    [["READONLY"], ["FCALL", "r", "1", "a"], ["FCALL", "nosuch", "1", "b"], ["FCALL_RO", "nosuch", "1", "b"]],
    [["FCALL", "r", "1", "b"], ["FCALL_RO", "r", "1", "b"], ["FCALL", "nosuch", "1", "b"], ["FCALL", "w", "0"]],
    [["READONLY"], ["MULTI"], ["EVAL", GET, "1", "b"], ["EVAL", NO_WRITES, "1", "b"], ["GET", "b"], ["EXEC"]],
    [
        ["READONLY"],
        ["MULTI"],
        ["EVAL_RO", GET, "1", "b"],
        ["FCALL_RO", "r", "1", "b"],
        ["FCALL", "r", "1", "b"],
        ["EXEC"],
    ],
    [["READONLY"], ["MULTI"], ["EVAL", SET, "1", "b"], ["EXEC"]],
    [["READONLY"], ["MULTI"], ["EVAL", SHEBANG, "1", "b"], ["EXEC"]],
    [["READONLY"], ["MULTI"], ["FCALL", "w", "1", "b"], ["EXEC"]],
    [["READONLY"], ["MULTI"], ["EVALSHA", UNKNOWN, "1", "b"], ["GET", "b"], ["EXEC"]],
    [["READONLY"], ["MULTI"], ["EVAL", GET, "1", "a"], ["EXEC"]],
    [["READONLY"], ["MULTI"], ["SET", "b", "1"], ["EXEC"]],
    [["READONLY"], ["MULTI"], ["EVAL", GET, "1", "b"], ["READWRITE"], ["EXEC"]],
    [["MULTI"], ["EVAL", GET, "1", "b"], ["EXEC"]],
    [["MULTI"], ["READONLY"], ["GET", "b"], ["EXEC"]],
    [["READONLY"], ["WATCH", "b"], ["MULTI"], ["EVAL", GET, "1", "b"], ["EXEC"]],
    [
        ["READONLY"],
        ["SORT", "list"],
        ["SORT_RO", "list"],
        ["PFCOUNT", "b"],
        ["OBJECT", "FREQ", "b"],
        ["TOUCH", "b"],
    ],
    [["READONLY"], ["GETEX", "b"], ["BITFIELD", "b", "GET", "u8", "0"], ["BITFIELD_RO", "b", "GET", "u8", "0"]],
    [["READONLY"], ["XREAD", "STREAMS", "nosuch{b}", "0"], ["LCS", "b", "b"], ["DUMP", "nosuch{b}"]],
    [
        ["READONLY"],
        ["MEMORY", "USAGE", "nosuch{b}"],
        ["OBJECT", "ENCODING", "b"],
        ["MIGRATE", "h", "1", "b", "0", "9"],
    ],
    [
        ["READONLY"],
        ["BLPOP", "b", "1"],
        ["XREADGROUP", "GROUP", "g", "c", "STREAMS", "b", ">"],
        ["SPUBLISH", "b", "m"],
    ],
]


def _has_all(replica: ServerHandle) -> bool:
    return bool(replica.call("FUNCTION", "LIST")) and replica.call("DBSIZE") == 1


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ClusterHandle, ClusterHandle]]:
    def folder(name: str) -> Path:
        return tmp_path_factory.mktemp(name)

    with (
        start_cluster((STOCK_SERVER,), folder("stock"), primaries=2, replicas=1) as stock,
        start_cluster(OUR_NODE, folder("ours"), primaries=2, replicas=1) as ours,
    ):
        for cluster in (stock, ours):
            primary, replica = cluster.nodes[0], cluster.nodes[2]
            primary.call("SET", "b", "value")
            primary.call("FUNCTION", "LOAD", LIBRARY)
            for script in CACHED:
                replica.call("SCRIPT", "LOAD", script)
            wait_until(partial(_has_all, replica), 20, "the replica has all")
        yield stock, ours


def transcript(cluster: ClusterHandle, conversation: list[list[str]]) -> list[bytes]:
    """The replies of the first primary's replica; ports become the names of nodes, names of scripts their SHA1."""
    replica = cluster.nodes[2]
    shas = {
        name: replica.call("SCRIPT", "LOAD", script).decode()
        for name, script in zip(("GET", "NO_WRITES", "SHEBANG"), CACHED, strict=True)
    }
    wire = Wire(replica.port)
    replies = [wire.call([shas.get(word, word) if i == 1 else word for i, word in enumerate(c)]) for c in conversation]
    wire.close()
    for node, name in zip(cluster.nodes, (b"primary", b"other", b"replica", b"replica of the other"), strict=True):
        replies = [reply.replace(b":%d\r" % node.port, b":" + name + b"\r") for reply in replies]
    return replies


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: repr(conversation)[:60])
def test_replica_answers_as_stock(clusters: tuple[ClusterHandle, ClusterHandle], conversation: list[list[str]]) -> None:
    stock, ours = (transcript(cluster, conversation) for cluster in clusters)
    assert ours == stock
