"""Tests of ``cluster.slots``: the hash of keys to slots."""

from __future__ import annotations

import itertools
from binascii import crc_hqx

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.slots import SLOT_COUNT, crc16_reference, hash_tag, key_slot


@given(st.binary(max_size=200))
def test_crc_hqx_on_any_key_equals_crcmod_xmodem(key: bytes) -> None:
    assert crc_hqx(key, 0) == crc16_reference(key)


def test_crc_of_the_check_string_is_the_published_one() -> None:
    assert crc16_reference(b"123456789") == 0x31C3


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (b"123456789", 12739),
        (b"foo", 12182),
        (b"user:42", 15880),
        (b"{user:42}:profile", 15880),
        (b"{user:42}:cart", 15880),
        (b"foo{}{bar}", 8363),
        (b"foo{{bar}}zap", 4015),
        (b"user:{1}:profile", 9842),
        (b"", 0),
    ],
)
def test_key_slot_of_known_keys_is_that_of_stock(key: bytes, slot: int) -> None:
    assert key_slot(key) == slot


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"abc", b"abc"),
        (b"a{b}c", b"b"),
        (b"a{b}{c}", b"b"),
        (b"a{}c", b"a{}c"),
        (b"a{}{c}", b"a{}{c}"),
        (b"a{b", b"a{b"),
        (b"a}b{c", b"a}b{c"),
        (b"a}b{c}", b"c"),
        (b"{{b}}", b"{b"),
        (b"{\x00\xff}", b"\x00\xff"),
    ],
)
def test_hash_tag_of_key_is_first_non_empty_braces(key: bytes, hashed: bytes) -> None:
    assert hash_tag(key) == hashed
    assert key_slot(key) == crc16_reference(hashed) % 16384


@given(st.sets(st.integers(0, SLOT_COUNT - 1), max_size=200) | st.just(set(range(0, SLOT_COUNT, 2))))
def test_runs_and_flags_of_any_set_say_what_is_in_it(slots: set[int]) -> None:
    held = SlotSet(slots)
    runs = held.ranges()
    assert {slot for first, last in runs for slot in range(first, last + 1)} == slots
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(runs))
    assert held.to_flags() == bytes(slot in slots for slot in range(SLOT_COUNT))
