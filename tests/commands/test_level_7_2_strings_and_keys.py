"""Strings, keys and lists at compat-level 7.2: what later servers answer differently to the same requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.inprocess import InProcessClient, InProcessNode
from tests.tables.support import OK, Table, array, bulk, error, number, play

_SYNTAX = error("ERR syntax error")
_NOT_INTEGER = error("ERR value is not an integer or out of range")


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode("--compat-level", "7.2", "--enable-debug-command", "yes") as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


BIT_RANGES: Table = (
    ("SET k abc", OK),
    ("BITCOUNT k 1", number(7)),
    ("BITCOUNT k -1", number(4)),
    ("BITCOUNT k x", _NOT_INTEGER),
    ("BITCOUNT nosuch 0 x", _NOT_INTEGER),
    ("BITCOUNT nosuch 0 1 NIBBLE", _SYNTAX),
    ("BITCOUNT nosuch 0 1 BIT x", _SYNTAX),
    ("BITPOS nosuch 1 0 x", _NOT_INTEGER),
    ("BITPOS nosuch 1 0 1 NIBBLE", _SYNTAX),
    ("BITPOS nosuch 1 0 1 BIT x", _SYNTAX),
    ("BITPOS nosuch 0", number(0)),
    ("RPUSH l a", number(1)),
    ("BITCOUNT l 0 x", _NOT_INTEGER),
)
PAST_EXPIRY: Table = (
    ("SET k old", OK),
    ("SET k new PXAT 1 GET", bulk("old")),
    ("EXISTS k", number(0)),
    ("SET k new EXAT 1", OK),
    ("DEBUG OBJECT k", error("ERR no such key")),
)
SCAN_TYPES: Table = (
    ("SET k v", OK),
    ("SCAN 0 COUNT 100000 TYPE String", array(bulk("0"), array(bulk("k")))),
    ("SCAN 0 TYPE nonsense", error("ERR unknown type name 'nonsense'")),
)
LIST_ENCODINGS: Table = (
    ("CONFIG SET list-max-listpack-size 3", OK),
    ("RPUSH l 1 2 3", number(3)),
    ("OBJECT ENCODING l", bulk("listpack")),
    ("COPY l twin", number(1)),
    ("LMOVE l twin LEFT LEFT", bulk("1")),
    ("OBJECT ENCODING twin", bulk("quicklist")),
    ("SORT twin STORE sorted", number(4)),
    ("OBJECT ENCODING sorted", bulk("quicklist")),
    ("LREM sorted 0 1", number(2)),
    ("OBJECT ENCODING sorted", bulk("quicklist")),
    ("LTRIM sorted 0 0", OK),
    ("OBJECT ENCODING sorted", bulk("listpack")),
    ("DEBUG QUICKLIST-PACKED-THRESHOLD 1b", OK),
    ("DEBUG QUICKLIST-PACKED-THRESHOLD 0", OK),
    (
        "DEBUG QUICKLIST-PACKED-THRESHOLD 4gb",
        error("ERR argument must be a memory value bigger than 1 and smaller than 4gb"),
    ),
)


@pytest.mark.parametrize("table", [BIT_RANGES, PAST_EXPIRY, SCAN_TYPES, LIST_ENCODINGS], ids=lambda table: table[1][0])
def test_requests_at_the_newer_level_are_answered_as_there(client: InProcessClient, table: Table) -> None:
    play(table, lambda request: client.raw(*request), resp3=False)


def test_scan_by_type_leaves_expired_keys_of_other_types_alone(node: InProcessNode, client: InProcessClient) -> None:
    client.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    client.call("SET", "string", "v", "PX", 1)
    client.call("HSET", "hash", "f", "v")
    client.call("PEXPIRE", "hash", 1)
    node.advance(5)
    assert client.call("SCAN", 0, "COUNT", 100_000, "TYPE", "string") == [b"0", []]
    assert client.call("DBSIZE") == 1


def test_blocked_client_does_not_wake_for_an_expired_key_nor_removes_it(
    node: InProcessNode, client: InProcessClient
) -> None:
    client.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    waiting = node.client()
    waiting.send(b"BLPOP k 0\r\n")
    client.call("SELECT", 1)
    client.call("RPUSH", "k", "v")
    client.call("PEXPIRE", "k", 1)
    node.advance(5)
    client.call("SWAPDB", 0, 1)
    assert waiting.received() == b""
    client.call("SELECT", 0)
    assert client.call("DBSIZE") == 1


def test_restored_frequency_counts_from_the_first_use_of_the_policy(client: InProcessClient) -> None:
    client.call("SET", "k", "v")
    client.call("OBJECT", "IDLETIME", "k")  # starts the recording of times
    payload = client.call("DUMP", "k")
    client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
    client.call("RESTORE", "k", 0, payload, "REPLACE", "FREQ", 100)
    assert client.call("OBJECT", "FREQ", "k") == 100


@pytest.mark.parametrize(("lazy", "word"), [("yes", b"UNLINK"), ("no", b"DEL")])
def test_restore_of_an_expired_value_tells_replicas_to_delete(
    node: InProcessNode, client: InProcessClient, lazy: str, word: bytes
) -> None:
    client.call("CONFIG", "SET", "lazyfree-lazy-server-del", lazy)
    client.call("SET", "k", "v")
    payload = client.call("DUMP", "k")
    node.take_propagated()
    client.call("RESTORE", "k", 1, payload, "REPLACE", "ABSTTL")
    assert node.take_propagated() == [[word, b"k"]]


def test_debug_object_tells_the_nodes_of_a_quicklist(client: InProcessClient) -> None:
    client.call("CONFIG", "SET", "list-max-listpack-size", "2", "list-compress-depth", "1")
    client.call("RPUSH", "l", 1, 2, 3)
    text = client.call("DEBUG", "OBJECT", "l")
    assert text.endswith(b" ql_nodes:2 ql_avg_node:1.50 ql_listpack_max:2 ql_compressed:1 ql_uncompressed_size:20")
    client.call("LTRIM", "l", 0, 0)
    assert b"ql_" not in client.call("DEBUG", "OBJECT", "l")
