"""COMMAND: what the server can do, told from the command table."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.acl.check import key_flags
from slotmesh.node.acl.rules import CATEGORIES
from slotmesh.node.base.errors import CommandError
from slotmesh.node.base.glob import compile_glob
from slotmesh.node.commands.help import help_reply
from slotmesh.node.resp.values import OrderedSet, Status
from slotmesh.node.spec import registry
from slotmesh.node.spec.arguments import to_int64
from slotmesh.node.spec.key_specs import KeySpec
from slotmesh.node.spec.registry import FLAG_NAMES, LOADING, STALE, CommandSpec, Handler, command, container
from slotmesh.node.spec.syntax import Argument, parse

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

Declaration = Callable[[Handler], Handler]
_FLAGS: Final = LOADING | STALE
_PROPERTIES: Final = (b"RO", b"RW", b"OW", b"RM")
_RANDOM_ORDER: Final = (b"nondeterministic_output_order",)


def _visible() -> list[CommandSpec]:
    """Commands under the names they answer to, each once: rename-command may have hidden some."""
    return sorted({id(spec): spec for spec in registry.LOOKUP.values()}.values(), key=lambda spec: spec.full_name)


def _named(name: bytes) -> CommandSpec | None:
    """A command by name, a subcommand as `container|sub`."""
    head, bar, sub = name.lower().partition(b"|")
    spec = registry.LOOKUP.get(head)
    if spec is None or not bar:
        return spec
    return (spec.subcommands or {}).get(sub)


# -- COMMAND and COMMAND INFO --------------------------------------------------------------------------------------


def describe(spec: CommandSpec) -> list[Any]:
    """The ten fields of COMMAND INFO."""
    return [
        spec.full_name,
        spec.arity,
        OrderedSet([Status(name) for flag, name in FLAG_NAMES if spec.flags & flag]),
        spec.first_key,
        spec.last_key,
        spec.key_step,
        OrderedSet([Status(b"@" + word.encode()) for word in CATEGORIES if word in spec.categories]),
        OrderedSet(spec.tips),
        OrderedSet([_key_spec(key_spec) for key_spec in spec.key_specs]),
        OrderedSet([describe(sub) for sub in (spec.subcommands or {}).values()]),
    ]


def _flag_words(flags: Sequence[bytes]) -> OrderedSet:
    return OrderedSet([Status(flag if flag in _PROPERTIES else flag.lower()) for flag in flags])


def _key_spec(spec: KeySpec) -> dict[bytes, Any]:
    described: dict[bytes, Any] = {b"flags": _flag_words(spec.flags)}
    if len(spec.begin) == 3:
        _, word, start = spec.begin
        described[b"begin_search"] = {b"type": b"keyword", b"spec": {b"keyword": word, b"startfrom": start}}
    elif spec.begin[0] == "index":
        described[b"begin_search"] = {b"type": b"index", b"spec": {b"index": spec.begin[1]}}
    else:
        described[b"begin_search"] = {b"type": b"unknown", b"spec": {}}
    kind, first, second, third = spec.find
    if kind == "range":
        found: dict[bytes, Any] = {b"lastkey": first, b"keystep": second, b"limit": third}
    elif kind == "keynum":
        found = {b"keynumidx": first, b"firstkey": second, b"keystep": third}
    else:
        found = {}
    described[b"find_keys"] = {b"type": kind.encode(), b"spec": found}
    return described


container(
    "command",
    group="server",
    since="2.8.13",
    arity=-1,
    flags=_FLAGS,
    categories=("connection",),
    summary="Describes all commands.",
    complexity="O(N), N all commands",
    handler=lambda client, argv: [describe(spec) for spec in _visible()],
    tips=_RANDOM_ORDER,
)


def _declare(
    name: str, *, arity: int, since: str, complexity: str, summary: str, syntax: str = "", tips: Iterable[bytes] = ()
) -> Declaration:
    return command(
        f"command|{name}",
        arity=arity,
        flags=_FLAGS,
        group="server",
        since=since,
        complexity=complexity,
        summary=summary,
        syntax=syntax,
        categories=("connection",),
        tips=tuple(tips),
    )


@_declare("count", arity=2, since="2.8.13", complexity="O(1)", summary="Counts the commands.")
def cmd_command_count(client: NodeClient, argv: list[bytes]) -> Any:
    return len(_visible())


@_declare(
    "info",
    arity=-2,
    syntax="[command-name [command-name ...]]",
    since="2.8.13",
    complexity="O(N), N the commands named",
    summary="Describes commands, all of them when none is named.",
    tips=_RANDOM_ORDER,
)
def cmd_command_info(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) == 2:
        return [describe(spec) for spec in _visible()]
    specs = [_named(name) for name in argv[2:]]
    return [None if spec is None else describe(spec) for spec in specs]


@_declare(
    "list",
    arity=-2,
    syntax="[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
    since="7.0.0",
    complexity="O(N), N all commands",
    summary="Lists the names of commands: all, those of an ACL category, or those that match a pattern.",
    tips=_RANDOM_ORDER,
)
def cmd_command_list(client: NodeClient, argv: list[bytes]) -> Any:
    every = [each for spec in _visible() for each in (spec, *(spec.subcommands or {}).values())]
    if len(argv) == 2:
        return [spec.full_name for spec in every]
    if len(argv) != 5 or argv[2].lower() != b"filterby":
        raise CommandError("ERR syntax error")
    kind, wanted = argv[3].lower(), argv[4]
    if kind == b"module":
        return []
    if kind == b"aclcat":
        category = wanted.decode("latin-1")
        return [spec.full_name for spec in every if category in spec.categories]
    if kind == b"pattern":
        matches = compile_glob(wanted, True).match
        return [spec.full_name for spec in every if matches(spec.full_name)]
    raise CommandError("ERR syntax error")


# -- COMMAND DOCS --------------------------------------------------------------------------------------------------


def document(spec: CommandSpec) -> dict[bytes, Any]:
    """The documentation of a command, as far as it is declared."""
    docs: dict[bytes, Any] = {
        b"summary": spec.summary.encode(),
        b"since": spec.since.encode(),
        b"group": spec.group.replace("_", "-").encode(),
    }
    if spec.complexity:
        docs[b"complexity"] = spec.complexity.encode()
    if spec.deprecated_since is not None:
        docs[b"doc_flags"] = OrderedSet([Status(b"deprecated")])
        docs[b"deprecated_since"] = spec.deprecated_since.encode()
        docs[b"replaced_by"] = (spec.replaced_by or "").encode()
    if spec.history:
        docs[b"history"] = [[since.encode(), change.encode()] for since, change in spec.history]
    if spec.syntax:
        docs[b"arguments"] = describe_arguments(parse(spec.syntax), len(spec.key_specs))
    if spec.subcommands:
        docs[b"subcommands"] = {sub.full_name: document(sub) for sub in spec.subcommands.values()}
    return docs


def describe_arguments(arguments: Sequence[Argument], key_specs: int) -> list[dict[bytes, Any]]:
    """The `arguments` of COMMAND DOCS. The keys of a command belong to its key specifications in their order."""
    numbers = itertools.count()

    def described(argument: Argument) -> dict[bytes, Any]:
        found: dict[bytes, Any] = {b"name": argument.name.encode(), b"type": argument.kind.encode()}
        if argument.kind == "key" and key_specs:
            found[b"key_spec_index"] = min(next(numbers), key_specs - 1)
        if argument.token:
            found[b"token"] = argument.token.encode()
        marks = ("optional", "multiple", "multiple_token")
        flags = [Status(mark.encode()) for mark in marks if getattr(argument, mark)]
        if flags:
            found[b"flags"] = OrderedSet(flags)
        if argument.parts:
            found[b"arguments"] = [described(part) for part in argument.parts]
        return found

    return [described(argument) for argument in arguments]


@_declare(
    "docs",
    arity=-2,
    syntax="[command-name [command-name ...]]",
    since="7.0.0",
    complexity="O(N), N the commands named",
    summary="Documents commands, all of them when none is named.",
    tips=_RANDOM_ORDER,
)
def cmd_command_docs(client: NodeClient, argv: list[bytes]) -> Any:
    specs = _visible() if len(argv) == 2 else [spec for name in argv[2:] if (spec := _named(name)) is not None]
    return {spec.full_name: document(spec) for spec in specs}


# -- COMMAND GETKEYS -----------------------------------------------------------------------------------------------


def _keys_of(request: list[bytes]) -> list[tuple[int, tuple[bytes, ...]]]:
    """(index, flags) of the keys of a whole request. Raises CommandError."""
    try:
        spec = registry.find(request)
    except CommandError as error:
        raise CommandError("ERR Invalid command specified") from error
    if not spec.key_specs and spec.find_keys is None:
        raise CommandError("ERR The command has no key arguments")
    if not spec.takes(len(request)):
        raise CommandError("ERR Invalid number of arguments specified for command")
    found = key_flags(spec, request)
    if any(not _count_is_valid(key_spec, request) for key_spec in spec.key_specs):
        raise CommandError("ERR Invalid arguments specified for command")
    if not found:
        if spec.flags & registry.NO_MANDATORY_KEYS:
            return []
        raise CommandError("ERR Invalid arguments specified for command")
    return found


def _count_is_valid(key_spec: KeySpec, request: list[bytes]) -> bool:
    """Whether the number that says how many keys follow is one, and that many follow."""
    kind, count_index, first, step = key_spec.find
    if kind != "keynum" or key_spec.begin[0] != "index":
        return True
    begin = int(key_spec.begin[1])
    count = to_int64(request[begin + count_index]) if begin + count_index < len(request) else None
    return count is not None and count >= 0 and begin + first + (count - 1) * step < len(request)


@_declare(
    "getkeys",
    arity=-4,
    syntax="command arg [arg ...]",
    since="2.8.13",
    complexity="O(N), N the arguments",
    summary="Picks the keys out of a whole request.",
)
def cmd_command_getkeys(client: NodeClient, argv: list[bytes]) -> Any:
    request = argv[2:]
    return [request[index] for index, _ in _keys_of(request)]


@_declare(
    "getkeysandflags",
    arity=-4,
    syntax="command arg [arg ...]",
    since="7.0.0",
    complexity="O(N), N the arguments",
    summary="Picks the keys out of a whole request and says what is done with each.",
)
def cmd_command_getkeysandflags(client: NodeClient, argv: list[bytes]) -> Any:
    request = argv[2:]
    return [[request[index], _flag_words(flags)] for index, flags in _keys_of(request)]


@_declare("help", arity=2, since="5.0.0", complexity="O(1)", summary="Explains the subcommands.")
def cmd_command_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"COMMAND",
        (
            ("(no subcommand)", "Describe every command."),
            ("COUNT", "Count the commands of this server."),
            ("LIST", "List the names of the commands of this server."),
            ("INFO [<command-name> ...]", "Describe the named commands, or every command."),
            ("DOCS [<command-name> ...]", "Document the named commands, or every command."),
            ("GETKEYS <full-command>", "Pick the keys out of a request."),
            ("GETKEYSANDFLAGS <full-command>", "Pick the keys out of a request, with what is done with each."),
        ),
    )
