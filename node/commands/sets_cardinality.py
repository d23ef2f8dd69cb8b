"""SUNIONCARD and SDIFFCARD: how large a union or a difference is (Redis 8.10). SINTERCARD is in `sets_algebra.py`.

Nothing is built: the members that count run through a chain of lazy filters in C, which keeps nothing and stops at the
limit. That is why APPROX, with which the vendor estimates a union by a HyperLogLog to save memory, is read and changes
nothing here: the exact count takes no memory either, and hashing every member would be slower.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import filterfalse, islice
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.spec.arguments import INT64_MAX, integer_between
from slotmesh.node.spec.key_specs import keys_counted
from slotmesh.node.spec.registry import READONLY, command
from slotmesh.node.types.set import SetValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_NUMKEYS: Final = ErrorReply("ERR numkeys should be greater than 0")
_TOO_MANY_KEYS: Final = ErrorReply("ERR Number of keys can't be greater than number of args")
_LIMIT_NEGATIVE: Final = ErrorReply("ERR LIMIT can't be negative")


def _parse(client: NodeClient, argv: list[bytes], with_approx: bool) -> tuple[list[SetValue | None], int | None]:
    """(the sets, the limit or None) of `numkeys key... [APPROX] [LIMIT n]`. Raises CommandError."""
    numkeys = integer_between(argv[1], 1, INT64_MAX, _NUMKEYS)
    if numkeys > len(argv) - 2:
        raise CommandError(_TOO_MANY_KEYS)
    limit, approx, at = 0, False, 2 + numkeys
    while at < len(argv):
        word = argv[at].upper()
        if word == b"APPROX" and with_approx and not approx:
            approx = True
            at += 1
        elif word == b"LIMIT" and at + 1 < len(argv):
            limit = integer_between(argv[at + 1], 0, INT64_MAX, _LIMIT_NEGATIVE)
            at += 2
        else:
            raise CommandError(errors.SYNTAX)
    read_as = client.db.read_as
    return [read_as(key, SetValue) for key in argv[2 : 2 + numkeys]], limit or None


def _count_new(members: Iterable[bytes], known: Sequence[set[bytes]], limit: int | None) -> int:
    """How many of `members` are in none of the `known` sets; no more than `limit`."""
    left = iter(members)
    for others in known:
        left = filterfalse(others.__contains__, left)
    return sum(1 for _ in islice(left, limit))


@command(
    "sunioncard",
    arity=-3,
    syntax="numkeys key [key ...] [APPROX] [LIMIT limit]",
    flags=READONLY,
    keys=keys_counted(b"RO", b"ACCESS"),
    group="set",
    since="8.10.0",
    complexity="O(N), N the number of members in all sets",
    summary="Returns how many members all sets have together, up to a limit.",
)
def cmd_sunioncard(client: NodeClient, argv: list[bytes]) -> Any:
    sets, limit = _parse(client, argv, True)
    found = sorted((value.members for value in sets if value is not None), key=len, reverse=True)
    total = 0
    for i, members in enumerate(found):
        total += _count_new(members, found[:i], None if limit is None else limit - total) if i else len(members)
        if limit is not None and total >= limit:
            return limit
    return total


@command(
    "sdiffcard",
    arity=-3,
    syntax="numkeys key [key ...] [LIMIT limit]",
    flags=READONLY,
    keys=keys_counted(b"RO", b"ACCESS"),
    group="set",
    since="8.10.0",
    complexity="O(N*M), N the size of the first set, M the number of sets",
    summary="Returns how many members of the first set no other set has, up to a limit.",
)
def cmd_sdiffcard(client: NodeClient, argv: list[bytes]) -> Any:
    (first, *others), limit = _parse(client, argv, False)
    if first is None:
        return 0
    known = sorted((value.members for value in others if value is not None), key=len, reverse=True)
    return _count_new(first.members, known, limit)
