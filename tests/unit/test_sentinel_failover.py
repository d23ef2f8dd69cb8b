"""A failover of a plain primary, step by step, on one sentinel that is its own quorum."""

from __future__ import annotations

from sentinel.effects import ErrorReply, Exit, RunScript
from sentinel.state import REFUSED_RETRY_MS
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


def test_failed_failover_is_not_tried_again_before_twice_the_timeout() -> None:
    bench = watched()
    ordered(bench)
    bench.answer(SECOND, {"ORDER": ErrorReply("ERR no")})
    tried_at_ms = []
    for _ in range(120):
        if "+try-failover" in bench.events(bench.advance(100)):
            tried_at_ms.append(bench.now_ms)
        for port in (FIRST, SECOND):
            bench.answer(port, {"PING": b"PONG", "INFO": replica_info(1)})
    started_ms = bench.core.ctx.units["m"].failover.start_ms
    assert len(tried_at_ms) == 1
    assert abs(tried_at_ms[0] - started_ms) <= 100
    assert tried_at_ms[0] >= 1_000_000 + 2 * 5_000


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
