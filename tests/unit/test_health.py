"""Tests of ``cluster.health``: when the cluster state is ok."""

from __future__ import annotations

from random import Random

from slotmesh.cluster.config import ClusterConfig
from slotmesh.cluster.core import ClusterCore
from slotmesh.cluster.effects import StateChanged
from slotmesh.cluster.events import Tick
from slotmesh.cluster.messages import Fail
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.slots import SLOT_COUNT
from tests.support.lone_core import TIMEOUT_MS, LoneCore, node_id


def test_primary_turns_ok_two_seconds_after_the_start_and_a_replica_at_once() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.pass_ms(1700, silent=())
    assert not lone.core.view.cluster_ok
    lone.pass_ms(400, silent=())
    assert lone.core.view.cluster_ok
    assert lone.wanted(StateChanged) == [StateChanged(True)]
    assert LoneCore("R1").core.view.cluster_ok


def ready(**config: bool) -> LoneCore:
    lone = LoneCore("P1", variables=None, **config)
    lone.greet()
    lone.pass_ms(2500, silent=())
    assert lone.core.view.cluster_ok
    lone.drain()
    return lone


def test_failed_owner_of_slots_makes_the_state_fail() -> None:
    lone = ready()
    lone.say("P3", Fail(lone.header("P3"), node_id("P2")))
    assert lone.wanted(StateChanged) == [StateChanged(False)]


def test_failed_owner_is_tolerated_without_full_coverage() -> None:
    lone = ready(require_full_coverage=False)
    lone.say("P3", Fail(lone.header("P3"), node_id("P2")))
    lone.core.view.slots.release(SlotSet([3]))
    lone.pass_ms(200, silent=())
    assert lone.core.view.cluster_ok


def test_suspected_owner_is_tolerated_while_a_majority_works() -> None:
    lone = ready()
    lone.pass_ms(2 * TIMEOUT_MS, silent=("P2",))
    assert lone.member("P2").pfail
    assert lone.core.view.cluster_ok


def test_minority_turns_fail_even_without_full_coverage() -> None:
    lone = ready(require_full_coverage=False)
    lone.pass_ms(2 * TIMEOUT_MS, silent=("P2", "P3"))
    assert not lone.core.view.cluster_ok


def test_primary_back_from_a_minority_waits_a_node_timeout() -> None:
    lone = ready()
    lone.pass_ms(2 * TIMEOUT_MS, silent=("P2", "P3"))
    lone.drain()
    lone.answer("P2", "P3")
    lone.pass_ms(TIMEOUT_MS - 200, silent=())
    assert not lone.core.view.cluster_ok
    lone.pass_ms(400, silent=())
    assert lone.wanted(StateChanged) == [StateChanged(True)]


def test_uncovered_slot_makes_the_state_fail_at_once() -> None:
    lone = ready()
    lone.order("del_slots", [7])
    assert lone.wanted(StateChanged) == [StateChanged(False)]
    lone.order("add_slots", [7])
    assert lone.core.view.cluster_ok


def test_primary_without_slots_is_ok_as_soon_as_it_reaches_a_majority() -> None:
    lone = LoneCore("P1", variables=None, require_full_coverage=False)
    lone.core.view.slots.release(SlotSet(lone.core.view.myself.slots))
    lone.pass_ms(2 * TIMEOUT_MS, silent=("P2", "P3"))
    assert not lone.core.view.cluster_ok
    lone.answer("P2", "P3")
    lone.pass_ms(200, silent=())
    assert lone.core.view.cluster_ok


def test_slots_given_to_a_primary_that_had_none_are_served_at_once() -> None:
    core = ClusterCore(ClusterConfig(port=7000, cport=17000, node_timeout_ms=5000), Random(1), 0)
    for now_ms in range(0, 10_000, 100):
        core.step(now_ms, Tick())
        core.take_effects()
    core.admin(10_000).add_slots(range(SLOT_COUNT))
    core.take_effects()
    assert core.view.cluster_ok
