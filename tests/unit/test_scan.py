"""Cursors: every element that is there from start to end is met, whatever happens to the others meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotmesh.node.keyspace import scan
from slotmesh.node.keyspace.database import Database
from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.keyspace.scan import INDEXES, scan_keys, scan_mapping

Page = Callable[[int], tuple[int, list[bytes]]]


def _walk(page: Page, between: Callable[[], None] = lambda: None, limit: int = 100_000) -> list[bytes]:
    """Everything a whole scan returns; `between` runs after each page."""
    found: list[bytes] = []
    cursor = 0
    for _ in range(limit):
        cursor, names = page(cursor)
        found += names
        assert 0 <= cursor < 1 << 53
        if not cursor:
            return found
        between()
    raise AssertionError("the scan never ends")


def _database(names: Collection[bytes], clustered: bool = False) -> Database:
    db = Keyspace(databases=1, clustered=clustered).dbs[0]
    for name in names:
        db.put(name, b"value")
    return db


def _names(count: int, prefix: bytes = b"name") -> list[bytes]:
    return [b"%b:%d" % (prefix, i) for i in range(count)]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, scan.SMALL, scan.SMALL + 1, 1000, 30_000])
@pytest.mark.parametrize("page_size", [1, 10, 1000])
def test_scan_of_unchanging_mapping_returns_each_name_once(count: int, page_size: int) -> None:
    names = dict.fromkeys(_names(count))
    found = _walk(lambda cursor: scan_mapping(names, cursor, page_size))
    assert sorted(found) == sorted(names)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("count", [0, 5, 3000])
def test_scan_of_unchanging_database_returns_each_key_once(count: int, clustered: bool) -> None:
    db = _database(_names(count), clustered)
    found = _walk(lambda cursor: scan_keys(db, cursor, 10))
    assert sorted(found) == sorted(_names(count))


def test_scan_of_one_crowded_slot_returns_small_pages() -> None:
    names = [b"{tag}:%d" % i for i in range(15_000)]
    db = _database([*names, *_names(100)], clustered=True)
    sizes: list[int] = []

    def page(cursor: int) -> tuple[int, list[bytes]]:
        result = scan_keys(db, cursor, 10)
        sizes.append(len(result[1]))
        return result

    assert sorted(_walk(page)) == sorted([*names, *_names(100)])
    assert max(sizes) < 100


@given(
    stay=st.integers(0, 300),
    come_and_go=st.integers(0, 600),
    page_size=st.integers(1, 40),
    clustered=st.booleans(),
    tagged=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_keys_that_stay_are_met_while_others_come_and_go(
    stay: int, come_and_go: int, page_size: int, clustered: bool, tagged: bool, seed: int
) -> None:
    rng = random.Random(seed)
    prefix = b"{t}" if tagged else b""
    staying = _names(stay, prefix + b"stay")
    db = _database(staying, clustered)
    others = _names(come_and_go, prefix + b"other")
    for name in rng.sample(others, come_and_go // 2):
        db.put(name, b"value")

    def churn() -> None:
        for name in rng.sample(others, min(20, come_and_go)):
            if not db.delete(name):
                db.put(name, b"value")

    found = _walk(lambda cursor: scan_keys(db, cursor, page_size), churn)
    assert set(staying) <= set(found)
    assert set(found) <= set(staying) | set(others)


@given(seed=st.integers(0, 2**32), growing=st.booleans())
@settings(max_examples=12, deadline=None)
def test_names_that_stay_are_met_when_a_set_crosses_the_index_threshold(seed: int, growing: bool) -> None:
    rng = random.Random(seed)
    staying = _names(scan.SMALL // 2, b"stay")
    others = _names(5 * scan.SMALL, b"other")
    members = set(staying) if growing else set(staying) | set(others)

    def churn() -> None:
        for name in rng.sample(others, 60):
            if growing:
                members.add(name)
            else:
                members.discard(name)

    found = _walk(lambda cursor: scan_mapping(members, cursor, 5), churn)
    assert set(staying) <= set(found)


def test_scans_of_one_large_set_do_not_disturb_each_other() -> None:
    members = set(_names(25_000))
    cursors: dict[int, int] = dict.fromkeys(range(5), 0)
    found: dict[int, list[bytes]] = {number: [] for number in cursors}
    rounds = 0
    while cursors:
        rounds += 1
        assert rounds < 10_000
        for number in list(cursors):
            cursors[number], names = scan_mapping(members, cursors[number], 100)
            found[number] += names
            if not cursors[number]:
                del cursors[number]
    for names in found.values():
        assert sorted(names) == sorted(members)


def test_scan_that_began_after_an_addition_meets_it() -> None:
    members = set(_names(25_000))
    cursor, _ = scan_mapping(members, 0, 10)
    while cursor and not scan_mapping(members, cursor, 10)[1]:
        cursor, _ = scan_mapping(members, cursor, 10)
    members.add(b"late")
    found = _walk(lambda place: scan_mapping(members, place, 500))
    assert b"late" in found


def test_scan_goes_on_with_the_same_cursor_after_a_restart() -> None:
    members = set(_names(25_000))
    cursor, found = 0, list[bytes]()
    for _ in range(20):
        cursor, names = scan_mapping(members, cursor, 100)
        found += names
    assert cursor
    assert found
    INDEXES.sweep()
    INDEXES.sweep()  # nothing is left of the index, as in another process
    fresh = {bytes(bytearray(name)) for name in members}
    place = cursor
    while place:
        place, names = scan_mapping(fresh, place, 100)
        found += names
    assert set(found) == members


def test_more_large_sets_than_indexes_are_all_scanned_to_the_end() -> None:
    collections = [set(_names(1000, b"%d" % number)) for number in range(40)]
    cursors: dict[int, int] = dict.fromkeys(range(len(collections)), 0)
    found: dict[int, list[bytes]] = {number: [] for number in cursors}
    rounds = 0
    while cursors:
        rounds += 1
        assert rounds < 1000
        for number in list(cursors):
            cursors[number], names = scan_mapping(collections[number], cursors[number], 100)
            found[number] += names
            if not cursors[number]:
                del cursors[number]
    for number, names in found.items():
        assert set(names) == collections[number]
    INDEXES.sweep()
    INDEXES.sweep()


@pytest.mark.parametrize("cursor", [1, 12345, (1 << 53) - 1, (1 << 64) - 1])
def test_cursor_from_nowhere_is_answered(cursor: int) -> None:
    members = set(_names(100))
    db = _database(_names(100))
    for next_cursor, names in (scan_mapping(members, cursor, 10), scan_keys(db, cursor, 10)):
        assert next_cursor < 1 << 53
        assert set(names) <= members
