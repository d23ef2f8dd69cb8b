from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slotmesh.cluster.plan_repair import SlotFacts, group_repairs, plan_slot_repair

NODES = ["a", "b", "c"]


def decide(facts: SlotFacts, usable: list[str] = NODES) -> tuple[str, tuple[str, ...]]:
    repair = plan_slot_repair(facts, usable, "c")
    assert repair is not None
    return repair.owner, repair.carry_from


def test_plan_slot_repair_sound_slot_needs_none() -> None:
    assert plan_slot_repair(SlotFacts(1, claims={"a": 1}, keys={"a": 3}), NODES, "c") is None
    assert plan_slot_repair(SlotFacts(1, claims={"a": 1}), NODES, "c") is None


def test_plan_slot_repair_keys_on_both_sides_finishes_the_move() -> None:
    facts = SlotFacts(1, {"a": 1}, migrating={"a": "b"}, importing={"b": "a"}, keys={"a": 5, "b": 2})
    assert decide(facts) == ("b", ("a",))


def test_plan_slot_repair_all_keys_moved_flips_the_owner() -> None:
    facts = SlotFacts(1, {"a": 1}, migrating={"a": "b"}, importing={"b": "a"}, keys={"b": 2})
    assert decide(facts) == ("b", ())


def test_plan_slot_repair_nothing_moved_keeps_the_owner() -> None:
    facts = SlotFacts(1, {"a": 1}, migrating={"a": "b"}, importing={"b": "a"}, keys={"a": 5})
    assert decide(facts) == ("a", ())


def test_plan_slot_repair_marked_and_empty_keeps_the_owner() -> None:
    assert decide(SlotFacts(1, {"a": 1}, importing={"b": "a"})) == ("a", ())
    assert decide(SlotFacts(1, {"a": 1}, migrating={"a": "b"})) == ("a", ())


def test_plan_slot_repair_owner_failed_over_still_finishes_the_move() -> None:
    """The new primary has no mark; the target still imports from the old id and holds keys."""
    facts = SlotFacts(1, {"a": 9}, importing={"b": "gone"}, keys={"a": 5, "b": 2})
    assert decide(facts) == ("b", ("a",))


def test_plan_slot_repair_target_dead_goes_to_the_heir_of_its_keys() -> None:
    facts = SlotFacts(1, {"a": 1}, migrating={"a": "dead"}, keys={"a": 5, "c": 2})
    assert decide(facts) == ("c", ("a",))


def test_plan_slot_repair_target_dead_without_heir_keeps_the_owner() -> None:
    assert decide(SlotFacts(1, {"a": 1}, migrating={"a": "dead"}, keys={"a": 5})) == ("a", ())


def test_plan_slot_repair_two_claims_latest_epoch_stays_and_gets_the_keys() -> None:
    facts = SlotFacts(1, {"a": 3, "b": 7}, keys={"a": 10, "b": 1})
    repair = plan_slot_repair(facts, NODES, "c")
    assert repair is not None
    assert (repair.owner, repair.serving, repair.carry_from) == ("b", "b", ("a",))


def test_plan_slot_repair_two_claims_same_epoch_most_keys_stays() -> None:
    assert decide(SlotFacts(1, {"a": 3, "b": 3}, keys={"b": 1})) == ("b", ())
    assert decide(SlotFacts(1, {"b": 3, "a": 3})) == ("a", ())


def test_plan_slot_repair_unowned_goes_to_most_keys_else_fallback() -> None:
    assert decide(SlotFacts(1, keys={"a": 1, "b": 4})) == ("b", ("a",))
    assert decide(SlotFacts(1)) == ("c", ())


def test_plan_slot_repair_stray_keys_go_to_the_owner() -> None:
    assert decide(SlotFacts(1, {"a": 1}, keys={"a": 1, "b": 4})) == ("a", ("b",))


def test_group_repairs_equal_repairs_share_their_slots() -> None:
    facts = [SlotFacts(slot, {"a": 1}, importing={"b": "a"}) for slot in (5, 6, 9)]
    facts.append(SlotFacts(7, {"c": 1}, importing={"b": "c"}))
    repairs = [(one.slot, repair) for one in facts if (repair := plan_slot_repair(one, NODES, "c")) is not None]
    assert [slots.to_text() for _, slots in group_repairs(repairs)] == ["5-6 9", "7"]


node = st.sampled_from(NODES)
anyone = st.sampled_from([*NODES, "dead"])


@given(
    claims=st.dictionaries(node, st.integers(0, 5)),
    migrating=st.dictionaries(node, anyone),
    importing=st.dictionaries(node, anyone),
    keys=st.dictionaries(node, st.integers(1, 9)),
)
def test_plan_slot_repair_any_mess_ends_with_all_keys_on_one_usable_owner(
    claims: dict[str, int], migrating: dict[str, str], importing: dict[str, str], keys: dict[str, int]
) -> None:
    facts = SlotFacts(1, claims, migrating, importing, keys)
    repair = plan_slot_repair(facts, NODES, "c")
    if repair is None:
        assert facts.sound
        return
    assert repair.owner in NODES
    assert {repair.owner, *repair.carry_from} >= set(keys)
    assert repair.owner not in repair.carry_from
    assert set(repair.marked) == {*migrating, *importing}
    if claims:
        assert claims[repair.serving or ""] == max(claims.values())
