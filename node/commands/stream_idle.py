"""XREADGROUP ... CLAIM: pending entries that waited long enough, in the order in which they are to be had (Redis 8.4).

First those that were given back (XNACK), in the order of that, then the others, the longest wait first. This module
finds and hands them out; `stream_read.py` has the command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slotmesh.node.commands.stream_budget import Budget
from slotmesh.node.types.stream_group import MAX_DELIVERIES
from slotmesh.node.types.stream_id import format_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slotmesh.node.types.stream import StreamValue
    from slotmesh.node.types.stream_group import Consumer, Group

#: The idle time of an entry that nobody owns, as XPENDING has it.
_NOT_IDLE = -1


class IdleEntries:
    """The pending entries of one group that a request may claim at `now_ms`.

    They are collected first and handed out then: an entry that was just delivered is pending as well.
    """

    __slots__ = ("_group", "_now_ms", "_value", "gone", "ids")

    def __init__(
        self, value: StreamValue, group: Group, now_ms: int, min_idle_ms: int, most: int, budget: Budget | None
    ) -> None:
        """Collect at most `most` (0: all), and no more than `budget` admits."""
        self._value = value
        self._group = group
        self._now_ms = now_ms
        self.ids: list[int] = []
        #: Entries that are pending, but no more in the stream.
        self.gone: list[int] = []
        for entry_id in self._candidates(min_idle_ms):
            entry = value.get(entry_id)
            if entry is None:
                self.gone.append(entry_id)
                continue
            if most and len(self.ids) == most:
                self._put_back(entry_id)
                break
            if budget is not None and not budget.admit(entry_id, entry, *self._history(entry_id)):
                self._put_back(entry_id)
                break
            self.ids.append(entry_id)

    def _candidates(self, min_idle_ms: int) -> Iterator[int]:
        group, latest = self._group, self._now_ms - min_idle_ms
        yield from group.unowned.pel.values
        order, seen = group.idle_order(), set[int]()
        while (first := order.first()) is not None and first[0] <= latest:
            order.take()
            if first[1] not in seen:
                seen.add(first[1])
                yield first[1]

    def _put_back(self, entry_id: int) -> None:
        pending = self._group.pel.values[entry_id]
        if pending.consumer is not self._group.unowned:
            self._group.idle_order().note(entry_id, pending.delivered_ms)

    def _history(self, entry_id: int) -> tuple[int, int]:
        """(idle time in ms, how often it was delivered) of an entry until now."""
        pending = self._group.pel.values[entry_id]
        if pending.consumer is self._group.unowned:
            return _NOT_IDLE, pending.count
        return max(0, self._now_ms - pending.delivered_ms), pending.count

    def deliver(self, consumer: Consumer) -> list[Any]:
        """Hand the entries out; their rows of the reply. Those that are gone are forgotten by the caller."""
        rows: list[Any] = []
        for entry_id in self.ids:
            idle_ms, count = self._history(entry_id)
            self._group.deliver(entry_id, consumer, self._now_ms, min(count + 1, MAX_DELIVERIES))
            rows.append((format_id(entry_id), self._value.get(entry_id), idle_ms, count))
        return rows


def next_idle_ms(group: Group, now_ms: int, min_idle_ms: int) -> int:
    """In how many ms the next pending entry will have waited for `min_idle_ms`; 0 when none is pending."""
    first = group.idle_order().first()
    return 0 if first is None else max(1, first[0] + min_idle_ms - now_ms)
