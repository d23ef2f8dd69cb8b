"""A node dies in the middle of a reshard: the tool says so in one line, and `fix` brings cluster and plan to an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotmesh.cluster.slots import key_slot
from tests.support import clusterctl
from tests.support.flavours import BOTH, Flavour
from tests.support.processes import ClusterHandle, start_cluster, wait_until
from tests.support.workload import keys_per_primary

KEYS = [key for key in (b"crash:%d" % number for number in range(45_000)) if key_slot(key) <= 5460]


def fill_first_shard(cluster: ClusterHandle) -> None:
    """KEYS on the first primary, and all of them on its replica too: what is lost later is lost by the move."""
    pipe = cluster.nodes[0].client().pipeline(transaction=False)
    for key in KEYS:
        pipe.set(key, key)
    pipe.execute()
    wait_until(lambda: cluster.nodes[3].call("DBSIZE") == len(KEYS), 60, "the replica has all keys")


@pytest.mark.parametrize("outcome", ["resume", "rollback"])
@pytest.mark.parametrize("flavour", BOTH)
def test_source_killed_during_reshard_fix_finds_every_key(flavour: Flavour, outcome: str, tmp_path: Path) -> None:
    with start_cluster(flavour.node, tmp_path / "nodes", primaries=3, replicas=1) as cluster:
        source, target = cluster.nodes[0], cluster.nodes[1]
        fill_first_shard(cluster)
        seed = ("-n", target.address)
        tool = clusterctl.start(
            tmp_path, "reshard", *seed, "--from", source.address, "--to", target.address, "--slots", 5000, "--yes"
        )
        wait_until(lambda: target.call("DBSIZE") > 1500, 60, "the move is under way", poll_s=0.001)
        source.kill9()
        stdout, stderr = tool.communicate(timeout=200)
        assert tool.returncode == 1, (stdout, stderr)
        assert "Traceback" not in stderr
        assert "clusterctl fix" in stderr
        wait_until(lambda: cluster.nodes[3].call("ROLE")[0] == b"master", 60, "the cluster has failed over by itself")
        fixed = clusterctl.run(tmp_path, "fix", *seed, f"--{outcome}", "--yes", "--json").ok().json
        assert fixed["plans"][0]["outcome"] == outcome
        holders = keys_per_primary(cluster.nodes)
        assert set(KEYS) == set().union(*holders)
        assert sum(map(len, holders)) == len(KEYS)
        expected = 5461 - 5000 if outcome == "resume" else 5461
        nodes = clusterctl.run(tmp_path, "nodes", *seed, "--json").ok().json["nodes"]
        heir = next(node for node in nodes if node["port"] == cluster.nodes[3].port)
        assert heir["slot_count"] == expected
        assert clusterctl.run(tmp_path, "check", *seed).code == 0
