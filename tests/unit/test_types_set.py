"""SetValue and RandomOrder: membership against a plain set, encodings, fairness of random picks."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.random_order import RandomOrder
from slotmesh.node.types.set import SetValue, is_int64

members = st.sampled_from([b"%d" % i for i in range(12)] + [b"a", b"b", b"007"])
operations = st.lists(st.tuples(st.sampled_from(["add", "remove", "random", "pop"]), members), max_size=80)


@given(operations, st.integers(0, 2**32))
def test_set_any_operations_match_model(steps: list[tuple[str, bytes]], seed: int) -> None:
    rng = random.Random(seed)
    value, model = SetValue(), set[bytes]()
    for name, member in steps:
        if name == "add":
            assert value.add(member) == (member not in model)
            model.add(member)
        elif name == "remove":
            assert value.remove(member) == (member in model)
            model.discard(member)
        elif model and name == "random":
            assert value.random_member(rng) in model
        elif model:
            model.remove(value.pop_random(rng))
        assert value.members == model
        assert sorted(value.listed()) == sorted(model)


@given(operations, st.integers(0, 2**32))
def test_random_order_any_operations_holds_each_member_once(steps: list[tuple[str, bytes]], seed: int) -> None:
    rng = random.Random(seed)
    order, model = RandomOrder(()), set[bytes]()
    for name, member in steps:
        if name == "add" and member not in model:
            order.added(member)
            model.add(member)
        elif name == "remove" and member in model:
            order.removed(member)
            model.remove(member)
        elif name == "random" and model:
            assert order.pick(rng) in model
        elif name == "pop" and model:
            model.remove(order.pop(rng))
    live = [member for member in order._items if member not in order._gone]
    assert sorted(live) == sorted(model)


def test_set_random_member_after_removals_is_fair() -> None:
    value = SetValue(b"m%d" % i for i in range(40))
    rng = random.Random(1)
    value.random_member(rng)
    for i in range(0, 40, 2):
        value.remove(b"m%d" % i)
    for i in range(0, 10, 2):
        value.add(b"m%d" % i)  # they come back, and must not count twice
    picks = Counter(value.random_member(rng) for _ in range(25_000))
    assert set(picks) == value.members
    assert min(picks.values()) > 800
    assert max(picks.values()) < 1200


@pytest.mark.parametrize(
    ("added", "encoding"),
    [
        ([b"1", b"-5", b"9223372036854775807"], b"intset"),
        ([b"1", b"01"], b"hashtable"),
        ([b"1", b"9223372036854775808"], b"hashtable"),
        ([b"%d" % i for i in range(512)], b"intset"),
        ([b"%d" % i for i in range(513)], b"hashtable"),
    ],
)
def test_set_encoding_follows_stock(added: list[bytes], encoding: bytes) -> None:
    one_by_one = SetValue()
    for member in added:
        one_by_one.add(member)
    assert one_by_one.encoding() == encoding
    assert SetValue(added).encoding() == encoding
    one_by_one.remove(added[-1])
    assert one_by_one.encoding() == encoding  # never back


def test_set_encoding_at_the_newer_level_uses_listpacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(COMPAT, "newer", True)
    monkeypatch.setattr(LIMITS, "set_max_listpack_entries", 3)
    value = SetValue([b"1"])
    value.add(b"a")
    assert value.encoding() == b"listpack"
    value.add(b"x" * 65)
    assert value.encoding() == b"hashtable"


def test_set_of_too_many_integers_is_no_listpack_at_the_newer_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(COMPAT, "newer", True)
    monkeypatch.setattr(LIMITS, "set_max_intset_entries", 2)
    value = SetValue([b"1", b"2"])
    value.add(b"3")
    assert value.encoding() == SetValue([b"1", b"2", b"3"]).encoding() == b"hashtable"


@pytest.mark.parametrize(
    ("added", "encoding"),
    [
        ([b"1", b"1"], b"intset"),
        ([b"1", b"1", b"1"], b"listpack"),
        ([b"a", b"a", b"a"], b"listpack"),
        ([b"a", b"a", b"a", b"a"], b"hashtable"),
        ([b"1", b"1", b"1", b"1"], b"hashtable"),
    ],
)
def test_set_that_expects_members_takes_the_encoding_for_so_many(
    monkeypatch: pytest.MonkeyPatch, added: list[bytes], encoding: bytes
) -> None:
    monkeypatch.setattr(COMPAT, "newer", True)
    monkeypatch.setattr(LIMITS, "set_max_intset_entries", 2)
    monkeypatch.setattr(LIMITS, "set_max_listpack_entries", 3)
    value = SetValue()
    value.expect(added[0], len(added))
    assert value.encoding() == encoding
    known = SetValue([b"7"])
    known.expect(added[0], len(added))
    assert known.encoding() == (b"intset" if len(added) < 3 else b"hashtable")


def test_set_listed_intset_is_in_numeric_order() -> None:
    assert SetValue([b"10", b"9", b"-3"]).listed() == [b"-3", b"9", b"10"]


@given(st.integers(-(2**70), 2**70))
def test_is_int64_integers_by_range(number: int) -> None:
    assert is_int64(b"%d" % number) == (-(2**63) <= number < 2**63)


@pytest.mark.parametrize("text", [b"", b"-", b"+1", b"01", b"-0", b"1 ", b" 1", b"1.0", b"0x1", b"\xb2"])
def test_is_int64_other_texts_are_refused(text: bytes) -> None:
    assert not is_int64(text)
