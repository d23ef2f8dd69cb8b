from __future__ import annotations

from itertools import pairwise

import pytest

from slotmesh.sentinel import election
from slotmesh.sentinel.effects import Persist, Respond, Stored
from slotmesh.sentinel.state import REFUSED_RETRY_MS
from tests.support.sentinel_bench import MY_ID, SentinelBench, info

PRIMARY, REPLICA = 6379, 6380
PEERS = {"a" * 40: 26001, "b" * 40: 26002}
CONFIG = """\
sentinel monitor m 10.0.0.1 6379 2
sentinel down-after-milliseconds m 3000
sentinel failover-timeout m 5000
sentinel known-replica m 10.0.0.2 6380
sentinel known-sentinel m 10.0.1.2 26001 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
sentinel known-sentinel m 10.0.1.3 26002 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
"""


def vote_request(bench: SentinelBench, epoch: int, candidate: str) -> object:
    return bench.call("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", "6379", str(epoch), candidate)


def watched() -> SentinelBench:
    bench = SentinelBench(CONFIG)
    for port in (PRIMARY, REPLICA, *PEERS.values()):
        bench.accept(port)
    bench.answer(PRIMARY, {"PING": b"PONG", "INFO": info()})
    bench.answer(REPLICA, {"PING": b"PONG", "INFO": replica_info()})
    for port in PEERS.values():
        bench.answer(port, {"PING": b"PONG"})
    bench.advance(200)
    return bench


def replica_info(role: str = "slave") -> bytes:
    return info(role, master_host="10.0.0.1", master_port=6379, slave_repl_offset=10, slave_priority=100)


def kill_primary(bench: SentinelBench) -> None:
    bench.drop(PRIMARY)
    bench.refuse(PRIMARY)
    bench.advance(REFUSED_RETRY_MS)
    bench.refuse(PRIMARY)
    assert bench.core.ctx.units["m"].primary.sdown


# Voting


def test_vote_is_on_disk_before_it_is_told() -> None:
    bench = watched()
    reply = vote_request(bench, 5, "a" * 40)
    assert reply == [0, b"a" * 40, 5]
    kinds = [type(effect) for effect in bench.batch]
    assert kinds[0] is Persist
    assert Respond in kinds
    assert "sentinel leader-epoch m 5" in bench.saved()
    assert "sentinel current-epoch 5" in bench.saved()
    assert bench.events() == ["+new-epoch", "+vote-for-leader"]


def test_second_candidate_of_an_epoch_gets_the_first_vote_told() -> None:
    bench = watched()
    vote_request(bench, 5, "a" * 40)
    assert vote_request(bench, 5, "b" * 40) == [0, b"a" * 40, 5]
    assert vote_request(bench, 4, "b" * 40) == [0, b"a" * 40, 5]
    assert vote_request(bench, 6, "b" * 40) == [0, b"b" * 40, 6]


def test_vote_of_a_former_life_is_not_given_again() -> None:
    bench = watched()
    vote_request(bench, 5, "a" * 40)
    again = SentinelBench(bench.saved())
    again.accept(PRIMARY)
    again.answer(PRIMARY, {"PING": b"PONG", "INFO": info()})
    assert vote_request(again, 5, "b" * 40) == [0, b"*", 0]
    assert vote_request(again, 6, "b" * 40) == [0, b"b" * 40, 6]


def test_question_without_a_run_id_asks_for_no_vote() -> None:
    bench = watched()
    assert vote_request(bench, 5, "*") == [0, b"*", 0]
    assert bench.core.ctx.units["m"].last_vote_epoch == 0


def test_sentinel_that_cannot_save_does_not_vote() -> None:
    bench = watched()
    bench.step(Stored(False))
    assert vote_request(bench, 5, "a" * 40) == [0, b"*", 0]
    bench.step(Stored(True))
    assert vote_request(bench, 5, "a" * 40) == [0, b"a" * 40, 5]


def test_primary_asked_about_is_probed_at_once() -> None:
    bench = watched()
    bench.advance(300)
    bench.answer(PRIMARY, {"PING": b"PONG"})
    vote_request(bench, 0, "*")
    assert (b"PING",) in bench.sent()


# Asking and winning


def test_sdown_primary_is_asked_about_at_once_and_quorum_makes_it_odown() -> None:
    bench = watched()
    kill_primary(bench)
    questions = [argv for argv in bench.sent() if argv[1:2] == (b"is-master-down-by-addr",)]
    assert questions == [(b"SENTINEL", b"is-master-down-by-addr", b"10.0.0.1", b"6379", b"0", b"*")] * 2
    bench.answer(26001, {"DOWN": [0, b"*", 0]})
    assert "+odown" not in bench.events()
    bench.answer(26002, {"DOWN": [1, b"*", 0]})
    assert "+odown" in bench.events()


def elect(bench: SentinelBench, votes: dict[int, str]) -> list[str]:
    """Bring `bench` to its election and give it the votes; the events from ODOWN on."""
    kill_primary(bench)
    for port in PEERS.values():
        bench.answer(port, {"DOWN": [1, b"*", 0]})
    events = bench.events(bench.advance(110))
    assert "+try-failover" in events
    epoch = bench.core.ctx.units["m"].failover.epoch
    for port, candidate in votes.items():
        bench.answer(port, {"DOWN": [1, candidate.encode(), epoch]})
        events += bench.events()
    return events


def test_majority_of_votes_makes_the_leader() -> None:
    bench = watched()
    events = elect(bench, {26001: MY_ID})
    assert "+elected-leader" in events
    assert "+vote-for-leader" in events, "it has voted for itself"


def test_votes_of_another_epoch_do_not_count() -> None:
    bench = watched()
    kill_primary(bench)
    for port in PEERS.values():
        bench.answer(port, {"DOWN": [1, MY_ID.encode(), 999]})
    events = bench.events(bench.advance(110))
    assert "+elected-leader" not in events


def test_loser_stops_at_once_and_lets_the_winner_work() -> None:
    bench = watched()
    events = elect(bench, {26001: "b" * 40, 26002: "b" * 40})
    assert "-failover-abort-not-elected" in events
    unit = bench.core.ctx.units["m"]
    assert unit.failover.deferred_to == "b" * 40
    assert bench.now_ms + 9_000 < unit.failover.blocked_until_ms <= bench.now_ms + 11_000


def test_voter_lines_up_again_when_the_leader_gives_his_vote_back() -> None:
    bench = watched()
    kill_primary(bench)
    vote_request(bench, 5, "a" * 40)
    for port in PEERS.values():
        bench.answer(port, {"DOWN": [1, b"*", 0]})
    assert "+try-failover" not in bench.events(bench.advance(1_000))
    bench.call("SENTINEL", "GIVE-BACK-VOTE", "4", "a" * 40)
    assert bench.core.ctx.units["m"].failover.deferred_to, "another epoch"
    bench.call("SENTINEL", "GIVE-BACK-VOTE", "5", "a" * 40)
    for port in PEERS.values():
        bench.answer(port, {"DOWN": [1, b"*", 0], "PING": b"PONG"})
    assert "+try-failover" in bench.events(bench.advance(120))


def test_candidate_that_lost_gives_the_votes_back() -> None:
    bench = watched()
    elect(bench, {26001: "a" * 40})
    epoch = bench.core.ctx.units["m"].failover.epoch
    bench.answer(26002, {"DOWN": [1, b"b" * 40, epoch]})
    given_back = [argv for argv in bench.sent() if argv[1:2] == (b"GIVE-BACK-VOTE",)]
    assert given_back == [(b"SENTINEL", b"GIVE-BACK-VOTE", str(epoch).encode(), MY_ID.encode())] * 2


def test_split_vote_is_tried_again_soon_in_a_new_epoch() -> None:
    bench = watched()
    events = elect(bench, {26001: "a" * 40, 26002: "b" * 40})
    first = bench.core.ctx.current_epoch
    assert "-failover-abort-not-elected" in events
    for _ in range(10):
        events = bench.events(bench.advance(20))
        for port in PEERS.values():
            bench.answer(port, {"DOWN": [1, b"*", 0], "PING": b"PONG"})
        if "+try-failover" in events:
            break
    assert "+try-failover" in events
    assert bench.core.ctx.current_epoch > first


def test_unreachable_peers_end_the_attempt_by_timeout() -> None:
    bench = watched()
    kill_primary(bench)
    for port in PEERS.values():
        bench.answer(port, {"DOWN": [1, b"*", 0]})
    bench.core.ctx.timing.election_timeout = 1_000
    events = bench.events(bench.advance(1_500))
    assert "+try-failover" in events
    assert "-failover-abort-not-elected" in events
    assert "+elected-leader" not in events


def test_candidate_asked_for_a_later_epoch_gives_way() -> None:
    bench = watched()
    elect(bench, {})
    epoch = bench.core.ctx.current_epoch
    assert vote_request(bench, epoch + 1, "a" * 40) == [1, b"a" * 40, epoch + 1]
    assert "-failover-abort-not-elected" in bench.events()
    assert not bench.core.ctx.units["m"].failover.active


def test_dead_leader_is_not_waited_for() -> None:
    bench = watched()
    kill_primary(bench)
    vote_request(bench, 5, "a" * 40)
    for port in PEERS.values():
        bench.answer(port, {"DOWN": [1, b"*", 0]})
    assert "+try-failover" not in bench.events(bench.advance(1_000))
    bench.drop(26001)
    bench.refuse(26001)
    bench.advance(REFUSED_RETRY_MS)
    bench.refuse(26001)
    bench.answer(26002, {"DOWN": [1, b"*", 0], "PING": b"PONG"})
    events = bench.events(bench.advance(200))
    assert "+try-failover" in events


@pytest.mark.parametrize("others", [2, 4, 6])
def test_sentinels_stand_in_line_with_distance_between_them(others: int) -> None:
    benches = []
    ids = [f"{number:040x}" for number in range(others + 1)]
    for me in ids:
        bench = SentinelBench("sentinel monitor m 10.0.0.1 6379 2\n", seed=int(me, 16))
        bench.core.ctx.my_id = me
        unit = bench.core.ctx.units["m"]
        for other in ids:
            if other != me:
                bench.core.roster.add_sentinel(unit, bench.core.ctx.address("10.0.1.9", 1 + int(other, 16)), other)
        benches.append(bench)
    delays = sorted(bench.core.election.desync_ms(bench.core.ctx.units["m"]) for bench in benches)
    assert delays[0] < 10
    assert all(later - earlier >= 20 for earlier, later in pairwise(delays))
    for bench in benches:
        bench.core.ctx.current_epoch += 1
    shifted = [bench.core.election.desync_ms(bench.core.ctx.units["m"]) for bench in benches]
    assert min(shifted) != shifted[0], "another one is first in the next epoch"


def test_sentinels_stand_further_apart_after_every_split_vote() -> None:
    spans = []
    for attempts in range(7):
        delays = []
        for me in ("a" * 40, "b" * 40, "c" * 40):
            bench = watched()
            bench.core.ctx.my_id = me
            unit = bench.core.ctx.units["m"]
            unit.sentinels = dict(zip({"a" * 40, "b" * 40, "c" * 40} - {me}, unit.sentinels.values(), strict=True))
            unit.failover.attempts = attempts
            delays.append(bench.core.election.desync_ms(unit))
        delays.sort()
        spans.append(min(later - earlier for earlier, later in pairwise(delays)))
    assert all(later > earlier * 3 // 2 for earlier, later in pairwise(spans[:5])), spans
    assert spans[-1] <= election.MAX_STAGGER_MS * 4 // 3, "not without end"


def test_split_vote_of_the_living_does_not_wait_for_the_dead() -> None:
    bench = watched()
    bench.drop(26002)
    bench.refuse(26002)
    bench.advance(REFUSED_RETRY_MS)
    bench.refuse(26002)
    kill_primary(bench)
    bench.answer(26001, {"DOWN": [1, b"*", 0], "PING": b"PONG"})
    bench.advance(110)
    epoch = bench.core.ctx.units["m"].failover.epoch
    assert epoch, "an attempt was started"
    bench.answer(26001, {"DOWN": [1, b"a" * 40, epoch], "PING": b"PONG"})
    assert "-failover-abort-not-elected" in bench.events()


def test_attempt_of_too_few_goes_on_until_it_times_out() -> None:
    bench = watched()
    bench.core.ctx.units["m"].settings.quorum = 1
    for port in PEERS.values():
        bench.drop(port)
        bench.refuse(port)
    bench.advance(REFUSED_RETRY_MS)
    for port in PEERS.values():
        bench.refuse(port)
    kill_primary(bench)
    events = bench.events(bench.advance(3_000))
    assert events.count("+try-failover") == 1, "no new epoch every moment"
    assert "-failover-abort-not-elected" not in events
