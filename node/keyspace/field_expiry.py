"""Expiry of single fields of hashes.

Two ways remove a field whose time has come, as for whole keys: every access to its hash (`read_hash`, `write_hash`),
and an active cycle over an index of the hashes by their next due field (`field_index.py`). Both ways propagate an
HDEL; a replica removes nothing and hides what is due until that HDEL arrives. A hash that loses its last field goes
with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.keyspace.database import DELETE, HIDE_FROM_READS, IGNORE, Database
from slotmesh.node.keyspace.field_index import FieldIndex
from slotmesh.node.keyspace.notify import HASH
from slotmesh.node.types.hash import HashValue


def remove_due_fields(db: Database, key: bytes, value: HashValue) -> list[bytes]:
    """Remove the due fields of a hash, and the hash with the last one; their names."""
    keyspace = db.keyspace
    gone = value.due_fields(keyspace.now_ms)
    if not gone:
        return gone
    for field in gone:
        value.remove(field)
    keyspace.field_expiry.expired += len(gone)
    keyspace.field_expiry.on_propagate(db.index, [b"HDEL", key, *gone])
    if keyspace.observed:
        keyspace.on_changed(db.index, key, HASH, b"hexpired")
        db.changed_fields(key, b"hexpired", gone)
    db.drop_if_empty(key, value)
    return gone


def expire_due_fields(index: FieldIndex, dbs: Sequence[Database], now_ms: int, budget: Callable[[], bool]) -> int:
    """Remove the fields that are due while `budget()` is true; how many. For primaries only."""
    removed = 0
    while index.next_due_ms < now_ms and budget():
        place = index.take_first()
        if place is None:
            continue
        db_index, key = place
        db = dbs[db_index]
        value = db.peek(key)
        if type(value) is not HashValue or value.ttls is None:
            continue
        removed += len(remove_due_fields(db, key, value))
        index.note(db_index, key, value)
    return removed


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
    if first is None or first >= keyspace.now_ms or mode == IGNORE:
        return value
    if mode == DELETE or (writing and mode == HIDE_FROM_READS):
        remove_due_fields(db, key, value)
        return value if len(value) else None
    # A replica shows a copy without what is due; its primary's HDEL is on the way.
    shown = value.copy()
    for field in shown.due_fields(keyspace.now_ms):
        shown.remove(field)
    return shown if len(shown) else None
