"""The short cuts of the database do what the plain calls do."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from slotmesh.node.keyspace.access import AccessTimes
from slotmesh.node.keyspace.database import Database
from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.types.list import ListValue


class _Watched:
    """A keyspace in which every kind of key lies, and all that it tells others."""

    def __init__(self, clustered: bool) -> None:
        self.keyspace = Keyspace(1, clustered)
        self.keyspace.now_ms = 1000
        self.db: Database = self.keyspace.dbs[0]
        self.db.set(b"{a}", b"old")
        self.db.set(b"long", b"x" * 5000)
        self.db.set(b"list", ListValue([b"e"] * 5000))
        for key, at_ms in ((b"gone", 1500), (b"expiring", 5000)):
            self.db.set(key, b"old")
            self.db.set_expire(key, at_ms)
        self.keyspace.now_ms = 2000
        self.keyspace.access = self.access = AccessTimes(self.keyspace)
        self.keyspace.now_ms = 3000
        self.expired: list[bytes] = []
        self.keyspace.on_expire_propagate = lambda _, keys: self.expired.extend(keys)

    def state(self) -> dict[str, Any]:
        return {
            "items": sorted((key, bytes(value), at_ms) for key, value, at_ms in self.db.items() if key != b"list"),
            "list": type(self.db.peek(b"list")),
            "size": self.db.size,
            "idle": {key: self.access.idle_ms(0, key) for key, _, _ in self.db.items()},
            "places": sorted((slot, key) for slot in range(16384) for key in self.db.keys_in_slot(slot)),
            "lazy": self.keyspace.lazy_free.pending,
            "expired": self.expired,
            "expired_keys": self.keyspace.expired_keys,
        }


@pytest.mark.parametrize("clustered", [False, True])
def test_set_all_leaves_what_set_of_each_leaves(clustered: bool) -> None:
    keys = [b"{a}", b"new", b"list", b"gone", b"expiring", b"new", b"{a}b", b"long"]
    values = [b"%d" % i for i in range(len(keys))]
    together, each = _Watched(clustered), _Watched(clustered)
    together.db.set_all(keys, values)
    for key, value in zip(keys, values, strict=True):
        each.db.set(key, value)
    assert together.state() == each.state()
    assert together.expired == [b"gone"]
    assert together.keyspace.lazy_free.pending == 1


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("other_between", [False, True])
def test_replace_after_write_leaves_what_put_leaves(clustered: bool, other_between: bool) -> None:
    replaced, put = _Watched(clustered), _Watched(clustered)
    for node in (replaced, put):
        key = bytes(bytearray(b"expiring"))
        assert node.db.write(key) == b"old"
        if other_between:
            node.db.write(bytes(bytearray(b"{a}")))
        (node.db.replace if node is replaced else node.db.put)(key, b"new")
    assert replaced.state() == put.state()
    assert replaced.db.expire_at(b"expiring") == 5000
    assert replaced.db.read(b"expiring") == b"new"


def test_write_remembers_the_place_of_its_key_only_for_that_very_key() -> None:
    db = Keyspace(2).dbs[0]
    keys = [b"key:%d" % i for i in range(200)]
    for key in keys:
        assert db.write(key) is None
        db.put(key, b"of " + key)
    for first, second in pairwise(keys):
        assert db.write(first) == b"of " + first
        assert db.read(second) == b"of " + second
        assert db.look(first) == b"of " + first
    assert db.size == len(keys)
