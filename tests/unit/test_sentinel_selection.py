from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.sentinel.instance import PRIMARY, REPLICA, Address, Guard, Instance, Settings, Unit, new_link
from slotmesh.sentinel.selection import HEAD_START_MS, facts_awaited, preference, promotable_at_ms, select_replica
from slotmesh.sentinel.state import Timing

NOW_MS = 1_000_000
TIMING = Timing()


def make_unit(replicas: int, down_for_ms: int = 3_000) -> Unit:
    settings = Settings(2, down_after_ms=5_000)
    unit = Unit("m", settings)
    unit.primary = make_instance(PRIMARY, 6379, settings, unit)
    if down_for_ms:
        unit.primary.sdown, unit.primary.sdown_since_ms = True, NOW_MS - down_for_ms
        unit.primary.link.last_avail_ms = NOW_MS - down_for_ms
    for number in range(replicas):
        replica = make_instance(REPLICA, 6380 + number, settings, unit)
        replica.run_id = f"{number:040x}"
        unit.replicas[replica.name] = replica
    return unit


def make_instance(role: str, port: int, settings: Settings, unit: Unit) -> Instance:
    link = new_link(NOW_MS - 50_000, pubsub=True)
    for channel in link.channels():
        channel.up = True
    link.last_avail_ms = NOW_MS - 500
    instance = Instance(role, f"127.0.0.1:{port}", Address("127.0.0.1", port, "127.0.0.1"), link, settings, unit)
    instance.info_heard_ms = NOW_MS - 500
    return instance


def first(unit: Unit) -> Instance:
    return next(iter(unit.replicas.values()))


def test_best_replica_has_smallest_priority_then_largest_offset_then_smallest_run_id() -> None:
    unit = make_unit(4)
    a, b, c, d = unit.replicas.values()
    a.replica.priority, a.replica.offset = 100, 999
    b.replica.priority, b.replica.offset = 10, 5
    c.replica.priority, c.replica.offset = 10, 7
    d.replica.priority, d.replica.offset = 10, 7
    assert select_replica(unit, TIMING, NOW_MS) is c
    c.run_id = ""
    assert select_replica(unit, TIMING, NOW_MS) is d, "a server without run id comes last among equals"


def set_sdown(replica: Instance) -> None:
    replica.sdown = True


def set_disconnected(replica: Instance) -> None:
    replica.link.commands.up = False


def set_never(replica: Instance) -> None:
    replica.replica.priority = 0


def set_no_failover(replica: Instance) -> None:
    replica.no_failover = True


def set_silent(replica: Instance) -> None:
    replica.link.last_avail_ms = NOW_MS - 5 * TIMING.ping_period - 1


def set_old_facts(replica: Instance) -> None:
    replica.info_heard_ms = NOW_MS - 5 * TIMING.ping_period - 1


def set_no_facts(replica: Instance) -> None:
    replica.info_heard_ms = 0


def set_long_without_primary(replica: Instance) -> None:
    replica.replica.primary_link_down_ms = 3_000 + 10 * 5_000 + 1


UNFIT = [
    set_sdown,
    set_disconnected,
    set_never,
    set_no_failover,
    set_silent,
    set_old_facts,
    set_no_facts,
    set_long_without_primary,
]


@pytest.mark.parametrize("spoil", UNFIT, ids=lambda spoil: spoil.__name__)
def test_unfit_replica_is_not_promoted_even_if_it_is_the_best(spoil: Callable[[Instance], None]) -> None:
    unit = make_unit(2)
    best, other = unit.replicas.values()
    best.replica.offset = 100
    assert select_replica(unit, TIMING, NOW_MS) is best
    spoil(best)
    assert select_replica(unit, TIMING, NOW_MS) is other
    spoil(other)
    assert select_replica(unit, TIMING, NOW_MS) is None


def test_replica_that_started_without_its_primary_waits_for_it_a_while() -> None:
    unit = make_unit(1)
    replica = first(unit)
    replica.replica.never_linked, replica.link.born_ms = True, NOW_MS - HEAD_START_MS + 1
    assert select_replica(unit, TIMING, NOW_MS) is None
    assert promotable_at_ms(unit, TIMING, NOW_MS) == NOW_MS + 1
    assert select_replica(unit, TIMING, NOW_MS + 1) is replica, "what it has on its disk is better than nothing"
    replica.link.born_ms = NOW_MS
    replica.replica.primary_link_up = True
    assert select_replica(unit, TIMING, NOW_MS) is replica
    assert promotable_at_ms(unit, TIMING, NOW_MS) == NOW_MS


def test_old_primary_of_a_cluster_that_missed_its_successor_is_not_promoted() -> None:
    unit = make_unit(1)
    first(unit).role_reported = PRIMARY
    assert select_replica(unit, TIMING, NOW_MS) is first(unit), "a plain one is made a replica first, as in stock"
    unit.guard = Guard("shop", unit.settings, unit.primary.address)
    assert select_replica(unit, TIMING, NOW_MS) is None


def test_old_plain_primary_that_missed_its_successor_leaves_that_a_head_start() -> None:
    unit = make_unit(1)
    old = first(unit)
    old.role_reported, old.link.born_ms = PRIMARY, NOW_MS - HEAD_START_MS + 1
    assert select_replica(unit, TIMING, NOW_MS) is None
    assert promotable_at_ms(unit, TIMING, NOW_MS) == NOW_MS + 1
    old.link.born_ms -= 1
    assert select_replica(unit, TIMING, NOW_MS) is old


def test_facts_may_be_older_while_the_primary_is_up() -> None:
    unit = make_unit(1, down_for_ms=0)
    first(unit).info_heard_ms = NOW_MS - 3 * TIMING.info_period
    assert select_replica(unit, TIMING, NOW_MS) is first(unit)
    first(unit).info_heard_ms -= 1
    assert select_replica(unit, TIMING, NOW_MS) is None


def test_facts_are_awaited_from_replicas_that_answer_until_each_has_told_its_offset() -> None:
    unit = make_unit(2, down_for_ms=100)
    assert facts_awaited(unit), "both are older than the fall of the primary"
    for replica in unit.replicas.values():
        replica.info_heard_ms = NOW_MS - 50
    assert not facts_awaited(unit)
    first(unit).info_heard_ms = NOW_MS - 200
    first(unit).sdown = True
    assert not facts_awaited(unit), "one that is down is not waited for"


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6))
def test_selection_agrees_with_the_order_of_preference(rows: list[tuple[int, int, int]]) -> None:
    unit = make_unit(len(rows))
    for replica, (priority, offset, run_id) in zip(unit.replicas.values(), rows, strict=True):
        replica.replica.priority, replica.replica.offset = priority, offset
        replica.run_id = f"{run_id:040x}"
    chosen = select_replica(unit, TIMING, NOW_MS)
    assert chosen is not None
    assert all(preference(chosen) <= preference(other) for other in unit.replicas.values())
