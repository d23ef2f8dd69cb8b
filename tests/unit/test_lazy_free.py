"""Large values are taken apart in bounded steps, and nothing of them is left."""

from __future__ import annotations

import gc
import random
import sys
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.keyspace.lazy_free import SMALL, LazyFree
from slotmesh.node.types.hash import HashValue
from slotmesh.node.types.list import ListValue
from slotmesh.node.types.set import SetValue
from slotmesh.node.types.sorted_set import SortedSetValue
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_group import Group

_COUNT = 20_000


def _steps(budget: int) -> Callable[[], bool]:
    """A budget of so many looks."""
    left = iter(range(budget))
    return lambda: next(left, None) is not None


def _names(count: int = _COUNT) -> list[bytes]:
    return [b"element:%d" % i for i in range(count)]


@pytest.mark.parametrize(
    "value",
    [
        HashValue(dict.fromkeys(_names(), b"value")),
        ListValue(_names()),
        SetValue(_names()),
        SortedSetValue({name: float(i) for i, name in enumerate(_names())}),
    ],
    ids=["hash", "list", "set", "zset"],
)
def test_large_value_is_freed_in_steps_and_counted(value: object) -> None:
    lazy = LazyFree()
    lazy.add(value)
    assert lazy.pending == 1
    assert lazy.step(_steps(3))
    assert lazy.pending == 1
    assert not lazy.step(lambda: True)
    assert (lazy.pending, lazy.freed) == (0, 1)


def _large_sorted_set() -> list[Any]:
    return [SortedSetValue({name: float(i) for i, name in enumerate(_names())})]


def _large_hash_with_order() -> list[Any]:
    value = HashValue(dict.fromkeys(_names(), b"value"))
    value.random_field(random.Random(1))
    return [value]


def _long_stream() -> list[Any]:
    stream = StreamValue()
    for i, name in enumerate(_names()):
        stream.append(i + 1, [b"field", name, b"number", name])
    return [stream]


def _short_stream_of_long_entries() -> list[Any]:
    stream = StreamValue()
    for i in range(3):
        stream.append(i + 1, _names())
    return [stream]


def _empty_stream_with_pending_entries() -> list[Any]:
    stream = StreamValue()
    group = stream.groups[b"group"] = Group(b"group", 0)
    for i in range(_COUNT):
        group.deliver(i, group.consumer(b"consumer:%d" % (i % 3 or i), 0)[0], 0)
    return [stream]


def _small_values() -> list[Any]:
    return [HashValue({b"%d" % i: b"%d" % -i for i in range(10)}) for _ in range(_COUNT // 10)]


def _buckets() -> list[Any]:
    return [
        [set(_names(100)) if i % 2 else dict.fromkeys(_names(100)) for i in range(_COUNT // 100)],
        {1: set(_names())},
    ]


@pytest.mark.parametrize(
    "parts",
    [
        _large_sorted_set,
        _large_hash_with_order,
        _long_stream,
        _short_stream_of_long_entries,
        _empty_stream_with_pending_entries,
        _small_values,
        _buckets,
    ],
)
def test_no_slice_frees_much_more_than_its_share(parts: Callable[[], list[Any]]) -> None:
    """Whatever a value is made of: what counts is how many blocks of memory a single slice gives back."""
    lazy = LazyFree()
    lazy.add_parts(parts(), 1)
    most = total = 0
    gc.collect()
    gc.disable()
    try:
        left = True
        while left:
            before = sys.getallocatedblocks()
            left = lazy.step(_steps(1))
            freed = before - sys.getallocatedblocks()
            most, total = max(most, freed), total + freed
    finally:
        gc.enable()
    assert total > 0.9 * _COUNT
    assert most < 6000  # of an element, its key and its value, and then what is inside of the last one
    assert (lazy.pending, lazy.freed) == (0, 1)


def test_small_stream_with_a_large_group_is_not_freed_at_once() -> None:
    lazy = LazyFree()
    lazy.add(_empty_stream_with_pending_entries()[0])
    assert lazy.pending == 1


def test_large_buffer_is_given_back_in_pieces() -> None:
    lazy = LazyFree()
    buffer = bytearray(b"x") * (40 << 20)
    lazy.add(buffer)
    sizes = [len(buffer)]
    while lazy.step(_steps(1)):
        sizes.append(len(buffer))
    assert max(before - after for before, after in pairwise(sizes)) <= 4 << 20
    assert (len(buffer), lazy.pending, lazy.freed) == (0, 0, 1)


def test_strings_of_a_flushed_database_count_by_their_length() -> None:
    lazy = LazyFree()
    strings: list[bytes | bytearray] = [bytes(1 << 20) for _ in range(8)]
    strings += [bytearray(1 << 20) for _ in range(8)]
    lazy.add_parts([strings], 16)
    most = 0
    left = True
    while left:
        before = len(strings)
        left = lazy.step(_steps(1))
        most = max(most, before - len(strings))
    assert most == 4
    assert (lazy.pending, lazy.freed) == (0, 16)


def test_small_value_is_freed_at_once() -> None:
    lazy = LazyFree()
    lazy.add(ListValue(_names(SMALL - 1)))
    assert lazy.pending == 0
    assert not lazy.step(lambda: True)


def test_flushed_keyspace_leaves_no_value_behind() -> None:
    keyspace = Keyspace(databases=2)
    db = keyspace.dbs[0]

    class Probe(ListValue):
        __slots__ = ("__weakref__",)

    probes = []
    for i in range(300):
        value = Probe(_names(SMALL + 1) if i % 100 == 0 else [b"x"])
        probes.append(weakref.ref(value))
        db.put(b"key:%d" % i, value)
        db.set_expire(b"key:%d" % i, 10_000 + i)
        db.put(b"string:%d" % i, b"value")
    del value
    assert db.clear() == 600
    assert db.size == 0
    assert keyspace.lazy_free.pending == 600
    rounds = 0
    while keyspace.lazy_free.step(_steps(1)):
        rounds += 1
    assert rounds > 3
    assert (keyspace.lazy_free.pending, keyspace.lazy_free.freed) == (0, 600)
    gc.collect()
    assert all(probe() is None for probe in probes)


def test_deleted_and_overwritten_values_go_to_the_queue() -> None:
    keyspace = Keyspace(databases=1)
    db = keyspace.dbs[0]
    db.put(b"a", ListValue(_names(SMALL)))
    db.put(b"b", ListValue(_names(SMALL)))
    assert db.delete(b"a")
    db.set(b"b", b"string")
    assert keyspace.lazy_free.pending == 2


def test_renamed_value_stays_alive() -> None:
    keyspace = Keyspace(databases=1)
    db = keyspace.dbs[0]
    value = ListValue(_names())
    db.put(b"a", value)
    db.set_expire(b"a", 5)
    assert db.take(b"a") == (value, 5)
    assert db.size == 0
    assert keyspace.lazy_free.pending == 0
    keyspace.lazy_free.drain()
    assert len(value) == _COUNT
