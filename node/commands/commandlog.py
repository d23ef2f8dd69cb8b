"""COMMANDLOG (Valkey 8.1): the commands that took long, came large or were answered at length.

SLOWLOG is the older name of its log `slow` (`slowlog.py`).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.help import help_reply
from slotmesh.node.observe.command_log import CommandLog
from slotmesh.node.resp.values import OK
from slotmesh.node.spec.arguments import INT64_MAX, integer_between
from slotmesh.node.spec.registry import ADMIN, LOADING, STALE, command, container

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_FLAGS = ADMIN | LOADING | STALE
_KINDS = "<slow | large-request | large-reply>"
_BAD_COUNT = ErrorReply("ERR count should be greater than or equal to -1")
_BAD_KIND = ErrorReply("ERR type should be one of the following: slow, large-request, large-reply")

container("commandlog", group="server", since="8.1.0", summary="Looks at the logs of slow and large commands.")


def _log(client: NodeClient, kind: bytes) -> CommandLog:
    log = client.server.command_logs.by_kind.get(kind.lower())
    if log is None:
        raise CommandError(_BAD_KIND)
    return log


def entries_reply(log: CommandLog, raw_count: bytes) -> list[Any]:
    """The latest entries of a log, as SLOWLOG GET gives them as well; all of them for a count of -1."""
    count = integer_between(raw_count, -1, INT64_MAX, _BAD_COUNT)
    wanted = log.entries if count == -1 else islice(log.entries, min(count, len(log.entries)))
    return [[entry.id, entry.at_s, entry.value, entry.argv, entry.addr, entry.name] for entry in wanted]


@command(
    "commandlog|get",
    arity=4,
    syntax=f"count {_KINDS}",
    flags=_FLAGS,
    group="server",
    since="8.1.0",
    complexity="O(N), N the entries returned",
    summary="Returns the latest entries of a log.",
    tips=(b"request_policy:all_nodes", b"nondeterministic_output"),
)
def cmd_commandlog_get(client: NodeClient, argv: list[bytes]) -> Any:
    integer_between(argv[2], -1, INT64_MAX, _BAD_COUNT)  # a bad count is told of before a bad kind
    return entries_reply(_log(client, argv[3]), argv[2])


@command(
    "commandlog|len",
    arity=3,
    syntax=_KINDS,
    flags=_FLAGS,
    group="server",
    since="8.1.0",
    complexity="O(1)",
    summary="Counts the entries of a log.",
    tips=(b"request_policy:all_nodes", b"response_policy:agg_sum", b"nondeterministic_output"),
)
def cmd_commandlog_len(client: NodeClient, argv: list[bytes]) -> Any:
    return len(_log(client, argv[2]).entries)


@command(
    "commandlog|reset",
    arity=3,
    syntax=_KINDS,
    flags=_FLAGS,
    group="server",
    since="8.1.0",
    complexity="O(N), N the entries",
    summary="Empties a log.",
    tips=(b"request_policy:all_nodes", b"response_policy:all_succeeded"),
)
def cmd_commandlog_reset(client: NodeClient, argv: list[bytes]) -> Any:
    _log(client, argv[2]).entries.clear()
    return OK


@command(
    "commandlog|help",
    arity=2,
    flags=LOADING | STALE,
    group="server",
    since="8.1.0",
    complexity="O(1)",
    summary="Explains the subcommands.",
)
def cmd_commandlog_help(client: NodeClient, argv: list[bytes]) -> Any:
    explanation = (
        "Show the latest <count> commands (-1: all) of a log: slow ones, or those with\n"
        "a large request or a large reply. An entry holds id, time, duration in\n"
        "microseconds or size in bytes, arguments, client address and client name."
    )
    return help_reply(
        b"COMMANDLOG",
        (
            ("GET <count> <type>", explanation),
            ("LEN <type>", "Count the entries of a log."),
            ("RESET <type>", "Drop all entries of a log."),
        ),
    )
