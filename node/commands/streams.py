"""Stream commands about the log itself: adding, counting, ranges, deleting, trimming."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.stream_args import (
    KEY_LOOK,
    Trimming,
    entries_reply,
    id_block,
    interval_end,
    interval_start,
    strict_id,
)
from slotmesh.node.commands.stream_new_id import AUTO, EXPLICIT, NOW, next_id, parse_new_id
from slotmesh.node.commands.stream_once import Once
from slotmesh.node.commands.stream_trim_refs import trim_with_references
from slotmesh.node.keyspace.notify import STREAM
from slotmesh.node.resp.values import NULL_ARRAY, OK
from slotmesh.node.spec.arguments import integer
from slotmesh.node.spec.key_specs import KEY_DELETE, KEY_READ, KEY_UPDATE
from slotmesh.node.spec.registry import DENYOOM, FAST, READONLY, WRITE, command
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_id import U64_MAX, format_id

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_ANY_OUTPUT: Final = (b"nondeterministic_output",)
_MAX_ENTRY_BYTES: Final = 1 << 30
_ZERO_ID: Final = ErrorReply("ERR The ID specified in XADD must be greater than 0-0")
_TOO_LARGE: Final = ErrorReply("ERR Elements are too large to be stored")
_NO_STRATEGY: Final = ErrorReply("ERR syntax error, XTRIM must be called with a trimming strategy")
_ADDED_NEGATIVE: Final = ErrorReply("ERR entries_added must be positive")
_BELOW_DELETED: Final = ErrorReply("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
_BELOW_MAX_DELETED: Final = ErrorReply("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")
_BELOW_TOP: Final = ErrorReply("ERR The ID specified in XSETID is smaller than the target stream top item")
_ADDED_BELOW_LENGTH: Final = ErrorReply(
    "ERR The entries_added specified in XSETID is smaller than the target stream length"
)

_TRIMMING_WORDS: Final = frozenset((b"maxlen", b"minid", b"limit", b"keepref", b"delref", b"acked"))
_MISSING: Final = -1
_DELETED: Final = 1
_REFERENCED: Final = 2


class _Recent:
    """The options of the last XADD that trimmed, up to the `*` behind them: a stream gets the same ones each time."""

    __slots__ = ("end", "trimming", "words")

    def __init__(self) -> None:
        self.words: list[bytes] = []  # equals no argument
        self.end = 3
        self.trimming = Trimming()

    def remember(self, words: list[bytes], trimming: Trimming) -> None:
        """Take words whose meaning depends on nothing else (with LIMIT it does, on who asks)."""
        self.words, self.trimming, self.end = words, trimming, 2 + len(words)


_RECENT: Final = _Recent()


@command(
    "xadd",
    arity=-5,
    syntax=(
        "key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [IDMPAUTO pid | IDMP pid iid] "
        "[<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]"
    ),
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_UPDATE,
    group="stream",
    since="5.0.0",
    complexity="O(1) to add, O(N) to trim N entries",
    summary="Appends an entry to a stream.",
    tips=_ANY_OUTPUT,
)
def cmd_xadd(client: NodeClient, argv: list[bytes]) -> Any:
    """Propagated with the ID that the entry got, and with the exact length to which an approximate trim led."""
    if argv[2] == b"*":
        return _append(client, argv, 2, None, True, AUTO, 0)
    recent = _RECENT
    if argv[2 : recent.end] == recent.words:
        return _append(client, argv, recent.end - 1, recent.trimming, True, AUTO, 0)
    trimming, make, at = None, True, 2
    once: Once | None = None
    while at < len(argv) and argv[at] != b"*":
        word = argv[at].lower()
        if word == b"nomkstream":
            make = False
            at += 1
        elif word in _TRIMMING_WORDS and at + 1 < len(argv):
            trimming = trimming or Trimming()
            at = trimming.parse_option(argv, at)
        elif word in (b"idmp", b"idmpauto"):
            once, at = Once.parse(argv, at, once)
        else:
            break
    kind, wanted = parse_new_id(argv[at]) if at < len(argv) else (AUTO, 0)
    if trimming is not None:
        trimming.check(client)
        if make and kind == AUTO and at < len(argv) and trimming.limit is None and once is None:
            recent.remember(argv[2 : at + 1], trimming)
    if once is None:
        return _append(client, argv, at, trimming, make, kind, wanted)
    key, flat = argv[1], argv[at + 1 :]
    known = once.find(client, key, kind, flat)
    if known is not None:
        return known
    text = _append(client, argv, at, trimming, make, kind, wanted)
    if text is not None:
        once.remember(client, key, text, flat)
    return text


def _append(
    client: NodeClient, argv: list[bytes], at: int, trimming: Trimming | None, make: bool, kind: int, wanted: int
) -> bytes | None:
    """XADD with its options parsed; the ID is the argument at index `at`."""
    db, key = client.db, argv[1]
    flat = argv[at + 1 :]
    if not flat or len(flat) & 1:
        raise CommandError(errors.wrong_arity(b"xadd"))
    if kind == EXPLICIT and not wanted:
        raise CommandError(_ZERO_ID)
    value = db.write(key)
    if type(value) is StreamValue:
        last_id = value.last_id
    elif value is not None:
        raise CommandError(errors.WRONG_TYPE)
    elif make:
        last_id = 0
    else:
        return None
    keyspace = db.keyspace
    now = NOW
    if now.ms != keyspace.now_ms:
        now.move(keyspace.now_ms)
    seq = last_id - now.first_id
    if kind == AUTO and seq < 0:
        entry_id, text = now.first_id, now.prefix + b"0"
    elif kind == AUTO and seq < U64_MAX:
        entry_id, text = last_id + 1, b"%b%d" % (now.prefix, seq + 1)  # `format_id` takes thrice as long
    else:
        entry_id = next_id(last_id, kind, wanted)
        text = format_id(entry_id)
    text_bytes = len(flat[0]) + len(flat[1]) if len(flat) == 2 else sum(map(len, flat))
    if text_bytes > _MAX_ENTRY_BYTES:
        raise CommandError(_TOO_LARGE)
    if value is None:
        value = StreamValue()
        db.put(key, value)
    value.append(entry_id, flat, text_bytes)
    keyspace.dirty += 1  # `changed`, written out
    if keyspace.observed:
        keyspace.on_changed(db.index, key, STREAM, b"xadd")
    if trimming is None:
        if kind != EXPLICIT:
            argv[at] = text
        return text
    told: list[list[bytes]] = []
    if trimming.policy and value.groups:
        removed, told = trim_with_references(client, key, value, trimming)
    else:
        removed = trimming.apply(client, value)
    if removed:
        keyspace.notify(STREAM, b"xtrim", key, db.index)
    if client.server.propagation.feeds:  # else nobody wants to know the outcome
        client.propagate_as([b"XADD", key, *trimming.outcome(value), text, *flat], *told)
    return text


@command(
    "xlen",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=KEY_LOOK,
    group="stream",
    since="5.0.0",
    complexity="O(1)",
    summary="Returns the number of entries.",
)
def cmd_xlen(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.read_as(argv[1], StreamValue)
    return 0 if value is None else len(value)


def _range(client: NodeClient, argv: list[bytes], low: bytes, high: bytes, backwards: bool) -> Any:
    start, end = interval_start(low), interval_end(high)
    count = -1
    for i in range(4, len(argv), 2):
        if argv[i].lower() != b"count" or i + 1 >= len(argv):
            raise CommandError(errors.SYNTAX)
        count = max(0, integer(argv[i + 1]))
    value = client.db.read_as(argv[1], StreamValue)
    if value is None:
        return []
    if not count:
        return NULL_ARRAY
    most = max(0, count)
    return entries_reply(value.range_reversed(start, end, most) if backwards else value.range(start, end, most))


@command(
    "xrange",
    arity=-4,
    syntax="key start end [COUNT count]",
    flags=READONLY,
    keys=KEY_READ,
    group="stream",
    since="5.0.0",
    complexity="O(N), N the number of entries returned",
    summary="Returns entries in a range of IDs.",
)
def cmd_xrange(client: NodeClient, argv: list[bytes]) -> Any:
    return _range(client, argv, argv[2], argv[3], False)


@command(
    "xrevrange",
    arity=-4,
    syntax="key end start [COUNT count]",
    flags=READONLY,
    keys=KEY_READ,
    group="stream",
    since="5.0.0",
    complexity="O(N), N the number of entries returned",
    summary="Returns entries in a range of IDs, the newest first.",
)
def cmd_xrevrange(client: NodeClient, argv: list[bytes]) -> Any:
    return _range(client, argv, argv[3], argv[2], True)


def _delete(value: StreamValue, entry_id: int) -> bool:
    if not value.remove(entry_id):
        return False
    value.max_deleted_id = max(value.max_deleted_id, entry_id)
    return True


@command(
    "xdel",
    arity=-3,
    syntax="key id [id ...]",
    flags=WRITE | FAST,
    keys=KEY_DELETE,
    group="stream",
    since="5.0.0",
    complexity="O(1) per entry",
    summary="Deletes entries; the stream stays even when it is empty.",
)
def cmd_xdel(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    value = db.write_as(key, StreamValue)
    if value is None:
        return 0
    deleted = 0
    for entry_id in [strict_id(text) for text in argv[2:]]:
        deleted += _delete(value, entry_id)
    if deleted:
        db.changed(key, STREAM, b"xdel", deleted)
    return deleted


@command(
    "xdelex",
    arity=-5,
    syntax="key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
    flags=WRITE | FAST,
    keys=KEY_DELETE,
    group="stream",
    since="8.2.0",
    complexity="O(G) per entry, G the number of groups",
    summary="Deletes entries with a say in what becomes of the references that consumer groups have.",
)
def cmd_xdelex(client: NodeClient, argv: list[bytes]) -> Any:
    """KEEPREF leaves references alone, DELREF removes them, ACKED deletes only what no group needs any more."""
    db, key = client.db, argv[1]
    value = db.write_as(key, StreamValue)
    policy, ids = id_block(argv, 2)
    if value is None:
        return [_MISSING] * len(ids)
    codes: list[int] = []
    changes = 0
    for entry_id in ids:
        code, dropped = delete_entry(value, entry_id, policy)
        codes.append(code)
        changes += dropped or code == _DELETED
    if changes:
        db.changed(key, STREAM, b"xdel", changes)
    return codes


def delete_entry(value: StreamValue, entry_id: int, policy: bytes) -> tuple[int, bool]:
    """Delete one entry by the rules of XDELEX: (-1 missing, 1 deleted or 2 still needed; whether references went)."""
    if policy == b"ACKED" and any(entry_id in group.pel or group.last_id < entry_id for group in value.groups.values()):
        return (_MISSING if value.get(entry_id) is None else _REFERENCED), False
    dropped = False
    if policy == b"DELREF":
        for group in value.groups.values():
            dropped |= group.acknowledge(entry_id)
    return (_DELETED if _delete(value, entry_id) else _MISSING), dropped


@command(
    "xtrim",
    arity=-4,
    syntax="key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]",
    flags=WRITE,
    keys=KEY_DELETE,
    group="stream",
    since="5.0.0",
    complexity="O(N), N the number of entries removed",
    summary="Removes the oldest entries.",
    tips=_ANY_OUTPUT,
)
def cmd_xtrim(client: NodeClient, argv: list[bytes]) -> Any:
    trimming, at = Trimming(), 2
    while at < len(argv):
        behind = trimming.parse_option(argv, at)
        if behind == at:
            raise CommandError(errors.SYNTAX)
        at = behind
    trimming.check(client, _NO_STRATEGY)
    db, key = client.db, argv[1]
    value = db.write_as(key, StreamValue)
    if value is None:
        return 0
    told: list[list[bytes]] = []
    if trimming.policy and value.groups:
        removed, told = trim_with_references(client, key, value, trimming)
    else:
        removed = trimming.apply(client, value)
    if removed:
        db.changed(key, STREAM, b"xtrim", removed)
        outcome = trimming.outcome(value)
        if trimming.approximate or trimming.policy:
            client.propagate_as(*([[b"XTRIM", key, *outcome]] if outcome else []), *told)
    return removed


@command(
    "xsetid",
    arity=-3,
    syntax="key last-id [ENTRIESADDED entries_added] [MAXDELETEDID max_deleted_entry_id]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_UPDATE,
    group="stream",
    since="5.0.0",
    complexity="O(1)",
    summary="Sets the last ID and the counters of a stream, as replicas and files need it.",
)
def cmd_xsetid(client: NodeClient, argv: list[bytes]) -> Any:
    last_id = strict_id(argv[2])
    added, deleted_id = -1, 0
    for i in range(3, len(argv), 2):
        option = argv[i].lower()
        if option not in (b"entriesadded", b"maxdeletedid") or i + 1 >= len(argv):
            raise CommandError(errors.SYNTAX)
        if option == b"entriesadded":
            added = integer(argv[i + 1])
            if added < 0:
                raise CommandError(_ADDED_NEGATIVE)
        else:
            deleted_id = strict_id(argv[i + 1])
            if last_id < deleted_id:
                raise CommandError(_BELOW_DELETED)
    db, key = client.db, argv[1]
    value = db.write_as(key, StreamValue)
    if value is None:
        raise CommandError(errors.NO_SUCH_KEY)
    if COMPAT.newer and last_id < value.max_deleted_id:
        raise CommandError(_BELOW_MAX_DELETED)
    if len(value):
        if last_id < value.last_entry_id:
            raise CommandError(_BELOW_TOP)
        if 0 <= added < len(value):
            raise CommandError(_ADDED_BELOW_LENGTH)
    value.last_id = last_id
    if added >= 0:
        value.entries_added = added
    if deleted_id:
        value.max_deleted_id = deleted_id
    db.changed(key, STREAM, b"xsetid")
    return OK
