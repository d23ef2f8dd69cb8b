"""A dict from stream IDs to values that can also be walked in ID order: the shape of a pending entries list.

IDs are nearly always added in ascending order and removed near the front. So the order is a plain sorted list that
exists once somebody walks: additions append to it (or bisect), removals leave their ID behind, walks cut out the runs
of removed IDs that they meet. Every stale ID is skipped once, and the list is dropped when most of it is stale.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from slotmesh.node.types.stream_id import MAX_ID

V = TypeVar("V")

_STALE_SLACK: Final = 64


class IdMap(Generic[V]):
    """Stream ID -> value. `values` may be read freely; change it only through the methods."""

    __slots__ = ("_order", "_stale", "values")

    def __init__(self) -> None:
        self.values: dict[int, V] = {}
        self._order: list[int] | None = None
        self._stale = 0

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, entry_id: int) -> bool:
        return entry_id in self.values

    def get(self, entry_id: int) -> V | None:
        """The value of an ID, or None."""
        return self.values.get(entry_id)

    def set(self, entry_id: int, value: V) -> None:
        """Add an ID, or give it another value."""
        values = self.values
        known = entry_id in values
        values[entry_id] = value
        order = self._order
        if known or order is None:
            return
        if not order or entry_id > order[-1]:
            order.append(entry_id)
            return
        index = bisect_left(order, entry_id)
        if order[index] == entry_id:
            self._stale -= 1  # it was removed, and comes back
        else:
            order.insert(index, entry_id)

    def remove(self, entry_id: int) -> V | None:
        """Remove an ID; its value, or None when there was none."""
        value = self.values.pop(entry_id, None)
        if value is not None and self._order is not None:
            self._stale += 1
            if self._stale > len(self.values) + _STALE_SLACK:
                self._order = None
        return value

    def ids(self, start: int = 0, end: int = MAX_ID) -> Iterator[int]:
        """The IDs in [start, end] in ascending order. The map must not change during the walk."""
        order = self._order
        if order is None:
            order = self._order = sorted(self.values)
            self._stale = 0
        values = self.values
        index = bisect_left(order, start)
        while index < len(order) and order[index] <= end:
            if order[index] in values:
                yield order[index]
                index += 1
                continue
            stop = index + 1
            while stop < len(order) and order[stop] not in values:
                stop += 1
            del order[index:stop]
            self._stale -= stop - index

    def first(self) -> int | None:
        """The lowest ID."""
        return next(self.ids(), None)

    def last(self) -> int | None:
        """The highest ID."""
        if not self.values:
            return None
        if self._order is None:
            return max(self.values)
        order = self._order
        while order[-1] not in self.values:
            order.pop()
            self._stale -= 1
        return order[-1]

    def copy(self) -> IdMap[V]:
        """Another map of the same values (not copies of them)."""
        twin: IdMap[V] = IdMap()
        twin.values = self.values.copy()
        return twin
