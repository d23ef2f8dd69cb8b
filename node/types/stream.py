"""The stream value: an append-only log of entries in nodes of bounded size, plus its consumer groups.

The nodes are cut where the stock server cuts its listpacks (`stream-node-max-entries`, `stream-node-max-bytes`), for
two reasons: approximate trimming removes whole nodes, so clients see the cut in XLEN; and RDB files carry the nodes.
For that a node knows how long its listpack would be. All else is plain: IDs and entries are parallel lists, a
bisection over the nodes' first IDs and one inside a node find any ID, deleting and trimming cut short lists.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from slotmesh.cluster.numbers import INT64_MAX
from slotmesh.node.types.stream_group import ENTRIES_READ_UNKNOWN, Group
from slotmesh.node.types.stream_id import MAX_ID
from slotmesh.node.types.stream_node import Entry, StreamNode
from slotmesh.node.types.stream_once import SentMessages


class StreamValue:
    """A stream. IDs are integers (`stream_id.py`). A stream may be empty and still exist."""

    __slots__ = ("_masters", "entries_added", "groups", "last_id", "length", "max_deleted_id", "nodes", "sent")

    TYPE: Final = b"stream"

    def __init__(self) -> None:
        self.nodes: list[StreamNode] = []
        self._masters: list[int] = []
        #: How many entries there are; to be read only.
        self.length = 0
        #: The greatest ID ever added or set; a new entry must be greater.
        self.last_id = 0
        #: The greatest ID ever deleted by XDEL.
        self.max_deleted_id = 0
        #: Entries added in the stream's whole life.
        self.entries_added = 0
        self.groups: dict[bytes, Group] = {}
        #: What producers have sent, once one of them or XCFGSET asked for that to be remembered.
        self.sent: SentMessages | None = None

    def __len__(self) -> int:
        return self.length

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
        twin.sent = None if self.sent is None else self.sent.copy()
        return twin

    def size_bytes(self, samples: int = 5) -> int:
        """Estimated memory: lists and IDs exactly, entries from `samples` nodes (0: all), groups from their counts."""
        total = 300 + 16 * len(self.nodes) + 110 * self.length
        taken = self.nodes[: samples or None]
        if taken:
            texts = sum(node.size_bytes for node in taken)
            objects = sum(node.objects_bytes() for node in taken)
            total += (texts + objects) * len(self.nodes) // len(taken)
        for group in self.groups.values():
            total += 400 + 280 * len(group.pel) + 400 * len(group.consumers)
        return total if self.sent is None else total + self.sent.size_bytes()

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
        return bool(gone and self.length) and self.first_id <= gone and start <= gone

    def reads_up_to(self, entry_id: int) -> int:
        """How many entries had been added up to `entry_id` ever; ENTRIES_READ_UNKNOWN when that cannot be told."""
        if not self.entries_added:
            return 0
        if entry_id == self.last_id or (not self.length and entry_id < self.last_id):
            return self.entries_added
        if entry_id > self.last_id:
            return ENTRIES_READ_UNKNOWN
        first = self.first_id
        if self.max_deleted_id < first:  # nothing was deleted from the middle
            if entry_id < first:
                return self.entries_added - self.length
            if entry_id == first:
                return self.entries_added - self.length + 1
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
            if group.entries_read > INT64_MAX:  # what no command could say
                group.entries_read = ENTRIES_READ_UNKNOWN
        elif self.entries_added:
            group.entries_read = self.reads_up_to(entry_id)
        group.last_id = entry_id

    # -- adding and removing ---------------------------------------------------------------------------------

    def append(self, entry_id: int, flat: list[bytes] | Entry, text_bytes: int = -1) -> None:
        """Add an entry of field, value, field, value, ...; its ID must be above `last_id` (nobody checks it here).

        `text_bytes`: the lengths of its texts together, if the caller knows.
        """
        if text_bytes < 0:
            text_bytes = sum(map(len, flat))
        nodes = self.nodes
        if not nodes or not nodes[-1].take(entry_id, flat, text_bytes):
            node = StreamNode(entry_id, tuple(flat[::2]))
            node.append(entry_id, flat)
            nodes.append(node)
            self._masters.append(entry_id)
        self.length += 1
        self.entries_added += 1
        self.last_id = entry_id

    def add_node(self, node: StreamNode) -> None:
        """Add a node with live entries as loaded from a file; the caller sets `last_id` and the other counters."""
        assert node.ids
        self.nodes.append(node)
        self._masters.append(node.master_id)
        self.length += len(node.ids)

    def ids_up_to(self, last: int, count: int) -> list[int]:
        """The IDs of the first entries, up to `last` and at most `count`."""
        found: list[int] = []
        for node in self.nodes:
            if len(found) >= count or node.ids[0] > last:
                break
            found += node.ids[: min(count - len(found), bisect_right(node.ids, last))]
        return found

    def remove(self, entry_id: int) -> bool:
        """Delete one entry; False when there is none. `max_deleted_id` is the caller's to raise."""
        place = self._find(entry_id)
        if place is None:
            return False
        at, index = place
        node = self.nodes[at]
        node.delete(index)
        self.length -= 1
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

    def trim_to_length(self, most: int, approximate: bool, limit: int = 0) -> int:
        """Remove the oldest entries until `most` are left; how many were removed.

        `approximate` removes whole nodes only, and no more than `limit` entries (0: no limit).
        """
        nodes = self.nodes
        removed = whole = 0
        for node in nodes:
            live = len(node.ids)
            left = self.length - removed
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
        self.length -= entries

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, entry_id: int) -> Entry | None:
        """The entry of an ID, or None."""
        place = self._find(entry_id)
        return None if place is None else self.nodes[place[0]].slice(place[1], place[1] + 1)[0]

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
            found += zip(ids[low:high], node.slice(low, high), strict=True)
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
                found += zip(ids[low:high][::-1], node.slice(low, high)[::-1], strict=True)
            if ids[0] < start or (count and len(found) >= count):
                break
        return found

    def __iter__(self) -> Iterator[tuple[int, Entry]]:
        for node in self.nodes:
            yield from zip(node.ids, node.entries, strict=True)
