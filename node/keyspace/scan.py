"""Cursors that stay good while a collection changes: for SCAN over the keyspace, and for HSCAN, SSCAN and ZSCAN.

Every element has a place that never changes: a hash of its bytes (24 bits of CRC-32, the same in every process). A scan
walks the places in ascending order and its cursor is the next place to look at. So an element that is there from start
to end is met once, whatever comes, goes or is rehashed meanwhile, and the cursor means the same on a replica or after a
restart; nothing is kept for a scan, and nothing must be cleaned up when one is abandoned.

What makes a page cheap:

- a collection of up to `SMALL` elements is looked at as a whole for each page;
- a larger one gets an index, which sorts its elements into buckets of neighbouring places. An index is only a cache. A
  scan may use any index that is younger than the scan itself, as elements that were removed are checked against the
  collection, and elements that were added later need not be returned. To know that, cursors into indexed collections
  carry a tag, and an index knows the tags of the scans that may use it; others make a new one.
- making an index of a million elements would take 0.4 s. So it is made in steps, one per page, and pages are empty
  until it is ready: the protocol allows that. It goes in steps, too (`_Indexes.lazy_free`).

Cursors stay below 2**53, which clients that parse them as floating point numbers need.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final
from zlib import crc32

from slotmesh.node.keyspace.lazy_free import LazyFree

if TYPE_CHECKING:
    from slotmesh.node.keyspace.database import Database

#: Collections up to this size are sorted anew for each page, which takes 0.1 ms.
SMALL: Final = 128
SLOT_BITS: Final = 14
_PLACE_BITS: Final = 24
_CRC_EXTRA_BITS: Final = 32 - _PLACE_BITS
_TAG_BITS: Final = 15
_TAGS: Final = (1 << _TAG_BITS) - 1
_PLACES: Final = 1 << _PLACE_BITS
_BUCKET_SIZE: Final = 16
#: Elements put into an index per page: about 4 ms.
_BUILD_STEP: Final = 10_000
#: Indexes kept at the same time.
_MAX_INDEXES: Final = 32


class _Index:
    """What a large collection held at one time, in buckets by place; `tags` are the scans that may use it."""

    __slots__ = ("_queue", "_shift", "buckets", "tags")

    def __init__(self, names: Collection[bytes], tag: int) -> None:
        self.tags = {tag}
        self._queue = list(names)
        bits = min(_PLACE_BITS, (len(self._queue) // _BUCKET_SIZE).bit_length())
        self._shift = _PLACE_BITS - bits
        self.buckets: list[list[bytes] | None] = [None] * (1 << bits)

    def build(self, limit: int) -> bool:
        """Sort the next `limit` elements in; True when all are."""
        buckets, shift = self.buckets, self._shift + _CRC_EXTRA_BITS
        queue = self._queue
        step = queue[-limit:]
        del queue[-limit:]
        for name in step:
            number = crc32(name) >> shift
            bucket = buckets[number]
            if bucket is None:
                buckets[number] = [name]
            else:
                bucket.append(name)
        return not queue

    def page(self, names: Collection[bytes], place: int, count: int) -> tuple[int, list[bytes]]:
        """(next place or 0, the elements from `place` on that still exist)."""
        low = place << _CRC_EXTRA_BITS
        found: list[bytes] = []
        number = place >> self._shift
        while number < len(self.buckets) and len(found) < count:
            found += [name for name in self.buckets[number] or () if name in names and crc32(name) >= low]
            number += 1
        return (number << self._shift if number < len(self.buckets) else 0), found


class _Collection:
    """What is known of one large collection. It is held here, so that its id stays its own."""

    __slots__ = ("building", "names", "ready", "used")

    def __init__(self, names: Collection[bytes]) -> None:
        self.names = names
        self.ready: _Index | None = None
        self.building: _Index | None = None
        self.used = True

    def index_for(self, tag: int, at_once: bool, lazy_free: LazyFree) -> _Index | None:
        """An index that the scan `tag` may use; None while it is not ready, after a step of work on it."""
        ready = self.ready
        if ready is not None and tag in ready.tags:
            return ready
        if self.building is None:
            self.building = _Index(self.names, tag)
            if len(self.names) > _BUILD_STEP and not at_once:
                return None  # listing a large collection is work enough for one page
        building = self.building
        if not building.build(len(self.names) if at_once else _BUILD_STEP):
            return None
        self.building = None
        self.ready = building
        if ready is not None:
            building.tags |= ready.tags
            lazy_free.add_parts(ready.buckets, 0)
        # A scan that is younger than this index waited for it in vain and starts the next one when it comes again.
        return building if tag in building.tags else None


class _Indexes:
    """The collections that have an index, least recently used first."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[int, _Collection] = OrderedDict()
        #: Takes worn indexes apart: dropping one of a million elements in one go takes 30 ms. The cron steps it.
        self.lazy_free = LazyFree()
        # Tags of another process, or of this one before it was restarted, should not look like ours.
        self._last_tag = random.randrange(_TAGS)

    def page(self, names: Collection[bytes], place: int, tag: int, count: int) -> tuple[int, int, list[bytes]]:
        """(next place, tag of the scan, elements). The scan is over when place and tag are 0."""
        collection = self._by_id.get(id(names))
        if collection is None:
            collection = self._by_id[id(names)] = _Collection(names)
        self._by_id.move_to_end(id(names))
        collection.used = True
        crowded = len(self._by_id) > _MAX_INDEXES
        if crowded:
            self._drop(next(iter(self._by_id)))
        if not tag:
            tag = self._last_tag = self._last_tag % _TAGS + 1
        # Where scans push each other's indexes out, an index that takes several pages might never be ready.
        index = collection.index_for(tag, crowded, self.lazy_free)
        if index is None:
            return place, tag, []
        next_place, found = index.page(names, place, count)
        if next_place:
            return next_place, tag, found
        index.tags.discard(tag)
        if not index.tags and collection.building is None:
            self._drop(id(names))
        return 0, 0, found

    def _drop(self, key: int) -> None:
        collection = self._by_id.pop(key)
        for index in (collection.ready, collection.building):
            if index is not None:
                self.lazy_free.add_parts(index.buckets, 0)

    def sweep(self) -> None:
        """Drop the indexes that nobody used since the last sweep. To be called now and then."""
        for key, collection in list(self._by_id.items()):
            if not collection.used:
                self._drop(key)
            collection.used = False


INDEXES: Final = _Indexes()


def scan_mapping(names: Collection[bytes], cursor: int, count: int) -> tuple[int, list[bytes]]:
    """One page of a scan over a dict or set of byte strings: (next cursor, 0 at the end; names).

    `cursor` 0 starts a scan; any other number is accepted, as clients may send anything. About `count` names are
    returned, all of a collection that has no more, none while an index is being made. The names exist at the time of
    the call.
    """
    if not cursor and len(names) <= count:
        return 0, list(names)
    place, tag = cursor & _PLACES - 1, cursor >> _PLACE_BITS & _TAGS
    next_place, tag, found = _page(names, place, tag, count)
    return next_place | tag << _PLACE_BITS, found


def place_of(cursor: int) -> int:
    """A cursor of `scan_mapping` as another process may continue it: without the tag of an index that it has not."""
    return cursor & _PLACES - 1


def scan_keys(db: Database, cursor: int, count: int, end: int = 1 << SLOT_BITS) -> tuple[int, list[bytes]]:
    """One page of a scan over the keys of a database, slot by slot: (next cursor, keys). Expired keys are included.

    The low 14 bits of the cursor are the slot, the others the cursor within its dict. The scan ends before slot `end`.
    """
    slots = db.slots
    slot = cursor & (1 << SLOT_BITS) - 1
    place, tag = cursor >> SLOT_BITS & _PLACES - 1, cursor >> SLOT_BITS + _PLACE_BITS & _TAGS
    found: list[bytes] = []
    total = min(len(slots), end)
    while slot < total:
        held = slots[slot]
        if held:
            wanted = count - len(found)
            if not place and not tag and len(held) <= 2 * wanted:
                found += held
            else:
                place, tag, names = _page(held, place, tag, wanted)
                found += names
                if place or tag:
                    return slot | place << SLOT_BITS | tag << SLOT_BITS + _PLACE_BITS, found
        slot += 1
        place = tag = 0
        if len(found) >= count:
            break
    while slot < total and not slots[slot]:
        slot += 1
    return (slot if slot < total else 0), found


def _page(names: Collection[bytes], place: int, tag: int, count: int) -> tuple[int, int, list[bytes]]:
    if len(names) > SMALL:
        return INDEXES.page(names, place, tag, count)
    next_place, found = _sorted_page(names, place, count)
    return next_place, 0, found


def _sorted_page(names: Iterable[bytes], place: int, count: int) -> tuple[int, list[bytes]]:
    low = place << _CRC_EXTRA_BITS
    placed = sorted((crc, name) for name in names if (crc := crc32(name)) >= low)
    if len(placed) <= count:
        return 0, [name for _, name in placed]
    # Elements of one place go out together: the cursor could not tell them apart.
    last = placed[count - 1][0] >> _CRC_EXTRA_BITS
    end = count
    while end < len(placed) and placed[end][0] >> _CRC_EXTRA_BITS == last:
        end += 1
    return (last + 1 if end < len(placed) else 0), [name for _, name in placed[:end]]
