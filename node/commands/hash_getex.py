"""HGETEX, HSETEX, HGETDEL: reading or storing hash fields together with their expiry or removal (Redis 8.0, Valkey 9).

AOF and replicas get what became of the fields: HPEXPIREAT, HPERSIST, HDEL, HSETEX ... PXAT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.hash_expiry import FieldChanges, absolute_ms, field_list, may_delete
from slotmesh.node.keyspace.field_expiry import write_hash
from slotmesh.node.keyspace.notify import HASH
from slotmesh.node.spec.key_specs import KEY_ACCESS_UPDATE, KEY_UPDATE, key_at
from slotmesh.node.spec.registry import DENYOOM, FAST, WRITE, command
from slotmesh.node.types.hash import HashValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_KEY_ACCESS_DELETE: Final = key_at(b"RW", b"ACCESS", b"DELETE")
#: Option word -> (unit in ms, relative to now).
_TIME_OPTIONS: Final = {b"EX": (1000, True), b"PX": (1, True), b"EXAT": (1000, False), b"PXAT": (1, False)}


@command(
    "hgetdel",
    arity=-5,
    syntax="key FIELDS numfields field [field ...]",
    flags=WRITE | FAST,
    keys=_KEY_ACCESS_DELETE,
    group="hash",
    since="8.0.0",
    complexity="O(N), N the number of fields named",
    summary="Returns hash fields and removes them.",
)
def cmd_hgetdel(client: NodeClient, argv: list[bytes]) -> Any:
    value = write_hash(client.db, argv[1])
    fields = field_list(argv, 2)
    if value is None:
        return [None] * len(fields)
    changes = FieldChanges()
    found: list[bytes | None] = []
    for field in fields:
        found.append(value.fields.get(field))
        if value.remove(field):
            changes.deleted.append(field)
    changes.report(client, argv[1], value)
    return found


def _time_option(client: NodeClient, argv: list[bytes], at: int, name: bytes) -> int | None:
    """The expiry of an `EX 10` at index `at`; None when another word stands there."""
    option = _TIME_OPTIONS.get(argv[at].upper())
    if option is None:
        return None
    if at + 1 >= len(argv):
        raise CommandError(errors.SYNTAX)
    return absolute_ms(client, argv[at + 1], *option, name)


@command(
    "hgetex",
    arity=-5,
    syntax=(
        "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | "
        "PERSIST] FIELDS numfields field [field ...]"
    ),
    flags=WRITE | FAST,
    keys=KEY_ACCESS_UPDATE,
    group="hash",
    since="8.0.0",
    complexity="O(N), N the number of fields named",
    summary="Returns hash fields and sets or takes away their expiry.",
)
def cmd_hgetex(client: NodeClient, argv: list[bytes]) -> Any:
    key, at, persist = argv[1], 2, False
    at_ms = _time_option(client, argv, at, b"hgetex")
    if at_ms is not None:
        at += 2
    elif argv[at].upper() == b"PERSIST":
        persist = True
        at += 1
    fields = field_list(argv, at)
    value = write_hash(client.db, key)
    if value is None:
        return [None] * len(fields)
    changes = FieldChanges()
    found = [value.fields.get(field) for field in fields]
    for field in fields:
        if field not in value.fields:
            continue
        if persist:
            if value.clear_ttl(field):
                changes.persisted.append(field)
        elif at_ms is not None and may_delete(client, at_ms):
            value.remove(field)
            changes.deleted.append(field)
        elif at_ms is not None:
            value.set_ttl(field, at_ms)
            changes.expired.append(field)
    changes.report(client, key, value, at_ms or 0)
    return found


@command(
    "hsetex",
    arity=-6,
    syntax=(
        "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT "
        "unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]"
    ),
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_UPDATE,
    group="hash",
    since="8.0.0",
    complexity="O(N), N the number of pairs",
    summary="Stores hash fields together with their expiry; 1 when all were stored, 0 when none.",
)
def cmd_hsetex(client: NodeClient, argv: list[bytes]) -> Any:
    db, key, at = client.db, argv[1], 2
    condition, at_ms, keep = b"", None, False
    while at < len(argv) and (word := argv[at].upper()) != b"FIELDS":
        if word in (b"FNX", b"FXX") and not condition:
            condition = word
            at += 1
        elif word == b"KEEPTTL" and not keep and at_ms is None:
            keep = True
            at += 1
        elif not keep and at_ms is None and (at_ms := _time_option(client, argv, at, b"hsetex")) is not None:
            at += 2
        else:
            raise CommandError(errors.SYNTAX)
    flat = field_list(argv, at, width=2)
    value = write_hash(db, key)
    held = {} if value is None else value.fields
    if (condition == b"FNX" and any(field in held for field in flat[::2])) or (
        condition == b"FXX" and not all(field in held for field in flat[::2])
    ):
        return 0
    _store(client, key, value, flat, at_ms, keep)
    return 1


def _store(
    client: NodeClient, key: bytes, value: HashValue | None, flat: list[bytes], at_ms: int | None, keep: bool
) -> None:
    """Do what HSETEX was told, its condition being met."""
    db = client.db
    count = len(flat) >> 1
    if value is None:
        value = HashValue()
        db.put(key, value)
    for field, text in zip(flat[::2], flat[1::2], strict=True):
        if keep:
            value.replace(field, text)
        else:
            value.set(field, text)
    db.changed(key, HASH, b"hset", count)
    db.changed_fields(key, b"hset", flat[::2])
    if at_ms is None:
        return
    if may_delete(client, at_ms):
        changes = FieldChanges()
        changes.deleted = [field for field in dict.fromkeys(flat[::2]) if value.remove(field)]
        changes.report(client, key, value)
        return
    for field in flat[::2]:
        value.set_ttl(field, at_ms)
    db.changed(key, HASH, b"hexpire", count)
    db.changed_fields(key, b"hexpire", flat[::2])
    db.keyspace.field_expiry.note(db.index, key, value)
    client.propagate_as([b"HSETEX", key, b"PXAT", b"%d" % at_ms, b"FIELDS", b"%d" % count, *flat])
