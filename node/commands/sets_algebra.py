"""Unions, intersections and differences of sets. A missing key is an empty set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.keyspace.notify import SET
from slotmesh.node.keyspace.results import store_result
from slotmesh.node.resp.values import OrderedSet
from slotmesh.node.spec.arguments import INT64_MAX, integer_between
from slotmesh.node.spec.key_specs import KeySpec, key_at, keys_counted, keys_from
from slotmesh.node.spec.registry import DENYOOM, READONLY, WRITE, command
from slotmesh.node.types.set import SetValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_KEYS_READ: Final = keys_from(b"RO", b"ACCESS")
_KEYS_SOURCES: Final = keys_from(b"RO", b"ACCESS", first=2)
_KEYS_STORE: Final[tuple[KeySpec, ...]] = key_at(b"OW", b"UPDATE") + _KEYS_SOURCES
#: SINTERSTORE overwrites like the others, but stock declares it as RW.
_KEYS_STORE_INTER: Final[tuple[KeySpec, ...]] = key_at(b"RW", b"UPDATE") + _KEYS_SOURCES
_ANY_ORDER: Final = (b"nondeterministic_output_order",)
_NUMKEYS: Final = ErrorReply("ERR numkeys should be greater than 0")
_TOO_MANY_KEYS: Final = ErrorReply("ERR Number of keys can't be greater than number of args")
_LIMIT_NEGATIVE: Final = ErrorReply("ERR LIMIT can't be negative")


def _sources(client: NodeClient, keys: list[bytes]) -> list[SetValue | None]:
    read_as = client.db.read_as
    return [read_as(key, SetValue) for key in keys]


def _inter(client: NodeClient, keys: list[bytes]) -> set[bytes]:
    sets = _sources(client, keys)
    members = [value.members for value in sets if value is not None]
    if len(members) < len(sets):
        return set()
    members.sort(key=len)
    return members[0].intersection(*members[1:])


def _union(client: NodeClient, keys: list[bytes]) -> set[bytes]:
    return set().union(*(value.members for value in _sources(client, keys) if value is not None))


def _diff(client: NodeClient, keys: list[bytes]) -> tuple[set[bytes], bool]:
    """The members of the first set that no other one has, and whether stock would have kept that set's encoding.

    Stock either collects what remains, or copies the first set and removes from the copy, whichever means less work; a
    copy keeps its encoding even if all that remains would fit a smaller one.
    """
    first, *others = _sources(client, keys)
    if first is None:
        return set(), False
    if any(value is first for value in others):
        return set(), False
    sizes = [len(value) for value in others if value is not None]
    copies = len(first) * (len(sizes) + 1) // 2 > len(first) + sum(sizes)
    return first.members.difference(*(value.members for value in others if value is not None)), copies


@command(
    "sinter",
    arity=-2,
    syntax="key [key ...]",
    flags=READONLY,
    keys=_KEYS_READ,
    group="set",
    since="1.0.0",
    complexity="O(N*M), N the size of the smallest set, M the number of sets",
    summary="Returns the members that all sets share.",
    tips=_ANY_ORDER,
)
def cmd_sinter(client: NodeClient, argv: list[bytes]) -> Any:
    return OrderedSet(list(_inter(client, argv[1:])))


@command(
    "sunion",
    arity=-2,
    syntax="key [key ...]",
    flags=READONLY,
    keys=_KEYS_READ,
    group="set",
    since="1.0.0",
    complexity="O(N), N the number of members in all sets",
    summary="Returns the members of all sets.",
    tips=_ANY_ORDER,
)
def cmd_sunion(client: NodeClient, argv: list[bytes]) -> Any:
    return OrderedSet(list(_union(client, argv[1:])))


@command(
    "sdiff",
    arity=-2,
    syntax="key [key ...]",
    flags=READONLY,
    keys=_KEYS_READ,
    group="set",
    since="1.0.0",
    complexity="O(N), N the number of members in all sets",
    summary="Returns the members of the first set that no other set has.",
    tips=_ANY_ORDER,
)
def cmd_sdiff(client: NodeClient, argv: list[bytes]) -> Any:
    return OrderedSet(list(_diff(client, argv[1:])[0]))


@command(
    "sinterstore",
    arity=-3,
    syntax="destination key [key ...]",
    flags=WRITE | DENYOOM,
    keys=_KEYS_STORE_INTER,
    group="set",
    since="1.0.0",
    complexity="O(N*M), N the size of the smallest set, M the number of sets",
    summary="Stores the members that all sets share.",
)
def cmd_sinterstore(client: NodeClient, argv: list[bytes]) -> Any:
    return store_result(client.db, argv[1], SetValue(_inter(client, argv[2:])), SET, b"sinterstore")


@command(
    "sunionstore",
    arity=-3,
    syntax="destination key [key ...]",
    flags=WRITE | DENYOOM,
    keys=_KEYS_STORE,
    group="set",
    since="1.0.0",
    complexity="O(N), N the number of members in all sets",
    summary="Stores the members of all sets.",
)
def cmd_sunionstore(client: NodeClient, argv: list[bytes]) -> Any:
    return store_result(client.db, argv[1], SetValue(_union(client, argv[2:])), SET, b"sunionstore")


@command(
    "sdiffstore",
    arity=-3,
    syntax="destination key [key ...]",
    flags=WRITE | DENYOOM,
    keys=_KEYS_STORE,
    group="set",
    since="1.0.0",
    complexity="O(N), N the number of members in all sets",
    summary="Stores the members of the first set that no other set has.",
)
def cmd_sdiffstore(client: NodeClient, argv: list[bytes]) -> Any:
    members, copied = _diff(client, argv[2:])
    value = SetValue(members)
    if copied:
        first = client.db.peek(argv[2])
        value.form = first.form
    return store_result(client.db, argv[1], value, SET, b"sdiffstore")


@command(
    "sintercard",
    arity=-3,
    syntax="numkeys key [key ...] [LIMIT limit]",
    flags=READONLY,
    keys=keys_counted(b"RO", b"ACCESS"),
    group="set",
    since="7.0.0",
    complexity="O(N*M), N the size of the smallest set, M the number of sets",
    summary="Returns how many members all sets share, up to a limit.",
)
def cmd_sintercard(client: NodeClient, argv: list[bytes]) -> Any:
    numkeys = integer_between(argv[1], 1, INT64_MAX, _NUMKEYS)
    if numkeys > len(argv) - 2:
        raise CommandError(_TOO_MANY_KEYS)
    limit = 0
    for i in range(2 + numkeys, len(argv), 2):
        if argv[i].lower() != b"limit" or i + 1 >= len(argv):
            raise CommandError(errors.SYNTAX)
        limit = integer_between(argv[i + 1], 0, INT64_MAX, _LIMIT_NEGATIVE)
    sets = _sources(client, argv[2 : 2 + numkeys])
    members = [value.members for value in sets if value is not None]
    if len(members) < len(sets):
        return 0
    members.sort(key=len)
    smallest, others = members[0], members[1:]
    if not limit:
        return len(smallest.intersection(*others))
    found = 0
    for member in smallest:
        if all(member in other for other in others):
            found += 1
            if found == limit:
                break
    return found
