"""The node's side of the cluster: what a lease that ends does to the replies of a pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slotmesh.cluster.effects import RoleChanged
from slotmesh.cluster.events import ReplicationStatus
from slotmesh.cluster.messages import NodeAddress
from slotmesh.cluster.terms import FLAG_REPLICA
from slotmesh.node.clustering.host import ClusterHost
from tests.support.inprocess import InProcessNode

LEASE_MS = 1000


class HandClock:
    """A bus clock that only the test moves."""

    def __init__(self, now_ms: int) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode("--cluster-enabled", "yes") as started:
        yield started


@pytest.fixture
def host(node: InProcessNode) -> ClusterHost:
    """A primary with leases of two of three sentinels."""
    cluster = node.server.cluster
    assert cluster is not None
    clock = HandClock(cluster.clock.now_ms())
    cluster.clock = clock  # type: ignore[assignment]  # it has what is used of a BusClock
    for sentinel in ("s1", "s2"):
        cluster.core.on_guard(clock.ms, "mesh", sentinel, LEASE_MS, 3, clock.ms)
    return cluster


def advance(host: ClusterHost, ms: int) -> None:
    host.clock.ms += ms  # type: ignore[attr-defined]


def test_pass_within_the_lease_may_be_acknowledged(host: ClusterHost) -> None:
    host.lease.begin_pass()
    advance(host, LEASE_MS // 2)
    assert not host.lease.outlasted()


def test_pass_that_outlasts_the_lease_may_not_be_acknowledged(host: ClusterHost) -> None:
    host.lease.begin_pass()
    advance(host, LEASE_MS * 3)
    assert host.lease.outlasted()


def test_replies_outside_a_pass_are_sent_although_the_lease_ended_since_the_last_one(host: ClusterHost) -> None:
    host.lease.begin_pass()
    assert not host.lease.outlasted()
    advance(host, LEASE_MS * 3)
    assert not host.lease.outlasted()


def test_writes_are_refused_from_shortly_before_the_end_of_the_lease(host: ClusterHost) -> None:
    assert host.lease.write_refusal() is None
    advance(host, LEASE_MS - 1)
    refusal = host.lease.write_refusal()
    assert refusal is not None
    assert refusal.code == b"CLUSTERDOWN"


def test_leases_are_told_in_info_and_their_end_in_cluster_info(node: InProcessNode, host: ClusterHost) -> None:
    advance(host, 300)
    assert host.lease.state() == "ok"
    assert node.server.info.fields("cluster") == {
        "cluster_enabled": 1,
        "cluster_guard_fenced": 0,
        "cluster_guard_leases": 2,
        "cluster_guard_leases_needed": 2,
        "cluster_guard_lease_ms": LEASE_MS - 300,
    }
    advance(host, LEASE_MS)
    assert host.lease.state() == "fail"
    told = node.server.info.fields("cluster")
    assert (told["cluster_guard_fenced"], told["cluster_guard_leases"], told["cluster_guard_lease_ms"]) == (1, 0, 0)


def test_replica_and_unguarded_node_lack_no_lease(node: InProcessNode, host: ClusterHost) -> None:
    advance(host, 3 * LEASE_MS)
    host.core.view.myself.role = FLAG_REPLICA
    assert host.lease.state() == "ok"
    assert node.server.info.fields("cluster")["cluster_guard_fenced"] == 0
    host.core.release_guard(host.clock.now_ms(), "mesh")
    assert host.lease.state() is None
    assert node.server.info.fields("cluster") == {"cluster_enabled": 1}


def test_info_and_cluster_info_have_no_field_in_common(node: InProcessNode, host: ClusterHost) -> None:
    """An exporter makes one metric of each `cluster_*` field of either; a metric twice spoils the scrape."""
    info = set(node.server.info.fields("cluster"))
    told = bytes(node.client().call("CLUSTER", "INFO")).decode()
    assert "cluster_guard_state:ok" in told
    assert not info & {line.partition(":")[0] for line in told.splitlines()}


def test_replica_without_the_data_of_its_primary_is_at_no_offset(node: InProcessNode, host: ClusterHost) -> None:
    replication = node.server.replication
    replication.stream.offset = 500
    assert host.replication_status().offset == 500
    host.core.view.myself.role = FLAG_REPLICA
    replication.can_resume = True
    assert host.replication_status().offset == 500
    replication.on_snapshot_begins()
    assert host.replication_status().offset == 0


def test_former_primary_of_another_shard_is_at_no_offset_until_it_has_the_data(
    node: InProcessNode, host: ClusterHost
) -> None:
    replication = node.server.replication
    replication.stream.offset = 500
    host.core.view.myself.role = FLAG_REPLICA
    host.carry_out(RoleChanged("1" * 40, NodeAddress("127.0.0.1", 1, 2), "slots-lost"))
    assert host.replication_status().offset == 500
    host.carry_out(RoleChanged("2" * 40, NodeAddress("127.0.0.1", 2, 3), "slots-lost", other_shard=True))
    assert host.replication_status().offset == 0
    assert replication.resume_point() is None


def test_data_are_as_old_as_the_last_word_of_any_primary_of_their_history(
    node: InProcessNode, host: ClusterHost
) -> None:
    server = node.server
    replication = server.replication
    host.core.view.myself.role = FLAG_REPLICA
    host.carry_out(RoleChanged("1" * 40, NodeAddress("127.0.0.1", 1, 2), "command"))
    assert host.replication_status().last_io_ms == 0, "no primary was ever heard"
    assert replication.link is not None
    replication.link.last_io_ms = server.clock.mono_ms - 3000
    age_ms = host.clock.now_ms() - host.replication_status().last_io_ms
    assert 3000 <= age_ms < 4000
    for number in (2, 3):  # its successors fail before they are reached
        host.carry_out(RoleChanged(str(number) * 40, NodeAddress("127.0.0.1", number, 9), "slots-lost"))
        assert host.clock.now_ms() - host.replication_status().last_io_ms == age_ms
    replication.on_snapshot_begins()
    assert host.replication_status() == ReplicationStatus(0, False), "half a data set is no candidate"
    host.carry_out(RoleChanged("4" * 40, NodeAddress("127.0.0.1", 4, 9), "slots-lost"))
    assert replication.primary_offset_age_ms is None
