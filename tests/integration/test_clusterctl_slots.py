"""reshard, rebalance and the repair of their interruptions, on real nodes under a running workload."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotmesh.cluster.slots import key_slot
from tests.support import clusterctl
from tests.support.flavours import BOTH, Flavour
from tests.support.processes import ClusterHandle, start_cluster, wait_until
from tests.support.workload import Workload, keys_per_primary

pytestmark = pytest.mark.parametrize("flavour", BOTH, scope="module")


@pytest.fixture(scope="module")
def shared(flavour: Flavour, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    # Nobody dies here: a long node timeout, so that a starved machine is not taken for a failure.
    patience = ("--cluster-node-timeout", "20000")
    with start_cluster(flavour.node, tmp_path_factory.mktemp("nodes"), *patience, primaries=3, replicas=1) as handle:
        yield handle


@pytest.fixture
def cluster(shared: ClusterHandle, tmp_path: Path) -> ClusterHandle:
    """The shared cluster, without keys, its slots spread evenly (but not always the same ones)."""
    for node in shared.nodes[:3]:
        node.call("FLUSHALL")
    clusterctl.run(tmp_path, "rebalance", "-n", shared.nodes[0].address, "--threshold", 0.1, "--yes").ok()
    return shared


def node_id(cluster: ClusterHandle, index: int) -> str:
    return bytes(cluster.nodes[index].call("CLUSTER", "MYID")).decode()


def fill(cluster: ClusterHandle, count: int, size: int = 32) -> set[bytes]:
    """`count` keys spread over all slots, written to their owners directly."""
    owner_of = {}
    by_port = {node.port: node for node in cluster.nodes}
    for low, high, owner, *_ in cluster.nodes[0].call("CLUSTER", "SLOTS"):
        owner_of.update(dict.fromkeys(range(low, high + 1), by_port[owner[1]]))
    pipes = {node.port: node.client().pipeline(transaction=False) for node in cluster.nodes[:3]}
    keys = [b"fill:%d" % number for number in range(count)]
    for key in keys:
        pipes[owner_of[key_slot(key)].port].set(key, b"v" * size)
    for pipe in pipes.values():
        pipe.execute()
    return set(keys)


def slots_per_primary(cluster: ClusterHandle) -> list[int]:
    owned = dict.fromkeys((node_id(cluster, i) for i in range(cluster.primaries)), 0)
    for low, high, owner, *_ in cluster.nodes[0].call("CLUSTER", "SLOTS"):
        owned[bytes(owner[2]).decode()] += high - low + 1
    return list(owned.values())


def everyone_agrees(cluster: ClusterHandle) -> bool:
    maps = [
        sorted((low, high, bytes(owner[2])) for low, high, owner, *_ in node.call("CLUSTER", "SLOTS"))
        for node in cluster.nodes
        if node.running
    ]
    return all(one == maps[0] for one in maps)


def no_open_slot(cluster: ClusterHandle) -> bool:
    return all(b"[" not in node.call("CLUSTER", "NODES") for node in cluster.nodes if node.running)


def test_reshard_under_load_loses_and_doubles_nothing(cluster: ClusterHandle, tmp_path: Path) -> None:
    filled = fill(cluster, 20_000)
    before = slots_per_primary(cluster)
    with Workload([node.port for node in cluster.nodes]) as load:
        load.wait_for_operations(200)
        outcome = clusterctl.run(
            tmp_path, "reshard", "-n", cluster.nodes[4].address, "--to", cluster.nodes[1].address,
            "--slots", 3000, "--yes", "--json",
        ).ok()  # fmt: skip
        agreed_at_once = everyone_agrees(cluster)
        load.wait_for_operations(200)
    assert agreed_at_once
    assert no_open_slot(cluster)
    assert outcome.json["moved_slots"] == 3000
    assert outcome.json["moved_keys"] > 3000
    assert slots_per_primary(cluster)[1] == before[1] + 3000
    load.check(cluster.nodes)
    assert filled <= set().union(*keys_per_primary(cluster.nodes))
    assert not list((tmp_path / "plans").glob("*.json"))


def test_reshard_then_rebalance_at_once_settles_evenly(cluster: ClusterHandle, tmp_path: Path) -> None:
    """Stock tools refuse the second command here: their first one returns before gossip has settled."""
    fill(cluster, 2_000)
    seed = ("-n", cluster.nodes[0].address, "--yes")
    with Workload([node.port for node in cluster.nodes], workers=2) as load:
        clusterctl.run(tmp_path, "reshard", *seed, "--to", node_id(cluster, 2)[:12], "--slot-range", "0-1999,2500").ok()
        outcome = clusterctl.run(tmp_path, "rebalance", *seed, "--json").ok()
    counts = slots_per_primary(cluster)
    assert max(counts) - min(counts) <= 1
    assert sorted(outcome.json["slots_after"].values()) == sorted(counts)
    load.check(cluster.nodes)


def test_rebalance_dry_run_changes_nothing(cluster: ClusterHandle, tmp_path: Path) -> None:
    before = slots_per_primary(cluster)
    weight = f"{cluster.nodes[0].address}=3"
    arguments = ("rebalance", "-n", cluster.nodes[0].address, "--weight", weight, "--json")
    planned = clusterctl.run(tmp_path, *arguments, "--dry-run").ok().json
    assert planned["dry_run"] is True
    assert slots_per_primary(cluster) == before
    done = clusterctl.run(tmp_path, *arguments, "--yes").ok().json
    assert done["slots_after"] == planned["slots_after"]
    assert done["moves"] == planned["moves"]
    assert slots_per_primary(cluster)[0] == round(16384 * 3 / 5)


def test_reshard_killed_midway_fix_heals_and_resumes(cluster: ClusterHandle, tmp_path: Path) -> None:
    filled = fill(cluster, 30_000)
    counts = slots_per_primary(cluster)
    seed = ("-n", cluster.nodes[0].address)
    with Workload([node.port for node in cluster.nodes], workers=2) as load:
        load.wait_for_operations(50)
        tool = clusterctl.start(
            tmp_path, "reshard", *seed, "--from", node_id(cluster, 0), "--to", node_id(cluster, 1),
            "--slots", 4000, "--yes",
        )  # fmt: skip
        target = cluster.nodes[1]
        held = target.call("DBSIZE")
        wait_until(lambda: target.call("DBSIZE") > held + 1500, 60, "the move is under way", poll_s=0.002)
        tool.kill()
        tool.communicate()
        clusterctl.run(tmp_path, "check", *seed)
        journal = list((tmp_path / "plans").glob("*.json"))
        assert len(journal) == 1
        fixed = clusterctl.run(tmp_path, "fix", *seed, "--yes", "--json").ok().json
        assert no_open_slot(cluster)
        assert everyone_agrees(cluster)
        assert 0 < fixed["plans"][0]["slots_left"] < 4000
        resumed = clusterctl.run(tmp_path, "fix", *seed, "--resume", "--yes", "--json").ok().json
        assert resumed["plans"][0]["outcome"] == "resume"
    assert slots_per_primary(cluster) == [counts[0] - 4000, counts[1] + 4000, counts[2]]
    assert not list((tmp_path / "plans").glob("*.json"))
    load.check(cluster.nodes)
    assert filled <= set().union(*keys_per_primary(cluster.nodes))


def test_reshard_interrupted_by_ctrl_c_leaves_no_open_slot_and_rolls_back(
    cluster: ClusterHandle, tmp_path: Path
) -> None:
    filled = fill(cluster, 30_000)
    seed = ("-n", cluster.nodes[0].address)
    before = slots_per_primary(cluster)
    tool = clusterctl.start(tmp_path, "reshard", *seed, "--to", node_id(cluster, 2), "--slots", 6000, "--yes", "--json")
    target = cluster.nodes[2]
    held = target.call("DBSIZE")
    wait_until(lambda: target.call("DBSIZE") > held + 1000, 60, "the move is under way", poll_s=0.002)
    os.kill(tool.pid, signal.SIGINT)
    stdout, stderr = tool.communicate(timeout=200)
    assert tool.returncode == 130, (stdout, stderr)
    assert no_open_slot(cluster)
    assert everyone_agrees(cluster)
    assert before[2] < slots_per_primary(cluster)[2] < before[2] + 6000
    assert clusterctl.run(tmp_path, "check", *seed).code == 0
    clusterctl.run(tmp_path, "fix", *seed, "--rollback", "--yes").ok()
    assert slots_per_primary(cluster) == before
    assert filled <= set().union(*keys_per_primary(cluster.nodes))
    assert not list((tmp_path / "plans").glob("*.json"))
