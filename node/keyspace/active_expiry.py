"""The active side of expiry: removing keys whose time has come and that nobody asks for."""

from __future__ import annotations

from zlib import crc32

from slotmesh.cluster.slots import key_slot
from slotmesh.node.keyspace.database import Database


def expire_due(db: Database, limit: int) -> int:
    """Remove up to `limit` keys that are due, as `Database.expire_now` does; the number removed.

    A step for many keys at once, because hundreds of thousands may be due at one moment: they leave the index, and are
    made known, together.
    """
    keyspace, slots, expires, index = db.keyspace, db.slots, db.expires, db.index
    clustered, access, free = keyspace.clustered, keyspace.access, keyspace.lazy_free.add
    due = expires.due(keyspace.now_ms, limit)
    taken = 0
    try:
        for key in due:
            slot = key_slot(key) if clustered else crc32(key) & 0x3FFF
            held = slots[slot]
            assert held is not None, "a key with a time is stored"
            value = held.pop(key)
            taken += 1
            db.size -= 1
            if not held:
                slots[slot] = None
            if type(value) is not bytes:
                free(value)
            if access is not None:
                access.forget(index, key)
    finally:
        gone = due[:taken]
        expires.drop_due(gone)
        if gone:
            keyspace.on_expired(index, gone)
    return len(due)
