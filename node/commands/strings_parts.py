"""Strings in part: appending, reading and overwriting ranges.

APPEND and SETRANGE turn the value into a `bytearray`, so that the next edit costs no copy of all that is there.
"""

from __future__ import annotations

from typing import Any

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.string_options import check_length, read_string, write_string
from slotmesh.node.keyspace.notify import STRING
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.arguments import integer
from slotmesh.node.spec.key_specs import KEY_INSERT, KEY_READ, KEY_UPDATE, key_at
from slotmesh.node.spec.registry import DENYOOM, FAST, READONLY, WRITE, command
from slotmesh.node.types.string import clamp_range


@command(
    "append",
    arity=3,
    syntax="key value",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_INSERT,
    group="string",
    since="2.0.0",
    complexity="O(1) amortised, for a small addition",
    summary="Adds bytes to the end of a string; an absent key counts as empty.",
)
def cmd_append(client: NodeClient, argv: list[bytes]) -> Any:
    db, key, addition = client.db, argv[1], argv[2]
    value = write_string(client, key)
    if value is None:
        db.put(key, addition)
        size = len(addition)
    else:
        check_length(client, len(value) + len(addition))
        if type(value) is bytes:
            value = bytearray(value)
            db.put(key, value)
        value += addition
        size = len(value)
    db.changed(key, STRING, b"append")
    return size


@command(
    "strlen",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=key_at(b"RO"),
    group="string",
    since="2.2.0",
    complexity="O(1)",
    summary="Returns the length of the string that a key holds.",
)
def cmd_strlen(client: NodeClient, argv: list[bytes]) -> Any:
    return len(read_string(client, argv[1]) or b"")


@command(
    "getrange",
    arity=4,
    syntax="key start(integer) end(integer)",
    flags=READONLY,
    keys=KEY_READ,
    group="string",
    since="2.4.0",
    complexity="O(N), N the length of the returned part",
    summary="Returns a part of a string, by its first and last index.",
)
def cmd_getrange(client: NodeClient, argv: list[bytes]) -> Any:
    start, end = integer(argv[2]), integer(argv[3])
    value = read_string(client, argv[1])
    if not value:
        return b""
    begin, stop = clamp_range(start, end, len(value))
    return bytes(value[begin:stop])


@command(
    "substr",
    arity=4,
    syntax="key start(integer) end(integer)",
    flags=READONLY,
    keys=KEY_READ,
    group="string",
    since="1.0.0",
    complexity="O(N), N the length of the returned part",
    summary="Returns a part of a string, by its first and last index.",
    deprecated=("2.0.0", "`GETRANGE`"),
)
def cmd_substr(client: NodeClient, argv: list[bytes]) -> Any:
    return cmd_getrange(client, argv)


@command(
    "setrange",
    arity=4,
    syntax="key offset value",
    flags=WRITE | DENYOOM,
    keys=KEY_UPDATE,
    group="string",
    since="2.2.0",
    complexity="O(N), N the length of the written part",
    summary="Overwrites a string from an offset on; a gap before it is filled with zero bytes.",
)
def cmd_setrange(client: NodeClient, argv: list[bytes]) -> Any:
    db, key, part = client.db, argv[1], argv[3]
    offset = integer(argv[2])
    if offset < 0:
        raise CommandError(errors.OFFSET_RANGE)
    value = write_string(client, key)
    if not part:
        return len(value or b"")
    end = offset + len(part)
    check_length(client, end)
    if type(value) is not bytearray:
        value = bytearray(value or b"")
        db.put(key, value)
    if len(value) < end:
        value.extend(bytes(end - len(value)))
    value[offset:end] = part
    db.changed(key, STRING, b"setrange")
    return len(value)
