"""Sentinels guard a cluster of our nodes: crashes, a stopped primary, most primaries gone, a lost lease."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.sentinel import Sentinel

from node.resp.encoder import encode_command
from tests.support.processes import (
    OUR_SENTINEL,
    ClusterHandle,
    ServerHandle,
    start_node_cluster,
    start_sentinel,
    wait_until,
)

DOWN_AFTER_MS = 1500
# One key per shard: slots 3300, 7365 and 15495.
KEYS = ("b", "c", "a")


class Guarded:
    """Three shards of two nodes, and three sentinels that guard them as `mesh`."""

    def __init__(self, cluster: ClusterHandle, sentinels: list[ServerHandle]) -> None:
        self.cluster = cluster
        self.sentinels = sentinels

    def primary(self, key: str) -> ServerHandle:
        """The running node that takes writes to `key`."""

        def find() -> ServerHandle | None:
            for node in self.cluster.nodes:
                if node.running:
                    with contextlib.suppress(redis.RedisError, OSError):
                        if node.call("SET", key, "probe") == b"OK":
                            return node
            return None

        found = wait_until(find, 20, f"some node takes writes to {key}")
        assert found is not None
        return found

    def replica_of(self, primary: ServerHandle) -> ServerHandle:
        """The other node of its shard."""
        my_id = primary.call("CLUSTER", "MYID")
        (line,) = primary.call("CLUSTER", "REPLICAS", my_id)
        port = int(line.split()[1].split(b"@")[0].rpartition(b":")[2])
        return next(node for node in self.cluster.nodes if node.port == port)

    def unit_of(self, node: ServerHandle) -> str:
        """The name under which the sentinels know the shard whose primary `node` is."""
        for flat in self.sentinels[0].call("SENTINEL", "MASTERS"):
            fields = dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat
            if int(fields[b"port"]) == node.port:
                return str(fields[b"name"].decode())
        raise AssertionError(f"no sentinel unit has {node.address} as primary")

    def wait_guarded(self) -> None:
        """Until every sentinel knows three shards with a replica each and the two others, and every node has leases."""
        for sentinel in self.sentinels:
            wait_until(lambda s=sentinel: self._sees_all(s), 40, f"{sentinel.address} sees shards and sentinels")  # type: ignore[misc]

    @staticmethod
    def _sees_all(sentinel: ServerHandle) -> bool:
        units = sentinel.call("SENTINEL", "MASTERS")
        facts = [dict(zip(one[::2], one[1::2], strict=True)) if isinstance(one, list) else one for one in units]
        return len(facts) == 3 and all(
            (fact[b"flags"], fact[b"num-slaves"], fact[b"num-other-sentinels"]) == (b"master", b"1", b"2")
            for fact in facts
        )


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    options = ("--cluster-node-timeout", "5000", "--save", "", "--repl-diskless-sync-delay", "0")
    with start_node_cluster(tmp_path, *options) as cluster, contextlib.ExitStack() as stack:
        sentinels = [
            stack.enter_context(
                start_sentinel(
                    OUR_SENTINEL,
                    tmp_path / f"sentinel{number}",
                    [
                        f"sentinel monitor mesh 127.0.0.1 {cluster.nodes[number].port} 2",
                        f"sentinel down-after-milliseconds mesh {DOWN_AFTER_MS}",
                        "sentinel failover-timeout mesh 10000",
                    ],
                )
            )
            for number in range(3)
        ]
        world = Guarded(cluster, sentinels)
        world.wait_guarded()
        yield world


def test_killed_primary_is_replaced_and_comes_back_as_replica(guarded: Guarded) -> None:
    primary = guarded.primary("a")
    replica = guarded.replica_of(primary)
    unit = guarded.unit_of(primary)
    primary.call("SET", "a", "before")
    assert primary.call("WAIT", 1, 5000) == 1
    stock_client = Sentinel([("127.0.0.1", sentinel.port) for sentinel in guarded.sentinels], socket_timeout=2)
    assert stock_client.discover_master(unit) == ("127.0.0.1", primary.port)
    listener = guarded.sentinels[0].client().pubsub(ignore_subscribe_messages=True)
    listener.subscribe("+switch-master")

    primary.kill9()
    started = time.monotonic()
    wait_until(lambda: replica.call("SET", "a", "after") == b"OK", 20, "the replica takes writes")
    print(f"writes again after {time.monotonic() - started:.3f} s")
    message = wait_until(lambda: listener.get_message(timeout=0.2), 10, "+switch-master")
    assert message["data"].decode() == f"{unit} 127.0.0.1 {primary.port} 127.0.0.1 {replica.port}"
    wait_until(lambda: stock_client.discover_master(unit) == ("127.0.0.1", replica.port), 10, "redis-py follows")
    listener.close()  # type: ignore[no-untyped-call]

    primary.restart()
    wait_until(lambda: primary.info("replication").get("master_link_status") == "up", 30, "the old one replicates")
    primary.call("READONLY")
    wait_until(lambda: primary.call("GET", "a") == b"after", 10, "it has the new data")


def test_two_of_three_primaries_killed_at_once_are_both_replaced(guarded: Guarded) -> None:
    victims = [guarded.primary(key) for key in KEYS[:2]]
    survivor = guarded.primary(KEYS[2])
    for victim in victims:
        victim.kill9()
    started = time.monotonic()
    for key in KEYS:
        assert guarded.primary(key) not in victims
    print(f"all shards take writes after {time.monotonic() - started:.3f} s")
    wait_until(lambda: b"cluster_state:ok" in survivor.call("CLUSTER", "INFO"), 20, "the cluster is whole")
    guarded.cluster.wait_ok()


def test_stopped_primary_acknowledges_nothing_after_its_successor_began(guarded: Guarded) -> None:
    primary = guarded.primary("b")
    replica = guarded.replica_of(primary)
    with socket.create_connection(("127.0.0.1", primary.port), 5) as sock:
        sock.sendall(encode_command([b"SET", b"b", b"old"]))
        assert sock.recv(100) == b"+OK\r\n"
        primary.pause()
        sock.sendall(encode_command([b"SET", b"b", b"late"]))  # waits in the socket of the stopped process
        started = time.monotonic()
        wait_until(lambda: replica.call("SET", "b", "new") == b"OK", 20, "the replica takes writes")
        print(f"writes again after {time.monotonic() - started:.3f} s, down-after {DOWN_AFTER_MS} ms")
        primary.resume()
        sock.settimeout(10)
        try:
            answer = sock.recv(1000)
        except ConnectionError:
            answer = b""
        assert answer == b"" or answer.startswith((b"-CLUSTERDOWN", b"-MOVED")), answer
    wait_until(lambda: primary.info("replication").get("master_link_status") == "up", 30, "the old one replicates")
    assert replica.call("GET", "b") == b"new"


def test_primary_without_sentinels_turns_read_only_until_they_are_back(guarded: Guarded) -> None:
    primary = guarded.primary("c")
    primary.call("SET", "c", "kept")
    for sentinel in guarded.sentinels[:2]:
        sentinel.pause()

    def refused() -> bool:
        try:
            primary.call("SET", "c", "kept")
        except redis.RedisError as error:
            return "lease" in str(error)
        return False

    wait_until(refused, 10, "writes are refused")
    assert primary.call("GET", "c") == b"kept"
    for sentinel in guarded.sentinels[:2]:
        sentinel.resume()
    wait_until(lambda: primary.call("SET", "c", "again") == b"OK", 20, "writes are accepted")
