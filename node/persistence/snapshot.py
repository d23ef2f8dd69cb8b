"""Writing the whole keyspace as an RDB: to a file that appears at once or not at all, or to any sink of bytes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Final

import attrs

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.keyspace.access import AccessFrequencies, AccessTimes
from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.memory.used import resident_bytes
from slotmesh.node.persistence.encode import needs_field_expiry
from slotmesh.node.persistence.rdb_file import RdbWriter, write_version

#: The version of stock whose files we write; readers of RDB files show it.
#: With `rdb-save-incremental-fsync`: how much may be unsynced, so that the final fsync is short.
_SYNC_EVERY: Final = 4 << 20
_PROGRESS_EVERY: Final = 1024


@attrs.frozen
class SnapshotOptions:
    """What goes into an RDB beside the keys, and how it is written.

    `replication`: the AUX fields repl-stream-db, repl-id and repl-offset, where there is a stream to continue.
    `functions`: sources of function libraries. `access`: write when or how often keys were used, as far as it is
    recorded (stock: while the eviction policy is an LRU or LFU one). `key_delay_us` slows saving down, for tests
    (`rdb-key-save-delay`).
    """

    compress: bool = True
    checksum: bool = True
    aof_base: bool = False
    replication: tuple[tuple[bytes, bytes], ...] = ()
    functions: tuple[bytes, ...] = ()
    access: bool = False
    incremental_sync: bool = True
    key_delay_us: int = 0


def aux_fields(options: SnapshotOptions) -> list[tuple[bytes, bytes]]:
    """The AUX fields of a file, in stock's order."""
    return [
        (b"redis-ver", COMPAT.version.encode()),
        (b"redis-bits", b"64"),
        (b"ctime", b"%d" % time.time()),
        (b"used-mem", b"%d" % resident_bytes()),
        *options.replication,
        (b"aof-base", b"%d" % options.aof_base),
    ]


def has_field_expiry(keyspace: Keyspace) -> bool:
    """Whether any hash has a field with an expiry of its own, which takes a later version of the format."""
    return any(needs_field_expiry(value) for db in keyspace.dbs for held in db.slots if held for value in held.values())


def write_snapshot(
    write: Callable[[bytes], object],
    keyspace: Keyspace,
    options: SnapshotOptions,
    progress: Callable[[int], None] = lambda keys: None,
) -> RdbWriter:
    """Write every key of every database through `write`. `progress` hears the number of keys done now and then."""
    version = write_version(field_expiry=has_field_expiry(keyspace))
    writer = RdbWriter(write, version=version, compress=options.compress, checksum=options.checksum)
    writer.start(aux_fields(options))
    for code in options.functions:
        writer.function(code)
    delay_s = options.key_delay_us / 1e6
    access = keyspace.access if options.access else None
    times = access if isinstance(access, AccessTimes) else None
    frequencies = access if isinstance(access, AccessFrequencies) else None
    for db in keyspace.dbs:
        if not len(db):
            continue
        writer.database(db.index, len(db), len(db.expires))
        for key, value, expire_at_ms in db.items():
            if access is None:
                writer.key(key, value, expire_at_ms)
            else:
                idle_s = times.idle_ms(db.index, key) // 1000 if times is not None else None
                frequency = frequencies.frequency(db.index, key) if frequencies is not None else None
                writer.key(key, value, expire_at_ms, idle_s, frequency)
            if not writer.keys % _PROGRESS_EVERY:
                progress(writer.keys)
            if delay_s > 0:
                time.sleep(delay_s)
    writer.end()
    return writer


class SyncingFile:
    """A new file that is written in pieces and synced as it grows."""

    def __init__(self, path: str, incremental: bool) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115  # closed by `close`
        self._incremental = incremental
        self._unsynced = 0

    def write(self, data: bytes) -> None:
        """Write all of `data`. Raises OSError."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._unsynced += len(data)
        if self._incremental and self._unsynced >= _SYNC_EVERY:
            os.fdatasync(self._file.fileno())
            self._unsynced = 0

    def close(self, *, sync: bool) -> None:
        """Close the file, on disk if `sync`. Raises OSError."""
        with self._file:
            if sync:
                os.fsync(self._file.fileno())


def sync_directory(path: str) -> None:
    """Make renames and removals inside a directory durable."""
    fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(path: str, incremental_sync: bool, fill: Callable[[Callable[[bytes], object]], object]) -> None:
    """Create `path` with what `fill(write)` writes, synced; it is removed again when that fails."""
    file = SyncingFile(path, incremental_sync)
    try:
        try:
            fill(file.write)
        except BaseException:
            file.close(sync=False)
            raise
        file.close(sync=True)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def save_file(
    path: str,
    temp_path: str,
    keyspace: Keyspace,
    options: SnapshotOptions,
    progress: Callable[[int], None] = lambda keys: None,
    still_wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Write an RDB to `temp_path`, then rename it to `path`: a reader sees the old file or the whole new one.

    Raises OSError, also when `still_wanted` denies at the end.
    """
    write_file(temp_path, options.incremental_sync, lambda write: write_snapshot(write, keyspace, options, progress))
    try:
        if not still_wanted():
            raise OSError("the server that wanted this file is gone")
        os.rename(temp_path, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temp_path)
        raise
    sync_directory(os.path.dirname(path))
