"""TIME, MONITOR, SHUTDOWN, LOLWUT and MODULE."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.base.gates import SERVER_BUSY
from slotmesh.node.commands.help import help_reply
from slotmesh.node.observe.info_sections import SLOTMESH_VERSION
from slotmesh.node.process.shutdown import FAILED, REFUSED, WAITING
from slotmesh.node.resp.values import NO_REPLY, OK, Verbatim
from slotmesh.node.spec.arguments import integer
from slotmesh.node.spec.registry import (
    ADMIN,
    ALLOW_BUSY,
    FAST,
    LOADING,
    NO_ASYNC_LOADING,
    NO_MULTI,
    NOSCRIPT,
    READONLY,
    STALE,
    command,
    container,
)

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient


@command(
    "time",
    arity=1,
    flags=LOADING | STALE | FAST,
    group="server",
    since="2.6.0",
    complexity="O(1)",
    summary="Returns the server's time: Unix seconds and the microseconds in them.",
    tips=(b"nondeterministic_output",),
)
def cmd_time(client: NodeClient, argv: list[bytes]) -> Any:
    micros = time.time_ns() // 1000
    if COMPAT.newer and client.is_script:
        micros = client.server.keyspace.now_ms * 1000  # time stands still for a script
    return [b"%d" % (micros // 1_000_000), b"%d" % (micros % 1_000_000)]


@command(
    "monitor",
    arity=1,
    flags=ADMIN | NOSCRIPT | LOADING | STALE,
    group="server",
    since="1.0.0",
    complexity="",
    summary="Shows this connection every command that the server runs.",
)
def cmd_monitor(client: NodeClient, argv: list[bytes]) -> Any:
    if client.deny_blocking:
        raise CommandError("ERR MONITOR isn't allowed for DENY BLOCKING client")
    client.server.monitors.add(client)
    return OK


@command(
    "shutdown",
    arity=-1,
    syntax="[NOSAVE | SAVE] [NOW] [FORCE] [SAFE] [ABORT]",
    flags=ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY,
    group="server",
    since="1.0.0",
    complexity="O(N) when the data is saved, N all keys, else O(1)",
    summary="Saves, if there are save points or SAVE says so, and ends the server.",
)
def cmd_shutdown(client: NodeClient, argv: list[bytes]) -> Any:
    options = [word.lower() for word in argv[1:]]
    known = {b"nosave", b"save", b"now", b"force", b"safe", b"abort"}
    saves, aborts = b"save" in options, b"abort" in options
    if not known.issuperset(options) or (saves and b"nosave" in options) or (aborts and set(options) != {b"abort"}):
        raise CommandError(errors.SYNTAX)
    shutdown = client.server.shutdown
    if aborts:
        if not shutdown.abort():
            raise CommandError("ERR No shutdown in progress.")
        return OK
    if client.server.state.gates & SERVER_BUSY and b"nosave" not in options:
        raise CommandError(client.server.scripting.busy_error)  # saving would save half of what the script does
    now = b"now" in options
    if client.deny_blocking and not now:
        raise CommandError("ERR SHUTDOWN without NOW or ABORT isn't allowed for DENY BLOCKING client")
    save = True if saves else False if b"nosave" in options else None
    outcome = shutdown.begin(save=save, now=now, force=b"force" in options, safe=b"safe" in options)
    if outcome == REFUSED:
        raise CommandError(FAILED)
    if outcome == WAITING:
        return shutdown.wait(client)
    client.close_after_reply = True  # what follows in the same pipeline must not run any more
    return NO_REPLY


@command(
    "lolwut",
    arity=-1,
    syntax="[VERSION version]",
    flags=READONLY | FAST,
    group="server",
    since="5.0.0",
    complexity="O(N), N the cells drawn",
    summary="Draws a woven net, and says which version drew it.",
)
def cmd_lolwut(client: NodeClient, argv: list[bytes]) -> Any:
    options = argv[1:]
    if len(options) >= 2 and options[0].lower() == b"version":
        integer(options[1])  # there is one drawing for all versions
        options = options[2:]
    sizes = [max(1, min(integer(word), limit)) for word, limit in zip(options, (200, 60), strict=False)]
    width, height = (*sizes, *(66, 12)[len(sizes) :])
    return Verbatim(_net(width, height, client.server.rng).encode())


def _net(width: int, height: int, rng: random.Random) -> str:
    """A slanted mesh with some knots, different every time."""
    rows = []
    for y in range(height):
        cells = []
        for x in range(width):
            strand = "/" if (x + y) % 4 == 0 else "\\" if (x - y) % 4 == 0 else " "
            cells.append(rng.choice("oO*") if (x % 4 == 0 and y % 4 == 0) and rng.random() < 0.4 else strand)
        rows.append("".join(cells).rstrip())
    return "\n".join(rows) + f"\n\nRedis ver. {COMPAT.version} (slotmesh {SLOTMESH_VERSION})\n"


# -- MODULE --------------------------------------------------------------------------------------------------------

container("module", group="server", since="4.0.0", summary="Tells about modules. This server loads none.")

_MODULE: Final = ADMIN | NOSCRIPT
_NO_MODULES: Final = ErrorReply("ERR Error loading the extension. Please check the server logs.")


@command(
    "module|list",
    arity=2,
    flags=_MODULE,
    group="server",
    since="4.0.0",
    complexity="O(1)",
    summary="Lists the loaded modules: none.",
    tips=(b"nondeterministic_output_order",),
)
def cmd_module_list(client: NodeClient, argv: list[bytes]) -> Any:
    return []


def _refuse_module(client: NodeClient, argv: list[bytes]) -> Any:
    """Modules are machine code for another server: they cannot be loaded."""
    allowed = client.server.config.enable_module_command
    if allowed == "no":
        raise CommandError(
            'ERR MODULE command not allowed. If the enable-module-command option is set to "local", you can run it '
            "from a local connection, otherwise you need to set this option in the configuration file, and then "
            "restart the server."
        )
    raise CommandError(_NO_MODULES)


for _name, _arity, _since, _syntax in (
    ("load", -3, "4.0.0", "path [arg [arg ...]]"),
    ("loadex", -3, "7.0.0", "path [CONFIG name value [CONFIG name value ...]] [ARGS arg [arg ...]]"),
):
    command(
        f"module|{_name}",
        arity=_arity,
        syntax=_syntax,
        flags=_MODULE | NO_ASYNC_LOADING,
        group="server",
        since=_since,
        complexity="O(1)",
        summary="Refuses: modules cannot be loaded here.",
    )(_refuse_module)


@command(
    "module|unload",
    arity=3,
    syntax="name",
    flags=_MODULE | NO_ASYNC_LOADING,
    group="server",
    since="4.0.0",
    complexity="O(1)",
    summary="Refuses: there is no module to unload.",
)
def cmd_module_unload(client: NodeClient, argv: list[bytes]) -> Any:
    if client.server.config.enable_module_command == "no":
        return _refuse_module(client, argv)
    raise CommandError("ERR Error unloading module: no such module with that name")


@command(
    "module|help",
    arity=2,
    flags=LOADING | STALE,
    group="server",
    since="5.0.0",
    complexity="O(1)",
    summary="Explains the subcommands.",
)
def cmd_module_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"MODULE",
        (
            ("LIST", "List the loaded modules."),
            ("LOAD <path> [<arg> ...]", "Refused: this server loads no modules."),
            ("LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]", "Refused as well."),
            ("UNLOAD <name>", "Refused as well."),
        ),
    )
