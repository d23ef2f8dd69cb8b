"""Uniform random picks from a changing collection of byte strings, O(1) amortised.

A Python set or dict offers no random access, and copying one for each pick makes SPOP on a large set quadratic. This
helper keeps the members in a list as well. Members removed by name stay in the list and are remembered as gone: a
pick that meets one drops it and tries again, and a member that comes back is simply no longer gone, so it never
stands in the list twice and picks stay uniform. Containers build it at the first pick and drop it once it is `worn`;
a container nobody picks from pays nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable


class RandomOrder:
    """The members of one container, in an order that serves random picks."""

    __slots__ = ("_gone", "_items")

    def __init__(self, members: Iterable[bytes]) -> None:
        self._items = list(members)
        self._gone: set[bytes] = set()

    @property
    def worn(self) -> bool:
        """True when most of the list is gone: a pick would miss more often than it hits."""
        return 2 * len(self._gone) > len(self._items)

    def added(self, member: bytes) -> None:
        """`member` is new in the container."""
        if member in self._gone:
            self._gone.discard(member)
        else:
            self._items.append(member)

    def removed(self, member: bytes) -> None:
        """`member` left the container otherwise than by `pop`."""
        self._gone.add(member)

    def pick(self, rng: random.Random) -> bytes:
        """A member, each as likely as another. The container must not be empty."""
        return self._items[self._index(rng)]

    def pop(self, rng: random.Random) -> bytes:
        """Like `pick`, and forget the member: the caller removes it from the container."""
        return self._drop(self._index(rng))

    def _index(self, rng: random.Random) -> int:
        items, gone = self._items, self._gone
        while True:
            index = int(rng.random() * len(items))
            if not gone or items[index] not in gone:
                return index
            gone.discard(self._drop(index))

    def _drop(self, index: int) -> bytes:
        items = self._items
        items[index], items[-1] = items[-1], items[index]
        return items.pop()
