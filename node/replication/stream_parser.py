"""Commands out of the replication stream, with the exact number of bytes they took.

Offsets are counts of raw bytes, and replicas of this replica get the raw bytes as they are; so, unlike a client's
parser, this one must always know where in the bytes it stands. Both parsers of requests can tell: the fast one says
how many bytes its commands took, the exact one, which takes what the fast one refuses, counts what it has not read.
"""

from __future__ import annotations

from typing import Final

from slotmesh.node.resp.parser import FAST_PATH_MAX, ProtocolError, RequestParser, parse_plain

__all__ = ["ProtocolError", "StreamParser", "wire_length"]

#: How long a bulk string may be is the primary's business.
_NO_LIMIT: Final = 1 << 62


class StreamParser:
    """Give it chunks; take commands. `fed` counts the bytes given so far, `used` those of all commands returned."""

    __slots__ = ("_exact", "_held", "fed", "used")

    def __init__(self) -> None:
        self._held = b""
        self._exact: RequestParser | None = None
        self.fed = 0
        self.used = 0

    def feed(self, data: bytes) -> list[list[bytes]]:
        """All commands that `data` completes. Raises ProtocolError; the parser must not be used after that."""
        self.fed += len(data)
        if self._exact is not None:
            return self._feed_exact(data, self.used)
        if self._held:
            data = self._held + data
            self._held = b""
        commands, size, rest_is_plain = parse_plain(data)
        used = self.fed - len(data) + size
        if size < len(data) and not (rest_is_plain and (size or len(data) <= FAST_PATH_MAX)):
            self._exact = RequestParser(_NO_LIMIT)
            return commands + self._feed_exact(data[size:], used)
        self._held = data[size:]  # never a long one: it would be parsed again and again
        self.used = used
        return commands

    def _feed_exact(self, data: bytes, used: int) -> list[list[bytes]]:
        """`used` counts only what is returned: nothing when the bytes turn out to be no commands."""
        parser = self._exact
        assert parser is not None
        parser.feed(data)
        commands: list[list[bytes]] = []
        while (argv := parser.next_command()) is not None:
            commands.append(argv)
            used = self.fed - parser.unread_bytes
        if parser.idle:
            used = self.fed
            self._exact = None
        self.used = used
        return commands


def wire_length(argv: list[bytes]) -> int:
    """Bytes that a command takes in the stream."""
    total = 3 + len(str(len(argv)))
    for arg in argv:
        size = len(arg)
        total += size + (6 if size < 10 else 7 if size < 100 else len(str(size)) + 5)
    return total
