"""LMOVEM and BLMOVEM: moving several elements at once between the ends of lists (Redis 8.10).

The moved elements are one block in either order of moving. BULK keeps the order that they have in the source. OBO (one
by one) turns the block around if it leaves and enters at ends of the same name, and comes to the same as BULK if not;
that is also what the vendor documents for a list that is moved within itself, where moving truly one by one would be no
change at all.

AOF and replicas get pops and pushes. A list that is moved within itself as a whole is pushed first and popped then, so
that it never goes away there, and its expiry with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.block import Block
from slotmesh.node.commands.lists_move import KEYS_MOVE, is_left, source_list
from slotmesh.node.keyspace.notify import LIST
from slotmesh.node.resp.values import NULL_ARRAY
from slotmesh.node.spec.arguments import INT64_MAX, integer_between, timeout_ms
from slotmesh.node.spec.registry import BLOCKING, DENYOOM, WRITE, command
from slotmesh.node.types.list import ListValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_HOW_MANY: Final = "[<COUNT count | EXACTLY exactly(integer)> <OBO | BULK>]"
_NOT_POSITIVE: Final = ErrorReply("ERR count should be greater than 0")


class _Request:
    """What to move: from and to which end, how many at most or exactly, and in which order."""

    __slots__ = ("count", "exactly", "from_left", "source", "target", "to_left", "turned")

    def __init__(self, argv: list[bytes], options_at: int) -> None:
        """Parse; the options about the number begin at `options_at`. Raises CommandError."""
        self.source, self.target = argv[1], argv[2]
        self.from_left, self.to_left = is_left(argv[3]), is_left(argv[4])
        self.count, self.exactly, self.turned = 1, False, False
        words = argv[options_at:]
        if not words:
            return
        if len(words) != 3:
            raise CommandError(errors.SYNTAX)
        selector, order = words[0].upper(), words[2].upper()
        if selector not in (b"COUNT", b"EXACTLY") or order not in (b"OBO", b"BULK"):
            raise CommandError(errors.SYNTAX)
        self.count = integer_between(words[1], 1, INT64_MAX, _NOT_POSITIVE)
        self.exactly = selector == b"EXACTLY"
        self.turned = order == b"OBO" and self.from_left == self.to_left


def _move(client: NodeClient, request: _Request) -> list[bytes] | None:
    """Move; the moved elements as they stand in the target now, None when there are too few. Raises WRONGTYPE."""
    db, source, target = client.db, request.source, request.target
    value = source_list(client, source)
    if value is None or (request.exactly and len(value) < request.count):
        return None
    other = db.write_as(target, ListValue)
    whole = other is value and len(value) <= request.count
    block = value.pop_left(request.count) if request.from_left else value.pop_right(request.count)[::-1]
    if request.turned:
        block.reverse()
    if other is None:
        other = ListValue()
        db.put(target, other)
    if request.to_left:
        other.push_left(block[::-1])
    else:
        other.push_right(block)
    count = b"%d" % len(block)
    pop = [b"LPOP" if request.from_left else b"RPOP", source, count]
    push = [b"LPUSH", target, *reversed(block)] if request.to_left else [b"RPUSH", target, *block]
    db.changed(target, LIST, b"lpush" if request.to_left else b"rpush", 0)
    db.changed(source, LIST, b"lpop" if request.from_left else b"rpop", len(block))
    db.drop_if_empty(source, value)
    client.propagate_as(*([[b"RPUSH", target, *block], [b"LPOP", source, count]] if whole else [pop, push]))
    return block


@command(
    "lmovem",
    arity=-5,
    syntax=f"source destination <LEFT | RIGHT> <LEFT | RIGHT> {_HOW_MANY}",
    flags=WRITE | DENYOOM,
    keys=KEYS_MOVE,
    group="list",
    since="8.10.0",
    complexity="O(N), N the number of elements moved",
    summary="Moves elements from an end of one list to an end of another.",
)
def cmd_lmovem(client: NodeClient, argv: list[bytes]) -> Any:
    request = _Request(argv, 5)
    moved = _move(client, request)
    if moved is None:
        return NULL_ARRAY if request.exactly else []
    return moved


@command(
    "blmovem",
    arity=-6,
    syntax=f"source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout(double) {_HOW_MANY}",
    flags=WRITE | DENYOOM | BLOCKING,
    keys=KEYS_MOVE,
    group="list",
    since="8.10.0",
    complexity="O(N), N the number of elements moved",
    summary="Moves elements from one list to another, as soon as there are any, or as many as are wanted.",
)
def cmd_blmovem(client: NodeClient, argv: list[bytes]) -> Any:
    request = _Request(argv, 6)
    wait_ms = timeout_ms(argv[5])
    moved = _move(client, request)
    return Block([request.source], wait_ms) if moved is None else moved
