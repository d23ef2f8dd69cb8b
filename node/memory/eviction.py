"""Eviction: which keys go when the data use more than `maxmemory`.

Once per pass `look` compares the use of memory with the limit. While it is over the limit, a gate sends every command
through dispatch, which has `make_room` called first, and the housekeeping works on it, too. Values that are deleted
already but not yet freed are freed first, as what they hold is no reason to evict more. Then keys go one by one until
the excess is gone, or the time is up that one command may spend (`maxmemory-eviction-tenacity`); the housekeeping goes
on from there.

A look at the allocators is too dear to have one per key (`memory.py`), so each key that goes is credited with what it
is estimated to hold, and the next look, milliseconds later, corrects the sum.

The policies that weigh keys against each other draw `maxmemory-samples` keys of every database per eviction and keep
the best candidates of many rounds in a pool, as stock does: that approaches an exact order with small samples. A
candidate that was used since it was drawn is passed over. volatile-ttl needs no samples: the index of expiry times
knows what falls due first.
"""

from __future__ import annotations

import logging
import sys
from bisect import insort_left
from collections.abc import Callable
from operator import itemgetter
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import gates
from slotmesh.node.keyspace.access import record_changes, record_frequencies, record_times
from slotmesh.node.keyspace.random_keys import sample_keys
from slotmesh.node.memory.used import Memory
from slotmesh.node.state import NodeState

if TYPE_CHECKING:
    from slotmesh.node.keyspace.database import Database

log = logging.getLogger("node")

#: What `Eviction.free` came to.
DONE: Final = 0
GOES_ON: Final = 1
FAILED: Final = 2

#: Candidates kept from round to round.
POOL_SIZE: Final = 16
_SCORE: Final = itemgetter(0)
#: Keys evicted between two looks at the clock.
_BATCH: Final = 16
#: A key's places in the dicts of its database, of its access times and of its expiry, each two thirds full on average.
_PLACE_BYTES: Final = 60
#: While these are raised nothing is evicted: half a data set, or one that is to stay as it is.
_HANDS_OFF: Final = gates.SERVER_LOADING | gates.SERVER_ASYNC_LOADING | gates.SERVER_PAUSED


def time_limit_ns(tenacity: int) -> int:
    """How long one command may evict, by `maxmemory-eviction-tenacity`: 50 us per point up to 10 (500 us), from there
    15% more with each point, and without limit at 100. The curve is stock's (redis.conf and evict.c of 7.0)."""
    if tenacity <= 10:
        return 50_000 * tenacity
    if tenacity < 100:
        return int(500_000 * 1.15 ** (tenacity - 10))
    return 1 << 62


def held_bytes(key: bytes, value: Any) -> int:
    """An estimate of what goes with a key."""
    own = sys.getsizeof(value) if isinstance(value, (bytes, bytearray)) else value.size_bytes()
    return sys.getsizeof(key) + own + 2 * _PLACE_BYTES


class Eviction:
    """The evictions of one node."""

    def __init__(
        self,
        state: NodeState,
        memory: Memory,
        *,
        leaves_it_to_others: Callable[[], bool],
        not_counted_bytes: Callable[[], int],
    ) -> None:
        """`leaves_it_to_others`: whether nothing may be evicted because another node decides what is gone.

        `not_counted_bytes`: what the stream holds only for replicas that are behind. Evictions add to it, so it must
        not cause any.
        """
        self._state = state
        self._keyspace = state.keyspace
        self._memory = memory
        self._leaves_it_to_others = leaves_it_to_others
        self.not_counted_bytes: Final = not_counted_bytes
        #: (score, database, key), the best to evict last. Scores only mean something within one policy.
        self._pool: list[tuple[int, int, bytes]] = []
        self._next_db = 0
        #: Keys at the last look at the allocators, less those evicted since; and the average size of evicted ones.
        self._keys_seen = self._bytes_per_key = 0
        #: The time of the next look, as the last look that is known here has set it: it tells one look from another.
        self._look_known = -1
        #: When the use went over the limit (monotonic ms), None while it is below; and how long it was so before.
        self._exceeded_since_ms: int | None = None
        self._exceeded_ms = 0
        state.config.on_change("maxmemory", self._limit_changed)
        state.config.on_change("maxmemory-policy", self._policy_changed)
        state.config.on_change("lfu-log-factor", lambda _: self._policy_changed(state.config.maxmemory_policy))
        state.config.on_change("lfu-decay-time", lambda _: self._policy_changed(state.config.maxmemory_policy))
        self._policy_changed(state.config.maxmemory_policy)

    def _limit_changed(self, limit: int) -> None:
        self._memory.sample(self._state.clock.mono_ms, limit)
        self.look()
        if not limit:
            self._within()
        elif self._memory.used > limit:
            log.warning(
                "maxmemory is now %d bytes, but %d are used: keys go, or writes are refused, depending on the policy",
                limit,
                self._memory.used,
            )

    def _policy_changed(self, policy: str) -> None:
        """Candidates of another policy are none; and what the new one asks for must be recorded from now on."""
        self._pool.clear()
        config = self._state.config
        if self._keyspace.change_clock is not None and not policy.endswith("lrm"):
            self._keyspace.record_access(None)
        if policy.endswith("lru"):
            record_times(self._keyspace)
        elif policy.endswith("lrm"):
            record_changes(self._keyspace)
        elif policy.endswith("lfu"):
            record_frequencies(self._keyspace, self._state.rng, config.lfu_log_factor, config.lfu_decay_time)

    # -- the limit -------------------------------------------------------------------------------------------

    def look(self) -> None:
        """At the start of a pass: compare the use with the limit, and raise or lower the gate before the commands."""
        state, memory = self._state, self._memory
        limit = state.config.maxmemory
        now_ms = state.clock.mono_ms
        if limit:
            if now_ms >= memory.next_look_ms:
                memory.sample(now_ms, limit)
            self._count_new_keys()
        over = 0 < limit < memory.used
        if over != bool(state.gates & gates.SERVER_MEMORY):
            state.set_gate(gates.SERVER_MEMORY, over)

    def _count_new_keys(self) -> None:
        """Between two looks, which may be a fifth of a second apart, a key that comes counts as one that went lately.

        What it is credited with must not depend on the use of memory: with fewer keys each would count for more, and
        more would go for each that comes.
        """
        memory, keys = self._memory, self._keyspace.total_keys()
        if memory.next_look_ms != self._look_known:  # there was a look, ours or for an INFO
            self._look_known, self._keys_seen = memory.next_look_ms, keys
        elif keys > self._keys_seen:
            memory.used += (keys - self._keys_seen) * self._bytes_per_key
            self._keys_seen = keys

    def make_room(self) -> bool:
        """Evict what the limit demands, within the time of one command. False: over the limit, and nothing may go."""
        self.look()
        state = self._state
        if not state.gates & gates.SERVER_MEMORY:
            self._within()
            return True
        end = perf_counter_ns() + time_limit_ns(state.config.maxmemory_eviction_tenacity)
        return self.free(lambda: perf_counter_ns() < end) != FAILED

    def go_on(self, in_time: Callable[[], bool]) -> bool:
        """Housekeeping: evict what is left to evict; True when time was up before."""
        return bool(self._state.config.maxmemory) and self.free(in_time) == GOES_ON

    def free(self, in_time: Callable[[], bool]) -> int:
        """Evict until the use is within `maxmemory`: DONE, FAILED (nothing may go) or GOES_ON (`in_time` was false)."""
        state, memory = self._state, self._memory
        limit = state.config.maxmemory
        if not self._may_evict() or memory.used <= limit:
            self._within()
            return DONE
        started = perf_counter_ns()
        outcome = self._free(limit, in_time)
        state.latency.add("eviction-cycle", (perf_counter_ns() - started) // 1_000_000, state.clock.now_ms // 1000)
        if outcome == DONE:
            self._within()
        elif self._exceeded_since_ms is None:
            self._exceeded_since_ms = state.clock.mono_ms
        return outcome

    def _may_evict(self) -> bool:
        state = self._state
        return not state.gates & _HANDS_OFF and not self._leaves_it_to_others()

    def _free(self, limit: int, in_time: Callable[[], bool]) -> int:
        memory, lazy_free = self._memory, self._keyspace.lazy_free
        limit += self.not_counted_bytes()
        if lazy_free.pending:
            if lazy_free.step(in_time):
                return GOES_ON
            memory.sample(self._state.clock.mono_ms, limit)
        if self._state.config.maxmemory_policy == "noeviction":
            return DONE if memory.used <= limit else FAILED
        count = 0
        while memory.used > limit:
            chosen = self._choose()
            if chosen is None:
                return FAILED
            memory.used -= self._evict(*chosen)
            count += 1
            if count % _BATCH == 0 and memory.used > limit and not in_time():
                return GOES_ON
        return DONE

    def _within(self) -> None:
        if self._exceeded_since_ms is not None:
            self._exceeded_ms += self._state.clock.mono_ms - self._exceeded_since_ms
            self._exceeded_since_ms = None

    @property
    def exceeded_ms(self) -> tuple[int, int]:
        """For how long the use has been over the limit: altogether, and this time."""
        since_ms = self._exceeded_since_ms
        now_ms = 0 if since_ms is None else self._state.clock.mono_ms - since_ms
        return self._exceeded_ms + now_ms, now_ms

    def reset_stats(self) -> None:
        """CONFIG RESETSTAT."""
        self._exceeded_ms = 0
        if self._exceeded_since_ms is not None:
            self._exceeded_since_ms = self._state.clock.mono_ms

    # -- the keys --------------------------------------------------------------------------------------------

    def _evict(self, db: Database, key: bytes) -> int:
        """Remove a key; the bytes that it held."""
        state = self._state
        freed = held_bytes(key, db.stored(key))
        self._keys_seen -= 1
        self._bytes_per_key += (freed - self._bytes_per_key) // 16 if self._bytes_per_key else freed
        started = perf_counter_ns()
        db.evict(key)
        if state.latency.threshold_ms:
            state.latency.add("eviction-del", (perf_counter_ns() - started) // 1_000_000, state.clock.now_ms // 1000)
        return freed

    def _choose(self) -> tuple[Database, bytes] | None:
        """The next key to go by the policy, or None when there is none that may."""
        policy = self._state.config.maxmemory_policy
        volatile = policy.startswith("volatile-")
        if policy.endswith("random"):
            return self._choose_random(volatile)
        dbs = self._keyspace.dbs
        by_expiry = policy == "volatile-ttl"
        score = self._scorer(policy)
        while True:
            # Keys by expiry come in order: a new round before the last one is used up would find the same ones.
            if not (by_expiry and self._pool) and not self._fill_pool(volatile, by_expiry, score):
                return None
            while self._pool:
                noted, index, key = self._pool.pop()
                db = dbs[index]
                known = key in db.expires if volatile else db.stored(key) is not None
                if known and score(index, key) >= noted:
                    return db, key

    def _fill_pool(self, volatile: bool, by_expiry: bool, score: Callable[[int, bytes], int]) -> bool:
        """Draw candidates of every database and keep the best of all so far; False when there are none."""
        pool, samples, rng = self._pool, self._state.config.maxmemory_samples, self._state.rng
        any_key = False
        for db in self._keyspace.dbs:
            if not (len(db.expires) if volatile else db.size):
                continue
            any_key = True
            if by_expiry:
                keys = db.expires.soonest(POOL_SIZE)
            else:
                keys = db.expires.sample(rng, samples) if volatile else sample_keys(db, rng, samples)
            for key in keys:
                candidate = score(db.index, key), db.index, key
                if candidate in pool or (len(pool) == POOL_SIZE and candidate[0] <= pool[0][0]):
                    continue
                # Of equals the one drawn first goes first. Were their names compared, only the last of them would go.
                insort_left(pool, candidate, key=_SCORE)
                if len(pool) > POOL_SIZE:
                    del pool[0]
        return any_key

    def _scorer(self, policy: str) -> Callable[[int, bytes], int]:
        """How well a key of a database suits: the larger, the sooner it goes. It changes when the key is used."""
        keyspace = self._keyspace
        if policy.endswith(("lru", "lrm")):
            times = record_changes(keyspace) if policy.endswith("lrm") else record_times(keyspace)
            idle_ms, now_ms = times.idle_ms, keyspace.now_ms
            return lambda index, key: idle_ms(index, key) - now_ms  # minus the time of the last use, or change
        if policy.endswith("lfu"):
            config = self._state.config
            counts = record_frequencies(keyspace, self._state.rng, config.lfu_log_factor, config.lfu_decay_time)
            return lambda index, key: -counts.frequency(index, key)
        dbs = keyspace.dbs
        return lambda index, key: -(dbs[index].expires.get(key) or 0)

    def _choose_random(self, volatile: bool) -> tuple[Database, bytes] | None:
        """A random key of the next database, in turn, that has one."""
        dbs = self._keyspace.dbs
        for _ in dbs:
            self._next_db = (self._next_db + 1) % len(dbs)
            db = dbs[self._next_db]
            keys = db.expires.sample(self._state.rng, 1) if volatile else sample_keys(db, self._state.rng, 1)
            if keys:
                return db, keys[0]
        return None
