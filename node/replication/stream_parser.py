"""Commands out of the replication stream, with the exact number of bytes they took.

Offsets are counts of raw bytes, and replicas of this replica get the raw bytes as they are; so, unlike a client's
parser, this one must always know where in the bytes it stands. The quick road hands everything up to the last likely
boundary to the shared C parser; when it finds no sequence of whole commands there, the exact parser takes the bytes.
Both know the number of bytes used: the quick one uses all it was given or none, the exact one counts.
"""

from __future__ import annotations

from typing import Final

from node.resp.parser import ProtocolError, RequestParser, parse_quick

__all__ = ["ProtocolError", "StreamParser", "wire_length"]

_BOUNDARY: Final = b"\r\n*"
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
            return self._feed_exact(data)
        if self._held:
            data = self._held + data
            self._held = b""
        commands = parse_quick(data)
        if commands is not None:
            self.used = self.fed
            return commands
        cut = data.rfind(_BOUNDARY) + 2
        if cut > 2:
            commands = parse_quick(data[:cut])
            if commands is not None:
                self._take_last(commands, data[cut:])
                return commands
        self._exact = RequestParser(_NO_LIMIT)
        return self._feed_exact(data)

    def _take_last(self, commands: list[list[bytes]], last: bytes) -> None:
        """Behind the last boundary is the beginning of a command, or a whole one that the quick road refuses."""
        probe = RequestParser(_NO_LIMIT)
        probe.feed(last)
        argv = probe.next_command()
        if argv is None:
            self._held = last
        else:
            commands.append(argv)
            self._held = last[len(last) - probe.unread_bytes :]
        self.used = self.fed - len(self._held)

    def _feed_exact(self, data: bytes) -> list[list[bytes]]:
        parser = self._exact
        assert parser is not None
        parser.feed(data)
        commands: list[list[bytes]] = []
        while (argv := parser.next_command()) is not None:
            commands.append(argv)
            self.used = self.fed - parser.unread_bytes
        if parser.idle:
            self.used = self.fed
            self._exact = None
        return commands


def wire_length(argv: list[bytes]) -> int:
    """Bytes that a command takes in the stream."""
    total = 3 + len(str(len(argv)))
    for arg in argv:
        size = len(arg)
        total += size + (6 if size < 10 else 7 if size < 100 else len(str(size)) + 5)
    return total
