"""CLUSTER FLUSHSLOT, SHUTDOWN SAFE, and the policies that ask for the last change of a key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slotmesh.cluster.slots import key_slot
from slotmesh.node.keyspace.access import ChangeTimes
from tests.support.inprocess import InProcessClient, InProcessNode
from tests.tables.support import OK, Table, error, number, play, wrong_arity

FLUSHSLOT: Table = (
    ("CLUSTER FLUSHSLOT", wrong_arity("cluster|flushslot")),
    ("CLUSTER FLUSHSLOT x", error("ERR Invalid or out of range slot")),
    ("CLUSTER FLUSHSLOT 16384", error("ERR Invalid or out of range slot")),
    ("CLUSTER FLUSHSLOT 0 NOW", error("ERR syntax error")),
    ("CLUSTER FLUSHSLOT 0 SYNC ASYNC", error("ERR syntax error")),
    ("MSET {06S}a 1 {06S}b 2", OK),
    ("SET {Qi}a 1 EX 100", OK),
    ("CLUSTER FLUSHSLOT 0", OK),
    ("CLUSTER COUNTKEYSINSLOT 0", number(0)),
    ("DBSIZE", number(1)),
    ("CLUSTER FLUSHSLOT 1 sync", OK),
    ("DBSIZE", number(0)),
    ("CLUSTER FLUSHSLOT 1 ASYNC", OK),
)


@pytest.fixture
def cluster() -> Iterator[InProcessNode]:
    """A cluster of one that owns all slots."""
    with InProcessNode("--cluster-enabled", "yes", "--lazyfree-lazy-user-flush", "no") as node:
        node.client().call("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        assert node.server.cluster is not None
        node.server.cluster.core.view.cluster_ok = True
        node.server.cluster.settled()
        yield node


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as node:
        yield node


# -- CLUSTER FLUSHSLOT -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("resp3", [False, True], ids=["resp2", "resp3"])
def test_flushslot_gives_exact_replies(cluster: InProcessNode, resp3: bool) -> None:
    client = cluster.client(resp3=resp3)
    play(FLUSHSLOT, lambda words: client.raw(*words), resp3=resp3)


def test_flushslot_outside_a_cluster_is_refused(node: InProcessNode) -> None:
    assert node.client().raw("CLUSTER", "FLUSHSLOT", "0") == error("ERR This instance has cluster support disabled")


def test_flushslot_is_propagated_as_deletions_and_breaks_watches(cluster: InProcessNode) -> None:
    client, watcher = cluster.client(), cluster.client()
    keys = [b"{06S}%d" % n for n in range(1500)]
    for key in keys:
        client.call("SET", key, "")
    watcher.call("WATCH", keys[7])
    cluster.take_propagated()
    client.call("CLUSTER", "FLUSHSLOT", str(key_slot(keys[0])))
    gone = cluster.take_propagated()
    assert [words[0] for words in gone if words[0] not in (b"MULTI", b"EXEC")] == [b"DEL", b"DEL"]
    assert sorted(key for words in gone for key in words[1:]) == sorted(keys)
    client.call("CLUSTER", "FLUSHSLOT", "0")
    assert cluster.take_propagated() == []
    watcher.call("MULTI")
    watcher.call("PING")
    assert watcher.call("EXEC") is None


@pytest.mark.parametrize(("words", "name"), [(("ASYNC",), b"UNLINK"), (("SYNC",), b"DEL"), ((), b"UNLINK")])
def test_flushslot_names_the_kind_of_deletion(cluster: InProcessNode, words: tuple[str, ...], name: bytes) -> None:
    client = cluster.client()
    client.call("CONFIG", "SET", "lazyfree-lazy-user-flush", "yes")
    client.call("SET", "{06S}a", "")
    cluster.take_propagated()
    client.call("CLUSTER", "FLUSHSLOT", "0", *words)
    assert cluster.take_propagated() == [[name, b"{06S}a"]]


# -- SHUTDOWN SAFE ---------------------------------------------------------------------------------------------


def test_safe_shutdown_of_a_primary_with_slots_is_refused(cluster: InProcessNode) -> None:
    client = cluster.client()
    assert client.raw("SHUTDOWN", "NOSAVE", "SAFE") == error("ERR Errors trying to SHUTDOWN. Check logs.")
    assert client.raw("SHUTDOWN", "SAFE", "ABORT") == error("ERR syntax error")
    assert not cluster.server.shutdown_requested.is_set()
    client.raw("SHUTDOWN", "NOSAVE", "SAFE", "FORCE")
    assert cluster.server.shutdown_requested.is_set()


def test_safe_shutdown_without_slots_ends(cluster: InProcessNode) -> None:
    client = cluster.client()
    client.call("CLUSTER", "DELSLOTSRANGE", "0", "16383")
    client.raw("SHUTDOWN", "NOSAVE", "SAFE")
    assert cluster.server.shutdown_requested.is_set()


def test_safe_shutdown_outside_a_cluster_ends(node: InProcessNode) -> None:
    node.client().raw("SHUTDOWN", "SAFE")
    assert node.server.shutdown_requested.is_set()


def test_signals_can_be_told_to_be_safe(node: InProcessNode) -> None:
    client = node.client()
    assert client.raw("CONFIG", "SET", "shutdown-on-sigterm", "nosave safe") == OK
    assert client.call("CONFIG", "GET", "shutdown-on-sigterm")[1] == b"nosave safe"


# -- allkeys-lrm and volatile-lrm ------------------------------------------------------------------------------


def idle(client: InProcessClient, key: str) -> int:
    seconds: int = client.call("OBJECT", "IDLETIME", key)
    return seconds


@pytest.mark.parametrize("policy", ["allkeys-lrm", "volatile-lrm"])
def test_only_changes_make_a_key_young(node: InProcessNode, policy: str) -> None:
    client = node.client()
    assert client.raw("CONFIG", "SET", "maxmemory-policy", policy) == OK
    assert client.call("CONFIG", "GET", "maxmemory-policy")[1] == policy.encode()
    client.call("SET", "s", "1")
    client.call("RPUSH", "l", "a")
    node.advance(10_000)
    for words in ("GET s", "STRLEN s", "SETNX s 2", "LRANGE l 0 -1", "LPUSHX nosuch a", "LREM l 0 nosuch", "TYPE s"):
        client.call(*words.split())
    assert (idle(client, "s"), idle(client, "l")) == (10, 10)
    client.call("INCR", "s")
    client.call("RPUSH", "l", "b")
    assert (idle(client, "s"), idle(client, "l")) == (0, 0)
    node.advance(5000)
    client.call("MSET", "s", "1", "t", "2")
    assert (idle(client, "s"), idle(client, "t"), idle(client, "l")) == (0, 0, 5)


def test_key_that_was_not_changed_for_longest_goes_first(node: InProcessNode) -> None:
    client = node.client()
    client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lrm", "maxmemory-samples", "64")
    for n in range(5):  # so few that 64 draws meet each of them
        client.call("SET", f"k{n}", "v")
        node.advance(1000)
    for _ in range(3):
        client.call("GET", "k0")  # read all the time, changed never
    client.call("APPEND", "k1", "v")
    db, key = node.server.eviction._choose() or (None, b"")
    assert (db, key) == (node.server.keyspace.dbs[0], b"k0")
    client.call("DEL", "k0")
    _, key = node.server.eviction._choose() or (None, b"")
    assert key == b"k2"


def test_volatile_lrm_takes_keys_with_an_expiry_only(node: InProcessNode) -> None:
    client = node.client()
    client.call("CONFIG", "SET", "maxmemory-policy", "volatile-lrm")
    client.call("SET", "stays", "v")
    node.advance(1000)
    client.call("SET", "may go", "v", "EX", "1000")
    _, key = node.server.eviction._choose() or (None, b"")
    assert key == b"may go"


def test_changes_are_recorded_while_the_policy_asks_for_them(node: InProcessNode) -> None:
    client, keyspace = node.client(), node.server.keyspace
    client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lrm")
    assert isinstance(keyspace.access, ChangeTimes)
    assert keyspace.observed
    client.call("SET", "k", "v")
    client.call("DEL", "k")
    assert keyspace.access.idle_ms(0, b"k") == 0  # since recording began: nothing is kept of what is gone
    node.advance(3000)
    assert keyspace.access.idle_ms(0, b"k") == 3000
    client.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert keyspace.access is None
    assert not keyspace.observed
    client.call("SET", "k", "v")
    client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    node.advance(3000)
    client.call("GET", "k")
    assert idle(client, "k") == 0
