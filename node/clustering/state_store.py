"""Keeps `nodes.conf`: who may write it, and what of it has survived what.

`nodes.conf` is replaced as a whole (written aside, synced, renamed), which costs a disk several writes. So it is done
off the event loop, a moment later, for all that was saved meanwhile (`keep_written`). What must not wait is recorded in
one of two files beside it, overwritten in place:

- `save(sync=True)` returns when the record is synced. For what survives the machine: what this node promises.
- `save(sync=False)` returns when the record is written. It survives this process.
- `save_soon()` records nothing: others told it and would tell it again.

A record holds the digest of the `nodes.conf` that it follows and counts only while that very file stands there:
whatever an operator or a stock node puts there wins. A crash of the machine can leave a record half written, then its
own digest is wrong; the record synced last is safe from that, as the next one goes to the other file. `load` takes the
latest record that counts. After a regular end there is none.

All renames happen in the event loop, each with a newer state than the one before.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Callable
from typing import Final

import trio

from slotmesh.cluster.numbers import to_uint

WRITE_DELAY_S: Final = 0.1
"""How long `keep_written` waits for more to save."""

_MAGIC: Final = b"slotmesh"
_WORDS: Final = 7


class StateInUse(Exception):
    """Another process has locked the file."""


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).hexdigest().encode()


class StateStore:
    """One `nodes.conf`, locked for this process. Raises OSError where the disk fails."""

    def __init__(self, path: str) -> None:
        """Take the lock that stock takes as well: two processes must never share one file. It is made if missing.

        Raises StateInUse.
        """
        self.path = path
        self._folder = os.path.dirname(os.path.abspath(path))
        self._records = (_Record(f"{path}.recent-1"), _Record(f"{path}.recent-2"))
        self._next = self._records[0]
        self._lock = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StateInUse(path) from None
        #: Digests of the files that a record may follow: the one that stands there; the one before it, while a crash of
        #: the machine could bring that back; and the one about to replace it.
        self._current = b""
        self._before = b""
        self._coming = b""
        #: Grows with every save: the number of the record.
        self._saves = 0
        self._renames = 0
        self._due = trio.Event()

    def load(self) -> str:
        """The latest state that was saved; empty if there is none. Raises UnicodeDecodeError as well."""
        with open(self.path, "rb") as file:
            latest = file.read()
        self._current = _digest(latest)
        for record in self._records:
            found = record.read(self._current)
            if found is not None and found[0] > self._saves:
                self._saves, latest = found
        return latest.decode("ascii")

    def save(self, text: str, *, sync: bool) -> None:
        """Save a state, so that it survives the process, or, with `sync`, the machine."""
        if not self._renames:
            self.replace(text)  # at first: what stands there may be empty, or of another
            return
        data = text.encode("ascii")
        self._saves += 1
        record = self._next
        if not record.is_open:
            record.open()
            self._sync_folder()
        follows = b" ".join(digest or b"-" for digest in (self._before, self._current, self._coming))
        record.write(self._saves, follows, data)
        if sync:
            record.sync()
            self._next = self._records[1] if record is self._records[0] else self._records[0]
        self._due.set()

    def replace(self, text: str) -> None:
        """Save a state in `nodes.conf` itself, and have it synced."""
        data = text.encode("ascii")
        self._saves += 1
        fresh = self._write_aside(self._aside(), data)
        self._rename(self._aside(), fresh, _digest(data))
        self._sync_folder()
        self._drop_records(self._saves)

    def save_soon(self) -> None:
        """Have the state saved by `keep_written`."""
        self._due.set()

    async def keep_written(self, render: Callable[[], str]) -> None:
        """Write what is due to `nodes.conf`, in a thread, as long as the node runs. `render` gives the state then."""
        while True:
            await self._due.wait()
            await trio.sleep(WRITE_DELAY_S)
            self._due = trio.Event()
            await self._replace_in_thread(render().encode("ascii"))

    async def _replace_in_thread(self, data: bytes) -> None:
        aside, saves, renames = f"{self._aside()}-late", self._saves, self._renames
        self._coming = _digest(data)
        fresh = await trio.to_thread.run_sync(self._write_aside, aside, data)
        if self._renames != renames:  # a newer one stands there
            os.close(fresh)
            os.unlink(aside)
            return
        self._rename(aside, fresh, self._coming)
        await trio.to_thread.run_sync(self._sync_folder)
        self._drop_records(saves)

    def close(self, text: str) -> None:
        """Save a last time, and let go of the file."""
        self.replace(text)
        for record in self._records:
            record.remove()
        os.close(self._lock)

    # -- files ---------------------------------------------------------------------------------------------------

    def _aside(self) -> str:
        return f"{self.path}.tmp-{os.getpid()}"

    @staticmethod
    def _write_aside(aside: str, data: bytes) -> int:
        """A synced file with `data`, open."""
        fresh = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            with open(fresh, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(fresh)
        except BaseException:
            os.close(fresh)
            raise
        return fresh

    def _rename(self, aside: str, fresh: int, digest: bytes) -> None:
        """Put a file in the place of `nodes.conf`."""
        fcntl.flock(fresh, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(aside, self.path)
        os.close(self._lock)
        self._lock = fresh
        self._before, self._current, self._coming = self._before or self._current, digest, b""
        self._renames += 1

    def _drop_records(self, saves: int) -> None:
        """The state of the save of that number stands in `nodes.conf` for good: older records are of no use."""
        self._before = b""
        for record in self._records:
            record.drop(saves)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class _Record:
    """A file with one state in it, overwritten in place."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._number = 0

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    def read(self, follows: bytes) -> tuple[int, bytes] | None:
        """Number and state of a record that is whole and follows that `nodes.conf`."""
        try:
            with open(self._path, "rb") as file:
                words = file.readline().split()
                state = file.read()
        except FileNotFoundError:
            return None
        if len(words) != _WORDS or words[0] != _MAGIC or follows not in words[1:4]:
            return None
        *head, digest = words
        number, length = to_uint(head[4]), to_uint(head[5])
        if number is None or length is None:
            return None
        state = state[:length]
        return (number, state) if _digest(b" ".join(head) + state) == digest else None

    def open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, number: int, follows: bytes, state: bytes) -> None:
        head = b"%b %b %d %d" % (_MAGIC, follows, number, len(state))
        whole = b"%b %b\n%b" % (head, _digest(head + state), state)
        if os.pwrite(self._fd, whole, 0) != len(whole):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # nothing else makes a short write of a file
        self._number = number

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def drop(self, number: int) -> None:
        """Void a record up to that number."""
        if 0 < self._number <= number:
            os.pwrite(self._fd, b"\n", 0)
            self._number = 0

    def remove(self) -> None:
        if self.is_open:
            os.close(self._fd)
            self._fd = -1
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
