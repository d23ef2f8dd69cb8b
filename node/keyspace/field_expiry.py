"""Expiry of single fields of hashes.

Two ways remove a field whose time has come, as for whole keys: every access to its hash (`read_hash`, `write_hash`),
and an active cycle over an index of the hashes by their next due field. The index is a hint: entries of hashes that
went away or moved are dropped when they fall due. Both ways propagate an HDEL; a replica removes nothing and hides
what is due until that HDEL arrives. A hash that loses its last field goes with it.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.keyspace.expiry import NEVER_MS
from slotmesh.node.keyspace.notify import HASH
from slotmesh.node.types.hash import HashValue

if TYPE_CHECKING:
    from slotmesh.node.keyspace.database import Database

# The values of `Keyspace.expiry_mode`; `database.py` explains them. Not imported from there: it imports us.
_DELETE: Final = 0
_IGNORE: Final = 2
_HIDE_FROM_READS: Final = 3


class FieldExpiry:
    """What one keyspace knows about hashes with expiring fields."""

    __slots__ = ("_due", "_noted", "_scheduled", "expired", "on_propagate")

    def __init__(self) -> None:
        #: (due, id of the entry, database, key): the second only keeps databases from being compared.
        self._due: list[tuple[int, int, Database, bytes]] = []
        self._noted = 0
        #: The earliest entry of each hash in `_due`: a later one is not added before that one is used up.
        self._scheduled: dict[tuple[Database, bytes], int] = {}
        #: Fields removed because their time had come, since the start.
        self.expired = 0
        self.on_propagate: Callable[[int, list[bytes]], None] = lambda db_index, argv: None

    def note(self, db: Database, key: bytes, value: HashValue) -> None:
        """`value` is stored under `key` and some of its fields may expire: look at it when the first one does."""
        first = value.next_expiry_ms()
        if first is not None:
            self._schedule(first, db, key)

    def _schedule(self, at_ms: int, db: Database, key: bytes) -> None:
        known = self._scheduled.get((db, key))
        if known is None or at_ms < known:
            self._scheduled[db, key] = at_ms
            self._noted += 1
            heappush(self._due, (at_ms, self._noted, db, key))

    def remove_due(self, db: Database, key: bytes, value: HashValue) -> list[bytes]:
        """Remove the due fields of a hash, and the hash with the last one; their names."""
        keyspace = db.keyspace
        gone = value.due_fields(keyspace.now_ms)
        if not gone:
            return gone
        for field in gone:
            value.remove(field)
        self.expired += len(gone)
        self.on_propagate(db.index, [b"HDEL", key, *gone])
        if keyspace.observed:
            keyspace.on_changed(db.index, key, HASH, b"hexpired")
            db.changed_fields(key, b"hexpired", gone)
        db.drop_if_empty(key, value)
        return gone

    @property
    def next_due_ms(self) -> int:
        """When `cycle` may find fields next, in ms of Unix time; `NEVER_MS` when there are none."""
        return self._due[0][0] if self._due else NEVER_MS

    def cycle(self, now_ms: int, budget: Callable[[], bool]) -> int:
        """Remove the fields that are due while `budget()` is true; how many. For primaries only."""
        removed = 0
        due = self._due
        while due and due[0][0] < now_ms and budget():
            at_ms, _, db, key = heappop(due)
            if self._scheduled.get((db, key)) != at_ms:
                continue  # an earlier entry of this hash came first
            del self._scheduled[db, key]
            value = db.peek(key)
            if type(value) is not HashValue or value.ttls is None:
                continue
            removed += len(self.remove_due(db, key, value))
            self.note(db, key, value)
        return removed

    def swap_databases(self, first: Database, second: Database) -> None:
        """Two databases exchanged their keys."""
        other = {first: second, second: first}
        entries = [(at_ms, other.get(db, db), key) for (db, key), at_ms in self._scheduled.items()]
        self.clear()
        for at_ms, db, key in entries:
            self._schedule(at_ms, db, key)

    def adopt(self, other: FieldExpiry, dbs: list[Database]) -> None:
        """Know what `other` knows; its databases have become those of `dbs`, by number."""
        for (db, key), at_ms in other._scheduled.items():
            self._schedule(at_ms, dbs[db.index], key)

    def clear(self) -> None:
        """Forget all hashes: the databases were flushed."""
        self._due = []
        self._scheduled = {}


def read_hash(db: Database, key: bytes) -> HashValue | None:
    """The hash of `key` for a reading command, without fields whose time has come. WRONGTYPE for another type."""
    value = db.read_as(key, HashValue)
    return value if value is None or value.ttls is None else _alive(db, key, value, writing=False)


def write_hash(db: Database, key: bytes) -> HashValue | None:
    """The hash of `key` for a command that will change it; see `read_hash`."""
    value = db.write(key)
    if type(value) is HashValue:
        return value if value.ttls is None else _alive(db, key, value, writing=True)
    if value is not None:
        raise CommandError(errors.WRONG_TYPE)
    return None


def _alive(db: Database, key: bytes, value: HashValue, *, writing: bool) -> HashValue | None:
    keyspace = db.keyspace
    first = value.next_expiry_ms()
    mode = keyspace.expiry_mode
    if first is None or first >= keyspace.now_ms or mode == _IGNORE:
        return value
    if mode == _DELETE or (writing and mode == _HIDE_FROM_READS):
        keyspace.field_expiry.remove_due(db, key, value)
        return value if len(value) else None
    # A replica shows a copy without what is due; its primary's HDEL is on the way.
    shown = value.copy()
    for field in shown.due_fields(keyspace.now_ms):
        shown.remove(field)
    return shown if len(shown) else None
