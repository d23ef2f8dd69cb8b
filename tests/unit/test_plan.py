from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.cluster.plan import (
    Address,
    Move,
    PlanError,
    apply_moves,
    choose_primary_for_replica,
    plan_drain,
    plan_layout,
    plan_rebalance,
    plan_reshard,
    plan_slots_to,
    share_out,
    split_slots,
    take_slots,
)
from slotmesh.cluster.slot_set import ALL_SLOTS, NO_SLOTS, SlotSet


def text(slots: list[SlotSet]) -> list[str]:
    return [one.to_text() for one in slots]


def even(*nodes: str) -> dict[str, SlotSet]:
    return dict(zip(nodes, split_slots(len(nodes)), strict=True))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (1, ["0-16383"]),
        (2, ["0-8191", "8192-16383"]),
        (3, ["0-5460", "5461-10922", "10923-16383"]),
        (4, ["0-4095", "4096-8191", "8192-12287", "12288-16383"]),
        (5, ["0-3276", "3277-6553", "6554-9829", "9830-13106", "13107-16383"]),
    ],
)
def test_split_slots_parts_cut_as_redis_cli(parts: int, expected: list[str]) -> None:
    assert text(split_slots(parts)) == expected


@given(st.integers(1, 1000))
def test_split_slots_any_count_covers_all_once(parts: int) -> None:
    ranges = split_slots(parts)
    assert sum(map(len, ranges)) == 16384
    union = NO_SLOTS
    for one in ranges:
        union |= one
    assert union == ALL_SLOTS


def test_split_slots_impossible_count_raises() -> None:
    with pytest.raises(PlanError):
        split_slots(0)
    with pytest.raises(PlanError):
        split_slots(16385)


def local(*ports: int) -> list[Address]:
    return [Address("127.0.0.1", port) for port in ports]


def test_plan_layout_one_host_pairs_in_order() -> None:
    layout = plan_layout(local(7001, 7002, 7003, 7004, 7005, 7006), 1)
    assert [(s.primary.port, [r.port for r in s.replicas], s.slots.to_text()) for s in layout.shards] == [
        (7001, [7004], "0-5460"),
        (7002, [7005], "5461-10922"),
        (7003, [7006], "10923-16383"),
    ]
    assert layout.conflicts == 3


@pytest.mark.parametrize("hosts", [2, 3, 4, 6])
@pytest.mark.parametrize("per_host", [1, 2, 3])
def test_plan_layout_several_hosts_no_shard_shares_one(hosts: int, per_host: int) -> None:
    nodes = [Address(f"10.0.0.{host}", 7000 + n) for host in range(hosts) for n in range(per_host)]
    layout = plan_layout(nodes, 1)
    if len(nodes) % 2 == 0 and hosts > 1:
        assert layout.conflicts == 0
    assert sum(1 + len(s.replicas) for s in layout.shards) == len(nodes)


def test_plan_layout_uneven_hosts_swaps_reach_zero_conflicts() -> None:
    nodes = [Address("a", n) for n in range(3)] + [Address("b", n) for n in range(2)] + [Address("c", 0)]
    assert plan_layout(nodes, 1).conflicts == 0


def test_plan_layout_leftover_nodes_become_replicas() -> None:
    layout = plan_layout(local(1, 2, 3, 4, 5, 6, 7), 1)
    assert [len(s.replicas) for s in layout.shards] == [2, 1, 1]


@pytest.mark.parametrize(("count", "replicas"), [(0, 0), (1, 1), (2, 2)])
def test_plan_layout_too_few_nodes_raises(count: int, replicas: int) -> None:
    with pytest.raises(PlanError, match="too few"):
        plan_layout(local(*range(1, count + 1)), replicas)


def test_plan_layout_same_address_twice_raises() -> None:
    with pytest.raises(PlanError, match="twice"):
        plan_layout(local(1, 1, 2), 0)


def test_address_ipv6_is_bracketed() -> None:
    assert str(Address("::1", 7001)) == "[::1]:7001"


def test_choose_primary_for_replica_prefers_fewest_then_other_host() -> None:
    assert choose_primary_for_replica([("a", ["h1", "h2"]), ("b", ["h1"])], "h1") == "b"
    assert choose_primary_for_replica([("a", ["h1"]), ("b", ["h2"])], "h1") == "b"
    with pytest.raises(PlanError):
        choose_primary_for_replica([], "h1")


@given(st.sets(st.integers(0, 16383), max_size=60), st.data())
def test_take_slots_any_set_gives_subset_of_size(slots: set[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(slots)))
    taken = take_slots(SlotSet(slots), count)
    assert len(taken) == count
    assert taken <= SlotSet(slots)


def test_take_slots_prefers_whole_short_ranges() -> None:
    assert take_slots(SlotSet.from_text("0-99 200 300-301"), 5).to_text() == "98-99 200 300-301"


@given(st.integers(0, 20000), st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_share_out_sums_to_total_and_stays_near_ideal(total: int, weights: list[float]) -> None:
    if sum(weights) <= 1e-6:
        return
    parts = share_out(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * weight / sum(weights)) <= 1 + 1e-6


def test_plan_reshard_all_takes_in_proportion() -> None:
    owned = {**even("a", "b", "c"), "d": NO_SLOTS}
    moves = plan_reshard(owned, ["a", "b", "c"], "d", 4096)
    assert sorted(len(m.slots) for m in moves) == [1365, 1365, 1366]
    after = apply_moves(owned, moves)
    assert len(after["d"]) == 4096


@pytest.mark.parametrize(
    ("sources", "target", "count", "message"),
    [
        (["a"], "b", 0, "at least 1"),
        (["a"], "b", 9000, "hold only 8192"),
        (["a"], "a", 1, "hold only 0"),
        (["x"], "b", 1, "not a primary"),
        (["a"], "x", 1, "not a primary"),
    ],
)
def test_plan_reshard_impossible_wish_raises(sources: list[str], target: str, count: int, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan_reshard(even("a", "b"), sources, target, count)


def test_plan_slots_to_spanning_range_moves_from_each_owner() -> None:
    moves = plan_slots_to(even("a", "b"), SlotSet.from_range(8190, 8193), "b")
    assert moves == [Move("a", "b", SlotSet.from_range(8190, 8191))]


def test_plan_slots_to_orphan_slot_raises() -> None:
    with pytest.raises(PlanError, match="without an owner cannot be moved: 5"):
        plan_slots_to({"a": SlotSet.from_range(0, 4)}, SlotSet.from_range(4, 5), "a")


def counts(owned: dict[str, SlotSet]) -> dict[str, int]:
    return {node: len(slots) for node, slots in owned.items()}


def test_plan_rebalance_new_empty_primary_only_when_asked() -> None:
    owned = {**even("a", "b", "c"), "d": NO_SLOTS}
    assert plan_rebalance(owned) == []
    after = apply_moves(owned, plan_rebalance(owned, use_empty=True))
    assert counts(after) == {"a": 4096, "b": 4096, "c": 4096, "d": 4096}


def test_plan_rebalance_weights_are_followed_and_zero_empties() -> None:
    owned = even("a", "b", "c")
    after = apply_moves(owned, plan_rebalance(owned, {"a": 2, "c": 0}))
    assert counts(after) == {"a": 10923, "b": 5461, "c": 0}


def test_plan_rebalance_within_threshold_moves_nothing() -> None:
    owned = {"a": SlotSet.from_range(0, 8200), "b": SlotSet.from_range(8201, 16383)}
    assert plan_rebalance(owned) == []
    assert plan_rebalance(owned, threshold_percent=0.01) != []


@pytest.mark.parametrize("weights", [{"a": -1.0}, {"a": 0.0, "b": 0.0}, {"x": 1.0}])
def test_plan_rebalance_senseless_weights_raise(weights: dict[str, float]) -> None:
    with pytest.raises(PlanError):
        plan_rebalance(even("a", "b"), weights)


@given(
    st.lists(st.integers(0, 7), min_size=100, max_size=100),
    st.lists(st.floats(0.1, 10), min_size=8, max_size=8),
    st.booleans(),
)
def test_plan_rebalance_any_start_ends_within_one_slot_of_ideal(
    placing: list[int], weights: list[float], weighted: bool
) -> None:
    owned = {
        f"n{node}": SlotSet(slot for i, owner in enumerate(placing) if owner == node for slot in (i, i + 5000))
        for node in range(8)
    }
    given_weights = {f"n{node}": weight for node, weight in enumerate(weights)} if weighted else {}
    moves = plan_rebalance(owned, given_weights, threshold_percent=0, use_empty=True)
    after = apply_moves(owned, moves)
    whole = sum(given_weights.get(node, 1.0) for node in owned)
    for node, slots in after.items():
        assert abs(len(slots) - 200 * given_weights.get(node, 1.0) / whole) <= 1 + 1e-6
    for move in moves:
        assert move.slots <= owned[move.source]
    back = [Move(move.target, move.source, move.slots) for move in moves]
    assert apply_moves(after, back) == owned
    assert plan_rebalance(after, given_weights, threshold_percent=0, use_empty=True) == []


def test_plan_drain_fills_the_emptiest_first() -> None:
    owned = {
        "gone": SlotSet.from_range(0, 99),
        "low": SlotSet.from_range(100, 109),
        "high": SlotSet.from_range(200, 299),
        "top": SlotSet.from_range(300, 499),
    }
    after = apply_moves(owned, plan_drain(owned, "gone", ["low", "high", "top"]))
    assert counts(after) == {"gone": 0, "low": 105, "high": 105, "top": 200}


def test_plan_drain_odd_remainder_leaves_nothing_behind() -> None:
    owned = even("a", "b", "c")
    after = apply_moves(owned, plan_drain(owned, "b", ["a", "c"]))
    assert counts(after)["b"] == 0
    assert abs(len(after["a"]) - len(after["c"])) <= 1


def test_plan_drain_last_primary_raises() -> None:
    with pytest.raises(PlanError, match="no other primary"):
        plan_drain(even("a"), "a", ["a"])


def test_plan_drain_empty_node_needs_no_moves() -> None:
    assert plan_drain({"a": NO_SLOTS, "b": ALL_SLOTS}, "a", ["b"]) == []
