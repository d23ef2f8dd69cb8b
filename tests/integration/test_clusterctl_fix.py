"""check and fix on clusters broken in every way that one meets: nothing is lost, and `check` is green afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from slotmesh.cluster.slots import key_slot
from tests.support import clusterctl
from tests.support.flavours import BOTH, Flavour
from tests.support.processes import ClusterHandle, ServerHandle, start_cluster, wait_until

pytestmark = pytest.mark.parametrize("flavour", BOTH, scope="module")

SLOT = key_slot(b"{fix}")
KEYS = [b"{fix}:%d" % number for number in range(40)]


@pytest.fixture(scope="module")
def shared(flavour: Flavour, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    # Nobody dies here: a long node timeout, so that a starved machine is not taken for a failure.
    patience = ("--cluster-node-timeout", "20000")
    with start_cluster(flavour.node, tmp_path_factory.mktemp("nodes"), *patience, primaries=3, replicas=1) as handle:
        yield handle


@pytest.fixture
def cluster(shared: ClusterHandle, tmp_path: Path) -> ClusterHandle:
    """One cluster for all tests that leave it sound, whoever owns the slot afterwards."""
    assert_green(tmp_path, shared.nodes[0])
    return shared


@pytest.fixture
def mortal(flavour: Flavour, tmp_path: Path) -> Iterator[ClusterHandle]:
    """A cluster for one test that kills nodes."""
    with start_cluster(flavour.node, tmp_path / "nodes", primaries=3, replicas=1) as handle:
        yield handle


class Slot:
    """The slot of KEYS, filled, with its owner and the two other primaries as `others`."""

    def __init__(self, cluster: ClusterHandle) -> None:
        self.cluster = cluster
        self.owner = next(node for node in cluster.nodes[:3] if self._owns(node))
        self.others = [node for node in cluster.nodes[:3] if node is not self.owner]
        for key in self.owner.call("CLUSTER", "GETKEYSINSLOT", SLOT, 1000):
            self.owner.call("DEL", key)
        for key in KEYS:
            self.owner.call("SET", key, b"value of " + key)

    @staticmethod
    def _owns(node: ServerHandle) -> bool:
        mine = bytes(node.call("CLUSTER", "MYID"))
        return any(
            low <= SLOT <= high and bytes(owner[2]) == mine for low, high, owner, *_ in node.call("CLUSTER", "SLOTS")
        )

    def open(self, target: ServerHandle, moved: Sequence[bytes] = ()) -> None:
        """Half-move the slot to `target`, with the keys `moved` already there."""
        target.call("CLUSTER", "SETSLOT", SLOT, "IMPORTING", identity(self.owner))
        self.owner.call("CLUSTER", "SETSLOT", SLOT, "MIGRATING", identity(target))
        if moved:
            self.owner.call("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *moved)

    def put_stray(self, node: ServerHandle, key: bytes, value: bytes) -> None:
        """A key of the slot on a node that neither owns nor imports it."""
        node.call("CLUSTER", "SETSLOT", SLOT, "IMPORTING", identity(self.owner))
        with node.client().pipeline(transaction=False) as pipe:
            pipe.execute_command("ASKING")
            pipe.execute_command("SET", key, value)
            pipe.execute()
        node.call("CLUSTER", "SETSLOT", SLOT, "STABLE")

    def holders(self) -> list[ServerHandle]:
        live = [node for node in self.cluster.nodes if node.running and node.call("ROLE")[0] == b"master"]
        return [node for node in live if node.call("CLUSTER", "COUNTKEYSINSLOT", SLOT)]

    def assert_whole(self, keys: Sequence[bytes] = KEYS) -> None:
        """All keys are there, with their values, on one node, which owns the slot."""
        (holder,) = self.holders()
        assert [holder.call("GET", key) for key in keys] == [b"value of " + key for key in keys]


def identity(node: ServerHandle) -> str:
    return bytes(node.call("CLUSTER", "MYID")).decode()


def fix(home: Path, node: ServerHandle, *options: str) -> dict[str, Any]:
    return clusterctl.run(home, "fix", "-n", node.address, "--yes", "--json", *options).ok().json


def codes(home: Path, node: ServerHandle) -> set[str]:
    findings = clusterctl.run(home, "check", "-n", node.address, "--json").json["findings"]
    return {finding["code"] for finding in findings}


def assert_green(home: Path, node: ServerHandle) -> None:
    clusterctl.run(home, "check", "-n", node.address).ok()


def test_fix_sound_cluster_does_nothing(cluster: ClusterHandle, tmp_path: Path) -> None:
    report = fix(tmp_path, cluster.nodes[0])
    assert (report["repairs"], report["takeovers"], report["findings"]) == ([], [], [])


def test_fix_half_moved_slot_with_keys_on_both_sides_finishes_the_move(cluster: ClusterHandle, tmp_path: Path) -> None:
    slot = Slot(cluster)
    slot.open(slot.others[0], moved=KEYS[:15])
    assert "slots_open" in codes(tmp_path, slot.owner)
    dry = clusterctl.run(tmp_path, "fix", "-n", slot.owner.address, "--dry-run", "--json").ok().json
    assert [repair["slots"] for repair in dry["repairs"]] == [str(SLOT)]
    assert "slots_open" in codes(tmp_path, slot.owner)
    report = fix(tmp_path, slot.owner)
    assert report["moved_keys"] == 25
    assert slot.holders() == [slot.others[0]]
    slot.assert_whole()
    assert_green(tmp_path, slot.owner)


def test_fix_half_moved_slot_before_any_key_moved_keeps_the_owner(cluster: ClusterHandle, tmp_path: Path) -> None:
    slot = Slot(cluster)
    slot.open(slot.others[1])
    assert fix(tmp_path, slot.owner)["moved_keys"] == 0
    assert slot.holders() == [slot.owner]
    slot.assert_whole()
    assert_green(tmp_path, slot.owner)


@pytest.mark.parametrize("side", ["importing", "migrating"])
def test_fix_only_one_side_marked_closes_the_slot(cluster: ClusterHandle, tmp_path: Path, side: str) -> None:
    slot = Slot(cluster)
    slot.open(slot.others[0], moved=KEYS[:5])
    unmarked = slot.owner if side == "importing" else slot.others[0]
    unmarked.call("CLUSTER", "SETSLOT", SLOT, "STABLE")
    fix(tmp_path, slot.owner)
    slot.assert_whole()
    assert_green(tmp_path, slot.owner)


def test_fix_key_on_both_sides_keeps_the_copy_of_the_owner(cluster: ClusterHandle, tmp_path: Path) -> None:
    slot = Slot(cluster)
    slot.put_stray(slot.others[0], KEYS[0], b"an old copy")
    slot.open(slot.others[0], moved=KEYS[20:])
    fix(tmp_path, slot.owner)
    slot.assert_whole()
    assert_green(tmp_path, slot.owner)


def test_fix_stray_keys_come_home_and_never_replace_newer_ones(cluster: ClusterHandle, tmp_path: Path) -> None:
    slot = Slot(cluster)
    extra = b"{fix}:stray"
    slot.put_stray(slot.others[0], extra, b"value of " + extra)
    slot.put_stray(slot.others[1], KEYS[3], b"an old copy")
    found = clusterctl.run(tmp_path, "check", "-n", slot.owner.address, "--json")
    assert found.code == 3
    assert [(f["code"], f["slots"]) for f in found.json["findings"]] == [("keys_stray", str(SLOT))] * 2
    assert {f["nodes"][0] for f in found.json["findings"]} == {identity(node) for node in slot.others}
    fix(tmp_path, slot.others[0])
    assert slot.holders() == [slot.owner]
    slot.assert_whole([*KEYS, extra])
    assert_green(tmp_path, slot.owner)


def test_fix_slot_without_owner_goes_to_the_holder_of_its_keys(cluster: ClusterHandle, tmp_path: Path) -> None:
    slot = Slot(cluster)
    for node in cluster.nodes:
        node.call("CLUSTER", "DELSLOTS", SLOT)
    empty = SLOT + 1
    for node in cluster.nodes:
        node.call("CLUSTER", "DELSLOTS", empty)
    assert {"slots_uncovered", "state_fail"} <= codes(tmp_path, slot.owner)
    fix(tmp_path, slot.owner)
    assert slot.holders() == [slot.owner]
    slot.assert_whole()
    assert_green(tmp_path, slot.owner)


def test_fix_dead_node_without_slots_does_not_block_a_repair(mortal: ClusterHandle, tmp_path: Path) -> None:
    """Stock `--cluster fix` refuses here, because a primary that was failed over and owns nothing is unreachable."""
    slot = Slot(mortal)
    bystander = slot.others[1]
    stand_in = mortal.nodes[mortal.nodes.index(bystander) + 3]
    bystander.kill9()
    clusterctl.run(tmp_path, "failover", stand_in.address, "--takeover", "-n", slot.owner.address).ok()
    slot.open(slot.others[0], moved=KEYS[:15])
    fix(tmp_path, slot.owner)
    slot.assert_whole()
    assert_green(tmp_path, slot.owner)
    assert "node_unreachable" in codes(tmp_path, slot.owner)
    clusterctl.run(tmp_path, "del-node", bystander.address, "--yes", "-n", slot.owner.address).ok()
    assert "node_unreachable" not in codes(tmp_path, slot.owner)


def test_fix_target_of_a_move_dead_its_replica_gets_the_slot(mortal: ClusterHandle, tmp_path: Path) -> None:
    slot = Slot(mortal)
    target = slot.others[0]
    slot.open(target, moved=KEYS[:15])
    stand_in = mortal.nodes[mortal.nodes.index(target) + 3]
    wait_until(lambda: stand_in.call("DBSIZE") == 15, 60, "the moved keys are replicated")
    target.kill9()
    wait_until(lambda: _suspected(slot.owner, target), 60, "the target is suspected")
    fix(tmp_path, slot.owner)
    slot.assert_whole()
    assert_green(tmp_path, slot.owner)


def test_fix_two_of_three_primaries_dead_promotes_their_replicas(mortal: ClusterHandle, tmp_path: Path) -> None:
    slot = Slot(mortal)
    survivor = slot.others[0]
    wait_until(lambda: _replica_of(slot).call("DBSIZE") == len(KEYS), 60, "the keys are replicated")
    for node in (slot.owner, slot.others[1]):
        node.kill9()
    wait_until(lambda: _suspected(survivor, slot.owner) and _suspected(survivor, slot.others[1]), 60, "both suspected")
    assert "slots_unreachable" in codes(tmp_path, survivor)
    report = fix(tmp_path, survivor)
    assert len(report["takeovers"]) <= 2
    slot.assert_whole()
    assert_green(tmp_path, survivor)


def _replica_of(slot: Slot) -> ServerHandle:
    return slot.cluster.nodes[slot.cluster.nodes.index(slot.owner) + 3]


def _suspected(by: ServerHandle, node: ServerHandle) -> bool:
    lines = bytes(by.call("CLUSTER", "NODES")).decode().splitlines()
    return any(f":{node.port}@" in line and "fail" in line.split()[2] for line in lines)


def test_fix_dead_primary_without_replica_needs_an_explicit_word(mortal: ClusterHandle, tmp_path: Path) -> None:
    slot = Slot(mortal)
    _replica_of(slot).kill9()
    slot.owner.kill9()
    survivor = slot.others[0]
    wait_until(lambda: _suspected(survivor, slot.owner), 60, "the owner is suspected")
    refused = clusterctl.run(tmp_path, "fix", "-n", survivor.address, "--yes")
    assert refused.code == 3
    assert "--give-up-dead-slots" in refused.stdout
    assert clusterctl.run(tmp_path, "del-node", slot.owner.address, "--yes", "-n", survivor.address).code == 5
    fix(tmp_path, survivor, "--give-up-dead-slots")
    assert_green(tmp_path, survivor)
    ranges = clusterctl.run(tmp_path, "slots", "-n", survivor.address, "--json").ok().json
    assert ranges["uncovered"] == ""
