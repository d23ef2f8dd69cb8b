"""The sorted set value: a dict of scores, and all (score, member) pairs in order.

Ranks, ranges and neighbours come from the order, single members from the dict. Up to `_SMALL` pairs the order is a
plain list (a bisection and a short move: nothing is faster or smaller), above it a `SortedList`, whose rank queries
cost microseconds at a million pairs. The change is one-way, as a set that was large once is likely to be again.

Pairs are ordered by score, then by the bytes of the member; -0.0 equals 0.0; NaN never gets in (callers refuse it).
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from sortedcontainers import SortedList

from node.types.limits import LIMITS

Pair = tuple[float, bytes]

_SMALL: Final = 1024
_ENTRY_BYTES: Final = 230


class SortedSetValue:
    """Members with scores. `scores` may be read freely; change it only through the methods. Ranks are ascending."""

    __slots__ = ("_pairs", "packed", "scores")

    TYPE: Final = b"zset"

    def __init__(self, scores: dict[bytes, float] | None = None) -> None:
        """Take over `scores`."""
        self.scores: dict[bytes, float] = {} if scores is None else scores
        self.packed = True
        #: list[Pair] or SortedList of Pair, always in order.
        self._pairs: Any = []
        if scores:
            pairs = [(score, member) for member, score in scores.items()]
            if len(pairs) <= _SMALL:
                pairs.sort()
                self._pairs = pairs
            else:
                self._pairs = SortedList(pairs)
            self.packed = len(scores) <= LIMITS.zset_max_listpack_entries and not any(
                len(member) > LIMITS.zset_max_listpack_value for member in scores
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)

    def encoding(self) -> bytes:
        """The word of OBJECT ENCODING."""
        return b"listpack" if self.packed else b"skiplist"

    def copy(self) -> SortedSetValue:
        """An independent sorted set with the same pairs and encoding."""
        twin = SortedSetValue()
        twin.scores = self.scores.copy()
        twin._pairs = self._pairs.copy()
        twin.packed = self.packed
        return twin

    def size_bytes(self, samples: int = 5) -> int:
        """Estimated memory, from the first `samples` members (0: all)."""
        count = len(self.scores)
        taken = list(islice(self.scores, samples or None))
        text = sum(map(len, taken)) * count // max(1, len(taken))
        return 220 + _ENTRY_BYTES * count + text

    # -- members ---------------------------------------------------------------------------------------------

    def put(self, member: bytes, score: float) -> bool:
        """Give `member` a score, adding it if need be; True when it is new."""
        scores = self.scores
        old = scores.get(member)
        if old is None:
            scores[member] = score
            self._insert((score, member))
            if self.packed and (
                len(scores) > LIMITS.zset_max_listpack_entries or len(member) > LIMITS.zset_max_listpack_value
            ):
                self.packed = False
            return True
        if old != score:
            self._forget((old, member))
            scores[member] = score
            self._insert((score, member))
        return False

    def remove(self, member: bytes) -> bool:
        """Remove a member; False when there is none."""
        score = self.scores.pop(member, None)
        if score is None:
            return False
        self._forget((score, member))
        return True

    def _insert(self, pair: Pair) -> None:
        pairs = self._pairs
        if type(pairs) is list:
            insort(pairs, pair)
            if len(pairs) > _SMALL:
                self._pairs = SortedList(pairs)
        else:
            pairs.add(pair)

    def _forget(self, pair: Pair) -> None:
        pairs = self._pairs
        if type(pairs) is list:
            del pairs[bisect_left(pairs, pair)]
        else:
            pairs.remove(pair)

    # -- ranks -----------------------------------------------------------------------------------------------

    def rank(self, member: bytes) -> int | None:
        """The position of a member, from the lowest score; None when there is no such member."""
        score = self.scores.get(member)
        return None if score is None else self._left((score, member))

    def at(self, rank: int) -> Pair:
        """The pair at a rank in [0, len)."""
        pair: Pair = self._pairs[rank]
        return pair

    def slice(self, start: int, stop: int) -> list[Pair]:
        """The pairs from rank `start` to before `stop`, both in [0, len]."""
        pairs: list[Pair] = self._pairs[start:stop]
        return pairs

    def delete_slice(self, start: int, stop: int) -> list[Pair]:
        """Remove the pairs from rank `start` to before `stop` and return them."""
        pairs = self.slice(start, stop)
        del self._pairs[start:stop]
        scores = self.scores
        for _, member in pairs:
            del scores[member]
        return pairs

    def first_from(self, score: float) -> int:
        """The rank of the first pair whose score is at least `score`; len when there is none."""
        return self._left((score,))

    def first_above(self, score: float) -> int:
        """The rank of the first pair whose score is greater than `score`; len when there is none."""
        return len(self.scores) if score == math.inf else self._left((math.nextafter(score, math.inf),))

    def first_member_from(self, member: bytes, beyond: bool = False) -> int:
        """The rank of the first pair whose member is at least `member` (greater, with `beyond`).

        Means something only while all scores are equal: then the order is that of the members.
        """
        pairs = self._pairs
        if not pairs:
            return 0
        # No byte string lies between `member` and `member + b"\\0"`.
        return self._left((pairs[0][0], member + b"\0" if beyond else member))

    @property
    def has_one_score(self) -> bool:
        """True when all members have the same score, as lexicographic ranges expect."""
        pairs = self._pairs
        return not pairs or pairs[0][0] == pairs[-1][0]

    def _left(self, probe: Pair | tuple[float]) -> int:
        pairs = self._pairs
        if type(pairs) is list:
            return bisect_left(pairs, probe)
        rank: int = pairs.bisect_left(probe)
        return rank

    def pack_if_small(self) -> None:
        """Return to the compact encoding if the pairs fit: what stock does with the result of ZUNIONSTORE and kin."""
        self.packed = len(self.scores) <= LIMITS.zset_max_listpack_entries and not any(
            len(member) > LIMITS.zset_max_listpack_value for member in self.scores
        )
