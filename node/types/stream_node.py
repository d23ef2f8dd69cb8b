"""A node of a stream: consecutive entries, as many as stock keeps in one listpack.

An entry is a flat tuple `(field, value, field, value, ...)`; entries with the same fields as the first entry of their
node share its field names. Where that is one field, as in most streams, a node keeps just the value and makes the tuple
for whoever reads it: a third less memory, and so much less to write and to free per XADD.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

from slotmesh.cluster.numbers import wrapped
from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.listpack_size import INTEGER_LENGTH, MANY_BYTES, SIZES, integer_size, text_size
from slotmesh.node.types.stream_id import U64_MAX

Entry = tuple[bytes, ...]

_LISTPACK_MAX_BYTES: Final = 1 << 30
_LISTPACK_FRAME: Final = 7  # header and end mark
_TINY: Final = 128  # integers below take two bytes
# Upper bounds: the two counters of a node, the two numbers that an ID takes.
_COUNTERS_BYTES: Final = 20
_ID_BYTES: Final = 20
#: What a node without names would have: the end mark of the names beside.
_FIRST_BYTES: Final = _LISTPACK_FRAME + 2 + _COUNTERS_BYTES
#: Memory of a value that stands for an entry: the head of an object.
_VALUE_BYTES: Final = 33


class StreamNode:
    """Consecutive entries of a stream: what stock keeps in one listpack. It is never without a live entry.

    Of the length of the listpack all is added up at once but for the IDs. What they take exactly is computed only when
    it matters, that is when a bound comes near the limit, or before an entry is deleted (stock only marks it, so its
    bytes stay).
    """

    __slots__ = (
        "_bound_bytes",
        "_field",
        "_items",
        "_same_names_bytes",
        "_settled",
        "deleted",
        "ids",
        "last_id",
        "master_id",
        "names",
    )

    def __init__(self, master_id: int, names: tuple[bytes, ...]) -> None:
        #: The ID of the first entry ever added, by which the others' IDs are encoded, and that entry's field names.
        self.master_id = master_id
        self.names = names
        #: The name, if there is just one.
        self._field = names[0] if len(names) == 1 else None
        self.ids: list[int] = []
        #: The entries; of one with nothing but `_field`, the value.
        self._items: list[Any] = []
        #: Entries deleted one by one since, and the last ID ever added, deleted or not.
        self.deleted = 0
        self.last_id = master_id
        # The listpack, with upper bounds for its two counters and for the IDs of all but the first `_settled` entries.
        self._bound_bytes = _FIRST_BYTES + integer_size(len(names)) + sum(map(text_size, names))
        self._settled = 0
        #: What an entry with the node's own names has beside ID and values.
        self._same_names_bytes = 2 + integer_size(len(names) + 3)

    def append(self, entry_id: int, flat: list[bytes] | Entry) -> None:
        """Add an entry behind all others."""
        names = self.names
        if len(flat) == 2 and flat[0] == self._field:
            self._items.append(flat[1])
            size = self._same_names_bytes + text_size(flat[1])
        elif tuple(flat[::2]) == names:
            shared = list(flat)
            shared[::2] = names
            self._items.append(tuple(shared))
            size = self._same_names_bytes + sum(map(text_size, flat[1::2]))
        else:
            self._items.append(tuple(flat))
            count = len(flat)
            size = 2 + integer_size(count >> 1) + sum(map(text_size, flat)) + integer_size(count + 4)
        self._bound_bytes += size + _ID_BYTES
        self.ids.append(entry_id)
        self.last_id = entry_id

    def take(self, entry_id: int, flat: list[bytes] | Entry, added_bytes: int) -> bool:
        """`append` if `has_room`; False else. (Both written out for the usual case: this is the hot path of XADD.)"""
        ids, limits = self.ids, LIMITS
        if (
            len(flat) == 2
            and flat[0] == self._field
            and len(ids) + self.deleted < limits.stream_node_max_entries
            and self._bound_bytes + added_bytes < limits.stream_node_max_bytes < _LISTPACK_MAX_BYTES
        ):
            text = flat[1]
            self._items.append(text)
            length = len(text)
            size = SIZES[length] if INTEGER_LENGTH < length < MANY_BYTES else text_size(text)
            self._bound_bytes += self._same_names_bytes + size + _ID_BYTES
            ids.append(entry_id)
            self.last_id = entry_id
            return True
        if not self.has_room(added_bytes):
            return False
        self.append(entry_id, flat)
        return True

    @property
    def size_bytes(self) -> int:
        """Length of the listpack that stock would hold."""
        self._settle()
        return self._bound_bytes - _COUNTERS_BYTES + integer_size(len(self.ids)) + integer_size(self.deleted)

    def _settle(self) -> None:
        """Bring the exact length up to date."""
        ids, master = self.ids, self.master_id
        far = bisect_left(ids, master + _TINY, self._settled)  # before it: of the first entry's millisecond
        size = 4 * (far - self._settled)
        if far < len(ids):
            master_ms, master_seq = master >> 64, master & U64_MAX
            for entry_id in ids[far:]:
                size += integer_size(wrapped((entry_id >> 64) - master_ms))
                size += integer_size(wrapped((entry_id & U64_MAX) - master_seq))
        self._bound_bytes += size - _ID_BYTES * (len(ids) - self._settled)
        self._settled = len(ids)

    def has_room(self, added_bytes: int) -> bool:
        """Whether an entry with `added_bytes` of text still belongs here."""
        most = LIMITS.stream_node_max_entries
        if most and len(self.ids) + self.deleted >= most:
            return False
        most = LIMITS.stream_node_max_bytes
        if not 0 < most < _LISTPACK_MAX_BYTES:
            most = _LISTPACK_MAX_BYTES
        return self._bound_bytes + added_bytes < most or self.size_bytes + added_bytes < most

    @property
    def entries(self) -> list[Entry]:
        """All entries, those of `ids`."""
        return self.slice(0, len(self.ids))

    def slice(self, low: int, high: int) -> list[Entry]:
        """The entries from one index to before another."""
        items, field = self._items[low:high], self._field
        if field is None:
            return items
        return [(field, item) if type(item) is bytes else item for item in items]

    def objects_bytes(self) -> int:
        """Estimated memory of the entries, beside their texts."""
        return sum(_VALUE_BYTES if type(item) is bytes else 56 + 49 * len(item) for item in self._items)

    def delete(self, index: int) -> None:
        """Delete the live entry at `index`."""
        self._settle()
        del self.ids[index]
        del self._items[index]
        self._settled -= 1
        self.deleted += 1

    def cut_front(self, count: int) -> None:
        """Delete the first `count` live entries."""
        self._settle()
        del self.ids[:count]
        del self._items[:count]
        self._settled -= count
        self.deleted += count

    def copy(self) -> StreamNode:
        """An independent node with the same entries."""
        twin = StreamNode(self.master_id, self.names)
        twin.ids = self.ids.copy()
        twin._items = self._items.copy()
        twin.deleted = self.deleted
        twin.last_id = self.last_id
        twin._settled = self._settled
        twin._bound_bytes = self._bound_bytes
        return twin
