"""Tests of ``cluster.slot_map``, with a plain dict as the model of ownership."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slotmesh.cluster.members import Member, Members
from slotmesh.cluster.slot_map import SlotMap
from slotmesh.cluster.slot_set import ALL_SLOTS, NO_SLOTS, SlotSet
from slotmesh.cluster.terms import FLAG_PRIMARY, FLAG_REPLICA


def three() -> tuple[SlotMap, list[Member]]:
    me = Member("0" * 40, role=FLAG_PRIMARY, is_myself=True)
    members = Members(me)
    others = [Member(str(number) * 40, role=FLAG_PRIMARY) for number in (1, 2)]
    for other in others:
        members.add(other)
    return SlotMap(members), [me, *others]


few = st.sets(st.integers(0, 20), max_size=8)
steps = st.lists(st.tuples(few, st.integers(-1, 2)), max_size=12)


@given(steps)
def test_slot_map_after_any_changes_equals_a_plain_dict(changes: list[tuple[set[int], int]]) -> None:
    slots, members = three()
    model: dict[int, Member] = {}
    for numbers, owner in changes:
        if owner < 0:
            slots.release(SlotSet(numbers))
            for number in numbers:
                model.pop(number, None)
        else:
            slots.assign(SlotSet(numbers), members[owner])
            model.update(dict.fromkeys(numbers, members[owner]))
    assert {slot: owner for slot, owner in enumerate(slots.owners) if owner is not None} == model
    assert set(slots.assigned) == set(model)
    for member in members:
        assert set(member.slots) == {slot for slot, owner in model.items() if owner is member}


def test_version_grows_with_every_change_and_only_then() -> None:
    slots, members = three()
    before = slots.version
    slots.assign(NO_SLOTS, members[0])
    slots.set_migrating(5, None)
    slots.close_all()
    assert slots.version == before
    slots.assign(SlotSet([5]), members[0])
    slots.set_migrating(5, members[1])
    assert slots.version == before + 2


def test_covered_needs_every_slot_and_no_failed_owner() -> None:
    slots, members = three()
    slots.assign(ALL_SLOTS - SlotSet([7]), members[0])
    assert not slots.covered()
    slots.assign(SlotSet([7]), members[1])
    assert slots.covered()
    members[1].failed = True
    assert not slots.covered()
    members[1].failed = False
    members[1].pfail = True
    assert slots.covered()


def test_drop_member_releases_and_closes_all_that_involves_it() -> None:
    slots, members = three()
    slots.assign(SlotSet([1]), members[0])
    slots.assign(SlotSet([2, 3]), members[1])
    slots.set_migrating(1, members[1])
    slots.set_importing(9, members[1])
    slots.set_importing(10, members[2])
    slots.drop_member(members[1])
    assert members[1].slots == NO_SLOTS
    assert slots.migrating_to == {}
    assert slots.importing_from == {10: members[2]}


def test_first_slot_makes_a_migration_target_only_if_replicas_are_in_use() -> None:
    slots, members = three()
    slots.assign(SlotSet([1]), members[1])
    assert not members[1].migrate_to
    replica = Member("9" * 40, role=FLAG_REPLICA)
    slots._members.add(replica)
    slots._members.attach(replica, members[1])
    slots.assign(SlotSet([2]), members[2])
    assert members[2].migrate_to


def test_unclaimed_mark_ends_when_the_slot_changes_hands() -> None:
    slots, members = three()
    slots.assign(SlotSet([1, 2]), members[1])
    slots.unclaimed = SlotSet([1, 2])
    slots.assign(SlotSet([1]), members[2])
    assert slots.unclaimed == SlotSet([2])
    slots.release(SlotSet([2]))
    assert slots.unclaimed == NO_SLOTS
