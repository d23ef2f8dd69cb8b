"""Handing out entries of one stream to one consumer of a group: what XREADGROUP does for each of its streams.

AOF and replicas get the outcome, one XCLAIM per entry, or the group's new last ID when deliveries are not recorded
(NOACK).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.commands.stream_args import entries_reply
from slotmesh.node.commands.stream_idle import IdleEntries
from slotmesh.node.keyspace.notify import STREAM
from slotmesh.node.resp.values import NULL_ARRAY
from slotmesh.node.types.stream_id import MAX_ID, format_id

if TYPE_CHECKING:
    from slotmesh.node.commands.stream_budget import Budget
    from slotmesh.node.server import NodeClient
    from slotmesh.node.types.stream import StreamValue
    from slotmesh.node.types.stream_group import Group, Pending
    from slotmesh.node.types.stream_node import Entry


class ReadRequest:
    """The options of XREAD or XREADGROUP. From index `keys_at` on there are `streams` keys, then as many IDs.

    `claim_ms`, `block_ms`: -1 when not given; the counts and `max_bytes`: 0.
    """

    __slots__ = (
        *("block_ms", "budget", "claim_ms", "consumer", "count", "group", "keys_at"),
        *("max_bytes", "max_count", "noack", "streams"),
    )

    def __init__(self) -> None:
        self.block_ms = -1
        self.claim_ms = -1
        self.count = 0
        self.max_count = 0
        self.max_bytes = 0
        self.budget: Budget | None = None
        self.group: bytes | None = None
        self.consumer = b""
        self.noack = False
        self.keys_at = 0
        self.streams = 0


class Delivery:
    """Reading one stream for one consumer, which is made if need be and seen by that.

    `commands` gathers what AOF and replicas must hear.
    """

    __slots__ = ("_client", "_commands", "_consumer", "_group", "_key", "_now_ms", "_request", "_value")

    def __init__(
        self,
        client: NodeClient,
        key: bytes,
        value: StreamValue,
        group: Group,
        request: ReadRequest,
        commands: list[list[bytes]],
    ) -> None:
        self._client = client
        self._key = key
        self._value = value
        self._group = group
        self._commands = commands
        self._request = request
        self._now_ms = client.db.keyspace.now_ms
        self._consumer, made = group.consumer(request.consumer, self._now_ms)
        self._consumer.seen_ms = self._now_ms
        if made:
            client.db.changed(key, STREAM, b"xgroup-createconsumer")
            if request.noack or request.claim_ms >= 0:  # perhaps there is no entry to tell of the consumer
                commands.append([b"XGROUP", b"CREATECONSUMER", key, group.name, request.consumer])

    def deliver(self, count: int) -> list[Any]:
        """Hand out entries that wait for too long, if CLAIM says so, then such as the group has not seen; up to
        `count`, all when 0."""
        if self._request.claim_ms < 0:
            return entries_reply(self._deliver_new(count))
        rows = self._claim(count)
        if not count or len(rows) < count:
            left = count - len(rows) if count else 0
            rows += [(format_id(entry_id), entry, 0, 0) for entry_id, entry in self._deliver_new(left)]
        return rows

    def _claim(self, count: int) -> list[Any]:
        """Hand out what is pending for too long: rows with the idle time and the number of deliveries till now."""
        group, request = self._group, self._request
        idle = IdleEntries(self._value, group, self._now_ms, request.claim_ms, count, request.budget)
        for entry_id in idle.gone:
            self._commands.append(claim_command(self._key, group, entry_id, group.pel.values[entry_id]))
            group.acknowledge(entry_id)
            self._client.db.keyspace.dirty += 1
        rows = idle.deliver(self._consumer)
        self._commands += [
            claim_command(self._key, group, entry_id, group.pel.values[entry_id]) for entry_id in idle.ids
        ]
        if rows:
            self._consumer.active_ms = self._now_ms
        return rows

    def _deliver_new(self, count: int) -> list[tuple[int, Entry]]:
        value, group, request = self._value, self._group, self._request
        if request.budget is None:
            found = value.range(group.last_id + 1, MAX_ID, count)
        else:
            found = request.budget.range(value, group.last_id + 1, count, request.claim_ms >= 0)
        if not found and request.claim_ms >= 0:
            return found
        noack = request.noack
        for entry_id, _ in found:
            value.advance(group, entry_id)
            if not noack:
                pending = group.deliver(entry_id, self._consumer, self._now_ms)
                self._commands.append(claim_command(self._key, group, entry_id, pending))
        # XCLAIM says nothing of the entries read; 7.0 leaves that count to differ on the replicas.
        if noack or (COMPAT.newer and found):
            self._commands.append(
                [
                    *(b"XGROUP", b"SETID", self._key, group.name, format_id(group.last_id)),
                    *(b"ENTRIESREAD", b"%d" % group.entries_read),
                ]
            )
        self._consumer.active_ms = self._now_ms
        return found

    def history(self, after: int, count: int) -> list[Any]:
        """What the consumer got behind `after` and has not acknowledged; entries that were deleted have no fields."""
        entries: list[Any] = []
        pel, budget = self._consumer.pel, self._request.budget
        for entry_id in pel.ids(after + 1):
            entry = self._value.get(entry_id)
            if budget is not None and not budget.admit(entry_id, entry or ()):
                break
            if entry is None:
                entries.append((format_id(entry_id), NULL_ARRAY))
            else:
                self._group.read_again(entry_id, self._now_ms)
                entries.append((format_id(entry_id), entry))
            if len(entries) == count:
                break
        return entries


def claim_command(key: bytes, group: Group, entry_id: int, pending: Pending) -> list[bytes]:
    """The XCLAIM that makes an equal group elsewhere agree on one pending entry, however often it is run."""
    return [
        *(b"XCLAIM", key, group.name, pending.consumer.name, b"0", format_id(entry_id)),
        *(b"TIME", b"%d" % pending.delivered_ms, b"RETRYCOUNT", b"%d" % pending.count),
        *(b"FORCE", b"JUSTID", b"LASTID", format_id(group.last_id)),
    ]
