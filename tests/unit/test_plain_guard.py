"""A node without a cluster under guard: writes tied to leases, a guard that survives restarts, orders with a fence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from slotmesh.node.clustering.guard_file import GuardFile, GuardFileError, SavedGuard
from slotmesh.node.clustering.plain_guard import PlainGuard
from tests.support.inprocess import InProcessClient, InProcessNode

LEASE_MS = 1000
NAME = "solo"
PORT = "6399"
OK = "OK"


class HandClock:
    """A clock of the guard that only the test moves."""

    def __init__(self, now_ms: int) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode("--port", PORT) as started:
        yield started


def plain_guard(node: InProcessNode) -> PlainGuard:
    assert node.server.plain_guard is not None
    return node.server.plain_guard


def stop_clock(node: InProcessNode) -> HandClock:
    plain = plain_guard(node)
    clock = HandClock(plain.now_ms)
    plain._clock = clock  # type: ignore[assignment]  # it has what is used of a BusClock
    return clock


def guard(
    client: InProcessClient, sentinel: str, echo_ms: int, *more: str, name: str = NAME, voters: int = 3
) -> object:
    return client.call("CLUSTER", "GUARD", name, sentinel, 0, LEASE_MS, voters, echo_ms, *more)


def lease(node: InProcessNode, client: InProcessClient, *sentinels: str) -> HandClock:
    clock = stop_clock(node)
    for sentinel in sentinels or ("s1", "s2"):
        guard(client, sentinel, clock.ms)
    return clock


def refusal(client: InProcessClient) -> str:
    """The error of a write; empty when it was taken."""
    reply = client.call("SET", "k", "v")
    return "" if reply == OK or reply == b"OK" else str(reply)


def test_node_that_nobody_guards_has_no_lease_to_look_at(node: InProcessNode) -> None:
    client = node.client()
    assert not refusal(client)
    assert node.server.data_plane.lease is None
    assert node.server.info.fields("cluster") == {"cluster_enabled": 0}
    assert not os.path.exists(f"guard-{PORT}.conf")


def test_writes_end_with_the_leases_and_begin_with_new_ones(node: InProcessNode) -> None:
    client = node.client()
    clock = lease(node, client)
    assert not refusal(client)
    clock.ms += LEASE_MS
    assert refusal(client).startswith("READONLY This primary is guarded by the sentinels of 'solo' and has 0 of the 2")
    assert "CLUSTER UNGUARD solo" in refusal(client)
    assert client.call("GET", "k") == b"v"
    guard(client, "s1", clock.ms)
    assert refusal(client)
    guard(client, "s2", clock.ms)
    assert not refusal(client)


def test_one_of_three_is_no_majority_and_arms_nothing(node: InProcessNode) -> None:
    client = node.client()
    clock = lease(node, client, "s1")
    clock.ms += 10 * LEASE_MS
    assert not refusal(client)
    assert node.server.data_plane.lease is None


def test_writes_of_a_script_and_of_a_transaction_are_refused_as_well(node: InProcessNode) -> None:
    client = node.client()
    lease(node, client).ms += LEASE_MS
    assert "READONLY" in str(client.call("EVAL", "return redis.call('SET', KEYS[1], 1)", 1, "k"))
    client.call("MULTI")
    assert "READONLY" in str(client.call("SET", "k", 1))


def test_replica_is_watched_and_refuses_writes_as_replicas_do(node: InProcessNode) -> None:
    client = node.client()
    clock = stop_clock(node)
    client.call("REPLICAOF", "127.0.0.1", "1")
    for sentinel in ("s1", "s2"):
        guard(client, sentinel, clock.ms, "WATCH")
    assert refusal(client) == "READONLY You can't write against a read only replica."
    assert node.server.info.fields("cluster")["cluster_guard_fenced"] == 0
    client.call("REPLICAOF", "NO", "ONE")
    assert "0 of the 2 leases" in refusal(client), "it was watched: as a primary it needs leases"


def test_leases_are_told_in_info(node: InProcessNode) -> None:
    client = node.client()
    clock = lease(node, client)
    clock.ms += 300
    assert node.server.info.fields("cluster") == {
        "cluster_enabled": 0,
        "guarded_by": NAME,
        "cluster_guard_fenced": 0,
        "cluster_guard_leases": 2,
        "cluster_guard_leases_needed": 2,
        "cluster_guard_lease_ms": LEASE_MS - 300,
    }


def test_pass_that_outlasts_the_lease_may_not_be_acknowledged(node: InProcessNode) -> None:
    clock = lease(node, node.client())
    watch = node.server.data_plane.lease
    assert watch is not None
    watch.begin_pass()
    clock.ms += 3 * LEASE_MS
    assert watch.outlasted()


# Restarts


def reborn(node: InProcessNode) -> PlainGuard:
    """What the guard of the next process in the same directory makes of what it finds there."""
    server = node.server
    server.data_plane.lease = None
    path = f"guard-{PORT}.conf"
    plain = PlainGuard(path, server.run_id, server.replication, server.pubsub.publish, server._tie_writes)
    plain.allow(server.config.sentinel_guard)
    return plain


def test_guarded_primary_refuses_writes_after_a_restart_until_it_is_leased(node: InProcessNode) -> None:
    lease(node, node.client())
    plain = reborn(node)
    assert plain.guard.is_armed
    assert plain.lease.fenced()
    assert node.server.data_plane.lease is plain.lease


def test_released_node_is_free_for_good(node: InProcessNode) -> None:
    client = node.client()
    lease(node, client).ms += LEASE_MS
    assert client.call("CLUSTER", "UNGUARD", "other") == 0
    assert client.call("CLUSTER", "UNGUARD", NAME) == 1
    assert not refusal(client)
    assert node.server.data_plane.lease is None
    assert not reborn(node).guard.is_armed
    assert not os.path.exists(f"guard-{PORT}.conf")


def test_setting_frees_a_node_and_lets_nobody_guard_it(node: InProcessNode) -> None:
    client = node.client()
    clock = lease(node, client)
    clock.ms += LEASE_MS
    assert client.call("CONFIG", "SET", "sentinel-guard", "no") in (OK, b"OK")
    assert not refusal(client)
    assert not reborn(node).guard.is_armed
    assert str(guard(client, "s1", clock.ms)) == "ERR This node is not to be guarded: sentinel-guard is no"


def test_setting_frees_a_node_at_its_start() -> None:
    with InProcessNode("--port", PORT, "--sentinel-guard", "no") as node:
        GuardFile(f"guard-{PORT}.conf").save(SavedGuard(NAME, 3, 7))
        plain = reborn(node)
        assert not plain.guard.is_armed
        assert plain.guard.fence_epoch == 7, "orders that are too old stay too old"
        assert reborn(node).guard.fence_epoch == 7


def test_node_that_cannot_remember_its_guard_has_none(node: InProcessNode) -> None:
    client = node.client()
    with patch.object(GuardFile, "save", side_effect=OSError(28, "No space left on device")):
        clock = lease(node, client)
        assert str(guard(client, "s3", clock.ms)) == f"[{clock.ms}, 0, 0, 0]", "nobody else is known any more"
        assert str(guard(client, "s2", clock.ms)) == "ERR The guard cannot be saved: No space left on device"
    assert not plain_guard(node).guard.is_armed
    assert node.server.data_plane.lease is None
    assert not refusal(client)


@pytest.mark.parametrize("text", ["", "slotmesh-guard solo 3", "slotmesh-guard so/lo 3 0", "other solo 3 0", "é"])
def test_damaged_guard_file_is_no_reason_to_write(tmp_path: Path, text: str) -> None:
    path = tmp_path / "guard.conf"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GuardFileError):
        GuardFile(str(path)).load()


@pytest.mark.parametrize("saved", [SavedGuard(), SavedGuard("a.b-c_d", 5, 0), SavedGuard("", 0, 9)])
def test_guard_file_holds_what_was_saved_last(tmp_path: Path, saved: SavedGuard) -> None:
    file = GuardFile(str(tmp_path / "guard.conf"))
    assert file.load() == SavedGuard()
    file.save(SavedGuard("x", 1, 1))
    file.save(saved)
    assert file.load() == saved
    assert [path.name for path in tmp_path.iterdir()] == ([] if saved == SavedGuard() else ["guard.conf"])


# Orders


def test_promotion_order_is_obeyed_unless_it_is_old_or_late(node: InProcessNode) -> None:
    client = node.client()
    clock = stop_clock(node)
    client.call("REPLICAOF", "127.0.0.1", "1")
    takeover = ("CLUSTER", "FAILOVER", "TAKEOVER", "FENCE")
    assert str(client.call(*takeover, 5, 0, clock.ms - 1)).startswith("ERR Order refused: it came")
    assert client.call("ROLE")[0] == b"slave"
    assert client.call(*takeover, 5, 0, clock.ms + 1) in (OK, b"OK")
    assert client.call("ROLE")[0] == b"master"
    assert client.call(*takeover, 5, 0, clock.ms + 1) in (OK, b"OK"), "it is a primary already"
    assert "newer fence epoch 5" in str(client.call(*takeover, 4, 0, clock.ms + 1))
    assert reborn(node).guard.fence_epoch == 5


@pytest.mark.parametrize("words", [(), ("FORCE",), ("TAKEOVER",), ("TAKEOVER", "FENCE", "1")])
def test_other_cluster_failovers_need_a_cluster(node: InProcessNode, words: tuple[str, ...]) -> None:
    reply = node.client().call("CLUSTER", "FAILOVER", *words)
    assert str(reply) == "ERR This instance has cluster support disabled"


def test_guards_of_another_name_are_told_whose_it_is(node: InProcessNode) -> None:
    client = node.client()
    clock = lease(node, client)
    assert str(guard(client, "s3", clock.ms, name="other")) == "ERR Guarded by the sentinels of solo already"
