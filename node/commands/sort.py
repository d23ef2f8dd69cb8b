"""SORT and SORT_RO.

BY and GET name other keys by a pattern in which `*` stands for an element, `key->field` reaches into hashes and `#` is
the element itself. In a cluster such keys may live anywhere, so both are refused there, as in stock.
"""

from __future__ import annotations

from typing import Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.client import GATE_ACL
from slotmesh.node.keyspace.field_expiry import read_hash
from slotmesh.node.keyspace.notify import GENERIC, LIST
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.arguments import integer, to_float
from slotmesh.node.spec.key_specs import KeySpec, key_at, keys_unknown
from slotmesh.node.spec.registry import DENYOOM, READONLY, WRITE, command
from slotmesh.node.types.hash import HashValue
from slotmesh.node.types.list import ListValue
from slotmesh.node.types.set import SetValue
from slotmesh.node.types.sorted_set import SortedSetValue

_CATEGORIES: Final = ("-keyspace", "set", "sortedset", "list", "dangerous")
_SOURCE: Final[tuple[KeySpec, ...]] = key_at(b"RO", b"ACCESS") + keys_unknown(b"RO", b"ACCESS")  # BY and GET
_TARGET: Final[tuple[KeySpec, ...]] = keys_unknown(b"OW", b"UPDATE")  # STORE may stand anywhere
_SPACE: Final = b" \t\n\v\f\r"
_NOT_A_SCORE: Final = ErrorReply("ERR One or more scores can't be converted into double")


class _Request:
    """The parsed arguments."""

    __slots__ = ("alpha", "by", "count", "descending", "gets", "sorts", "start", "store")

    def __init__(self, client: NodeClient, argv: list[bytes], *, may_store: bool) -> None:
        self.descending = self.alpha = False
        self.start, self.count = 0, -1
        self.by: bytes | None = None
        self.sorts = True
        self.gets: list[bytes] = []
        self.store: bytes | None = None
        i = 2
        while i < len(argv):
            word, left = argv[i].upper(), len(argv) - i - 1
            if word == b"ASC":
                self.descending = False
            elif word == b"DESC":
                self.descending = True
            elif word == b"ALPHA":
                self.alpha = True
            elif word == b"LIMIT" and left >= 2:
                self.start, self.count = integer(argv[i + 1]), integer(argv[i + 2])
                i += 2
            elif word == b"STORE" and left and may_store:
                i += 1
                self.store = argv[i]
            elif word == b"BY" and left:
                i += 1
                self.by = argv[i]
                if b"*" in argv[i]:
                    _check_patterns_allowed(client, "BY")
                else:
                    self.sorts = False
            elif word == b"GET" and left:
                i += 1
                _check_patterns_allowed(client, "GET")
                self.gets.append(argv[i])
            else:
                raise CommandError(errors.SYNTAX)
            i += 1

    def limits(self, size: int) -> tuple[int, int]:
        """The half-open range of the sorted elements that LIMIT selects."""
        start = min(max(self.start, 0), size)
        return start, size if self.count < 0 else min(start + self.count, size)


def _check_patterns_allowed(client: NodeClient, option: str) -> None:
    """Patterns reach keys that neither routing nor the ACL has seen."""
    if client.db.keyspace.clustered:
        raise CommandError(f"ERR {option} option of SORT denied in Cluster mode.")
    if client.gates & GATE_ACL and not client.user.reads_all_keys():
        raise CommandError(f"ERR {option} option of SORT denied due to insufficient ACL permissions.")


def _look_up(client: NodeClient, pattern: bytes, element: bytes) -> bytes | bytearray | None:
    """The value that a pattern names for an element."""
    if pattern == b"#":
        return element
    star = pattern.find(b"*")
    if star < 0:
        return None
    arrow = pattern.find(b"->", star + 1)
    field = pattern[arrow + 2 :] if arrow >= 0 else b""
    rest = pattern[star + 1 : arrow] if field else pattern[star + 1 :]
    key = pattern[:star] + element + rest
    if field:
        holder = client.db.read(key)
        if type(holder) is HashValue and holder.ttls is not None:
            holder = read_hash(client.db, key)
        return holder.fields.get(field) if type(holder) is HashValue else None
    value = client.db.read(key)
    return value if type(value) is bytes or type(value) is bytearray else None


def _score(text: bytes | bytearray) -> float:
    """A number as C's strtod reads it: blanks before it are fine, and nothing at all is zero."""
    text = text.split(b"\0", 1)[0].lstrip(_SPACE)
    if not text:
        return 0.0
    value = to_float(text)
    if value is None:
        raise CommandError(_NOT_A_SCORE)
    return value


def _sort(client: NodeClient, request: _Request, elements: list[bytes]) -> None:
    """Sort in place. Without ALPHA equal numbers are ordered by the elements' bytes; absent weights come first."""
    by = request.by
    if request.alpha:
        if by is None:
            elements.sort(reverse=request.descending)
            return
        words = {element: _look_up(client, by, element) for element in elements}
        elements.sort(
            key=lambda element: (words[element] is not None, bytes(words[element] or b"")), reverse=request.descending
        )
        return
    scores: dict[bytes, float] = {}
    for element in elements:
        weight = element if by is None else _look_up(client, by, element)
        scores[element] = 0.0 if weight is None else _score(weight)
    elements.sort(key=lambda element: (scores[element], element), reverse=request.descending)


def _elements(client: NodeClient, request: _Request, key: bytes) -> list[bytes]:
    """All elements of the key, in their own order; what does not sort is turned round by DESC here."""
    value = client.db.read(key)
    if value is None:
        return []
    if type(value) is SetValue:
        if not request.sorts and (request.store is not None or client.sock is None):
            # Replicas and replays must come to the same list.
            request.sorts, request.alpha, request.by = True, True, None
        return value.listed()
    if type(value) is ListValue:
        elements = list(value)
    elif type(value) is SortedSetValue:
        elements = [member for _, member in value]
        value.packed = False  # stock sorts no listpack, and leaves a skiplist behind
    else:
        raise CommandError(errors.WRONG_TYPE)
    if request.descending and not request.sorts:
        elements.reverse()
    return elements


def _run(client: NodeClient, argv: list[bytes], *, may_store: bool) -> Any:
    request = _Request(client, argv, may_store=may_store)
    elements = _elements(client, request, argv[1])
    if request.sorts:
        _sort(client, request, elements)
    start, stop = request.limits(len(elements))
    result: list[Any] = elements[start:stop]
    if request.gets:
        result = [_look_up(client, pattern, element) for element in result for pattern in request.gets]
    if request.store is None:
        return [bytes(item) if type(item) is bytearray else item for item in result]
    return _store(client, request.store, [bytes(item or b"") for item in result])


def _store(client: NodeClient, key: bytes, items: list[bytes]) -> int:
    db = client.db
    if items:
        db.set(key, ListValue(items))
        db.changed(key, LIST, b"sortstore", len(items))
    elif db.delete(key):
        db.changed(key, GENERIC, b"del")
    return len(items)


def _find_keys(argv: list[bytes]) -> list[int]:
    """The sorted key and the last STORE's."""
    store = 0
    i = 2
    while i < len(argv):
        word = argv[i].upper()
        if word == b"LIMIT":
            i += 2
        elif word in (b"GET", b"BY"):
            i += 1
        elif word == b"STORE" and i + 1 < len(argv):
            i += 1
            store = i
        i += 1
    return [1, store] if store else [1]


def _find_source(argv: list[bytes]) -> list[int]:
    return [1]


@command(
    "sort",
    arity=-2,
    syntax=(
        "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]"
    ),
    flags=WRITE | DENYOOM,
    keys=_SOURCE + _TARGET,
    find_keys=_find_keys,
    group="generic",
    since="1.0.0",
    complexity="O(N*log(N)), N the elements; O(N) without sorting",
    summary="Returns or stores the elements of a list, set or sorted set in order.",
    categories=_CATEGORIES,
)
def cmd_sort(client: NodeClient, argv: list[bytes]) -> Any:
    return _run(client, argv, may_store=True)


@command(
    "sort_ro",
    arity=-2,
    syntax="key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]",
    flags=READONLY,
    keys=_SOURCE,
    find_keys=_find_source,
    group="generic",
    since="7.0.0",
    complexity="O(N*log(N)), N the elements; O(N) without sorting",
    summary="Returns the elements of a list, set or sorted set in order.",
    categories=_CATEGORIES,
)
def cmd_sort_ro(client: NodeClient, argv: list[bytes]) -> Any:
    return _run(client, argv, may_store=False)
