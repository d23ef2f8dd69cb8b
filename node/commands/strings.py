"""Strings: reading and writing whole values.

GET and SET are the hottest functions of the server, so each answers its plain form in the first lines and without a
helper. A value is `bytes` until APPEND, SETRANGE or a bit command edits it, which turns it into a `bytearray` so that
the next edit costs no copy; readers hand out a copy of that one, because a reply may be encoded only after later
commands of the same MULTI have run.

Parts of values are in `strings_parts.py`, counters in `strings_counters.py`, comparisons (LCS, DIGEST) in
`strings_compare.py`, the commands that newer servers added in `strings_conditional.py`.
"""

from __future__ import annotations

from typing import Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT, deletion
from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.string_options import (
    COMPARISON,
    CONDITION,
    EX,
    EXAT,
    EXPIRY,
    EXPIRY_OPTIONS,
    GET,
    IFDEQ,
    IFDNE,
    IFEQ,
    IFNE,
    KEEPTTL,
    NX,
    PERSIST,
    PX,
    PXAT,
    XX,
    Options,
    expiry_ms,
    parse_options,
    past,
    remove_expired,
    string_condition_holds,
)
from slotmesh.node.keyspace.notify import GENERIC, STRING
from slotmesh.node.resp.values import OK
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.key_specs import KEY_ACCESS_UPDATE, KEY_READ, key_at, keys_from
from slotmesh.node.spec.registry import DENYOOM, FAST, READONLY, WRITE, command

_SETNX_KEY: Final = key_at(b"OW", b"INSERT")
_OVERWRITE_KEY: Final = key_at(b"OW", b"UPDATE")

_SET_OPTIONS: Final[Options] = {
    b"NX": (NX, CONDITION & ~NX, False),
    b"XX": (XX, CONDITION & ~XX, False),
    b"GET": (GET, 0, False),
    b"KEEPTTL": (KEEPTTL, EXPIRY, False),
    b"IFEQ": (IFEQ, CONDITION, True),
    b"IFNE": (IFNE, CONDITION, True),
    b"IFDEQ": (IFDEQ, CONDITION, True),
    b"IFDNE": (IFDNE, CONDITION, True),
    **EXPIRY_OPTIONS,
}
_GETEX_OPTIONS: Final[Options] = {b"PERSIST": (PERSIST, EXPIRY, False), **EXPIRY_OPTIONS}


# -- whole values ------------------------------------------------------------------------------------------------------


@command(
    "get",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Returns the string that a key holds.",
)
def cmd_get(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.read(argv[1])
    if type(value) is bytes or value is None:
        return value
    if type(value) is bytearray:
        return bytes(value)
    raise CommandError(errors.WRONG_TYPE)


@command(
    "set",
    arity=-3,
    syntax=(
        "key value [NX | XX | IFEQ compare-value | IFNE compare-value | IFDEQ compare-digest | IFDNE "
        "compare-digest] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT "
        "unix-time-milliseconds | KEEPTTL]"
    ),
    flags=WRITE | DENYOOM,
    keys=key_at(b"RW", b"ACCESS", b"UPDATE", b"VARIABLE_FLAGS"),
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Makes a key hold a string, whatever it held before; with options, only under a condition or for a time.",
)
def cmd_set(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) == 3:
        db = client.db
        key = argv[1]
        db.set(key, argv[2])
        keyspace = db.keyspace
        keyspace.dirty += 1
        if keyspace.observed:
            keyspace.on_changed(db.index, key, STRING, b"set")
        return OK
    return _set_with_options(client, argv)


def _set_with_options(client: NodeClient, argv: list[bytes]) -> Any:
    bits, expiry, operand = parse_options(argv, 3, _SET_OPTIONS)
    db, key, value = client.db, argv[1], argv[2]
    at_ms = expiry_ms(expiry, bits, db.keyspace.now_ms, b"set") if bits & EXPIRY else 0
    old: Any = None
    if bits & GET:
        old = cmd_get(client, argv)
    if bits & CONDITION and not _condition_holds(client, key, bits, operand):
        return old
    if COMPAT.newer and bits & EXPIRY and past(client, at_ms):
        if db.write(key) is not None:
            remove_expired(client, key)
        return old if bits & GET else OK
    if bits & KEEPTTL:
        db.write(key)  # a key past its expiry must not pass its time on
        db.put(key, value)
    else:
        db.set(key, value)
    db.changed(key, STRING, b"set")
    if bits & EXPIRY:
        db.set_expire(key, at_ms)
        db.changed(key, GENERIC, b"expire", 0)
        if not COMPAT.newer or bits & COMPARISON or not bits & PXAT:  # what says PXAT already may go as it is
            client.propagate_as([b"SET", key, value, b"PXAT", b"%d" % at_ms])
    elif bits & COMPARISON:
        client.propagate_as([b"SET", key, value, b"KEEPTTL"] if bits & KEEPTTL else [b"SET", key, value])
    elif bits & GET:
        client.propagate_as(argv[:3] + [word for word in argv[3:] if word.upper() != b"GET"])
    return old if bits & GET else OK


def _condition_holds(client: NodeClient, key: bytes, bits: int, operand: bytes) -> bool:
    """Whether SET may go on."""
    value = client.db.write(key)
    if bits & NX:
        return value is None
    if bits & XX:
        return value is not None
    return string_condition_holds(value, bits, operand)


@command(
    "setnx",
    arity=3,
    syntax="key value",
    flags=WRITE | DENYOOM | FAST,
    keys=_SETNX_KEY,
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Makes a key hold a string, unless the key exists.",
    deprecated=("2.6.12", "`SET` with the `NX` argument"),
)
def cmd_setnx(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    if db.write(key) is not None:
        return 0
    db.put(key, argv[2])
    db.changed(key, STRING, b"set")
    return 1


@command(
    "setex",
    arity=4,
    syntax="key seconds value",
    flags=WRITE | DENYOOM,
    keys=_OVERWRITE_KEY,
    group="string",
    since="2.0.0",
    complexity="O(1)",
    summary="Makes a key hold a string for a number of seconds.",
    deprecated=("2.6.12", "`SET` with the `EX` argument"),
)
def cmd_setex(client: NodeClient, argv: list[bytes]) -> Any:
    return _set_for(client, argv, EX, b"setex")


@command(
    "psetex",
    arity=4,
    syntax="key milliseconds value",
    flags=WRITE | DENYOOM,
    keys=_OVERWRITE_KEY,
    group="string",
    since="2.6.0",
    complexity="O(1)",
    summary="Makes a key hold a string for a number of milliseconds.",
    deprecated=("2.6.12", "`SET` with the `PX` argument"),
)
def cmd_psetex(client: NodeClient, argv: list[bytes]) -> Any:
    return _set_for(client, argv, PX, b"psetex")


def _set_for(client: NodeClient, argv: list[bytes], unit: int, name: bytes) -> Any:
    db, key, value = client.db, argv[1], argv[3]
    at_ms = expiry_ms(argv[2], unit, db.keyspace.now_ms, name)
    db.set(key, value)
    db.changed(key, STRING, b"set")
    db.set_expire(key, at_ms)
    db.changed(key, GENERIC, b"expire", 0)
    client.propagate_as([b"SET", key, value, b"PXAT", b"%d" % at_ms])
    return OK


@command(
    "getset",
    arity=3,
    syntax="key value",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_ACCESS_UPDATE,
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Makes a key hold a string and returns what it held before.",
    deprecated=("6.2.0", "`SET` with the `!GET` argument"),
)
def cmd_getset(client: NodeClient, argv: list[bytes]) -> Any:
    old = cmd_get(client, argv)
    key, value = argv[1], argv[2]
    client.db.set(key, value)
    client.db.changed(key, STRING, b"set")
    client.propagate_as([b"SET", key, value])
    return old


@command(
    "getdel",
    arity=2,
    syntax="key",
    flags=WRITE | FAST,
    keys=key_at(b"RW", b"ACCESS", b"DELETE"),
    group="string",
    since="6.2.0",
    complexity="O(1)",
    summary="Returns the string that a key holds and deletes the key.",
)
def cmd_getdel(client: NodeClient, argv: list[bytes]) -> Any:
    value = cmd_get(client, argv)
    key = argv[1]
    if value is not None and client.db.delete(key):
        client.db.changed(key, GENERIC, b"del")
        lazy = client.server.config.lazyfree_lazy_user_del and not COMPAT.newer
        client.propagate_as([deletion(lazy=lazy), key])
    return value


@command(
    "getex",
    arity=-2,
    syntax=("key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]"),
    flags=WRITE | FAST,
    keys=KEY_ACCESS_UPDATE,
    group="string",
    since="6.2.0",
    complexity="O(1)",
    summary="Returns the string that a key holds and sets, changes or removes the key's expiry.",
)
def cmd_getex(client: NodeClient, argv: list[bytes]) -> Any:
    bits, expiry, _ = parse_options(argv, 2, _GETEX_OPTIONS)
    db, key = client.db, argv[1]
    value = cmd_get(client, argv)
    if value is None:
        return None
    if bits & EXPIRY:
        at_ms = expiry_ms(expiry, bits, db.keyspace.now_ms, b"getex")
        if bits & (EXAT | PXAT) and past(client, at_ms):
            remove_expired(client, key)
        else:
            db.set_expire(key, at_ms)
            db.changed(key, GENERIC, b"expire")
            client.propagate_as([b"PEXPIREAT", key, b"%d" % at_ms])
    elif bits & PERSIST and db.clear_expire(key):
        db.changed(key, GENERIC, b"persist")
        client.propagate_as([b"PERSIST", key])
    return value


# -- several keys ------------------------------------------------------------------------------------------------------


@command(
    "mget",
    arity=-2,
    syntax="key [key ...]",
    flags=READONLY | FAST,
    keys=keys_from(b"RO", b"ACCESS"),
    group="string",
    since="1.0.0",
    complexity="O(N), N the number of keys",
    summary="Returns the strings of several keys; null for a key that is absent or holds no string.",
    tips=(b"request_policy:multi_shard",),
)
def cmd_mget(client: NodeClient, argv: list[bytes]) -> Any:
    read = client.db.read
    found: list[bytes | None] = []
    for key in argv[1:]:
        value = read(key)
        if type(value) is bytes:
            found.append(value)
        else:
            found.append(bytes(value) if type(value) is bytearray else None)
    return found


@command(
    "mset",
    arity=-3,
    syntax="key value [key value ...]",
    flags=WRITE | DENYOOM,
    keys=keys_from(b"OW", b"UPDATE", step=2),
    group="string",
    since="1.0.1",
    complexity="O(N), N the number of keys",
    summary="Makes several keys hold strings, all at once.",
    tips=(b"request_policy:multi_shard", b"response_policy:all_succeeded"),
)
def cmd_mset(client: NodeClient, argv: list[bytes]) -> Any:
    if not len(argv) & 1:
        raise CommandError(errors.wrong_arity(b"mset"))
    _set_all(client, argv)
    return OK


@command(
    "msetnx",
    arity=-3,
    syntax="key value [key value ...]",
    flags=WRITE | DENYOOM,
    keys=keys_from(b"OW", b"INSERT", step=2),
    group="string",
    since="1.0.1",
    complexity="O(N), N the number of keys",
    summary="Makes several keys hold strings, unless one of the keys exists.",
    tips=(b"request_policy:multi_shard", b"response_policy:agg_min"),
)
def cmd_msetnx(client: NodeClient, argv: list[bytes]) -> Any:
    if not len(argv) & 1:
        raise CommandError(errors.wrong_arity(b"msetnx"))
    if any(client.db.write(key) is not None for key in argv[1::2]):
        return 0
    _set_all(client, argv)
    return 1


def _set_all(client: NodeClient, argv: list[bytes]) -> None:
    db = client.db
    keys, values = argv[1::2], argv[2::2]
    if not db.keyspace.observed:
        db.set_all(keys, values)
        db.keyspace.dirty += len(keys)
        return
    for key, value in zip(keys, values, strict=True):
        db.set(key, value)
        db.changed(key, STRING, b"set")
