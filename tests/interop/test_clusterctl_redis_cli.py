"""clusterctl and stock redis-cli on the same clusters, and stock nodes beside ours in one cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import clusterctl
from tests.support.flavours import BOTH, OURS, STOCK, Flavour, needs_stock
from tests.support.processes import ClusterHandle, running_nodes, start_cluster, start_server, wait_until
from tests.support.workload import Workload, keys_per_primary

pytestmark = [pytest.mark.stock, needs_stock]


def redis_cli(*args: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Stock `redis-cli --cluster ...`, which must succeed."""
    done = subprocess.run(
        ["redis-cli", "--cluster", *args], capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def cluster(flavour: Flavour, tmp_path: Path) -> Iterator[ClusterHandle]:
    with start_cluster(flavour.node, tmp_path / "nodes", primaries=3, replicas=1) as handle:
        yield handle


@pytest.mark.parametrize("flavour", BOTH)
def test_cluster_made_by_redis_cli_is_green_for_clusterctl(flavour: Flavour, tmp_path: Path) -> None:
    with running_nodes(flavour.node, tmp_path / "nodes", 6) as nodes:
        redis_cli("create", *(node.address for node in nodes), "--cluster-replicas", "1", "--cluster-yes")
        seed = nodes[0].address
        wait_until(lambda: clusterctl.run(tmp_path, "check", "-n", seed, "--strict").code == 0, 60, "check is green")
        ranges = clusterctl.run(tmp_path, "slots", "-n", seed, "--json").ok().json["ranges"]
        assert [(row["first"], row["last"]) for row in ranges] == [(0, 5460), (5461, 10922), (10923, 16383)]


@pytest.mark.parametrize("flavour", BOTH)
def test_cluster_changed_by_clusterctl_is_green_for_redis_cli_at_once(cluster: ClusterHandle, tmp_path: Path) -> None:
    seed = cluster.nodes[0].address
    clusterctl.run(tmp_path, "reshard", "-n", seed, "--to", cluster.nodes[2].address, "--slots", 500, "--yes").ok()
    assert "[OK] All 16384 slots covered." in redis_cli("check", seed).stdout
    redis_cli("rebalance", seed, "--cluster-threshold", "1")
    wait_until(lambda: clusterctl.run(tmp_path, "check", "-n", seed).code == 0, 60, "check is green")


@pytest.mark.parametrize("flavour", BOTH)
def test_reshard_by_redis_cli_killed_midway_is_healed_by_fix(cluster: ClusterHandle, tmp_path: Path) -> None:
    seed = cluster.nodes[0]
    ids = [bytes(node.call("CLUSTER", "MYID")).decode() for node in cluster.nodes[:2]]
    client = cluster.client()
    keys = {b"key:%d" % number for number in range(3000)}
    for key in keys:
        client.set(key, key)
    command = [
        "redis-cli", "--cluster", "reshard", seed.address, "--cluster-from", ids[0], "--cluster-to", ids[1],
        "--cluster-slots", "4000", "--cluster-yes",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as tool:
        before = cluster.nodes[1].call("DBSIZE")
        wait_until(lambda: cluster.nodes[1].call("DBSIZE") > before + 20, 60, "the move is under way", poll_s=0.001)
        tool.kill()
    clusterctl.run(tmp_path, "fix", "-n", seed.address, "--yes").ok()
    assert "[OK] All 16384 slots covered." in redis_cli("check", seed.address).stdout
    assert all(client.get(key) == key for key in keys)
    client.close()
    holders = keys_per_primary(cluster.nodes)
    assert sum(map(len, holders)) == len(keys)


@pytest.mark.parametrize(("old", "new"), [(OURS, STOCK), (STOCK, OURS)], ids=["ours-to-stock", "stock-to-ours"])
def test_one_shard_is_replaced_by_the_other_kind_of_node_under_load(old: Flavour, new: Flavour, tmp_path: Path) -> None:
    """The promise of drop-in: join a node of the other kind, move the slots over, retire the old one, lose nothing."""
    with (
        start_cluster(old.node, tmp_path / "old", primaries=3, replicas=0) as cluster,
        start_server(new.node, tmp_path / "new", cluster=True) as newcomer,
    ):
        seed = ("-n", cluster.nodes[0].address, "--yes")
        with Workload([node.port for node in cluster.nodes], workers=2) as load:
            load.wait_for_operations(50)
            clusterctl.run(tmp_path, "add-node", newcomer.address, "--rebalance", *seed).ok()
            load.wait_for_operations(50)
            clusterctl.run(tmp_path, "del-node", cluster.nodes[2].address, *seed).ok()
            load.wait_for_operations(50)
        load.check([*cluster.nodes[:2], newcomer])
        assert newcomer.call("DBSIZE") > 0
        clusterctl.run(tmp_path, "check", "-n", newcomer.address).ok()
