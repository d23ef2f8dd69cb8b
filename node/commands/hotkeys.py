"""HOTKEYS (Redis 8.6): sessions that find the keys that cost most (`node/observe/hot_keys.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.slots import SLOT_COUNT
from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.cluster_args import slot_number
from slotmesh.node.commands.help import help_reply
from slotmesh.node.observe.hot_keys import Session
from slotmesh.node.resp.values import OK
from slotmesh.node.spec.arguments import integer_between
from slotmesh.node.spec.registry import ADMIN, NOSCRIPT, command, container

if TYPE_CHECKING:
    from slotmesh.node.observe.heavy_hitters import HeavyHitters
    from slotmesh.node.server import NodeClient

_FLAGS: Final = ADMIN | NOSCRIPT
_TIPS: Final = (b"request_policy:special", b"response_policy:special")
_KINDS: Final = (b"CPU", b"NET")
_MAX_COUNT: Final = 64
_MAX_SECONDS: Final = 1_000_000
_INT_MAX: Final = 2**31 - 1
_NANOS: Final = 1000  # in a microsecond

container("hotkeys", group="server", since="8.6.0", summary="Finds the keys that cost most.")


def _refusal(text: str) -> ErrorReply:
    return ErrorReply("ERR " + text)


class _Options:
    """The arguments of HOTKEYS START."""

    def __init__(self, client: NodeClient, words: list[bytes]) -> None:
        """Parse them. Raises CommandError."""
        if len(words) < 2 or words[0].upper() != b"METRICS":
            raise CommandError(_refusal("METRICS parameter is required"))
        few = _refusal(f"METRICS count must be > 0 and <= {len(_KINDS)}")
        count = integer_between(words[1], 1, len(_KINDS), few)
        self.kinds = self._kinds([word.upper() for word in words[2 : 2 + count]], count)
        self.count, self.duration_ms, self.sample_ratio = 10, 0, 1
        self.slots: frozenset[int] | None = None
        rest = words[2 + count :]
        while rest:
            word, rest = rest[0].upper(), rest[1:]
            if not rest:
                raise CommandError(errors.SYNTAX)
            value = rest[0]
            if word == b"COUNT":
                self.count = integer_between(value, 1, _MAX_COUNT, _refusal("COUNT must be between 1 and 64"))
            elif word == b"DURATION":
                wrong = _refusal(f"DURATION must be between 1 and {_MAX_SECONDS}")
                self.duration_ms = integer_between(value, 1, _MAX_SECONDS, wrong) * 1000
            elif word == b"SAMPLE":
                self.sample_ratio = integer_between(value, 1, _INT_MAX, _refusal("SAMPLE ratio must be positive"))
            elif word == b"SLOTS":
                rest = self._take_slots(client, rest)
            else:
                raise CommandError(errors.SYNTAX)
            rest = rest[1:]

    @staticmethod
    def _kinds(named: list[bytes], count: int) -> set[bytes]:
        """Which metrics are wanted. Unknown ones are read over, so that there may be more one day."""
        for kind in _KINDS:
            if named.count(kind) > 1:
                raise CommandError(_refusal(f"METRICS {kind.decode()} defined more than once!"))
        if len(named) != count:
            raise CommandError(_refusal("METRICS count does not match number of metric types provided"))
        kinds = set(named).intersection(_KINDS)
        if not kinds:
            raise CommandError(_refusal("METRICS no valid metrics passed. Supported: CPU|NET"))
        return kinds

    def _take_slots(self, client: NodeClient, rest: list[bytes]) -> list[bytes]:
        """Read `count slot [slot ...]`; from its last word on."""
        cluster = client.server.cluster
        if cluster is None:
            raise CommandError(_refusal("SLOTS parameter cannot be used in non-cluster mode"))
        if self.slots is not None:
            raise CommandError(_refusal("SLOTS parameter already specified"))
        wrong = _refusal(f"SLOTS count must be between 1 and {SLOT_COUNT}")
        count = integer_between(rest[0], 1, SLOT_COUNT, wrong)
        if len(rest) <= count:
            raise CommandError(_refusal("not enough slot numbers provided"))
        view = cluster.core.view
        mine = view.slots.owners
        shard = view.myself.primary or view.myself
        slots = []
        for word in rest[1 : 1 + count]:
            slot = slot_number(word)
            if mine[slot] is not shard:
                raise CommandError(_refusal(f"slot {slot} not handled by this node"))
            slots.append(slot)
        self.slots = frozenset(slots)
        if len(self.slots) != count:
            raise CommandError(_refusal("duplicate slot number"))
        return rest[count:]


@command(
    "hotkeys|start",
    arity=-2,
    syntax="METRICS count [CPU] [NET] [COUNT k] [DURATION seconds] [SAMPLE ratio] [SLOTS count slot [slot ...]]",
    flags=_FLAGS,
    group="server",
    since="8.6.0",
    complexity="O(1)",
    summary="Begins to measure what keys cost.",
    tips=_TIPS,
)
def cmd_hotkeys_start(client: NodeClient, argv: list[bytes]) -> Any:
    server = client.server
    hot_keys = server.hot_keys
    hot_keys.check()
    if hot_keys.session is not None and hot_keys.session.active:
        raise CommandError(_refusal("hotkey tracking session already in progress"))
    options = _Options(client, argv[2:])
    session = Session(
        server.clock.now_ms,
        cpu=b"CPU" in options.kinds,
        net=b"NET" in options.kinds,
        count=options.count,
        duration_ms=options.duration_ms,
        sample_ratio=options.sample_ratio,
        slots=options.slots,
    )
    hot_keys.start(session)
    return OK


@command(
    "hotkeys|stop",
    arity=2,
    flags=_FLAGS,
    group="server",
    since="8.6.0",
    complexity="O(1)",
    summary="Measures no more, but keeps what was found.",
    tips=_TIPS,
)
def cmd_hotkeys_stop(client: NodeClient, argv: list[bytes]) -> Any:
    return OK if client.server.hot_keys.stop() else None


@command(
    "hotkeys|get",
    arity=2,
    flags=_FLAGS,
    group="server",
    since="8.6.0",
    complexity="O(K), K the keys returned",
    summary="Returns the keys that cost most, and what all cost together.",
    tips=(b"nondeterministic_output", *_TIPS),
)
def cmd_hotkeys_get(client: NodeClient, argv: list[bytes]) -> Any:
    hot_keys = client.server.hot_keys
    hot_keys.check()
    return None if hot_keys.session is None else [_report(client, hot_keys.session)]


def _report(client: NodeClient, session: Session) -> dict[bytes, Any]:
    limited, samples = session.slots is not None, session.sample_ratio > 1
    report: dict[bytes, Any] = {
        b"tracking-active": int(session.active),
        b"sample-ratio": session.sample_ratio,
        b"selected-slots": _ranges(client, session.slots),
    }
    if limited and samples:
        report[b"sampled-commands-selected-slots-us"] = session.sampled.nanos // _NANOS
    if limited:
        report[b"all-commands-selected-slots-us"] = session.selected.nanos // _NANOS
    report[b"all-commands-all-slots-us"] = session.all.nanos // _NANOS
    if limited and samples:
        report[b"net-bytes-sampled-commands-selected-slots"] = session.sampled.net_bytes
    if limited:
        report[b"net-bytes-all-commands-selected-slots"] = session.selected.net_bytes
    report[b"net-bytes-all-commands-all-slots"] = session.all.net_bytes
    report[b"collection-start-time-unix-ms"] = session.start_ms
    report[b"collection-duration-ms"] = session.elapsed_ms(client.server.clock.now_ms)
    if session.by_cpu is not None:
        report[b"total-cpu-time-user-ms"], report[b"total-cpu-time-sys-ms"] = session.cpu_ms()
    if session.by_net is not None:
        report[b"total-net-bytes"] = session.by_net.total
    if session.by_cpu is not None:
        report[b"by-cpu-time-us"] = _list(session.by_cpu, session.count, _NANOS)
    if session.by_net is not None:
        report[b"by-net-bytes"] = _list(session.by_net, session.count, 1)
    return report


def _list(hitters: HeavyHitters, count: int, unit: int) -> list[bytes | int]:
    """key, cost, key, cost, ..., the dearest first."""
    return [part for key, cost in hitters.heaviest(count) if cost >= unit for part in (key, cost // unit)]


def _ranges(client: NodeClient, slots: frozenset[int] | None) -> list[list[int]]:
    """The slots that are looked at: a list of one for a single slot, of two for a range."""
    cluster = client.server.cluster
    if slots is not None:
        ranges = SlotSet(slots).ranges()
    elif cluster is not None:
        me = cluster.core.view.myself
        ranges = (me.primary or me).slots.ranges()
    else:
        ranges = [(0, SLOT_COUNT - 1)]
    return [[first] if first == last else [first, last] for first, last in ranges]


@command(
    "hotkeys|reset",
    arity=2,
    flags=_FLAGS,
    group="server",
    since="8.6.0",
    complexity="O(K), K the keys found",
    summary="Forgets what was found.",
    tips=_TIPS,
)
def cmd_hotkeys_reset(client: NodeClient, argv: list[bytes]) -> Any:
    hot_keys = client.server.hot_keys
    hot_keys.check()
    if hot_keys.session is not None and hot_keys.session.active:
        raise CommandError(_refusal("hotkey tracking session in progress, stop tracking first"))
    hot_keys.session = None
    return OK


@command(
    "hotkeys|help",
    arity=2,
    flags=0,
    group="server",
    since="8.6.0",
    complexity="O(1)",
    summary="Explains the subcommands.",
)
def cmd_hotkeys_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"HOTKEYS",
        (
            (
                (
                    "START METRICS <count> [CPU] [NET] [COUNT <k>] [DURATION <seconds>]\n"
                    "      [SAMPLE <ratio>] [SLOTS <count> <slot> [<slot> ...]]"
                ),
                (
                    "Measure what keys cost: processor time, bytes of requests and replies, or both.\n"
                    "COUNT: keys to report (default: 10). DURATION: end by itself. SAMPLE: look at\n"
                    "one command in <ratio>. SLOTS: look at keys of these slots only."
                ),
            ),
            ("STOP", "Measure no more. What was found is kept."),
            ("GET", "Show what was found."),
            ("RESET", "Forget what was found."),
        ),
    )
