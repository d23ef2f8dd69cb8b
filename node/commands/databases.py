"""Whole databases: counting, flushing, swapping."""

from __future__ import annotations

from typing import Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.keyspace.database import Database
from slotmesh.node.resp.values import OK
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.arguments import integer_between
from slotmesh.node.spec.registry import FAST, READONLY, WRITE, command

_INT32_MAX: Final = 2**31 - 1


@command(
    "dbsize",
    arity=1,
    flags=READONLY | FAST,
    group="server",
    since="1.0.0",
    complexity="O(1)",
    summary="Counts the keys of the database, those included that are past their expiry and not removed yet.",
    categories=("keyspace",),
    tips=(b"request_policy:all_shards", b"response_policy:agg_sum"),
)
def cmd_dbsize(client: NodeClient, argv: list[bytes]) -> Any:
    return client.db.size


@command(
    "flushdb",
    arity=-1,
    syntax="[ASYNC | SYNC]",
    flags=WRITE,
    group="server",
    since="1.0.0",
    complexity="O(1); the memory is given back in the background",
    summary="Removes all keys of the database.",
    categories=("keyspace", "dangerous"),
    tips=(b"request_policy:all_shards", b"response_policy:all_succeeded"),
)
def cmd_flushdb(client: NodeClient, argv: list[bytes]) -> Any:
    _flush(client, argv, [client.db])
    return OK


@command(
    "flushall",
    arity=-1,
    syntax="[ASYNC | SYNC]",
    flags=WRITE,
    group="server",
    since="1.0.0",
    complexity="O(1); the memory is given back in the background",
    summary="Removes all keys of all databases.",
    categories=("keyspace", "dangerous"),
    tips=(b"request_policy:all_shards", b"response_policy:all_succeeded"),
)
def cmd_flushall(client: NodeClient, argv: list[bytes]) -> Any:
    _flush(client, argv, client.server.keyspace.dbs)
    if client.server.persistence is not None:
        client.server.persistence.on_everything_flushed()
    return OK


def _flush(client: NodeClient, argv: list[bytes], dbs: list[Database]) -> None:
    """Empty databases. SYNC waits until their memory is free."""
    mode = argv[1].upper() if len(argv) == 2 else b""
    if len(argv) > 2 or mode not in (b"", b"SYNC", b"ASYNC"):
        raise CommandError(errors.SYNTAX)
    keyspace = client.server.keyspace
    keyspace.dirty += keyspace.empty(dbs)
    if mode == b"SYNC":
        keyspace.lazy_free.drain()
    # Replicas must be emptied even if there was nothing here: they may hold more than they should.
    client.propagate_as(argv)


@command(
    "swapdb",
    arity=3,
    syntax="index1 index2",
    flags=WRITE | FAST,
    group="server",
    since="4.0.0",
    complexity="O(N), N the number of keys that clients watch or wait for",
    summary="Exchanges the keys of two databases.",
    categories=("keyspace", "dangerous"),
)
def cmd_swapdb(client: NodeClient, argv: list[bytes]) -> Any:
    keyspace = client.server.keyspace
    if keyspace.clustered:
        raise CommandError("ERR SWAPDB is not allowed in cluster mode")
    first = integer_between(argv[1], -_INT32_MAX - 1, _INT32_MAX, ErrorReply("ERR invalid first DB index"))
    second = integer_between(argv[2], -_INT32_MAX - 1, _INT32_MAX, ErrorReply("ERR invalid second DB index"))
    if not (0 <= first < len(keyspace.dbs) and 0 <= second < len(keyspace.dbs)):
        raise CommandError(errors.DB_INDEX)
    keyspace.dirty += 1
    if first == second:
        return OK
    a, b = keyspace.dbs[first], keyspace.dbs[second]
    a.swap_with(b)
    keyspace.on_databases_swapped(first, second)
    return OK
