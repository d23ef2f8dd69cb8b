"""Expiry times of one database, indexed by when they fall due.

Dicts give a key's time; buckets of 128 ms give the keys of a time, and a heap of bucket numbers the next one due. So
the active cycle never samples: it pops what is due, in order, as much as its budget allows, and a key whose time
changes leaves no stale entry behind. All operations are O(1) but for the heap, which holds one number per bucket. A
bucket that lost its last key goes when its time comes, or together with all such, once they are the majority.

The times lie in many dicts, chosen by the key's hash, because a dict grows at once: one of 700,000 keys would hold up
the node for 40 ms when it has to.
"""

from __future__ import annotations

import random
from heapq import heapify, heappop, heappush
from itertools import chain, islice
from sys import getsizeof
from typing import Any, Final

BUCKET_BITS: Final = 7
#: Later than everything.
NEVER_MS: Final = 1 << 63
#: A key's time is in `ExpiryIndex.parts[hash(key) & PART]`.
PART: Final = 0xFF
#: Empty buckets that may always stay.
_FEW: Final = 64
#: Bytes per key in use from which on a set is rebuilt; a filled one has 27 to 107.
_SPARSE: Final = 256
#: `sample` draws so often per key, and looks no deeper into a bucket.
_DRAWS: Final = 32
_DEEPEST: Final = 512


def _first(bucket: set[bytes], limit: int) -> list[bytes]:
    """Up to `limit` keys of a bucket, which stay in it.

    Walking a large set that is being emptied from its start passes over ever more gaps; `pop` remembers where it was.
    """
    found = [bucket.pop() for _ in range(min(limit, len(bucket)))]
    bucket.update(found)
    return found


class ExpiryIndex:
    """Key -> absolute expiry in ms of Unix time, plus the order in which keys fall due."""

    __slots__ = ("_buckets", "_draining", "_empty", "_heap", "count", "parts")

    def __init__(self) -> None:
        #: The times themselves, and how many there are; read directly on the hot path, written only here.
        self.parts: list[dict[bytes, int]] = [{} for _ in range(PART + 1)]
        self.count = 0
        self._buckets: dict[int, set[bytes]] = {}
        self._heap: list[int] = []
        self._empty = 0  # of the buckets
        self._draining = 0  # the bucket that `due` took keys from: it is about to go as a whole

    def __len__(self) -> int:
        return self.count

    def __contains__(self, key: bytes) -> bool:
        return key in self.parts[hash(key) & PART]

    def get(self, key: bytes) -> int | None:
        """The time of `key`, or None."""
        return self.parts[hash(key) & PART].get(key)

    def set(self, key: bytes, at_ms: int) -> None:
        """Give `key` an expiry, or change it."""
        part = self.parts[hash(key) & PART]
        old = part.get(key)
        part[key] = at_ms
        number = at_ms >> BUCKET_BITS
        if old is None:
            self.count += 1
        else:
            if old >> BUCKET_BITS == number:
                return
            self._leave(key, old)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = set()
            heappush(self._heap, number)
        elif not bucket:
            self._empty -= 1
        bucket.add(key)

    def drop(self, key: bytes) -> bool:
        """Forget the expiry of `key`; False when it had none."""
        old = self.parts[hash(key) & PART].pop(key, None)
        if old is None:
            return False
        self.count -= 1
        self._leave(key, old)
        return True

    def _leave(self, key: bytes, at_ms: int) -> None:
        number = at_ms >> BUCKET_BITS
        bucket = self._buckets.get(number)
        if bucket is None:
            return
        bucket.discard(key)
        left = len(bucket)
        if left & 15:  # seldom enough to cost nothing
            return
        if not left:
            self._empty += 1
            if self._empty > len(self._buckets) // 2 + _FEW:
                self._sweep()
        elif number != self._draining and getsizeof(bucket) > _SPARSE * left:
            self._buckets[number] = set(bucket)  # sets do not shrink by themselves

    def _sweep(self) -> None:
        """Drop all empty buckets."""
        self._buckets = {number: bucket for number, bucket in self._buckets.items() if bucket}
        self._heap = list(self._buckets)
        heapify(self._heap)
        self._empty = 0

    def _drop_first(self) -> None:
        """Drop the earliest bucket, which is empty."""
        del self._buckets[heappop(self._heap)]
        self._empty -= 1

    def due(self, now_ms: int, limit: int) -> list[bytes]:
        """Up to `limit` keys whose time has come, earliest bucket first. They stay indexed until dropped."""
        found: list[bytes] = []
        heap, buckets = self._heap, self._buckets
        current = now_ms >> BUCKET_BITS
        while heap and heap[0] < current and len(found) < limit:
            bucket = buckets[heap[0]]
            if not bucket:
                self._drop_first()
                continue
            found = _first(bucket, limit)
            self._draining = heap[0]
            break  # the caller drops these first; the next call goes on behind them
        return found

    @property
    def next_due_ms(self) -> int:
        """When `due` may find keys next, in ms of Unix time; `NEVER_MS` when there are none."""
        return (self._heap[0] + 1) << BUCKET_BITS if self._heap else NEVER_MS

    def drop_due(self, keys: list[bytes]) -> None:
        """Forget keys that the last call of `due` gave."""
        for key in keys:
            del self.parts[hash(key) & PART][key]
        self.count -= len(keys)
        bucket = self._buckets[self._draining] if keys else None
        if bucket:
            bucket.difference_update(keys)
            self._empty += not bucket

    def soonest(self, limit: int) -> list[bytes]:
        """Up to `limit` keys of the earliest bucket, for the volatile-ttl policy: they fall due before all others, and
        within 128 ms of each other."""
        heap, buckets = self._heap, self._buckets
        while heap:
            bucket = buckets[heap[0]]
            if bucket:
                return _first(bucket, limit)
            self._drop_first()
        return []

    def sample(self, rng: random.Random, count: int) -> list[bytes]:
        """Up to `count` keys picked at random, one and the same perhaps more than once.

        A place in a random bucket is drawn until there is a key, so that each is about equally likely; keys of a very
        full bucket are drawn less often. Where that finds nothing, the first keys must do.
        """
        heap, buckets = self._heap, self._buckets
        found: list[bytes] = []
        if not self.count:
            return found
        fair = min(2 * self.count // len(buckets) + 2, _DEEPEST)
        for _ in range(_DRAWS * count):
            bucket = buckets[heap[int(rng.random() * len(heap))]]
            position = int(rng.random() * fair)
            if position < len(bucket):
                if len(bucket) > fair:  # its keys are drawn too rarely already: at least draw from all of them
                    position = int(rng.random() * min(len(bucket), _DEEPEST))
                found.append(next(islice(bucket, position, None)))
                if len(found) == count:
                    break
        return found or list(islice(chain.from_iterable(self.parts), count))

    def mean_ttl_ms(self, now_ms: int, sample: int = 20) -> int:
        """Mean time to live over a few keys, as INFO's `avg_ttl`."""
        every = chain.from_iterable(part.values() for part in self.parts)
        times = [at_ms - now_ms for at_ms in islice(every, sample)]
        return max(0, sum(times) // len(times)) if times else 0

    def clear(self) -> list[Any]:
        """Forget everything; the dicts that held it, for whoever frees them bit by bit."""
        parts: list[Any] = [*(part for part in self.parts if part), self._buckets]
        self.parts = [{} for _ in range(PART + 1)]
        self.count = 0
        self._buckets = {}
        self._heap = []
        self._empty = 0
        return parts
