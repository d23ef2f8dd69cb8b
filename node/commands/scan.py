"""SCAN, and the arguments that it shares with HSCAN, SSCAN and ZSCAN."""

from __future__ import annotations

import re
from typing import Any, Final

from node import errors
from node.arguments import INT64_MAX, integer
from node.client import Client
from node.commands.generic import type_word
from node.compat import COMPAT
from node.errors import CommandError
from node.glob import compile_glob
from node.keyspace.scan import scan_keys
from node.registry import READONLY, command

_CURSOR: Final = re.compile(rb"[+-]?[0-9]+")
_BAD_CURSOR: Final = CommandError("ERR invalid cursor")
_DEFAULT_COUNT: Final = 10
_TYPES: Final = (b"string", b"list", b"set", b"zset", b"hash", b"stream")


def parse_cursor(text: bytes) -> int:
    """A cursor argument: any unsigned 64-bit number, or nothing for 0. Raises CommandError otherwise."""
    if not text:
        return 0
    if _CURSOR.fullmatch(text) is None or len(text) > 24:
        raise _BAD_CURSOR
    value = int(text)
    if abs(value) >= 1 << 64:
        raise _BAD_CURSOR
    return value % (1 << 64)


class ScanOptions:
    """COUNT, MATCH, and TYPE where it is allowed. `fits` is None when every name does; `bare`: names without values."""

    __slots__ = ("bare", "count", "fits", "kind")

    def __init__(self, words: list[bytes], *, with_type: bool = False, bare_word: bytes = b"") -> None:
        """Parse the options; `bare_word` is how this command spells "no values". Raises CommandError."""
        self.count = _DEFAULT_COUNT
        self.fits: Any = None
        self.kind: bytes | None = None
        self.bare = False
        i = 0
        while i < len(words):
            word = words[i].upper()
            if word == bare_word:
                self.bare = True
                i += 1
                continue
            if i + 1 == len(words):
                raise errors.SYNTAX
            value = words[i + 1]
            if word == b"COUNT":
                self.count = integer(value)
                if not 1 <= self.count <= INT64_MAX:
                    raise errors.SYNTAX
            elif word == b"MATCH":
                self.fits = None if value == b"*" else compile_glob(value).fits
            elif word == b"TYPE" and with_type:
                self.kind = value.lower()
                if COMPAT.newer and self.kind not in _TYPES:
                    raise CommandError(b"ERR unknown type name '%b'" % value)
            else:
                raise errors.SYNTAX
            i += 2


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
def cmd_scan(client: Client, argv: list[bytes]) -> Any:
    cursor = parse_cursor(argv[1])
    options = ScanOptions(argv[2:], with_type=True)
    db = client.db
    next_cursor, keys = scan_keys(db, cursor, options.count)
    if options.fits is not None:
        fits = options.fits
        keys = [key for key in keys if fits(key)]
    kind = options.kind
    if kind is not None and COMPAT.newer:  # first: an expired key of another type is left alone
        keys = [key for key in keys if type_word(db.stored(key)) == kind]
    if db.expires.at:
        keys = [key for key in keys if not db.expire_if_past(key)]
    if kind is not None and not COMPAT.newer:
        keys = [key for key in keys if type_word(db.peek(key)) == kind]
    return [b"%d" % next_cursor, keys]
