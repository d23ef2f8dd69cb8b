"""Hashes with expiring fields, by the time of their next due field.

A hint: entries of hashes that went away or moved are dropped when they fall due (`field_expiry.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from slotmesh.node.keyspace.expiry import NEVER_MS
from slotmesh.node.types.hash import HashValue


class FieldIndex:
    """What one keyspace knows about hashes with expiring fields. Places are (number of the database, key)."""

    __slots__ = ("_due", "_noted", "_scheduled", "expired", "on_propagate")

    def __init__(self) -> None:
        #: (due, id of the entry, database, key): the second makes the order that of noting where times are equal.
        self._due: list[tuple[int, int, int, bytes]] = []
        self._noted = 0
        #: The earliest entry of each hash in `_due`: a later one is not added before that one is used up.
        self._scheduled: dict[tuple[int, bytes], int] = {}
        #: Fields removed because their time had come, since the start.
        self.expired = 0
        self.on_propagate: Callable[[int, list[bytes]], None] = lambda db_index, argv: None

    def note(self, db_index: int, key: bytes, value: HashValue) -> None:
        """`value` is stored under `key` and some of its fields may expire: look at it when the first one does."""
        first = value.next_expiry_ms()
        if first is not None:
            self._schedule(first, db_index, key)

    def _schedule(self, at_ms: int, db_index: int, key: bytes) -> None:
        known = self._scheduled.get((db_index, key))
        if known is None or at_ms < known:
            self._scheduled[db_index, key] = at_ms
            self._noted += 1
            heappush(self._due, (at_ms, self._noted, db_index, key))

    @property
    def next_due_ms(self) -> int:
        """When fields may be due next, in ms of Unix time; `NEVER_MS` when there are none."""
        return self._due[0][0] if self._due else NEVER_MS

    def take_first(self) -> tuple[int, bytes] | None:
        """Take out the first entry: its place, or None when an earlier entry of the same hash came before it.

        A hash that keeps fields with an expiry must be noted again.
        """
        at_ms, _, db_index, key = heappop(self._due)
        if self._scheduled.get((db_index, key)) != at_ms:
            return None
        del self._scheduled[db_index, key]
        return db_index, key

    def swap_databases(self, first: int, second: int) -> None:
        """Two databases exchanged their keys."""
        other = {first: second, second: first}
        entries = [(at_ms, other.get(db_index, db_index), key) for (db_index, key), at_ms in self._scheduled.items()]
        self.clear()
        for at_ms, db_index, key in entries:
            self._schedule(at_ms, db_index, key)

    def adopt(self, other: FieldIndex) -> None:
        """Know what `other` knows; its databases have become those of the same numbers here."""
        for (db_index, key), at_ms in other._scheduled.items():
            self._schedule(at_ms, db_index, key)

    def clear(self) -> None:
        """Forget all hashes: the databases were flushed."""
        self._due = []
        self._scheduled = {}
