"""Tests of ``cluster.manual_failover``: plain, FORCE and TAKEOVER, on both sides."""

from __future__ import annotations

import pytest

from slotmesh.cluster.core import STREAM_MS
from slotmesh.cluster.effects import PauseWrites, ResumeWrites, RoleChanged
from slotmesh.cluster.errors import ClusterRefusal, Condition
from slotmesh.cluster.events import WritesPaused
from slotmesh.cluster.messages import AuthAck, AuthRequest, Fail, ManualFailoverStart, Ping, Pong
from slotmesh.cluster.terms import MESSAGE_FORCE_ACK, MESSAGE_PAUSED
from tests.support.lone_core import LoneCore, node_id


def replica(offset: int = 90) -> LoneCore:
    lone = LoneCore("R2")
    lone.replicate_to(offset)
    lone.greet()
    return lone


def win(lone: LoneCore) -> None:
    epoch = lone.core.view.epochs.current_epoch
    for name in ("P1", "P3"):
        lone.say(name, AuthAck(lone.header(name, current_epoch=epoch)))


def test_plain_failover_asks_the_primary_and_waits_for_its_stream() -> None:
    lone = replica()
    lone.order("failover")
    assert lone.receivers(ManualFailoverStart) == ["P2"]
    lone.hear("P2", offset=100)
    assert lone.sent(AuthRequest) == []
    lone.hear("P2", offset=100, message_flags=MESSAGE_PAUSED)
    assert lone.sent(AuthRequest) == []
    lone.replicate_to(100)
    requests = lone.sent(AuthRequest)
    assert len(requests) == 5
    assert requests[0].header.message_flags & MESSAGE_FORCE_ACK
    win(lone)
    assert lone.wanted(RoleChanged)[-1].why == "election"
    assert lone.core.view.myself.slots == lone.share("P2")


def test_paused_flag_of_another_primary_is_not_ours() -> None:
    lone = replica(100)
    lone.order("failover")
    lone.hear("P1", offset=100, message_flags=MESSAGE_PAUSED)
    assert lone.sent(AuthRequest) == []


def test_plain_failover_times_out_after_five_seconds() -> None:
    lone = replica()
    lone.order("failover")
    lone.pass_ms(5200, silent=())
    lone.hear("P2", offset=90, message_flags=MESSAGE_PAUSED)
    assert lone.sent(AuthRequest) == []


def test_force_asks_for_votes_at_once_though_the_primary_is_silent() -> None:
    lone = replica()
    lone.member("P2").failed = True
    with pytest.raises(ClusterRefusal, match="CLUSTER FAILOVER FORCE"):
        lone.order("failover")
    lone.order("failover", force=True)
    assert len(lone.sent(AuthRequest)) == 5
    assert lone.sent(ManualFailoverStart) == []
    win(lone)
    assert lone.core.view.myself.is_primary


def test_force_right_after_a_failed_election_needs_no_wait() -> None:
    lone = replica()
    lone.say("P1", Fail(lone.header("P1"), node_id("P2")))
    lone.pass_ms(1200, silent=("P2",))
    assert lone.sent(AuthRequest)
    lone.drain()
    lone.order("failover", force=True)
    assert lone.sent(AuthRequest)


def test_takeover_needs_nobody() -> None:
    lone = replica()
    lone.order("failover", takeover=True)
    me = lone.core.view.myself
    assert (me.is_primary, me.config_epoch, me.slots) == (True, 4, lone.share("P2"))
    assert lone.wanted(RoleChanged) == [RoleChanged("", None, "takeover")]
    assert len(lone.sent(Pong)) == 5


def test_failover_of_a_primary_or_of_a_replica_of_nobody_is_refused() -> None:
    lone = LoneCore("P1")
    with pytest.raises(ClusterRefusal) as refused:
        lone.order("failover")
    assert refused.value.condition is Condition.FAILOVER_ON_PRIMARY
    lone = replica()
    lone.core.view.members.detach(lone.core.view.myself)
    with pytest.raises(ClusterRefusal) as refused:
        lone.order("failover", takeover=True)
    assert refused.value.condition is Condition.FAILOVER_PRIMARY_UNKNOWN


def test_replica_that_lags_behind_its_paused_primary_looks_often() -> None:
    lone = replica()
    lone.order("failover")
    lone.hear("P2", offset=100, message_flags=MESSAGE_PAUSED)
    assert lone.core.next_deadline_ms() - lone.now_ms <= STREAM_MS
    lone.replicate_to(100)
    assert lone.core.next_deadline_ms() - lone.now_ms > STREAM_MS


# On the primary


def asked_primary() -> LoneCore:
    lone = LoneCore("P2")
    lone.replicate_to(500)
    lone.greet()
    lone.say("R2", ManualFailoverStart(lone.header("R2")))
    return lone


def test_primary_pauses_and_tells_its_offset_only_once_paused() -> None:
    lone = asked_primary()
    (pause,) = lone.wanted(PauseWrites)
    assert pause.until_ms == lone.now_ms + 10_000
    lone.hear("R2")
    (pong,) = lone.sent(Pong)
    assert not pong.header.message_flags & MESSAGE_PAUSED
    lone.drain()
    lone.step(WritesPaused(512))
    (ping,) = lone.sent(Ping, to="R2")
    assert ping.header.message_flags & MESSAGE_PAUSED
    assert ping.header.offset == 512


def test_primary_repeats_the_paused_ping_until_the_end() -> None:
    lone = asked_primary()
    lone.step(WritesPaused(512))
    lone.drain()
    lone.pass_ms(500, silent=())
    assert len(lone.sent(Ping, to="R2")) >= 4


def test_primary_resumes_writes_when_nothing_comes_of_it() -> None:
    lone = asked_primary()
    lone.step(WritesPaused(512))
    lone.pass_ms(5200, silent=())
    assert lone.wanted(ResumeWrites) == [ResumeWrites()]
    lone.drain()
    lone.hear("R2")
    assert not lone.sent(Pong)[0].header.message_flags & MESSAGE_PAUSED


def test_primary_that_was_succeeded_becomes_a_replica_and_then_resumes() -> None:
    lone = asked_primary()
    lone.step(WritesPaused(512))
    lone.hear("R2", primary_id="", flags=1, config_epoch=4, current_epoch=4, slots=lone.share("P2"))
    assert lone.core.view.myself.primary is lone.member("R2")
    kinds = [type(effect) for effect in lone.effects if isinstance(effect, RoleChanged | ResumeWrites)]
    assert kinds == [RoleChanged, ResumeWrites]


def test_request_of_somebody_elses_replica_is_ignored() -> None:
    lone = LoneCore("P2")
    lone.greet()
    lone.say("R1", ManualFailoverStart(lone.header("R1")))
    assert lone.wanted(PauseWrites) == []


def test_confirmation_without_a_failover_changes_nothing() -> None:
    lone = LoneCore("P2")
    lone.greet()
    lone.step(WritesPaused(512))
    lone.hear("R2")
    assert not lone.sent(Pong)[0].header.message_flags & MESSAGE_PAUSED
    assert node_id("R2") == lone.member("R2").node_id


def test_replica_asks_again_until_its_primary_tells_an_offset() -> None:
    lone = replica()
    lone.order("failover")
    lone.pass_ms(300)
    asked = len(lone.receivers(ManualFailoverStart))
    assert asked > 1, "a primary that does not know yet that we replicate it ignores the wish"
    lone.hear("P2", offset=100, message_flags=MESSAGE_PAUSED)
    asked = len(lone.receivers(ManualFailoverStart))
    lone.pass_ms(300)
    assert len(lone.receivers(ManualFailoverStart)) == asked
