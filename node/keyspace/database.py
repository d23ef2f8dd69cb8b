"""One numbered database: 16,384 dicts of key -> value, created when first used, plus the expiry index.

In a cluster a key's dict is that of its hash slot, so counting, listing, flushing and moving a slot touch that slot
only. Outside a cluster the same shape serves as a hash table whose parts grow on their own: no resize of a huge dict
ever stalls the loop, and SCAN has a cursor that stays meaningful while keys come and go (`scan.py`). The part is then
chosen by CRC-32, which is cheaper than the cluster's CRC-16 and, unlike Python's own hash, the same in every process.

Dispatch in a cluster computes the slot of a command's key for routing and leaves it in `keyspace.hot_key` / `hot_slot`;
the lookups below recognise the very same object and need not compute it again. Outside a cluster `write` leaves it
there, for what the command will do with the key.

Handlers use `read`, `write`, `set`, `delete`, `changed` and the expiry calls; only code of this package touches
`slots`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar
from zlib import crc32

from slotmesh.cluster.slots import SLOT_COUNT, key_slot
from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.keyspace.expiry import PART, ExpiryIndex
from slotmesh.node.keyspace.notify import GENERIC, KEY_MISS, NEW
from slotmesh.node.keyspace.owner import DatabaseOwner

T = TypeVar("T")

_EMPTY: Final[dict[bytes, Any]] = {}


class Database:
    """A database. `keyspace` is the owner: clock, counters, observers and the propagation of expirations."""

    __slots__ = ("expires", "index", "keyspace", "size", "slots")

    def __init__(self, keyspace: DatabaseOwner, index: int) -> None:
        self.keyspace = keyspace
        self.index = index
        self.slots: list[dict[bytes, Any] | None] = [None] * SLOT_COUNT
        self.expires = ExpiryIndex()
        self.size = 0

    def __len__(self) -> int:
        return self.size

    # -- lookups ---------------------------------------------------------------------------------------------

    def slot_of(self, key: bytes) -> int:
        """The part of the database that `key` lives in."""
        keyspace = self.keyspace
        if key is keyspace.hot_key:
            return keyspace.hot_slot
        return key_slot(key) if keyspace.clustered else crc32(key) & 0x3FFF

    def read(self, key: bytes) -> Any:
        """The value for a reading command, or None; counts a hit or a miss."""
        keyspace = self.keyspace
        if key is keyspace.hot_key:
            held = self.slots[keyspace.hot_slot]
        else:
            held = self.slots[key_slot(key) if keyspace.clustered else crc32(key) & 0x3FFF]
        if held is not None:
            value = held.get(key)
            if value is not None and not (
                self.expires.count and key in self.expires.parts[hash(key) & PART] and self._expired(key)
            ):
                keyspace.hits += 1
                if keyspace.access is not None:
                    keyspace.access.touch(self.index, key)
                return value
        self._missed(key)
        return None

    def _missed(self, key: bytes) -> None:
        keyspace = self.keyspace
        keyspace.misses += 1
        if keyspace.notify_mask & KEY_MISS:
            keyspace.notify(KEY_MISS, b"keymiss", key, self.index)

    def write(self, key: bytes) -> Any:
        """The value for a command that will change it, or None. No hit is counted."""
        keyspace = self.keyspace
        if key is keyspace.hot_key:
            held = self.slots[keyspace.hot_slot]
        elif keyspace.clustered:
            held = self.slots[key_slot(key)]
        else:
            slot = crc32(key) & 0x3FFF
            keyspace.hot_key = key
            keyspace.hot_slot = slot
            held = self.slots[slot]
        if held is None:
            return None
        value = held.get(key)
        if value is None or (
            self.expires.count and key in self.expires.parts[hash(key) & PART] and self._made_room(key)
        ):
            return None
        if keyspace.access is not None:
            keyspace.access.touch(self.index, key)
        return value

    def look(self, key: bytes, *, quiet: bool = False) -> Any:
        """`read` for commands that ask about a key without using it (TTL, TYPE): no access is recorded.

        `quiet`: a miss counts, but is no event (OBJECT).
        """
        held = self.slots[self.slot_of(key)]
        value = None if held is None else held.get(key)
        if value is None or (key in self.expires and self._expired(key)):
            if quiet:
                self.keyspace.misses += 1
            else:
                self._missed(key)
            return None
        self.keyspace.hits += 1
        return value

    def expire_if_past(self, key: bytes) -> bool:
        """Whether the key's time has come; then it is removed, where this node may do that."""
        return key in self.expires and self._expired(key)

    def peek(self, key: bytes) -> Any:
        """The value without counting or touching; a key past its expiry is None, but stays for the cycle to remove."""
        held = self.slots[self.slot_of(key)]
        value = None if held is None else held.get(key)
        if value is not None and key in self.expires and self.is_past(key):
            return None
        return value

    def stored(self, key: bytes) -> Any:
        """The value as it lies here, past its expiry or not, for DEBUG."""
        held = self.slots[self.slot_of(key)]
        return None if held is None else held.get(key)

    def read_as(self, key: bytes, kind: type[T]) -> T | None:
        """`read`, and WRONGTYPE unless the value is of class `kind`."""
        value = self.read(key)
        if value is not None and type(value) is not kind:
            raise CommandError(errors.WRONG_TYPE)
        return value

    def write_as(self, key: bytes, kind: type[T]) -> T | None:
        """`write`, and WRONGTYPE unless the value is of class `kind`."""
        value = self.write(key)
        if value is not None and type(value) is not kind:
            raise CommandError(errors.WRONG_TYPE)
        return value

    # -- changes ---------------------------------------------------------------------------------------------

    def create(self, key: bytes, found: Any, kind: type[T]) -> T:
        """An empty value of class `kind`, stored under `key`, where `write` found nothing.

        `found`: what it did find. Raises WRONGTYPE when that is something.
        """
        if found is not None:
            raise CommandError(errors.WRONG_TYPE)
        value = kind()
        self.put(key, value)
        return value

    def put(self, key: bytes, value: Any) -> None:
        """Store `value`; an expiry that the key has stays. Says nothing to observers: call `changed` after it."""
        keyspace = self.keyspace
        if key is keyspace.hot_key:
            slot = keyspace.hot_slot
        else:
            slot = key_slot(key) if keyspace.clustered else crc32(key) & 0x3FFF
        held = self.slots[slot]
        if held is None:
            held = self.slots[slot] = {}
        old = held.get(key)
        held[key] = value
        if old is None:
            self._added(key)
        elif type(old) is not bytes and old is not value:
            keyspace.lazy_free.add(old)

    def replace(self, key: bytes, value: bytes) -> None:
        """`put` of a string where `write` has just found one."""
        keyspace = self.keyspace
        held = self.slots[keyspace.hot_slot if key is keyspace.hot_key else self.slot_of(key)]
        assert held is not None
        held[key] = value

    def _added(self, key: bytes) -> None:
        """Bookkeeping for a key that was not there before."""
        self.size += 1
        keyspace = self.keyspace
        if keyspace.access is not None:
            keyspace.access.touch(self.index, key)
        if keyspace.notify_mask & NEW:
            keyspace.notify(NEW, b"new", key, self.index)
        if keyspace.waiting:
            keyspace.waiting_ready(self.index, key)

    def set(self, key: bytes, value: Any) -> None:
        """Store `value` and drop the key's expiry, as SET does. (`put` written out: this is the hot path of SET.)"""
        keyspace = self.keyspace
        if key is keyspace.hot_key:
            slot = keyspace.hot_slot
        else:
            slot = key_slot(key) if keyspace.clustered else crc32(key) & 0x3FFF
        expires = self.expires
        if expires.count and key in expires.parts[hash(key) & PART] and not self._made_room(key):
            expires.drop(key)
        held = self.slots[slot]
        if held is None:
            held = self.slots[slot] = {}
        old = held.get(key)
        held[key] = value
        if old is None:
            self._added(key)
        else:
            if type(old) is not bytes:
                keyspace.lazy_free.add(old)
            if keyspace.access is not None:
                keyspace.access.touch(self.index, key)

    def set_all(self, keys: list[bytes], values: list[bytes]) -> None:
        """`set` of several keys that nobody observes. (Written out: this is the hot path of MSET.)"""
        keyspace, slots, expires = self.keyspace, self.slots, self.expires
        lazy_free, access, clustered = keyspace.lazy_free, keyspace.access, keyspace.clustered
        for key, value in zip(keys, values, strict=True):
            if expires.count and key in expires and not self._made_room(key):
                expires.drop(key)
            slot = key_slot(key) if clustered else crc32(key) & 0x3FFF
            held = slots[slot]
            if held is None:
                held = slots[slot] = {}
            old = held.get(key)
            held[key] = value
            if old is None:
                self._added(key)
            else:
                if type(old) is not bytes:
                    lazy_free.add(old)
                if access is not None:
                    access.touch(self.index, key)

    def delete(self, key: bytes) -> bool:
        """Remove key, value and expiry; False when the key is absent. Says nothing to observers."""
        slot = self.slot_of(key)
        held = self.slots[slot]
        value = None if held is None else held.pop(key, None)
        if value is None:
            return False
        keyspace = self.keyspace
        if type(value) is not bytes:
            keyspace.lazy_free.add(value)
        if keyspace.access is not None:
            keyspace.access.forget(self.index, key)
        if self.expires.count:
            self.expires.drop(key)
        self.size -= 1
        if not held:
            self.slots[slot] = None
        return True

    def take(self, key: bytes) -> tuple[Any, int | None]:
        """Remove an existing key but keep its value alive: (value, expiry), for RENAME and MOVE."""
        slot = self.slot_of(key)
        held = self.slots[slot]
        assert held is not None
        value = held.pop(key)
        at_ms = self.expires.get(key)
        if at_ms is not None:
            self.expires.drop(key)
        if self.keyspace.access is not None:
            self.keyspace.access.forget(self.index, key)
        self.size -= 1
        if not held:
            self.slots[slot] = None
        return value, at_ms

    def changed(self, key: bytes, event_class: int, event: bytes, count: int = 1) -> None:
        """Tell everyone who cares that the value of `key` was changed by a command: `count` changes for the
        save points, watchers (WATCH), tracking clients, clients blocked on the key, keyspace events."""
        keyspace = self.keyspace
        keyspace.dirty += count
        if keyspace.observed:
            keyspace.on_changed(self.index, key, event_class, event)

    def changed_fields(self, key: bytes, event: bytes, fields: Sequence[bytes]) -> None:
        """Say which fields of a hash an event was about, where somebody listens. Belongs behind `changed`."""
        keyspace = self.keyspace
        if keyspace.subkey_mask and fields:
            keyspace.on_subkeys(keyspace.subkey_mask, event, key, fields, self.index)

    def drop_if_empty(self, key: bytes, value: Any) -> bool:
        """Remove a container that became empty, with its `del` event; True when it was removed."""
        if len(value):
            return False
        self.delete(key)
        if self.keyspace.observed:
            self.keyspace.on_changed(self.index, key, GENERIC, b"del")
        return True

    # -- expiry ----------------------------------------------------------------------------------------------

    def expire_at(self, key: bytes) -> int | None:
        """The absolute expiry in ms, or None."""
        return self.expires.get(key)

    def set_expire(self, key: bytes, at_ms: int) -> None:
        """Give an existing key an expiry: a number of 64 bits, and 0 for all that lies before 1970, as no file could
        hold it. Raises OverflowError."""
        if at_ms >> 63:
            if at_ms > 0:
                raise OverflowError(f"no expiry has more than 64 bits: {at_ms}")
            at_ms = 0
        self.expires.set(key, at_ms)

    def clear_expire(self, key: bytes) -> bool:
        """Make the key persistent; False when it was."""
        return self.expires.drop(key)

    def is_past(self, key: bytes) -> bool:
        """True when the key's expiry has come, whatever this node may do about it."""
        at_ms = self.expires.get(key)
        return at_ms is not None and self.keyspace.now_ms > at_ms and self.keyspace.expiry_mode != IGNORE

    def _expired(self, key: bytes) -> bool:
        """Whether to treat the key as gone; removes it where this node may."""
        if not self.is_past(key):
            return False
        if self.keyspace.expiry_mode == DELETE:
            self.expire_now(key)
        return True

    def _made_room(self, key: bytes) -> bool:
        """`_expired` for a command that will write."""
        if not self.is_past(key):
            return False
        if self.keyspace.expiry_mode != HIDE:
            self.expire_now(key)
        return True

    def evict(self, key: bytes) -> None:
        """Remove a key to make room: propagate a DEL, count it, tell observers."""
        if self.delete(key):
            self.keyspace.on_evicted(self.index, key)

    def expire_now(self, key: bytes) -> None:
        """Remove a key whose time has come: propagate a DEL, count it, tell observers."""
        if self.delete(key):
            self.keyspace.on_expired(self.index, [key])

    # -- whole database and slots ----------------------------------------------------------------------------

    def items(self) -> Iterator[tuple[bytes, Any, int | None]]:
        """All (key, value, expiry) triples, slot by slot. The database must not change meanwhile."""
        expiry_of = self.expires.get
        for held in self.slots:
            if held:
                for key, value in held.items():
                    yield key, value, expiry_of(key)

    def keys(self) -> list[bytes]:
        """All keys, those past their expiry included."""
        return [key for held in self.slots if held for key in held]

    def keys_that(self, fits: Callable[[bytes], object]) -> list[bytes]:
        """The keys for which `fits` is true. Each is looked at once: a million keys are far more than a cache holds."""
        return [key for held in self.slots if held for key in held if fits(key)]

    def keys_in_slot(self, slot: int, limit: int = -1) -> list[bytes]:
        """Up to `limit` keys of a slot (all when negative)."""
        held = self.slots[slot] or _EMPTY
        if limit < 0 or limit >= len(held):
            return list(held)
        return [key for _, key in zip(range(limit), held, strict=False)]

    def count_in_slot(self, slot: int) -> int:
        """Number of keys in a slot."""
        return len(self.slots[slot] or _EMPTY)

    def clear(self) -> int:
        """Remove everything at once; the number of keys removed. The old dicts go to `lazy_free`."""
        removed = self.size
        if not removed:
            return 0
        lazy_free = self.keyspace.lazy_free
        lazy_free.add_parts(self.slots, removed)
        lazy_free.add_parts(self.expires.clear())
        if self.keyspace.access is not None:
            lazy_free.add_parts([self.keyspace.access.forget_database(self.index)])
        self.slots = [None] * SLOT_COUNT
        self.size = 0
        return removed

    def swap_with(self, other: Database) -> None:
        """Exchange all keys with another database; each keeps its number (SWAPDB)."""
        self.slots, other.slots = other.slots, self.slots
        self.expires, other.expires = other.expires, self.expires
        self.size, other.size = other.size, self.size
        self.keyspace.field_expiry.swap_databases(self.index, other.index)
        if self.keyspace.access is not None:
            self.keyspace.access.swap_databases(self.index, other.index)


#: What a node does with keys past their expiry: a primary deletes them; a replica hides them and waits for the
#: primary's DEL; while loading, and for commands from the primary, they are ordinary keys. A replica that lets clients
#: write hides them as well, but not from writes: those find no key and may make a new one.
DELETE: Final = 0
HIDE: Final = 1
IGNORE: Final = 2
HIDE_FROM_READS: Final = 3
