"""Commands about the connection: HELLO, AUTH, CLIENT, SUBSCRIBE and kin, ACL, COMMAND, INFO, SHUTDOWN.

Order of the checks, as stock's: known - arity - logged in - allowed - possible while subscribed. Everything else is
handed to the core.
"""

from __future__ import annotations

from collections.abc import Callable

from slotmesh.cluster.numbers import to_int64
from slotmesh.node.acl.rules import CATEGORIES
from slotmesh.node.base.glob import match
from slotmesh.node.resp.values import OK, PONG, Many, Push, Verbatim
from slotmesh.sentinel.access import DEFAULT, Access
from slotmesh.sentinel.command_support import CommandFailure, word
from slotmesh.sentinel.command_table import ROWS, Row, docs_of, find_row, info_of, top_rows
from slotmesh.sentinel.commands import unknown_command
from slotmesh.sentinel.driver import monotonic_ms
from slotmesh.sentinel.effects import ErrorReply
from slotmesh.sentinel.server_info import info_text
from slotmesh.sentinel.server_state import ServerState
from slotmesh.sentinel.session import Session

_IN_SUBSCRIBED = (b"subscribe", b"unsubscribe", b"psubscribe", b"punsubscribe", b"ping", b"quit", b"reset")
_BEFORE_LOGIN = (b"auth", b"hello", b"quit")
_WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled."


async def run_command(server: ServerState, session: Session, argv: list[bytes]) -> object:
    """Check and run one command of a client; its reply."""
    name = argv[0].lower()
    if name == b"quit":
        session.closing = True
        return OK
    row = find_row(argv)
    if row is None:
        return unknown_command(argv)
    session.last_command = row.name
    try:
        _check(session, row, argv)
        handler = _HANDLERS.get(name)
        if handler is not None:
            return handler(server, session, argv)
    except CommandFailure as failure:
        return ErrorReply(str(failure))
    assert server.driver is not None, "clients are served only while the driver runs"
    if row.name == b"sentinel|monitor" and len(argv) > 3:
        await server.driver.learn_name(word(argv[3]))
    return await server.driver.request(tuple(argv))


def _check(session: Session, row: Row, argv: list[bytes]) -> None:
    name = argv[0].lower()
    wrong = len(argv) != row.arity if row.arity > 0 else len(argv) < -row.arity
    if wrong and row.name.startswith(name) and not row.name.startswith(b"sentinel|"):
        raise CommandFailure(f"ERR wrong number of arguments for '{row.name.decode()}' command")
    if name in _BEFORE_LOGIN:
        return
    if session.user is None:
        raise CommandFailure("NOAUTH Authentication required.")
    if not Access.may_run(session.user, row):
        raise CommandFailure(f"NOPERM this user has no permissions to run the '{row.name.decode()}' command")
    if session.subscriptions and not session.resp3 and name not in _IN_SUBSCRIBED:
        raise CommandFailure(
            f"ERR Can't execute '{name.decode()}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
            "allowed in this context"
        )


# ----------------------------------------------------------------------------------------------------------- logging in


def _log_in(server: ServerState, session: Session, name: bytes, password: bytes) -> None:
    user = server.access.log_in(name, password)
    if user is None:
        raise CommandFailure(_WRONG_PASSWORD)
    session.user = user


def _auth(server: ServerState, session: Session, argv: list[bytes]) -> object:
    if len(argv) > 3:
        raise CommandFailure("ERR syntax error")
    if len(argv) == 2 and server.access.users[DEFAULT].no_password:
        raise CommandFailure(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
            "configuration is correct?"
        )
    name, password = (argv[1], argv[2]) if len(argv) == 3 else (DEFAULT, argv[1])
    _log_in(server, session, name, password)
    return OK


def _hello(server: ServerState, session: Session, argv: list[bytes]) -> object:
    resp3 = session.resp3
    if len(argv) > 1:
        version = to_int64(argv[1])
        if version is None:
            raise CommandFailure("ERR Protocol version is not an integer or out of range")
        if version not in (2, 3):
            raise CommandFailure("NOPROTO unsupported protocol version")
        resp3 = version == 3
    position = 2
    name: bytes | None = None
    while position < len(argv):
        option, left = argv[position].lower(), len(argv) - position - 1
        if option == b"auth" and left >= 2:
            _log_in(server, session, argv[position + 1], argv[position + 2])
            position += 3
        elif option == b"setname" and left >= 1:
            name = _checked_name(argv[position + 1])
            position += 2
        else:
            shown = argv[position].decode("utf-8", "surrogateescape")
            raise CommandFailure(f"ERR Syntax error in HELLO option '{shown}'")
    if session.user is None:
        raise CommandFailure(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH "
            "<user> <pass> option can be used to authenticate the client and select the RESP protocol version at the "
            "same time"
        )
    session.resp3 = resp3
    session.name = session.name if name is None else name
    return {
        b"server": b"redis",
        b"version": b"7.0.15",
        b"proto": 3 if resp3 else 2,
        b"id": session.session_id,
        b"mode": b"sentinel",
        b"modules": [],
    }


def _checked_name(name: bytes) -> bytes:
    if any(not 33 <= letter <= 126 for letter in name):
        raise CommandFailure("ERR Client names cannot contain spaces, newlines or special characters.")
    return name


# --------------------------------------------------------------------------------------------------------------- CLIENT


def _client(server: ServerState, session: Session, argv: list[bytes]) -> object:
    now = monotonic_ms()
    sub = _sub(argv)
    if sub == b"id":
        return session.session_id
    if sub == b"getname":
        return session.name or None
    if sub == b"setname":
        session.name = _checked_name(argv[2])
        return OK
    if sub == b"info":
        return Verbatim(session.describe(now) + b"\n")
    if sub == b"list":
        chosen = _client_choice(server, argv[2:])
        return Verbatim(b"".join(one.describe(now) + b"\n" for one in chosen))
    if sub == b"no-evict":
        return OK
    if sub == b"kill":
        return _client_kill(server, session, argv[2:])
    raise _unknown_sub(argv)


def _client_choice(server: ServerState, args: list[bytes]) -> list[Session]:
    """The connections of CLIENT LIST: all, those of a TYPE (normal, pubsub), or those with given IDs."""
    sessions = list(server.sessions.values())
    kind = args[0].lower() if args else b""
    if kind == b"type" and len(args) == 2:
        if args[1].lower() not in (b"normal", b"pubsub", b"master", b"slave", b"replica"):
            raise CommandFailure(f"ERR Unknown client type '{args[1].decode('utf-8', 'surrogateescape')}'")
        return [one for one in sessions if _FILTERS[b"type"](one, args[1])]
    if kind == b"id" and len(args) > 1:
        if any(to_int64(wanted) is None for wanted in args[1:]):
            raise CommandFailure("ERR Invalid client ID")
        return [one for one in sessions if any(_FILTERS[b"id"](one, wanted) for wanted in args[1:])]
    if args:
        raise CommandFailure("ERR syntax error")
    return sessions


def _client_kill(server: ServerState, session: Session, args: list[bytes]) -> object:
    """CLIENT KILL addr, or filters ID, ADDR, TYPE (normal, pubsub), USER, SKIPME."""
    old_form = len(args) == 1
    filters = [(b"addr", args[0])] if old_form else list(zip(args[::2], args[1::2], strict=False))
    if not old_form and len(args) % 2:
        raise CommandFailure("ERR syntax error")
    skip_me = not old_form
    chosen = list(server.sessions.values())
    for kind, value in filters:
        word = kind.lower()
        if word == b"skipme":
            skip_me = value.lower() == b"yes"
        elif word in _FILTERS:
            chosen = [one for one in chosen if _FILTERS[word](one, value)]
        else:
            raise CommandFailure("ERR syntax error")
    chosen = [one for one in chosen if not (skip_me and one is session)]
    if old_form and not chosen:
        raise CommandFailure("ERR No such client")
    for one in chosen:
        if one is session:
            one.closing = True
        else:
            one.wire.close()
    return OK if old_form else len(chosen)


_FILTERS: dict[bytes, Callable[[Session, bytes], bool]] = {
    b"id": lambda session, value: value == b"%d" % session.session_id,
    b"addr": lambda session, value: value == session.address.encode(),
    b"type": lambda session, value: value.lower() == (b"pubsub" if session.subscriptions else b"normal"),
    b"user": lambda session, value: session.user is not None and session.user.name == value,
}


# -------------------------------------------------------------------------------------------------------------- pub/sub


def _subscribe(server: ServerState, session: Session, argv: list[bytes]) -> object:
    kind = argv[0].lower()
    table = session.patterns if kind == b"psubscribe" else session.channels
    replies = []
    for name in argv[1:]:
        table[name] = None
        replies.append(Push([kind, name, session.subscriptions]))
    return Many(replies)


def _unsubscribe(server: ServerState, session: Session, argv: list[bytes]) -> object:
    kind = argv[0].lower()
    table = session.patterns if kind == b"punsubscribe" else session.channels
    names = argv[1:] or list(table)
    if not names:
        return Push([kind, None, session.subscriptions])
    replies = []
    for name in names:
        table.pop(name, None)
        replies.append(Push([kind, name, session.subscriptions]))
    return Many(replies)


def _ping(server: ServerState, session: Session, argv: list[bytes]) -> object:
    if len(argv) > 2:
        raise CommandFailure("ERR wrong number of arguments for 'ping' command")
    if session.subscriptions and not session.resp3:
        return [b"pong", argv[1] if len(argv) > 1 else b""]
    return argv[1] if len(argv) > 1 else PONG


# ----------------------------------------------------------------------------------------------------- this process


def _info(server: ServerState, session: Session, argv: list[bytes]) -> object:
    return Verbatim(info_text(server, argv[1:]))


def _shutdown(server: ServerState, session: Session, argv: list[bytes]) -> object:
    if any(word.lower() not in (b"nosave", b"save", b"now", b"force", b"abort") for word in argv[1:]):
        raise CommandFailure("ERR syntax error")
    if any(word.lower() == b"abort" for word in argv[1:]):
        raise CommandFailure("ERR No shutdown in progress.")
    session.closing = True
    server.stopping.set()
    return Many([])


def _acl(server: ServerState, session: Session, argv: list[bytes]) -> object:
    sub, access = _sub(argv), server.access
    if sub == b"whoami":
        return session.user.name if session.user is not None else None
    if sub == b"users":
        return list(access.users)
    if sub == b"list":
        return access.lines()
    if sub == b"cat":
        if len(argv) == 2:
            return [word.encode() for word in CATEGORIES]
        category = argv[2].decode("utf-8", "surrogateescape")
        if category not in CATEGORIES:
            raise CommandFailure(f"ERR Unknown category '{category}'")
        return access.catalogue.in_category(category)
    raise _unknown_sub(argv)


def _command(server: ServerState, session: Session, argv: list[bytes]) -> object:
    if len(argv) == 1:
        return [info_of(row) for row in top_rows()]
    sub, names = _sub(argv), [name.lower() for name in argv[2:]]
    if sub == b"count":
        return len(top_rows())
    if sub == b"info":
        found = [ROWS.get(name) for name in names] if names else list(top_rows())
        return [None if row is None else info_of(row) for row in found]
    if sub == b"docs":
        rows = [ROWS[name] for name in names if name in ROWS] if names else top_rows()
        return {row.name: docs_of(row) for row in rows}
    if sub == b"list":
        return _command_list(argv[2:])
    raise _unknown_sub(argv)


def _command_list(args: list[bytes]) -> object:
    if not args:
        return list(ROWS)
    if len(args) != 3 or args[0].lower() != b"filterby":
        raise CommandFailure("ERR syntax error")
    kind, value = args[1].lower(), args[2]
    if kind == b"pattern":
        return [name for name in ROWS if match(value, name, True)]
    if kind == b"aclcat":
        wanted = value.decode("utf-8", "surrogateescape").lower()
        return [row.name for row in ROWS.values() if wanted in row.categories.split()]
    if kind == b"module":
        return []
    raise CommandFailure("ERR syntax error")


def _sub(argv: list[bytes]) -> bytes:
    return argv[1].lower()


def _unknown_sub(argv: list[bytes]) -> CommandFailure:
    shown = argv[1].decode("utf-8", "surrogateescape")[:128]
    return CommandFailure(f"ERR unknown subcommand '{shown}'. Try {argv[0].decode().upper()} HELP.")


Handler = Callable[[ServerState, Session, list[bytes]], object]
_HANDLERS: dict[bytes, Handler] = {
    b"acl": _acl,
    b"auth": _auth,
    b"client": _client,
    b"command": _command,
    b"hello": _hello,
    b"info": _info,
    b"ping": _ping,
    b"psubscribe": _subscribe,
    b"punsubscribe": _unsubscribe,
    b"shutdown": _shutdown,
    b"subscribe": _subscribe,
    b"unsubscribe": _unsubscribe,
}
