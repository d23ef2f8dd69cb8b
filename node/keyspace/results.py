"""Storing what a command computed from other keys: SUNIONSTORE, ZRANGESTORE, GEOSEARCHSTORE and kin."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING

from slotmesh.node.keyspace.notify import GENERIC

if TYPE_CHECKING:
    from slotmesh.node.keyspace.database import Database


def store_result(db: Database, key: bytes, value: Sized, event_class: int, event: bytes) -> int:
    """Let `key` hold `value` and nothing else, no expiry either; an empty result deletes the key. The result's size."""
    if len(value):
        db.set(key, value)
        db.changed(key, event_class, event)
    elif db.delete(key):
        db.changed(key, GENERIC, b"del")
    return len(value)
