"""SLOWLOG: the latest slow commands, the log `slow` of COMMANDLOG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.commandlog import entries_reply
from slotmesh.node.commands.help import help_reply
from slotmesh.node.resp.values import OK
from slotmesh.node.spec.registry import ADMIN, LOADING, STALE, command, container

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_FLAGS = ADMIN | LOADING | STALE

container("slowlog", group="server", since="2.2.12", summary="Looks at the log of slow commands.")


@command(
    "slowlog|get",
    arity=-2,
    syntax="[count]",
    flags=_FLAGS,
    group="server",
    since="2.2.12",
    complexity="O(N), N the entries returned",
    summary="Returns the latest slow commands.",
    tips=(b"request_policy:all_nodes", b"nondeterministic_output"),
)
def cmd_slowlog_get(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 3:
        raise CommandError(
            b"ERR unknown subcommand or wrong number of arguments for '%b'. Try SLOWLOG HELP." % argv[1][:128]
        )
    return entries_reply(client.server.command_logs.slow, argv[2] if len(argv) == 3 else b"10")


@command(
    "slowlog|len",
    arity=2,
    flags=_FLAGS,
    group="server",
    since="2.2.12",
    complexity="O(1)",
    summary="Counts the entries of the slow log.",
    tips=(b"request_policy:all_nodes", b"response_policy:agg_sum", b"nondeterministic_output"),
)
def cmd_slowlog_len(client: NodeClient, argv: list[bytes]) -> Any:
    return len(client.server.command_logs.slow.entries)


@command(
    "slowlog|reset",
    arity=2,
    flags=_FLAGS,
    group="server",
    since="2.2.12",
    complexity="O(N), N the entries",
    summary="Empties the slow log.",
    tips=(b"request_policy:all_nodes", b"response_policy:all_succeeded"),
)
def cmd_slowlog_reset(client: NodeClient, argv: list[bytes]) -> Any:
    client.server.command_logs.slow.entries.clear()
    return OK


@command(
    "slowlog|help",
    arity=2,
    flags=LOADING | STALE,
    group="server",
    since="6.2.0",
    complexity="O(1)",
    summary="Explains the subcommands.",
)
def cmd_slowlog_help(client: NodeClient, argv: list[bytes]) -> Any:
    explanation = (
        "Show the latest <count> slow commands (default: 10, -1: all). An entry holds\n"
        "id, time, duration in microseconds, arguments, client address and client name."
    )
    return help_reply(
        b"SLOWLOG",
        (("GET [<count>]", explanation), ("LEN", "Count the entries."), ("RESET", "Drop all entries.")),
    )
