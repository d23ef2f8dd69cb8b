"""XCLAIM and XAUTOCLAIM: taking over entries that another consumer got and never acknowledged.

AOF and replicas get one XCLAIM per entry, with the outcome spelled out (`stream_delivery.claim_command`).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.stream_args import entry_reply, find_group, interval_start, no_group, strict_id
from slotmesh.node.commands.stream_delivery import claim_command
from slotmesh.node.commands.stream_release import is_release, obey_release
from slotmesh.node.keyspace.notify import STREAM
from slotmesh.node.spec.arguments import integer, integer_between
from slotmesh.node.spec.key_specs import KEY_DELETE, KEY_UPDATE
from slotmesh.node.spec.registry import FAST, WRITE, command
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_group import MAX_DELIVERIES, Consumer, Group, Pending
from slotmesh.node.types.stream_id import format_id, parse_id

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_ANY_OUTPUT: Final = (b"nondeterministic_output",)
#: XAUTOCLAIM looks at this many pending entries per entry it may claim.
_ATTEMPTS_FACTOR: Final = 10
_DEFAULT_COUNT: Final = 100
_MAX_COUNT: Final = (2**63 - 1) // 16
_COUNT_NOT_POSITIVE: Final = ErrorReply("ERR COUNT must be > 0")


def _bad(what: bytes, name: bytes) -> ErrorReply:
    return ErrorReply(b"ERR Invalid %b argument for %b" % (what, name))


class _Claim:
    """One claim under way: what was asked, and what AOF and replicas must hear of it."""

    __slots__ = ("_commands", "_consumer", "client", "group", "justid", "key", "min_idle_ms", "name", "now_ms", "value")

    def __init__(self, client: NodeClient, key: bytes, name: bytes, min_idle_ms: int, value: StreamValue, group: Group):
        self.client = client
        self.key = key
        self.name = name
        self.min_idle_ms = max(0, min_idle_ms)
        self.value = value
        self.group = group
        self.justid = False
        self.now_ms = client.db.keyspace.now_ms
        self._consumer: Consumer | None = None
        self._commands: list[list[bytes]] = []

    @property
    def propagated(self) -> bool:
        """Whether any entry changed hands or was dropped."""
        return bool(self._commands)

    def drop_if_deleted(self, entry_id: int) -> bool:
        """Forget a pending entry that the stream has no more; True when it has not."""
        if self.value.get(entry_id) is not None:
            return False
        pending = self.group.pel.get(entry_id)
        if pending is not None:
            self._propagate(entry_id, pending)
            self.group.acknowledge(entry_id)
        return True

    def is_idle(self, pending: Pending) -> bool:
        """Whether the entry was delivered long enough ago, or nobody owns it."""
        return (
            not self.min_idle_ms
            or self.now_ms - pending.delivered_ms >= self.min_idle_ms
            or pending.consumer is self.group.unowned
        )

    def take(self, entry_id: int, delivered_ms: int, count: int) -> Any:
        """Hand the entry to the claiming consumer; the reply for it."""
        claimer = self._claimer()
        claimer.active_ms = self.now_ms
        pending = self.group.deliver(entry_id, claimer, delivered_ms, count)
        self._propagate(entry_id, pending)
        if self.justid:
            return format_id(entry_id)
        entry = self.value.get(entry_id)
        assert entry is not None
        return entry_reply(entry_id, entry)

    def next_count(self, pending: Pending | None) -> int:
        """How often the entry will have been delivered; only telling its ID is no delivery."""
        old = 1 if pending is None else pending.count
        return old if self.justid else min(old + 1, MAX_DELIVERIES)

    def finish(self, *more: list[bytes]) -> None:
        """Propagate what happened, and nothing else."""
        self.client.propagate_as(*self._commands, *more)

    def begin(self) -> None:
        """The request is well-formed: since 7.2 an attempt of the consumer that counts. Before, only success does."""
        if COMPAT.newer:
            self._claimer()

    def _claimer(self) -> Consumer:
        if self._consumer is None:
            self._consumer, made = self.group.consumer(self.name, self.now_ms)
            self._consumer.seen_ms = self.now_ms
            if made:
                self.client.db.changed(self.key, STREAM, b"xgroup-createconsumer")
        return self._consumer

    def _propagate(self, entry_id: int, pending: Pending) -> None:
        self._commands.append(claim_command(self.key, self.group, entry_id, pending))
        self.client.db.keyspace.dirty += 1


class _ClaimOptions:
    """The options of XCLAIM behind its IDs."""

    __slots__ = ("delivered_ms", "force", "justid", "last_id", "retry_count")

    def __init__(self, argv: list[bytes], at: int, now_ms: int) -> None:
        """Parse. Raises CommandError."""
        self.force = self.justid = False
        self.delivered_ms, self.retry_count, self.last_id = -1, -1, 0
        while at < len(argv):
            option = argv[at].lower()
            if option == b"force":
                self.force = True
            elif option == b"justid":
                self.justid = True
            elif at + 1 < len(argv) and option in (b"idle", b"time", b"retrycount", b"lastid"):
                at += 1
                self._take(option, argv[at], now_ms)
            else:
                raise CommandError(b"ERR Unrecognized XCLAIM option '%b'" % argv[at])
            at += 1
        if not 0 <= self.delivered_ms <= now_ms:
            self.delivered_ms = now_ms

    def _take(self, option: bytes, text: bytes, now_ms: int) -> None:
        if option == b"lastid":
            self.last_id = strict_id(text)
            return
        number = integer(text, _bad(option.upper() + b" option", b"XCLAIM"))
        if option == b"retrycount":
            self.retry_count = number
        else:
            self.delivered_ms = now_ms - number if option == b"idle" else number


@command(
    "xclaim",
    arity=-6,
    syntax=(
        "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] "
        "[RETRYCOUNT count] [FORCE] [JUSTID] [LASTID id]"
    ),
    flags=WRITE | FAST,
    keys=KEY_UPDATE,
    group="stream",
    since="5.0.0",
    complexity="O(log(N)) per entry, N the number of pending entries",
    summary="Makes pending entries those of another consumer.",
    tips=_ANY_OUTPUT,
)
def cmd_xclaim(client: NodeClient, argv: list[bytes]) -> Any:
    key, name = argv[1], argv[2]
    found = find_group(client, key, name)
    if found is None:
        raise CommandError(no_group(key, name))
    value, group = found
    if is_release(client, argv):
        return obey_release(client, argv, value, group)
    claim = _Claim(client, key, argv[3], integer(argv[4], _bad(b"min-idle-time", b"XCLAIM")), value, group)
    ids: list[int] = []
    for text in argv[5:]:
        entry_id = parse_id(text)
        if entry_id is None:
            break
        ids.append(entry_id)
    options = _ClaimOptions(argv, 5 + len(ids), claim.now_ms)
    claim.justid = options.justid
    moved_on = options.last_id > group.last_id
    if moved_on:
        group.last_id = options.last_id
    claim.begin()
    replies: list[Any] = []
    for entry_id in ids:
        if claim.drop_if_deleted(entry_id):
            continue
        pending = group.pel.get(entry_id)
        if pending is None:
            if not options.force:
                continue
        elif not claim.is_idle(pending):
            continue
        count = options.retry_count if options.retry_count >= 0 else claim.next_count(pending)
        replies.append(claim.take(entry_id, options.delivered_ms, count))
    if moved_on and not claim.propagated:
        client.db.keyspace.dirty += 1
        last_id, entries_read = format_id(group.last_id), b"%d" % group.entries_read
        claim.finish([b"XGROUP", b"SETID", key, name, last_id, b"ENTRIESREAD", entries_read])
    else:
        claim.finish()
    return replies


def _autoclaim_options(argv: list[bytes]) -> tuple[int, int, int, bool]:
    """(min-idle-time in ms, first ID, COUNT, JUSTID)."""
    min_idle_ms = integer(argv[4], _bad(b"min-idle-time", b"XAUTOCLAIM"))
    start = interval_start(argv[5])
    count, justid, at = _DEFAULT_COUNT, False, 6
    while at < len(argv):
        option = argv[at].lower()
        if option == b"count" and at + 1 < len(argv):
            count = integer_between(argv[at + 1], 1, _MAX_COUNT, _COUNT_NOT_POSITIVE)
            at += 2
        elif option == b"justid":
            justid = True
            at += 1
        else:
            raise CommandError(errors.SYNTAX)
    return min_idle_ms, start, count, justid


@command(
    "xautoclaim",
    arity=-6,
    syntax="key group consumer min-idle-time start [COUNT count] [JUSTID]",
    flags=WRITE | FAST,
    keys=KEY_DELETE,
    group="stream",
    since="6.2.0",
    complexity="O(N), N the number of entries looked at",
    summary="Makes entries that are pending for too long those of another consumer.",
    tips=_ANY_OUTPUT,
)
def cmd_xautoclaim(client: NodeClient, argv: list[bytes]) -> Any:
    """[where to go on, claimed entries, IDs of pending entries that the stream has no more]."""
    key, name = argv[1], argv[2]
    try:
        min_idle_ms, start, count, justid = _autoclaim_options(argv)
    except CommandError:
        client.db.read(key)  # stock reads before it parses: that the key is missing is an event all the same
        raise
    found = find_group(client, key, name)
    if found is None:
        raise CommandError(no_group(key, name))
    value, group = found
    claim = _Claim(client, key, argv[3], min_idle_ms, value, group)
    claim.justid = justid
    claim.begin()
    attempts = min(count * _ATTEMPTS_FACTOR, len(group.pel))
    ids = list(islice(group.pel.ids(start), attempts + 1))
    replies: list[Any] = []
    deleted: list[bytes] = []
    looked_at = 0
    while looked_at < min(attempts, len(ids)) and len(replies) + len(deleted) < count:
        entry_id = ids[looked_at]
        looked_at += 1
        if claim.drop_if_deleted(entry_id):
            deleted.append(format_id(entry_id))
            continue
        pending = group.pel.values[entry_id]
        if claim.is_idle(pending):
            replies.append(claim.take(entry_id, claim.now_ms, claim.next_count(pending)))
    claim.finish()
    cursor = ids[looked_at] if looked_at < len(ids) else 0
    return [format_id(cursor), replies, deleted]
