"""The stream value: an append-only log of entries in nodes of bounded size, plus its consumer groups.

The nodes are cut where the stock server cuts its listpacks (`stream-node-max-entries`, `stream-node-max-bytes`), for
two reasons: approximate trimming removes whole nodes, so clients see the cut in XLEN; and RDB files carry the nodes.
For that a node knows how long its listpack would be. All else is plain: IDs and entries are parallel lists, a
bisection over the nodes' first IDs and one inside a node find any ID, deleting and trimming cut short lists.

An entry is a flat tuple `(field, value, field, value, ...)`; entries with the same fields as the first entry of their
node share its field names.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from node.types.limits import LIMITS
from node.types.listpack_size import integer_size, text_size
from node.types.stream_group import ENTRIES_READ_UNKNOWN, Group
from node.types.stream_id import MAX_ID, U64_MAX

Entry = tuple[bytes, ...]

_LISTPACK_MAX_BYTES: Final = 1 << 30
_LISTPACK_FRAME: Final = 7  # header and end mark
_TINY: Final = 128  # integers below take two bytes
# Upper bounds: the two counters of a node, the two numbers that an ID takes.
_COUNTERS_BYTES: Final = 20
_ID_BYTES: Final = 20


def _signed(value: int) -> int:
    """A 64-bit difference as the signed number that stock stores."""
    value &= U64_MAX
    return value - (1 << 64) if value >> 63 else value


class StreamNode:
    """Consecutive entries of a stream: what stock keeps in one listpack. It is never without a live entry.

    Of the length of the listpack all is added up at once but for the IDs. What they take exactly is computed only when
    it matters, that is when a bound comes near the limit, or before an entry is deleted (stock only marks it, so its
    bytes stay).
    """

    __slots__ = (
        "_bound_bytes",
        "_exact_bytes",
        "_field",
        "_same_names_bytes",
        "_settled",
        "deleted",
        "entries",
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
        self.entries: list[Entry] = []
        #: Entries deleted one by one since, and the last ID ever added, deleted or not.
        self.deleted = 0
        self.last_id = master_id
        # The listpack without its two counters: with the exact IDs of the first `_settled` entries and none of the
        # others', and with a bound for these.
        self._exact_bytes = _LISTPACK_FRAME + integer_size(len(names)) + sum(map(text_size, names)) + 2
        self._settled = 0
        self._bound_bytes = self._exact_bytes + _COUNTERS_BYTES
        #: What an entry with the node's own names has beside ID and values.
        self._same_names_bytes = 2 + integer_size(len(names) + 3)

    def append(self, entry_id: int, flat: list[bytes] | Entry) -> None:
        """Add an entry behind all others."""
        names = self.names
        if len(flat) == 2 and flat[0] == self._field:
            self.entries.append((self._field, flat[1]))
            size = self._same_names_bytes + text_size(flat[1])
        elif tuple(flat[::2]) == names:
            shared = list(flat)
            shared[::2] = names
            self.entries.append(tuple(shared))
            size = self._same_names_bytes + sum(map(text_size, flat[1::2]))
        else:
            self.entries.append(tuple(flat))
            count = len(flat)
            size = 2 + integer_size(count >> 1) + sum(map(text_size, flat)) + integer_size(count + 4)
        self._exact_bytes += size
        self._bound_bytes += size + _ID_BYTES
        self.ids.append(entry_id)
        self.last_id = entry_id

    @property
    def size_bytes(self) -> int:
        """Length of the listpack that stock would hold."""
        self._settle()
        return self._exact_bytes + integer_size(len(self.ids)) + integer_size(self.deleted)

    def _settle(self) -> None:
        """Bring the exact length up to date."""
        ids, master = self.ids, self.master_id
        far = bisect_left(ids, master + _TINY, self._settled)  # before it: of the first entry's millisecond
        size = 4 * (far - self._settled)
        if far < len(ids):
            master_ms, master_seq = master >> 64, master & U64_MAX
            for entry_id in ids[far:]:
                size += integer_size(_signed((entry_id >> 64) - master_ms))
                size += integer_size(_signed((entry_id & U64_MAX) - master_seq))
        self._exact_bytes += size
        self._settled = len(ids)
        self._bound_bytes = self._exact_bytes + _COUNTERS_BYTES

    def has_room(self, added_bytes: int) -> bool:
        """Whether an entry with `added_bytes` of text still belongs here."""
        most = LIMITS.stream_node_max_entries
        if most and len(self.ids) + self.deleted >= most:
            return False
        most = LIMITS.stream_node_max_bytes
        if not 0 < most < _LISTPACK_MAX_BYTES:
            most = _LISTPACK_MAX_BYTES
        return self._bound_bytes + added_bytes < most or self.size_bytes + added_bytes < most

    def delete(self, index: int) -> None:
        """Delete the live entry at `index`."""
        self._settle()
        del self.ids[index]
        del self.entries[index]
        self._settled -= 1
        self.deleted += 1

    def cut_front(self, count: int) -> None:
        """Delete the first `count` live entries."""
        self._settle()
        del self.ids[:count]
        del self.entries[:count]
        self._settled -= count
        self.deleted += count

    def copy(self) -> StreamNode:
        """An independent node with the same entries."""
        twin = StreamNode(self.master_id, self.names)
        twin.ids = self.ids.copy()
        twin.entries = self.entries.copy()
        twin.deleted = self.deleted
        twin.last_id = self.last_id
        twin._exact_bytes = self._exact_bytes
        twin._settled = self._settled
        twin._bound_bytes = self._bound_bytes
        return twin


class StreamValue:
    """A stream. IDs are integers (`stream_id.py`). A stream may be empty and still exist."""

    __slots__ = ("_length", "_masters", "entries_added", "groups", "last_id", "max_deleted_id", "nodes")

    TYPE: Final = b"stream"

    def __init__(self) -> None:
        self.nodes: list[StreamNode] = []
        self._masters: list[int] = []
        self._length = 0
        #: The greatest ID ever added or set; a new entry must be greater.
        self.last_id = 0
        #: The greatest ID ever deleted by XDEL.
        self.max_deleted_id = 0
        #: Entries added in the stream's whole life.
        self.entries_added = 0
        self.groups: dict[bytes, Group] = {}

    def __len__(self) -> int:
        return self._length

    def encoding(self) -> bytes:
        """The word of OBJECT ENCODING."""
        return b"stream"

    def copy(self) -> StreamValue:
        """An independent stream with the same entries, counters and groups."""
        twin = StreamValue()
        for node in self.nodes:
            twin.add_node(node.copy())
        twin.last_id = self.last_id
        twin.max_deleted_id = self.max_deleted_id
        twin.entries_added = self.entries_added
        twin.groups = {name: group.copy() for name, group in self.groups.items()}
        return twin

    def size_bytes(self, samples: int = 5) -> int:
        """Estimated memory: lists and IDs exactly, entries from `samples` nodes (0: all), groups from their counts."""
        total = 300 + 16 * len(self.nodes) + 110 * self._length
        taken = self.nodes[: samples or None]
        if taken:
            texts = sum(node.size_bytes for node in taken)
            objects = sum(56 + 49 * len(entry) for node in taken for entry in node.entries)
            total += (texts + objects) * len(self.nodes) // len(taken)
        for group in self.groups.values():
            total += 400 + 280 * len(group.pel) + 400 * len(group.consumers)
        return total

    @property
    def first_id(self) -> int:
        """The ID of the first entry, 0 when the stream is empty."""
        return self.nodes[0].ids[0] if self.nodes else 0

    @property
    def last_entry_id(self) -> int:
        """The ID of the last entry that still exists, 0 when the stream is empty."""
        return self.nodes[-1].ids[-1] if self.nodes else 0

    # -- what consumer groups need to know -------------------------------------------------------------------

    def has_tombstones_from(self, start: int) -> bool:
        """Whether an entry at or behind `start` was deleted by XDEL, so that counting on from there would be wrong."""
        gone = self.max_deleted_id
        return bool(gone and self._length) and self.first_id <= gone and start <= gone

    def reads_up_to(self, entry_id: int) -> int:
        """How many entries had been added up to `entry_id` ever; ENTRIES_READ_UNKNOWN when that cannot be told."""
        if not self.entries_added:
            return 0
        if entry_id == self.last_id or (not self._length and entry_id < self.last_id):
            return self.entries_added
        if entry_id > self.last_id:
            return ENTRIES_READ_UNKNOWN
        first = self.first_id
        if self.max_deleted_id < first:  # nothing was deleted from the middle
            if entry_id < first:
                return self.entries_added - self._length
            if entry_id == first:
                return self.entries_added - self._length + 1
        return ENTRIES_READ_UNKNOWN

    def lag_of(self, group: Group) -> int | None:
        """How many entries `group` has still to read; None when that cannot be told."""
        if not self.entries_added:
            return 0
        read = group.entries_read
        if read == ENTRIES_READ_UNKNOWN or self.has_tombstones_from(group.last_id):
            read = self.reads_up_to(group.last_id)
        return None if read == ENTRIES_READ_UNKNOWN else self.entries_added - read

    def advance(self, group: Group, entry_id: int) -> None:
        """Move the last delivered ID of `group` on to `entry_id`, and its count of entries read with it."""
        if group.entries_read != ENTRIES_READ_UNKNOWN and not self.has_tombstones_from(entry_id):
            group.entries_read += 1
        elif self.entries_added:
            group.entries_read = self.reads_up_to(entry_id)
        group.last_id = entry_id

    # -- adding and removing ---------------------------------------------------------------------------------

    def append(self, entry_id: int, flat: list[bytes] | Entry, text_bytes: int = -1) -> None:
        """Add an entry of field, value, field, value, ...; its ID must be above `last_id`.

        `text_bytes`: the lengths of its texts together, if the caller knows.
        """
        assert entry_id > self.last_id
        if text_bytes < 0:
            text_bytes = sum(map(len, flat))
        nodes = self.nodes
        if nodes and nodes[-1].has_room(text_bytes):
            node = nodes[-1]
        else:
            node = StreamNode(entry_id, tuple(flat[::2]))
            nodes.append(node)
            self._masters.append(entry_id)
        node.append(entry_id, flat)
        self._length += 1
        self.entries_added += 1
        self.last_id = entry_id

    def add_node(self, node: StreamNode) -> None:
        """Add a node with live entries as loaded from a file; the caller sets `last_id` and the other counters."""
        assert node.ids
        self.nodes.append(node)
        self._masters.append(node.master_id)
        self._length += len(node.ids)

    def remove(self, entry_id: int) -> bool:
        """Delete one entry; False when there is none. `max_deleted_id` is the caller's to raise."""
        place = self._find(entry_id)
        if place is None:
            return False
        at, index = place
        node = self.nodes[at]
        node.delete(index)
        self._length -= 1
        if not node.ids:
            del self.nodes[at]
            del self._masters[at]
        return True

    def _find(self, entry_id: int) -> tuple[int, int] | None:
        at = bisect_right(self._masters, entry_id) - 1
        if at < 0:
            return None
        ids = self.nodes[at].ids
        index = bisect_left(ids, entry_id)
        return (at, index) if index < len(ids) and ids[index] == entry_id else None

    def exceeds(self, most: int, approximate: bool) -> bool:
        """Whether `trim_to_length` would remove something, if no limit held it back."""
        spare = self._length - most
        return spare > 0 and (not approximate or spare >= len(self.nodes[0].ids))

    def trim_to_length(self, most: int, approximate: bool, limit: int = 0) -> int:
        """Remove the oldest entries until `most` are left; how many were removed.

        `approximate` removes whole nodes only, and no more than `limit` entries (0: no limit).
        """
        nodes = self.nodes
        removed = whole = 0
        for node in nodes:
            live = len(node.ids)
            left = self._length - removed
            if left <= most or (limit and removed + live > limit):
                break
            if left - live < most:
                if not approximate:
                    node.cut_front(left - most)
                    removed += left - most
                break
            removed += live
            whole += 1
        self._drop_front(whole, removed)
        return removed

    def trim_to_id(self, lowest: int, approximate: bool, limit: int = 0) -> int:
        """Remove the entries with IDs below `lowest`; see `trim_to_length`."""
        nodes = self.nodes
        removed = whole = 0
        for node in nodes:
            live = len(node.ids)
            if limit and removed + live > limit:
                break
            if node.last_id >= lowest:
                count = 0 if approximate else bisect_left(node.ids, lowest)
                if count == live:
                    whole += 1
                else:
                    node.cut_front(count)
                removed += count
                break
            removed += live
            whole += 1
        self._drop_front(whole, removed)
        return removed

    def _drop_front(self, nodes: int, entries: int) -> None:
        if nodes:
            del self.nodes[:nodes]
            del self._masters[:nodes]
        self._length -= entries

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, entry_id: int) -> Entry | None:
        """The entry of an ID, or None."""
        place = self._find(entry_id)
        return None if place is None else self.nodes[place[0]].entries[place[1]]

    def range(self, start: int = 0, end: int = MAX_ID, count: int = 0) -> list[tuple[int, Entry]]:
        """The entries with IDs in [start, end], oldest first, at most `count` (0: all)."""
        found: list[tuple[int, Entry]] = []
        for at in range(max(0, bisect_right(self._masters, start) - 1), len(self.nodes)):
            node = self.nodes[at]
            ids = node.ids
            low = bisect_left(ids, start) if ids[0] < start else 0
            high = bisect_right(ids, end) if ids[-1] > end else len(ids)
            if count:
                high = min(high, low + count - len(found))
            found += zip(ids[low:high], node.entries[low:high], strict=True)
            if ids[-1] > end or node.master_id > end or (count and len(found) >= count):
                break
        return found

    def range_reversed(self, start: int = 0, end: int = MAX_ID, count: int = 0) -> list[tuple[int, Entry]]:
        """The entries with IDs in [start, end], newest first, at most `count` (0: all)."""
        found: list[tuple[int, Entry]] = []
        for at in range(bisect_right(self._masters, end) - 1, -1, -1):
            node = self.nodes[at]
            ids = node.ids
            low = bisect_left(ids, start) if ids[0] < start else 0
            high = bisect_right(ids, end) if ids[-1] > end else len(ids)
            if count:
                low = max(low, high - (count - len(found)))
            if low < high:
                found += zip(ids[low:high][::-1], node.entries[low:high][::-1], strict=True)
            if ids[0] < start or (count and len(found) >= count):
                break
        return found

    def __iter__(self) -> Iterator[tuple[int, Entry]]:
        for node in self.nodes:
            yield from zip(node.ids, node.entries, strict=True)
