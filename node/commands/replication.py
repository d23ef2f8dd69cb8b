"""The commands of replication: choosing roles (REPLICAOF, FAILOVER, ROLE), waiting for replicas (WAIT), and what a
replica says to its primary (REPLCONF, PSYNC, SYNC)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from node import errors
from node.arguments import INT64_MAX, integer, integer_between
from node.client import GATE_PRIMARY
from node.errors import CommandError
from node.observe.client_info import describe_client
from node.registry import (
    ADMIN,
    ALLOW_BUSY,
    FAST,
    LOADING,
    NO_ASYNC_LOADING,
    NO_MULTI,
    NOSCRIPT,
    STALE,
    command,
)
from node.replication.failover import IDLE
from node.replication.replica import CAN_EOF, CAN_PSYNC2, ONLINE, WITHOUT_DATA, WITHOUT_FUNCTIONS, Introduction
from node.resp.inline import split_args
from node.resp.values import NO_REPLY, OK, Status

if TYPE_CHECKING:
    from node.client import Client

log = logging.getLogger("node")

_MAX_HOST: Final = 256
_ALREADY_CONNECTED: Final = Status(b"OK Already connected to specified master")
_NOT_LINKED: Final = CommandError("NOMASTERLINK Can't SYNC while not connected with my master")
_FAILING_OVER: Final = CommandError("NOMASTERLINK Can't SYNC while failing over")
_REPLICAOF_FLAGS: Final = ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING
_SYNC_FLAGS: Final = ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI


# -- roles ---------------------------------------------------------------------------------------------------------


@command(
    "replicaof",
    arity=3,
    flags=_REPLICAOF_FLAGS,
    group="server",
    since="5.0.0",
    complexity="O(1)",
    summary="Makes this node a replica of another, or a primary (NO ONE).",
)
def cmd_replicaof(client: Client, argv: list[bytes]) -> Any:
    server = client.server
    replication = server.replication
    if server.cluster is not None:
        raise CommandError("ERR REPLICAOF not allowed in cluster mode.")
    if replication.failover.state != IDLE:
        raise CommandError("ERR REPLICAOF not allowed while failing over.")
    if argv[1].lower() == b"no" and argv[2].lower() == b"one":
        if replication.is_replica:
            replication.become_primary()
            log.info("MASTER MODE enabled (user request from '%s')", _who(client, argv))
        return OK
    if client.replica is not None:
        raise CommandError("ERR Command is not valid when client is a replica.")
    port = integer_between(argv[2], 0, 65535, CommandError("ERR Invalid master port"))
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
    flags=_REPLICAOF_FLAGS,
    group="server",
    since="1.0.0",
    complexity="O(1)",
    summary="The old name of REPLICAOF.",
    deprecated=("5.0.0", "`REPLICAOF`"),
)
def cmd_slaveof(client: Client, argv: list[bytes]) -> Any:
    return cmd_replicaof(client, argv)


def _who(client: Client, argv: list[bytes]) -> str:
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
def cmd_role(client: Client, argv: list[bytes]) -> Any:
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
    flags=ADMIN | NOSCRIPT | STALE,
    group="server",
    since="6.2.0",
    complexity="O(1)",
    summary="Hands the role of the primary over to a replica that has all data.",
)
def cmd_failover(client: Client, argv: list[bytes]) -> Any:
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
            raise errors.SYNTAX
        position += 1
    failover.start(target, force, timeout_ms)
    return OK


# -- waiting -------------------------------------------------------------------------------------------------------


@command(
    "wait",
    arity=3,
    flags=NOSCRIPT,
    group="generic",
    since="3.0.0",
    complexity="O(1)",
    summary="Waits until enough replicas have all that this connection wrote; how many have it.",
    categories=("connection", "-keyspace"),
    tips=(b"request_policy:all_shards", b"response_policy:agg_min"),
)
def cmd_wait(client: Client, argv: list[bytes]) -> Any:
    replication = client.server.replication
    if replication.is_replica:
        raise CommandError(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is "
            "configured to be writable (which is not the default) writes to replicas are just local and are not "
            "propagated."
        )
    wanted = integer(argv[1])
    timeout_ms = _wait_timeout(argv[2])
    offset = client.write_offset

    def question() -> tuple[int, bool]:
        count = replication.replicas.acknowledged(offset)
        return count, count >= wanted

    return replication.serving.waiting.wait(client, timeout_ms, question)


def _wait_timeout(text: bytes) -> int:
    """ms; 0 waits for ever."""
    timeout_ms = integer(text, CommandError("ERR timeout is not an integer or out of range"))
    if timeout_ms < 0:
        raise errors.TIMEOUT_NEGATIVE
    return timeout_ms


# -- what a replica says -------------------------------------------------------------------------------------------


@command(
    "replconf",
    arity=-1,
    flags=ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY,
    group="server",
    since="3.0.0",
    complexity="O(1)",
    summary="Between replica and primary: who the replica is, what it can, how far it is.",
)
def cmd_replconf(client: Client, argv: list[bytes]) -> Any:
    if len(argv) % 2 == 0:
        raise errors.SYNTAX
    replication = client.server.replication
    for position in range(1, len(argv), 2):
        option, value = argv[position].lower(), argv[position + 1]
        if option == b"ack":
            if client.replica is not None:
                _acknowledge(client, argv[position:])
            return NO_REPLY
        if option == b"getack":
            if client.gates & GATE_PRIMARY:
                replication.ack_requested()
            return NO_REPLY
        setter = _SETTERS.get(option)
        if setter is None:
            raise CommandError(b"ERR Unrecognized REPLCONF option: %b" % argv[position])
        setter(replication.replicas.introduction(client), value)
    return OK


def _acknowledge(client: Client, words: list[bytes]) -> None:
    """ACK <offset> [FACK <offset on disk>]; nothing is answered, not even to nonsense."""
    try:
        offset = integer(words[1])
        on_disk = integer(words[3]) if len(words) > 3 and words[2].lower() == b"fack" else None
    except CommandError:
        return
    client.server.replication.on_ack(client.replica, offset, on_disk)


def _set_port(intro: Introduction, value: bytes) -> None:
    intro.port = integer(value)


def _set_ip(intro: Introduction, value: bytes) -> None:
    if len(value) >= _MAX_HOST:
        raise CommandError(f"ERR REPLCONF ip-address provided by replica instance is too long: {len(value)} bytes")
    intro.ip = value.decode("utf-8", "surrogateescape")


def _add_capability(intro: Introduction, value: bytes) -> None:
    """Those we do not know are none of our business."""
    intro.capabilities |= {b"eof": CAN_EOF, b"psync2": CAN_PSYNC2}.get(value.lower(), 0)


def _set_rdb_only(intro: Introduction, value: bytes) -> None:
    integer(value)
    error = CommandError("ERR value is out of range, value must between 0 and 1")
    intro.rdb_only = bool(integer_between(value, 0, 1, error))


def _set_filter(intro: Introduction, value: bytes) -> None:
    """What the snapshot shall hold; everything else is left out."""
    wanted = split_args(value)
    if wanted is None:
        raise CommandError("ERR Missing rdb-filter-only values")
    intro.filters = WITHOUT_DATA | WITHOUT_FUNCTIONS
    for word in wanted:
        if word.lower() != b"functions":
            raise CommandError(b"ERR Unsupported rdb-filter-only option: %b" % word)
        intro.filters &= ~WITHOUT_FUNCTIONS


_SETTERS: Final = {
    b"listening-port": _set_port,
    b"ip-address": _set_ip,
    b"capa": _add_capability,
    b"rdb-only": _set_rdb_only,
    b"rdb-filter-only": _set_filter,
}


@command(
    "psync",
    arity=-3,
    flags=_SYNC_FLAGS,
    group="server",
    since="2.8.0",
    complexity="O(N), N the size of the data or of what is missing",
    summary="Makes the connection a replica: it gets all the data, or what it is missing, and then every change.",
)
def cmd_psync(client: Client, argv: list[bytes]) -> Any:
    server = client.server
    if client.replica is not None:
        return NO_REPLY
    if len(argv) > 3 and argv[3].lower() == b"failover":
        _take_over(client, argv)
    _check_sync_allowed(client)
    name = argv[1]
    offset = integer_between(argv[2], -INT64_MAX - 1, INT64_MAX, errors.NOT_INTEGER)
    if server.replication.serving.attach_resumed(client, name, offset):
        server.stats.sync_partial_ok += 1
        return NO_REPLY
    if name[:1] != b"?":
        server.stats.sync_partial_err += 1
    server.stats.sync_full += 1
    server.replication.serving.attach_full(client, old_sync=False)
    return NO_REPLY


@command(
    "sync",
    arity=1,
    flags=_SYNC_FLAGS,
    group="server",
    since="1.0.0",
    complexity="O(N), N the size of the data",
    summary="PSYNC as it was before names and offsets: all the data, then every change.",
)
def cmd_sync(client: Client, argv: list[bytes]) -> Any:
    if client.replica is not None:
        return NO_REPLY
    _check_sync_allowed(client)
    client.server.stats.sync_full += 1
    client.server.replication.serving.attach_full(client, old_sync=True)
    return NO_REPLY


def _take_over(client: Client, argv: list[bytes]) -> None:
    """PSYNC ... FAILOVER: our primary, which speaks here, wants this node to be the primary."""
    server = client.server
    replication = server.replication
    log.info("Failover request received for replid %s.", argv[1].decode(errors="replace"))
    if not replication.is_replica:
        raise CommandError("ERR PSYNC FAILOVER can't be sent to a master.")
    if argv[1].lower() != replication.stream.history.replid:
        raise CommandError("ERR PSYNC FAILOVER replid must match my replid.")
    if server.cluster is not None:
        raise CommandError("ERR FAILOVER not allowed in cluster mode.")
    replication.become_primary()
    log.info("MASTER MODE enabled (failover request from '%s')", _who(client, argv))


def _check_sync_allowed(client: Client) -> None:
    replication = client.server.replication
    if replication.failover.state != IDLE:
        raise _FAILING_OVER
    if replication.is_replica and not replication.primary_link_up:
        raise _NOT_LINKED
    if client.out or client.unsent is not None:
        raise CommandError("ERR SYNC and PSYNC are invalid with pending output")
    intro = replication.replicas.introduction(client)
    if intro.filters and not intro.capabilities & CAN_EOF:
        raise CommandError("ERR Filtered replica requires EOF capability")
    host = intro.ip or client.addr.rpartition(":")[0]
    log.info("Replica %s:%d asks for synchronization", host, intro.port)
