"""ACL: users and their rights (`node/acl`)."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.acl import rules
from slotmesh.node.acl.check import (
    ALLOWED,
    DENIED_AUTH,
    DENIED_CHANNEL,
    DENIED_COMMAND,
    DENIED_DATABASE,
    DENIED_KEY,
    blamed_word,
    judge,
)
from slotmesh.node.acl.describe import channel_rules, database_rule, describe_commands, flags_of, key_rules
from slotmesh.node.acl.rules import CATEGORIES, Selector
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.help import help_reply
from slotmesh.node.resp.values import OK, OrderedSet
from slotmesh.node.spec import registry
from slotmesh.node.spec.arguments import integer
from slotmesh.node.spec.registry import ADMIN, LOADING, NOSCRIPT, STALE, Handler, command, container

if TYPE_CHECKING:
    from slotmesh.node.acl.users import Acl, LogEntry
    from slotmesh.node.server import NodeClient

log = logging.getLogger("node")

_FLAGS: Final = NOSCRIPT | LOADING | STALE
_MAX_PASSWORD_BITS: Final = 4096
_NO_FILE: Final = ErrorReply(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER "
    "command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store "
    "users in the Redis configuration."
)
_REASONS: Final = {
    DENIED_COMMAND: b"command",
    DENIED_KEY: b"key",
    DENIED_CHANNEL: b"channel",
    DENIED_AUTH: b"auth",
    DENIED_DATABASE: b"database",
}

container("acl", group="server", since="6.0.0", summary="Manages users and their rights.")


def _declare(
    name: str, *, arity: int, complexity: str, summary: str, syntax: str = "", flags: int = _FLAGS, since: str = "6.0.0"
) -> Callable[[Handler], Handler]:
    return command(
        f"acl|{name}",
        arity=arity,
        flags=flags,
        group="server",
        since=since,
        complexity=complexity,
        summary=summary,
        syntax=syntax,
    )


# -- users ---------------------------------------------------------------------------------------------------------


@_declare("whoami", arity=2, complexity="O(1)", summary="Returns the name of this connection's user.")
def cmd_acl_whoami(client: NodeClient, argv: list[bytes]) -> Any:
    return None if client.user is None else client.user.name


@_declare("users", arity=2, flags=_FLAGS | ADMIN, complexity="O(N), N the users", summary="Lists the users.")
def cmd_acl_users(client: NodeClient, argv: list[bytes]) -> Any:
    return sorted(client.server.acl.users)


@_declare(
    "list", arity=2, flags=_FLAGS | ADMIN, complexity="O(N), N the users", summary="Lists the users with their rules."
)
def cmd_acl_list(client: NodeClient, argv: list[bytes]) -> Any:
    return client.server.acl.lines()


@_declare(
    "setuser",
    arity=-3,
    syntax="username [rule [rule ...]]",
    flags=_FLAGS | ADMIN,
    complexity="O(N), N the rules",
    summary="Makes a user, or changes it, by rules.",
)
def cmd_acl_setuser(client: NodeClient, argv: list[bytes]) -> Any:
    if rules.has_unclean_letters(argv[2]):
        raise CommandError("ERR Usernames can't contain spaces or null characters")
    client.server.acl.set_user(argv[2], argv[3:], client)
    return OK


@_declare(
    "deluser",
    arity=-3,
    syntax="username [username ...]",
    flags=_FLAGS | ADMIN,
    complexity="O(N), N the connections",
    summary="Removes users and closes their connections.",
)
def cmd_acl_deluser(client: NodeClient, argv: list[bytes]) -> Any:
    if b"default" in argv[2:]:
        raise CommandError("ERR The 'default' user cannot be removed")
    return sum(client.server.acl.delete_user(name, client) for name in argv[2:])


@_declare(
    "getuser",
    arity=3,
    syntax="username",
    flags=_FLAGS | ADMIN,
    complexity="O(N), N the rules of the user",
    summary="Returns flags, passwords and rights of a user.",
)
def cmd_acl_getuser(client: NodeClient, argv: list[bytes]) -> Any:
    acl = client.server.acl
    user = acl.users.get(argv[2])
    if user is None:
        return None
    return {
        b"flags": OrderedSet(flags_of(user)),
        b"passwords": user.passwords,
        **_selector(acl, user.root),
        b"selectors": [_selector(acl, selector) for selector in user.selectors[1:]],
    }


def _selector(acl: Acl, selector: Selector) -> dict[bytes, Any]:
    told: dict[bytes, Any] = {
        b"commands": describe_commands(selector, acl.catalogue),
        b"keys": b" ".join(key_rules(selector)),
        b"channels": b" ".join(channel_rules(selector)),
    }
    if selector.databases is not None:  # 7.0 knows no such field
        told[b"databases"] = database_rule(selector.databases)
    return told


@_declare(
    "dryrun",
    arity=-4,
    syntax="username command [arg [arg ...]]",
    flags=_FLAGS | ADMIN,
    since="7.0.0",
    complexity="O(N), N the keys of the command",
    summary="Tells whether a user may run a command, without running it.",
)
def cmd_acl_dryrun(client: NodeClient, argv: list[bytes]) -> Any:
    user = client.server.acl.users.get(argv[2])
    if user is None:
        raise CommandError(b"ERR User '%b' not found" % argv[2])
    request = argv[3:]
    try:
        spec = registry.find(request)
    except CommandError as error:
        raise CommandError(b"ERR Command '%b' not found" % argv[3]) from error
    if not spec.takes(len(request)):
        raise CommandError(b"ERR wrong number of arguments for '%b' command" % spec.full_name)
    verdict, blamed = judge(user, spec, request, client.db.index)
    if verdict == ALLOWED:
        return OK
    who = b"User %b" % user.name if COMPAT.newer else b"This user"
    if verdict == DENIED_COMMAND:
        return b"%b has no permissions to run the '%b' command" % (who, spec.full_name)
    return b"%b has no permissions to access the '%b' %b" % (
        who,
        blamed_word(verdict, blamed, spec, request),
        _REASONS[verdict],
    )


# -- file ----------------------------------------------------------------------------------------------------------


@_declare(
    "load",
    arity=2,
    flags=_FLAGS | ADMIN,
    complexity="O(N), N the users",
    summary="Replaces all users by those of the ACL file.",
)
def cmd_acl_load(client: NodeClient, argv: list[bytes]) -> Any:
    if not client.server.config.aclfile:
        raise CommandError(_NO_FILE)
    problems = client.server.acl.load_file(client)
    if problems:
        raise CommandError(b"ERR " + problems)
    return OK


@_declare(
    "save", arity=2, flags=_FLAGS | ADMIN, complexity="O(N), N the users", summary="Writes all users to the ACL file."
)
def cmd_acl_save(client: NodeClient, argv: list[bytes]) -> Any:
    if not client.server.config.aclfile:
        raise CommandError(_NO_FILE)
    try:
        draft = client.server.acl.saved_file()
    except OSError as error:
        raise CommandError(_saved(error)) from error
    return client.server.file_saves.save(client, draft, _saved)


def _saved(error: OSError | None) -> Any:
    if error is None:
        return OK
    log.warning("ACL SAVE failed: %s", error)
    return ErrorReply(
        "ERR There was an error trying to save the ACLs. Please check the server logs for more information"
    )


# -- categories, passwords, log ------------------------------------------------------------------------------------


@_declare(
    "cat",
    arity=-2,
    syntax="[categoryname]",
    complexity="O(N), N all commands",
    summary="Lists the categories, or the commands of one of them.",
)
def cmd_acl_cat(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 3:
        raise CommandError(_wrong_arguments(argv[1]))
    if len(argv) == 2:
        return [category.encode() for category in CATEGORIES]
    category = argv[2].decode("latin-1").lower()
    if category not in CATEGORIES:
        raise CommandError(b"ERR Unknown category '%b'" % argv[2][:128])
    return client.server.acl.catalogue.in_category(category)


def _wrong_arguments(sub: bytes) -> ErrorReply:
    return ErrorReply(b"ERR unknown subcommand or wrong number of arguments for '%b'. Try ACL HELP." % sub[:128])


@_declare(
    "genpass",
    arity=-2,
    syntax="[bits]",
    complexity="O(1)",
    summary="Makes up a password of 256 bits, or as many as asked for.",
)
def cmd_acl_genpass(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 3:
        raise CommandError(_wrong_arguments(argv[1]))
    bits = integer(argv[2]) if len(argv) == 3 else 256
    if not 0 < bits <= _MAX_PASSWORD_BITS:
        raise CommandError(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to "
            f"{_MAX_PASSWORD_BITS}"
        )
    digits = (bits + 3) // 4
    return secrets.token_hex((digits + 1) // 2)[:digits].encode()


@_declare(
    "log",
    arity=-2,
    syntax="[count | RESET]",
    flags=_FLAGS | ADMIN,
    complexity="O(N), N the entries returned",
    summary="Returns the latest denials, or forgets them.",
)
def cmd_acl_log(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 3:
        raise CommandError(_wrong_arguments(argv[1]))
    denials = client.server.acl.log
    count = 10
    if len(argv) == 3:
        if argv[2].lower() == b"reset":
            denials.entries.clear()
            return OK
        count = max(0, integer(argv[2]))
    now_ms = client.server.clock.now_ms
    return [
        {
            b"count": entry.count,
            b"reason": _REASONS[entry.reason],
            b"context": entry.context,
            b"object": entry.what,
            b"username": entry.name,
            b"age-seconds": (now_ms - entry.created_ms) / 1000,
            b"client-info": entry.client_info,
            **(_identity(entry) if COMPAT.newer else {}),
        }
        for _, entry in zip(range(count), denials.entries, strict=False)
    ]


def _identity(entry: LogEntry) -> dict[bytes, Any]:
    """What later servers add to an entry of the log."""
    return {
        b"entry-id": entry.id,
        b"timestamp-created": entry.first_ms,
        b"timestamp-last-updated": entry.created_ms,
    }


@_declare("help", arity=2, flags=LOADING | STALE, complexity="O(1)", summary="Explains the subcommands.")
def cmd_acl_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"ACL",
        (
            ("CAT [<category>]", "List the categories, or the commands of <category>."),
            ("DELUSER <username> [<username> ...]", "Remove users."),
            ("DRYRUN <username> <command> [<arg> ...]", "Tell whether a user may run a command; it is not run."),
            ("GETUSER <username>", "Describe a user."),
            ("GENPASS [<bits>]", "Make up a password of 256 bits, or of <bits>."),
            ("LIST", "List users in the form of the ACL file."),
            ("LOAD", "Read the ACL file again."),
            ("LOG [<count> | RESET]", "Show the latest denials, or forget them."),
            ("SAVE", "Write the users to the ACL file."),
            ("SETUSER <username> <attribute> [<attribute> ...]", "Make or change a user."),
            ("USERS", "List the names of the users."),
            ("WHOAMI", "Tell the user of this connection."),
        ),
    )
