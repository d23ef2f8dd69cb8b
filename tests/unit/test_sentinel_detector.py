from __future__ import annotations

import pytest

from slotmesh.sentinel.effects import ErrorReply, Send, Tick
from slotmesh.sentinel.links import UNANSWERED_MS
from slotmesh.sentinel.state import REFUSED_RETRY_MS
from tests.support.sentinel_bench import SentinelBench, info

PRIMARY, REPLICA = 6379, 6380
CONFIG = """\
sentinel monitor m 10.0.0.1 6379 2
sentinel down-after-milliseconds m 3000
sentinel known-replica m 10.0.0.2 6380
"""


def watched() -> SentinelBench:
    """A sentinel that is connected to a healthy primary and its replica."""
    bench = SentinelBench(CONFIG)
    for port, role in ((PRIMARY, "master"), (REPLICA, "slave")):
        bench.accept(port)
        bench.answer(port, {"PING": b"PONG", "INFO": info(role, master_host="10.0.0.1", master_port=6379)})
    assert keep_alive(bench, 1_000, PRIMARY, REPLICA) == []
    return bench


def keep_alive(bench: SentinelBench, ms: int, *ports: int) -> list[str]:
    """Let time pass while the servers behind `ports` answer; the events of that time."""
    events: list[str] = []
    end_ms = bench.now_ms + ms
    while bench.now_ms < end_ms:
        events += bench.events(bench.advance(100))
        for port in ports:
            role = "master" if port == PRIMARY else "slave"
            facts = info(role, master_host="10.0.0.1", master_port=6379)
            events += bench.events(bench.answer(port, {"PING": b"PONG", "INFO": facts}))
    return events


def test_server_that_answers_is_never_down() -> None:
    bench = watched()
    assert keep_alive(bench, 20_000, PRIMARY, REPLICA) == []


def test_silent_primary_is_sdown_after_down_after_and_up_again_with_the_next_pong() -> None:
    bench = watched()
    keep_alive(bench, 5_000, PRIMARY, REPLICA)
    events = keep_alive(bench, 3_000, REPLICA)
    assert events == []
    events = keep_alive(bench, 1_300, REPLICA)
    assert events == ["+sdown"]
    bench.answer(PRIMARY, {"PING": b"PONG", "INFO": info()})
    assert bench.events() == ["-sdown"]


def test_refused_twice_is_sdown_at_once() -> None:
    bench = watched()
    started_ms = bench.now_ms
    bench.drop(PRIMARY)
    assert bench.pending_connections(PRIMARY), "a broken connection is tried again at once"
    bench.refuse(PRIMARY)
    assert bench.events() == [], "one refusal may be a restart"
    bench.advance(REFUSED_RETRY_MS)
    bench.refuse(PRIMARY)
    assert bench.events() == ["+sdown"]
    assert bench.now_ms - started_ms == REFUSED_RETRY_MS


def test_process_that_hangs_up_refuses_and_takes_its_address_along_is_sdown_soon() -> None:
    bench = watched()
    bench.drop(PRIMARY)
    bench.refuse(PRIMARY)
    assert bench.events(bench.advance(REFUSED_RETRY_MS + UNANSWERED_MS - 20)) == []
    assert bench.events(bench.advance(40)) == ["+sdown"]


def test_address_that_is_gone_without_a_refusal_is_no_evidence_nor_is_one_without_a_hang_up() -> None:
    bench = watched()
    bench.drop(PRIMARY)
    assert keep_alive(bench, 2_900, REPLICA) == [], "the network may have gone"
    bench = watched()
    bench.drop(PRIMARY)
    bench.accept(PRIMARY)
    bench.core.links.close(bench.core.ctx.units["m"].primary.link)
    bench.advance(20)
    bench.refuse(PRIMARY)
    assert keep_alive(bench, 2_000, REPLICA) == []


def test_refusal_of_a_process_that_never_answered_is_no_evidence() -> None:
    bench = SentinelBench(CONFIG)
    events = bench.events(bench.refuse(PRIMARY))
    while bench.now_ms < 1_000_000 + 2_900:
        events += bench.events(bench.advance(20))
        events += bench.events(bench.refuse(PRIMARY))
    assert events == [], "it may be starting, as we were a moment ago"
    assert "+sdown" in bench.events(bench.advance(200)), "silence counts as it does in stock"


def test_restart_that_opens_its_port_in_between_is_not_sdown() -> None:
    bench = watched()
    bench.drop(PRIMARY)
    bench.refuse(PRIMARY)
    bench.advance(REFUSED_RETRY_MS)
    bench.accept(PRIMARY)
    bench.answer(PRIMARY, {"PING": b"PONG", "INFO": info()})
    assert keep_alive(bench, 3_000, PRIMARY, REPLICA) == []


def test_refused_primary_that_listens_again_stays_sdown_until_it_answers() -> None:
    bench = watched()
    bench.drop(PRIMARY)
    bench.refuse(PRIMARY)
    bench.advance(REFUSED_RETRY_MS)
    bench.refuse(PRIMARY)
    bench.advance(1_000)
    bench.accept(PRIMARY)
    assert "-sdown" not in bench.events()
    bench.answer(PRIMARY, {"PING": b"PONG", "INFO": info()})
    assert "-sdown" in bench.events()


def test_timeouts_are_no_evidence_before_down_after() -> None:
    bench = watched()
    bench.drop(PRIMARY)
    assert keep_alive(bench, 2_900, REPLICA) == []
    assert keep_alive(bench, 300, REPLICA) == ["+sdown"]


@pytest.mark.parametrize("text", ["LOADING Redis is loading", "MASTERDOWN Link with MASTER", "BUSY Redis is busy"])
def test_server_that_answers_with_an_error_of_its_state_counts_as_alive(text: str) -> None:
    bench = watched()
    for _ in range(60):
        bench.advance(100)
        bench.answer(PRIMARY, {"PING": ErrorReply(text), "INFO": info()})
        bench.answer(REPLICA, {"PING": b"PONG", "INFO": info("slave")})
        assert "+sdown" not in bench.events()


def test_primary_that_says_it_is_a_replica_is_sdown_after_a_while() -> None:
    bench = watched()
    wait_ms = 3_000 + 2 * bench.core.ctx.timing.info_period
    bench.core.ctx.timing.info_period = 1_000
    wait_ms = 3_000 + 2 * 1_000
    events: list[str] = []
    for _ in range(wait_ms // 100 + 20):
        events += bench.events(bench.advance(100))
        bench.answer(PRIMARY, {"PING": b"PONG", "INFO": info("slave", master_host="10.0.0.9", master_port=1)})
        bench.answer(REPLICA, {"PING": b"PONG", "INFO": info("slave")})
    assert "+sdown" in events


def test_rebooted_primary_gets_the_configured_time_to_answer() -> None:
    bench = watched()
    bench.call("SENTINEL", "SET", "m", "master-reboot-down-after-period", "500")
    primary = bench.core.ctx.units["m"].primary
    primary.info_wanted = True
    bench.core.ctx.touch(primary)
    bench.step(Tick())
    bench.answer(PRIMARY, {"PING": b"PONG", "INFO": info().replace(b"a" * 40, b"b" * 40)})
    assert "+reboot" in bench.events()
    bench.answer(REPLICA, {"PING": b"PONG", "INFO": info("slave")})
    assert "+sdown" in keep_alive(bench, 1_500, REPLICA)


def test_pause_of_the_sentinel_itself_is_tilt_and_nobody_is_judged() -> None:
    bench = watched()
    bench.now_ms += 5_000
    assert bench.events(bench.step(Tick())) == ["+tilt"]
    events = keep_alive(bench, 29_000, REPLICA)
    assert events == [], "the primary is silent, but who is to judge"
    events = keep_alive(bench, 2_000, REPLICA)
    assert events[:1] == ["-tilt"]
    assert "+sdown" in events


@pytest.mark.parametrize("jump_ms", [-60_000, 60_000])
def test_jump_of_the_wall_clock_is_tilt(jump_ms: int) -> None:
    bench = watched()
    bench.step(Tick(wall_ms=10_000_000))
    bench.now_ms += 100
    assert bench.events(bench.step(Tick(wall_ms=10_000_100))) == []
    bench.now_ms += 100
    assert bench.events(bench.step(Tick(wall_ms=10_000_200 + jump_ms))) == ["+tilt"]


def test_half_open_connection_is_replaced() -> None:
    bench = watched()
    bench.core.ctx.timing.min_link_reconnect_period = 1_000
    before = bench.commands_to(PRIMARY)
    keep_alive(bench, 4_000, REPLICA)
    assert before not in bench.open_connections(PRIMARY)
    assert bench.pending_connections(PRIMARY)


def test_periodic_commands_stop_at_a_bound_of_unanswered_ones() -> None:
    bench = watched()
    bench.core.ctx.timing.min_link_reconnect_period = 10**9
    bench.core.ctx.timing.publish_period = 10
    sent = [e for e in bench.advance(60_000) if isinstance(e, Send) and e.conn_id == bench.commands_to(PRIMARY)]
    assert len(sent) <= 100


def test_connection_that_does_not_come_about_is_tried_anew() -> None:
    """The kernel repeats its first packet after one, two, four seconds: too late when a partition ends meanwhile."""
    bench = watched()
    bench.drop(PRIMARY)
    (first, _) = sorted(bench.pending_connections(PRIMARY))
    keep_alive(bench, 1_400, REPLICA)
    assert first in bench.pending_connections(PRIMARY)
    keep_alive(bench, 1_200, REPLICA)
    assert first not in bench.pending_connections(PRIMARY)
    assert len(bench.pending_connections(PRIMARY)) == 2, "for commands and for pub/sub"


def test_silent_connection_is_replaced_when_it_is_not_young() -> None:
    bench = watched()
    young = bench.commands_to(PRIMARY)
    keep_alive(bench, 5_000, REPLICA)
    assert bench.commands_to(PRIMARY) == young
    keep_alive(bench, 10_000, REPLICA)
    assert young not in bench.open_connections(PRIMARY)
    assert bench.pending_connections(PRIMARY)
