"""One cluster of our nodes and stock ones, over the stock bus protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import datasets
from tests.support.processes import (
    OUR_NODE,
    STOCK_SERVER,
    ClusterHandle,
    ServerHandle,
    free_ports,
    have_stock,
    raw_call,
    start_server,
    wait_until,
)

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="redis-server is not on PATH")]

SLOTS = 16_384
OPTIONS = (
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "1500",
    "--save",
    "",
    "--repl-diskless-sync-delay",
    "0",
)


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[ClusterHandle]:
    """Primaries: ours, ours, stock. Replicas: stock of the first, stock of the second, ours of the third."""
    launchers = (OUR_NODE, OUR_NODE, (STOCK_SERVER,), (STOCK_SERVER,), (STOCK_SERVER,), OUR_NODE)
    cluster = ClusterHandle([], 3)
    with cluster:
        for launcher, port in zip(launchers, free_ports(6, cluster=True), strict=True):
            cluster.nodes.append(start_server(launcher, tmp_path / str(port), *OPTIONS, port=port, cluster=True))
        bounds = [0, 5461, 10923, SLOTS]
        first = cluster.nodes[0]
        for index, node in enumerate(cluster.nodes):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            if index < 3:
                node.call("CLUSTER", "ADDSLOTSRANGE", bounds[index], bounds[index + 1] - 1)
            if index:
                first.call("CLUSTER", "MEET", "127.0.0.1", node.port)
        for index in range(3):
            replica, primary_id = cluster.nodes[3 + index], cluster.nodes[index].call("CLUSTER", "MYID")
            wait_until(
                lambda r=replica, p=primary_id: r.call("CLUSTER", "REPLICATE", p) == b"OK",  # type: ignore[misc]
                20,
                f"{replica.address} replicates",
            )
        cluster.wait_ok()
        for replica in cluster.nodes[3:]:
            _wait_in_sync(replica)
        yield cluster


def _wait_in_sync(replica: ServerHandle) -> None:
    wait_until(lambda: replica.info("replication").get("master_link_status") == "up", 30, f"{replica.address} in sync")


def _shards(node: ServerHandle) -> list[tuple[tuple[int, ...], tuple[tuple[bytes, bytes], ...]]]:
    """CLUSTER SHARDS as comparable facts: slots, and (id, role) of each node."""
    found = []
    for shard in raw_call(node.client(), "CLUSTER", "SHARDS"):
        fields = _pairs(shard)
        members = [_pairs(one) for one in fields[b"nodes"]]
        found.append((tuple(fields[b"slots"]), tuple(sorted((m[b"id"], m[b"role"]) for m in members))))
    return sorted(found)


def _pairs(flat: list[Any] | dict[Any, Any]) -> dict[bytes, Any]:
    """A map, which RESP2 flattens."""
    return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))


def _wait_agreed(cluster: ClusterHandle) -> None:
    """Until all nodes report the same shards with the same roles."""
    running = [node for node in cluster.nodes if node.running]
    wait_until(lambda: len({str(_shards(node)) for node in running}) == 1, 15, "all nodes report the same shards")


def test_mixed_cluster_agrees_on_shards_and_serves_all_keys(mixed: ClusterHandle) -> None:
    _wait_agreed(mixed)
    client = mixed.client()
    for number in range(300):
        client.set(f"key:{number}", number)
    assert [int(client.get(f"key:{number}") or -1) for number in range(300)] == list(range(300))
    client.close()


@pytest.mark.parametrize("shard", [0, 2], ids=["ours to stock", "stock to ours"])
def test_replica_of_the_other_make_holds_equal_data(mixed: ClusterHandle, shard: int) -> None:
    primary, replica = mixed.nodes[shard], mixed.nodes[3 + shard]
    tag = "{a}" if shard == 2 else "{b}"  # slots 15495 and 3300
    calls = [
        ("SET", f"{tag}string", "value"),
        ("SET", f"{tag}volatile", "value", "PX", "10000000"),
        ("HSET", f"{tag}hash", "f", "1", "g", "2"),
        ("RPUSH", f"{tag}list", *[str(n) for n in range(300)]),
        ("SADD", f"{tag}intset", *[str(n) for n in range(50)]),
        ("SADD", f"{tag}set", *[f"member{n}" for n in range(200)]),
        ("ZADD", f"{tag}zset", *[word for n in range(300) for word in (str(n / 3), f"m{n}")]),
        ("XADD", f"{tag}stream", "1-1", "f", "v"),
        ("PFADD", f"{tag}hll", *[str(n) for n in range(1000)]),
        ("SETBIT", f"{tag}bits", "100000", "1"),
    ]
    for call in calls:
        primary.call(*call)
    assert primary.call("WAIT", 1, 5000) == 1
    keys = datasets.keys(primary)
    assert len(keys) == len(calls)
    replica.call("READONLY")
    assert datasets.keys(replica) == keys
    for key in keys:
        assert datasets.content(replica, key) == datasets.content(primary, key), key


@pytest.mark.parametrize(
    "shard", [0, 2], ids=["a stock replica is elected with our vote", "ours is elected with theirs"]
)
def test_replica_of_the_other_make_takes_over_when_its_primary_dies(mixed: ClusterHandle, shard: int) -> None:
    primary, replica = mixed.nodes[shard], mixed.nodes[3 + shard]
    key = "a" if shard == 2 else "b"
    primary.call("SET", key, "before")
    assert primary.call("WAIT", 1, 5000) == 1
    primary.kill9()
    wait_until(lambda: replica.call("SET", key, "after") == b"OK", 20, "the replica takes writes")
    mixed.wait_ok()
    primary.restart()
    wait_until(lambda: primary.info("replication").get("role") == "slave", 20, "the old primary rejoins as replica")
    _wait_in_sync(primary)
    primary.call("READONLY")
    wait_until(lambda: primary.call("GET", key) == b"after", 10, "it has the new data")


def test_manual_failover_works_across_makes(mixed: ClusterHandle) -> None:
    primary, replica = mixed.nodes[0], mixed.nodes[3]
    assert replica.call("CLUSTER", "FAILOVER") == b"OK"
    wait_until(lambda: replica.info("replication")["role"] == "master", 15, "the stock replica is primary")
    wait_until(lambda: primary.info("replication")["role"] == "slave", 15, "ours is its replica")
    _wait_in_sync(primary)
    _wait_agreed(mixed)
    assert primary.call("CLUSTER", "FAILOVER") == b"OK"
    wait_until(lambda: primary.info("replication")["role"] == "master", 15, "ours is primary again")
    mixed.wait_ok()


def test_publish_reaches_subscribers_on_nodes_of_the_other_make(mixed: ClusterHandle) -> None:
    ours, stock = mixed.nodes[0], mixed.nodes[2]
    for publisher, listener in ((ours, stock), (stock, ours)):
        subscription = listener.client().pubsub(ignore_subscribe_messages=True)
        subscription.subscribe("news")
        wait_until(lambda s=subscription: s.get_message(timeout=0.1) is None, 5, "subscribed")  # type: ignore[misc]
        wait_until(lambda n=listener: n.call("PUBSUB", "NUMSUB", "news") == [b"news", 1], 5, "known")  # type: ignore[misc]
        publisher.call("PUBLISH", "news", "hello")
        message = wait_until(lambda s=subscription: s.get_message(timeout=0.1), 5, "the message")  # type: ignore[misc]
        assert message["data"] == b"hello"
        subscription.close()


def test_stock_replica_sees_nothing_of_open_slots_and_holds_no_order_up(mixed: ClusterHandle) -> None:
    ours, other, stock = mixed.nodes[:3]
    ids = [node.call("CLUSTER", "MYID") for node in (ours, other, stock)]
    assert ours.call("CLUSTER", "SETSLOT", 5, "MIGRATING", ids[1], "TIMEOUT", 5000) == b"OK"
    assert other.call("CLUSTER", "SETSLOT", 5, "IMPORTING", ids[0], "TIMEOUT", 5000) == b"OK"
    assert ours.call("CLUSTER", "SETSLOT", 6, "MIGRATING", ids[2]) == b"OK"
    assert stock.call("CLUSTER", "SETSLOT", 6, "IMPORTING", ids[0]) == b"OK"
    offsets = [node.info("replication")["master_repl_offset"] for node in mixed.nodes[3:5]]
    wait_until(
        lambda: all(
            node.info("replication")["master_repl_offset"] != before
            for node, before in zip(mixed.nodes[3:5], offsets, strict=True)
        ),
        20,
        "the replicas of ours go on replicating",
    )
    for node in mixed.nodes[2:5]:
        for complaint in ("extension", "sending an error to its master", "module"):
            assert complaint not in node.log(), node.log()
    assert b"[6-<-" not in mixed.nodes[5].call("CLUSTER", "NODES"), "a stock primary does not tell"
