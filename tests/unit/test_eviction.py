"""Which keys go under which policy, and when none do. How much memory is used is the test's to say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slotmesh.node.base import gates
from slotmesh.node.keyspace.database import Database
from slotmesh.node.keyspace.lazy_free import SMALL
from slotmesh.node.keyspace.random_keys import sample_keys
from slotmesh.node.memory.eviction import DONE, FAILED, GOES_ON, POOL_SIZE, Eviction, held_bytes, time_limit_ns
from slotmesh.node.memory.used import Figures, Memory
from slotmesh.node.types.list import ListValue
from tests.support.inprocess import InProcessNode

_VALUE = b"v" * 1000
_SIZE = held_bytes(b"key:0000", _VALUE)
_EMPTY = 1 << 30


class _Accountant:
    """Stands for the allocators: what is used is what the keys are estimated to hold, and what waits to be freed."""

    def __init__(self, node: InProcessNode) -> None:
        self.node = node
        self.looks = 0
        self.waiting_bytes = 0

    def __call__(self) -> Figures:
        self.looks += 1
        used = _EMPTY
        server = self.node.server
        for db in server.keyspace.dbs:
            used += sum(held_bytes(key, value) for key, value, _ in db.items())
        used += self.waiting_bytes if server.keyspace.lazy_free.pending else 0
        return Figures(used, used, 0, used, used)


class _Node:
    """A node with few keys whose limit is set in keys: `limit(n)` leaves place for n of them."""

    def __init__(self, node: InProcessNode) -> None:
        self.node = node
        self.server = node.server
        self.db: Database = node.server.keyspace.dbs[0]
        self.accountant = _Accountant(node)
        self.memory = node.server.memory
        vars(self.memory).update(vars(Memory(self.accountant)))  # the parts of the node know this object
        self.server.config.maxmemory_eviction_tenacity = 100  # no time limit: machines differ

    @property
    def eviction(self) -> Eviction:
        return self.server.eviction

    def choose(self, policy: str) -> None:
        self.server.config.set([(b"maxmemory-policy", policy.encode())])

    def fill(self, count: int, db: Database | None = None, first: int = 0) -> list[bytes]:
        """Keys, each a second younger than the one before."""
        keys = [b"key:%04d" % i for i in range(first, first + count)]
        for key in keys:
            (self.db if db is None else db).set(key, _VALUE)
            self.node.advance(1000)
        return keys

    def limit(self, keys: int) -> None:
        self.server.config.maxmemory = _EMPTY + keys * _SIZE
        self.server.state.set_gate(gates.SERVER_MEMORY, True)
        self.node.advance(1000)

    def left(self) -> set[bytes]:
        return set(self.db.keys())


@pytest.fixture
def node() -> Iterator[_Node]:
    with InProcessNode() as started:
        yield _Node(started)


def _expire(node: _Node, keys: list[bytes]) -> None:
    for i, key in enumerate(keys):
        node.db.set_expire(key, node.server.keyspace.now_ms + 1_000_000 - i * 1000)


def test_nothing_goes_below_the_limit(node: _Node) -> None:
    node.choose("allkeys-lru")
    node.fill(20)
    node.limit(20)
    assert node.eviction.make_room()
    assert len(node.db) == 20


def test_keys_that_come_between_two_looks_are_counted(node: _Node) -> None:
    node.choose("allkeys-random")
    node.fill(60)
    node.limit(50)
    assert node.eviction.make_room()
    node.memory.next_look_ms = node.eviction._look_known = 1 << 60
    looks = node.accountant.looks
    node.eviction._keys_seen = len(node.db)
    for number in range(20):
        node.db.set(b"new:%04d" % number, _VALUE)
    node.eviction.look()
    assert node.server.state.gates & gates.SERVER_MEMORY
    assert node.eviction.make_room()
    assert 48 <= len(node.db) <= 52
    assert node.accountant.looks == looks


def test_no_more_go_than_the_excess_demands(node: _Node) -> None:
    node.choose("allkeys-random")
    node.fill(50)
    node.limit(35)
    assert node.eviction.make_room()
    assert len(node.db) == 35
    assert node.server.keyspace.evicted_keys == 15
    assert node.memory.used <= node.server.config.maxmemory


def test_lru_with_many_samples_takes_the_longest_unused(node: _Node) -> None:
    node.choose("allkeys-lru")
    node.server.config.maxmemory_samples = 64
    keys = node.fill(30)
    node.db.read(keys[0])
    node.limit(20)
    assert node.eviction.make_room()
    assert node.left() == {keys[0], *keys[11:]}


def test_lru_with_few_samples_spares_what_is_read(node: _Node) -> None:
    node.choose("allkeys-lru")
    keys = node.fill(300)
    hot = keys[:30]
    for key in hot:
        node.db.read(key)
    for keep in range(299, 60, -10):
        node.limit(keep)
        assert node.eviction.make_room()
        for key in hot:
            node.db.read(key)
    assert set(hot) <= node.left()


def test_candidate_that_was_used_meanwhile_is_passed_over(node: _Node) -> None:
    node.choose("allkeys-lru")
    node.server.config.maxmemory_samples = 64
    keys = node.fill(12)
    node.limit(11)
    assert node.eviction.make_room()  # the other eleven are candidates now
    node.db.read(keys[1])
    node.limit(10)
    assert node.eviction.make_room()
    assert node.left() == {keys[1], *keys[3:]}


def test_lfu_takes_the_least_used(node: _Node) -> None:
    node.choose("allkeys-lfu")
    node.server.config.maxmemory_samples = 64
    keys = node.fill(20)
    for key in keys[:10]:
        for _ in range(200):
            node.db.read(key)
    node.limit(10)
    assert node.eviction.make_room()
    assert node.left() == set(keys[:10])


def test_lfu_of_keys_used_equally_often_goes_by_chance_not_by_name(node: _Node) -> None:
    node.choose("allkeys-lfu")
    node.server.config.lfu_decay_time = 0  # they are filled in one after the other
    keys = node.fill(400)
    node.limit(200)
    assert node.eviction.make_room()
    gone = [number for number, key in enumerate(keys) if node.db.stored(key) is None]
    assert len(gone) == 200
    # 200 of 400 drawn by chance: 100 of each half, give or take 10 (4 standard deviations: 20).
    assert 60 < sum(number < 200 for number in gone) < 140


def test_ttl_takes_what_falls_due_first(node: _Node) -> None:
    node.choose("volatile-ttl")
    keys = node.fill(40)
    _expire(node, keys[10:])  # the last ones fall due first
    node.limit(20)
    assert node.eviction.make_room()
    assert node.left() == set(keys[:20])


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"])
def test_volatile_policies_touch_no_key_without_expiry_and_fail_when_only_such_are_left(
    node: _Node, policy: str
) -> None:
    node.choose(policy)
    keys = node.fill(20)
    _expire(node, keys[:5])
    node.limit(10)
    assert not node.eviction.make_room()
    assert node.left() == set(keys[5:])


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_keys_of_all_databases_may_go(node: _Node, policy: str) -> None:
    node.choose(policy)
    other = node.server.keyspace.dbs[9]
    node.fill(40)
    node.fill(40, other)
    node.limit(20)
    assert node.eviction.make_room()
    assert len(node.db) + len(other) == 20
    assert len(node.db) < 40
    assert len(other) < 40


def test_lru_across_databases_compares_all_keys(node: _Node) -> None:
    node.choose("allkeys-lru")
    node.server.config.maxmemory_samples = 64
    other = node.server.keyspace.dbs[3]
    node.fill(10, other)
    node.fill(10)
    node.limit(10)
    assert node.eviction.make_room()
    assert (len(other), len(node.db)) == (0, 10)


def test_noeviction_fails_and_keeps_all(node: _Node) -> None:
    node.fill(10)
    node.limit(5)
    assert not node.eviction.make_room()
    assert len(node.db) == 10


def test_time_limit_ends_a_round_and_the_housekeeping_goes_on(node: _Node) -> None:
    node.choose("allkeys-lru")
    node.fill(100)
    node.limit(10)
    node.memory.sample(0, node.server.config.maxmemory)
    assert node.eviction.free(lambda: False) == GOES_ON
    assert len(node.db) == 84  # one batch
    assert node.eviction.go_on(lambda: False)
    assert not node.eviction.go_on(lambda: True)
    assert len(node.db) == 10


def test_time_over_the_limit_is_counted_until_it_ends(node: _Node) -> None:
    node.choose("allkeys-lru")
    node.fill(100)
    node.limit(10)
    node.memory.sample(0, node.server.config.maxmemory)
    node.eviction.free(lambda: False)
    node.node.advance(300)
    assert node.eviction.exceeded_ms == (300, 300)
    node.eviction.free(lambda: True)
    node.node.advance(1000)
    assert node.eviction.exceeded_ms == (300, 0)
    node.eviction.reset_stats()
    assert node.eviction.exceeded_ms == (0, 0)


def test_values_that_wait_to_be_freed_are_freed_before_more_keys_go(node: _Node) -> None:
    node.choose("allkeys-lru")
    node.fill(10)
    node.limit(12)
    value = ListValue()
    for i in range(SMALL * 4):
        value.push_right([b"%d" % i])
    node.accountant.waiting_bytes = 5 * _SIZE
    node.server.keyspace.lazy_free.add(value)
    assert node.eviction.make_room()
    assert len(node.db) == 10
    assert node.server.keyspace.lazy_free.pending == 0


def test_replica_evicts_only_when_it_does_not_follow_the_memory_of_its_primary(
    node: _Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.choose("allkeys-lru")
    node.fill(10)
    node.limit(5)
    monkeypatch.setattr(type(node.server.replication), "is_replica", True)
    assert node.eviction.make_room()
    assert len(node.db) == 10
    node.server.config.replica_ignore_maxmemory = False
    assert node.eviction.make_room()
    assert len(node.db) == 5


@pytest.mark.parametrize("gate", [gates.SERVER_PAUSED, gates.SERVER_LOADING, gates.SERVER_ASYNC_LOADING])
def test_paused_or_loading_node_evicts_nothing(node: _Node, gate: int) -> None:
    node.choose("allkeys-lru")
    node.fill(10)
    node.limit(5)
    node.server.state.set_gate(gate, True)
    assert node.eviction.make_room()
    assert len(node.db) == 10


def test_another_policy_forgets_the_candidates_of_the_last(node: _Node) -> None:
    node.choose("allkeys-lru")
    node.fill(40)
    node.limit(35)
    assert node.eviction.make_room()
    node.choose("volatile-ttl")
    _expire(node, sorted(node.left())[-3:])
    kept = set(sorted(node.left())[:-3])
    node.limit(30)
    assert not node.eviction.make_room()
    assert node.left() == kept


def test_few_looks_at_the_allocators_are_needed_for_many_keys(node: _Node) -> None:
    node.choose("allkeys-random")
    node.fill(200)
    node.limit(20)
    looks = node.accountant.looks
    assert node.eviction.free(lambda: True) == DONE or node.eviction.make_room()
    assert node.accountant.looks - looks <= 2


def test_free_fails_when_nothing_is_left(node: _Node) -> None:
    node.choose("allkeys-lru")
    node.fill(POOL_SIZE)
    node.server.config.maxmemory = 1
    node.memory.sample(0, 1)
    assert node.eviction.free(lambda: True) == FAILED
    assert len(node.db) == 0


def test_tenacity_means_the_times_of_the_stock_curve() -> None:
    assert [time_limit_ns(tenacity) // 1000 for tenacity in (0, 1, 10, 11, 50)] == [0, 50, 500, 575, 133_931]
    assert time_limit_ns(100) > 10**15


def test_samples_of_an_expiry_index_are_spread_over_all_its_keys(node: _Node) -> None:
    keys = node.fill(200)
    for i, key in enumerate(keys):  # half of them fall due together, the others one by one
        node.db.set_expire(key, node.server.keyspace.now_ms + 10**6 + (0 if i < 100 else i * 1000))
    drawn = [key for _ in range(400) for key in node.db.expires.sample(node.server.rng, 5)]
    together = sum(key < keys[100] for key in drawn) / len(drawn)
    assert 0.02 < together < 0.9
    assert len(set(drawn)) > 150


@pytest.mark.parametrize("count", [1, 50, 3000])
def test_samples_of_a_database_reach_all_its_keys(node: _Node, count: int) -> None:
    for i in range(count):
        node.db.set(b"%d" % i, b"v")
    drawn = {key for _ in range(3 * count + 100) for key in sample_keys(node.db, node.server.rng, 5)}
    assert len(drawn) > 0.97 * count
    assert drawn <= set(node.db.keys())
    node.db.clear()
    assert sample_keys(node.db, node.server.rng, 5) == []


def test_slow_evictions_are_latency_events(node: _Node, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(0, 10**12, 5_000_000))
    monkeypatch.setattr("slotmesh.node.memory.eviction.perf_counter_ns", lambda: next(ticks))
    node.choose("allkeys-random")
    node.fill(20)
    node.limit(10)
    node.server.latency.threshold_ms = 3
    assert node.eviction.make_room()
    events = node.server.latency.events
    assert {"eviction-cycle", "eviction-del"} <= set(events)
    assert events["eviction-del"].worst_ms == 5
    assert events["eviction-cycle"].worst_ms > 50
