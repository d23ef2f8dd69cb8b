"""create, add-node, del-node, failover and the verbs that only look."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import clusterctl
from tests.support.flavours import BOTH, Flavour
from tests.support.processes import (
    ClusterHandle,
    ServerHandle,
    free_ports,
    running_nodes,
    start_cluster,
    start_server,
    wait_until,
)
from tests.support.workload import Workload

pytestmark = pytest.mark.parametrize("flavour", BOTH, scope="module")


@pytest.fixture(scope="module")
def shared(flavour: Flavour, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    # Nobody dies here: a long node timeout, so that a starved machine is not taken for a failure.
    patience = ("--cluster-node-timeout", "20000")
    with start_cluster(flavour.node, tmp_path_factory.mktemp("nodes"), *patience, primaries=3, replicas=1) as handle:
        yield handle


@pytest.fixture
def cluster(shared: ClusterHandle) -> ClusterHandle:
    """One cluster for all tests that leave its membership as it was."""
    for node in shared.nodes[:3]:
        node.call("FLUSHALL")
    return shared


@pytest.fixture
def mortal(flavour: Flavour, tmp_path: Path) -> Iterator[ClusterHandle]:
    """A cluster for one test that takes nodes away."""
    with start_cluster(flavour.node, tmp_path / "nodes", primaries=3, replicas=1) as handle:
        yield handle


def test_create_empty_nodes_become_an_even_cluster(flavour: Flavour, tmp_path: Path) -> None:
    with running_nodes(flavour.node, tmp_path / "nodes", 6) as nodes:
        addresses = [node.address for node in nodes]
        planned = clusterctl.run(tmp_path, "create", *addresses, "--replicas", 1, "--dry-run", "--json").ok().json
        assert [shard["slots"] for shard in planned["shards"]] == ["0-5460", "5461-10922", "10923-16383"]
        assert b"cluster_known_nodes:1" in nodes[0].call("CLUSTER", "INFO")
        assert clusterctl.run(tmp_path, "create", *addresses, "--replicas", 1).code == 5
        clusterctl.run(tmp_path, "create", *addresses, "--replicas", 1, "--yes").ok()
        clusterctl.run(tmp_path, "check", "-n", addresses[5], "--strict").ok()
        refused = clusterctl.run(tmp_path, "create", *addresses, "--yes")
        assert refused.code == 5
        assert "already belongs to a cluster of 6 nodes" in refused.stderr


def test_create_node_with_slots_is_refused(flavour: Flavour, tmp_path: Path) -> None:
    with running_nodes(flavour.node, tmp_path / "nodes", 3) as nodes:
        node = nodes[1]
        node.call("CLUSTER", "ADDSLOTS", 866)
        refused = clusterctl.run(tmp_path, "create", *(n.address for n in nodes), "--yes", "--json")
        assert refused.code == 5
        assert refused.json["error"]["kind"] == "refused"
        assert node.address in refused.json["error"]["message"]


def _slots_only(nodes: list[ServerHandle]) -> None:
    nodes[0].call("CLUSTER", "ADDSLOTSRANGE", 0, 5460)


def _met_only(nodes: list[ServerHandle]) -> None:
    for number, (node, slots) in enumerate(zip(nodes, ((0, 5460), (5461, 10922), (10923, 16383)), strict=False)):
        node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        node.call("CLUSTER", "ADDSLOTSRANGE", *slots)
    for node in nodes[1:]:
        node.call("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)


@pytest.mark.parametrize("interrupted", [_slots_only, _met_only], ids=["slots only", "before replicate"])
def test_create_if_needed_finishes_what_was_begun(
    flavour: Flavour, tmp_path: Path, interrupted: Callable[[list[ServerHandle]], None]
) -> None:
    with running_nodes(flavour.node, tmp_path / "nodes", 6) as nodes:
        wish = ("create", *(f"localhost:{node.port}" for node in nodes), "--replicas", 1, "--if-needed", "--json")
        interrupted(nodes)
        plan = clusterctl.run(tmp_path, *wish, "--dry-run").ok().json["finished"]
        assert len([step for step in plan if "becomes a replica" in step]) == 3
        assert b"connected_slaves:0" in nodes[0].call("INFO", "replication")
        assert clusterctl.run(tmp_path, *wish, "--yes").ok().json["finished"]
        clusterctl.run(tmp_path, "check", "-n", nodes[5].address, "--strict").ok()
        assert clusterctl.run(tmp_path, *wish, "--yes").ok().json["finished"] == []


def test_create_if_needed_brings_nodes_together_whose_addresses_changed(flavour: Flavour, tmp_path: Path) -> None:
    with start_cluster(flavour.node, tmp_path / "nodes", "--appendonly", "yes", primaries=3, replicas=1) as cluster:
        with contextlib.closing(cluster.client()) as client:
            client.set("kept", "1")
        ids = sorted(node.call("CLUSTER", "MYID") for node in cluster.nodes)
        for node in cluster.nodes:
            node.stop()
        for node, port in zip(cluster.nodes, free_ports(6, cluster=True), strict=True):
            node.move(port)
        wish = ("create", *cluster.addresses, "--replicas", 1, "--if-needed", "--yes", "--json")
        assert clusterctl.run(tmp_path, *wish).ok().json["finished"] == ["all nodes meet"]
        clusterctl.run(tmp_path, "check", "-n", cluster.addresses[0]).ok()
        with contextlib.closing(cluster.client()) as client:
            assert client.get("kept") == b"1"
        assert sorted(node.call("CLUSTER", "MYID") for node in cluster.nodes) == ids


def test_create_if_needed_leaves_a_node_with_keys_and_no_slots_alone(flavour: Flavour, tmp_path: Path) -> None:
    with running_nodes(flavour.node, tmp_path / "nodes", 3) as nodes:
        nodes[1].call("CONFIG", "SET", "cluster-require-full-coverage", "no")
        nodes[1].call("CLUSTER", "ADDSLOTS", 3300)  # that of the key
        wait_until(lambda: nodes[1].call("SET", "b", "x"), 20, "a served slot")
        nodes[1].call("CLUSTER", "DELSLOTS", 3300)
        refused = clusterctl.run(tmp_path, "create", *(node.address for node in nodes), "--if-needed", "--yes")
        assert refused.code == 5
        assert f"{nodes[1].address} holds 1 keys and owns no slots" in refused.stderr
        assert b"cluster_known_nodes:1" in nodes[0].call("CLUSTER", "INFO")


def test_create_unreachable_node_is_named(flavour: Flavour, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    outcome = clusterctl.run(tmp_path, "create", f"127.0.0.1:{port}", "--yes")
    assert outcome.code == 4
    assert f"cannot connect to 127.0.0.1:{port}: connection refused" in outcome.stderr


def test_add_rebalance_and_delete_a_primary_under_load(
    cluster: ClusterHandle, flavour: Flavour, tmp_path: Path
) -> None:
    seed = ("-n", cluster.nodes[0].address, "--yes", "--json")
    with start_server(flavour.node, tmp_path / "new", cluster=True) as newcomer:
        with Workload([node.port for node in cluster.nodes], workers=2) as load:
            added = clusterctl.run(tmp_path, "add-node", newcomer.address, "--rebalance", *seed).ok().json
            counts = _slot_counts(cluster, tmp_path)
            assert len(counts) == 4
            assert max(counts.values()) - min(counts.values()) <= 1
            load.wait_for_operations(100)
            clusterctl.run(tmp_path, "del-node", added["id"], *seed).ok()
            load.wait_for_operations(100)
        load.check(cluster.nodes)
        assert sum(_slot_counts(cluster, tmp_path).values()) == 16384
        assert all(added["id"].encode() not in node.call("CLUSTER", "NODES") for node in cluster.nodes)
        assert b"cluster_known_nodes:1" in newcomer.call("CLUSTER", "INFO")
        clusterctl.run(tmp_path, "check", "-n", cluster.nodes[0].address, "--strict").ok()


def _slot_counts(cluster: ClusterHandle, home: Path) -> dict[str, int]:
    nodes = clusterctl.run(home, "nodes", "-n", cluster.nodes[0].address, "--json").ok().json["nodes"]
    return {node["id"]: node["slot_count"] for node in nodes if node["role"] == "primary"}


def test_add_node_as_replica_auto_picks_the_primary_without_one(
    mortal: ClusterHandle, flavour: Flavour, tmp_path: Path
) -> None:
    seed = ("-n", mortal.nodes[1].address)
    clusterctl.run(tmp_path, "del-node", str(mortal.nodes[3].port), "--shutdown", "--yes", *seed).ok()
    mortal.nodes[3].process.wait(10)
    assert clusterctl.run(tmp_path, "check", "--strict", *seed).code == 3
    with start_server(flavour.node, tmp_path / "new", cluster=True) as newcomer:
        added = clusterctl.run(tmp_path, "add-node", newcomer.address, "--replica-of", "auto", "--json", *seed).ok()
        assert added.json["primary_id"] == bytes(mortal.nodes[0].call("CLUSTER", "MYID")).decode()
        assert newcomer.info("replication")["master_link_status"] == "up"
        clusterctl.run(tmp_path, "check", "--strict", *seed).ok()


def test_del_node_primary_with_replica_rehomes_the_replica(mortal: ClusterHandle, tmp_path: Path) -> None:
    seed = ("-n", mortal.nodes[1].address)
    clusterctl.run(tmp_path, "del-node", mortal.nodes[0].address, "--yes", *seed).ok()
    assert sum(_slot_counts_of(mortal.nodes[1].address, tmp_path)) == 16384
    info = mortal.nodes[3].info("replication")
    assert int(info["master_port"]) in (mortal.nodes[1].port, mortal.nodes[2].port)
    clusterctl.run(tmp_path, "check", "--strict", *seed).ok()


def _slot_counts_of(address: str, home: Path) -> list[int]:
    nodes = clusterctl.run(home, "nodes", "-n", address, "--json").ok().json["nodes"]
    return [node["slot_count"] for node in nodes]


def test_failover_back_and_forth_under_load_loses_nothing(cluster: ClusterHandle, tmp_path: Path) -> None:
    seed = ("-n", cluster.nodes[1].address, "--json")
    primary, replica = cluster.nodes[0], cluster.nodes[3]
    with Workload([node.port for node in cluster.nodes], workers=2) as load:
        load.wait_for_operations(50)
        done = clusterctl.run(tmp_path, "failover", replica.address, *seed).ok().json
        assert done["address"] == replica.address
        assert done["downtime_ms"] < 10_000
        back = clusterctl.run(tmp_path, "failover", replica.address, *seed).ok().json
        assert back["address"] == primary.address
        load.wait_for_operations(50)
    load.check(cluster.nodes)


def test_failover_of_a_primary_that_is_down_needs_force(mortal: ClusterHandle, tmp_path: Path) -> None:
    mortal.nodes[0].kill9()
    seed = ("-n", mortal.nodes[1].address)
    refused = clusterctl.run(tmp_path, "failover", mortal.nodes[3].address, *seed)
    if refused.code == 0:
        pytest.fail("a failover without --force worked against a dead primary")
    if mortal.nodes[3].call("ROLE")[0] != b"master":  # unless the cluster itself was faster
        outcome = clusterctl.run(tmp_path, "failover", mortal.nodes[3].address, "--takeover", *seed)
        assert outcome.code == 0 or mortal.nodes[3].call("ROLE")[0] == b"master", outcome.stderr
    clusterctl.run(tmp_path, "check", *seed).ok()


def test_call_runs_everywhere_or_on_primaries(cluster: ClusterHandle, tmp_path: Path) -> None:
    seed = ("-n", cluster.nodes[0].address, "--json")
    everywhere = clusterctl.run(tmp_path, "call", *seed, "PING").ok().json["replies"]
    assert [answer["reply"] for answer in everywhere] == ["PONG"] * 6
    primaries = clusterctl.run(tmp_path, "call", *seed, "--cluster-only-primaries", "ROLE").ok().json["replies"]
    assert [answer["reply"][0] for answer in primaries] == ["master"] * 3
    failed = clusterctl.run(tmp_path, "call", *seed, "GET")
    assert failed.code == 1
    assert all("wrong number of arguments" in answer["error"] for answer in failed.json["replies"])


def test_add_node_member_of_this_cluster_is_not_told_to_empty_itself(cluster: ClusterHandle, tmp_path: Path) -> None:
    refused = clusterctl.run(tmp_path, "add-node", cluster.nodes[1].address, "-n", cluster.nodes[0].address)
    assert refused.code == 5
    assert "is in this cluster already, as a primary" in refused.stderr
    assert "FLUSHALL" not in refused.stderr


def test_nodes_fit_a_terminal_of_80_columns(cluster: ClusterHandle, tmp_path: Path) -> None:
    shown = clusterctl.run(tmp_path, "nodes", "-n", cluster.nodes[0].address).ok().stdout
    assert max(map(len, shown.splitlines())) <= 80


def test_looking_verbs_agree_with_the_nodes(cluster: ClusterHandle, tmp_path: Path) -> None:
    client = cluster.client()
    client.set("hello", "x")
    client.close()
    seed = ("-n", f"127.0.0.1:{free_ports(1)[0]}", "-n", cluster.nodes[4].address, "--json")
    ranges = clusterctl.run(tmp_path, "slots", *seed).ok().json
    stated = sorted((low, high) for low, high, *_ in cluster.nodes[2].call("CLUSTER", "SLOTS"))
    assert [(row["first"], row["last"]) for row in ranges["ranges"]] == stated
    assert ranges["uncovered"] == ""
    info = clusterctl.run(tmp_path, "info", *seed).ok().json
    assert info["keys"] == sum(node.call("DBSIZE") for node in cluster.nodes if node.call("ROLE")[0] == b"master") == 1
    status = clusterctl.run(tmp_path, "status", *seed).ok().json
    assert (status["nodes"], status["primaries_with_slots"], status["healthy"]) == (6, 3, True)
    for verb in ("slots", "info", "nodes", "status", "check"):
        assert clusterctl.run(tmp_path, verb, "-n", cluster.nodes[0].address).ok().stdout
