"""CLIENT: look at connections, name, pause, unblock and close them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients import pause
from slotmesh.node.clients.client import (
    GATE_NO_TOUCH,
    GATE_REDIRECT,
    GATE_REPLY,
    REPLY_OFF,
    REPLY_ON,
    REPLY_SKIP_NEXT,
    Client,
)
from slotmesh.node.clients.describe import TYPE_NAMES, describe_client
from slotmesh.node.commands.connection import checked_name
from slotmesh.node.commands.help import help_reply
from slotmesh.node.resp.values import NO_REPLY, OK, Verbatim
from slotmesh.node.spec.arguments import INT64_MAX, integer, integer_between
from slotmesh.node.spec.registry import ADMIN, LOADING, NOSCRIPT, STALE, Handler, command, container

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

Declaration = Callable[[Handler], Handler]
_FLAGS: Final = NOSCRIPT | LOADING | STALE

container(
    "client",
    group="connection",
    since="2.4.0",
    summary="Looks at and manages connections.",
    categories=("-connection",),
)


def declare(
    name: str,
    *,
    arity: int,
    since: str,
    complexity: str,
    summary: str,
    syntax: str = "",
    flags: int = _FLAGS,
    tips: Iterable[bytes] = (),
) -> Declaration:
    return command(
        f"client|{name}",
        arity=arity,
        flags=flags,
        group="connection",
        since=since,
        complexity=complexity,
        summary=summary,
        syntax=syntax,
        tips=tuple(tips),
    )


# -- who am I ------------------------------------------------------------------------------------------------------


@declare("id", arity=2, since="5.0.0", complexity="O(1)", summary="Returns the id of this connection.")
def cmd_client_id(client: NodeClient, argv: list[bytes]) -> Any:
    return client.id


@declare("getname", arity=2, since="2.6.9", complexity="O(1)", summary="Returns the name of this connection.")
def cmd_client_getname(client: NodeClient, argv: list[bytes]) -> Any:
    return client.name or None


@declare(
    "setname", arity=3, syntax="connection-name", since="2.6.9", complexity="O(1)", summary="Names this connection."
)
def cmd_client_setname(client: NodeClient, argv: list[bytes]) -> Any:
    client.name = checked_name(argv[2])
    return OK


@declare(
    "capa",
    arity=-3,
    syntax="capability [capability ...]",
    since="8.0.0",
    complexity="O(1)",
    summary="Says what the client at the other end can do. `redirect`: follow a replica to its primary.",
)
def cmd_client_capa(client: NodeClient, argv: list[bytes]) -> Any:
    for word in argv[2:]:
        if word.lower() == b"redirect":  # words of the future are not ours to refuse
            client.set_gate(GATE_REDIRECT, True)
    return OK


@declare(
    "setinfo",
    arity=4,
    syntax="<LIB-NAME libname | LIB-VER libver>",
    since="7.2.0",
    complexity="O(1)",
    summary="Says what library drives this connection.",
)
def cmd_client_setinfo(client: NodeClient, argv: list[bytes]) -> Any:
    option, value = argv[2].lower(), argv[3]
    if option not in (b"lib-name", b"lib-ver"):
        raise CommandError(b"ERR Unrecognized option '%b'" % argv[2])
    if any(not 0x21 <= letter <= 0x7E for letter in value):
        raise CommandError(b"ERR %b cannot contain spaces, newlines or special characters." % option)
    if option == b"lib-name":
        client.lib_name = value
    else:
        client.lib_ver = value
    return OK


@declare(
    "info",
    arity=2,
    since="6.2.0",
    complexity="O(1)",
    summary="Describes this connection.",
    tips=(b"nondeterministic_output",),
)
def cmd_client_info(client: NodeClient, argv: list[bytes]) -> Any:
    return Verbatim(describe_client(client, argv) + b"\n")


# -- all clients ---------------------------------------------------------------------------------------------------


def _type_of(word: bytes) -> int:
    kind = TYPE_NAMES.get(word.lower())
    if kind is None:
        raise CommandError(b"ERR Unknown client type '%b'" % word)
    return kind


def _lines(client: NodeClient, argv: list[bytes], chosen: Iterable[Client]) -> Verbatim:
    rows = (describe_client(each, argv if each is client else None) + b"\n" for each in chosen)
    return Verbatim(b"".join(rows))


@declare(
    "list",
    arity=-2,
    syntax="[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
    flags=_FLAGS | ADMIN,
    since="2.4.0",
    complexity="O(N), N the connections",
    summary="Describes connections: all, those of a type, or some by id.",
    tips=(b"nondeterministic_output",),
)
def cmd_client_list(client: NodeClient, argv: list[bytes]) -> Any:
    clients = client.server.clients
    if len(argv) == 2:
        return _lines(client, argv, clients.values())
    option = argv[2].lower()
    if option == b"type" and len(argv) == 4:
        kind = _type_of(argv[3])
        return _lines(client, argv, (each for each in clients.values() if each.kind == kind))
    if option == b"id" and len(argv) > 3:
        ids = [integer(word, ErrorReply("ERR Invalid client ID")) for word in argv[3:]]
        return _lines(client, argv, (clients[number] for number in ids if number in clients))
    raise CommandError(errors.SYNTAX)


@declare(
    "kill",
    arity=-3,
    syntax=(
        "<ip:port | <[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | [USER "
        "username] | [ADDR ip:port] | [LADDR ip:port] | [SKIPME yes/no]> [<[ID client-id] | [TYPE "
        "<NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | [USER username] | [ADDR ip:port] | [LADDR "
        "ip:port] | [SKIPME yes/no]> ...]>"
    ),
    flags=_FLAGS | ADMIN,
    since="2.4.0",
    complexity="O(N), N the connections",
    summary="Closes connections: one by its address, or all that pass filters.",
)
def cmd_client_kill(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) == 3:
        address = argv[2].decode("latin-1")
        if not _kill(client, [each for each in client.server.clients.values() if each.addr == address]):
            raise CommandError("ERR No such client")
        return OK
    skip_me, filters = _kill_filters(client, argv)
    chosen = [each for each in client.server.clients.values() if all(fits(each) for fits in filters)]
    return _kill(client, [each for each in chosen if not (skip_me and each is client)])


def _max_age_s(word: bytes) -> int:
    """MAXAGE: a connection that is this many seconds old is closed."""
    age_s = integer(word, ErrorReply("ERR maxage is not an integer or out of range"))
    if age_s <= 0:
        raise CommandError("ERR maxage should be greater than 0")
    return age_s


def _kill(caller: NodeClient, victims: list[Client]) -> int:
    """Close connections; the caller's own once it has its reply."""
    for victim in victims:
        if victim is caller:
            victim.close_after_reply = True
        else:
            caller.server.data_plane.drop(victim)
    return len(victims)


def _kill_filters(client: NodeClient, argv: list[bytes]) -> tuple[bool, list[Any]]:
    """(spare the caller?, tests that a victim must pass)."""
    if len(argv) % 2:
        raise CommandError(errors.SYNTAX)
    skip_me = True
    filters: list[Any] = []
    for option, word in zip(argv[2::2], argv[3::2], strict=True):
        name = option.lower()
        if name == b"id":
            error = ErrorReply("ERR client-id should be greater than 0")
            wanted_id = integer_between(word, 1, INT64_MAX, error)
            filters.append(lambda each, wanted=wanted_id: each.id == wanted)
        elif name == b"type":
            kind = _type_of(word)
            filters.append(lambda each, wanted=kind: each.kind == wanted)
        elif name in (b"addr", b"laddr"):
            attribute, address = name.decode(), word.decode("latin-1")
            filters.append(lambda each, a=attribute, wanted=address: getattr(each, a) == wanted)
        elif name == b"user":
            user = client.server.acl.users.get(word)
            if user is None:
                raise CommandError(b"ERR No such user '%b'" % word)
            filters.append(lambda each, wanted=user: each.user is wanted)
        elif name == b"maxage":
            oldest_ms = client.server.clock.now_ms - _max_age_s(word) * 1000
            filters.append(lambda each, oldest=oldest_ms: each.created_ms <= oldest)
        elif name == b"skipme" and word.lower() in (b"yes", b"no"):
            skip_me = word.lower() == b"yes"
        else:
            raise CommandError(errors.SYNTAX)
    return skip_me, filters


@declare(
    "unblock",
    arity=-3,
    syntax="client-id [TIMEOUT | ERROR]",
    flags=_FLAGS | ADMIN,
    since="5.0.0",
    complexity="O(log N), N the blocked clients",
    summary="Wakes a blocked client as if its time were up, or with an error.",
)
def cmd_client_unblock(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 4:
        raise CommandError(errors.unknown_subcommand(b"client", argv[1]))
    reason = argv[3].lower() if len(argv) == 4 else b"timeout"
    if reason not in (b"timeout", b"error"):
        raise CommandError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    target = client.server.clients.get(integer(argv[2]))
    if target is None or target.blocked is None:
        return 0
    reply = target.blocked.timeout_reply()
    if reason == b"error":
        reply = errors.UNBLOCKED
    client.server.blocking.complete(target, reply)
    return 1


# -- pausing -------------------------------------------------------------------------------------------------------


@declare(
    "pause",
    arity=-3,
    syntax="timeout(integer) [WRITE | ALL]",
    flags=_FLAGS | ADMIN,
    since="2.9.50",
    complexity="O(1)",
    summary="Holds back the commands of all clients, or only writes, for some time.",
)
def cmd_client_pause(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 4:
        raise CommandError(errors.unknown_subcommand(b"client", argv[1]))
    mode = argv[3].lower() if len(argv) == 4 else b"all"
    if mode not in (b"write", b"all"):
        raise CommandError("ERR CLIENT PAUSE mode must be WRITE or ALL")
    timeout_ms = integer(argv[2], ErrorReply("ERR timeout is not an integer or out of range"))
    if timeout_ms < 0:
        raise CommandError(errors.TIMEOUT_NEGATIVE)
    kind = pause.WRITES if mode == b"write" else pause.ALL
    client.server.pause.start(pause.BY_CLIENT, kind, timeout_ms)
    return OK


@declare(
    "unpause",
    arity=2,
    flags=_FLAGS | ADMIN,
    since="6.2.0",
    complexity="O(N), N the clients held back",
    summary="Ends CLIENT PAUSE.",
)
def cmd_client_unpause(client: NodeClient, argv: list[bytes]) -> Any:
    client.server.pause.end(pause.BY_CLIENT)
    return OK


# -- switches of this connection -----------------------------------------------------------------------------------


def _on_off(word: bytes) -> bool:
    lower = word.lower()
    if lower not in (b"on", b"off"):
        raise CommandError(errors.SYNTAX)
    return lower == b"on"


@declare(
    "reply",
    arity=3,
    syntax="<ON | OFF | SKIP>",
    since="3.2.0",
    complexity="O(1)",
    summary="Switches replies on, off, or skips the next one.",
)
def cmd_client_reply(client: NodeClient, argv: list[bytes]) -> Any:
    mode = argv[2].lower()
    if mode == b"on":
        client.reply_mode = REPLY_ON
        client.set_gate(GATE_REPLY, False)
        return OK
    if mode not in (b"off", b"skip"):
        raise CommandError(errors.SYNTAX)
    if mode == b"off":
        client.reply_mode = REPLY_OFF
    elif client.reply_mode != REPLY_OFF:
        client.reply_mode = REPLY_SKIP_NEXT
    client.set_gate(GATE_REPLY, True)
    return NO_REPLY


@declare(
    "no-evict",
    arity=3,
    syntax="<ON | OFF>",
    flags=_FLAGS | ADMIN,
    since="7.0.0",
    complexity="O(1)",
    summary="Protects this connection from being closed to save memory.",
)
def cmd_client_no_evict(client: NodeClient, argv: list[bytes]) -> Any:
    client.no_evict = _on_off(argv[2])
    client.server.client_eviction.look_soon()
    return OK


@declare(
    "no-touch",
    arity=3,
    syntax="<ON | OFF>",
    since="7.2.0",
    complexity="O(1)",
    summary="Decides whether commands of this connection count as a use of their keys.",
)
def cmd_client_no_touch(client: NodeClient, argv: list[bytes]) -> Any:
    client.no_touch = _on_off(argv[2])
    client.set_gate(GATE_NO_TOUCH, client.no_touch)
    return OK


_HELP: Final = (
    ("CACHING (YES|NO)", "Track, or do not track, the keys of the next command (OPTIN and OPTOUT modes)."),
    ("GETREDIR", "Tell which client id gets our invalidation messages."),
    ("CAPA <capability> [<capability> ...]", "Say what this client can do: redirect."),
    ("GETNAME", "Tell the name of this connection."),
    ("ID", "Tell the id of this connection."),
    ("INFO", "Describe this connection."),
    ("KILL <ip:port>", "Close the connection from <ip:port>."),
    (
        "KILL <option> <value> [<option> <value> [...]]",
        """Close all connections that pass every filter:
* ID <client-id>
* ADDR (<ip:port>|<unixsocket>:0), the other end
* LADDR (<ip:port>|<unixsocket>:0), our end
* TYPE (NORMAL|MASTER|REPLICA|PUBSUB)
* USER <username>
* MAXAGE <seconds>, at least this old
* SKIPME (YES|NO), spare this connection (default: yes)""",
    ),
    ("LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <client-id> ...]", "Describe connections."),
    ("UNPAUSE", "End a pause."),
    ("PAUSE <timeout> [WRITE|ALL]", "Hold back all clients, or only writes, for <timeout> ms."),
    ("REPLY (ON|OFF|SKIP)", "Switch the replies of this connection."),
    ("SETINFO (LIB-NAME|LIB-VER) <value>", "Say what library drives this connection."),
    ("SETNAME <name>", "Name this connection."),
    ("UNBLOCK <clientid> [TIMEOUT|ERROR]", "Wake a blocked client."),
    (
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]\n         [OPTIN] [OPTOUT] [NOLOOP]",
        "Switch server-assisted client caching.",
    ),
    ("TRACKINGINFO", "Describe the tracking of this connection."),
    ("NO-EVICT (ON|OFF)", "Protect this connection from being closed to save memory."),
    ("NO-TOUCH (ON|OFF)", "Do not count commands of this connection as a use of their keys."),
)


@declare("help", arity=2, flags=LOADING | STALE, since="5.0.0", complexity="O(1)", summary="Explains the subcommands.")
def cmd_client_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(b"CLIENT", _HELP)
