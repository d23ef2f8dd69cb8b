"""CONFIG: look at and change the configuration, bring its file up to date, reset the statistics."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.describe import is_local
from slotmesh.node.commands.help import help_reply
from slotmesh.node.config.rewrite import draft_of
from slotmesh.node.resp.values import OK
from slotmesh.node.server import Server
from slotmesh.node.spec.registry import ADMIN, LOADING, NOSCRIPT, STALE, command, container

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

log = logging.getLogger("node")

_FLAGS: Final = ADMIN | NOSCRIPT | LOADING | STALE

container("config", group="server", since="2.0.0", summary="Looks at and changes the server's configuration.")


@command(
    "config|get",
    arity=-3,
    syntax="parameter [parameter ...]",
    flags=_FLAGS,
    group="server",
    since="2.0.0",
    complexity="O(N), N the parameters and patterns named",
    summary="Returns parameters by name or glob pattern.",
)
def cmd_config_get(client: NodeClient, argv: list[bytes]) -> Any:
    return client.server.config.get(argv[2:])


@command(
    "config|set",
    arity=-4,
    syntax="parameter value [parameter value ...]",
    flags=_FLAGS,
    group="server",
    since="2.0.0",
    complexity="O(N), N the parameters named",
    summary="Changes parameters, all of them or none.",
    tips=(b"request_policy:all_nodes", b"response_policy:all_succeeded"),
)
def cmd_config_set(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) % 2:
        raise CommandError(errors.SYNTAX)
    server = client.server
    pairs = list(zip(argv[2::2], argv[3::2], strict=True))
    server.config.set(pairs, local_client=is_local(client), loading=server.state.is_loading)
    return OK


@command(
    "config|rewrite",
    arity=2,
    flags=_FLAGS,
    group="server",
    since="2.8.0",
    complexity="O(N), N the lines of the file and the parameters",
    summary="Writes the current configuration into the file the server was started with.",
)
def cmd_config_rewrite(client: NodeClient, argv: list[bytes]) -> Any:
    try:
        draft = draft_of(client.server.config)
    except OSError as error:
        raise CommandError(_rewritten(error)) from error
    return client.server.file_saves.save(client, draft, _rewritten)


def _rewritten(error: OSError | None) -> Any:
    if error is None:
        log.info("CONFIG REWRITE executed with success.")
        return OK
    reason = os.strerror(error.errno or 0)
    log.warning("CONFIG REWRITE failed: %s", reason)
    return ErrorReply(f"ERR Rewriting config file: {reason}")


@command(
    "config|resetstat",
    arity=2,
    flags=_FLAGS,
    group="server",
    since="2.0.0",
    complexity="O(N), N the commands known",
    summary="Sets the counters of INFO back to zero.",
)
def cmd_config_resetstat(client: NodeClient, argv: list[bytes]) -> Any:
    _reset_stats(client.server)
    return OK


@command(
    "config|help",
    arity=2,
    flags=LOADING | STALE,
    group="server",
    since="5.0.0",
    complexity="O(1)",
    summary="Explains the subcommands.",
)
def cmd_config_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"CONFIG",
        (
            ("GET <pattern>", "List parameters that match the glob <pattern>, with their values."),
            ("SET <directive> <value>", "Give the parameter <directive> another value."),
            ("RESETSTAT", "Set the counters that INFO reports to zero."),
            ("REWRITE", "Bring the configuration file up to date."),
        ),
    )


def _reset_stats(server: Server) -> None:
    """CONFIG RESETSTAT: all counters of INFO start again, those of commands included."""
    server.stats.reset()
    server.acl.log.denials.clear()
    keyspace = server.keyspace
    keyspace.hits = keyspace.misses = keyspace.expired_keys = keyspace.evicted_keys = 0
    keyspace.lazy_free.freed = 0
    server.eviction.reset_stats()
    server.scripting.cache.evicted = 0
    server.reports.reset()
    if server.cluster is not None:
        server.cluster.slot_stats.reset()
