"""Import mode: keys whose time has come stay, hidden from all but the connection that imports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slotmesh.node.keyspace.database import DELETE, HIDE_FROM_READS
from tests.support.inprocess import InProcessClient, InProcessNode
from tests.tables.support import OK, error, number, wrong_arity

NIL = b"$-1\r\n"


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode("--import-mode", "yes") as node:
        yield node


@pytest.fixture
def importer(node: InProcessNode) -> InProcessClient:
    client = node.client()
    assert client.raw("CLIENT", "IMPORT-SOURCE", "ON") == OK
    return client


def test_import_source_gives_exact_replies(node: InProcessNode) -> None:
    client = node.client()
    assert client.raw("CLIENT", "IMPORT-SOURCE") == wrong_arity("client|import-source")
    assert client.raw("CLIENT", "IMPORT-SOURCE", "MAYBE") == error("ERR syntax error")
    assert client.raw("CLIENT", "IMPORT-SOURCE", "on") == OK
    assert b"flags=UI " in client.call("CLIENT", "INFO")
    assert client.raw("CLIENT", "IMPORT-SOURCE", "Off") == OK
    assert b"flags=U " in client.call("CLIENT", "INFO")
    client.call("CONFIG", "SET", "import-mode", "no")
    assert client.raw("CLIENT", "IMPORT-SOURCE", "on") == error("ERR Server is not in import mode")


def test_expired_key_is_there_for_the_import_only(node: InProcessNode, importer: InProcessClient) -> None:
    other = node.client()
    importer.call("SET", "k", "1", "PX", "10")
    node.take_propagated()
    node.advance(100)
    node.server.keyspace.expire_cycle(lambda: True)
    assert other.raw("GET", "k") == NIL
    assert other.raw("EXISTS", "k") == number(0)
    assert importer.call("GET", "k") == b"1"
    assert importer.call("INCR", "k") == 2
    assert importer.call("SCAN", "0")[1] == [b"k"]
    assert importer.call("EVAL", "return redis.call('get', KEYS[1])", "1", "k") == b"2"
    importer.call("MULTI")
    importer.call("GET", "k")
    assert importer.call("EXEC") == [b"2"]
    assert other.raw("GET", "k") == NIL
    assert node.take_propagated() == [[b"INCR", b"k"]]
    assert importer.raw("DEL", "k") == number(1)


def test_expiry_in_the_past_is_kept_for_the_import(node: InProcessNode, importer: InProcessClient) -> None:
    importer.call("SET", "k", "1")
    assert importer.raw("PEXPIREAT", "k", "5") == number(1)
    assert importer.call("GET", "k") == b"1"
    importer.call("EXPIREAT", "k", "-5")
    assert importer.call("PEXPIRETIME", "k") == 0
    importer.call("SET", "s", "1", "PXAT", "7")
    assert importer.call("PEXPIRETIME", "s") == 7
    assert node.client().call("DBSIZE") == 2


def test_write_of_another_client_begins_with_an_absent_key(node: InProcessNode, importer: InProcessClient) -> None:
    importer.call("SET", "k", "5", "PX", "10")
    node.advance(100)
    assert node.client().call("INCR", "k") == 1
    assert importer.call("TTL", "k") == -1


def test_end_of_the_mode_lets_expired_keys_go(node: InProcessNode, importer: InProcessClient) -> None:
    importer.call("SET", "k", "1", "PX", "10")
    node.advance(100)
    assert node.server.keyspace.expiry_mode == HIDE_FROM_READS
    importer.call("CONFIG", "SET", "import-mode", "no")
    assert node.server.keyspace.expiry_mode == DELETE
    assert importer.raw("GET", "k") == NIL
    assert importer.call("DBSIZE") == 0


def test_import_source_has_no_effect_while_the_mode_is_off(node: InProcessNode, importer: InProcessClient) -> None:
    importer.call("CONFIG", "SET", "import-mode", "no")
    importer.call("SET", "k", "1", "PX", "10")
    node.advance(100)
    assert importer.raw("GET", "k") == NIL
    importer.call("CONFIG", "SET", "import-mode", "yes")
    importer.call("SET", "k", "1", "PX", "10")
    node.advance(100)
    assert importer.call("GET", "k") == b"1"


def test_fields_of_hashes_stay_as_well(node: InProcessNode, importer: InProcessClient) -> None:
    importer.call("HSET", "h", "f", "1", "g", "2")
    importer.call("HPEXPIRE", "h", "10", "FIELDS", "1", "f")
    node.advance(100)
    assert node.client().raw("HGET", "h", "f") == NIL
    assert importer.call("HGET", "h", "f") == b"1"


def test_nothing_is_evicted_meanwhile(node: InProcessNode) -> None:
    client = node.client()
    client.call("SET", "k", "v")
    client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "1")
    assert client.raw("SET", "l", "v") == OK
    assert client.call("DBSIZE") == 2
    client.call("CONFIG", "SET", "import-mode", "no")
    client.call("GET", "k")
    assert client.call("DBSIZE") == 0


def test_reset_ends_the_import_of_a_connection(node: InProcessNode, importer: InProcessClient) -> None:
    importer.call("SET", "k", "1", "PX", "10")
    node.advance(100)
    importer.call("RESET")
    assert importer.raw("GET", "k") == NIL
