"""The index of expiry times: what is due, and that nothing of keys that are gone stays behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from slotmesh.node.keyspace.expiry import BUCKET_BITS, ExpiryIndex

_BUCKET_MS = 1 << BUCKET_BITS


def _held_bytes(index: ExpiryIndex) -> int:
    return sys.getsizeof(index._heap) + sum(sys.getsizeof(bucket) for bucket in index._buckets.values())


def test_due_keys_come_earliest_bucket_first_and_stay_until_dropped() -> None:
    index = ExpiryIndex()
    for i in range(10):
        index.set(b"%d" % i, (10 - i) * _BUCKET_MS)
    due: list[bytes] = []
    while batch := index.due(100 * _BUCKET_MS, 3):
        assert index.due(100 * _BUCKET_MS, 3) == batch
        due += batch
        for key in batch:
            index.drop(key)
    assert due == [b"%d" % i for i in range(9, -1, -1)]
    assert len(index) == 0


def test_nothing_is_due_before_its_bucket_is_over() -> None:
    index = ExpiryIndex()
    index.set(b"k", 10 * _BUCKET_MS + 5)
    assert index.due(10 * _BUCKET_MS + 100, 10) == []
    assert index.due(11 * _BUCKET_MS, 10) == [b"k"]


def test_bucket_that_was_emptied_and_filled_again_is_due_once() -> None:
    index = ExpiryIndex()
    for _ in range(200):
        index.set(b"k", 5 * _BUCKET_MS)
        index.drop(b"k")
    index.set(b"k", 5 * _BUCKET_MS)
    assert index.due(9 * _BUCKET_MS, 10) == [b"k"]
    index.drop(b"k")
    assert index.due(9 * _BUCKET_MS, 10) == []
    assert index._heap == []


def test_key_whose_time_moves_for_ever_leaves_nothing_behind() -> None:
    index = ExpiryIndex()
    for i in range(20_000):
        index.set(b"session", (1000 + i) * _BUCKET_MS)
    assert len(index._buckets) == len(index._heap) < 200
    assert index.soonest(5) == [b"session"]


def test_bucket_that_loses_most_of_its_keys_gives_its_table_back() -> None:
    index = ExpiryIndex()
    keys = [b"%d" % i for i in range(10_000)]
    for key in keys:
        index.set(key, _BUCKET_MS)
    full = _held_bytes(index)
    for key in keys[:-10]:
        index.drop(key)
    assert _held_bytes(index) < full // 50
    assert sorted(index.due(9 * _BUCKET_MS, 100)) == sorted(keys[-10:])


def test_soonest_keys_are_those_of_the_earliest_bucket_in_use() -> None:
    index = ExpiryIndex()
    for i in range(5):
        index.set(b"early%d" % i, _BUCKET_MS + i)
        index.set(b"late%d" % i, 3 * _BUCKET_MS + i)
    assert {key[:5] for key in index.soonest(3)} == {b"early"}
    for i in range(5):
        index.drop(b"early%d" % i)
    assert sorted(index.soonest(10)) == [b"late%d" % i for i in range(5)]
    index.clear()
    assert index.soonest(10) == []


class _Unwalked(set[bytes]):
    """A set that nobody may iterate over."""

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("a large bucket was walked")


def test_crowded_bucket_is_emptied_without_being_walked() -> None:
    """A walk from the start of a set passes over the gaps of all that is gone: with a million keys, for 10 ms."""
    index = ExpiryIndex()
    keys = [b"%d" % i for i in range(20_000)]
    for key in keys:
        index.set(key, _BUCKET_MS)
    index._buckets[1] = _Unwalked(index._buckets[1])
    gone: list[bytes] = []
    while due := index.due(9 * _BUCKET_MS, 64):
        assert len(index.soonest(5)) == min(5, len(index))
        gone += due
        for key in due:
            index.drop(key)
    assert sorted(gone) == sorted(keys)
    assert index._heap == []


def test_times_lie_in_many_dicts_so_that_none_grows_large() -> None:
    index = ExpiryIndex()
    for number in range(10_000):
        index.set(b"key:%d" % number, number)
    assert sum(map(len, index.parts)) == len(index) == 10_000
    assert max(map(len, index.parts)) < 200
    for number in range(0, 10_000, 2):
        assert index.drop(b"key:%d" % number)
    assert len(index) == index.count == 5_000
    assert b"key:1" in index
    assert b"key:2" not in index
    assert index.get(b"key:3") == 3
    assert not index.drop(b"key:4")


def test_due_keys_leave_together() -> None:
    index = ExpiryIndex()
    keys = [b"%d" % i for i in range(10)]
    for key in keys:
        index.set(key, 5 * _BUCKET_MS)
    first = index.due(9 * _BUCKET_MS, 4)
    index.drop_due(first)
    assert len(index) == 6
    assert not any(key in index for key in first)
    rest = index.due(9 * _BUCKET_MS, 100)
    assert sorted(first + rest) == keys
    index.drop_due(rest)
    index.drop_due([])
    assert (len(index), index.due(9 * _BUCKET_MS, 1), index._heap) == (0, [], [])
