"""The ID of a new entry of a stream: what XADD's argument asks for, and what it comes to. No command lives here."""

from __future__ import annotations

from typing import Final

from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.stream_args import BAD_ID, strict_id
from slotmesh.node.types.stream_id import MAX_ID, U64_MAX, parse_u64

#: What XADD's ID argument may be: `*`, `ms-*`, or an ID.
AUTO: Final = 0
AUTO_SEQ: Final = 1
EXPLICIT: Final = 2

_EXHAUSTED: Final = ErrorReply("ERR The stream has exhausted the last possible ID, unable to add more items")
_ID_TOO_SMALL: Final = ErrorReply("ERR The ID specified in XADD is equal or smaller than the target stream top item")


def parse_new_id(text: bytes) -> tuple[int, int]:
    """(kind, ID) of XADD's ID argument."""
    if text == b"*":
        return AUTO, 0
    if text[-2:] == b"-*":
        ms = parse_u64(text[:-2])
        if ms is None:
            raise CommandError(BAD_ID)
        return AUTO_SEQ, ms << 64
    return EXPLICIT, strict_id(text)


class _Millisecond:
    """The millisecond in which entries were added last: its first ID, and the text that its IDs start with."""

    __slots__ = ("first_id", "ms", "prefix")

    def __init__(self) -> None:
        self.ms = self.first_id = 0
        self.prefix = b"0-"

    def move(self, ms: int) -> None:
        """It is another one now."""
        self.ms = ms
        self.first_id = ms << 64
        self.prefix = b"%d-" % ms


NOW: Final = _Millisecond()


def next_id(last_id: int, kind: int, wanted: int) -> int:
    """The ID of the next entry where it is not the first one of its millisecond by the clock. Raises CommandError when
    `wanted` would not rise, or nothing could.
    """
    if last_id == MAX_ID:
        raise CommandError(_EXHAUSTED)
    if kind == AUTO:
        return last_id + 1  # even when the clock steps back
    if kind == AUTO_SEQ and last_id >> 64 == wanted >> 64:
        if last_id & U64_MAX == U64_MAX:
            raise CommandError(_ID_TOO_SMALL)
        return last_id + 1
    if wanted <= last_id:
        raise CommandError(_ID_TOO_SMALL)
    return wanted
