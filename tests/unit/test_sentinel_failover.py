"""A failover of a plain primary, step by step, on one sentinel that is its own quorum."""

from __future__ import annotations

import pytest

from slotmesh.sentinel.effects import ErrorReply, Exit, RunScript
from slotmesh.sentinel.instance import (
    NEXT_STATES,
    RECONF,
    SELECT,
    SEND_ORDER,
    STATE_WORDS,
    WAIT_PROMOTION,
    WAIT_START,
    FailoverState,
)
from slotmesh.sentinel.state import REFUSED_RETRY_MS
from tests.support.sentinel_bench import MY_ID, SentinelBench, info

PRIMARY, FIRST, SECOND = 6379, 6380, 6381
CONFIG = """\
sentinel monitor m 10.0.0.1 6379 1
sentinel down-after-milliseconds m 3000
sentinel failover-timeout m 5000
sentinel client-reconfig-script m /ok/reconfig
sentinel notification-script m /ok/notify
sentinel known-replica m 10.0.0.2 6380
sentinel known-replica m 10.0.0.3 6381
"""


def replica_info(offset: int, host: str = "10.0.0.1", port: int = 6379, link: str = "up") -> bytes:
    return info("slave", master_host=host, master_port=port, slave_repl_offset=offset, master_link_status=link)


def watched() -> SentinelBench:
    bench = SentinelBench(CONFIG)
    bench.accept(PRIMARY)
    bench.answer(PRIMARY, {"PING": b"PONG", "INFO": info()})
    for port, offset in ((FIRST, 100), (SECOND, 200)):
        bench.accept(port)
        bench.answer(port, {"PING": b"PONG", "INFO": replica_info(offset)})
    bench.advance(200)
    return bench


def kill_primary(bench: SentinelBench) -> list[str]:
    bench.drop(PRIMARY)
    bench.refuse(PRIMARY)
    bench.advance(REFUSED_RETRY_MS)
    return bench.events(bench.refuse(PRIMARY))


def elected(bench: SentinelBench) -> list[str]:
    """Until the sentinel has elected itself and waits for the replicas' facts."""
    events = kill_primary(bench)
    return events + bench.events(bench.advance(60))


def ordered(bench: SentinelBench) -> list[str]:
    """Until the promotion order is out."""
    events = elected(bench)
    events += bench.events(bench.answer(FIRST, {"PING": b"PONG", "INFO": replica_info(100)}))
    return events + bench.events(bench.answer(SECOND, {"PING": b"PONG", "INFO": replica_info(200)}))


def test_whole_failover_has_the_events_of_stock_in_order() -> None:
    bench = watched()
    events = ordered(bench)
    assert events == [
        "+sdown",
        "+odown",
        "+new-epoch",
        "+try-failover",
        "+vote-for-leader",
        "+elected-leader",
        "+failover-state-select-slave",
        "+selected-slave",
        "+failover-state-send-slaveof-noone",
        "+failover-state-wait-promotion",
    ]
    assert bench.sent() == [
        (b"MULTI",),
        (b"SLAVEOF", b"NO", b"ONE"),
        (b"CONFIG", b"REWRITE"),
        (b"CLIENT", b"KILL", b"TYPE", b"normal"),
        (b"CLIENT", b"KILL", b"TYPE", b"pubsub"),
        (b"EXEC",),
    ]
    assert bench.events(bench.answer(SECOND, {"ORDER": [b"OK"]})) == []
    assert (b"INFO",) in bench.sent(), "it looks at once whether the order worked"
    events = bench.events(bench.answer(SECOND, {"PING": b"PONG", "INFO": info("master")}))
    assert events == ["-role-change", "+promoted-slave", "+failover-state-reconf-slaves", "+slave-reconf-sent"]
    assert "sentinel config-epoch m 1" in bench.saved()
    assert "sentinel monitor m 10.0.0.3 6381 1" in bench.saved()
    assert bench.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m") == [b"10.0.0.3", b"6381"]
    events = bench.events(
        bench.answer(FIRST, {"PING": b"PONG", "INFO": replica_info(200, "10.0.0.3", 6381, "down")})
        + bench.advance(300)
        + bench.answer(FIRST, {"PING": b"PONG", "INFO": replica_info(200, "10.0.0.3", 6381)})
        + bench.advance(300)
        + bench.answer(FIRST, {"PING": b"PONG", "INFO": replica_info(200, "10.0.0.3", 6381)})
    )
    assert events[:5] == [
        "+slave-reconf-inprog",
        "+slave-reconf-done",
        "+failover-end",
        "+switch-master",
        "+slave",
    ]
    unit = bench.core.ctx.units["m"]
    assert unit.primary.address.port == SECOND
    assert sorted(unit.replicas) == ["10.0.0.1:6379", "10.0.0.2:6380"]


def test_promoted_replica_is_the_one_with_the_offset_told_after_the_fall() -> None:
    bench = watched()
    elected(bench)
    bench.answer(FIRST, {"PING": b"PONG", "INFO": replica_info(900)})
    bench.answer(SECOND, {"PING": b"PONG", "INFO": replica_info(200)})
    promoted = bench.core.ctx.units["m"].failover.promoted
    assert promoted is not None
    assert promoted.address.port == FIRST


def test_silent_replica_is_waited_for_only_shortly() -> None:
    bench = watched()
    elected(bench)
    bench.answer(FIRST, {"PING": b"PONG", "INFO": replica_info(100)})
    assert bench.core.ctx.units["m"].failover.promoted is None
    bench.advance(600)
    promoted = bench.core.ctx.units["m"].failover.promoted
    assert promoted is not None
    assert promoted.address.port == SECOND, "its facts are recent enough, only not brand new"


def test_no_replica_fit_for_promotion_aborts() -> None:
    bench = watched()
    for replica in bench.core.ctx.units["m"].replicas.values():
        replica.replica.priority = 0
    assert "-failover-abort-no-good-slave" in elected(bench)
    assert not bench.core.ctx.units["m"].failover.active


def test_refused_order_aborts_and_unanswered_one_times_out() -> None:
    bench = watched()
    ordered(bench)
    assert "-failover-abort-slave-timeout" in bench.events(bench.answer(SECOND, {"ORDER": ErrorReply("ERR no")}))
    bench = watched()
    ordered(bench)
    events: list[str] = []
    for _ in range(60):
        events += bench.events(bench.advance(100))
        bench.answer(FIRST, {"PING": b"PONG", "INFO": replica_info(1)})
        bench.answer(SECOND, {"PING": b"PONG", "INFO": replica_info(1)})
    assert events.count("-failover-abort-slave-timeout") == 1


def until_tried(bench: SentinelBench, limit_ms: int, *ports: int, facts: bytes = b"") -> int:
    """How long until the next attempt starts, while the servers behind `ports` answer; -1: not in this time."""
    started_ms = bench.now_ms
    while bench.now_ms < started_ms + limit_ms:
        if "+try-failover" in bench.events(bench.advance(20)):
            return bench.now_ms - started_ms
        for port in ports:
            if "+try-failover" in bench.events(bench.answer(port, {"PING": b"PONG", "INFO": facts or replica_info(1)})):
                return bench.now_ms - started_ms
    return -1


def test_failed_failover_is_tried_again_within_about_a_second() -> None:
    bench = watched()
    ordered(bench)
    for _ in range(3):
        promoted = bench.core.ctx.units["m"].failover.promoted
        assert promoted is not None
        bench.answer(promoted.address.port, {"ORDER": ErrorReply("ERR no")})
        assert 500 <= until_tried(bench, 2_000, FIRST, SECOND) <= 1_040
        assert bench.core.ctx.units["m"].failover.order_sent, "offsets are fresh: nothing to wait for"


def test_failover_without_a_fit_replica_is_tried_again_when_there_is_one_and_not_before() -> None:
    bench = watched()
    unfit = replica_info(1) + b"\r\nslave_priority:0"
    for port in (FIRST, SECOND):
        bench.core.ctx.units["m"].replicas[f"10.0.0.{port - 6378}:{port}"].replica.priority = 0
    assert "-failover-abort-no-good-slave" in elected(bench)
    assert until_tried(bench, 10_000, FIRST, SECOND, facts=unfit) == -1
    assert 0 <= until_tried(bench, 5_000, FIRST, SECOND) <= 1_200, "with the next INFO"


def test_new_fall_of_the_primary_knows_nothing_of_a_failed_attempt() -> None:
    bench = watched()
    for replica in bench.core.ctx.units["m"].replicas.values():
        replica.replica.priority = 0
    assert "-failover-abort-no-good-slave" in elected(bench)
    bench.advance(1_000)
    bench.accept(PRIMARY)
    bench.answer(PRIMARY, {"PING": b"PONG", "INFO": info()})
    assert "-odown" in bench.events()
    bench.advance(200)
    bench.answer(PRIMARY, {"PING": b"PONG", "INFO": info()})
    assert "+try-failover" in elected(bench)


def test_attempt_ends_when_the_primary_is_back_before_the_order() -> None:
    bench = watched()
    elected(bench)
    assert bench.core.ctx.units["m"].failover.active, "it waits for the offsets of its replicas"
    primary = bench.core.ctx.units["m"].primary
    primary.link.retry_at_ms = bench.now_ms
    bench.core.ctx.touch(primary)
    bench.advance(20)
    bench.accept(PRIMARY)
    bench.answer(PRIMARY, {"PING": b"PONG", "INFO": info()})
    assert bench.events() == ["-sdown", "-odown", "-failover-abort-master-is-back"]
    assert not bench.core.ctx.units["m"].failover.active


def test_replica_that_dies_with_its_order_is_not_waited_for() -> None:
    bench = watched()
    ordered(bench)
    bench.drop(SECOND)
    bench.refuse(SECOND)
    bench.advance(REFUSED_RETRY_MS)
    bench.answer(FIRST, {"PING": b"PONG", "INFO": replica_info(100)})
    assert "-failover-abort-slave-timeout" in bench.events(bench.refuse(SECOND))
    assert 0 <= until_tried(bench, 2_000, FIRST) <= 1_040


def test_new_primary_that_dies_at_once_is_failed_over_in_turn() -> None:
    bench = watched()
    ordered(bench)
    bench.answer(SECOND, {"ORDER": [b"OK"]})
    bench.answer(SECOND, {"PING": b"PONG", "INFO": info("master")})
    assert bench.core.ctx.units["m"].failover.active, "the other replica is not done yet"
    bench.drop(SECOND)
    bench.refuse(SECOND)
    bench.advance(REFUSED_RETRY_MS)
    assert "+switch-master" in bench.events(bench.refuse(SECOND))
    assert 0 <= until_tried(bench, 1_000, FIRST) <= 200


def test_newer_configuration_that_keeps_the_primary_ends_our_failover() -> None:
    bench = watched()
    ordered(bench)
    bench.answer(SECOND, {"ORDER": [b"OK"]})
    bench.answer(SECOND, {"PING": b"PONG", "INFO": info("master")})
    bench.hear(FIRST, f"10.0.1.2,26001,{'a' * 40},9,m,10.0.0.1,6379,9")
    unit = bench.core.ctx.units["m"]
    assert unit.failover.promoted is None
    assert (unit.primary.address.port, unit.config_epoch) == (PRIMARY, 9)
    assert "+switch-master" not in bench.events(bench.history)


def test_scripts_are_run_for_the_events_and_for_the_new_address() -> None:
    bench = watched()
    ordered(bench)
    bench.answer(SECOND, {"ORDER": [b"OK"]})
    bench.answer(SECOND, {"PING": b"PONG", "INFO": info("master")})
    runs = [effect.argv for effect in bench.history if isinstance(effect, RunScript)]
    assert ("/ok/notify", "+sdown", "master m 10.0.0.1 6379") in runs
    assert ("/ok/reconfig", "m", "leader", "start", "10.0.0.1", "6379", "10.0.0.3", "6381") in runs


def test_simulated_crash_ends_the_process_at_its_point() -> None:
    bench = watched()
    assert bench.call("SENTINEL", "SIMULATE-FAILURE", "CRASH-AFTER-ELECTION") is not None
    kill_primary(bench)
    exits = [effect for effect in bench.advance(60) if isinstance(effect, Exit)]
    assert [effect.code for effect in exits] == [99]


def test_ordered_failover_needs_no_vote_and_no_fallen_primary() -> None:
    bench = watched()
    bench.call("SENTINEL", "FAILOVER", "m")
    assert "+elected-leader" in bench.events()
    assert "+failover-state-wait-promotion" in bench.events()
    reply = bench.call("SENTINEL", "FAILOVER", "m")
    assert reply == ErrorReply("INPROG Failover already in progress")


HAND_OVER = (b"FAILOVER", b"TO", b"10.0.0.3", b"6381", b"TIMEOUT", b"5000")


def handing_over() -> SentinelBench:
    """Three servers of ours, and an operator who wants another primary."""
    bench = watched()
    unit = bench.core.ctx.units["m"]
    for member in unit.members():
        member.ours = True
    bench.call("SENTINEL", "FAILOVER", "m")
    return bench


def test_ordered_failover_between_two_of_ours_is_the_primarys_own() -> None:
    bench = handing_over()
    assert HAND_OVER in bench.sent()
    bench.answer(PRIMARY, {"HAND_OVER": b"OK"})
    bench.advance(2)
    effects = bench.answer(SECOND, {"PING": b"PONG", "INFO": info("master")})
    assert "+promoted-slave" in bench.events(effects)
    sent = bench.sent(effects)
    assert sent.count((b"CONFIG", b"REWRITE")) >= 2, "both save their new roles"
    assert sent.count((b"CLIENT", b"KILL", b"TYPE", b"normal")) >= 2
    assert not any(argv[:2] == (b"SLAVEOF", b"NO") for argv in bench.sent(bench.history))


@pytest.mark.parametrize("stock", [PRIMARY, SECOND])
def test_ordered_failover_with_a_stock_server_is_that_of_stock(stock: int) -> None:
    bench = watched()
    unit = bench.core.ctx.units["m"]
    for member in unit.members():
        member.ours = member.address.port != stock
    bench.call("SENTINEL", "FAILOVER", "m")
    assert (b"SLAVEOF", b"NO", b"ONE") in bench.sent()
    assert HAND_OVER not in bench.sent()


def test_primary_that_cannot_hand_over_is_replaced_as_by_stock() -> None:
    bench = handing_over()
    effects = bench.answer(PRIMARY, {"HAND_OVER": ErrorReply("NOPERM User sentinel has no permissions")})
    assert (b"SLAVEOF", b"NO", b"ONE") in bench.sent(effects)


def test_primary_that_dies_while_it_hands_over_is_failed_over_at_once() -> None:
    bench = handing_over()
    bench.answer(PRIMARY, {"HAND_OVER": b"OK"})
    assert "-failover-abort-slave-timeout" in kill_primary(bench)
    events = bench.events(bench.advance(1100))
    assert events.count("+try-failover") == 1


def test_newer_configuration_of_another_sentinel_is_adopted() -> None:
    bench = watched()
    bench.hear(PRIMARY, f"10.0.1.2,26001,{'a' * 40},9,m,10.0.0.3,6381,9")
    assert bench.events() == ["+sentinel", "+new-epoch", "+config-update-from", "+switch-master", "+slave", "+slave"]
    unit = bench.core.ctx.units["m"]
    assert (unit.primary.address.port, unit.config_epoch) == (SECOND, 9)
    assert "sentinel monitor m 10.0.0.3 6381 1" in bench.saved()
    bench.hear(SECOND, f"10.0.1.2,26001,{'a' * 40},9,m,10.0.0.1,6379,8")
    assert bench.events() == [], "an older claim changes nothing"


def test_own_and_foreign_hello_messages_are_ignored() -> None:
    bench = watched()
    bench.hear(PRIMARY, f"10.0.1.2,26001,{MY_ID},9,m,10.0.0.3,6381,9")
    bench.hear(PRIMARY, f"10.0.1.2,26001,{'a' * 40},9,other,10.0.0.3,6381,9")
    bench.hear(PRIMARY, "garbage")
    assert bench.core.ctx.units["m"].sentinels == {}
    assert bench.core.ctx.current_epoch == 0


def test_sentinel_that_moved_is_followed_and_one_that_took_its_place_replaces_it() -> None:
    bench = watched()
    bench.hear(PRIMARY, f"10.0.1.2,26001,{'a' * 40},0,m,10.0.0.1,6379,0")
    bench.hear(PRIMARY, f"10.0.1.9,26009,{'a' * 40},0,m,10.0.0.1,6379,0")
    assert bench.events() == ["+sentinel-address-switch"]
    unit = bench.core.ctx.units["m"]
    assert unit.sentinels["a" * 40].address.port == 26009
    bench.hear(PRIMARY, f"10.0.1.9,26009,{'b' * 40},0,m,10.0.0.1,6379,0")
    assert bench.events() == ["+sentinel-invalid-addr", "+sentinel"]
    assert list(unit.sentinels) == ["b" * 40]


def test_old_primary_that_comes_back_as_primary_is_made_a_replica() -> None:
    bench = watched()
    bench.hear(PRIMARY, f"10.0.1.2,26001,{'a' * 40},9,m,10.0.0.3,6381,9")
    events: list[str] = []
    sent: list[tuple[bytes, ...]] = []
    for _ in range(120):
        events += bench.events(bench.advance(100))
        bench.answer(SECOND, {"PING": b"PONG", "INFO": info("master")})
        bench.answer(FIRST, {"PING": b"PONG", "INFO": replica_info(1, "10.0.0.3", 6381)})
        effects = bench.answer(PRIMARY, {"PING": b"PONG", "INFO": info("master")})
        events += bench.events(effects)
        sent += bench.sent(effects)
        if "+convert-to-slave" in events:
            break
    assert "+convert-to-slave" in events
    assert (b"SLAVEOF", b"10.0.0.3", b"6381") in sent


BACK = (b"SLAVEOF", b"10.0.0.3", b"6381")


def returned(*, ours: bool = True, silent_ms: int = 0) -> tuple[SentinelBench, bytes]:
    """6381 is the primary; the process at 6379 was gone, and is back as a primary. And what each says of itself.

    No other sentinel has said hello for `silent_ms`.
    """
    bench = watched()
    says = info("master", **({"server_name": "slotmesh"} if ours else {}))
    bench.hear(PRIMARY, f"10.0.1.2,26001,{'a' * 40},9,m,10.0.0.3,6381,9")
    bench.hear(PRIMARY, f"10.0.1.3,26001,{'b' * 40},9,m,10.0.0.3,6381,9")
    bench.advance(2 + silent_ms)
    bench.answer(SECOND, {"PING": b"PONG", "INFO": says})
    bench.drop(PRIMARY)
    bench.advance(200)
    bench.accept(PRIMARY)
    bench.advance(2)
    bench.core.ctx.units["m"].replicas["10.0.0.1:6379"].info_wanted = True
    bench.advance(2)
    bench.answer(PRIMARY, {"PING": b"PONG", "INFO": says.replace(b"a" * 40, b"c" * 40)})
    bench.advance(2)
    return bench, says


def test_primary_that_comes_back_is_a_replica_as_soon_as_its_successor_says_that_it_leads() -> None:
    bench, says = returned()
    assert BACK not in bench.sent(bench.history)
    effects = bench.answer(SECOND, {"PING": b"PONG", "INFO": says})
    assert "+convert-to-slave" in bench.events(effects)
    assert BACK in bench.sent(effects)


def test_returning_primary_is_not_touched_when_its_successor_follows_somebody() -> None:
    bench, _ = returned()
    bench.answer(SECOND, {"PING": b"PONG", "INFO": replica_info(1, "10.0.0.1", 6379)})
    assert BACK not in bench.sent(bench.history)


@pytest.mark.parametrize(("ours", "silent_ms"), [(False, 0), (True, 5_000)])
def test_returning_primary_of_stock_or_without_word_of_the_others_has_the_time_of_stock(
    ours: bool, silent_ms: int
) -> None:
    bench, says = returned(ours=ours, silent_ms=silent_ms)
    bench.answer(SECOND, {"PING": b"PONG", "INFO": says})
    assert BACK not in bench.sent(bench.history)


def test_replica_of_a_stranger_is_brought_back_after_the_failover_timeout() -> None:
    bench = watched()
    events: list[str] = []
    for _ in range(90):
        events += bench.events(bench.advance(100))
        bench.answer(PRIMARY, {"PING": b"PONG", "INFO": info("master")})
        bench.answer(SECOND, {"PING": b"PONG", "INFO": replica_info(1)})
        bench.core.ctx.units["m"].replicas["10.0.0.2:6380"].info_wanted = True
        events += bench.events(bench.answer(FIRST, {"PING": b"PONG", "INFO": replica_info(1, "10.9.9.9", 1)}))
    assert "+fix-slave-config" in events


def test_renamed_commands_are_used() -> None:
    bench = watched()
    bench.call("SENTINEL", "SET", "m", "rename-command", "SLAVEOF", "hidden-slaveof")
    bench.call("SENTINEL", "FAILOVER", "m")
    assert (b"hidden-slaveof", b"NO", b"ONE") in bench.sent()


def test_state_that_may_not_follow_is_refused() -> None:
    state = FailoverState()
    for following in (WAIT_START, SELECT, SEND_ORDER, WAIT_PROMOTION, RECONF):
        for wrong in set(NEXT_STATES) - NEXT_STATES[state.state]:
            with pytest.raises(AssertionError, match=STATE_WORDS[wrong]):
                state.enter(wrong, 1)
        state.enter(following, 7)
        assert (state.state, state.change_ms) == (following, 7)
