"""What survives a restart of a guarded node without a cluster: who guards it, and the newest order it obeyed.

One line, replaced as a whole and synced. There is no file where there is nothing to remember.
"""

from __future__ import annotations

import os

from attrs import frozen

from slotmesh.cluster.guard import GUARD_NAME
from slotmesh.cluster.numbers import to_uint

_MAGIC = "slotmesh-guard"
_NOBODY = "-"


class GuardFileError(Exception):
    """The file cannot be read, or is damaged; the text is for the operator."""


@frozen
class SavedGuard:
    """Name of the sentinels (empty: none guard this node), their number as last told, and the fence."""

    name: str = ""
    voters: int = 0
    fence_epoch: int = 0


class GuardFile:
    """The file at `path`, which is made absolute at once: the working directory may change."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)

    def load(self) -> SavedGuard:
        """What was saved last. Raises GuardFileError."""
        try:
            with open(self.path, encoding="ascii") as file:
                words = file.read(1024).split()
        except FileNotFoundError:
            return SavedGuard()
        except (OSError, UnicodeDecodeError) as error:
            raise GuardFileError(f"Can't read the guard file {self.path}: {error}") from error
        numbers = [to_uint(word) for word in words[2:]]
        name = words[1] if len(words) == 4 else ""
        if name == _NOBODY:
            name = ""
        elif not GUARD_NAME.match(name):
            numbers = []
        if len(numbers) != 2 or words[0] != _MAGIC or numbers[0] is None or numbers[1] is None:
            raise GuardFileError(f"Unrecoverable error: corrupted guard file {self.path}")
        return SavedGuard(name, numbers[0], numbers[1])

    def save(self, saved: SavedGuard) -> None:
        """Have it on disk. Raises OSError."""
        folder = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            if saved == SavedGuard():
                if os.path.lexists(self.path):
                    os.unlink(self.path)
            else:
                aside = f"{self.path}.tmp-{os.getpid()}"
                with open(aside, "w", encoding="ascii") as file:
                    file.write(f"{_MAGIC} {saved.name or _NOBODY} {saved.voters} {saved.fence_epoch}\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(aside, self.path)
            os.fsync(folder)
        finally:
            os.close(folder)
