"""XREAD and XREADGROUP: new entries of several streams, at once or as soon as there are any.

A waiting client must not take `$` for the end of the stream at the time it is served: when it goes to sleep, the
argument is replaced by the ID that `$` meant (the request is ours to change; nobody reads it but the handler when it
runs again).

Reading for a group delivers: AOF and replicas get the outcome, one XCLAIM per entry, or the group's new last ID when
deliveries are not recorded (NOACK).

Up to 7.0 a client that waited was served by other rules than one that did not: the errors, a COUNT by default, and
when its consumer comes into being. Since 7.2 its command simply runs again (`_is_served_late`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from node import errors
from node.arguments import integer
from node.blocking import Block
from node.commands.stream_args import entries_reply, strict_id
from node.compat import COMPAT
from node.errors import CommandError
from node.key_specs import KeySpec
from node.keyspace.notify import STREAM
from node.registry import BLOCKING, READONLY, WRITE, command
from node.resp.values import NULL_ARRAY
from node.types.stream import StreamValue
from node.types.stream_group import Group, Pending
from node.types.stream_id import MAX_ID, format_id

if TYPE_CHECKING:
    from node.client import Client

#: What COUNT is for a client that waited and gave none.
_WAITED_COUNT: Final = 1000
_KEYS_READ: Final = (KeySpec((b"RO", b"ACCESS"), ("keyword", b"STREAMS", 1), ("range", -1, 1, 2)),)
_KEYS_READGROUP: Final = (KeySpec((b"RO", b"ACCESS"), ("keyword", b"STREAMS", 4), ("range", -1, 1, 2)),)
_UNBALANCED: Final = CommandError(
    "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."
)
_GROUP_IN_XREAD: Final = CommandError("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
_NOACK_IN_XREAD: Final = CommandError("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
_NO_GROUP_OPTION: Final = CommandError("ERR Missing GROUP option for XREADGROUP")
_DOLLAR_IN_GROUP: Final = CommandError(
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by "
    "specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set."
)
_NEW_IN_XREAD: Final = CommandError(
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
)
_BAD_BLOCK: Final = CommandError("ERR timeout is not an integer or out of range")
_STREAM_GONE: Final = CommandError("UNBLOCKED the stream key no longer exists")
_GROUP_GONE: Final = CommandError("NOGROUP the consumer group this client was blocked on no longer exists")


class _Request:
    """The parsed options. `keys_at` is the index of the first key; as many IDs follow as there are keys."""

    __slots__ = ("block_ms", "consumer", "count", "group", "keys_at", "noack", "streams")

    def __init__(self) -> None:
        self.block_ms = -1
        self.count = 0
        self.group: bytes | None = None
        self.consumer = b""
        self.noack = False
        self.keys_at = 0
        self.streams = 0


def _unbalanced(for_group: bool) -> CommandError:
    if not COMPAT.newer:
        return _UNBALANCED
    name, mark = (b"xreadgroup", b">") if for_group else (b"xread", b"$")
    return CommandError(
        b"ERR Unbalanced '%b' list of streams: for each stream key an ID or '%b' must be specified." % (name, mark)
    )


def _parse(client: Client, argv: list[bytes], for_group: bool) -> _Request:
    request = _Request()
    i = 1
    while i < len(argv):
        option = argv[i].lower()
        left = len(argv) - 1 - i
        if option == b"block" and left:
            if client.is_script and not COMPAT.newer:
                raise CommandError(b"ERR %b command is not allowed with BLOCK option from scripts" % argv[0])
            request.block_ms = integer(argv[i + 1], _BAD_BLOCK)
            if request.block_ms < 0:
                raise errors.TIMEOUT_NEGATIVE
            i += 2
        elif option == b"count" and left:
            request.count = max(0, integer(argv[i + 1]))
            i += 2
        elif option == b"streams" and left:
            if left & 1:
                raise _unbalanced(for_group)
            request.keys_at, request.streams = i + 1, left >> 1
            break
        elif option == b"group" and left >= 2:
            if not for_group:
                raise _GROUP_IN_XREAD
            request.group, request.consumer = argv[i + 1], argv[i + 2]
            i += 3
        elif option == b"noack":
            if not for_group:
                raise _NOACK_IN_XREAD
            request.noack = True
            i += 1
        else:
            raise errors.SYNTAX
    if not request.keys_at:
        raise errors.SYNTAX
    if for_group and request.group is None:
        raise _NO_GROUP_OPTION
    return request


def _wait(client: Client, argv: list[bytes], request: _Request) -> Any:
    """Nothing to return: wait if the client wanted to."""
    if request.block_ms < 0:
        return NULL_ARRAY
    keys = argv[request.keys_at : request.keys_at + request.streams]
    return Block(keys, request.block_ms, needs_keys=request.group is not None)


def _is_served_late(client: Client) -> bool:
    """Whether `client` waited, and is served by the rules that 7.0 has for that."""
    return client.blocked is not None and not COMPAT.newer


@command(
    "xread",
    arity=-4,
    syntax="[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
    flags=READONLY | BLOCKING,
    keys=_KEYS_READ,
    group="stream",
    since="5.0.0",
    complexity="O(N), N the number of entries returned",
    summary="Returns entries behind given IDs from several streams, waiting for new ones if asked to.",
)
def cmd_xread(client: Client, argv: list[bytes]) -> Any:
    request = _parse(client, argv, False)
    waited = client.blocked is not None
    wanted: list[tuple[bytes, StreamValue, int]] = []
    dollars: list[tuple[int, int]] = []
    for i in range(request.keys_at, request.keys_at + request.streams):
        key, text = argv[i], argv[i + request.streams]
        value = client.db.read(key)
        if value is not None and type(value) is not StreamValue:
            if waited:
                continue  # as if the stream were not there yet
            raise errors.WRONG_TYPE
        if text in (b"$", b"+"):
            after = 0 if value is None else value.last_id
            dollars.append((i + request.streams, after))
            if text == b"+" and value is not None and len(value):
                after = value.last_entry_id - 1
        elif text == b">":
            raise _NEW_IN_XREAD
        else:
            after = strict_id(text)
        if value is not None:
            wanted.append((key, value, after))
    count = request.count or (_WAITED_COUNT if _is_served_late(client) else 0)
    pairs: list[tuple[bytes, Any]] = []
    for key, value, after in wanted:
        if len(value) and value.last_entry_id > after:
            pairs.append((key, entries_reply(value.range(after + 1, MAX_ID, count))))
    if pairs:
        return _streams_reply(client, pairs)
    for at, after in dollars:
        argv[at] = format_id(after)
    return _wait(client, argv, request)


def _streams_reply(client: Client, pairs: list[tuple[bytes, Any]]) -> Any:
    """Entries by stream: a map in RESP3, an array of pairs in RESP2."""
    return dict(pairs) if client.resp3 else pairs


@command(
    "xreadgroup",
    arity=-7,
    syntax=("GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]"),
    flags=WRITE | BLOCKING,
    keys=_KEYS_READGROUP,
    group="stream",
    since="5.0.0",
    complexity="O(N), N the number of entries returned",
    summary="Delivers new entries to a consumer of a group, or returns those it has not acknowledged yet.",
)
def cmd_xreadgroup(client: Client, argv: list[bytes]) -> Any:
    request = _parse(client, argv, True)
    late = _is_served_late(client)
    sources: list[tuple[bytes, StreamValue, Group, int | None]] = []
    for i in range(request.keys_at, request.keys_at + request.streams):
        value, group = _group_of(client, argv[i], request.group or b"", late)
        text = argv[i + request.streams]
        if text == b"$":
            raise _DOLLAR_IN_GROUP
        after = None if text == b">" else strict_id(text)
        sources.append((argv[i], value, group, None if after == MAX_ID else after))
    commands: list[list[bytes]] = []
    pairs: list[tuple[bytes, Any]] = []
    for key, value, group, after in sources:
        if after is None and not (len(value) and value.last_entry_id > group.last_id):
            if COMPAT.newer:  # an attempt counts: the consumer exists from now on, and was seen
                _Delivery(client, key, value, group, request, commands)
            continue
        delivery = _Delivery(client, key, value, group, request, commands)
        if after is None:
            count = request.count or (_WAITED_COUNT if late else 0)
            pairs.append((key, delivery.deliver(count)))
        else:
            pairs.append((key, delivery.history(after, request.count)))
        client.db.keyspace.dirty += 1
    client.propagate_as(*commands)
    return _streams_reply(client, pairs) if pairs else _wait(client, argv, request)


def _group_of(client: Client, key: bytes, name: bytes, late: bool) -> tuple[StreamValue, Group]:
    """Stream and group. Raises CommandError when one is missing."""
    value = client.db.read(key)
    if value is not None and type(value) is not StreamValue and not late:
        raise errors.WRONG_TYPE
    stream = value if type(value) is StreamValue else None
    group = None if stream is None else stream.groups.get(name)
    if stream is not None and group is not None:
        return stream, group
    if late:
        raise _STREAM_GONE if stream is None else _GROUP_GONE
    raise CommandError(b"NOGROUP No such key '%b' or consumer group '%b' in XREADGROUP with GROUP option" % (key, name))


class _Delivery:
    """Reading one stream for one consumer, which is made if need be and seen by that.

    `commands` gathers what AOF and replicas must hear.
    """

    __slots__ = ("_client", "_commands", "_consumer", "_group", "_key", "_noack", "_now_ms", "_value")

    def __init__(
        self,
        client: Client,
        key: bytes,
        value: StreamValue,
        group: Group,
        request: _Request,
        commands: list[list[bytes]],
    ) -> None:
        self._client = client
        self._key = key
        self._value = value
        self._group = group
        self._commands = commands
        self._noack = request.noack
        self._now_ms = client.db.keyspace.now_ms
        self._consumer, made = group.consumer(request.consumer, self._now_ms)
        self._consumer.seen_ms = self._now_ms
        if made:
            client.db.changed(key, STREAM, b"xgroup-createconsumer")
            if request.noack:
                commands.append([b"XGROUP", b"CREATECONSUMER", key, group.name, request.consumer])

    def deliver(self, count: int) -> list[Any]:
        """Hand out entries that the group has not seen; up to `count`, all when 0."""
        value, group = self._value, self._group
        found = value.range(group.last_id + 1, MAX_ID, count)
        for entry_id, _ in found:
            value.advance(group, entry_id)
            if not self._noack:
                pending = group.deliver(entry_id, self._consumer, self._now_ms)
                self._commands.append(claim_command(self._key, group, entry_id, pending))
        # XCLAIM says nothing of the entries read; 7.0 leaves that count to differ on the replicas.
        if self._noack or (COMPAT.newer and found):
            self._commands.append(
                [
                    *(b"XGROUP", b"SETID", self._key, group.name, format_id(group.last_id)),
                    *(b"ENTRIESREAD", b"%d" % group.entries_read),
                ]
            )
        self._consumer.active_ms = self._now_ms
        return entries_reply(found)

    def history(self, after: int, count: int) -> list[Any]:
        """What the consumer got behind `after` and has not acknowledged; entries that were deleted have no fields."""
        entries: list[Any] = []
        pel = self._consumer.pel
        for entry_id in pel.ids(after + 1):
            entry = self._value.get(entry_id)
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
