"""EVAL and its kin, and SCRIPT, which looks after the cache of scripts. The work is done in `node/scripting/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.help import help_reply
from slotmesh.node.commands.stream_once import obey_marker
from slotmesh.node.resp.values import OK
from slotmesh.node.scripting.flags import command_flags
from slotmesh.node.spec.key_specs import keys_counted
from slotmesh.node.spec.registry import (
    ALLOW_BUSY,
    LOADING,
    MAY_REPLICATE,
    NO_MANDATORY_KEYS,
    NOSCRIPT,
    READONLY,
    SKIP_MONITOR,
    STALE,
    CommandSpec,
    command,
    container,
    find,
)

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_FLAGS: Final = NOSCRIPT | SKIP_MONITOR | MAY_REPLICATE | NO_MANDATORY_KEYS | STALE
_RO_FLAGS: Final = NOSCRIPT | SKIP_MONITOR | NO_MANDATORY_KEYS | STALE | READONLY
_KEYS: Final = keys_counted(b"RW", b"ACCESS", b"UPDATE", index=2)
_RO_KEYS: Final = keys_counted(b"RO", b"ACCESS", index=2)
_COMPLEXITY: Final = "That of the script"
_ALL_NODES: Final = (b"request_policy:all_nodes", b"response_policy:all_succeeded")


def _judged_by_script(client: NodeClient, spec: CommandSpec, argv: list[bytes]) -> int:
    """The flags that count for EVAL: those which the script's first line declares."""
    by_sha = spec.name.startswith(b"evalsha")
    return command_flags(spec.flags, client.server.scripting.flags_of(argv, by_sha=by_sha))


@command(
    "eval",
    arity=-3,
    syntax="script numkeys [key [key ...]] [arg [arg ...]]",
    flags=_FLAGS,
    keys=_KEYS,
    group="scripting",
    since="2.6.0",
    complexity=_COMPLEXITY,
    summary="Runs a Lua script, indivisibly.",
    judge=_judged_by_script,
)
def cmd_eval(client: NodeClient, argv: list[bytes]) -> Any:
    if argv[1].startswith(b"-- ") and obey_marker(client, argv):
        return None
    return client.server.scripting.eval(client, _EVAL, argv, by_sha=False, read_only=False)


@command(
    "eval_ro",
    arity=-3,
    syntax="script numkeys [key [key ...]] [arg [arg ...]]",
    flags=_RO_FLAGS,
    keys=_RO_KEYS,
    group="scripting",
    since="7.0.0",
    complexity=_COMPLEXITY,
    summary="Runs a Lua script that only reads.",
    judge=_judged_by_script,
)
def cmd_eval_ro(client: NodeClient, argv: list[bytes]) -> Any:
    return client.server.scripting.eval(client, _EVAL_RO, argv, by_sha=False, read_only=True)


@command(
    "evalsha",
    arity=-3,
    syntax="sha1 numkeys [key [key ...]] [arg [arg ...]]",
    flags=_FLAGS,
    keys=_KEYS,
    group="scripting",
    since="2.6.0",
    complexity=_COMPLEXITY,
    summary="Runs a cached Lua script, named by its SHA1.",
    judge=_judged_by_script,
)
def cmd_evalsha(client: NodeClient, argv: list[bytes]) -> Any:
    return client.server.scripting.eval(client, _EVALSHA, argv, by_sha=True, read_only=False)


@command(
    "evalsha_ro",
    arity=-3,
    syntax="sha1 numkeys [key [key ...]] [arg [arg ...]]",
    flags=_RO_FLAGS,
    keys=_RO_KEYS,
    group="scripting",
    since="7.0.0",
    complexity=_COMPLEXITY,
    summary="Runs a cached Lua script that only reads, named by its SHA1.",
    judge=_judged_by_script,
)
def cmd_evalsha_ro(client: NodeClient, argv: list[bytes]) -> Any:
    return client.server.scripting.eval(client, _EVALSHA_RO, argv, by_sha=True, read_only=True)


_EVAL, _EVAL_RO, _EVALSHA, _EVALSHA_RO = (find([name]) for name in (b"eval", b"eval_ro", b"evalsha", b"evalsha_ro"))

container(
    "script",
    group="scripting",
    categories=("-scripting",),
    since="2.6.0",
    summary="Looks after the cache of Lua scripts.",
)


@command(
    "script|load",
    arity=3,
    syntax="script",
    flags=NOSCRIPT | STALE,
    group="scripting",
    since="2.6.0",
    complexity="O(N), N the bytes of the script",
    summary="Compiles a script and keeps it for EVALSHA.",
    tips=_ALL_NODES,
)
def cmd_script_load(client: NodeClient, argv: list[bytes]) -> Any:
    return client.server.scripting.load(argv[2]).sha


@command(
    "script|exists",
    arity=-3,
    syntax="sha1 [sha1 ...]",
    flags=NOSCRIPT,
    group="scripting",
    since="2.6.0",
    complexity="O(N), N the names given",
    summary="Tells which scripts are cached.",
    tips=(b"request_policy:all_shards", b"response_policy:agg_logical_and"),
)
def cmd_script_exists(client: NodeClient, argv: list[bytes]) -> Any:
    cache = client.server.scripting.cache
    return [int(cache.with_sha(sha) is not None) for sha in argv[2:]]


@command(
    "script|flush",
    arity=-2,
    syntax="[ASYNC | SYNC]",
    flags=NOSCRIPT,
    group="scripting",
    since="2.6.0",
    complexity="O(N), N the cached scripts",
    summary="Forgets all cached scripts.",
    tips=_ALL_NODES,
)
def cmd_script_flush(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 3 or (len(argv) == 3 and argv[2].lower() not in (b"sync", b"async")):
        raise CommandError("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    client.server.scripting.flush()
    return OK


@command(
    "script|kill",
    arity=2,
    flags=NOSCRIPT | ALLOW_BUSY,
    group="scripting",
    since="2.6.0",
    complexity="O(1)",
    summary="Ends the script that keeps the server busy, unless it has written.",
    tips=(b"request_policy:all_shards", b"response_policy:one_succeeded"),
)
def cmd_script_kill(client: NodeClient, argv: list[bytes]) -> Any:
    client.server.scripting.kill(is_eval=True)
    return OK


@command(
    "script|show",
    arity=3,
    syntax="sha1",
    flags=NOSCRIPT,
    group="scripting",
    since="8.0.0",
    complexity="O(1)",
    summary="Returns the text of a cached script.",
)
def cmd_script_show(client: NodeClient, argv: list[bytes]) -> Any:
    return client.server.scripting.find(argv[2]).body


@command(
    "script|debug",
    arity=3,
    syntax="<YES | SYNC | NO>",
    flags=NOSCRIPT,
    group="scripting",
    since="3.2.0",
    complexity="O(1)",
    summary="Would switch the debugger of scripts, which this server does not have.",
)
def cmd_script_debug(client: NodeClient, argv: list[bytes]) -> Any:
    mode = argv[2].lower()
    if mode == b"no":
        return OK
    if mode in (b"yes", b"sync"):
        raise CommandError("ERR this server has no debugger for scripts")
    raise CommandError("ERR Use SCRIPT DEBUG YES/SYNC/NO")


@command(
    "script|help",
    arity=2,
    flags=LOADING | STALE,
    group="scripting",
    since="5.0.0",
    complexity="O(1)",
    summary="Explains the subcommands.",
)
def cmd_script_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"SCRIPT",
        (
            ("DEBUG (YES|SYNC|NO)", "There is no debugger here; only NO is accepted."),
            ("EXISTS <sha1> [<sha1> ...]", "Tell which of the scripts are cached."),
            ("FLUSH [ASYNC|SYNC]", "Forget all cached scripts. Both modes are the same here."),
            ("KILL", "End the script that keeps the server busy, unless it has written."),
            ("LOAD <script>", "Keep a script for EVALSHA without running it."),
            ("SHOW <sha1>", "Return the text of a cached script."),
        ),
    )
