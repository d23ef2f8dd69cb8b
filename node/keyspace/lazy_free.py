"""Freeing of large values in small steps.

Dropping the last reference to a container of a million elements costs Python 50 to 100 ms, all of it in one go. So
whatever leaves the keyspace (DEL, UNLINK, an overwrite, expiry, a flush) passes through here: small values die at once,
a large one is queued, and the cron takes it apart a few thousand elements at a time (`step`). For clients a value is
gone the moment it is added; only its memory lives on for a while (`pending` counts such values, INFO's
`lazyfree_pending_objects`).

A value owns its parts: nothing inside one is referred to from elsewhere. So its class need not be known: an object is
opened into the containers that its slots or its `__dict__` hold.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

#: Values with fewer elements are freed at once, which takes some 0.03 ms.
SMALL: Final = 512
#: Elements taken off between two looks at the budget: about a quarter of a millisecond.
_SLICE: Final = 2048
_LEAVES: Final = frozenset((bytes, bytearray, tuple, int, float, str, bool, type(None)))
_CONTAINERS: Final = frozenset((list, dict, set, deque))


def deletion(*, lazy: bool) -> bytes:
    """The command that says in the log, and to replicas, that a key is gone."""
    return b"UNLINK" if lazy else b"DEL"


class LazyFree:
    """The queue of one keyspace."""

    __slots__ = ("_queue", "freed", "pending")

    def __init__(self) -> None:
        #: (container or value, number of keyspace values that end with it). Worked off from the right, depth first.
        self._queue: list[tuple[Any, int]] = []
        self.pending = 0
        self.freed = 0

    def add(self, value: Any) -> None:
        """Take over a value that has left the keyspace; the caller must not use it any more."""
        if type(value) not in _LEAVES and len(value) >= SMALL:
            self._queue.append((value, 1))
            self.pending += 1

    def add_parts(self, parts: list[Any], objects: int) -> None:
        """Take over the dicts of a flushed database, which held `objects` keys."""
        self._queue.append((parts, objects))
        self.pending += objects

    def step(self, budget: Callable[[], bool]) -> bool:
        """Free elements until the queue is empty or `budget()` is false; True when something is left."""
        queue = self._queue
        while queue and budget():
            part, objects = queue[-1]
            if part and type(part) in _CONTAINERS:
                self._take_slice(part)
                continue
            queue.pop()
            inner = list(_inner_containers(part))
            if inner:
                queue.append((None, objects))  # counts as freed once the parts above it are
                queue += [(container, 0) for container in inner]
            else:
                self.pending -= objects
                self.freed += objects
        return bool(queue)

    def drain(self) -> None:
        """Free everything now (FLUSHALL SYNC, shutdown of a test)."""
        self.step(lambda: True)

    def _take_slice(self, part: Any) -> None:
        """Remove up to `_SLICE` elements, counting those of nested containers; large nested ones are queued."""
        take = part.popitem if type(part) is dict else part.pop
        left = _SLICE
        pairs = type(part) is dict
        while part and left > 0:
            item: Any = take()
            left -= 1
            if pairs:
                item = item[1]
            kind = type(item)
            if kind in _LEAVES:
                continue
            size = len(item) if kind in _CONTAINERS or hasattr(item, "__len__") else 1
            if size >= SMALL or (kind is dict and any(type(value) not in _LEAVES for value in item.values())):
                self._queue.append((item, 0))
                return
            left -= size


def _inner_containers(value: Any) -> Iterator[Any]:
    """The containers that an object refers to; nothing for a container, which is empty by now, and for leaves."""
    if type(value) in _CONTAINERS or type(value) in _LEAVES:
        return
    held = list(getattr(value, "__dict__", {}).values())
    for base in type(value).__mro__:
        held += [getattr(value, name, None) for name in base.__dict__.get("__slots__", ())]
    for inner in held:
        if type(inner) not in _LEAVES and not callable(inner):
            yield inner
