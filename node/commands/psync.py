"""What a replica says to its primary: REPLCONF, PSYNC, SYNC."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.client import GATE_PRIMARY
from slotmesh.node.clients.describe import describe_client
from slotmesh.node.replication.failover import IDLE
from slotmesh.node.replication.replica import CAN_EOF, CAN_PSYNC2, WITHOUT_DATA, WITHOUT_FUNCTIONS, Introduction
from slotmesh.node.resp.inline import split_args
from slotmesh.node.resp.values import NO_REPLY, OK
from slotmesh.node.spec.arguments import integer, integer_between, to_int64
from slotmesh.node.spec.registry import ADMIN, ALLOW_BUSY, LOADING, NO_ASYNC_LOADING, NO_MULTI, NOSCRIPT, STALE, command

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

log = logging.getLogger("node")

_MAX_HOST: Final = 256
_NOT_LINKED: Final = ErrorReply("NOMASTERLINK Can't SYNC while not connected with my master")
_FAILING_OVER: Final = ErrorReply("NOMASTERLINK Can't SYNC while failing over")
_SYNC_FLAGS: Final = ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI


@command(
    "replconf",
    arity=-1,
    flags=ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY,
    group="server",
    since="3.0.0",
    complexity="O(1)",
    summary="Between replica and primary: who the replica is, what it can, how far it is.",
)
def cmd_replconf(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) % 2 == 0:
        raise CommandError(errors.SYNTAX)
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


def _acknowledge(client: NodeClient, words: list[bytes]) -> None:
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
    error = ErrorReply("ERR value is out of range, value must between 0 and 1")
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
    syntax="replicationid offset",
    flags=_SYNC_FLAGS,
    group="server",
    since="2.8.0",
    complexity="O(N), N the size of the data or of what is missing",
    summary="Makes the connection a replica: it gets all the data, or what it is missing, and then every change.",
)
def cmd_psync(client: NodeClient, argv: list[bytes]) -> Any:
    server = client.server
    if client.replica is not None:
        return NO_REPLY
    if len(argv) > 3 and argv[3].lower() == b"failover":
        _take_over(client, argv)
    _check_sync_allowed(client)
    name, offset = argv[1], to_int64(argv[2])
    if offset is None:
        log.warning("Replica %s asks for synchronization but with a wrong offset", client.addr)
        raise CommandError(errors.NOT_INTEGER)
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
def cmd_sync(client: NodeClient, argv: list[bytes]) -> Any:
    if client.replica is not None:
        return NO_REPLY
    _check_sync_allowed(client)
    client.server.stats.sync_full += 1
    client.server.replication.serving.attach_full(client, old_sync=True)
    return NO_REPLY


def _take_over(client: NodeClient, argv: list[bytes]) -> None:
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
    client.propagate_as()  # what the last of the primary's commands change is propagated as it happens
    replication.become_primary()
    who = describe_client(client, argv).decode("utf-8", "replace")
    log.info("MASTER MODE enabled (failover request from '%s')", who)


def _check_sync_allowed(client: NodeClient) -> None:
    replication = client.server.replication
    if replication.failover.state != IDLE:
        raise CommandError(_FAILING_OVER)
    if replication.is_replica and not replication.primary_link_up:
        raise CommandError(_NOT_LINKED)
    if client.out or client.unsent is not None:
        raise CommandError("ERR SYNC and PSYNC are invalid with pending output")
    intro = replication.replicas.introduction(client)
    if intro.filters and not intro.capabilities & CAN_EOF:
        raise CommandError("ERR Filtered replica requires EOF capability")
    host = intro.ip or client.addr.rpartition(":")[0]
    log.info("Replica %s:%d asks for synchronization", host, intro.port)
