"""What a database needs of the keyspace that owns it: clock, counters, observers, and the rule for expired keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from slotmesh.node.keyspace.field_index import FieldIndex
from slotmesh.node.keyspace.lazy_free import LazyFree


class AccessClock(Protocol):
    """Records when and how often keys are used; exists only while an eviction policy or a command needs it."""

    def touch(self, db_index: int, key: bytes) -> None: ...
    def forget(self, db_index: int, key: bytes) -> None: ...
    def forget_database(self, db_index: int) -> dict[bytes, int]: ...
    def swap_databases(self, first: int, second: int) -> None: ...


class ChangeClock(AccessClock, Protocol):
    """An access clock for which only changes count."""

    def changed(self, db_index: int, key: bytes) -> None: ...


class DatabaseOwner(Protocol):
    """The owner of numbered databases, as these see it; `Keyspace` says what each of its attributes means."""

    access: AccessClock | None
    clustered: bool
    dirty: int
    expiry_mode: int
    field_expiry: FieldIndex
    hits: int
    hot_key: bytes | None
    hot_slot: int
    lazy_free: LazyFree
    misses: int
    notify_mask: int
    now_ms: int
    observed: bool
    on_subkeys: Callable[[int, bytes, bytes, Sequence[bytes], int], None]
    subkey_mask: int
    waiting: int
    waiting_ready: Callable[[int, bytes], None]

    def notify(self, event_class: int, event: bytes, key: bytes, db_index: int) -> None:
        """Publish a keyspace event if its class is switched on."""

    def on_changed(self, db_index: int, key: bytes, event_class: int, event: bytes) -> None:
        """Tell the observers of a change."""

    def on_expired(self, db_index: int, keys: list[bytes]) -> None:
        """Keys were removed because their time had come."""

    def on_evicted(self, db_index: int, key: bytes) -> None:
        """A key was removed to make room."""
