"""Expiry of keys.

Whatever way a client words it, an expiry is an absolute time in ms, and it is propagated as PEXPIREAT, so that a
replica or a replay at another time comes to the same result. A time that has come already deletes the key, and DEL is
propagated; but not on a replica or while loading, where only the primary's word deletes.
"""

from __future__ import annotations

from typing import Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.string_options import past, remove_expired
from slotmesh.node.keyspace.notify import GENERIC
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.arguments import INT64_MAX, INT64_MIN, integer
from slotmesh.node.spec.key_specs import KEY_READ, KEY_UPDATE
from slotmesh.node.spec.registry import FAST, READONLY, WRITE, command

_NX: Final = 1
_XX: Final = 2
_GT: Final = 4
_LT: Final = 8
_CONDITIONS: Final = {b"NX": _NX, b"XX": _XX, b"GT": _GT, b"LT": _LT}


def _conditions(words: list[bytes]) -> int:
    bits = 0
    for word in words:
        bit = _CONDITIONS.get(word.upper())
        if bit is None:
            raise CommandError(b"ERR Unsupported option %b" % word)
        bits |= bit
    if bits & _NX and bits & ~_NX:
        raise CommandError("ERR NX and XX, GT or LT options at the same time are not compatible")
    if bits & _GT and bits & _LT:
        raise CommandError("ERR GT and LT options at the same time are not compatible")
    return bits


def _condition_holds(bits: int, old_ms: int | None, new_ms: int) -> bool:
    """No expiry counts as one that is infinitely far away."""
    if old_ms is None:
        return not bits & (_XX | _GT)
    return not (bits & _NX or (bits & _GT and new_ms <= old_ms) or (bits & _LT and new_ms >= old_ms))


def _expire(client: NodeClient, argv: list[bytes], name: bytes, unit_ms: int, *, relative: bool) -> int:
    bits = _conditions(argv[3:])
    db, key = client.db, argv[1]
    at_ms = integer(argv[2]) * unit_ms
    # However far in the past is just past, but what does not fit 64 bits is a mistake.
    if at_ms < INT64_MIN:
        raise CommandError(errors.invalid_expire(name))
    if relative:
        at_ms += db.keyspace.now_ms
    if at_ms > INT64_MAX:
        raise CommandError(errors.invalid_expire(name))
    if db.write(key) is None or (bits and not _condition_holds(bits, db.expire_at(key), at_ms)):
        return 0
    if past(client, at_ms):
        remove_expired(client, key)
    else:
        at_ms = max(at_ms, 0)  # nothing that is to be kept expires before time began: files could not hold it
        db.set_expire(key, at_ms)
        db.changed(key, GENERIC, b"expire")
        client.propagate_as([b"PEXPIREAT", key, b"%d" % at_ms, *argv[3:]])
    return 1


@command(
    "expire",
    arity=-3,
    syntax="key seconds [NX | XX | GT | LT]",
    flags=WRITE | FAST,
    keys=KEY_UPDATE,
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Lets a key expire after a number of seconds.",
)
def cmd_expire(client: NodeClient, argv: list[bytes]) -> Any:
    return _expire(client, argv, b"expire", 1000, relative=True)


@command(
    "expireat",
    arity=-3,
    syntax="key unix-time-seconds [NX | XX | GT | LT]",
    flags=WRITE | FAST,
    keys=KEY_UPDATE,
    group="generic",
    since="1.2.0",
    complexity="O(1)",
    summary="Lets a key expire at a Unix time in seconds.",
)
def cmd_expireat(client: NodeClient, argv: list[bytes]) -> Any:
    return _expire(client, argv, b"expireat", 1000, relative=False)


@command(
    "pexpire",
    arity=-3,
    syntax="key milliseconds [NX | XX | GT | LT]",
    flags=WRITE | FAST,
    keys=KEY_UPDATE,
    group="generic",
    since="2.6.0",
    complexity="O(1)",
    summary="Lets a key expire after a number of milliseconds.",
)
def cmd_pexpire(client: NodeClient, argv: list[bytes]) -> Any:
    return _expire(client, argv, b"pexpire", 1, relative=True)


@command(
    "pexpireat",
    arity=-3,
    syntax="key unix-time-milliseconds [NX | XX | GT | LT]",
    flags=WRITE | FAST,
    keys=KEY_UPDATE,
    group="generic",
    since="2.6.0",
    complexity="O(1)",
    summary="Lets a key expire at a Unix time in milliseconds.",
)
def cmd_pexpireat(client: NodeClient, argv: list[bytes]) -> Any:
    return _expire(client, argv, b"pexpireat", 1, relative=False)


@command(
    "persist",
    arity=2,
    syntax="key",
    flags=WRITE | FAST,
    keys=KEY_UPDATE,
    group="generic",
    since="2.2.0",
    complexity="O(1)",
    summary="Takes a key's expiry away.",
)
def cmd_persist(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    if db.write(key) is None or not db.clear_expire(key):
        return 0
    db.changed(key, GENERIC, b"persist")
    return 1


def _time(client: NodeClient, key: bytes, *, left: bool) -> int | None:
    """The expiry in ms, absolute or as the time left; -1 without an expiry, None without a key."""
    db = client.db
    if db.look(key) is None:
        return None
    at_ms = db.expire_at(key)
    if at_ms is None:
        return -1
    return max(0, at_ms - db.keyspace.now_ms if left else at_ms)


def _in_seconds(ms: int | None) -> int:
    if ms is None:
        return -2
    return ms if ms < 0 else (ms + 500) // 1000


@command(
    "ttl",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Returns the seconds that a key has left; -1 without an expiry, -2 without a key.",
    tips=(b"nondeterministic_output",),
)
def cmd_ttl(client: NodeClient, argv: list[bytes]) -> Any:
    return _in_seconds(_time(client, argv[1], left=True))


@command(
    "pttl",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="generic",
    since="2.6.0",
    complexity="O(1)",
    summary="Returns the milliseconds that a key has left; -1 without an expiry, -2 without a key.",
    tips=(b"nondeterministic_output",),
)
def cmd_pttl(client: NodeClient, argv: list[bytes]) -> Any:
    left_ms = _time(client, argv[1], left=True)
    return -2 if left_ms is None else left_ms


@command(
    "expiretime",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="generic",
    since="7.0.0",
    complexity="O(1)",
    summary="Returns the Unix time in seconds at which a key expires; -1 without an expiry, -2 without a key.",
)
def cmd_expiretime(client: NodeClient, argv: list[bytes]) -> Any:
    return _in_seconds(_time(client, argv[1], left=False))


@command(
    "pexpiretime",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="generic",
    since="7.0.0",
    complexity="O(1)",
    summary="Returns the Unix time in milliseconds at which a key expires; -1 without an expiry, -2 without a key.",
)
def cmd_pexpiretime(client: NodeClient, argv: list[bytes]) -> Any:
    at_ms = _time(client, argv[1], left=False)
    return -2 if at_ms is None else at_ms
