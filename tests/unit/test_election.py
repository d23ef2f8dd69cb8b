"""Tests of ``cluster.election``: when a replica stands, whom a primary votes for, and what a victory does."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from slotmesh.cluster.effects import ElectionStarted, ElectionWon, Log, Persist, RoleChanged, Send
from slotmesh.cluster.messages import AuthAck, AuthRequest, Fail, Pong
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.terms import FLAG_NOFAILOVER, FLAG_REPLICA, MESSAGE_FORCE_ACK
from tests.support.lone_core import TIMEOUT_MS, LoneCore, node_id


def orphan(
    me: str = "R2", replicas: int = 1, *, offset: int = 100, primaries: int = 3, no_failover: bool = False
) -> LoneCore:
    """A replica whose primary P2 has just been declared failed."""
    lone = LoneCore(me, replicas=replicas, primaries=primaries, replica_no_failover=no_failover)
    lone.replicate_to(offset)
    lone.greet()
    lone.say("P1", Fail(lone.header("P1"), node_id("P2")))
    return lone


def wait(lone: LoneCore, duration_ms: int) -> None:
    lone.pass_ms(duration_ms, silent=("P2",))


def vote(lone: LoneCore, *names: str, epoch: int = 4) -> None:
    for name in names:
        lone.say(name, AuthAck(lone.header(name, current_epoch=epoch)))


# The candidate


def test_replica_of_failed_primary_asks_everybody_within_a_second() -> None:
    lone = orphan()
    wait(lone, 400)
    assert lone.sent(AuthRequest) == []
    wait(lone, 700)
    requests = lone.sent(AuthRequest)
    assert lone.receivers(AuthRequest) == lone.others()
    assert requests[0].header.current_epoch == 4
    assert requests[0].header.slots == lone.share("P2")
    assert not requests[0].header.message_flags & MESSAGE_FORCE_ACK
    assert lone.wanted(ElectionStarted) == [ElectionStarted(4)]


def test_epoch_of_election_is_on_disk_before_votes_are_asked_for() -> None:
    lone = orphan()
    lone.drain()
    wait(lone, 1100)
    first_send = next(
        index for index, e in enumerate(lone.effects) if isinstance(e, Send) and isinstance(e.message, AuthRequest)
    )
    persists = [e for e in lone.effects[:first_send] if isinstance(e, Persist)]
    assert persists[-1].sync
    assert "currentEpoch 4" in persists[-1].text


def test_majority_of_votes_makes_the_replica_primary_of_all_slots() -> None:
    lone = orphan()
    wait(lone, 1000)
    vote(lone, "P1")
    assert lone.wanted(RoleChanged) == []
    lone.drain()
    vote(lone, "P3")
    assert lone.wanted(ElectionWon) == [ElectionWon(4)]
    assert lone.wanted(RoleChanged) == [RoleChanged("", None, "election")]
    me = lone.core.view.myself
    assert me.is_primary
    assert me.slots == lone.share("P2")
    assert me.config_epoch == 4
    pongs = lone.sent(Pong)
    assert {pong.header.config_epoch for pong in pongs} == {4}
    assert set(lone.receivers(Pong)) == set(lone.others())
    assert isinstance(lone.effects[0], Persist)


def test_votes_of_one_voter_count_once() -> None:
    lone = orphan()
    wait(lone, 1100)
    vote(lone, "P1", "P1", "P1")
    assert lone.core.view.myself.is_replica


def test_votes_of_replicas_strangers_and_older_epochs_do_not_count() -> None:
    lone = orphan()
    wait(lone, 1100)
    vote(lone, "R1", "R3")
    vote(lone, "P1", "P3", epoch=3)
    assert lone.core.view.myself.is_replica


def test_votes_before_the_election_or_after_a_change_of_primary_do_not_count() -> None:
    lone = orphan()
    vote(lone, "P1", "P3")
    wait(lone, 1100)
    assert lone.core.view.myself.is_replica
    lone.order("replicate", node_id("P1"), keyspace_empty=True)
    vote(lone, "P1", "P3")
    assert lone.core.view.myself.primary is lone.member("P1")


def test_replica_with_older_data_waits_a_second_per_better_one() -> None:
    lone = orphan("R2", replicas=2, offset=100)
    lone.hear("S2", offset=150)
    wait(lone, 1400)
    assert lone.sent(AuthRequest) == []
    wait(lone, 700)
    assert lone.sent(AuthRequest)


def test_of_equal_replicas_the_one_with_the_smallest_id_stands_first() -> None:
    assert node_id("R2") < node_id("S2")
    for name, other, late in (("R2", "S2", False), ("S2", "R2", True)):
        lone = orphan(name, replicas=2, offset=100)
        lone.hear(other, offset=100)
        lone.drain()
        wait(lone, 1100)
        assert bool(lone.sent(AuthRequest)) is not late
        wait(lone, 1000)
        assert lone.sent(AuthRequest)
    lone = LoneCore("S2", replicas=2)
    lone.replicate_to(100)
    lone.greet()
    for gone in ("R2", "P2"):
        lone.say("P1", Fail(lone.header("P1"), node_id(gone)))
    lone.pass_ms(1100, silent=("R2", "P2"))
    assert lone.sent(AuthRequest), "nobody waits for one that is gone as well"


def test_better_replica_that_never_stands_is_not_waited_for() -> None:
    lone = LoneCore("R2", replicas=2)
    lone.replicate_to(100)
    lone.greet()
    lone.hear("S2", offset=150, flags=FLAG_REPLICA | FLAG_NOFAILOVER)
    lone.say("P1", Fail(lone.header("P1"), node_id("P2")))
    lone.hear("S2", offset=150, flags=FLAG_REPLICA | FLAG_NOFAILOVER)
    for _ in range(11):
        wait(lone, 100)
        lone.hear("S2", offset=150, flags=FLAG_REPLICA | FLAG_NOFAILOVER)
    assert lone.sent(AuthRequest)


def test_failed_election_is_tried_again_in_a_new_epoch() -> None:
    lone = orphan()
    wait(lone, 1100)
    lone.drain()
    wait(lone, 4 * 2 * TIMEOUT_MS + 1200)
    assert {request.header.current_epoch for request in lone.sent(AuthRequest)} == {5}


def test_replica_does_not_stand_while_its_primary_works_or_has_no_slots() -> None:
    lone = LoneCore("R2")
    lone.replicate_to(100)
    lone.greet()
    lone.pass_ms(3000, silent=())
    assert lone.sent(AuthRequest) == []
    lone = orphan()
    lone.core.view.slots.release(lone.share("P2"))
    wait(lone, 3000)
    assert lone.sent(AuthRequest) == []


def test_replica_with_no_failover_set_does_not_stand() -> None:
    lone = orphan(no_failover=True)
    wait(lone, 3000)
    assert lone.sent(AuthRequest) == []
    assert lone.core.view.myself.flags & FLAG_NOFAILOVER


@pytest.mark.parametrize(("age_ms", "stands"), [(11_900, True), (14_000, False)])
def test_replica_with_old_data_does_not_stand(age_ms: int, stands: bool) -> None:
    lone = LoneCore("R2")
    lone.greet()
    lone.replicate_to(100, link_up=False, last_io_ms=lone.now_ms - age_ms + 1100)
    lone.say("P1", Fail(lone.header("P1"), node_id("P2")))
    wait(lone, 1100)
    assert bool(lone.sent(AuthRequest)) == stands


def test_validity_factor_zero_lets_any_data_stand() -> None:
    lone = LoneCore("R2", replica_validity_factor=0)
    lone.greet()
    lone.say("P1", Fail(lone.header("P1"), node_id("P2")))
    wait(lone, 1100)
    assert lone.sent(AuthRequest)


def test_lasting_obstacle_is_logged_but_not_again_and_again() -> None:
    lone = LoneCore("R2")
    lone.greet()
    lone.say("P1", Fail(lone.header("P1"), node_id("P2")))
    wait(lone, 9000)
    lines = [log for log in lone.wanted(Log) if "unable to failover" in log.text]
    assert 1 <= len(lines) <= 2
    assert "validity" in lines[0].text


# The voter


def voter() -> LoneCore:
    """P1, where P2 has failed and R2 stands."""
    lone = LoneCore("P1")
    lone.greet()
    lone.say("P3", Fail(lone.header("P3"), node_id("P2")))
    lone.drain()
    return lone


def request(lone: LoneCore, applicant: str = "R2", **changes: Any) -> AuthRequest:
    return AuthRequest(lone.header(applicant, **{"current_epoch": 4, **changes}))


def test_vote_is_given_and_is_on_disk_before_it_is_sent() -> None:
    lone = voter()
    lone.say("R2", request(lone))
    (ack,) = lone.sent(AuthAck, to="R2")
    assert ack.header.current_epoch == 4
    persist = lone.effects[0]
    assert isinstance(persist, Persist)
    assert persist.sync
    assert "currentEpoch 4 lastVoteEpoch 4" in persist.text


def test_second_request_in_the_same_epoch_gets_no_vote() -> None:
    lone = voter()
    lone.say("P3", Fail(lone.header("P3"), node_id("P3")))
    lone.say("R2", request(lone))
    lone.member("P3").failed = True
    lone.say("R3", request(lone, "R3"))
    assert lone.receivers(AuthAck) == ["R2"]


def test_vote_is_remembered_across_a_restart() -> None:
    lone = voter()
    lone.say("R2", request(lone))
    text = next(e.text for e in lone.effects if isinstance(e, Persist))
    again = LoneCore("P1")
    again.core = type(again.core)(again.core.view.config, again.core.view.rng, again.now_ms, text)
    again.core.take_effects()
    again.drain()
    again._out.clear()
    again._in.clear()
    again.pass_ms(100)
    again.member("P2").failed = True
    again.say("R2", request(again))
    assert again.sent(AuthAck) == []
    again.member("P2").voted_ms = 0
    again.say("R2", request(again, current_epoch=5))
    assert again.receivers(AuthAck) == ["R2"]


def test_second_vote_about_the_same_primary_waits_two_node_timeouts() -> None:
    lone = voter()
    lone.say("R2", request(lone))
    lone.drain()
    lone.say("R2", request(lone, current_epoch=5))
    assert lone.sent(AuthAck) == []
    lone.now_ms += 2 * TIMEOUT_MS
    lone.say("R2", request(lone, current_epoch=6))
    assert lone.receivers(AuthAck) == ["R2"]


DENIED: dict[str, dict[str, Any]] = {
    "older epoch": {"current_epoch": 2},
    "newer owner of its slots": {"config_epoch": 1},
}


@pytest.mark.parametrize("name", list(DENIED))
def test_vote_is_denied(name: str) -> None:
    lone = voter()
    lone.say("R2", request(lone, **DENIED[name]))
    assert lone.sent(AuthAck) == []


def test_vote_for_a_working_primarys_replica_needs_the_force_flag() -> None:
    lone = voter()
    lone.say("R3", request(lone, "R3"))
    assert lone.sent(AuthAck) == []
    lone.say("R3", request(lone, "R3", current_epoch=5, message_flags=MESSAGE_FORCE_ACK))
    assert lone.receivers(AuthAck) == ["R3"]


def test_operator_may_have_a_shard_fail_over_again_and_again() -> None:
    """The primary takes no writes while it waits; without a vote that would last five seconds."""
    lone = voter()
    for epoch in (5, 6):
        lone.say("R3", request(lone, "R3", current_epoch=epoch, message_flags=MESSAGE_FORCE_ACK))
    assert lone.receivers(AuthAck) == ["R3", "R3"]


def test_vote_for_a_primary_or_a_replica_of_nobody_is_denied() -> None:
    lone = voter()
    lone.say("P3", request(lone, "P3", message_flags=MESSAGE_FORCE_ACK))
    lone.core.view.members.detach(lone.member("R3"))
    lone.say("R3", request(lone, "R3", message_flags=MESSAGE_FORCE_ACK))
    assert lone.sent(AuthAck) == []


def test_only_primaries_with_slots_vote() -> None:
    for lone in (LoneCore("R1"), LoneCore("P1")):
        lone.greet()
        lone.core.view.slots.release(lone.core.view.myself.slots)
        lone.member("P2").failed = True
        lone.say("R2", request(lone))
        assert lone.sent(AuthAck) == []


def test_slots_claimed_with_an_older_epoch_than_another_owners_are_no_obstacle_when_unclaimed() -> None:
    lone = voter()
    stolen = SlotSet(list(lone.share("P2"))[:1])
    lone.core.view.slots.assign(stolen, lone.member("P3"))
    lone.say("R2", request(lone))
    assert lone.sent(AuthAck) == []
    lone.core.view.slots.unclaimed = stolen
    lone.say("R2", attrs.evolve(request(lone, current_epoch=5)))
    assert lone.receivers(AuthAck) == ["R2"]
