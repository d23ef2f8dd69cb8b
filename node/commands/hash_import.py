"""HIMPORT: many hashes with the same fields, whose names are sent once (Redis 8.10).

A fieldset is a named list of field names that belongs to a connection. The hashes share the name objects of their
fieldset, so each of them takes less memory as well. AOF and replicas, which know no fieldsets, get DEL and HSET.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.keyspace.notify import HASH
from slotmesh.node.resp.values import OK
from slotmesh.node.spec.key_specs import key_at
from slotmesh.node.spec.registry import DENYOOM, WRITE, command, container
from slotmesh.node.types.hash import HashValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_ALL_SHARDS: Final = (b"request_policy:all_shards",)
_DUPLICATE: Final = ErrorReply("ERR duplicate field name in fieldset")
_NO_FIELDSET: Final = ErrorReply("ERR no such fieldset")
_BAD_COUNT: Final = ErrorReply("ERR value count does not match the number of fields in the fieldset")

container("himport", group="hash", since="8.10.0", summary="Groups the commands that import hashes of equal fields.")


@command(
    "himport|prepare",
    arity=-4,
    syntax="fieldset-name field [field ...]",
    flags=DENYOOM,
    group="hash",
    since="8.10.0",
    complexity="O(N), N the number of fields",
    summary="Names a list of field names for this connection.",
    tips=_ALL_SHARDS,
)
def cmd_himport_prepare(client: NodeClient, argv: list[bytes]) -> Any:
    fields = tuple(argv[3:])
    if len(set(fields)) < len(fields):
        raise CommandError(_DUPLICATE)
    if client.fieldsets is None:
        client.fieldsets = {}
    client.fieldsets[argv[2]] = fields
    return OK


@command(
    "himport|set",
    arity=-5,
    syntax="key fieldset-name value [value ...]",
    flags=WRITE | DENYOOM,
    keys=key_at(b"OW", b"UPDATE", index=2),
    group="hash",
    since="8.10.0",
    complexity="O(N), N the number of fields",
    summary="Makes a key a hash with the fields of a fieldset and the given values.",
)
def cmd_himport_set(client: NodeClient, argv: list[bytes]) -> Any:
    fields = client.fieldsets.get(argv[3]) if client.fieldsets else None
    if fields is None:
        raise CommandError(_NO_FIELDSET)
    values = argv[4:]
    if len(values) != len(fields):
        raise CommandError(_BAD_COUNT)
    db, key = client.db, argv[2]
    existed = db.write(key) is not None
    db.set(key, HashValue(dict(zip(fields, values, strict=True))))
    db.changed(key, HASH, b"hset", len(fields))
    db.changed_fields(key, b"hset", fields)
    stored = [b"HSET", key, *(text for pair in zip(fields, values, strict=True) for text in pair)]
    client.propagate_as(*([[b"DEL", key], stored] if existed else [stored]))
    return OK


@command(
    "himport|discard",
    arity=3,
    syntax="fieldset-name",
    flags=0,
    group="hash",
    since="8.10.0",
    complexity="O(1)",
    summary="Forgets a fieldset of this connection.",
    tips=_ALL_SHARDS,
)
def cmd_himport_discard(client: NodeClient, argv: list[bytes]) -> Any:
    return 0 if not client.fieldsets or client.fieldsets.pop(argv[2], None) is None else 1


@command(
    "himport|discardall",
    arity=2,
    flags=0,
    group="hash",
    since="8.10.0",
    complexity="O(N), N the number of fieldsets",
    summary="Forgets all fieldsets of this connection; how many there were.",
    tips=_ALL_SHARDS,
)
def cmd_himport_discardall(client: NodeClient, argv: list[bytes]) -> Any:
    count = len(client.fieldsets or ())
    client.fieldsets = None
    return count
