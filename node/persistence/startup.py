"""Loading a whole data set: at start, for DEBUG RELOAD, and the RDB of a full sync."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import partial

from slotmesh.node.base.errors import CommandError
from slotmesh.node.base.gates import SERVER_LOADING
from slotmesh.node.clients.client import Client
from slotmesh.node.persistence.aof import Aof
from slotmesh.node.persistence.aof_load import load_log_steps
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.persistence.loading import KeyspaceSink, Progress, Steps, load_rdb_steps, run_steps, run_steps_slowly
from slotmesh.node.state import NodeState

log = logging.getLogger("node")


class Loader:
    """Loads files into the keyspace of a node. `progress` exists while it does."""

    def __init__(
        self,
        state: NodeState,
        aof: Aof,
        load_function: Callable[..., None],
        clear_functions: Callable[[], None],
        *,
        new_client: Callable[[], Client],
        starts_as_replica: Callable[[], bool],
        verifies: Callable[[], bool],
    ) -> None:
        """`new_client`: a pseudo-client. `starts_as_replica`: whether what is expired is another node's to remove.
        `verifies`: whether checksums are looked at, if the configuration wants them.
        """
        self._state = state
        self._config = state.config
        self._keyspace = state.keyspace
        self._new_client = new_client
        self._starts_as_replica = starts_as_replica
        self._verifies = verifies
        self._aof = aof
        self._load_function = load_function
        self._clear_functions = clear_functions
        self.progress: Progress | None = None
        self.keys_loaded = 0
        self.keys_expired = 0
        #: The AUX fields of the last RDB: where the replication may find the stream it can continue.
        self.aux: dict[bytes, bytes] = {}
        self.dropped: list[tuple[int, bytes]] = []

    async def load_at_start(self) -> None:
        """Load the log if it is switched on and exists, else the RDB. Raises LoadError or OSError."""
        started = time.perf_counter()
        self._aof.files.read()
        steps = self._log_steps() if self._config.appendonly else None
        path = self._config.dbfilename
        if steps is None and path and os.path.exists(path):
            steps = self.rdb_steps(path, drop_expired=not self._starts_as_replica())
        if steps is not None:
            await self.load(steps)
            log.info("DB loaded from disk: %.3f seconds", time.perf_counter() - started)

    async def load(self, steps: Steps) -> None:
        """Run loading steps while clients are told LOADING. Raises LoadError or OSError."""
        state, keyspace = self._state, self._keyspace
        with self._loading():
            await run_steps_slowly(steps, state.refresh_clock, state.fibers)
        keyspace.dirty = 0

    @contextlib.contextmanager
    def _loading(self) -> Iterator[None]:
        """What holds while a data set is loaded: clients are told LOADING, keys do not expire, the collector rests.

        Nothing but values that live on is made, and values hold no cycles; walking them again and again as they become
        more costs a quarter of the time. Afterwards they are frozen out of the collector's sight.
        """
        self._state.set_gate(SERVER_LOADING, True)
        gc.disable()
        try:
            with self._keyspace.expiry_ignored:
                yield
        finally:
            gc.freeze()
            gc.enable()
            self._state.set_gate(SERVER_LOADING, False)
            self.progress = None

    def rdb_steps(self, path: str, *, drop_expired: bool, replace: bool = False) -> Steps:
        """Steps that load an RDB file into the keyspace."""
        load_function = partial(self._load_function, replace=replace)
        sink = KeyspaceSink(
            self._keyspace, load_function, drop_expired=drop_expired, replace=replace, delay_us=self._key_delay_us
        )
        self.progress = Progress(os.stat(path).st_size, time.time())
        yield from load_rdb_steps(path, sink, self.progress, verify=self._verify_files())
        self._loaded(sink)

    def _verify_files(self) -> bool:
        return self._config.rdbchecksum and self._verifies()

    def _key_delay_us(self) -> int:
        return self._config.key_load_delay

    def _loaded(self, sink: KeyspaceSink) -> None:
        self.aux, self.dropped = sink.aux, sink.dropped
        self.keys_loaded, self.keys_expired = sink.keys_loaded, sink.keys_expired
        log.info("Done loading RDB, keys loaded: %d, keys expired: %d.", sink.keys_loaded, sink.keys_expired)

    def _log_steps(self) -> Steps | None:
        files = self._aof.files
        files.adopt_old_file()
        files.check()
        return self._load_log() if files.manifest.files else None

    def _load_log(self) -> Steps:
        manifest, config = self._aof.files.manifest, self._config
        self.progress = Progress(self._aof.files.total_size, time.time())
        sink = KeyspaceSink(self._keyspace, self._load_function, delay_us=self._key_delay_us)
        for file in manifest.files:
            started = time.perf_counter()
            yield from load_log_steps(
                self._new_client,
                self._aof.files.path(file.name),
                sink,
                self.progress,
                verify=self._verify_files(),
                may_truncate=config.aof_load_truncated and file is manifest.files[-1],
            )
            kind = "base" if file is manifest.base else "incr"
            log.info("DB loaded from %s file %s: %.3f seconds", kind, file.name, time.perf_counter() - started)
        self._loaded(sink)

    def reload(self, *, flush: bool, merge: bool) -> None:
        """The second half of DEBUG RELOAD: load the RDB at once, into an emptied keyspace with `flush`.

        With `merge`, keys that exist are replaced. Raises CommandError.
        """
        if flush:
            self._empty()
        try:
            with self._loading():
                run_steps(self.rdb_steps(self._config.dbfilename, drop_expired=True, replace=merge))
        except (LoadError, OSError) as error:
            log.warning("%s", error)
            raise CommandError("ERR Error trying to load the RDB dump, check server logs.") from error

    def reload_log(self) -> None:
        """The second half of DEBUG LOADAOF: load the log into an emptied keyspace. Raises CommandError."""
        self._empty()
        try:
            self._aof.files.read()
            steps = self._log_steps()
            with self._loading():
                run_steps(steps or ())
        except (LoadError, OSError) as error:
            log.warning("%s", error)
            raise CommandError("ERR Error trying to load the AOF files, check server logs.") from error
        self._keyspace.dirty = 0

    def _empty(self) -> None:
        for db in self._keyspace.dbs:
            db.clear()
        self._keyspace.field_expiry.clear()
        self._clear_functions()
