"""A node dies in the middle of a classic move: its successor knows the open slots, and no key is out of reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from slotmesh.cluster.slots import key_slot
from tests.support import clusterctl
from tests.support.processes import ClusterHandle, ServerHandle, raw_call, start_node_cluster, wait_until

SLOT = key_slot(b"{move}")
STAYED, MOVED, NEW = b"{move}stayed", b"{move}moved", b"{move}new"
OPTIONS = ("--cluster-node-timeout", "1000")


def moving_cluster(tmp_path: Path) -> ClusterHandle:
    return start_node_cluster(tmp_path / "nodes", *OPTIONS, primaries=3, replicas=1)


def parties(cluster: ClusterHandle) -> tuple[ServerHandle, ServerHandle]:
    """The owner of SLOT, and the primary that it goes to."""
    source = next(node for node in cluster.nodes[:3] if node.call("CLUSTER", "COUNTKEYSINSLOT", SLOT))
    return source, next(node for node in cluster.nodes[:3] if node is not source)


def replica_of(cluster: ClusterHandle, primary: ServerHandle) -> ServerHandle:
    return next(node for node in cluster.nodes[3:] if node.call("ROLE")[2] == primary.port)


def open_slots(node: ServerHandle) -> list[str]:
    """What a node says of its own open slots."""
    lines = node.call("CLUSTER", "NODES")
    lines = lines.decode() if isinstance(lines, bytes) else str(lines)
    mine = next(line for line in lines.splitlines() if "myself" in line)
    return [word for word in mine.split() if word.startswith("[")]


def node_id(node: ServerHandle) -> str:
    return str(node.call("CLUSTER", "MYID").decode())


@contextmanager
def half_moved(tmp_path: Path) -> Iterator[tuple[ClusterHandle, ServerHandle, ServerHandle]]:
    """(cluster, source, target): one key of SLOT has been moved, one has not, and the replicas have both."""
    with moving_cluster(tmp_path) as cluster:
        client = cluster.client()
        client.set(STAYED, b"1")
        client.set(MOVED, b"1")
        source, target = parties(cluster)
        assert target.call("CLUSTER", "SETSLOT", SLOT, "IMPORTING", node_id(source), "TIMEOUT", 10000) == b"OK"
        assert source.call("CLUSTER", "SETSLOT", SLOT, "MIGRATING", node_id(target), "TIMEOUT", 10000) == b"OK"
        assert open_slots(replica_of(cluster, target)) == [f"[{SLOT}-<-{node_id(source)}]"]
        assert open_slots(replica_of(cluster, source)) == [f"[{SLOT}->-{node_id(target)}]"]
        source.call("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", MOVED)
        for primary, key in ((source, STAYED), (target, MOVED)):
            copy = replica_of(cluster, primary)
            wait_until(lambda c=copy, k=key: c.call("CLUSTER", "GETKEYSINSLOT", SLOT, 9) == [k], 20, "the copies")  # type: ignore[misc]
        yield cluster, source, target


def reads(source: ServerHandle, target: ServerHandle) -> None:
    """Both keys are where the protocol says they are, and a key that is made now goes to the target."""
    assert source.call("GET", STAYED) == b"1"
    for key in (MOVED, NEW):
        with pytest.raises(redis.ResponseError, match=rf"^{SLOT} .*:{target.port}$|^ASK {SLOT} .*:{target.port}$"):
            source.call("GET", key)
    pipe = target.client().pipeline(transaction=False)
    for command in (("ASKING",), ("GET", MOVED), ("ASKING",), ("SET", NEW, "1")):
        pipe.execute_command(*command)
    assert pipe.execute()[1::2] in ([b"1", True], [b"1", b"OK"])


def finish(tmp_path: Path, cluster: ClusterHandle, seed: ServerHandle) -> None:
    """`fix` brings the move to its end, with every key."""
    clusterctl.run(tmp_path, "fix", "-n", seed.address, "--yes").ok()
    assert all(not open_slots(node) for node in cluster.nodes if node.running)
    client = cluster.client()
    assert [client.get(key) for key in (STAYED, MOVED, NEW)] == [b"1"] * 3


def promoted(node: ServerHandle) -> None:
    wait_until(lambda: node.call("ROLE")[0] == b"master", 30, f"{node.address} is promoted")
    wait_until(lambda: b"cluster_state:ok" in node.call("CLUSTER", "INFO"), 30, "the cluster works")


def test_target_killed_in_a_move_its_successor_goes_on(tmp_path: Path) -> None:
    with half_moved(tmp_path) as (cluster, source, target):
        heir = replica_of(cluster, target)
        target.kill9()
        promoted(heir)
        assert open_slots(heir) == [f"[{SLOT}-<-{node_id(source)}]"]
        wait_until(lambda: open_slots(source) == [f"[{SLOT}->-{node_id(heir)}]"], 20, "the source knows the successor")
        reads(source, heir)
        finish(tmp_path, cluster, source)


def test_source_killed_in_a_move_its_successor_goes_on(tmp_path: Path) -> None:
    with half_moved(tmp_path) as (cluster, source, target):
        heir = replica_of(cluster, source)
        source.kill9()
        promoted(heir)
        assert open_slots(heir) == [f"[{SLOT}->-{node_id(target)}]"]
        wait_until(lambda: open_slots(target) == [f"[{SLOT}-<-{node_id(heir)}]"], 20, "the target knows the successor")
        copy = replica_of(cluster, target)
        wait_until(lambda: open_slots(copy) == open_slots(target), 20, "so does its replica")
        reads(heir, target)
        finish(tmp_path, cluster, heir)


def test_readonly_client_is_sent_on_for_what_has_moved_away(tmp_path: Path) -> None:
    with half_moved(tmp_path) as (cluster, source, target):
        connection = replica_of(cluster, source).client()
        with pytest.raises(redis.exceptions.MovedError):
            connection.execute_command("GET", STAYED)
        connection.execute_command("READONLY")
        assert raw_call(connection, "GET", STAYED) == b"1"
        with pytest.raises(redis.exceptions.AskError) as ask:
            connection.execute_command("GET", MOVED)
        assert ask.value.port == target.port
        with pytest.raises(redis.exceptions.TryAgainError):
            connection.execute_command("MGET", STAYED, MOVED)


def test_setslot_with_a_timeout_says_when_a_replica_has_not_heard_of_it(tmp_path: Path) -> None:
    with moving_cluster(tmp_path) as cluster:
        cluster.client().set(STAYED, b"1")
        source, target = parties(cluster)
        replica = replica_of(cluster, source)
        replica.pause()
        try:
            with pytest.raises(redis.ResponseError, match="Not enough good replicas"):
                source.call("CLUSTER", "SETSLOT", SLOT, "MIGRATING", node_id(target), "TIMEOUT", 50)
            assert open_slots(source) == [f"[{SLOT}->-{node_id(target)}]"], "the order stands"
        finally:
            replica.resume()
        assert source.call("CLUSTER", "SETSLOT", SLOT, "STABLE", "TIMEOUT", 20000) == b"OK"
        assert open_slots(replica) == []
        for timeout in ("-1", "x"):
            with pytest.raises(redis.ResponseError, match="timeout is"):
                source.call("CLUSTER", "SETSLOT", SLOT, "STABLE", "TIMEOUT", timeout)
