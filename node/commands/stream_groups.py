"""Consumer groups: making and removing them, acknowledging, what is pending. Reading is in `stream_read.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.help import help_reply
from slotmesh.node.commands.stream_args import (
    find_group,
    id_block,
    interval_end,
    interval_start,
    loose_id,
    no_group,
    strict_id,
)
from slotmesh.node.commands.streams import delete_entry
from slotmesh.node.keyspace.notify import STREAM
from slotmesh.node.resp.values import NULL_ARRAY, OK
from slotmesh.node.spec.arguments import integer
from slotmesh.node.spec.key_specs import KEY_DELETE, KEY_READ, KEY_UPDATE, key_at
from slotmesh.node.spec.registry import DENYOOM, FAST, LOADING, READONLY, STALE, WRITE, command, container
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_group import ENTRIES_READ_UNKNOWN, Consumer, Group
from slotmesh.node.types.stream_id import format_id

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_SUB_INSERT: Final = key_at(b"RW", b"INSERT", index=2)
_SUB_UPDATE: Final = key_at(b"RW", b"UPDATE", index=2)
_SUB_DELETE: Final = key_at(b"RW", b"DELETE", index=2)
_NEEDS_KEY: Final = ErrorReply(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option "
    "to create an empty stream automatically."
)
_BUSY_GROUP: Final = ErrorReply("BUSYGROUP Consumer Group name already exists")
_READ_NEGATIVE: Final = ErrorReply("ERR value for ENTRIESREAD must be positive or -1")

#: What XPENDING says in place of the idle time of an entry that nobody owns.
_NOT_IDLE: Final = -1

_CREATE_HELP: Final = (
    "Make a consumer group that starts behind an ID. Options:\n"
    "* MKSTREAM\n  Make an empty stream if there is none.\n"
    "* ENTRIESREAD entries_read\n  Set how many entries the group has read (for replication)."
)

container(
    "xgroup",
    group="stream",
    since="5.0.0",
    summary="Groups the commands that manage consumer groups.",
    categories=("-stream",),
)


def _parse_options(argv: list[bytes], with_mkstream: bool) -> tuple[bool, int]:
    """(make the stream, entries read) of the options behind the ID."""
    make, entries_read, i = False, ENTRIES_READ_UNKNOWN, 5
    while i < len(argv):
        option = argv[i].lower()
        if option == b"mkstream" and with_mkstream:
            make = True
            i += 1
        elif option == b"entriesread" and i + 1 < len(argv):
            entries_read = integer(argv[i + 1])
            if entries_read < 0 and entries_read != ENTRIES_READ_UNKNOWN:
                raise CommandError(_READ_NEGATIVE)
            i += 2
        else:
            raise CommandError(errors.subcommand_syntax(b"xgroup", argv[1]))
    return make, entries_read


def _stream(client: NodeClient, key: bytes) -> StreamValue:
    value = client.db.write_as(key, StreamValue)
    if value is None:
        raise CommandError(_NEEDS_KEY)
    return value


def _group(client: NodeClient, argv: list[bytes]) -> tuple[StreamValue, Group]:
    value = _stream(client, argv[2])
    group = value.groups.get(argv[3])
    if group is None:
        raise CommandError(b"NOGROUP No such consumer group '%b' for key name '%b'" % (argv[3], argv[2]))
    return value, group


@command(
    "xgroup|create",
    arity=-5,
    syntax="key groupname <id | $> [MKSTREAM] [ENTRIESREAD entries_read]",
    flags=WRITE | DENYOOM,
    keys=_SUB_INSERT,
    group="stream",
    since="5.0.0",
    complexity="O(1)",
    summary="Makes a consumer group.",
)
def cmd_xgroup_create(client: NodeClient, argv: list[bytes]) -> Any:
    make, entries_read = _parse_options(argv, True)
    db, key, name = client.db, argv[2], argv[3]
    value = db.write_as(key, StreamValue)
    if value is None and not make:
        raise CommandError(_NEEDS_KEY)
    if len(argv) > 8:
        raise CommandError(errors.subcommand_syntax(b"xgroup", argv[1]))
    if argv[4] == b"$":
        last_id = 0 if value is None else value.last_id
    else:
        last_id = strict_id(argv[4])
    if value is None:
        value = StreamValue()
        db.put(key, value)
    if name in value.groups:
        raise CommandError(_BUSY_GROUP)
    value.groups[name] = Group(name, last_id, entries_read)
    db.changed(key, STREAM, b"xgroup-create")
    return OK


@command(
    "xgroup|setid",
    arity=-5,
    syntax="key groupname <id | $> [ENTRIESREAD entries_read]",
    flags=WRITE,
    keys=_SUB_UPDATE,
    group="stream",
    since="5.0.0",
    complexity="O(1)",
    summary="Sets the last ID that a consumer group has read.",
)
def cmd_xgroup_setid(client: NodeClient, argv: list[bytes]) -> Any:
    _, entries_read = _parse_options(argv, False)
    value, group = _group(client, argv)
    if len(argv) not in (5, 7):
        raise CommandError(errors.subcommand_syntax(b"xgroup", argv[1]))
    group.last_id = value.last_id if argv[4] == b"$" else loose_id(argv[4])
    group.entries_read = entries_read
    client.db.changed(argv[2], STREAM, b"xgroup-setid")
    return OK


@command(
    "xgroup|destroy",
    arity=4,
    syntax="key groupname",
    flags=WRITE,
    keys=_SUB_DELETE,
    group="stream",
    since="5.0.0",
    complexity="O(N), N the number of pending entries",
    summary="Removes a consumer group.",
)
def cmd_xgroup_destroy(client: NodeClient, argv: list[bytes]) -> Any:
    value = _stream(client, argv[2])
    if value.groups.pop(argv[3], None) is None:
        return 0
    client.db.changed(argv[2], STREAM, b"xgroup-destroy")
    return 1


@command(
    "xgroup|createconsumer",
    arity=5,
    syntax="key groupname consumername",
    flags=WRITE | DENYOOM,
    keys=_SUB_INSERT,
    group="stream",
    since="6.2.0",
    complexity="O(1)",
    summary="Makes a consumer in a group.",
)
def cmd_xgroup_createconsumer(client: NodeClient, argv: list[bytes]) -> Any:
    _, group = _group(client, argv)
    _, made = group.consumer(argv[4], client.db.keyspace.now_ms)
    if made:
        client.db.changed(argv[2], STREAM, b"xgroup-createconsumer")
    return int(made)


@command(
    "xgroup|delconsumer",
    arity=5,
    syntax="key groupname consumername",
    flags=WRITE,
    keys=_SUB_DELETE,
    group="stream",
    since="5.0.0",
    complexity="O(N), N the number of entries pending for the consumer",
    summary="Removes a consumer; how many entries were pending for it.",
)
def cmd_xgroup_delconsumer(client: NodeClient, argv: list[bytes]) -> Any:
    _, group = _group(client, argv)
    pending = group.remove_consumer(argv[4])
    if pending is None:
        return 0
    client.db.changed(argv[2], STREAM, b"xgroup-delconsumer")
    return pending


@command(
    "xgroup|help",
    arity=2,
    flags=LOADING | STALE,
    group="stream",
    since="5.0.0",
    complexity="O(1)",
    summary="Explains the subcommands.",
)
def cmd_xgroup_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"XGROUP",
        (
            (
                "CREATE <key> <groupname> <id|$> [option]",
                _CREATE_HELP,
            ),
            ("CREATECONSUMER <key> <groupname> <consumer>", "Make a consumer in a group."),
            ("DELCONSUMER <key> <groupname> <consumer>", "Remove a consumer."),
            ("DESTROY <key> <groupname>", "Remove a group."),
            (
                "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
                "Set the ID behind which a group goes on reading.",
            ),
        ),
    )


@command(
    "xack",
    arity=-4,
    syntax="key group id [id ...]",
    flags=WRITE | FAST,
    keys=KEY_UPDATE,
    group="stream",
    since="5.0.0",
    complexity="O(1) per entry",
    summary="Acknowledges entries, so that they are pending no more.",
)
def cmd_xack(client: NodeClient, argv: list[bytes]) -> Any:
    found = find_group(client, argv[1], argv[2])
    if found is None:
        return 0
    _, group = found
    acknowledged = 0
    for entry_id in [strict_id(text) for text in argv[3:]]:
        acknowledged += group.acknowledge(entry_id)
    client.db.keyspace.dirty += acknowledged
    return acknowledged


@command(
    "xackdel",
    arity=-6,
    syntax="key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
    flags=WRITE | FAST,
    keys=KEY_DELETE,
    group="stream",
    since="8.2.0",
    complexity="O(G) per entry, G the number of groups",
    summary="Acknowledges entries and deletes them, by default whatever other groups still refer to.",
)
def cmd_xackdel(client: NodeClient, argv: list[bytes]) -> Any:
    """-1: was not pending here; 1: acknowledged and deleted; 2: acknowledged, but another group needs it (ACKED)."""
    policy, ids = id_block(argv, 3)
    found = find_group(client, argv[1], argv[2])
    if found is None:
        return [-1] * len(ids)
    value, group = found
    codes: list[int] = []
    changes = deleted = 0
    for entry_id in ids:
        if not group.acknowledge(entry_id):
            codes.append(-1)
            continue
        length = len(value)
        code, _ = delete_entry(value, entry_id, policy)
        codes.append(abs(code))  # an entry that was deleted before counts as deleted now
        changes += 1
        deleted += length - len(value)
    if deleted:
        client.db.changed(argv[1], STREAM, b"xdel", changes)
    else:
        client.db.keyspace.dirty += changes
    return codes


@command(
    "xpending",
    arity=-3,
    syntax="key group [[IDLE min-idle-time(integer)] start end count [consumer]]",
    flags=READONLY,
    keys=KEY_READ,
    group="stream",
    since="5.0.0",
    complexity="O(N), N the number of entries looked at",
    summary="Returns what is pending in a group.",
    tips=(b"nondeterministic_output",),
)
def cmd_xpending(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) == 3:
        found = find_group(client, argv[1], argv[2])
        if found is None:
            raise CommandError(no_group(argv[1], argv[2]))
        return _pending_summary(found[1])
    if not 6 <= len(argv) <= 9:
        raise CommandError(errors.SYNTAX)
    at, idle_ms = 3, 0
    if argv[3].lower() == b"idle":
        idle_ms = integer(argv[4])
        if len(argv) < 8:
            raise CommandError(errors.SYNTAX)
        at = 5
    count = max(0, integer(argv[at + 2]))
    start, end = interval_start(argv[at]), interval_end(argv[at + 1])
    found = find_group(client, argv[1], argv[2])
    if found is None:
        raise CommandError(no_group(argv[1], argv[2]))
    _, group = found
    source: Group | Consumer = group
    if at + 3 < len(argv):
        consumer = group.consumers.get(argv[at + 3])
        if consumer is None:
            return []
        source = consumer
    return _pending_entries(source, group.unowned, start, end, count, idle_ms, client.db.keyspace.now_ms)


def _pending_summary(group: Group) -> list[Any]:
    pel = group.pel
    first, last = pel.first(), pel.last()
    if first is None or last is None:
        return [0, None, None, NULL_ARRAY]
    shares = [(name, b"%d" % len(one.pel)) for name, one in sorted(group.consumers.items()) if len(one.pel)]
    return [len(pel), format_id(first), format_id(last), shares]


def _pending_entries(
    source: Group | Consumer, unowned: Consumer, start: int, end: int, count: int, idle_ms: int, now_ms: int
) -> list[tuple[bytes, bytes, int, int]]:
    """Up to `count` pending entries in [start, end] that were delivered at least `idle_ms` ago, or nobody owns."""
    entries: list[tuple[bytes, bytes, int, int]] = []
    if not count:
        return entries
    values = source.pel.values
    for entry_id in source.pel.ids(start, end):
        pending = values[entry_id]
        idle = now_ms - pending.delivered_ms
        if pending.consumer is unowned:
            idle = _NOT_IDLE
        elif idle_ms and idle < idle_ms:
            continue
        else:
            idle = max(0, idle)
        entries.append((format_id(entry_id), pending.consumer.name, idle, pending.count))
        if len(entries) == count:
            break
    return entries
