"""All databases of a node and what they share: clock, counters, observers, and what to do about expired keys.

The keyspace knows nothing of clients. Whoever wants to hear of changes puts itself into a slot here: `on_touched`
(WATCH and tracking), `on_event` (keyspace notifications), `waiting_ready` (blocked clients), `on_expire_propagate` (AOF
and replicas). `observed` is the one flag that the hot path tests to learn whether anybody does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.keyspace.active_expiry import expire_due
from slotmesh.node.keyspace.database import DELETE, IGNORE, Database
from slotmesh.node.keyspace.field_expiry import expire_due_fields
from slotmesh.node.keyspace.field_index import FieldIndex
from slotmesh.node.keyspace.lazy_free import LazyFree
from slotmesh.node.keyspace.notify import EVICTED, EXPIRED, KEYEVENT, KEYSPACE, SUBKEYS
from slotmesh.node.keyspace.owner import AccessClock, ChangeClock

#: Up to 7.0 nobody is woken when one of these replaces a value, whatever its type was; a new key wakes all the same.
_OVERWRITES: Final = frozenset(
    (b"sortstore", b"zunionstore", b"zinterstore", b"zdiffstore", b"zrangestore", b"geosearchstore", b"georadiusstore")
)
#: Nobody is woken for what XGROUP does to a group, even if there are entries for its readers then; its end wakes them.
_OF_GROUPS: Final = frozenset(
    (b"xgroup-setid", b"xgroup-create", b"xgroup-createconsumer", b"xgroup-delconsumer", b"xsetid")
)


class ExpiryIgnored:
    """A scope in which keys past their expiry are ordinary keys: while data are loaded, and for what the primary or an
    import tool sends. Scopes nest; the mode for clients, which may change meanwhile, holds again after the outermost.
    """

    __slots__ = ("_depth", "_for_clients", "_keyspace")

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace
        self._for_clients: int = keyspace.expiry_mode
        self._depth = 0

    def otherwise(self, mode: int) -> None:
        """Set the mode that holds outside of such scopes: DELETE, HIDE or HIDE_FROM_READS."""
        self._for_clients = mode
        if not self._depth:
            self._keyspace.expiry_mode = mode

    def __enter__(self) -> None:
        self._depth += 1
        self._keyspace.expiry_mode = IGNORE

    def __exit__(self, *exc: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._keyspace.expiry_mode = self._for_clients


class Keyspace:
    """The numbered databases of one node.

    `now_ms` is Unix time, read once per pass of the data plane. `dirty` counts changes since the last save.
    """

    __slots__ = (
        "access",
        "change_clock",
        "clustered",
        "dbs",
        "dirty",
        "evicted_keys",
        "expired_keys",
        "expiry_ignored",
        "expiry_mode",
        "field_expiry",
        "hits",
        "hot_key",
        "hot_slot",
        "lazy_free",
        "misses",
        "notify_mask",
        "now_ms",
        "observed",
        "on_event",
        "on_evict_propagate",
        "on_expire_propagate",
        "on_flush",
        "on_subkeys",
        "on_swap",
        "on_touched",
        "subkey_mask",
        "waiting",
        "waiting_places",
        "waiting_ready",
        "watched",
        "watched_places",
    )

    def __init__(self, databases: int = 16, clustered: bool = False) -> None:
        self.clustered = clustered
        self.dbs = [Database(self, i) for i in range(1 if clustered else databases)]
        self.now_ms = 0
        #: What commands do with keys past their expiry, at present. Written by `expiry_ignored` only.
        self.expiry_mode: int = DELETE
        self.expiry_ignored = ExpiryIgnored(self)
        # The key whose slot dispatch has just computed for routing, and that slot.
        self.hot_key: bytes | None = None
        self.hot_slot = 0
        # Counters of INFO.
        self.dirty = 0
        self.hits = 0
        self.misses = 0
        self.expired_keys = 0
        self.evicted_keys = 0
        # Observers.
        self.access: AccessClock | None = None
        self.lazy_free = LazyFree()
        self.field_expiry = FieldIndex()
        self.notify_mask = self.subkey_mask = 0
        self.watched = 0  # number of watchers and tracking clients that want `on_touched`
        self.waiting = 0  # number of clients blocked on keys
        self.change_clock: ChangeClock | None = None  # `access`, if it is one of those
        self.observed = False
        self.on_touched: Callable[[int, bytes], None] = lambda db_index, key: None
        self.on_flush: Callable[[dict[int, list[bytes]]], None] = lambda keys: None
        self.on_swap: Callable[[int, int], None] = lambda first, second: None
        self.on_event: Callable[[int, bytes, bytes, int], None] = lambda mask, event, key, db_index: None
        self.on_subkeys: Callable[[int, bytes, bytes, Sequence[bytes], int], None] = (
            lambda mask, event, key, subkeys, db_index: None
        )
        self.waiting_ready: Callable[[int, bytes], None] = lambda db_index, key: None
        #: The (database, key) pairs that somebody watches, and those that somebody waits for.
        self.watched_places: Callable[[], Iterable[tuple[int, bytes]]] = tuple
        self.waiting_places: Callable[[], Iterable[tuple[int, bytes]]] = tuple
        self.on_expire_propagate: Callable[[int, list[bytes]], None] = lambda db_index, keys: None
        self.on_evict_propagate: Callable[[int, bytes], None] = lambda db_index, key: None

    def refresh_observed(self) -> None:
        """To be called after `watched`, `waiting` or `notify_mask` changed."""
        self.observed = bool(self.watched or self.waiting or self.notify_mask or self.subkey_mask or self.change_clock)

    def record_access(self, access: AccessClock | None, changes: ChangeClock | None = None) -> None:
        """From now on `access` records uses; `changes` is the same clock, if it records changes instead."""
        self.access, self.change_clock = access, changes
        self.refresh_observed()

    def set_notify_mask(self, mask: int) -> None:
        """Set `notify-keyspace-events`; without K or E nothing is ever sent but what S, T, I and V stand for."""
        self.notify_mask = mask & ~SUBKEYS if mask & (KEYSPACE | KEYEVENT) else 0
        self.subkey_mask = mask & SUBKEYS
        self.refresh_observed()

    def on_changed(self, db_index: int, key: bytes, event_class: int, event: bytes) -> None:
        """Fan a change out to the observers."""
        if self.watched:
            self.on_touched(db_index, key)
        if self.waiting and event not in _OF_GROUPS and (event not in _OVERWRITES or COMPAT.newer):
            self.waiting_ready(db_index, key)
        if self.change_clock is not None and self.dbs[db_index].stored(key) is not None:
            self.change_clock.changed(db_index, key)
        if self.notify_mask & event_class:
            self.notify(event_class, event, key, db_index)

    def notify(self, event_class: int, event: bytes, key: bytes, db_index: int) -> None:
        """Publish a keyspace event if its class is switched on."""
        if self.notify_mask & event_class:
            self.on_event(self.notify_mask, event, key, db_index)

    def on_expired(self, db_index: int, keys: list[bytes]) -> None:
        """Keys were removed because their time had come."""
        self.expired_keys += len(keys)
        self.on_expire_propagate(db_index, keys)
        if self.observed:
            for key in keys:
                self.on_changed(db_index, key, EXPIRED, b"expired")

    def on_evicted(self, db_index: int, key: bytes) -> None:
        """A key was removed to make room."""
        self.evicted_keys += 1
        self.on_evict_propagate(db_index, key)
        if self.observed:
            self.on_changed(db_index, key, EVICTED, b"evicted")

    def _observed_keys(self, dbs: list[Database]) -> dict[int, list[bytes]]:
        """The keys that somebody watches or waits for, of those that `dbs` hold. Asks for each of these, and so costs
        nothing when there are a million others."""
        observed: dict[int, list[bytes]] = {db.index: [] for db in dbs}
        for db_index, key in dict.fromkeys((*self.watched_places(), *self.waiting_places())):
            if db_index in observed and self.dbs[db_index].stored(key) is not None:
                observed[db_index].append(key)
        return observed

    def empty(self, dbs: list[Database]) -> int:
        """Remove all keys of `dbs`; the number removed. Watchers and waiters hear of each key that they name, trackers
        of the event."""
        keys = self._observed_keys(dbs)
        removed = sum(db.clear() for db in dbs)
        self.on_flush(keys)
        if self.waiting:
            for db_index, gone in keys.items():
                for key in gone:
                    self.waiting_ready(db_index, key)
        return removed

    def on_databases_swapped(self, first: int, second: int) -> None:
        """Two databases changed places."""
        if self.watched:
            self.on_swap(first, second)
        for db_index, key in list(self.waiting_places()):
            if db_index in (first, second) and any(self.dbs[i].stored(key) is not None for i in (first, second)):
                self.waiting_ready(db_index, key)

    def on_replaced(self) -> None:
        """All databases hold other data: who waits for a key that is among them is served."""
        for db_index, key in list(self.waiting_places()):
            if self.dbs[db_index].stored(key) is not None:
                self.waiting_ready(db_index, key)

    def total_keys(self) -> int:
        """Keys in all databases."""
        return sum(db.size for db in self.dbs)

    def next_expiry_ms(self) -> int:
        """When `expire_cycle` may find something next, in ms of Unix time; `NEVER_MS` when nothing expires."""
        return min(self.field_expiry.next_due_ms, *(db.expires.next_due_ms for db in self.dbs))

    def expire_cycle(self, budget: Callable[[], bool], batch: int = 64) -> int:
        """Remove keys that are due while `budget()` is true; the number removed. A replica removes none."""
        removed = 0
        if self.expiry_mode != DELETE:
            return removed
        for db in self.dbs:
            while budget():
                count = expire_due(db, batch)
                removed += count
                if not count:
                    break
        return removed + expire_due_fields(self.field_expiry, self.dbs, self.now_ms, budget)
