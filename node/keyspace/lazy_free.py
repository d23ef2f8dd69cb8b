"""Freeing of large values in small steps.

Dropping the last reference to a container of a million elements costs Python 50 to 100 ms, all of it in one go. So
whatever leaves the keyspace (DEL, UNLINK, an overwrite, expiry, a flush) passes through here: small values die at once,
a large one is queued, and the cron takes it apart a few thousand elements at a time (`step`). For clients a value is
gone the moment it is added; only its memory lives on for a while (`pending` counts such values, INFO's
`lazyfree_pending_objects`).

A value owns its parts: nothing inside one is referred to from elsewhere. So its class need not be known: an object is
opened into the containers that its slots or its `__dict__` hold. What is inside counts, not what the length of a value
tells: a node of a stream is one element of a list and holds a hundred entries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from slotmesh.node.keyspace.page_release import shorten
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_group import Pending

#: Values with fewer elements are freed at once, which takes some 0.03 ms.
SMALL: Final = 512
#: Elements taken off between two looks at the budget: about a quarter of a millisecond.
_SLICE: Final = 2048
#: Strings: so many bytes are as much work as one element.
_BYTES_BITS: Final = 11
#: What holds nothing. A pending entry refers to its consumer, but that one is taken apart from its group.
_LEAVES: Final = frozenset((bytes, int, float, str, bool, type(None), Pending))
_CONTAINERS: Final = frozenset((list, dict, set, deque))


class LazyFree:
    """The queue of one keyspace."""

    __slots__ = ("_attributes", "_queue", "freed", "pending")

    def __init__(self) -> None:
        #: (container or value, number of keyspace values that end with it). Worked off from the right, depth first.
        self._queue: list[tuple[Any, int]] = []
        #: The names of the slots of each class met so far.
        self._attributes: dict[type, tuple[str, ...]] = {}
        self.pending = 0
        self.freed = 0

    def add(self, value: Any) -> None:
        """Take over a value that has left the keyspace; the caller must not use it any more.

        A stream is never freed at once: its length tells neither how many fields nor how many pending entries it has.
        """
        kind = type(value)
        if kind in _LEAVES:
            return
        size = len(value) >> _BYTES_BITS if kind is bytearray else len(value)
        if size >= SMALL or kind is StreamValue:
            self._queue.append((value, 1))
            self.pending += 1

    def add_parts(self, parts: list[Any], objects: int = 0) -> None:
        """Take over containers, for instance the dicts of a flushed database, which held `objects` keys."""
        self._queue.append((parts, objects))
        self.pending += objects

    def step(self, budget: Callable[[], bool]) -> bool:
        """Free elements until the queue is empty or `budget()` is false; True when something is left."""
        queue = self._queue
        while queue and budget():
            part, objects = queue[-1]
            kind = type(part)
            if part and kind in _CONTAINERS:
                self._take_slice(part)
                continue
            if part and kind is bytearray:
                shorten(part, _SLICE << _BYTES_BITS)
                continue
            inner = [] if kind in _CONTAINERS else self._opened(part)
            queue.pop()
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
        """Remove up to `_SLICE` elements, counting those inside of them; one that is large itself is queued."""
        pairs = type(part) is dict
        take = part.popitem if pairs else part.pop
        left = _SLICE
        while part and left > 0:
            item: Any = take()
            left -= 1
            if pairs:
                item = item[1]
            kind = type(item)
            if kind is bytes:
                left -= len(item) >> _BYTES_BITS
                continue
            if kind in _LEAVES:
                continue
            weight = self._weight(item, _SLICE)
            if weight >= _SLICE:
                # A tuple cannot be taken apart, but a list of what it holds can.
                self._queue.append((list(item) if kind is tuple else item, 0))
                return
            left -= weight

    def _weight(self, item: Any, most: int) -> int:
        """How many elements are inside of a container or an object; counts no further than `most`."""
        kind = type(item)
        if kind is bytearray:
            return len(item) >> _BYTES_BITS
        if kind in _CONTAINERS:
            inner = item.values() if kind is dict else item
        elif hasattr(kind, "__len__") and kind is not StreamValue:
            return len(item)  # a tuple, or a value, which holds nothing but leaves
        else:
            inner = self._opened(item)
        weight = len(inner)
        if weight < most:
            for part in inner:
                if type(part) not in _LEAVES:
                    weight += self._weight(part, most - weight)
                    if weight >= most:
                        break
        return weight

    def _opened(self, value: Any) -> list[Any]:
        """What an object refers to: containers and other objects. Nothing for a leaf."""
        kind = type(value)
        if kind in _LEAVES or kind is tuple or kind is bytearray:
            return []
        names = self._attributes.get(kind)
        if names is None:
            names = tuple(name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ()))
            self._attributes[kind] = names
        held = [getattr(value, name, None) for name in names]
        held += getattr(value, "__dict__", {}).values()
        return [inner for inner in held if type(inner) not in _LEAVES and type(inner) is not tuple]
