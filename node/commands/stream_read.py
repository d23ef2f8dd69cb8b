"""XREAD and XREADGROUP: new entries of several streams, at once or as soon as there are any.

A waiting client must not take `$` for the end of the stream at the time it is served: when it goes to sleep, the
argument is replaced by the ID that `$` meant (the request is ours to change; nobody reads it but the handler when it
runs again).

CLAIM (8.4) hands out what others got and did not acknowledge in time, before anything new (`stream_idle.py`); a client
that waits is looked at again when the next entry will have been pending for long enough. MAXCOUNT and MAXSIZE (8.10)
bound the whole reply (`stream_budget.py`).

Up to 7.0 a client that waited was served by other rules than one that did not: the errors, a COUNT by default, and
when its consumer comes into being. Since 7.2 its command simply runs again (`_is_served_late`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.block import Block
from slotmesh.node.commands.stream_args import entries_reply, strict_id
from slotmesh.node.commands.stream_budget import Budget, positive
from slotmesh.node.commands.stream_delivery import Delivery, ReadRequest
from slotmesh.node.commands.stream_idle import next_idle_ms
from slotmesh.node.resp.values import NULL_ARRAY
from slotmesh.node.spec.arguments import integer
from slotmesh.node.spec.key_specs import KeySpec
from slotmesh.node.spec.registry import BLOCKING, READONLY, WRITE, command
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_group import Group
from slotmesh.node.types.stream_id import MAX_ID, format_id

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

#: What COUNT is for a client that waited and gave none.
_WAITED_COUNT: Final = 1000
_KEYS_READ: Final = (KeySpec((b"RO", b"ACCESS"), ("keyword", b"STREAMS", 1), ("range", -1, 1, 2)),)
_KEYS_READGROUP: Final = (KeySpec((b"RO", b"ACCESS"), ("keyword", b"STREAMS", 4), ("range", -1, 1, 2)),)
_UNBALANCED: Final = ErrorReply(
    "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."
)
_GROUP_IN_XREAD: Final = ErrorReply("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
_NOACK_IN_XREAD: Final = ErrorReply("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
_CLAIM_IN_XREAD: Final = ErrorReply("ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead.")
_BAD_IDLE: Final = ErrorReply("ERR min-idle-time is not an integer or out of range")
_NEGATIVE_IDLE: Final = ErrorReply("ERR min-idle-time must be a positive integer")
_NO_GROUP_OPTION: Final = ErrorReply("ERR Missing GROUP option for XREADGROUP")
_DOLLAR_IN_GROUP: Final = ErrorReply(
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by "
    "specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set."
)
_NEW_IN_XREAD: Final = ErrorReply(
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
)
_BAD_BLOCK: Final = ErrorReply("ERR timeout is not an integer or out of range")
_STREAM_GONE: Final = ErrorReply("UNBLOCKED the stream key no longer exists")
_GROUP_GONE: Final = ErrorReply("NOGROUP the consumer group this client was blocked on no longer exists")


def _unbalanced(for_group: bool) -> ErrorReply:
    if not COMPAT.newer:
        return _UNBALANCED
    name, mark = (b"xreadgroup", b">") if for_group else (b"xread", b"$")
    return ErrorReply(
        b"ERR Unbalanced '%b' list of streams: for each stream key an ID or '%b' must be specified." % (name, mark)
    )


def _parse(client: NodeClient, argv: list[bytes], for_group: bool) -> ReadRequest:
    request = ReadRequest()
    i = 1
    while i < len(argv):
        option = argv[i].lower()
        left = len(argv) - 1 - i
        if option == b"block" and left:
            if client.is_script and not COMPAT.newer:
                raise CommandError(b"ERR %b command is not allowed with BLOCK option from scripts" % argv[0])
            request.block_ms = integer(argv[i + 1], _BAD_BLOCK)
            if request.block_ms < 0:
                raise CommandError(errors.TIMEOUT_NEGATIVE)
            i += 2
        elif option == b"count" and left:
            request.count = max(0, integer(argv[i + 1]))
            i += 2
        elif option == b"streams" and left:
            if left & 1:
                raise CommandError(_unbalanced(for_group))
            request.keys_at, request.streams = i + 1, left >> 1
            break
        elif option == b"group" and left >= 2:
            if not for_group:
                raise CommandError(_GROUP_IN_XREAD)
            request.group, request.consumer = argv[i + 1], argv[i + 2]
            i += 3
        elif option == b"noack":
            if not for_group:
                raise CommandError(_NOACK_IN_XREAD)
            request.noack = True
            i += 1
        elif option in (b"maxcount", b"maxsize", b"claim") and left:
            _take_bound(request, option, argv[i + 1], for_group)
            i += 2
        else:
            raise CommandError(errors.SYNTAX)
    if not request.keys_at:
        raise CommandError(errors.SYNTAX)
    if for_group and request.group is None:
        raise CommandError(_NO_GROUP_OPTION)
    if request.max_count or request.max_bytes:
        request.budget = Budget(request.max_count, request.max_bytes, request.count)
    return request


def _take_bound(request: ReadRequest, option: bytes, text: bytes, for_group: bool) -> None:
    """MAXCOUNT, MAXSIZE or CLAIM."""
    if option == b"maxcount":
        request.max_count = positive(b"MAXCOUNT", text)
    elif option == b"maxsize":
        request.max_bytes = positive(b"MAXSIZE", text)
    elif not for_group:
        raise CommandError(_CLAIM_IN_XREAD)
    else:
        request.claim_ms = integer(text, _BAD_IDLE)
        if request.claim_ms < 0:
            raise CommandError(_NEGATIVE_IDLE)


def _wait(client: NodeClient, argv: list[bytes], request: ReadRequest, retry_ms: int = 0) -> Any:
    """Nothing to return: wait if the client wanted to."""
    if request.block_ms < 0:
        return NULL_ARRAY
    keys = argv[request.keys_at : request.keys_at + request.streams]
    return Block(keys, request.block_ms, needs_keys=request.group is not None, retry_ms=retry_ms)


def _is_served_late(client: NodeClient) -> bool:
    """Whether `client` waited, and is served by the rules that 7.0 has for that."""
    return client.blocked is not None and not COMPAT.newer


@command(
    "xread",
    arity=-4,
    syntax=(
        "[COUNT count] [MAXCOUNT maxcount(integer)] [MAXSIZE maxsize(integer)] [BLOCK milliseconds] "
        "STREAMS key [key ...] id [id ...]"
    ),
    flags=READONLY | BLOCKING,
    keys=_KEYS_READ,
    group="stream",
    since="5.0.0",
    complexity="O(N), N the number of entries returned",
    summary="Returns entries behind given IDs from several streams, waiting for new ones if asked to.",
)
def cmd_xread(client: NodeClient, argv: list[bytes]) -> Any:
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
            raise CommandError(errors.WRONG_TYPE)
        if text in (b"$", b"+"):
            after = 0 if value is None else value.last_id
            dollars.append((i + request.streams, after))
            if text == b"+" and value is not None and len(value):
                after = value.last_entry_id - 1
        elif text == b">":
            raise CommandError(_NEW_IN_XREAD)
        else:
            after = strict_id(text)
        if value is not None:
            wanted.append((key, value, after))
    if not waited:
        _read_again(client, argv[request.keys_at : request.keys_at + request.streams], len(wanted))
    count = request.count or (_WAITED_COUNT if _is_served_late(client) else 0)
    budget = request.budget
    pairs: list[tuple[bytes, Any]] = []
    for key, value, after in wanted:
        if not len(value) or value.last_entry_id <= after:
            continue
        if budget is None:
            pairs.append((key, entries_reply(value.range(after + 1, MAX_ID, count))))
            continue
        budget.open(key)
        if found := budget.range(value, after + 1, count):
            pairs.append((key, entries_reply(found)))
    if pairs:
        return _streams_reply(client, pairs)
    for at, after in dollars:
        argv[at] = format_id(after)
    return _wait(client, argv, request)


def _read_again(client: NodeClient, keys: list[bytes], found: int) -> None:
    """Stock looks every key up twice: once for the type, once for the entries: that shows in hits, misses, events."""
    keyspace = client.db.keyspace
    if found < len(keys):
        for key in keys:
            client.db.read(key)
    else:
        keyspace.hits += found


def _streams_reply(client: NodeClient, pairs: list[tuple[bytes, Any]]) -> Any:
    """Entries by stream: a map in RESP3, an array of pairs in RESP2."""
    return dict(pairs) if client.resp3 else pairs


@command(
    "xreadgroup",
    arity=-7,
    syntax=(
        "GROUP group consumer [COUNT count] [MAXCOUNT maxcount(integer)] [MAXSIZE maxsize(integer)] "
        "[BLOCK milliseconds] [CLAIM min-idle-time(integer)] [NOACK] STREAMS key [key ...] id [id ...]"
    ),
    flags=WRITE | BLOCKING,
    keys=_KEYS_READGROUP,
    group="stream",
    since="5.0.0",
    complexity="O(N), N the number of entries returned",
    summary="Delivers new entries to a consumer of a group, or returns those it has not acknowledged yet.",
)
def cmd_xreadgroup(client: NodeClient, argv: list[bytes]) -> Any:
    request = _parse(client, argv, True)
    late = _is_served_late(client)
    sources: list[tuple[bytes, StreamValue, Group, int | None]] = []
    for i in range(request.keys_at, request.keys_at + request.streams):
        value, group = _group_of(client, argv[i], request.group or b"", late)
        text = argv[i + request.streams]
        if text == b"$":
            raise CommandError(_DOLLAR_IN_GROUP)
        after = None if text == b">" else strict_id(text)
        sources.append((argv[i], value, group, None if after == MAX_ID else after))
    commands: list[list[bytes]] = []
    pairs: list[tuple[bytes, Any]] = []
    budget = request.budget
    for key, value, group, after in sources:
        claims = after is None and request.claim_ms >= 0 and len(group.pel) > 0
        if after is None and not claims and not (len(value) and value.last_entry_id > group.last_id):
            if COMPAT.newer:  # an attempt counts: the consumer exists from now on, and was seen
                Delivery(client, key, value, group, request, commands)
            continue
        if budget is not None:
            if budget.full:
                break
            budget.open(key)
        delivery = Delivery(client, key, value, group, request, commands)
        if after is not None:
            entries = delivery.history(after, request.count)
            if budget is not None and budget.full and not entries:
                break
        else:
            entries = delivery.deliver(request.count or (_WAITED_COUNT if late else 0))
            if not entries:
                continue  # nothing that could be claimed, nor anything new
        pairs.append((key, entries))
        client.db.keyspace.dirty += 1
    client.propagate_as(*commands)
    return _streams_reply(client, pairs) if pairs else _wait(client, argv, request, _retry_ms(client, request, sources))


def _retry_ms(
    client: NodeClient, request: ReadRequest, sources: list[tuple[bytes, StreamValue, Group, int | None]]
) -> int:
    """In how many ms there will be something to claim, if nobody acknowledges it before; 0: never."""
    if request.claim_ms < 0 or request.block_ms < 0:
        return 0
    now_ms = client.db.keyspace.now_ms
    waits = [next_idle_ms(group, now_ms, request.claim_ms) for _, _, group, after in sources if after is None]
    return min(filter(None, waits), default=0)


def _group_of(client: NodeClient, key: bytes, name: bytes, late: bool) -> tuple[StreamValue, Group]:
    """Stream and group. Raises CommandError when one is missing."""
    value = client.db.read(key)
    if value is not None and type(value) is not StreamValue and not late:
        raise CommandError(errors.WRONG_TYPE)
    stream = value if type(value) is StreamValue else None
    group = None if stream is None else stream.groups.get(name)
    if stream is not None and group is not None:
        return stream, group
    if late:
        raise CommandError(_STREAM_GONE if stream is None else _GROUP_GONE)
    raise CommandError(b"NOGROUP No such key '%b' or consumer group '%b' in XREADGROUP with GROUP option" % (key, name))
