"""The directory of an append-only file: its manifest, its paths, and what has to be in order before a log is used."""

from __future__ import annotations

import glob
import logging
import os

from slotmesh.node.config.configuration import Config
from slotmesh.node.persistence.aof_manifest import BASE, AofFile, Manifest, read_manifest, write_manifest
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.persistence.loading import file_size

log = logging.getLogger("node")


class AofFiles:
    """Where the files of a log are. `manifest` is what the disk says: it changes only after the disk did."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.manifest = Manifest()

    @property
    def directory(self) -> str:
        """The directory of the log."""
        return self._config.appenddirname

    @property
    def stem(self) -> str:
        """What the names of all files begin with."""
        return self._config.appendfilename

    def path(self, name: str) -> str:
        """The path of a file of the log."""
        return os.path.join(self.directory, name)

    @property
    def waiting_path(self) -> str:
        """Where commands gather until the first rewrite of a log that was switched on at run time."""
        return self.path(f"temp-{self.stem}.incr")

    def temp_base_path(self, pid: int) -> str:
        """Where process `pid` writes a new base."""
        return self.path(f"temp-{self.stem}.{pid}.base")

    def remove_leftovers(self) -> None:
        """Delete what a crash left of unfinished rewrites. Raises OSError."""
        pattern = os.path.join(glob.escape(self.directory), glob.escape(f"temp-{self.stem}.") + "*")
        for path in glob.glob(pattern):
            os.unlink(path)

    @property
    def base_extension(self) -> str:
        """The extension of the next base: its format."""
        return "rdb" if self._config.aof_use_rdb_preamble else "aof"

    def make_directory(self) -> None:
        """Create the directory if need be. Raises OSError."""
        os.makedirs(self.directory, exist_ok=True)

    def read(self) -> None:
        """Take up the manifest on disk, if there is one. Raises LoadError or OSError."""
        path = self.path(f"{self.stem}.manifest")
        if os.path.exists(path):
            self.manifest = read_manifest(path)

    def write(self, manifest: Manifest) -> None:
        """Make `manifest` the one on disk. Raises OSError; the old one is in force then."""
        write_manifest(self.directory, self.stem, manifest)
        self.manifest = manifest

    @property
    def total_size(self) -> int:
        """Bytes of all files that belong to the log."""
        return sum(file_size(self.path(file.name)) for file in self.manifest.files)

    @property
    def base_size(self) -> int:
        """Bytes of the base, 0 without one."""
        base = self.manifest.base
        return 0 if base is None else file_size(self.path(base.name))

    def check(self) -> None:
        """Raises LoadError when a file of the manifest is missing or out of reach."""
        for file in self.manifest.files:
            try:
                os.stat(self.path(file.name))
            except OSError as error:
                raise LoadError(f"Cannot load the AOF file {file.name} of the manifest: {error.strerror}") from error

    def adopt_old_file(self) -> None:
        """Move a single-file log of servers before 7.0 into the directory, as its base. Raises OSError.

        The manifest is written first, so that a crash in between is recognised here the next time.
        """
        if not os.path.isfile(self.stem):
            return
        adopted = Manifest(base=AofFile(self.stem, 1, BASE), base_seq=1)
        if self.manifest.files and (self.manifest != adopted or os.path.exists(self.path(self.stem))):
            return  # the log in the directory is in use; the old file is a leftover
        self.make_directory()
        self.write(adopted)
        os.rename(self.stem, self.path(self.stem))
        log.info("Migrated an old-style AOF file (%s) into the AOF directory (%s).", self.stem, self.directory)

    def detach_history(self) -> list[int]:
        """Remove superseded files, unless configured otherwise; descriptors that still hold them.

        Freeing gigabytes takes time, and happens when the descriptors are closed: by the syncing thread. A failure is
        logged; the next rewrite tries again.
        """
        held: list[int] = []
        if self._config.aof_disable_auto_gc or not self.manifest.history:
            return held
        try:
            for file in self.manifest.history:
                path = self.path(file.name)
                if os.path.exists(path):
                    held.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                    os.unlink(path)
            self.write(self.manifest.without_history())
        except OSError as error:
            log.warning("Cannot remove history files of the AOF: %s", error)
        return held
