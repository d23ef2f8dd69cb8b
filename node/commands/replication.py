"""Replication for its operators and users: choosing roles (REPLICAOF, FAILOVER, ROLE), waiting for replicas (WAIT,
WAITAOF). What replicas say is in `psync.py`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.describe import describe_client
from slotmesh.node.persistence import aof as states
from slotmesh.node.replication.failover import IDLE
from slotmesh.node.replication.replica import ONLINE
from slotmesh.node.resp.values import OK, Status
from slotmesh.node.spec.arguments import integer, integer_between, wait_timeout_ms
from slotmesh.node.spec.registry import (
    ADMIN,
    BLOCKING,
    FAST,
    LOADING,
    NO_ASYNC_LOADING,
    NOSCRIPT,
    STALE,
    command,
)

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

log = logging.getLogger("node")

_ALREADY_CONNECTED: Final = Status(b"OK Already connected to specified master")
_REPLICAOF_FLAGS: Final = ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING


# -- roles ---------------------------------------------------------------------------------------------------------


@command(
    "replicaof",
    arity=3,
    syntax="<host port | NO ONE>",
    flags=_REPLICAOF_FLAGS,
    group="server",
    since="5.0.0",
    complexity="O(1)",
    summary="Makes this node a replica of another, or a primary (NO ONE).",
)
def cmd_replicaof(client: NodeClient, argv: list[bytes]) -> Any:
    server = client.server
    replication = server.replication
    if server.cluster is not None:
        raise CommandError("ERR REPLICAOF not allowed in cluster mode.")
    if replication.failover.state != IDLE:
        raise CommandError("ERR REPLICAOF not allowed while failing over.")
    client.propagate_as()  # what the last of the primary's commands change is propagated as it happens
    if argv[1].lower() == b"no" and argv[2].lower() == b"one":
        if replication.is_replica:
            replication.become_primary()
            log.info("MASTER MODE enabled (user request from '%s')", _who(client, argv))
        return OK
    if client.replica is not None:
        raise CommandError("ERR Command is not valid when client is a replica.")
    port = integer_between(argv[2], 0, 65535, ErrorReply("ERR Invalid master port"))
    host = argv[1].decode("utf-8", "surrogateescape")
    link = replication.link
    if link is not None and (link.host.lower(), link.port) == (host.lower(), port):
        log.info(
            "REPLICAOF would result into synchronization with the master we are already connected with. No operation "
            "performed."
        )
        return _ALREADY_CONNECTED
    replication.become_replica_of(host, port)
    log.info("REPLICAOF %s:%d enabled (user request from '%s')", host, port, _who(client, argv))
    return OK


@command(
    "slaveof",
    arity=3,
    syntax="<host port | NO ONE>",
    flags=_REPLICAOF_FLAGS,
    group="server",
    since="1.0.0",
    complexity="O(1)",
    summary="The old name of REPLICAOF.",
    deprecated=("5.0.0", "`REPLICAOF`"),
)
def cmd_slaveof(client: NodeClient, argv: list[bytes]) -> Any:
    return cmd_replicaof(client, argv)


def _who(client: NodeClient, argv: list[bytes]) -> str:
    return describe_client(client, argv).decode("utf-8", "replace")


@command(
    "role",
    arity=1,
    flags=NOSCRIPT | LOADING | STALE | FAST,
    group="server",
    since="2.8.12",
    complexity="O(1)",
    summary="Tells the role of this node, and of its replicas or its primary the addresses and offsets.",
    categories=("admin", "dangerous"),
)
def cmd_role(client: NodeClient, argv: list[bytes]) -> Any:
    replication = client.server.replication
    link = replication.link
    if link is None:
        online = [
            [replica.host.encode(), b"%d" % replica.intro.port, b"%d" % replica.ack_offset]
            for replica in replication.replicas
            if replica.state == ONLINE
        ]
        return [b"master", replication.offset, online]
    offset = replication.offset if replication.primary_link_up else -1
    return [b"slave", link.host.encode("utf-8", "surrogateescape"), link.port, link.state.encode(), offset]


@command(
    "failover",
    arity=-1,
    syntax="[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]",
    flags=ADMIN | NOSCRIPT | STALE,
    group="server",
    since="6.2.0",
    complexity="O(1)",
    summary="Hands the role of the primary over to a replica that has all data.",
)
def cmd_failover(client: NodeClient, argv: list[bytes]) -> Any:
    server = client.server
    if server.cluster is not None:
        raise CommandError("ERR FAILOVER not allowed in cluster mode.")
    failover = server.replication.failover
    if len(argv) == 2 and argv[1].lower() == b"abort":
        failover.abort("Failover manually aborted")
        return OK
    target: tuple[str, int] | None = None
    timeout_ms, force = 0, False
    position = 1
    while position < len(argv):
        word, left = argv[position].lower(), len(argv) - position - 1
        if word == b"timeout" and left >= 1 and not timeout_ms:
            timeout_ms = integer(argv[position + 1])
            if timeout_ms <= 0:
                raise CommandError("ERR FAILOVER timeout must be greater than 0")
            position += 1
        elif word == b"to" and left >= 2 and target is None:
            target = argv[position + 1].decode("utf-8", "surrogateescape"), integer(argv[position + 2])
            position += 2
        elif word == b"force" and not force:
            force = True
        else:
            raise CommandError(errors.SYNTAX)
        position += 1
    failover.start(target, force, timeout_ms)
    return OK


# -- waiting -------------------------------------------------------------------------------------------------------


@command(
    "wait",
    arity=3,
    syntax="numreplicas timeout(integer)",
    flags=NOSCRIPT,
    group="generic",
    since="3.0.0",
    complexity="O(1)",
    summary="Waits until enough replicas have all that this connection wrote; how many have it.",
    categories=("connection", "-keyspace"),
    tips=(b"request_policy:all_shards", b"response_policy:agg_min"),
)
def cmd_wait(client: NodeClient, argv: list[bytes]) -> Any:
    replication = client.server.replication
    if replication.is_replica:
        raise CommandError(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is "
            "configured to be writable (which is not the default) writes to replicas are just local and are not "
            "propagated."
        )
    wanted = integer(argv[1])
    timeout_ms = wait_timeout_ms(argv[2], client.server.clock.now_ms)
    offset = client.write_offset

    def question() -> tuple[int, bool]:
        count = replication.replicas.acknowledged(offset)
        return count, count >= wanted

    return replication.serving.waiting.wait(client, timeout_ms, question)


@command(
    "waitaof",
    arity=4,
    syntax="numlocal numreplicas timeout(integer)",
    flags=BLOCKING,
    group="generic",
    since="7.2.0",
    complexity="O(1)",
    summary="Waits until the log of this node, or of enough replicas, has on disk all that this connection wrote.",
    categories=("connection", "-keyspace"),
    tips=(b"request_policy:all_shards", b"response_policy:agg_min"),
)
def cmd_waitaof(client: NodeClient, argv: list[bytes]) -> Any:
    server = client.server
    replication, aof = server.replication, server.persistence.aof
    integer(argv[1])
    own = integer_between(argv[1], 0, 1, ErrorReply("ERR value is out of range, value must between 0 and 1"))
    wanted = integer(argv[2])
    if wanted < 0:
        raise CommandError("ERR value is out of range, must be positive")
    timeout_ms = wait_timeout_ms(argv[3], server.clock.now_ms)
    if replication.is_replica:
        raise CommandError(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just "
            "local and are not propagated."
        )
    offset, target = client.write_offset, aof.fed_total
    no_log = ErrorReply("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")

    def question() -> tuple[Any, bool]:
        if own and aof.state == states.OFF:
            return no_log, True
        here = int(aof.state == states.ON and aof.synced_total >= target)
        count = replication.replicas.acknowledged_on_disk(offset)
        return [here, count], here >= own and count >= wanted

    if own and aof.state == states.OFF:
        raise CommandError(no_log)
    if own:
        aof.ask_for_sync()
    return replication.serving.waiting.wait(client, timeout_ms, question)
