"""AUTH, HELLO, PING, ECHO, SELECT, RESET, QUIT: the life of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.client import (
    GATE_ASKING,
    GATE_IMPORT,
    GATE_NO_TOUCH,
    GATE_READONLY,
    GATE_REDIRECT,
    GATE_REPLY,
    REPLY_ON,
)
from slotmesh.node.resp.values import OK, PONG, Status
from slotmesh.node.spec.arguments import INT64_MAX, INT64_MIN, int32, integer_between
from slotmesh.node.spec.registry import (
    ALLOW_BUSY,
    FAST,
    IN_SUBSCRIBED,
    LOADING,
    NO_AUTH,
    NOSCRIPT,
    NOT_QUEUED,
    STALE,
    command,
)

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

WRONG_PASSWORD: Final = ErrorReply("WRONGPASS invalid username-password pair or user is disabled.")
_RESET: Final = Status(b"RESET")


@command(
    "auth",
    arity=-2,
    syntax="[username] password",
    flags=NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY,
    group="connection",
    since="1.0.0",
    complexity="O(N), N the passwords of the user",
    summary="Logs the connection in.",
)
def cmd_auth(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 3:
        raise CommandError(errors.SYNTAX)
    acl = client.server.acl
    if len(argv) == 2 and acl.default.no_password:
        raise CommandError(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
            "configuration is correct?"
        )
    name = argv[1] if len(argv) == 3 else b"default"
    if not acl.log_in(client, name, argv[-1], argv[0]):
        raise CommandError(WRONG_PASSWORD)
    return OK


@command(
    "hello",
    arity=-1,
    syntax="[protover [AUTH username password] [SETNAME clientname]]",
    flags=NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY,
    group="connection",
    since="6.0.0",
    complexity="O(1)",
    summary="Greets the server, choosing the protocol; may log in and name the connection as well.",
)
def cmd_hello(client: NodeClient, argv: list[bytes]) -> Any:
    version = 0
    if len(argv) >= 2:
        not_a_number = ErrorReply("ERR Protocol version is not an integer or out of range")
        version = integer_between(argv[1], INT64_MIN, INT64_MAX, not_a_number)
        if version not in (2, 3):
            raise CommandError("NOPROTO unsupported protocol version")
    _hello_options(client, argv)
    if not client.authenticated:
        raise CommandError(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> "
            "option can be used to authenticate the client and select the RESP protocol version at the same time"
        )
    if version:
        client.resp3 = version == 3
    server = client.server
    return {
        b"server": b"redis",
        b"version": COMPAT.version.encode(),
        b"proto": 3 if client.resp3 else 2,
        b"id": client.id,
        b"mode": b"cluster" if server.config.cluster_enabled else b"standalone",
        b"role": b"replica" if server.config.replicaof is not None else b"master",
        b"modules": [],
    }


def _hello_options(client: NodeClient, argv: list[bytes]) -> None:
    """AUTH and SETNAME. 7.0 carries them out as they come; level 7.2 reads all first, and the last of each counts."""
    log_in: list[bytes] | None = None
    name: bytes | None = None
    i = 2
    while i < len(argv):
        option = argv[i].lower()
        if option == b"auth" and i + 2 < len(argv):
            log_in = argv[i + 1 : i + 3]
            if not COMPAT.newer:
                _log_in(client, log_in, argv[0])
            i += 3
        elif option == b"setname" and i + 1 < len(argv):
            name = checked_name(argv[i + 1])
            if not COMPAT.newer:
                client.name = name
            i += 2
        else:
            raise CommandError(b"ERR Syntax error in HELLO option '%b'" % argv[i])
    if COMPAT.newer and log_in is not None:
        _log_in(client, log_in, argv[0])
    if name is not None and (client.authenticated or not COMPAT.newer):
        client.name = name


def _log_in(client: NodeClient, credentials: list[bytes], command: bytes) -> None:
    if not client.server.acl.log_in(client, credentials[0], credentials[1], command):
        raise CommandError(WRONG_PASSWORD)


def checked_name(name: bytes) -> bytes:
    """A connection name that keeps CLIENT LIST parsable. Raises CommandError."""
    if any(not 0x21 <= letter <= 0x7E for letter in name):
        raise CommandError("ERR Client names cannot contain spaces, newlines or special characters.")
    return name


@command(
    "ping",
    arity=-1,
    syntax="[message]",
    flags=FAST | IN_SUBSCRIBED,
    group="connection",
    since="1.0.0",
    complexity="O(1)",
    summary="Asks for a sign of life.",
    tips=(b"request_policy:all_shards", b"response_policy:all_succeeded"),
)
def cmd_ping(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 2:
        raise CommandError(errors.wrong_arity(b"ping"))
    if client.subscription_count and not client.resp3:
        return [b"pong", argv[1] if len(argv) == 2 else b""]
    return argv[1] if len(argv) == 2 else PONG


@command(
    "echo",
    arity=2,
    syntax="message",
    flags=LOADING | STALE | FAST,
    group="connection",
    since="1.0.0",
    complexity="O(1)",
    summary="Returns its argument.",
)
def cmd_echo(client: NodeClient, argv: list[bytes]) -> Any:
    return argv[1]


@command(
    "select",
    arity=2,
    syntax="index",
    flags=LOADING | STALE | FAST,
    group="connection",
    since="1.0.0",
    complexity="O(1)",
    summary="Chooses the database that the connection works on.",
)
def cmd_select(client: NodeClient, argv: list[bytes]) -> Any:
    index = int32(argv[1])
    server = client.server
    if server.config.cluster_enabled and index != 0:
        raise CommandError("ERR SELECT is not allowed in cluster mode")
    if not 0 <= index < len(server.keyspace.dbs):
        raise CommandError(errors.DB_INDEX)
    client.db = server.keyspace.dbs[index]
    return OK


@command(
    "quit",
    arity=-1,
    flags=NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | NOT_QUEUED | IN_SUBSCRIBED,
    group="connection",
    since="1.0.0",
    complexity="O(1)",
    summary="Closes the connection once the replies before it are sent.",
)
def cmd_quit(client: NodeClient, argv: list[bytes]) -> Any:
    client.close_after_reply = True
    return OK


@command(
    "reset",
    arity=1,
    flags=NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | NOT_QUEUED | IN_SUBSCRIBED,
    group="connection",
    since="6.2.0",
    complexity="O(N) with N the watches and subscriptions dropped",
    summary="Brings the connection back to the state of a new one.",
)
def cmd_reset(client: NodeClient, argv: list[bytes]) -> Any:
    server = client.server
    if client.replica is not None:
        raise CommandError("ERR can only reset normal client connections")
    server.monitors.remove(client)
    server.tracking.turn_off(client)
    client.server.dispatch.leave_multi(client)
    server.pubsub.forget(client)
    client.db = server.keyspace.dbs[0]
    client.resp3 = False
    client.name = b""
    client.readonly = client.no_evict = client.no_touch = False
    client.reply_mode = REPLY_ON
    client.fieldsets = None
    for gate in (GATE_ASKING, GATE_IMPORT, GATE_NO_TOUCH, GATE_READONLY, GATE_REDIRECT, GATE_REPLY):
        client.set_gate(gate, False)
    server.acl.start_client(client)
    return _RESET
