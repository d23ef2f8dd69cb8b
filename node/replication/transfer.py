"""The snapshot of a full sync as it comes over the wire: told apart from what is before and behind it.

    $<length>\\r\\n <length bytes>          made as a file first
    $EOF:<40 bytes>\\r\\n ... <40 bytes>    streamed: the random mark is repeated at the end

Empty lines before the header only keep the connection alive; a line that starts with '-' is the primary's refusal.
"""

from __future__ import annotations

from typing import Final

from slotmesh.cluster.numbers import to_uint

MARK_LENGTH: Final = 40
_MAX_LINE: Final = 1024


class TransferError(Exception):
    """The primary broke the transfer off, or sends what is no snapshot."""


class Transfer:
    """Feed it what the primary sends; it returns the snapshot's bytes. When `finished`, `rest` is what came behind.

    `total` is the announced size in bytes, 0 while unknown or streamed; `received` counts the snapshot's bytes so far.
    """

    def __init__(self) -> None:
        self.total = 0
        self.received = 0
        self.started = False
        self.finished = False
        self.rest = b""
        self._mark = b""
        self._held = b""

    @property
    def streamed(self) -> bool:
        """Whether the snapshot ends with a mark."""
        return bool(self._mark)

    def feed(self, data: bytes) -> bytes:
        """The bytes of the snapshot that `data` completes. Raises TransferError."""
        assert not self.finished
        if not self.started:
            data = self._header(self._held + data)
            if not self.started:
                return b""
        part = self._until_mark(data) if self._mark else self._until_total(data)
        self.received += len(part)
        return part

    def _header(self, data: bytes) -> bytes:
        """Look for the header; what follows it."""
        data = data.lstrip(b"\r\n")
        line, end, behind = data.partition(b"\n")
        if not end:
            if len(line) > _MAX_LINE:
                raise TransferError("Bad protocol from MASTER: the header of the snapshot is too long")
            self._held = data
            return b""
        self._held = b""
        line = line.rstrip(b"\r")
        if line[:1] == b"-":
            raise TransferError(f"MASTER aborted replication with an error: {line[1:].decode(errors='replace')}")
        if line.startswith(b"$EOF:") and len(line) >= 5 + MARK_LENGTH:
            self._mark = line[5 : 5 + MARK_LENGTH]
        elif line[:1] == b"$" and (total := to_uint(line[1:])) is not None:
            self.total = total
            self.finished = not self.total
        else:
            raise TransferError(
                "Bad protocol from MASTER, the first byte is not '$' (we received "
                f"'{line.decode(errors='replace')}'), are you sure the host and port are right?"
            )
        self.started = True
        return behind

    def _until_total(self, data: bytes) -> bytes:
        left = self.total - self.received
        if len(data) < left:
            return data
        self.finished = True
        self.rest = data[left:]
        return data[:left]

    def _until_mark(self, data: bytes) -> bytes:
        data = self._held + data
        at = data.find(self._mark)
        if at >= 0:
            self.finished = True
            self.rest = data[at + MARK_LENGTH :]
            self._held = b""
            return data[:at]
        safe = max(0, len(data) - MARK_LENGTH + 1)
        self._held = data[safe:]
        return data[:safe]
