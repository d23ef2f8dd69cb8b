"""The command table: one `CommandSpec` per command, declared beside its handler.

    @command("getrange", arity=4, flags=READONLY, keys=KEY_READ, group="string", since="2.4.0",
             complexity="O(N) where N is the length of the returned string", summary="Returns a substring.")
    def cmd_getrange(client, argv): ...

Everything said about a command is said there, once: COMMAND and its subcommands, ACL categories, routing in a cluster
and docs/commands.md are read from the specs. Subcommands are declared as `"config|get"`; their container with
`container("config", ...)`. Flags are plain ints, because an enum test costs twenty times as much on the hot path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.base.gates import GATES_OF_WRITES
from slotmesh.node.spec.key_specs import NO_KEYS, KeySpec, is_movable, legacy_range

#: A function of the client that runs the command (`node/clients/client.py`, which knows this module) and its words.
Handler = Callable[[Any, list[bytes]], Any]
KeyFinder = Callable[[list[bytes]], list[int]]
#: The flags by which one request is judged, where they depend on what it runs (EVAL).
Judge = Callable[[Any, "CommandSpec", list[bytes]], int]

# Command flags; the names in FLAG_NAMES are those of COMMAND INFO.
WRITE: Final = 1 << 0
READONLY: Final = 1 << 1
DENYOOM: Final = 1 << 2
ADMIN: Final = 1 << 3
PUBSUB: Final = 1 << 4
NOSCRIPT: Final = 1 << 5
BLOCKING: Final = 1 << 6
LOADING: Final = 1 << 7
STALE: Final = 1 << 8
SKIP_MONITOR: Final = 1 << 9
SKIP_SLOWLOG: Final = 1 << 10
ASKING: Final = 1 << 11
FAST: Final = 1 << 12
NO_AUTH: Final = 1 << 13
#: Held back by CLIENT PAUSE WRITE though no write: it may propagate. Stock keeps this flag to itself.
MAY_REPLICATE: Final = 1 << 14
NO_ASYNC_LOADING: Final = 1 << 15
NO_MULTI: Final = 1 << 16
ALLOW_BUSY: Final = 1 << 17
MOVABLE_KEYS: Final = 1 << 18
NO_MANDATORY_KEYS: Final = 1 << 19
TOUCHES_ARBITRARY_KEYS: Final = 1 << 20
#: Not a stock flag: runs at once inside MULTI instead of being queued (EXEC, DISCARD, WATCH, RESET, QUIT...).
NOT_QUEUED: Final = 1 << 30
#: Not a stock flag: allowed while a RESP2 client is subscribed.
IN_SUBSCRIBED: Final = 1 << 31

FLAG_NAMES: Final = (
    (WRITE, b"write"),
    (READONLY, b"readonly"),
    (DENYOOM, b"denyoom"),
    (ADMIN, b"admin"),
    (PUBSUB, b"pubsub"),
    (NOSCRIPT, b"noscript"),
    (BLOCKING, b"blocking"),
    (LOADING, b"loading"),
    (STALE, b"stale"),
    (SKIP_MONITOR, b"skip_monitor"),
    (SKIP_SLOWLOG, b"skip_slowlog"),
    (ASKING, b"asking"),
    (FAST, b"fast"),
    (NO_AUTH, b"no_auth"),
    (NO_ASYNC_LOADING, b"no_async_loading"),
    (NO_MULTI, b"no_multi"),
    (ALLOW_BUSY, b"allow_busy"),
    (MOVABLE_KEYS, b"movablekeys"),
    (NO_MANDATORY_KEYS, b"no_mandatory_keys"),
    (TOUCHES_ARBITRARY_KEYS, b"touches_arbitrary_keys"),
)


#: What commands that only read heed (`CommandSpec.checked_gates`).
GATES_OF_READERS: Final = ~GATES_OF_WRITES


def _refuse(client: object, argv: list[bytes]) -> Any:
    """Instead of the handler of a container: its bare name is no command."""
    raise CommandError(errors.wrong_arity(argv[0].lower()))


class CommandSpec:
    """All that is known of one command or subcommand. `calls`, `nanos` and the failures are its statistics."""

    __slots__ = (
        "arity",
        "calls",
        "categories",
        "checked_gates",
        "complexity",
        "deprecated_since",
        "failed_calls",
        "find_keys",
        "first_key",
        "flags",
        "full_name",
        "group",
        "handler",
        "history",
        "judge",
        "key_specs",
        "key_step",
        "last_key",
        "latency",
        "max_arity",
        "min_arity",
        "name",
        "nanos",
        "on_fast_path",
        "rejected_calls",
        "replaced_by",
        "run",
        "since",
        "single_key",
        "subcommands",
        "summary",
        "syntax",
        "timings",
        "tips",
    )

    def __init__(
        self,
        name: bytes,
        handler: Handler | None,
        *,
        arity: int,
        flags: int,
        keys: tuple[KeySpec, ...],
        group: str,
        since: str,
        complexity: str,
        summary: str,
        categories: Sequence[str] = (),
        find_keys: KeyFinder | None = None,
        deprecated: tuple[str, str] | None = None,
        tips: Sequence[bytes] = (),
        judge: Judge | None = None,
        syntax: str = "",
    ) -> None:
        self.full_name = name
        self.name = name.rpartition(b"|")[2]
        self.handler = handler
        #: The handler for those who know that there is one (`on_fast_path` says so).
        self.run: Handler = handler or _refuse
        self.arity = arity
        self.min_arity = abs(arity)
        self.max_arity = arity if arity >= 0 else 1 << 31
        self.key_specs = keys
        self.find_keys = find_keys
        self.judge = judge
        self.group = group
        self.since = since
        self.complexity = complexity
        self.summary = summary
        self.syntax = syntax
        self.deprecated_since: str | None = None
        self.replaced_by: str | None = None
        if deprecated is not None:
            self.deprecated_since, self.replaced_by = deprecated
        self.tips = tuple(tips)
        self.history: Sequence[tuple[str, str]] = ()
        self.subcommands: dict[bytes, CommandSpec] | None = None
        self.first_key, self.last_key, self.key_step = legacy_range(keys)
        if find_keys is not None or any(is_movable(spec) for spec in keys):
            flags |= MOVABLE_KEYS
        self.flags = flags
        #: Position of the only key; 0: the command has no keys; -1: several, or to be searched for.
        if self.first_key and self.first_key == self.last_key and not flags & MOVABLE_KEYS:
            self.single_key = self.first_key
        else:
            self.single_key = -1 if keys or find_keys is not None else 0
        #: Fit for the fast path: no subcommands, nothing that changes the client's own standing.
        self.on_fast_path = handler is not None and not flags & NOT_QUEUED
        #: The server's gates that this command must heed.
        self.checked_gates = GATES_OF_READERS if flags & READONLY and not flags & WRITE else ~0
        self.categories = acl_categories(group, flags, categories)
        self.calls = self.nanos = self.rejected_calls = self.failed_calls = 0
        #: The histogram of this command's latencies, and the list in it that every call increments
        #: (`node/observe/histogram.py`): empty before the first call, None while `latency-tracking` is off.
        self.latency: Any = None
        self.timings: list[int] | None = []

    def takes(self, words: int) -> bool:
        """Whether a request may have that many words, its name included."""
        return self.min_arity <= words <= self.max_arity

    def judged(self, client: object, argv: list[bytes]) -> CommandSpec:
        """What the checks of dispatch look at: this spec, or one with the flags of what the request would run."""
        if self.judge is None or len(argv) < self.min_arity:
            return self
        flags = self.judge(client, self, argv)
        if flags == self.flags:
            return self
        judged = copy(self)
        judged.flags = flags
        return judged

    def key_positions(self, argv: list[bytes]) -> list[int]:
        """Indexes of all keys in `argv`, in their order of declaration."""
        if self.find_keys is not None:
            return self.find_keys(argv)
        if len(self.key_specs) == 1:
            return self.key_specs[0].positions(argv)
        found: list[int] = []
        for spec in self.key_specs:
            found += (i for i in spec.positions(argv) if i not in found)
        return found


_GROUP_CATEGORY: Final = {
    "string": "string",
    "hash": "hash",
    "list": "list",
    "set": "set",
    "sorted_set": "sortedset",
    "stream": "stream",
    "bitmap": "bitmap",
    "hyperloglog": "hyperloglog",
    "geo": "geo",
    "generic": "keyspace",
    "pubsub": "pubsub",
    "connection": "connection",
    "transactions": "transaction",
    "scripting": "scripting",
}


def acl_categories(group: str, flags: int, extra: Sequence[str]) -> tuple[str, ...]:
    """The ACL categories of a command: those its flags imply (the stock rules), its group's, and `extra`.

    A word in `extra` that starts with '-' takes a category away.
    """
    found = {_GROUP_CATEGORY[group]} if group in _GROUP_CATEGORY else set()
    if flags & WRITE:
        found.add("write")
    if flags & READONLY and "scripting" not in found:
        found.add("read")
    if flags & ADMIN:
        found |= {"admin", "dangerous"}
    if flags & PUBSUB:
        found.add("pubsub")
    if flags & BLOCKING:
        found.add("blocking")
    found.add("fast" if flags & FAST else "slow")
    for word in extra:
        if word.startswith("-"):
            found.discard(word[1:])
        else:
            found.add(word)
    return tuple(sorted(found))


#: Every command by its lower-case name; subcommands hang below their container's spec.
COMMANDS: Final[dict[bytes, CommandSpec]] = {}
#: What dispatch looks names up in: lower and upper case spellings, so that a hit needs no `.lower()`.
LOOKUP: Final[dict[bytes, CommandSpec]] = {}
#: What a name that is not in LOOKUP stands for on the fast path: never `on_fast_path`.
UNKNOWN: Final = CommandSpec(
    b"", None, arity=0, flags=0, keys=NO_KEYS, group="", since="", complexity="", summary="no such command"
)


def command(
    name: str,
    *,
    arity: int,
    flags: int,
    group: str,
    since: str,
    complexity: str,
    summary: str,
    keys: tuple[KeySpec, ...] = NO_KEYS,
    categories: Sequence[str] = (),
    find_keys: KeyFinder | None = None,
    deprecated: tuple[str, str] | None = None,
    tips: Sequence[bytes] = (),
    judge: Judge | None = None,
    syntax: str = "",
) -> Callable[[Handler], Handler]:
    """Declare the decorated function as the handler of `name` ("config|get" for a subcommand).

    `arity` counts the command's name, subcommand included; negative: at least. `syntax` is how the arguments are
    written (`node/spec/syntax.py`). `deprecated` is (since, replaced by).
    """

    def register(handler: Handler) -> Handler:
        spec = CommandSpec(
            name.encode(),
            handler,
            arity=arity,
            flags=flags,
            keys=keys,
            group=group,
            since=since,
            complexity=complexity,
            summary=summary,
            categories=categories,
            find_keys=find_keys,
            deprecated=deprecated,
            tips=tips,
            judge=judge,
            syntax=syntax,
        )
        _add(spec)
        return handler

    return register


def container(
    name: str,
    *,
    group: str,
    since: str,
    summary: str,
    flags: int = 0,
    arity: int = -2,
    keys: tuple[KeySpec, ...] = NO_KEYS,
    handler: Handler | None = None,
    complexity: str = "Depends on subcommand.",
    categories: Sequence[str] = (),
    tips: Sequence[bytes] = (),
) -> CommandSpec:
    """Declare a command that only holds subcommands (`handler`: what the bare command does, as COMMAND has it)."""
    spec = CommandSpec(
        name.encode(),
        handler,
        arity=arity,
        flags=flags,
        keys=keys,
        group=group,
        since=since,
        complexity=complexity,
        summary=summary,
        categories=categories,
        tips=tips,
    )
    spec.subcommands = {}
    spec.on_fast_path = False
    _add(spec)
    return spec


def _add(spec: CommandSpec) -> None:
    parent_name, bar, sub = spec.full_name.partition(b"|")
    if bar:
        parent = COMMANDS[parent_name]
        assert parent.subcommands is not None
        assert sub not in parent.subcommands, spec.full_name
        parent.subcommands[sub] = spec
        return
    assert spec.full_name not in COMMANDS, spec.full_name
    COMMANDS[spec.full_name] = spec
    LOOKUP[spec.full_name] = LOOKUP[spec.full_name.upper()] = spec


def find(argv: list[bytes]) -> CommandSpec:
    """The spec of a request, resolved down to the subcommand.

    Raises CommandError (unknown command or subcommand).
    """
    spec = LOOKUP.get(argv[0]) or LOOKUP.get(argv[0].lower())
    if spec is None:
        raise CommandError(errors.unknown_command(argv))
    if spec.subcommands is None or len(argv) == 1:
        return spec
    sub = spec.subcommands.get(argv[1]) or spec.subcommands.get(argv[1].lower())
    if sub is None:
        raise CommandError(errors.unknown_subcommand(spec.name, argv[1]))
    return sub


def known(full_name: str) -> CommandSpec | None:
    """The spec of a command ("ping") or subcommand ("cluster|info"), if it is declared."""
    name, bar, sub = full_name.encode().partition(b"|")
    spec = COMMANDS.get(name)
    return spec if spec is None or not bar else (spec.subcommands or {}).get(sub)


def every_spec() -> list[CommandSpec]:
    """All specs, subcommands included, sorted by full name."""
    specs = list(COMMANDS.values())
    for spec in COMMANDS.values():
        specs += (spec.subcommands or {}).values()
    return sorted(specs, key=lambda spec: spec.full_name)
