"""Large values are taken apart in bounded steps, and nothing of them is left."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest

from node.keyspace.keyspace import Keyspace
from node.keyspace.lazy_free import SMALL, LazyFree
from node.types.hash import HashValue
from node.types.list import ListValue
from node.types.set import SetValue
from node.types.sorted_set import SortedSetValue

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


def test_no_step_frees_more_than_a_slice_and_a_nested_list() -> None:
    """A sorted set keeps its order in a list of lists inside an object of another library: it must be opened, too."""
    lazy = LazyFree()
    lazy.add(SortedSetValue({name: float(i) for i, name in enumerate(_names(10 * SMALL))}))
    rounds = 0
    while lazy.step(_steps(1)):
        rounds += 1
    # Members and pairs are apart: each of them is taken off in slices.
    assert rounds >= 2 * 10


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
