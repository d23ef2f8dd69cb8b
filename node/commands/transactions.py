"""MULTI, EXEC, DISCARD, WATCH, UNWATCH.

Between MULTI and EXEC dispatch queues what would run otherwise, after all checks. EXEC runs the queue through
`dispatch.call`, without yielding, so nothing comes between; an error of one command is its own reply and stops nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slotmesh.node.acl.check import DENIED_COMMAND, DENIED_DATABASE, DENIED_KEY, denied
from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.client import GATE_MULTI
from slotmesh.node.resp.encoder import encode
from slotmesh.node.resp.values import NULL_ARRAY, OK, Raw
from slotmesh.node.spec.key_specs import keys_from
from slotmesh.node.spec.registry import (
    ALLOW_BUSY,
    FAST,
    LOADING,
    NOSCRIPT,
    NOT_QUEUED,
    SKIP_SLOWLOG,
    STALE,
    CommandSpec,
    command,
)

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_FLAGS = NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY


@command(
    "multi",
    arity=1,
    flags=_FLAGS | NOT_QUEUED,
    group="transactions",
    since="1.2.0",
    complexity="O(1)",
    summary="Starts a transaction: what follows is queued until EXEC.",
)
def cmd_multi(client: NodeClient, argv: list[bytes]) -> Any:
    if client.multi is not None:
        raise CommandError("ERR MULTI calls can not be nested")
    client.multi = []
    client.multi_failed = False
    client.set_gate(GATE_MULTI, True)
    return OK


@command(
    "discard",
    arity=1,
    flags=_FLAGS | NOT_QUEUED,
    group="transactions",
    since="2.0.0",
    complexity="O(N), N the queued commands",
    summary="Drops the queued commands and all watches.",
)
def cmd_discard(client: NodeClient, argv: list[bytes]) -> Any:
    if client.multi is None:
        raise CommandError("ERR DISCARD without MULTI")
    client.server.dispatch.leave_multi(client)
    return OK


@command(
    "watch",
    arity=-2,
    syntax="key [key ...]",
    flags=_FLAGS | NOT_QUEUED,
    keys=keys_from(b"RO"),
    group="transactions",
    since="2.2.0",
    complexity="O(1) for each key",
    summary="Makes the next EXEC fail if one of the keys changes before it.",
)
def cmd_watch(client: NodeClient, argv: list[bytes]) -> Any:
    if client.multi is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    if not client.watch_broken:
        for key in argv[1:]:
            client.server.watching.watch(client, key)
    return OK


@command(
    "unwatch",
    arity=1,
    flags=_FLAGS,
    group="transactions",
    since="2.2.0",
    complexity="O(1)",
    summary="Forgets all watched keys.",
)
def cmd_unwatch(client: NodeClient, argv: list[bytes]) -> Any:
    client.server.watching.unwatch(client)
    return OK


@command(
    "exec",
    arity=1,
    flags=NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG | NOT_QUEUED,
    group="transactions",
    since="1.2.0",
    complexity="That of the queued commands",
    summary="Runs the queued commands, indivisibly.",
)
def cmd_exec(client: NodeClient, argv: list[bytes]) -> Any:
    queue = client.multi
    if queue is None:
        raise CommandError("ERR EXEC without MULTI")
    failed = client.multi_failed
    broken = client.server.watching.is_broken(client)
    if not failed and not broken:
        _check_again(client, queue)
    client.server.dispatch.leave_multi(client)
    if failed:
        raise CommandError(errors.EXEC_ABORT)
    if broken:
        return NULL_ARRAY
    return _run(client, queue)


def _check_again(client: NodeClient, queue: list[tuple[CommandSpec, list[bytes]]]) -> None:
    """The node may have become a replica, or unable to save, since. Raises EXECABORT then."""
    checks = client.server.dispatch.checks
    try:
        for spec, argv in queue:
            for check in (checks.check_write_allowed, checks.check_loading):
                check(client, spec.judged(client, argv), argv)
    except CommandError as error:
        client.server.dispatch.leave_multi(client)
        raise CommandError(b"EXECABORT Transaction discarded because of: " + error.reply.line) from error


def _run(client: NodeClient, queue: list[tuple[CommandSpec, list[bytes]]]) -> Raw:
    """Run the queue; the array of replies.

    Each reply is encoded at once: it may be a live value that the next command changes, and HELLO may change the
    protocol.
    """
    server = client.server
    replies: list[bytes] = [b"*%d\r\n" % len(queue)]
    ends: list[int] = []
    client.in_exec = True
    server.propagation.begin_batch()
    try:
        for spec, argv in queue:
            denial = denied(server.acl.log, client, spec, argv)
            if denial:
                result: Any = _revoked(denial)
            else:
                result = server.dispatch.call(client, spec, argv)
            encode(replies, result, client.resp3)
            ends.append(len(replies))
    finally:
        server.propagation.end_batch()
        client.in_exec = False
        client.last_command = b"exec"  # as CLIENT LIST shows it, not the last one of the queue
        client.propagate_as()  # the batch has brought its own EXEC
    whole = b"".join(replies)
    if len(whole) >= server.state.reply_limit:
        start = 1
        for (_, argv), end in zip(queue, ends, strict=True):
            server.note_large_reply(client, argv, sum(map(len, replies[start:end])))
            start = end
    return Raw(whole)


def _revoked(verdict: int) -> ErrorReply:
    """The rights of the user were cut between queueing and EXEC."""
    reason = {
        DENIED_COMMAND: b"no permission to execute the command or subcommand",
        DENIED_KEY: b"no permission to touch the specified keys",
        DENIED_DATABASE: b"no permission to access the database",
    }.get(verdict, b"no permission to access one of the channels used as arguments")
    return ErrorReply(
        b"NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command "
        b"is no longer allowed for the following reason: " + reason
    )
