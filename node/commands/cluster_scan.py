"""CLUSTERSCAN (Valkey 9.1): the keys of a whole cluster, page by page, whatever moves meanwhile.

A cursor is `fingerprint-{tag}-place`. The tag belongs to the slot that the scan has reached, so that clients route the
cursor as they route a key, and nodes answer MOVED for it. The place is a cursor of `node/keyspace/scan.py` within that
slot; as places follow from the keys alone, it means the same on every node. So a scan goes on where it was when a slot
has moved as a whole or a replica has taken over, and no `hash-seed` must be agreed on for that. A call goes through all
slots of one node that follow each other; the cursor `0-{tag}-0` then leads to the next node.

The fingerprint says by whom the cursor was made and what was seen so far:

- `0`: nothing of this slot yet.
- `s...`: what this node (the rest of the word) had in the slot before the place, and the slot was there as a whole.
- `m...`: the same, but the slot is being moved key by key (SETSLOT MIGRATING) between the two nodes that the word
  stands for. Keys that moved before the scan came to their places are still to be met.
- `t...`: the source has been scanned to its end, what the target has comes now. The source sends the client there (ASK)
  while the slot is open. Keys only move from the source to the target, so nobody is missed that way.

Whatever else comes (the slot was closed and the target is another one, a cursor of another kind of server) starts its
slot again: keys may be met twice, and none is missed. Replicas do not know that their primary's slot is open; whoever
scans one of those meets what it has.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from slotmesh.cluster.numbers import UINT64_MAX, to_uint
from slotmesh.cluster.slots import SLOT_COUNT, key_slot, slot_tag
from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.cluster_args import host_of
from slotmesh.node.commands.scan import ScanOptions, shown
from slotmesh.node.keyspace.scan import SLOT_BITS, place_of, scan_keys
from slotmesh.node.spec.key_specs import key_at
from slotmesh.node.spec.registry import READONLY, TOUCHES_ARBITRARY_KEYS, command

if TYPE_CHECKING:
    from slotmesh.cluster.members import Member
    from slotmesh.cluster.view import ClusterView
    from slotmesh.node.clustering.routing import Routing
    from slotmesh.node.server import NodeClient

_CURSOR: Final = re.compile(rb"([0-9A-Za-z]+)-\{[^{}]+\}-([0-9]{1,20})")
_BAD_CURSOR: Final = ErrorReply("ERR Invalid cursor")
_BAD_SLOT: Final = ErrorReply("ERR Cursor slot mismatch")
_FRESH: Final = b"0"
_WHOLE, _MOVING, _TARGET = b"s", b"m", b"t"
_WILD: Final = frozenset(b"*?[\\")


@command(
    "clusterscan",
    arity=-2,
    syntax="cursor [MATCH pattern] [COUNT count] [TYPE type] [SLOT slot]",
    flags=READONLY | TOUCHES_ARBITRARY_KEYS,
    keys=key_at(b"not_key"),
    group="cluster",
    since="9.1.0",
    complexity="O(COUNT) per call",
    summary="Lists the keys of the cluster page by page; a key that is there all the time is listed at least once.",
    categories=("keyspace",),
    tips=(b"nondeterministic_output", b"request_policy:special", b"response_policy:special"),
)
def cmd_clusterscan(client: NodeClient, argv: list[bytes]) -> Any:
    host = host_of(client)
    options = ScanOptions(argv[2:], for_cluster=True)
    parsed = None if argv[1] == b"0" else _parse(argv[1])
    wanted = options.slot
    only = slot_of_pattern(options.pattern)
    if only is not None:
        if wanted is not None and wanted != only:
            return [b"0", []]
        wanted = only
    if parsed is None:
        return [_fresh(wanted or 0), []]
    fingerprint, slot, place = parsed
    if options.slot is not None and options.slot != slot:
        raise CommandError(_BAD_SLOT)
    if wanted is not None and wanted != slot:  # the only slot that can match lies ahead, or behind
        return [_fresh(wanted) if wanted > slot else b"0", []]
    view = host.core.view
    walk = _Walk(client, host.routing, view, slot, fingerprint, place)
    if walk.elsewhere is not None:
        raise CommandError(errors.ask(slot, *host.routing.endpoint(walk.elsewhere, client)))
    end = min(walk.end, slot + 1 if wanted is not None else SLOT_COUNT)
    cursor, keys = scan_keys(client.db, slot | walk.place << SLOT_BITS, options.count, end)
    return [walk.next_cursor(cursor, end, last=wanted is not None), shown(client.db, keys, options, strict=True)]


class _Walk:
    """Where a cursor leads on this node: from which place, through which slots, or to which other node."""

    __slots__ = ("elsewhere", "end", "fingerprint", "place", "then")

    def __init__(
        self, client: NodeClient, routing: Routing, view: ClusterView, slot: int, fingerprint: bytes, place: int
    ) -> None:
        me, slots = view.myself, view.slots
        run_id = client.server.run_id[:8].encode()
        #: Another node that must be asked first.
        self.elsewhere: Member | None = None
        #: The slot before which the walk ends.
        self.end = slot + 1
        #: What comes after the end of this slot, other than the next slot.
        self.then = b""
        target = slots.migrating_to.get(slot)
        on_target = _TARGET + _mark(me)
        if target is not None:
            if fingerprint == _TARGET + _mark(target):
                self.elsewhere = target
            self.fingerprint = _MOVING + _mark(me, target)
            self.then = b"%b-{%b}-0" % (_TARGET + _mark(target), slot_tag(slot))
        elif slot in slots.importing_from:
            self.fingerprint = on_target
        else:
            self.fingerprint = on_target if fingerprint == on_target else _WHOLE + run_id
            if self.fingerprint != on_target:
                self.end = routing.run_end(slot)
        self.place = place
        if fingerprint == self.fingerprint:
            return
        known = fingerprint[:1] == _WHOLE and slot not in slots.importing_from
        # The index that another node used is not ours, the place is; see `scan_keys`.
        self.place = place_of(place) if known else 0

    def next_cursor(self, cursor: int, end: int, *, last: bool) -> bytes:
        """The cursor for the client after a page. `last`: no other slot follows."""
        if cursor:
            slot = cursor & SLOT_COUNT - 1
            return b"%b-{%b}-%d" % (self.fingerprint, slot_tag(slot), cursor >> SLOT_BITS)
        if self.then:
            return self.then
        return b"0" if last or end == SLOT_COUNT else _fresh(end)


def _fresh(slot: int) -> bytes:
    return b"%b-{%b}-0" % (_FRESH, slot_tag(slot))


def _parse(cursor: bytes) -> tuple[bytes, int, int]:
    """(fingerprint, slot, place) of a cursor other than 0."""
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise CommandError(_BAD_CURSOR)
    place = to_uint(match[2].lstrip(b"0") or b"0", UINT64_MAX)
    if place is None:
        raise CommandError(_BAD_CURSOR)
    return match[1], key_slot(cursor), place


def _mark(*members: Member) -> bytes:
    """A short word for one node or a pair of them, the same on every node."""
    return b"%08x" % crc32("-".join(member.node_id for member in members).encode())


def slot_of_pattern(pattern: bytes | None) -> int | None:
    """The only slot whose keys can match a glob pattern, or None if several can.

    That is so when everything up to the end of the hash tag is literal, or the whole pattern is.
    """
    if pattern is None:
        return None
    literal = next((i for i, letter in enumerate(pattern) if letter in _WILD), len(pattern))
    if literal == len(pattern):
        return key_slot(pattern)
    start = pattern.find(b"{", 0, literal)
    end = pattern.find(b"}", start + 1, literal)
    if start < 0 or end <= start + 1:
        return None
    return key_slot(pattern[: end + 1])
