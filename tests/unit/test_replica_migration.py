"""Tests of ``cluster.replica_migration``: who moves to an orphaned primary, and when."""

from __future__ import annotations

from typing import Any

from slotmesh.cluster.effects import RoleChanged
from slotmesh.cluster.messages import Fail
from tests.support.lone_core import LoneCore, node_id


def orphaned_p3(me: str = "R1", **config: Any) -> LoneCore:
    """P1 and P2 have two replicas each; both of P3 have just failed."""
    lone = LoneCore(me, replicas=2, **config)
    lone.replicate_to(100)
    lone.greet()
    lone.pass_ms(2500, silent=())
    lone.drain()
    for gone in ("R3", "S3"):
        lone.say("P1", Fail(lone.header("P1"), node_id(gone)))
    return lone


def moved(lone: LoneCore, duration_ms: int) -> str:
    """The primary moved to within a time, or ''."""
    lone.pass_ms(duration_ms, silent=("R3", "S3"))
    changes = lone.wanted(RoleChanged)
    return changes[-1].primary_id if changes else ""


def test_replica_with_the_smallest_id_moves_after_five_seconds() -> None:
    lone = orphaned_p3("R1")
    assert moved(lone, 4900) == ""
    assert moved(lone, 500) == node_id("P3")
    assert lone.wanted(RoleChanged)[-1].why == "replica-migration"
    assert lone.core.view.myself.primary is lone.member("P3")


def test_other_replicas_stay() -> None:
    for name in ("R2", "S1", "S2"):
        assert moved(orphaned_p3(name), 6000) == ""


def test_nobody_moves_when_it_is_not_allowed_or_the_barrier_is_higher() -> None:
    assert moved(orphaned_p3("R1", allow_replica_migration=False), 6000) == ""
    assert moved(orphaned_p3("R1", migration_barrier=2), 6000) == ""


def test_nobody_moves_while_a_replica_of_the_primary_works() -> None:
    lone = LoneCore("R1", replicas=2)
    lone.replicate_to(100)
    lone.greet()
    lone.say("P1", Fail(lone.header("P1"), node_id("R3")))
    lone.pass_ms(6000, silent=("R3",))
    assert lone.wanted(RoleChanged) == []


def test_nobody_moves_while_the_cluster_state_is_fail() -> None:
    lone = orphaned_p3("R1")
    lone.say("P1", Fail(lone.header("P1"), node_id("P2")))
    assert moved(lone, 1000) == ""
    assert not lone.core.view.cluster_ok
