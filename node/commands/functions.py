"""FUNCTION, which looks after libraries of functions, and FCALL, which runs a function. Work: `node/scripting/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.base.glob import match
from slotmesh.node.clients.client import GATE_PRIMARY
from slotmesh.node.commands.help import help_reply
from slotmesh.node.persistence.errors import FormatError
from slotmesh.node.persistence.function_payload import dump_functions, load_functions
from slotmesh.node.persistence.payload import BadPayload
from slotmesh.node.resp.values import OK, OrderedSet, Status
from slotmesh.node.scripting.flags import NAMES, command_flags
from slotmesh.node.scripting.functions import ENGINE_NAME, Function, Library
from slotmesh.node.spec.key_specs import keys_counted
from slotmesh.node.spec.registry import (
    ALLOW_BUSY,
    DENYOOM,
    LOADING,
    MAY_REPLICATE,
    NO_MANDATORY_KEYS,
    NOSCRIPT,
    READONLY,
    SKIP_MONITOR,
    STALE,
    WRITE,
    CommandSpec,
    command,
    container,
    find,
)

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_ALL_SHARDS: Final = (b"request_policy:all_shards", b"response_policy:all_succeeded")
_FLAG_STATUS: Final = tuple((flag, Status(name)) for flag, name in NAMES)
_POLICIES: Final = (b"flush", b"append", b"replace")


def _judged_by_function(client: NodeClient, spec: CommandSpec, argv: list[bytes]) -> int:
    """The flags that count for FCALL: those with which the function was registered."""
    return command_flags(spec.flags, client.server.scripting.functions.flags_of(argv[1]))


@command(
    "fcall",
    arity=-3,
    syntax="function numkeys [key [key ...]] [arg [arg ...]]",
    flags=NOSCRIPT | SKIP_MONITOR | MAY_REPLICATE | NO_MANDATORY_KEYS | STALE,
    keys=keys_counted(b"RW", b"ACCESS", b"UPDATE", index=2),
    group="scripting",
    since="7.0.0",
    complexity="That of the function",
    summary="Runs a function, indivisibly.",
    judge=_judged_by_function,
)
def cmd_fcall(client: NodeClient, argv: list[bytes]) -> Any:
    return client.server.scripting.call_function(client, _FCALL, argv, read_only=False)


@command(
    "fcall_ro",
    arity=-3,
    syntax="function numkeys [key [key ...]] [arg [arg ...]]",
    flags=NOSCRIPT | SKIP_MONITOR | NO_MANDATORY_KEYS | STALE | READONLY,
    keys=keys_counted(b"RO", b"ACCESS", index=2),
    group="scripting",
    since="7.0.0",
    complexity="That of the function",
    summary="Runs a function that only reads.",
    judge=_judged_by_function,
)
def cmd_fcall_ro(client: NodeClient, argv: list[bytes]) -> Any:
    return client.server.scripting.call_function(client, _FCALL_RO, argv, read_only=True)


_FCALL, _FCALL_RO = find([b"fcall"]), find([b"fcall_ro"])

container(
    "function",
    group="scripting",
    categories=("-scripting",),
    since="7.0.0",
    summary="Looks after libraries of functions.",
)


@command(
    "function|load",
    arity=-3,
    syntax="[REPLACE] function-code",
    flags=NOSCRIPT | WRITE | DENYOOM,
    group="scripting",
    since="7.0.0",
    complexity="O(1), compiling left aside",
    summary="Adds a library of functions.",
    tips=_ALL_SHARDS,
)
def cmd_function_load(client: NodeClient, argv: list[bytes]) -> Any:
    for option in argv[2:-1]:
        if option.lower() != b"replace":
            raise CommandError(b"ERR Unknown option given: " + option)
    trusted = bool(client.gates & GATE_PRIMARY) or client.sock is None
    name = client.server.scripting.load_library(argv[-1], replace=len(argv) > 3, trusted=trusted)
    client.server.keyspace.dirty += 1
    return name


@command(
    "function|delete",
    arity=3,
    syntax="library-name",
    flags=NOSCRIPT | WRITE,
    group="scripting",
    since="7.0.0",
    complexity="O(1)",
    summary="Removes a library and its functions.",
    tips=_ALL_SHARDS,
)
def cmd_function_delete(client: NodeClient, argv: list[bytes]) -> Any:
    client.server.scripting.functions.delete(argv[2])
    client.server.keyspace.dirty += 1
    return OK


@command(
    "function|flush",
    arity=-2,
    syntax="[ASYNC | SYNC]",
    flags=NOSCRIPT | WRITE,
    group="scripting",
    since="7.0.0",
    complexity="O(N), N the functions",
    summary="Removes all libraries.",
    tips=_ALL_SHARDS,
)
def cmd_function_flush(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 3:
        raise CommandError(errors.subcommand_syntax(b"function", argv[1]))
    if len(argv) == 3 and argv[2].lower() not in (b"sync", b"async"):
        raise CommandError("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
    client.server.scripting.functions.clear()
    client.server.keyspace.dirty += 1
    return OK


@command(
    "function|dump",
    arity=2,
    flags=NOSCRIPT,
    group="scripting",
    since="7.0.0",
    complexity="O(N), N the bytes of all libraries",
    summary="Returns all libraries as one payload for FUNCTION RESTORE.",
)
def cmd_function_dump(client: NodeClient, argv: list[bytes]) -> Any:
    server = client.server
    return dump_functions(server.scripting.functions.sources(), compress=server.config.rdbcompression)


@command(
    "function|restore",
    arity=-3,
    syntax="serialized-value [FLUSH | APPEND | REPLACE]",
    flags=NOSCRIPT | WRITE | DENYOOM,
    group="scripting",
    since="7.0.0",
    complexity="O(N), N the functions in the payload",
    summary="Adds the libraries of a payload.",
    tips=_ALL_SHARDS,
)
def cmd_function_restore(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 4:
        raise CommandError(errors.subcommand_syntax(b"function", argv[1]))
    policy = argv[3].lower() if len(argv) == 4 else b"append"
    if policy not in _POLICIES:
        raise CommandError("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.")
    try:
        codes = load_functions(argv[2], client.server.persistence.verify_checksums)
    except BadPayload:
        raise CommandError(errors.BAD_DUMP) from None
    except FormatError as error:
        raise CommandError(f"ERR {error.what}") from None
    functions = client.server.scripting.functions
    functions.restore(codes, flush=policy == b"flush", replace=policy == b"replace")
    client.server.keyspace.dirty += 1
    return OK


@command(
    "function|list",
    arity=-2,
    syntax="[LIBRARYNAME library-name-pattern] [WITHCODE]",
    flags=NOSCRIPT,
    group="scripting",
    since="7.0.0",
    complexity="O(N), N the functions",
    summary="Describes the libraries and their functions.",
    tips=(b"nondeterministic_output_order",),
)
def cmd_function_list(client: NodeClient, argv: list[bytes]) -> Any:
    pattern: bytes | None = None
    with_code = False
    words = iter(argv[2:])
    for word in words:
        option = word.lower()
        if option == b"withcode" and not with_code:
            with_code = True
        elif option == b"libraryname" and pattern is None:
            pattern = next(words, None)
            if pattern is None:
                raise CommandError("ERR library name argument was not given")
        else:
            raise CommandError(b"ERR Unknown argument " + word)
    return [
        _describe_library(library, with_code)
        for library in client.server.scripting.functions.libraries.values()
        if pattern is None or match(pattern.lower(), library.name.lower())
    ]


def _describe_library(library: Library, with_code: bool) -> dict[bytes, Any]:
    described: dict[bytes, Any] = {
        b"library_name": library.name,
        b"engine": ENGINE_NAME,
        b"functions": [_describe_function(function) for function in library.functions.values()],
    }
    if with_code:
        described[b"library_code"] = library.code
    return described


def _describe_function(function: Function) -> dict[bytes, Any]:
    return {
        b"name": function.name,
        b"description": function.description,
        b"flags": OrderedSet([status for flag, status in _FLAG_STATUS if function.flags & flag]),
    }


@command(
    "function|stats",
    arity=2,
    flags=NOSCRIPT | ALLOW_BUSY,
    group="scripting",
    since="7.0.0",
    complexity="O(1)",
    summary="Tells which function is running, and how many there are.",
    tips=(b"nondeterministic_output", b"request_policy:all_shards", b"response_policy:special"),
)
def cmd_function_stats(client: NodeClient, argv: list[bytes]) -> Any:
    scripting = client.server.scripting
    run = scripting.running
    if run is not None and run.is_eval:
        raise CommandError(scripting.busy_error)
    running = None
    if run is not None:
        running = {b"name": run.name, b"command": run.argv, b"duration_ms": run.duration_ms}
    counts = {
        b"libraries_count": len(scripting.functions.libraries),
        b"functions_count": len(scripting.functions.by_name),
    }
    return {b"running_script": running, b"engines": {ENGINE_NAME: counts}}


@command(
    "function|kill",
    arity=2,
    flags=NOSCRIPT | ALLOW_BUSY,
    group="scripting",
    since="7.0.0",
    complexity="O(1)",
    summary="Ends the function that keeps the server busy, unless it has written.",
    tips=(b"request_policy:all_shards", b"response_policy:one_succeeded"),
)
def cmd_function_kill(client: NodeClient, argv: list[bytes]) -> Any:
    client.server.scripting.kill(is_eval=False)
    return OK


@command(
    "function|help",
    arity=2,
    flags=LOADING | STALE,
    group="scripting",
    since="7.0.0",
    complexity="O(1)",
    summary="Explains the subcommands.",
)
def cmd_function_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"FUNCTION",
        (
            ("LOAD [REPLACE] <FUNCTION CODE>", "Add a library; its text names it and registers its functions."),
            ("DELETE <LIBRARY NAME>", "Remove a library."),
            (
                "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
                "Describe the libraries, or those whose names fit the pattern; with their texts if asked.",
            ),
            ("STATS", "Tell which function runs and for how long, and how many there are."),
            ("KILL", "End the function that keeps the server busy, unless it has written."),
            ("FLUSH [ASYNC|SYNC]", "Remove all libraries. Both modes are the same here."),
            ("DUMP", "Return all libraries as one payload for FUNCTION RESTORE."),
            (
                "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
                """Add the libraries of a payload: instead of all others (FLUSH), beside the
others unless a name is taken (APPEND, the default), or in the place of those
with the same name (REPLACE).""",
            ),
        ),
    )
