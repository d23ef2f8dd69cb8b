"""Tests of ``cluster.slot_set``, against Python's own ``set`` as the model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.cluster.slot_set import ALL_SLOTS, NO_SLOTS, SlotSet

slots = st.sets(st.one_of(st.integers(0, 16383), st.integers(0, 40), st.integers(16370, 16383)), max_size=60)


@given(slots, slots)
def test_slot_set_operations_agree_with_python_sets(a: set[int], b: set[int]) -> None:
    left, right = SlotSet(a), SlotSet(b)
    assert list(left) == sorted(a)
    assert list(left | right) == sorted(a | b)
    assert list(left & right) == sorted(a & b)
    assert list(left - right) == sorted(a - b)
    assert (left <= right) == (a <= b)
    assert (left == right) == (a == b)
    assert len(left) == len(a)
    assert bool(left) == bool(a)
    assert all((slot in left) == (slot in a) for slot in a | b)


@given(slots)
def test_slot_set_round_trips_through_bitmap_and_text(numbers: set[int]) -> None:
    made = SlotSet(numbers)
    assert SlotSet.from_bitmap(made.to_bitmap()) == made
    assert SlotSet.from_text(made.to_text()) == made
    assert hash(SlotSet.from_text(made.to_text())) == hash(made)


def test_bitmap_has_slot_n_in_bit_n_mod_8_of_byte_n_div_8() -> None:
    bitmap = SlotSet([0, 9, 16383]).to_bitmap()
    assert len(bitmap) == 2048
    assert (bitmap[0], bitmap[1], bitmap[2047]) == (0x01, 0x02, 0x80)


def test_text_joins_runs_and_keeps_singles() -> None:
    assert SlotSet([0, 1, 2, 5, 7, 8, 16383]).to_text() == "0-2 5 7-8 16383"
    assert NO_SLOTS.to_text() == ""
    assert ALL_SLOTS.to_text() == "0-16383"
    assert SlotSet.from_range(5461, 10922).to_text() == "5461-10922"


@pytest.mark.parametrize("text", ["16384", "5-3", "-1", "1-", "a", "1-x", "1,2", "0x1"])
def test_from_text_of_no_slots_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        SlotSet.from_text(text)


def test_constructors_refuse_what_is_out_of_range() -> None:
    with pytest.raises(ValueError):
        SlotSet([16384])
    with pytest.raises(ValueError):
        SlotSet.from_bitmap(b"\0" * 2047)
    with pytest.raises(ValueError):
        SlotSet.from_mask(1 << 16384)
