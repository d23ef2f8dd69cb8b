"""What can go wrong with stored bytes."""

from __future__ import annotations


class FormatError(Exception):
    """Bytes that violate the format. `offset` counts from the start of the file or payload, -1 where unknown."""

    def __init__(self, what: str, offset: int = -1) -> None:
        super().__init__(what if offset < 0 else f"{what} at offset {offset}")
        self.what = what
        self.offset = offset


class ShortRead(FormatError):
    """The data end too early: an incomplete chunk while streaming, a truncated file or payload otherwise.

    `needed` is the least number of bytes that the buffer must hold for the read to succeed.
    """

    def __init__(self, needed: int) -> None:
        super().__init__("unexpected end of data")
        self.needed = needed


class StorageError(Exception):
    """The server cannot go on with its files: it ends with this text and exit code 1."""


class LoadError(StorageError):
    """A file cannot be loaded; the message names file, offset and reason. Fatal at start, an error reply later."""
