"""The append-only file: what changed the data set, command by command, in a directory of numbered files.

`feed` gathers the commands of a pass, `flush` writes them in one go before anybody is answered, and the policy says
when the file is forced to disk:

    always    in `flush` itself: whoever got a reply finds the write after a power cut
    everysec  by a thread, once a second
    no        when the kernel likes

Writes go out at once even while an fsync is under way, so a process that is killed has lost nothing it acknowledged.
Some file systems block such a write until the fsync is over, and every client with it; once one was seen to, `everysec`
holds writes back while a sync runs, for up to two seconds, as stock always does, until syncs are quick again
(docs/adr/0022).

A write that fails leaves its bytes in the buffer, takes back what was written in part, and stops further writes by
clients (`write_error`) until the disk takes them again; under `always` replies must not be sent any more, so the
process ends.

The rewrite (`Aof.rotate`, then a child, then `Aof.install_base`) starts a new file for commands and makes a snapshot
the new base; the manifest changes twice, each time atomically, so a crash at any moment leaves a log that loads.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from typing import Final

from slotmesh.node.base.clock import Clock
from slotmesh.node.config.configuration import Config
from slotmesh.node.persistence.aof_files import AofFiles
from slotmesh.node.persistence.errors import StorageError
from slotmesh.node.resp.encoder import encode_command

log = logging.getLogger("node")

OFF: Final = 0
ON: Final = 1
#: Switched on at run time: commands gather in a temporary file until the first rewrite has made a base.
WAITING: Final = 2

_LOG_ERRORS_EVERY_MS: Final = 30_000
_SYNC_EVERY_MS: Final = 1000
#: A write beside a sync that takes this long was blocked by it. A sync that takes less could not block one for as long.
BLOCKED_MS: Final = 50
#: Writes are held back no longer than this (stock: two seconds).
MOST_HELD_MS: Final = 2000


class AofFailure(StorageError):
    """The log cannot be written and `appendfsync always` promises that it is: the process must end unanswered."""


class Aof:
    """The log of one node. `request_sync` is called when a background fsync is due."""

    def __init__(self, config: Config, clock: Clock, request_sync: Callable[[], None]) -> None:
        self._config = config
        self._clock = clock
        self._request_sync = request_sync
        self.state = OFF
        self.files = AofFiles(config)
        self._fd = -1
        self._buffer: list[bytes] = []
        #: DEBUG AOF-FLUSH-SLEEP: as if the disk were slow.
        self.write_delay_us = 0
        self._selected_db = -1
        self._timestamp_s = 0
        #: Bytes in the file being written, and in all files.
        self._increment_size = 0
        self.size = 0
        #: Size of all files after the last rewrite, or of the base at start: what growth is measured against.
        self.size_after_rewrite = 0
        # syncing
        self._synced_size = 0
        #: Bytes written and synced since the start, whatever the file: they only ever grow.
        self._written_total = 0
        self._total_at_sync = 0
        self.synced_total = 0
        self._last_sync_ms = 0
        self.sync_running = False
        self._sync_began_ms = 0
        self._syncs_block = False
        #: Since when writes are held back; 0 while they are not.
        self._held_since_ms = 0
        self.retired: list[int] = []
        #: Writes that were held back for as long as is allowed, and then went out beside a sync (`aof_delayed_fsync`).
        self.delayed_syncs = 0
        # errors
        self.write_error: OSError | None = None
        self.sync_error: OSError | None = None
        self._error_logged_ms = -_LOG_ERRORS_EVERY_MS

    @property
    def is_open(self) -> bool:
        """Whether there is a file to write to."""
        return self._fd >= 0

    # -- feeding ---------------------------------------------------------------------------------------------

    def feed(self, db_index: int, argv: list[bytes]) -> None:
        """Append one command that ran in database `db_index`, -1 for one that concerns none."""
        buffer = self._buffer
        if self._config.aof_timestamp_enabled:
            now_s = self._clock.now_ms // 1000
            if now_s > self._timestamp_s:
                self._timestamp_s = now_s
                buffer.append(b"#TS:%d\r\n" % now_s)
        if db_index != self._selected_db and db_index >= 0:
            self._selected_db = db_index
            buffer.append(encode_command([b"SELECT", b"%d" % db_index]))
        buffer.append(encode_command(argv))

    @property
    def buffered_bytes(self) -> int:
        """Bytes that are not written yet."""
        return sum(map(len, self._buffer))

    @property
    def unsynced_bytes(self) -> int:
        """Bytes that a power cut would lose."""
        return self._increment_size - self._synced_size

    @property
    def fed_total(self) -> int:
        """Bytes fed since the start: once `synced_total` has reached this, all that was fed until now is on disk."""
        return self._written_total + self.buffered_bytes

    @property
    def sync_waits(self) -> bool:
        """Whether something written is not on disk that the policy wants there within a second."""
        return self.is_open and self._config.appendfsync == "everysec" and self.synced_total < self.fed_total

    def ask_for_sync(self) -> None:
        """Sync soon, whatever the policy: somebody waits for it (WAITAOF)."""
        if self.is_open and self.synced_total < self.fed_total:
            self._request_sync()

    def flush(self, *, at_once: bool = False) -> None:
        """End of a pass: write what was fed, sync as the policy says. Raises AofFailure under `always`.

        `at_once`: the file is about to change; nothing is held back for a sync that runs.
        """
        policy = self._config.appendfsync
        if self._buffer:
            if self.sync_running and policy == "everysec" and not at_once:
                if self._syncs_block and self._hold_back():
                    return
                began = time.monotonic_ns()
                written = self._write()
                self._syncs_block |= time.monotonic_ns() - began >= BLOCKED_MS * 1_000_000
            else:
                written = self._write()
            self._held_since_ms = 0
            if not written:
                return
        elif self._synced_size == self._increment_size:
            return
        if policy == "always":
            self._sync_now()
        elif policy == "everysec" and self._clock.mono_ms - self._last_sync_ms >= _SYNC_EVERY_MS:
            if not self.sync_running:
                self._request_sync()
            self._last_sync_ms = self._clock.mono_ms

    def _hold_back(self) -> bool:
        """Whether a write waits for the sync that runs, because the disk would make everybody wait for it."""
        now_ms = self._clock.mono_ms
        self._held_since_ms = self._held_since_ms or now_ms
        if now_ms - self._held_since_ms < MOST_HELD_MS:
            return True
        self.delayed_syncs += 1
        log.warning(
            "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without waiting for "
            "fsync to complete, this may slow down Redis."
        )
        return False

    def _write(self) -> bool:
        """Write the buffer; False when it could not be written whole (it is kept then)."""
        if self.write_delay_us:
            time.sleep(self.write_delay_us / 1e6)
        data = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:] if written else data)
        except OSError as error:
            self._buffer[:] = [self._undo(data, written)]
            self._note_write_error(error)
            return False
        self._buffer.clear()
        self._grow(written)
        if self.write_error is not None:
            log.warning("AOF write error looks solved, Redis can write again.")
            self.write_error = None
        return True

    def _grow(self, count: int) -> None:
        self._increment_size += count
        self._written_total += count
        self.size += count

    def _undo(self, data: bytes, written: int) -> bytes:
        """Take a partial write back; what remains to be written."""
        if not written:
            return data
        try:
            os.ftruncate(self._fd, self._increment_size)
        except OSError as error:
            log.warning(
                "Could not remove short write from the append-only file. Redis may refuse to load the AOF the next "
                "time it starts. ftruncate: %s",
                error.strerror,
            )
            self._grow(written)
            return data[written:]
        return data

    def _note_write_error(self, error: OSError) -> None:
        if self._clock.mono_ms - self._error_logged_ms >= _LOG_ERRORS_EVERY_MS:
            self._error_logged_ms = self._clock.mono_ms
            log.warning("Error writing to the AOF file: %s", error.strerror)
        if self._config.appendfsync == "always":
            raise AofFailure(
                "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting... "
                f"({error.strerror})",
            )
        self.write_error = error

    # -- syncing ---------------------------------------------------------------------------------------------

    def _sync_now(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS):  # a pipe or a device, which has nothing to sync
                raise AofFailure(
                    "Can't persist AOF for fsync error when the AOF fsync policy is 'always': "
                    f"{error.strerror}. Exiting...",
                ) from error
        self._synced_size = self._increment_size
        self.synced_total = self._written_total
        self._last_sync_ms = self._clock.mono_ms

    def take_sync_job(self) -> tuple[int, int, list[int]]:
        """For the syncing thread: the descriptor, the size that will be on disk, and files to be synced and closed."""
        self.sync_running = True
        self._sync_began_ms = self._clock.mono_ms
        self._total_at_sync = self._written_total
        retired, self.retired = self.retired, []
        return self._fd, self._increment_size, retired

    def sync_finished(self, fd: int, size: int, error: OSError | None) -> None:
        """The thread is done with `fd`, which held `size` bytes when it began. What was held back can be flushed."""
        self.sync_running = False
        self._syncs_block &= self._clock.mono_ms - self._sync_began_ms >= BLOCKED_MS
        self.sync_error = error
        if error is not None:
            log.warning("Fail to fsync the AOF file: %s", error.strerror)
            return
        self.synced_total = max(self.synced_total, self._total_at_sync)
        if fd == self._fd:
            self._synced_size = max(self._synced_size, size)

    # -- files -----------------------------------------------------------------------------------------------

    def open_at_start(self, write_base: Callable[[str], None]) -> None:
        """Open the last file for commands, creating what is missing. Raises OSError.

        `write_base(path)` writes a base of the present data set, for a log that begins here.
        """
        files = self.files
        files.make_directory()
        files.remove_leftovers()
        manifest = files.manifest
        if not manifest.files:
            manifest = manifest.with_base(files.stem, files.base_extension, 0)
            assert manifest.base is not None
            write_base(files.path(manifest.base.name))
            log.info("Creating AOF base file %s on server start", manifest.base.name)
        verb = "Opening"
        if not manifest.increments:
            manifest = manifest.with_increment(files.stem)
            verb = "Creating"
        name = manifest.increments[-1].name
        fd = _open_for_append(files.path(name), os.O_APPEND)
        if manifest != files.manifest:
            files.write(manifest)
        self._go_on_in(fd)
        self.state = ON
        self.size = files.total_size
        self.size_after_rewrite = files.base_size
        log.info("%s AOF incr file %s on server start", verb, name)
        self._retire(*files.detach_history())

    def _go_on_in(self, fd: int) -> None:
        """Write to another file from now on."""
        if self._fd >= 0:
            self._retire(self._fd)
        self._fd = fd
        self._increment_size = self._synced_size = os.fstat(fd).st_size
        self._selected_db = -1

    def _retire(self, *fds: int) -> None:
        """Have descriptors synced and closed by the syncing thread."""
        if fds:
            self.retired += fds
            self._request_sync()

    def rotate(self) -> int:
        """Before a rewrite: go on in a new file; how many files the snapshot will supersede.

        Raises OSError, and nothing has changed then.
        """
        files = self.files
        files.make_directory()
        if self.state == OFF:
            return len(files.manifest.increments)
        if self.state == WAITING:
            fd = _open_for_append(files.waiting_path, os.O_TRUNC)
            self._buffer.clear()  # the snapshot about to be taken holds what they did
            self._go_on_in(fd)
            return len(files.manifest.increments)
        self.flush(at_once=True)
        if self._buffer:
            raise self.write_error or OSError(errno.EIO, "the log cannot be written")
        manifest = files.manifest.with_increment(files.stem)
        path = files.path(manifest.increments[-1].name)
        fd = _open_for_append(path, os.O_TRUNC)
        try:
            files.write(manifest)
        except OSError:
            os.close(fd)
            os.unlink(path)
            raise
        self._go_on_in(fd)
        log.info("Creating AOF incr file %s on background rewrite", manifest.increments[-1].name)
        return len(manifest.increments) - 1

    def install_base(self, temp_path: str, superseded: int, extension: str) -> None:
        """After a rewrite: make the snapshot at `temp_path` the base, then drop what it supersedes. Raises OSError."""
        files = self.files
        manifest = files.manifest.with_base(files.stem, extension, superseded)
        assert manifest.base is not None
        os.rename(temp_path, files.path(manifest.base.name))
        if self.state == WAITING:
            manifest = manifest.with_increment(files.stem)
            os.rename(files.waiting_path, files.path(manifest.increments[-1].name))
        files.write(manifest)
        if self.state == WAITING:
            self.state = ON
        self.size = self.size_after_rewrite = files.total_size
        self._retire(*files.detach_history())

    def remove_history(self) -> None:
        """`aof-disable-auto-gc no`: what was kept until now goes."""
        self._retire(*self.files.detach_history())

    def drop_waiting(self) -> None:
        """The rewrite that was to switch the log on failed: what happened meanwhile belongs to no base."""
        if self.state != WAITING or not self.is_open:
            return
        path = self.files.waiting_path
        log.info("Removing the temp incr aof file %s", os.path.basename(path))
        self._retire(self._fd)
        self._fd = -1
        self._buffer.clear()
        try:
            os.unlink(path)
        except OSError as error:
            log.warning("Cannot remove %s: %s", path, error.strerror)

    # -- switching -------------------------------------------------------------------------------------------

    def begin_waiting(self) -> None:
        """`appendonly yes` at run time: the first rewrite will switch the log on."""
        self.state = WAITING
        self.write_error = self.sync_error = None

    def close(self) -> None:
        """Write and sync everything, and close the file. Raises AofFailure."""
        fd = self._fd
        try:
            if fd >= 0:
                self.flush(at_once=True)
                os.fsync(fd)
        except OSError as error:
            log.warning("Fail to fsync the AOF file: %s", error.strerror)
        finally:
            self._fd = -1
            self._buffer.clear()
            self.state = OFF
            self._selected_db = -1
            self._increment_size = self._synced_size = 0
            if fd >= 0 and self.sync_running:
                self._retire(fd)  # a thread is using it
            elif fd >= 0:
                os.close(fd)


def _open_for_append(path: str, mode: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | mode, 0o644)
