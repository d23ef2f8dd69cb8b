"""SAVE, BGSAVE, BGREWRITEAOF and LASTSAVE. What they do is in `node/persistence/`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.persistence.rewriter import AOF
from slotmesh.node.persistence.saver import RDB
from slotmesh.node.resp.values import OK, Status
from slotmesh.node.spec.registry import (
    ADMIN,
    FAST,
    LOADING,
    NO_ASYNC_LOADING,
    NO_MULTI,
    NOSCRIPT,
    STALE,
    command,
)

if TYPE_CHECKING:
    from slotmesh.node.persistence.manager import Persistence
    from slotmesh.node.server import NodeClient

log = logging.getLogger("node")

_SAVE_STARTED: Final = Status(b"Background saving started")
_SAVE_SCHEDULED: Final = Status(b"Background saving scheduled")
_REWRITE_STARTED: Final = Status(b"Background append only file rewriting started")
_REWRITE_SCHEDULED: Final = Status(b"Background append only file rewriting scheduled")
#: What stock says when it cannot save: nothing but the code; the log knows more.
_FAILED: Final = ErrorReply("ERR")
_SAVE_RUNNING: Final = ErrorReply("ERR Background save already in progress")
_OTHER_CHILD: Final = ErrorReply(
    "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a "
    "BGSAVE whenever possible."
)
_REWRITE_RUNNING: Final = ErrorReply("ERR Background append only file rewriting already in progress")
_REWRITE_FAILED: Final = ErrorReply(
    "ERR Can't execute an AOF background rewriting. Please check the server logs for more information."
)

_CHILD_FLAGS: Final = ADMIN | NOSCRIPT | NO_ASYNC_LOADING


@command(
    "save",
    arity=1,
    flags=_CHILD_FLAGS | NO_MULTI,
    group="server",
    since="1.0.0",
    complexity="O(N), N the keys in all databases",
    summary="Saves the data set to disk while all clients wait.",
)
def cmd_save(client: NodeClient, argv: list[bytes]) -> Any:
    persistence = client.server.persistence
    if persistence.child is not None and persistence.child.kind == RDB:
        raise CommandError(_SAVE_RUNNING)
    if not persistence.save_sync():
        raise CommandError(_FAILED)
    return OK


@command(
    "bgsave",
    arity=-1,
    syntax="[SCHEDULE]",
    flags=_CHILD_FLAGS,
    group="server",
    since="1.0.0",
    complexity="O(1)",
    summary="Saves the data set to disk in the background.",
)
def cmd_bgsave(client: NodeClient, argv: list[bytes]) -> Any:
    if COMPAT.newer and len(argv) == 2 and argv[1].upper() == b"CANCEL":
        return _cancel(client.server.persistence)
    schedule = len(argv) == 2 and argv[1].upper() == b"SCHEDULE"
    if len(argv) > 1 and not schedule:
        raise CommandError(errors.SYNTAX)
    persistence = client.server.persistence
    if persistence.child is not None and persistence.child.kind == RDB:
        raise CommandError(_SAVE_RUNNING)
    if persistence.child is not None or client.in_exec:
        if not schedule and not client.in_exec:
            raise CommandError(_OTHER_CHILD)
        persistence.saver.scheduled = True
        return _SAVE_SCHEDULED
    if not persistence.start_bgsave():
        raise CommandError(_FAILED)
    return _SAVE_STARTED


def _cancel(persistence: Persistence) -> Status:
    """BGSAVE CANCEL, which Valkey has: end the save that runs, or forget the one that waits."""
    child = persistence.child
    if child is not None and child.kind == RDB:
        log.info("Background saving will be aborted due to user request")
        child.kill()
        return Status(b"Background saving cancelled")
    if not persistence.saver.scheduled:
        raise CommandError("ERR Background saving is currently not in progress or scheduled")
    log.info("Scheduled background saving will be cancelled due to user request")
    persistence.saver.scheduled = False
    return Status(b"Scheduled background saving cancelled")


@command(
    "bgrewriteaof",
    arity=1,
    flags=_CHILD_FLAGS,
    group="server",
    since="1.0.0",
    complexity="O(1)",
    summary="Rewrites the append-only file in the background.",
)
def cmd_bgrewriteaof(client: NodeClient, argv: list[bytes]) -> Any:
    persistence = client.server.persistence
    rewriter = persistence.rewriter
    if persistence.child is not None and persistence.child.kind == AOF:
        raise CommandError(_REWRITE_RUNNING)
    if persistence.child is not None or client.in_exec:
        rewriter.scheduled = True
        rewriter.pacing.succeeded()  # asked for by hand: no pause after earlier failures
        return _REWRITE_SCHEDULED
    if not rewriter.start():
        raise CommandError(_REWRITE_FAILED)
    return _REWRITE_STARTED


@command(
    "lastsave",
    arity=1,
    flags=LOADING | STALE | FAST,
    group="server",
    since="1.0.0",
    complexity="O(1)",
    summary="Returns the Unix time of the last successful save to disk.",
    categories=("admin", "dangerous"),
    tips=(b"nondeterministic_output",),
)
def cmd_lastsave(client: NodeClient, argv: list[bytes]) -> Any:
    return client.server.persistence.saver.last_save_s
