"""LATENCY: spikes by event, histograms by command, and advice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base.errors import CommandError
from slotmesh.node.base.latency import draw_graph
from slotmesh.node.commands.help import help_reply
from slotmesh.node.observe.latency_doctor import report
from slotmesh.node.resp.values import Verbatim
from slotmesh.node.spec import registry
from slotmesh.node.spec.registry import ADMIN, LOADING, NOSCRIPT, STALE, CommandSpec, Handler, command, container

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_FLAGS: Final = ADMIN | NOSCRIPT | LOADING | STALE
_LOOK_TIPS: Final = (b"nondeterministic_output", b"request_policy:all_nodes", b"response_policy:special")

container("latency", group="server", since="2.8.13", summary="Diagnoses latency.")


def _declare(
    name: str,
    *,
    arity: int,
    complexity: str,
    summary: str,
    syntax: str = "",
    since: str = "2.8.13",
    flags: int = _FLAGS,
    tips: tuple[bytes, ...] = _LOOK_TIPS,
) -> Callable[[Handler], Handler]:
    return command(
        f"latency|{name}",
        arity=arity,
        flags=flags,
        group="server",
        since=since,
        complexity=complexity,
        summary=summary,
        syntax=syntax,
        tips=tips,
    )


@_declare("latest", arity=2, complexity="O(1)", summary="Returns the latest and the worst spike of every event.")
def cmd_latency_latest(client: NodeClient, argv: list[bytes]) -> Any:
    return [
        [event.encode(), *series.samples[-1], series.worst_ms] for event, series in client.server.latency.events.items()
    ]


@_declare(
    "history", arity=3, syntax="event", complexity="O(1)", summary="Returns the spikes of an event with their times."
)
def cmd_latency_history(client: NodeClient, argv: list[bytes]) -> Any:
    series = client.server.latency.events.get(argv[2].decode("latin-1"))
    return [] if series is None else [list(sample) for sample in series.samples]


@_declare("graph", arity=3, syntax="event", complexity="O(1)", summary="Draws the spikes of an event.")
def cmd_latency_graph(client: NodeClient, argv: list[bytes]) -> Any:
    event = argv[2].decode("latin-1")
    series = client.server.latency.events.get(event)
    if series is None:
        raise CommandError(b"ERR No samples available for event '%b'" % argv[2])
    return Verbatim(draw_graph(event, series, client.server.clock.now_ms // 1000).encode("latin-1"))


@_declare("doctor", arity=2, complexity="O(1)", summary="Says what the spikes may come from.")
def cmd_latency_doctor(client: NodeClient, argv: list[bytes]) -> Any:
    server = client.server
    return Verbatim(report(server.latency, server.clock.now_ms // 1000, server.config.slowlog_log_slower_than).encode())


@_declare(
    "reset",
    arity=-2,
    syntax="[event [event ...]]",
    complexity="O(1)",
    summary="Forgets the spikes of events, of all when none is named.",
    tips=(b"request_policy:all_nodes", b"response_policy:all_succeeded"),
)
def cmd_latency_reset(client: NodeClient, argv: list[bytes]) -> Any:
    return client.server.latency.reset([name.decode("latin-1").lower() for name in argv[2:]])


@_declare(
    "histogram",
    arity=-2,
    syntax="[command [command ...]]",
    since="7.0.0",
    complexity="O(N), N the commands that were run",
    summary="Returns the distribution of the latencies of commands, of all when none is named.",
)
def cmd_latency_histogram(client: NodeClient, argv: list[bytes]) -> Any:
    chosen: list[CommandSpec] = []
    if len(argv) == 2:
        chosen = registry.every_spec()
    for name in argv[2:]:
        head, bar, sub = name.lower().partition(b"|")
        spec = registry.LOOKUP.get(head)
        if spec is not None and bar:
            spec = (spec.subcommands or {}).get(sub)
        if spec is not None:
            chosen += [spec] if bar else [spec, *(spec.subcommands or {}).values()]
    return {spec.full_name: _distribution(spec) for spec in chosen if spec.latency is not None and spec.latency.total}


def _distribution(spec: CommandSpec) -> dict[bytes, Any]:
    return {b"calls": spec.latency.total, b"histogram_usec": dict(spec.latency.cumulative())}


@_declare("help", arity=2, flags=LOADING | STALE, complexity="O(1)", summary="Explains the subcommands.", tips=())
def cmd_latency_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"LATENCY",
        (
            ("DOCTOR", "Say what the spikes may come from."),
            ("GRAPH <event>", "Draw the spikes of <event>."),
            ("HISTORY <event>", "List the spikes of <event> with their times."),
            ("LATEST", "Show the latest spike of every event."),
            ("RESET [<event> ...]", "Forget the spikes of the given events, by default of all."),
            ("HISTOGRAM [COMMAND ...]", "Show the distribution of the latencies of commands, by default of all."),
        ),
    )
