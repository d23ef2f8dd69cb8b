"""Tests of ``cluster.detector``: pfail by silence, fail by agreement, and how both end."""

from __future__ import annotations

from slotmesh.cluster.messages import Fail, Ping
from tests.support.lone_core import TIMEOUT_MS, LoneCore, node_id


def silent_p2(me: str = "P1", primaries: int = 3) -> LoneCore:
    """P2 stopped answering a node timeout ago; the others work."""
    lone = LoneCore(me, primaries=primaries)
    lone.greet()
    lone.pass_ms(2 * TIMEOUT_MS, silent=("P2",))
    return lone


def test_member_silent_for_a_node_timeout_becomes_pfail_not_fail() -> None:
    lone = silent_p2()
    assert lone.member("P2").pfail
    assert not lone.member("P2").failed
    assert not any(lone.member(name).pfail for name in ("P3", "R1", "R2", "R3"))


def test_member_that_answers_is_never_suspected() -> None:
    lone = LoneCore()
    lone.greet()
    lone.pass_ms(10 * TIMEOUT_MS, silent=())
    assert not any(lone.member(name).pfail for name in lone.others())


def test_any_traffic_of_a_member_counts_as_life() -> None:
    lone = LoneCore()
    lone.greet()
    for _ in range(10):
        lone.pass_ms(300, silent=("P2",))
        lone.hear("P2")
    assert not lone.member("P2").pfail


def test_refused_connection_is_silence_too() -> None:
    lone = LoneCore()
    lone.greet()
    lone.unreachable.add("P2")
    lone.core.view.links.clear()
    lone.member("P2").link = None
    lone.pass_ms(2 * TIMEOUT_MS, silent=("P2",))
    assert lone.member("P2").pfail


def test_pfail_ends_with_the_next_pong() -> None:
    lone = silent_p2()
    lone.answer("P2")
    assert not lone.member("P2").pfail


def test_pfail_and_reports_of_the_majority_make_fail_and_tell_everybody() -> None:
    lone = silent_p2()
    lone.drain()
    lone.hear("P3", lone.about("P2", "pfail"))
    assert lone.member("P2").failed
    assert not lone.member("P2").pfail
    assert [message.node_id for message in lone.sent(Fail)] == [node_id("P2")] * 5
    assert lone.receivers(Fail) == ["P2", "P3", "R1", "R2", "R3"]


def test_reports_without_own_suspicion_make_no_fail() -> None:
    lone = LoneCore()
    lone.greet()
    lone.hear("P3", lone.about("P2", "fail"))
    assert not lone.member("P2").failed
    assert lone.order("count_failure_reports", node_id("P2")) == 1


def test_reports_of_replicas_do_not_count() -> None:
    lone = silent_p2()
    for replica in ("R1", "R2", "R3"):
        lone.hear(replica, lone.about("P2", "pfail"))
    assert lone.order("count_failure_reports", node_id("P2")) == 0
    assert not lone.member("P2").failed


def test_replica_needs_a_majority_of_others_as_it_has_no_say() -> None:
    lone = silent_p2("R1", primaries=4)
    lone.hear("P1", lone.about("P2", "pfail"))
    lone.hear("P3", lone.about("P2", "pfail"))
    assert not lone.member("P2").failed
    lone.hear("P4", lone.about("P2", "pfail"))
    assert lone.member("P2").failed


def test_report_older_than_two_node_timeouts_is_not_counted() -> None:
    lone = LoneCore(primaries=5)
    lone.greet()
    lone.hear("P3", lone.about("P2", "pfail"))
    lone.pass_ms(2 * TIMEOUT_MS, silent=())
    assert lone.order("count_failure_reports", node_id("P2")) == 1
    lone.pass_ms(100, silent=())
    assert lone.order("count_failure_reports", node_id("P2")) == 0


def test_report_is_withdrawn_when_its_reporter_sees_the_node_again() -> None:
    lone = LoneCore()
    lone.greet()
    lone.hear("P3", lone.about("P2", "pfail"))
    lone.hear("P3", lone.about("P2"))
    assert lone.order("count_failure_reports", node_id("P2")) == 0


def test_fail_message_of_a_member_is_believed_but_not_passed_on() -> None:
    lone = LoneCore()
    lone.greet()
    lone.say("R3", Fail(lone.header("R3"), node_id("P2")))
    assert lone.member("P2").failed
    assert lone.sent(Fail) == []


def test_fail_message_about_ourselves_or_strangers_is_ignored() -> None:
    lone = LoneCore()
    lone.greet()
    lone.say("R3", Fail(lone.header("R3"), node_id("P1")))
    lone.say("R3", Fail(lone.header("R3"), node_id("X1")))
    assert not lone.core.view.myself.failed


def test_failed_replica_is_cleared_as_soon_as_it_answers() -> None:
    lone = LoneCore()
    lone.greet()
    lone.say("P3", Fail(lone.header("P3"), node_id("R2")))
    lone.answer("R2")
    assert not lone.member("R2").failed


def test_failed_primary_with_slots_is_cleared_only_after_two_node_timeouts() -> None:
    lone = LoneCore()
    lone.greet()
    lone.say("P3", Fail(lone.header("P3"), node_id("P2")))
    lone.pass_ms(2 * TIMEOUT_MS - 100, silent=())
    assert lone.member("P2").failed
    lone.pass_ms(TIMEOUT_MS, silent=())
    assert not lone.member("P2").failed


def test_ping_is_sent_after_half_a_node_timeout_without_pong() -> None:
    lone = LoneCore()
    lone.greet()
    lone.pass_ms(TIMEOUT_MS // 2 + 200)
    assert set(lone.receivers(Ping)) == set(lone.others())


def test_link_without_answer_for_half_a_node_timeout_is_replaced() -> None:
    lone = LoneCore()
    lone.greet()
    lone.pass_ms(TIMEOUT_MS, silent=())
    first = lone.outgoing("P2")
    lone.pass_ms(TIMEOUT_MS // 2, silent=("P2",))
    assert lone.outgoing("P2") == first
    lone.pass_ms(TIMEOUT_MS, silent=("P2",))
    assert lone.outgoing("P2") != first
    assert lone.member("P2").ping_sent_ms
