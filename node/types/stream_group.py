"""Consumer groups of a stream: who got which entry, and has not acknowledged it yet.

An entry that its consumer gave back (XNACK) stays pending without an owner. Here it belongs to a consumer that is not
in the group's list, `Group.unowned`, so that all else need not know: it has a name, which is empty, and the entries of
its own in the order in which they were given back.
"""

from __future__ import annotations

from typing import Final

from slotmesh.node.types.id_map import IdMap
from slotmesh.node.types.idle_order import IdleOrder

#: `Group.entries_read` when it is not known: the group was moved to an arbitrary ID.
ENTRIES_READ_UNKNOWN: Final = -1
#: `Consumer.active_ms` of a consumer that never got an entry.
NEVER_ACTIVE: Final = -1
#: The owner of entries that nobody owns: its name, when it was seen, and when its entries were delivered.
UNOWNED: Final = b""
NEVER_SEEN: Final = -1
NEVER_DELIVERED: Final = 0
#: How often an entry can have been delivered: as far as the numbers of RESP and RDB go.
MAX_DELIVERIES: Final = 2**63 - 1


class Pending:
    """One delivered entry that waits for its acknowledgement; shared by the lists of its group and its consumer."""

    __slots__ = ("consumer", "count", "delivered_ms")

    def __init__(self, consumer: Consumer, delivered_ms: int, count: int) -> None:
        self.consumer = consumer
        #: Unix time of the last delivery, in ms.
        self.delivered_ms = delivered_ms
        #: How often the entry was delivered.
        self.count = count


class Consumer:
    """A named reader in a group. `seen_ms`: last attempt, `active_ms`: last time it got an entry (Unix time)."""

    __slots__ = ("active_ms", "name", "pel", "seen_ms")

    def __init__(self, name: bytes, seen_ms: int, active_ms: int = NEVER_ACTIVE) -> None:
        self.name = name
        self.seen_ms = seen_ms
        self.active_ms = active_ms
        self.pel: IdMap[Pending] = IdMap()


class Group:
    """A consumer group. `last_id` is the last entry delivered to anyone of it."""

    __slots__ = ("_idle", "consumers", "entries_read", "last_id", "name", "pel", "unowned")

    def __init__(self, name: bytes, last_id: int, entries_read: int = ENTRIES_READ_UNKNOWN) -> None:
        self.name = name
        self.last_id = last_id
        self.entries_read = entries_read
        self.pel: IdMap[Pending] = IdMap()
        self.consumers: dict[bytes, Consumer] = {}
        #: Who has the entries that were given back; not one of `consumers`.
        self.unowned = Consumer(UNOWNED, NEVER_SEEN)
        self._idle: IdleOrder | None = None

    def consumer(self, name: bytes, now_ms: int) -> tuple[Consumer, bool]:
        """The consumer called `name`, and whether it had to be made."""
        found = self.consumers.get(name)
        if found is not None:
            return found, False
        made = self.consumers[name] = Consumer(name, now_ms)
        return made, True

    def deliver(self, entry_id: int, consumer: Consumer, now_ms: int, count: int = 1) -> Pending:
        """Make `entry_id` pending for `consumer`, taking it from whoever had it."""
        pending = self.pel.get(entry_id)
        if pending is None:
            pending = Pending(consumer, now_ms, count)
            self.pel.set(entry_id, pending)
        else:
            if pending.consumer is not consumer:
                pending.consumer.pel.remove(entry_id)
                pending.consumer = consumer
            pending.delivered_ms = now_ms
            pending.count = count
        consumer.pel.set(entry_id, pending)
        if self._idle is not None and consumer is not self.unowned:
            self._idle.note(entry_id, now_ms)
        return pending

    def read_again(self, entry_id: int, now_ms: int) -> None:
        """Count one more delivery of an entry to the consumer that has it."""
        pending = self.pel.values[entry_id]
        pending.delivered_ms = now_ms
        pending.count = min(pending.count + 1, MAX_DELIVERIES)
        if self._idle is not None:
            self._idle.note(entry_id, now_ms)

    def release(self, entry_id: int, count: int) -> None:
        """Make an entry pending for nobody, behind those that are so already."""
        self.unowned.pel.remove(entry_id)
        self.deliver(entry_id, self.unowned, NEVER_DELIVERED, count)

    def idle_order(self) -> IdleOrder:
        """The pending entries that somebody owns, by the time of their last delivery."""
        if self._idle is None:
            self._idle = IdleOrder(self.pel.values, self.unowned)
        return self._idle

    def acknowledge(self, entry_id: int) -> bool:
        """Forget a pending entry; False when it was not pending."""
        pending = self.pel.remove(entry_id)
        if pending is None:
            return False
        pending.consumer.pel.remove(entry_id)
        return True

    def remove_consumer(self, name: bytes) -> int | None:
        """Remove a consumer with all that is pending for it; how many entries that were, None when it is unknown."""
        consumer = self.consumers.pop(name, None)
        if consumer is None:
            return None
        for entry_id in consumer.pel.values:
            self.pel.remove(entry_id)
        return len(consumer.pel)

    def copy(self) -> Group:
        """An independent group."""
        twin = Group(self.name, self.last_id, self.entries_read)
        for name, consumer in self.consumers.items():
            other = twin.consumers[name] = Consumer(name, consumer.seen_ms, consumer.active_ms)
            for entry_id, pending in consumer.pel.values.items():
                twin.deliver(entry_id, other, pending.delivered_ms, pending.count)
        for entry_id, pending in self.unowned.pel.values.items():
            twin.release(entry_id, pending.count)
        return twin
