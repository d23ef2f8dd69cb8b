"""MAXCOUNT and MAXSIZE of XREAD and XREADGROUP: one bound for the reply to all streams together (Redis 8.10).

An entry is asked for before it is delivered, so what is not sent is not pending either. The first entry passes whatever
its size, or a large one could never be read. The size is that of the reply on the wire, as RESP2 frames it.
"""

from __future__ import annotations

from typing import Final

from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.spec.arguments import INT64_MAX, integer_between
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_id import MAX_ID, format_id
from slotmesh.node.types.stream_node import Entry

#: How many entries are fetched at a time while nobody knows how many fit.
_STEP: Final = 64
#: The head of an array: one is around all, two are around an entry, two around a stream.
_ARRAY: Final = len(b"*2\r\n")
_BELOW_COUNT: Final = ErrorReply("ERR MAXCOUNT must be greater than or equal to COUNT")


def positive(name: bytes, text: bytes) -> int:
    """The value of MAXCOUNT or MAXSIZE. Raises CommandError."""
    return integer_between(text, 1, INT64_MAX, ErrorReply(b"ERR %b must be a positive integer" % name))


class Budget:
    """What a reply may still grow by."""

    __slots__ = ("_bytes_left", "_count_left", "_fresh", "full")

    def __init__(self, max_count: int, max_bytes: int, count: int) -> None:
        """0: no bound. `count` is that of each stream. Raises CommandError when it is above `max_count`."""
        if 0 < max_count < count:
            raise CommandError(_BELOW_COUNT)
        self._count_left = max_count or INT64_MAX
        self._bytes_left = (max_bytes or INT64_MAX) - _ARRAY
        self._fresh = True
        #: Whether an entry did not fit: nothing more is to be looked for.
        self.full = False

    def open(self, key: bytes) -> None:
        """What follows belongs to the stream `key`."""
        self._bytes_left -= 2 * _ARRAY + _bulk(len(key))

    def admit(self, entry_id: int, entry: Entry, idle_ms: int = -1, count: int = -1) -> bool:
        """Whether an entry still fits; it counts from now on. `idle_ms`, `count`: what CLAIM tells beside it."""
        size = 2 * _ARRAY + _bulk(len(format_id(entry_id))) + sum(_bulk(len(text)) for text in entry)
        if count >= 0:
            size += len(b":%d\r\n:%d\r\n" % (idle_ms, count))
        if self._count_left == 0 or (size > self._bytes_left and not self._fresh):
            self.full = True
            return False
        self._fresh = False
        self._count_left -= 1
        self._bytes_left -= size
        return True

    def range(self, value: StreamValue, start: int, count: int, claiming: bool = False) -> list[tuple[int, Entry]]:
        """The entries from `start` on that fit, at most `count` (0: all)."""
        found: list[tuple[int, Entry]] = []
        extra = 0 if claiming else -1
        while not self.full:
            step = min(count - len(found), _STEP) if count else _STEP
            part = value.range(start, MAX_ID, step) if step else []
            for entry_id, entry in part:
                if not self.admit(entry_id, entry, extra, extra):
                    return found
                found.append((entry_id, entry))
            if len(part) < step or not part:
                return found
            start = part[-1][0] + 1
        return found


def _bulk(length: int) -> int:
    """Bytes of a bulk string."""
    return len(b"$%d\r\n" % length) + length + 2
