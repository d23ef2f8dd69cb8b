"""Strings as numbers: INCR and its kin.

A counter is stored as its decimal digits, as any string; so only a canonical integer counts as one (no sign +, no
leading zeros). INCRBYFLOAT computes with the extended precision that stock uses, and is propagated as the SET of its
result, so that no replica needs the same arithmetic.
"""

from __future__ import annotations

from typing import Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.string_options import write_string
from slotmesh.node.keyspace.notify import STRING
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.arguments import INT64_MAX, INT64_MIN, integer
from slotmesh.node.spec.key_specs import KEY_ACCESS_UPDATE
from slotmesh.node.spec.registry import DENYOOM, FAST, WRITE, command
from slotmesh.node.types.long_double import LongDouble, add, format_plain, parse

#: No int64 is written in so many.
_TOO_MANY_DIGITS: Final = 21


def _add(client: NodeClient, key: bytes, amount: int) -> int:
    """Add `amount` to the counter `key`. Raises CommandError when it is no integer or would overflow."""
    db = client.db
    value = db.write(key)
    if value is None:
        total = amount
        db.put(key, b"%d" % total)
    else:
        if type(value) is bytearray:
            value = bytes(value[:_TOO_MANY_DIGITS])  # it may be long, and what is cut is no integer anyway
        elif type(value) is not bytes:
            raise CommandError(errors.WRONG_TYPE)
        total = integer(value) + amount
        if not INT64_MIN <= total <= INT64_MAX:
            raise CommandError(errors.INCREMENT_OVERFLOW)
        db.replace(key, b"%d" % total)
    keyspace = db.keyspace
    keyspace.dirty += 1  # `changed`, written out
    if keyspace.observed:
        keyspace.on_changed(db.index, key, STRING, b"incrby")
    return total


@command(
    "incr",
    arity=2,
    syntax="key",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_ACCESS_UPDATE,
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Adds one to a counter; an absent key counts as 0.",
)
def cmd_incr(client: NodeClient, argv: list[bytes]) -> Any:
    return _add(client, argv[1], 1)


@command(
    "decr",
    arity=2,
    syntax="key",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_ACCESS_UPDATE,
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Takes one from a counter; an absent key counts as 0.",
)
def cmd_decr(client: NodeClient, argv: list[bytes]) -> Any:
    return _add(client, argv[1], -1)


@command(
    "incrby",
    arity=3,
    syntax="key increment",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_ACCESS_UPDATE,
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Adds an integer to a counter; an absent key counts as 0.",
)
def cmd_incrby(client: NodeClient, argv: list[bytes]) -> Any:
    return _add(client, argv[1], integer(argv[2]))


@command(
    "decrby",
    arity=3,
    syntax="key decrement",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_ACCESS_UPDATE,
    group="string",
    since="1.0.0",
    complexity="O(1)",
    summary="Takes an integer from a counter; an absent key counts as 0.",
)
def cmd_decrby(client: NodeClient, argv: list[bytes]) -> Any:
    amount = integer(argv[2])
    if amount == INT64_MIN:
        raise CommandError("ERR decrement would overflow")
    return _add(client, argv[1], -amount)


@command(
    "incrbyfloat",
    arity=3,
    syntax="key increment(double)",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_ACCESS_UPDATE,
    group="string",
    since="2.6.0",
    complexity="O(1)",
    summary="Adds a number with a fraction to a counter; an absent key counts as 0.",
)
def cmd_incrbyfloat(client: NodeClient, argv: list[bytes]) -> Any:
    key = argv[1]
    value = write_string(client, key)
    result = add_floats(b"0" if value is None else value, argv[2])
    client.db.put(key, result)
    client.db.changed(key, STRING, b"incrbyfloat")
    client.propagate_as([b"SET", key, result, b"KEEPTTL"])
    return result


def add_floats(text: bytes | bytearray, amount: bytes) -> bytes:
    """The digits of the sum of two decimal texts, as INCRBYFLOAT and HINCRBYFLOAT store it.

    Raises CommandError when one is no number or the sum is not finite.
    """
    first = _number(text)
    total = add(first, _number(amount))
    if total is None:
        raise CommandError("ERR increment would produce NaN or Infinity")
    return format_plain(total)


def _number(text: bytes | bytearray) -> LongDouble:
    value = parse(text)
    if value is None:
        raise CommandError(errors.NOT_FLOAT)
    return value
