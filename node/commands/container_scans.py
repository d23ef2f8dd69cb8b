"""HSCAN, SSCAN and ZSCAN: walks over one container. Small ones, in stock's compact encodings, come in one answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.commands.scan import ScanOptions, parse_cursor
from slotmesh.node.keyspace.field_expiry import read_hash
from slotmesh.node.keyspace.scan import scan_mapping
from slotmesh.node.resp.encoder import format_double
from slotmesh.node.spec.key_specs import KEY_READ
from slotmesh.node.spec.registry import READONLY, command
from slotmesh.node.types.set import HASHTABLE, SetValue
from slotmesh.node.types.sorted_set import SortedSetValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_COMPLEXITY: Final = "O(COUNT) per call"
_TIPS: Final = (b"nondeterministic_output",)
_INT64_LIMIT: Final = 2.0**63
_NOTHING: Final = (b"0", ())


def _page(names: Collection[bytes], whole: bool, cursor: int, options: ScanOptions) -> tuple[bytes, list[bytes]]:
    """The next cursor and the names of one page; all names at once if `whole`."""
    if whole:
        next_cursor, found = 0, list(names)
    else:
        next_cursor, found = scan_mapping(names, cursor, options.count)
    if options.fits is not None:
        fits = options.fits
        found = [name for name in found if fits(name)]
    return b"%d" % next_cursor, found


@command(
    "hscan",
    arity=-3,
    syntax="key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
    flags=READONLY,
    keys=KEY_READ,
    group="hash",
    since="2.8.0",
    complexity=_COMPLEXITY,
    summary="Lists the fields of a hash page by page.",
    tips=_TIPS,
)
def cmd_hscan(client: NodeClient, argv: list[bytes]) -> Any:
    cursor = parse_cursor(argv[2])
    value = read_hash(client.db, argv[1])
    if value is None:
        return _NOTHING
    options = ScanOptions(argv[3:], bare_word=b"NOVALUES")
    next_cursor, names = _page(value.fields, value.packed, cursor, options)
    if options.bare:
        return next_cursor, names
    fields = value.fields
    return next_cursor, [part for name in names for part in (name, fields[name])]


@command(
    "sscan",
    arity=-3,
    syntax="key cursor [MATCH pattern] [COUNT count]",
    flags=READONLY,
    keys=KEY_READ,
    group="set",
    since="2.8.0",
    complexity=_COMPLEXITY,
    summary="Lists the members of a set page by page.",
    tips=_TIPS,
)
def cmd_sscan(client: NodeClient, argv: list[bytes]) -> Any:
    cursor = parse_cursor(argv[2])
    value = client.db.read_as(argv[1], SetValue)
    if value is None:
        return _NOTHING
    options = ScanOptions(argv[3:])
    if value.form != HASHTABLE:
        return _page(value.listed(), True, cursor, options)
    return _page(value.members, False, cursor, options)


@command(
    "zscan",
    arity=-3,
    syntax="key cursor [MATCH pattern] [COUNT count]",
    flags=READONLY,
    keys=KEY_READ,
    group="sorted_set",
    since="2.8.0",
    complexity=_COMPLEXITY,
    summary="Lists the members of a sorted set and their scores page by page.",
    tips=_TIPS,
)
def cmd_zscan(client: NodeClient, argv: list[bytes]) -> Any:
    """Scores are bulk strings in RESP3 too, as in stock."""
    cursor = parse_cursor(argv[2])
    value = client.db.read_as(argv[1], SortedSetValue)
    if value is None:
        return _NOTHING
    options = ScanOptions(argv[3:], bare_word=b"NOSCORES")
    if value.packed:
        next_cursor, names = _page([member for _, member in value], True, cursor, options)
    else:
        next_cursor, names = _page(value.scores, False, cursor, options)
    if options.bare:
        return next_cursor, names
    scores, text = value.scores, _packed_text if value.packed else format_double
    return next_cursor, [part for name in names for part in (name, text(scores[name]))]


def _packed_text(score: float) -> bytes:
    """A score as a listpack holds it: whole numbers are integers there, however large."""
    return b"%d" % score if score.is_integer() and abs(score) < _INT64_LIMIT else format_double(score)
