"""Pending entries in the order of their last delivery: which one waits longest.

XREADGROUP CLAIM asks for that each time it is called, so it must not cost a walk over all that is pending. A heap of
(time, ID) answers it; a delivery adds a pair and leaves the old one behind, to be skipped when it comes up. The heap is
made when somebody asks for the first time: groups that nobody claims from this way pay nothing. Entries that nobody
owns are not in it: they come first anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import Final, Protocol

#: The heap is made anew when it holds so many more pairs than entries are pending, beyond twice their number.
_SLACK: Final = 64


class Delivered(Protocol):
    """What the order wants to know of a pending entry."""

    delivered_ms: int

    @property
    def consumer(self) -> object: ...


class IdleOrder:
    """The IDs of `pending`, which it reads and never changes, by (time of delivery, ID); without those of `unowned`."""

    __slots__ = ("_heap", "_pending", "_unowned")

    def __init__(self, pending: Mapping[int, Delivered], unowned: object) -> None:
        self._pending = pending
        self._unowned = unowned
        self._heap: list[tuple[int, int]] = []
        self._make()

    def _make(self) -> None:
        unowned = self._unowned
        self._heap = [
            (item.delivered_ms, entry_id) for entry_id, item in self._pending.items() if item.consumer is not unowned
        ]
        heapify(self._heap)

    def note(self, entry_id: int, delivered_ms: int) -> None:
        """The entry was delivered at that time."""
        heappush(self._heap, (delivered_ms, entry_id))
        if len(self._heap) > 2 * len(self._pending) + _SLACK:
            self._make()

    def first(self) -> tuple[int, int] | None:
        """(time of delivery, ID) of the entry that waits longest, None when nothing is pending."""
        heap, pending = self._heap, self._pending
        while heap:
            delivered_ms, entry_id = heap[0]
            item = pending.get(entry_id)
            if item is not None and item.delivered_ms == delivered_ms and item.consumer is not self._unowned:
                return heap[0]
            heappop(heap)
        return None

    def take(self) -> None:
        """Drop what `first` told: it is about to be delivered again, or acknowledged."""
        heappop(self._heap)
