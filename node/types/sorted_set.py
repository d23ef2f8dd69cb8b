"""The sorted set value: a dict of scores, and all (score, member) pairs in order.

Ranks, ranges and neighbours come from the order, single members from the dict. Up to `_SMALL` pairs the order is a
plain list (a bisection and a short move: nothing is faster), above it a `ScoreOrder`, whose changes and rank queries
cost microseconds at a million pairs. The change is one-way, as a set that was large once is likely to be again.

Pairs are ordered by score, then by the bytes of the member; -0.0 equals 0.0; NaN never gets in (callers refuse it).
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice
from typing import Final

from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.score_order import Pair, ScoreOrder

#: One end of a score range: (score, whether the end itself is excluded).
ScoreBound = tuple[float, bool]
#: One end of a range of members: (-1 for the lowest, 1 for the highest, else 0; member; whether it is excluded).
LexBound = tuple[int, bytes, bool]

_SMALL: Final = 1024
_ENTRY_BYTES: Final = 125


class SortedSetValue:
    """Members with scores. `scores` may be read freely; change it only through the methods. Ranks are ascending."""

    __slots__ = ("_pairs", "packed", "scores")

    TYPE: Final = b"zset"

    def __init__(self, scores: dict[bytes, float] | None = None) -> None:
        """Take over `scores`."""
        self.scores: dict[bytes, float] = {} if scores is None else scores
        self.packed = True
        #: The pairs, always in order.
        self._pairs: list[Pair] | ScoreOrder = []
        if scores:
            self.packed = len(scores) <= LIMITS.zset_max_listpack_entries and not any(
                len(member) > LIMITS.zset_max_listpack_value for member in scores
            )
            if self.packed:
                for member, score in scores.items():
                    scores[member] = score or 0.0  # a listpack keeps whole numbers as integers: no -0.0
            pairs = [(score, member) for member, score in scores.items()]
            pairs.sort()
            self._pairs = pairs if len(pairs) <= _SMALL else ScoreOrder(pairs)

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

    def put(self, member: bytes, score: float) -> float | None:
        """Give `member` a score, adding it if need be; the score that it had, None when it is new."""
        scores = self.scores
        old = scores.get(member)
        if self.packed:
            if old is None and (
                len(scores) >= LIMITS.zset_max_listpack_entries or len(member) > LIMITS.zset_max_listpack_value
            ):
                self.packed = False
            else:
                score = score or 0.0  # a listpack keeps whole numbers as integers: no -0.0
        if old == score:
            return old
        scores[member] = score
        pairs = self._pairs
        if type(pairs) is ScoreOrder:
            if old is not None:
                pairs.remove(old, member)
            pairs.add(score, member)
            return old
        assert isinstance(pairs, list)
        if old is not None:
            del pairs[bisect_left(pairs, (old, member))]
        insort(pairs, (score, member))
        if len(pairs) > _SMALL:
            self._pairs = ScoreOrder(pairs)
        return old

    def remove(self, member: bytes) -> bool:
        """Remove a member; False when there is none."""
        score = self.scores.pop(member, None)
        if score is None:
            return False
        pairs = self._pairs
        if isinstance(pairs, list):
            del pairs[bisect_left(pairs, (score, member))]
        else:
            pairs.remove(score, member)
        return True

    # -- ranks -----------------------------------------------------------------------------------------------

    def rank(self, member: bytes) -> int | None:
        """The position of a member, from the lowest score; None when there is no such member."""
        score = self.scores.get(member)
        return None if score is None else self._left(score, member)

    def at(self, rank: int) -> Pair:
        """The pair at a rank in [0, len)."""
        pairs = self._pairs
        return pairs[rank] if isinstance(pairs, list) else pairs.at(rank)

    def slice(self, start: int, stop: int) -> list[Pair]:
        """The pairs from rank `start` to before `stop`, both in [0, len]."""
        pairs = self._pairs
        return pairs[start:stop] if isinstance(pairs, list) else pairs.slice(start, stop)

    def members(self, start: int, stop: int) -> list[bytes]:
        """The members from rank `start` to before `stop`, both in [0, len]."""
        pairs = self._pairs
        if type(pairs) is ScoreOrder:
            return pairs.members(start, stop)
        return [member for _, member in islice(pairs, start, stop)]

    def delete_slice(self, start: int, stop: int) -> list[Pair]:
        """Remove the pairs from rank `start` to before `stop` and return them."""
        pairs = self._pairs
        if isinstance(pairs, list):
            deleted = pairs[start:stop]
            del pairs[start:stop]
        else:
            deleted = pairs.delete_slice(start, stop)
        scores = self.scores
        for _, member in deleted:
            del scores[member]
        return deleted

    def first_from(self, score: float) -> int:
        """The rank of the first pair whose score is at least `score`; len when there is none."""
        pairs = self._pairs
        return bisect_left(pairs, (score,)) if isinstance(pairs, list) else pairs.first_from(score)

    def first_above(self, score: float) -> int:
        """The rank of the first pair whose score is greater than `score`; len when there is none."""
        pairs = self._pairs
        if not isinstance(pairs, list):
            return pairs.first_above(score)
        return len(pairs) if score == math.inf else bisect_left(pairs, (math.nextafter(score, math.inf),))

    def score_span(self, low: ScoreBound, high: ScoreBound) -> tuple[int, int]:
        """The ranks (start, stop) of the pairs with scores between two bounds; stop <= start when there are none."""
        start = self.first_above(low[0]) if low[1] else self.first_from(low[0])
        stop = self.first_from(high[0]) if high[1] else self.first_above(high[0])
        return start, stop

    def lex_span(self, low: LexBound, high: LexBound) -> tuple[int, int]:
        """The ranks (start, stop) of the pairs with members between two bounds; stop <= start when there are none.

        Such a range means something only while all scores are equal, as the order is that of the members then. Else,
        as in stock, it starts at the first member above `low` and ends before the next one beyond `high`.
        """
        size = len(self.scores)
        if not size or low[0] > 0 or high[0] < 0:
            return 0, 0
        score = self.at(0)[0]
        if score != self.at(size - 1)[0]:
            return self._mixed_lex_span(low, high)
        # No byte string lies between `member` and `member + b"\0"`.
        start = 0 if low[0] else self._left(score, low[1] + b"\0" if low[2] else low[1])
        stop = size if high[0] else self._left(score, high[1] if high[2] else high[1] + b"\0")
        return start, stop

    def _mixed_lex_span(self, low: LexBound, high: LexBound) -> tuple[int, int]:
        pairs = list(self._pairs)
        if not (_is_above(pairs[-1][1], low) and _is_below(pairs[0][1], high)):
            return 0, 0
        start = next((rank for rank, (_, member) in enumerate(pairs) if _is_above(member, low)), len(pairs))
        stop = start
        while stop < len(pairs) and _is_below(pairs[stop][1], high):
            stop += 1
        return start, stop

    def _left(self, score: float, member: bytes) -> int:
        """How many pairs come before a pair, which need not be there."""
        pairs = self._pairs
        return bisect_left(pairs, (score, member)) if isinstance(pairs, list) else pairs.rank(score, member)


def _is_above(member: bytes, bound: LexBound) -> bool:
    return bound[0] < 0 or (not bound[0] and (member > bound[1] if bound[2] else member >= bound[1]))


def _is_below(member: bytes, bound: LexBound) -> bool:
    return bound[0] > 0 or (not bound[0] and (member < bound[1] if bound[2] else member <= bound[1]))
