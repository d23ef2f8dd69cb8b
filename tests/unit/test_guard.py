"""Tests of ``cluster.guard``: leases of sentinels, fencing, and orders with a fence."""

from __future__ import annotations

import pytest

from slotmesh.cluster.effects import DeliverPublish, ElectionStarted, Persist
from slotmesh.cluster.errors import ClusterRefusal, Condition
from slotmesh.cluster.events import Tick, WritesPaused
from slotmesh.cluster.guard import HEIR_MS, NEVER_MS, Fence, GuardReply
from slotmesh.cluster.messages import AuthRequest, Fail, ManualFailoverStart, Publish
from tests.support.lone_core import START_MS, TIMEOUT_MS, LoneCore, node_id

LEASE_MS = 1000


def guard(lone: LoneCore, sentinel: str, echo_ms: int, voters: int = 3, name: str = "shard") -> GuardReply:
    reply = lone.core.on_guard(lone.now_ms, name, sentinel, LEASE_MS, voters, echo_ms)
    lone._carry_out()
    return reply


def armed(me: str = "P1") -> LoneCore:
    """Guarded by s1 and s2 of three sentinels, whose leases end in ``LEASE_MS``."""
    lone = LoneCore(me)
    lone.replicate_to(100)
    lone.greet()
    for sentinel in ("s1", "s2"):
        guard(lone, sentinel, lone.now_ms)
    return lone


def test_leased_primary_that_has_heard_every_node_need_not_wait_after_its_start() -> None:
    lone = armed()
    lone.pass_ms(200, silent=())
    assert lone.core.view.cluster_ok
    unguarded = LoneCore("P1")
    unguarded.greet()
    unguarded.pass_ms(200, silent=())
    assert not unguarded.core.view.cluster_ok, "the two seconds of stock"


def test_leased_primary_that_misses_a_node_waits_for_news_of_a_successor() -> None:
    lone = armed()
    lone.member("R1").data_received_ms = 0
    lone.pass_ms(200, silent=("R1",))
    assert not lone.core.view.cluster_ok


def test_leased_primary_does_not_wait_for_a_node_whose_process_is_gone() -> None:
    lone = LoneCore("P1")
    lone.unreachable = {"P3", "R3"}
    lone.pass_ms(200)
    lone.answer("P2", "R1", "R2")
    for sentinel in ("s1", "s2"):
        guard(lone, sentinel, lone.now_ms)
    lone.pass_ms(200, silent=("P3", "R3"))
    assert lone.core.view.cluster_ok


def minority_and_back(lone: LoneCore) -> None:
    """Out of sight of the other primaries for so long that the state is fail; then they answer again."""
    lone.pass_ms(2500, silent=())
    assert lone.core.view.cluster_ok
    lone.pass_ms(2 * TIMEOUT_MS, silent=("P2", "P3"))
    assert not lone.core.view.cluster_ok
    lone.answer("P2", "P3")


def test_leased_primary_back_from_a_minority_serves_at_once() -> None:
    lone = armed()
    minority_and_back(lone)
    lone.pass_ms(200, silent=())
    assert not lone.core.view.cluster_ok, "no leases: it may have been replaced"
    for sentinel in ("s1", "s2"):
        guard(lone, sentinel, lone.now_ms)
    lone.pass_ms(200, silent=())
    assert lone.core.view.cluster_ok


def test_leased_primary_back_from_a_minority_waits_for_who_is_still_silent() -> None:
    lone = armed()
    minority_and_back(lone)
    for sentinel in ("s1", "s2"):
        guard(lone, sentinel, lone.now_ms)
    lone.member("R1").pfail = True
    lone.pass_ms(200, silent=("R1",))
    assert not lone.core.view.cluster_ok


@pytest.mark.parametrize("guarded", [True, False])
def test_failed_primary_that_answers_is_well_again_at_once_where_only_sentinels_fail_over(guarded: bool) -> None:
    lone = armed() if guarded else LoneCore("P1")
    lone.greet()
    for sentinel in ("s1", "s2") if guarded else ():
        guard(lone, sentinel, lone.now_ms)
    lone.say("P3", Fail(lone.header("P3"), node_id("P2")))
    assert lone.member("P2").failed
    lone.answer("P2")
    assert lone.member("P2").failed != guarded


def test_node_never_guarded_is_not_fenced() -> None:
    lone = LoneCore("P1")
    assert not lone.core.is_fenced(lone.now_ms + 10**12)
    assert lone.core.guard.writable_until_ms == NEVER_MS


def test_first_pings_do_not_stop_writes_before_a_majority_has_leases() -> None:
    lone = LoneCore("P1")
    reply = guard(lone, "s1", 0)
    assert (reply.armed, reply.fenced) == (False, False)
    reply = guard(lone, "s1", reply.clock_ms)
    assert not reply.armed
    reply = guard(lone, "s2", reply.clock_ms)
    assert (reply.armed, reply.fenced) == (True, False)


def test_lease_runs_from_the_echoed_clock_not_from_the_arrival() -> None:
    lone = LoneCore("P1")
    echo_ms = lone.now_ms
    lone.now_ms += 700
    guard(lone, "s1", echo_ms)
    guard(lone, "s2", echo_ms)
    assert lone.core.guard.writable_until_ms == echo_ms + LEASE_MS
    assert not lone.core.is_fenced(echo_ms + LEASE_MS - 1)
    assert lone.core.is_fenced(echo_ms + LEASE_MS)


def test_majority_lapses_with_its_last_needed_lease() -> None:
    lone = armed()
    first_ms = lone.now_ms
    lone.now_ms += 300
    guard(lone, "s3", lone.now_ms)
    assert lone.core.guard.writable_until_ms == first_ms + LEASE_MS
    guard(lone, "s1", lone.now_ms)
    assert lone.core.guard.writable_until_ms == lone.now_ms + LEASE_MS


def test_renewal_ends_the_fencing() -> None:
    lone = armed()
    lone.now_ms += 5 * LEASE_MS
    reply = guard(lone, "s1", 0)
    assert (reply.armed, reply.fenced) == (True, True)
    guard(lone, "s1", reply.clock_ms)
    assert not guard(lone, "s2", reply.clock_ms).fenced


@pytest.mark.parametrize("echo_ms", [0, START_MS - 1, START_MS + 10_000_000])
def test_echo_of_another_life_or_of_the_future_grants_nothing(echo_ms: int) -> None:
    lone = LoneCore("P1")
    for sentinel in ("s1", "s2", "s3"):
        assert not guard(lone, sentinel, echo_ms).armed


def test_older_echo_does_not_shorten_a_lease() -> None:
    lone = armed()
    until_ms = lone.core.guard.writable_until_ms
    lone.now_ms += 10
    guard(lone, "s1", START_MS)
    assert lone.core.guard.writable_until_ms == until_ms


def test_greatest_number_of_voters_told_decides_the_majority() -> None:
    lone = armed()
    assert guard(lone, "s1", lone.now_ms, voters=5).fenced
    assert not guard(lone, "s3", lone.now_ms, voters=5).fenced


def test_being_guarded_survives_a_restart_without_any_lease() -> None:
    lone = armed()
    text = lone.core.state_text()
    assert "guard shard/3" in text
    core = type(lone.core)(lone.core.view.config, lone.core.view.rng, lone.now_ms, text)
    assert core.is_fenced(lone.now_ms)
    assert core.guard.is_armed


def test_arming_is_on_disk_with_the_ping_that_arms() -> None:
    lone = LoneCore("P1")
    lone.drain()
    guard(lone, "s1", lone.now_ms)
    assert lone.wanted(Persist) == []
    guard(lone, "s2", lone.now_ms)
    assert [persist.sync for persist in lone.wanted(Persist)] == [True]


def test_sentinels_of_another_name_are_refused_until_release() -> None:
    lone = armed()
    with pytest.raises(ClusterRefusal) as refused:
        guard(lone, "t1", lone.now_ms, name="other")
    assert refused.value.condition is Condition.OTHER_GUARD
    assert not lone.core.release_guard(lone.now_ms, "other")
    assert lone.core.release_guard(lone.now_ms, "shard")
    assert not lone.core.is_fenced(lone.now_ms + 10**9)
    assert not guard(lone, "t1", lone.now_ms, name="other").armed


@pytest.mark.parametrize(
    ("name", "sentinel", "lease_ms", "voters"),
    [
        ("", "s1", 1, 3),
        ("a b", "s1", 1, 3),
        ("a/b", "s1", 1, 3),
        ("n", "s\n", 1, 3),
        ("n", "s", 0, 3),
        ("n", "s", 1, 0),
    ],
)
def test_senseless_ping_is_refused(name: str, sentinel: str, lease_ms: int, voters: int) -> None:
    lone = LoneCore("P1")
    with pytest.raises(ClusterRefusal) as refused:
        lone.core.on_guard(lone.now_ms, name, sentinel, lease_ms, voters, 0)
    assert refused.value.condition is Condition.BAD_GUARD


def test_guarded_replica_leaves_the_election_to_the_sentinels_while_they_live() -> None:
    lone = armed("R2")
    lone.say("P1", Fail(lone.header("P1"), node_id("P2")))
    for _ in range(30):
        lone.pass_ms(100, silent=("P2",))
        guard(lone, "s1", lone.now_ms)
        guard(lone, "s2", lone.now_ms)
    assert lone.sent(AuthRequest) == []
    lone.pass_ms(LEASE_MS + 1200, silent=("P2",))
    assert lone.wanted(ElectionStarted)


def test_fenced_takeover_gets_at_least_the_epoch_asked_for() -> None:
    lone = armed("R2")
    lone.order("failover", takeover=True, fence=Fence(epoch=7, min_config_epoch=20))
    me = lone.core.view.myself
    assert (me.is_primary, me.config_epoch) == (True, 20)
    assert lone.core.view.epochs.current_epoch == 20
    assert "fenceEpoch 7" in lone.core.state_text()


def test_order_with_an_older_fence_than_obeyed_is_refused_even_after_a_restart() -> None:
    lone = armed("R2")
    lone.order("failover", takeover=True, fence=Fence(epoch=7))
    core = type(lone.core)(lone.core.view.config, lone.core.view.rng, lone.now_ms, lone.core.state_text())
    lone.core = core
    with pytest.raises(ClusterRefusal) as refused:
        core.admin(lone.now_ms).replicate(node_id("P1"), keyspace_empty=True, fence=Fence(epoch=6))
    assert refused.value.condition is Condition.STALE_FENCE
    assert core.view.myself.is_primary
    core.admin(lone.now_ms).replicate(node_id("P1"), keyspace_empty=False, fence=Fence(epoch=7))
    assert core.view.myself.is_replica


def test_order_that_comes_too_late_is_refused_and_leaves_no_trace() -> None:
    lone = armed("R2")
    with pytest.raises(ClusterRefusal) as refused:
        lone.order("failover", takeover=True, fence=Fence(7, 0, lone.now_ms - 1))
    assert refused.value.condition is Condition.LATE_ORDER
    assert lone.core.guard.fence_epoch == 0
    lone.order("failover", takeover=True, fence=Fence(7, 0, lone.now_ms))
    assert lone.core.view.myself.is_primary


def test_fenced_replicate_turns_a_primary_that_still_has_slots_and_keys() -> None:
    lone = armed("P2")
    lone.hear("R2", primary_id="", flags=1, slots=lone.share("P1") & lone.share("P2"))
    with pytest.raises(ClusterRefusal):
        lone.order("replicate", node_id("R2"), keyspace_empty=False)
    lone.order("replicate", node_id("R2"), keyspace_empty=False, fence=Fence(epoch=3))
    assert lone.core.view.myself.primary is lone.member("R2")
    assert lone.member("R2").slots == lone.share("P2")


def watch(lone: LoneCore, sentinel: str, echo_ms: int) -> GuardReply:
    reply = lone.core.on_guard(lone.now_ms, "shard", sentinel, LEASE_MS, 3, echo_ms, watch=True)
    lone._carry_out()
    return reply


def test_watch_ends_the_lease_of_its_sentinel_at_once() -> None:
    lone = armed()
    reply = watch(lone, "s2", lone.now_ms)
    assert (reply.armed, reply.fenced) == (True, True)
    guard(lone, "s3", lone.now_ms)
    assert not lone.core.is_fenced(lone.now_ms), "s1 and s3 are a majority"


def test_primary_that_a_majority_only_watches_is_armed_and_fenced() -> None:
    lone = LoneCore("P1")
    watch(lone, "s1", lone.now_ms)
    reply = watch(lone, "s2", lone.now_ms)
    assert (reply.armed, reply.fenced) == (True, True)


def test_replica_that_a_majority_watches_leaves_elections_to_the_sentinels() -> None:
    lone = LoneCore("R1")
    for sentinel in ("s1", "s2"):
        watch(lone, sentinel, lone.now_ms)
    assert lone.core.guard.rules_elections()
    lone.now_ms += LEASE_MS
    lone.core.step(lone.now_ms, Tick())
    assert not lone.core.guard.rules_elections(), "they fell silent"


# The heir in a planned failover


def handing_over() -> LoneCore:
    lone = armed("P2")
    lone.say("R2", ManualFailoverStart(lone.header("R2")))
    lone.drain()
    lone.step(WritesPaused(512))
    return lone


def calls(lone: LoneCore) -> list[bytes]:
    """What the sentinels are told on their channel, here and through the other nodes."""
    here = [each.payload for each in lone.wanted(DeliverPublish)]
    assert {each.payload for each in lone.sent(Publish)} == set(here)
    return here


def test_paused_primary_calls_the_sentinels_and_names_its_heir_to_each() -> None:
    lone = handing_over()
    assert calls(lone) == [b"guard,%b,%d" % (node_id("P2").encode(), lone.now_ms)]
    assert not lone.core.is_fenced(lone.now_ms), "until the sentinels lease the heir, the leases are its own"
    reply = guard(lone, "s1", lone.now_ms)
    assert reply.heir == node_id("R2")
    assert reply.fenced, "one of two leases has ended with this answer"
    assert lone.core.guard.lease_count(lone.now_ms) == 1


def test_primary_whose_planned_failover_failed_wants_its_leases_back() -> None:
    lone = handing_over()
    guard(lone, "s1", lone.now_ms)
    lone.drain()
    lone.pass_ms(5200, silent=())
    assert len(calls(lone)) == 1
    for sentinel in ("s1", "s2"):
        assert guard(lone, sentinel, lone.now_ms).heir == ""
    assert not lone.core.is_fenced(lone.now_ms)


def test_primary_that_was_succeeded_names_the_new_one_for_a_while() -> None:
    lone = handing_over()
    lone.hear("R2", primary_id="", flags=1, config_epoch=4, current_epoch=4, slots=lone.share("P2"))
    assert lone.core.view.myself.is_replica
    assert guard(lone, "s1", lone.now_ms).heir == node_id("R2")
    lone.pass_ms(HEIR_MS + 100, silent=())
    assert guard(lone, "s1", lone.now_ms).heir == ""


def test_primary_that_is_one_again_has_no_heir_any_more() -> None:
    lone = handing_over()
    lone.hear("R2", primary_id="", flags=1, config_epoch=4, current_epoch=4, slots=lone.share("P2"))
    lone.order("failover", takeover=True)
    assert lone.core.view.myself.is_primary
    for sentinel in ("s1", "s2"):
        assert guard(lone, sentinel, lone.now_ms).heir == ""
    assert not lone.core.is_fenced(lone.now_ms)


def test_heir_of_its_own_heir_takes_the_leases() -> None:
    lone = handing_over()
    lone.hear("R2", primary_id="", flags=1, config_epoch=4, current_epoch=4, slots=lone.share("P2"))
    assert guard(lone, "s1", lone.now_ms).heir == node_id("R2")
    lone.order("failover")
    for sentinel in ("s1", "s2"):
        assert guard(lone, sentinel, lone.now_ms).heir == ""
    assert lone.core.guard.lease_count(lone.now_ms) == 2


def test_unguarded_primary_has_no_heir() -> None:
    lone = LoneCore("P2")
    lone.replicate_to(100)
    lone.greet()
    lone.say("R2", ManualFailoverStart(lone.header("R2")))
    lone.step(WritesPaused(512))
    assert calls(lone) == []


def test_heir_is_leased_as_a_replica_and_writable_when_it_takes_over() -> None:
    lone = armed("R2")
    assert lone.core.guard.lease_count(lone.now_ms) == 2
    lone.order("failover", takeover=True)
    assert lone.core.view.myself.is_primary
    assert not lone.core.is_fenced(lone.now_ms)
