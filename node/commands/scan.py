"""SCAN, and the arguments that it shares with HSCAN, SSCAN and ZSCAN."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from slotmesh.cluster.numbers import UINT64_MAX, to_uint
from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.base.glob import compile_glob
from slotmesh.node.commands.cluster_args import slot_number
from slotmesh.node.commands.generic import type_word
from slotmesh.node.keyspace.scan import scan_keys
from slotmesh.node.spec.arguments import INT64_MAX, integer
from slotmesh.node.spec.registry import READONLY, command

if TYPE_CHECKING:
    from slotmesh.node.keyspace.database import Database
    from slotmesh.node.server import NodeClient

_CURSOR: Final = re.compile(rb"[+-]?[0-9]+")
_BAD_CURSOR: Final = ErrorReply("ERR invalid cursor")
_SECOND_SLOT: Final = ErrorReply("ERR SLOT option can only be specified once")
_DEFAULT_COUNT: Final = 10
_TYPES: Final = (b"string", b"list", b"set", b"zset", b"hash", b"stream")


def parse_cursor(text: bytes) -> int:
    """A cursor argument: any unsigned 64-bit number, or nothing for 0. Raises CommandError otherwise."""
    text = text.partition(b"\0")[0]  # for C it ends here
    if not text:
        return 0
    if _CURSOR.fullmatch(text) is None or len(text) > 24:
        raise CommandError(_BAD_CURSOR)
    value = to_uint(text.lstrip(b"+-").lstrip(b"0") or b"0", UINT64_MAX)
    if value is None:
        raise CommandError(_BAD_CURSOR)
    return -value & UINT64_MAX if text[:1] == b"-" else value


class ScanOptions:
    """COUNT, MATCH, TYPE and SLOT where they are allowed. `fits` is None when every name does; `bare`: no values."""

    __slots__ = ("bare", "count", "fits", "kind", "pattern", "slot")

    def __init__(
        self, words: list[bytes], *, with_type: bool = False, for_cluster: bool = False, bare_word: bytes = b""
    ) -> None:
        """Parse the options; `bare_word` is how this command spells "no values". Raises CommandError."""
        self.count = _DEFAULT_COUNT
        self.fits: Any = None
        self.kind: bytes | None = None
        self.pattern: bytes | None = None
        self.slot: int | None = None
        self.bare = False
        i = 0
        while i < len(words):
            word = words[i].upper()
            if bare_word and word == bare_word:
                self.bare = True
                i += 1
                continue
            if i + 1 == len(words):
                raise CommandError(errors.SYNTAX)
            value = words[i + 1]
            if word == b"COUNT":
                self.count = integer(value)
                if not 1 <= self.count <= INT64_MAX:
                    raise CommandError(errors.SYNTAX)
            elif word == b"MATCH":
                self.pattern = value
                self.fits = None if value == b"*" else compile_glob(value).fits
            elif word == b"TYPE" and (with_type or for_cluster):
                self.kind = value.lower()
                if (COMPAT.newer or for_cluster) and self.kind not in _TYPES:
                    raise CommandError(b"ERR unknown type name '%b'" % value)
            elif word == b"SLOT" and for_cluster:
                if self.slot is not None:
                    raise CommandError(_SECOND_SLOT)
                self.slot = slot_number(value)
            else:
                raise CommandError(errors.SYNTAX)
            i += 2


def shown(db: Database, keys: list[bytes], options: ScanOptions, *, strict: bool) -> list[bytes]:
    """The keys of a page that the client wants to see. `strict`: an expired key of another type is left alone."""
    if options.fits is not None:
        fits = options.fits
        keys = [key for key in keys if fits(key)]
    kind = options.kind
    if kind is not None and strict:
        keys = [key for key in keys if type_word(db.stored(key)) == kind]
    if db.expires.count:
        keys = [key for key in keys if not db.expire_if_past(key)]
    if kind is not None and not strict:
        keys = [key for key in keys if type_word(db.peek(key)) == kind]
    return keys


@command(
    "scan",
    arity=-2,
    syntax="cursor [MATCH pattern] [COUNT count] [TYPE type]",
    flags=READONLY,
    group="generic",
    since="2.8.0",
    complexity="O(COUNT) per call",
    summary="Lists keys page by page; a key that is there all the time is listed at least once.",
    tips=(b"nondeterministic_output", b"request_policy:special"),
)
def cmd_scan(client: NodeClient, argv: list[bytes]) -> Any:
    cursor = parse_cursor(argv[1])
    options = ScanOptions(argv[2:], with_type=True)
    next_cursor, keys = scan_keys(client.db, cursor, options.count)
    return [b"%d" % next_cursor, shown(client.db, keys, options, strict=COMPAT.newer)]
