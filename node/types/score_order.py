"""The order of a large sorted set: (score, member) pairs in buckets of up to `_MOST` pairs.

A bucket is an array of scores and, beside it, a list of members. So the search that every change makes compares
doubles that lie side by side. A sorted list of tuples (`sortedcontainers`) follows two pointers per comparison: at
100,000 pairs an update cost twice as much, and a pair takes 16 bytes here where a tuple takes 80. Ranks are sums of
the sizes of the buckets in front. They are added up in blocks of `_BLOCK` buckets, whose sums are kept from the first
question on until a bucket is split or merged: 3 us at a million pairs.

Pairs are ordered by score, then by the bytes of the member.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

Pair = tuple[float, bytes]

_MOST: Final = 1024
_FULL: Final = _MOST * 3 // 4  # of a bucket that is made out of sorted pairs
_FEW: Final = _MOST // 8
_BLOCK: Final = 32


class ScoreOrder:
    """Pairs in order, never none with the same score and member twice. Ranks count from 0."""

    __slots__ = ("_block_sizes", "_last_members", "_last_scores", "_members", "_scores")

    def __init__(self, pairs: list[Pair]) -> None:
        """Take sorted pairs."""
        self._scores: list[array[float]] = []
        self._members: list[list[bytes]] = []
        for at in range(0, len(pairs), _FULL):
            chunk = pairs[at : at + _FULL]
            self._scores.append(array("d", [score for score, _ in chunk]))
            self._members.append([member for _, member in chunk])
        #: The last pair of each bucket. A list, as a bisection makes a float of every number it meets in an array.
        self._last_scores = [scores[-1] for scores in self._scores]
        self._last_members = [members[-1] for members in self._members]
        #: How many pairs there are in each block of buckets; None: to be added up anew.
        self._block_sizes: list[int] | None = None

    def copy(self) -> ScoreOrder:
        """An independent order of the same pairs."""
        twin = ScoreOrder([])
        twin._scores = [scores[:] for scores in self._scores]
        twin._members = [members[:] for members in self._members]
        twin._last_scores = self._last_scores[:]
        twin._last_members = self._last_members[:]
        return twin

    def __iter__(self) -> Iterator[Pair]:
        for scores, members in zip(self._scores, self._members, strict=True):
            yield from zip(scores, members, strict=True)

    # -- changes -----------------------------------------------------------------------------------------------

    def add(self, score: float, member: bytes) -> None:
        """Add a pair that is not there yet."""
        last_scores = self._last_scores
        at = bisect_left(last_scores, score)
        if at < len(last_scores) and last_scores[at] == score:
            at = self._bucket(score, member)
        if at == len(last_scores):
            if not at:
                self._insert_bucket(0, array("d", [score]), [member])
                return
            at -= 1
            scores, members = self._scores[at], self._members[at]
            scores.append(score)
            members.append(member)
            last_scores[at] = score
            self._last_members[at] = member
        else:
            scores, members = self._scores[at], self._members[at]
            index = bisect_left(scores, score)
            if scores[index] == score:
                index = _place(scores, members, score, member)
            scores.insert(index, score)
            members.insert(index, member)
        if self._block_sizes is not None:
            self._block_sizes[at // _BLOCK] += 1
        if len(members) > _MOST:
            self._split(at)

    def remove(self, score: float, member: bytes) -> None:
        """Remove a pair that is there."""
        at = bisect_left(self._last_scores, score)
        scores, members = self._scores[at], self._members[at]
        index = bisect_left(scores, score)
        if members[index] != member:  # another one of the same score
            at = self._bucket(score, member)
            scores, members = self._scores[at], self._members[at]
            index = _place(scores, members, score, member)
            assert members[index] == member
        del scores[index]
        del members[index]
        if self._block_sizes is not None:
            self._block_sizes[at // _BLOCK] -= 1
        if len(members) < _FEW:
            self._merge(at)
        elif index == len(members):
            self._last_scores[at] = scores[-1]
            self._last_members[at] = members[-1]

    def delete_slice(self, start: int, stop: int) -> list[Pair]:
        """Remove the pairs from rank `start` to before `stop` and return them."""
        pairs = self.slice(start, stop)
        left = stop - start
        while left > 0:
            at, index = self._locate(start)
            members = self._members[at]
            count = min(left, len(members) - index)
            del self._scores[at][index : index + count]
            del members[index : index + count]
            left -= count
            self._block_sizes = None
            if len(members) < _FEW:
                self._merge(at)
            else:
                self._note_last(at)
        return pairs

    def _bucket(self, score: float, member: bytes) -> int:
        """The first bucket that does not end before a pair; the number of buckets when all do."""
        last_scores, last_members = self._last_scores, self._last_members
        at = bisect_left(last_scores, score)
        if at < len(last_members) and last_scores[at] == score and last_members[at] < member:
            at = bisect_left(last_members, member, at, bisect_right(last_scores, score, at))
        return at

    def _insert_bucket(self, at: int, scores: array[float], members: list[bytes]) -> None:
        self._scores.insert(at, scores)
        self._members.insert(at, members)
        self._last_scores.insert(at, scores[-1])
        self._last_members.insert(at, members[-1])
        self._block_sizes = None

    def _drop_bucket(self, at: int) -> None:
        del self._scores[at], self._members[at], self._last_scores[at], self._last_members[at]
        self._block_sizes = None

    def _note_last(self, at: int) -> None:
        self._last_scores[at] = self._scores[at][-1]
        self._last_members[at] = self._members[at][-1]

    def _split(self, at: int) -> None:
        scores, members = self._scores[at], self._members[at]
        half = len(members) // 2
        self._insert_bucket(at + 1, scores[half:], members[half:])
        del scores[half:]
        del members[half:]
        self._note_last(at)

    def _merge(self, at: int) -> None:
        """Join a bucket of few pairs to a neighbour, or drop it when it has none."""
        if not self._members[at]:
            self._drop_bucket(at)
            return
        if len(self._members) == 1:
            self._note_last(at)
            return
        at = max(at, 1)
        self._scores[at - 1] += self._scores[at]
        self._members[at - 1] += self._members[at]
        self._drop_bucket(at)
        self._note_last(at - 1)
        if len(self._members[at - 1]) > _MOST:
            self._split(at - 1)

    # -- ranks -------------------------------------------------------------------------------------------------

    def _blocks(self) -> list[int]:
        sizes = self._block_sizes
        if sizes is None:
            members = self._members
            blocks = range(0, len(members), _BLOCK)
            sizes = self._block_sizes = [sum(map(len, members[at : at + _BLOCK])) for at in blocks]
        return sizes

    def _rank(self, at: int, index: int) -> int:
        """The rank of the pair at an index of a bucket."""
        if not at:
            return index
        block = at // _BLOCK
        return sum(self._blocks()[:block]) + sum(map(len, self._members[block * _BLOCK : at])) + index

    def _locate(self, rank: int) -> tuple[int, int]:
        """(bucket, index in it) of a rank."""
        members = self._members
        if rank < len(members[0]):
            return 0, rank
        ends = list(accumulate(self._blocks()))
        block = bisect_right(ends, rank)
        if block:
            rank -= ends[block - 1]
        at = block * _BLOCK
        while rank >= len(members[at]):
            rank -= len(members[at])
            at += 1
        return at, rank

    def rank(self, score: float, member: bytes) -> int:
        """How many pairs come before a pair, which need not be there."""
        at = self._bucket(score, member)
        if at == len(self._members):
            return self._rank(at, 0)
        return self._rank(at, _place(self._scores[at], self._members[at], score, member))

    def first_from(self, score: float) -> int:
        """How many pairs have a score below `score`."""
        at = bisect_left(self._last_scores, score)
        return self._rank(at, bisect_left(self._scores[at], score) if at < len(self._scores) else 0)

    def first_above(self, score: float) -> int:
        """How many pairs have a score of `score` or below."""
        at = bisect_right(self._last_scores, score)
        return self._rank(at, bisect_right(self._scores[at], score) if at < len(self._scores) else 0)

    def at(self, rank: int) -> Pair:
        """The pair at a rank that there is."""
        at, index = self._locate(rank)
        return self._scores[at][index], self._members[at][index]

    def slice(self, start: int, stop: int) -> list[Pair]:
        """The pairs from rank `start` to before `stop`; there are that many."""
        if start >= stop:
            return []
        at, index = self._locate(start)
        end = index + stop - start
        scores, members = self._scores[at], self._members[at]
        found = list(zip(scores[index:end], members[index:end], strict=True))
        while len(found) < stop - start:
            at += 1
            left = stop - start - len(found)
            found += zip(self._scores[at][:left], self._members[at][:left], strict=True)
        return found

    def members(self, start: int, stop: int) -> list[bytes]:
        """The members of `slice`."""
        if start >= stop:
            return []
        if stop <= len(self._members[0]):
            return self._members[0][start:stop]
        at, index = self._locate(start)
        found = self._members[at][index : index + stop - start]
        while len(found) < stop - start:
            at += 1
            found += self._members[at][: stop - start - len(found)]
        return found


def _place(scores: array[float], members: list[bytes], score: float, member: bytes) -> int:
    """The index in a bucket where a pair is or would be."""
    index = bisect_left(scores, score)
    if index < len(scores) and scores[index] == score and members[index] < member:
        index = bisect_left(members, member, index, bisect_right(scores, score, index))
    return index
