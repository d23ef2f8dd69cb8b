"""Compare-and-delete and conditional MSET, as servers newer than 7.0 have them.

DELIFEQ is Valkey's (9.0), DELEX and MSETEX are those of Redis 8.4.
"""

from __future__ import annotations

from typing import Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.string_options import (
    EXPIRY,
    EXPIRY_OPTIONS,
    IFDEQ,
    IFDNE,
    IFEQ,
    IFNE,
    KEEPTTL,
    NX,
    XX,
    Options,
    expiry_ms,
    parse_options,
    past,
    string_condition_holds,
    write_string,
)
from slotmesh.node.keyspace.notify import GENERIC, STRING
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.arguments import INT64_MAX, integer_between
from slotmesh.node.spec.key_specs import KeySpec, key_at
from slotmesh.node.spec.registry import DENYOOM, FAST, WRITE, command

_DELETE_CONDITIONS: Final = {b"IFEQ": IFEQ, b"IFNE": IFNE, b"IFDEQ": IFDEQ, b"IFDNE": IFDNE}
_MSETEX_OPTIONS: Final[Options] = {
    b"NX": (NX, XX, False),
    b"XX": (XX, NX, False),
    b"KEEPTTL": (KEEPTTL, EXPIRY, False),
    **EXPIRY_OPTIONS,
}


def _delete(client: NodeClient, key: bytes) -> int:
    client.db.delete(key)
    client.db.changed(key, GENERIC, b"del")
    client.propagate_as([b"DEL", key])
    return 1


@command(
    "delifeq",
    arity=3,
    syntax="key value",
    flags=WRITE | FAST,
    keys=key_at(b"RW", b"DELETE"),
    group="string",
    since="9.0.0",
    complexity="O(N), N the length of the value",
    summary="Deletes a key if it holds exactly the given string.",
)
def cmd_delifeq(client: NodeClient, argv: list[bytes]) -> Any:
    value = write_string(client, argv[1])
    return _delete(client, argv[1]) if value is not None and value == argv[2] else 0


@command(
    "delex",
    arity=-2,
    syntax="key [IFEQ compare-value | IFNE compare-value | IFDEQ compare-digest | IFDNE compare-digest]",
    flags=WRITE | FAST,
    keys=key_at(b"RW", b"DELETE"),
    group="string",
    since="8.4.0",
    complexity="O(N), N the length of the value",
    summary="Deletes a key, with a condition on the string, or on the digest of the string, that it holds.",
)
def cmd_delex(client: NodeClient, argv: list[bytes]) -> Any:
    key = argv[1]
    if len(argv) == 2:
        return _delete(client, key) if client.db.write(key) is not None else 0
    if len(argv) != 4:
        raise CommandError(errors.wrong_arity(b"delex"))
    condition = _DELETE_CONDITIONS.get(argv[2].upper())
    if condition is None:
        raise CommandError(errors.SYNTAX)
    value = client.db.write(key)
    if value is None:
        return 0
    if type(value) is not bytes and type(value) is not bytearray:
        raise CommandError("ERR Key should be of string type if conditions are specified")
    return _delete(client, key) if string_condition_holds(value, condition, argv[3]) else 0


@command(
    "msetex",
    arity=-4,
    syntax=(
        "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | EXAT "
        "unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]"
    ),
    flags=WRITE | DENYOOM,
    keys=(KeySpec((b"OW", b"UPDATE"), ("index", 1), ("keynum", 0, 1, 2)),),
    group="string",
    since="8.4.0",
    complexity="O(N), N the number of keys",
    summary="Makes several keys hold strings, all at once, with a common condition and expiry.",
    tips=(b"request_policy:multi_shard", b"response_policy:all_succeeded"),
)
def cmd_msetex(client: NodeClient, argv: list[bytes]) -> Any:
    count = integer_between(argv[1], 1, INT64_MAX, ErrorReply("ERR invalid numkeys value"))
    end = 2 + 2 * count
    if end > len(argv):
        raise CommandError(errors.wrong_arity(b"msetex"))
    bits, expiry, _ = parse_options(argv, end, _MSETEX_OPTIONS)
    db = client.db
    at_ms = expiry_ms(expiry, bits, db.keyspace.now_ms, b"msetex") if bits & EXPIRY else 0
    keys = argv[2:end:2]
    if bits & NX and any(db.write(key) is not None for key in keys):
        return 0
    if bits & XX and any(db.write(key) is None for key in keys):
        return 0
    expired = bool(bits & EXPIRY) and past(client, at_ms)
    sent: list[list[bytes]] = []
    for i in range(2, end, 2):
        key, value = argv[i], argv[i + 1]
        if expired:
            if db.delete(key):
                db.changed(key, GENERIC, b"del")
                sent.append([b"DEL", key])
            continue
        db.write(key)  # a key past its expiry must not pass its time on
        db.put(key, value) if bits & KEEPTTL else db.set(key, value)
        db.changed(key, STRING, b"set")
        if bits & EXPIRY:
            db.set_expire(key, at_ms)
            db.changed(key, GENERIC, b"expire", 0)
            sent.append([b"SET", key, value, b"PXAT", b"%d" % at_ms])
        else:
            sent.append([b"SET", key, value, *([b"KEEPTTL"] if bits & KEEPTTL else [])])
    client.propagate_as(*sent)
    return 1
