"""Persistence of one node: the parts, wired together, and the one rule they share: at most one child at a time.

`saver` writes RDB files, `aof` the log, `rewriter` new bases for it, `loader` reads all of them. The server calls
`feed` (through propagation) and `flush` (at the end of each pass), `maybe_save` from its cron, `can_write` before a
write while its gate is raised, `load_at_start` before it serves, `prepare_exit` and `close` at the end. Others that own
state which an RDB carries put their functions into the hooks.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from time import perf_counter_ns

import trio

from slotmesh.node.base.errors import MISCONF, CommandError, ErrorReply
from slotmesh.node.clients.client import Client
from slotmesh.node.config.kinds import ConfigError
from slotmesh.node.memory.used import Memory
from slotmesh.node.persistence import aof as states
from slotmesh.node.persistence.aof import Aof
from slotmesh.node.persistence.child import Child
from slotmesh.node.persistence.children import Children
from slotmesh.node.persistence.errors import StorageError
from slotmesh.node.persistence.info import Fields, persistence_fields
from slotmesh.node.persistence.migrate_links import MigrateLinks
from slotmesh.node.persistence.rewriter import AOF, AofRewriter
from slotmesh.node.persistence.saver import RDB, RdbSaver, remove_if_there, temp_name
from slotmesh.node.persistence.snapshot import SnapshotOptions
from slotmesh.node.persistence.startup import Loader
from slotmesh.node.state import NodeState

log = logging.getLogger("node")


class Persistence:
    """All persistence of a node."""

    def __init__(
        self,
        state: NodeState,
        memory: Memory,
        *,
        new_client: Callable[[], Client],
        prepare_child: Callable[[], None],
        refresh_write_gate: Callable[[], None],
        starts_as_replica: Callable[[], bool],
        function_sources: Callable[[], list[bytes]],
        load_function: Callable[..., None],
        clear_functions: Callable[[], None],
    ) -> None:
        """`new_client`: a pseudo-client, for the commands of a log. `prepare_child`: called in each child. The last
        three: the sources of all function libraries, what to do with one that a file holds, and how to forget all.
        """
        self._state = state
        self._config = config = state.config
        self._refresh_write_gate = refresh_write_gate
        self.function_sources = function_sources
        self.load_function = load_function
        self.clear_functions = clear_functions
        #: Hook: the AUX fields of a replication stream.
        self.replication_aux: Callable[[], list[tuple[bytes, bytes]]] = list
        self.aof = Aof(config, state.clock, self._wake_syncer)
        self.children = children = Children(state, memory, prepare_child)
        self.saver = RdbSaver(state, children, self.snapshot_options, refresh_write_gate)
        self.rewriter = AofRewriter(
            state, children, self.aof, self.snapshot_options, self.set_feeding, refresh_write_gate
        )
        #: False after DEBUG SET-SKIP-CHECKSUM-VALIDATION: checksums of files and payloads are not looked at.
        self.verify_checksums = True
        self.loader = Loader(
            state,
            self.aof,
            self._load_function,
            lambda: self.clear_functions(),
            new_client=new_client,
            starts_as_replica=starts_as_replica,
            verifies=lambda: self.verify_checksums,
        )
        self.migrate_links = MigrateLinks(lambda: state.clock.mono_ms)
        #: Told when more of the log is on disk.
        self.on_synced: Callable[[], None] = lambda: None
        self._sync_due = trio.Event()
        config.on_change("appendonly", self._on_appendonly)
        config.on_change("aof-disable-auto-gc", lambda keep: None if keep else self.aof.remove_history())
        for name in ("save", "stop-writes-on-bgsave-error"):
            config.on_change(name, lambda _: refresh_write_gate())

    @property
    def child(self) -> Child | None:
        """The child under way."""
        return self.children.current

    def _load_function(self, code: bytes, *, replace: bool = False) -> None:
        self.load_function(code, replace=replace)

    def _on_appendonly(self, enabled: bool) -> None:
        if not self.rewriter.switch(enabled):
            self.rewriter.switch(False)
            raise ConfigError("Unable to turn on AOF. Check server logs.")

    # -- calls of the data plane -----------------------------------------------------------------------------

    def set_feeding(self, on: bool) -> None:
        """Have propagation feed the log, or not: a server without a log must not pay for one."""
        feeds = self._state.propagation.feeds
        if on and self.aof.feed not in feeds:
            feeds.append(self.aof.feed)
        elif not on and self.aof.feed in feeds:
            feeds.remove(self.aof.feed)

    def flush(self) -> bool:
        """End of a pass, before the replies. False when the disk has just stopped taking what is logged: what this pass
        changed is in no file, and nobody may be told that it is kept. Raises AofFailure when the node must end.
        """
        aof, kept = self.aof, True
        if aof.is_open:
            before = aof.write_error
            started = perf_counter_ns()
            aof.flush()
            nanos = perf_counter_ns() - started
            self._state.stats.loop.log_nanos += nanos
            threshold_ms = self._state.latency.threshold_ms
            if threshold_ms and nanos >= threshold_ms * 1_000_000:
                self._note_slow_write(nanos // 1_000_000)
            if before is not aof.write_error:
                kept = before is not None or aof.write_error is None
                self._refresh_write_gate()
        return kept

    def _note_slow_write(self, ms: int) -> None:
        """Everybody waited for the log: LATENCY names it as stock does."""
        beside = "pending-fsync" if self.aof.sync_running else "alone" if self.child is None else "active-child"
        self._state.latency.add(f"aof-write-{beside}", ms, self._state.clock.now_ms // 1000)
        self._state.latency.add("aof-write", ms, self._state.clock.now_ms // 1000)

    def can_write(self) -> ErrorReply | None:
        """Why writes are refused: the disk does not take what `save` or `appendonly` promise."""
        error = self.aof.write_error or self.aof.sync_error
        if error is not None and self.aof.state != states.OFF:
            return ErrorReply(f"MISCONF Errors writing to the AOF file: {error.strerror}")
        return MISCONF if self.saver.refuses_writes else None

    # -- saving ----------------------------------------------------------------------------------------------

    def snapshot_options(self, *, aof_base: bool = False) -> SnapshotOptions:
        """What an RDB written now has to hold, by the configuration."""
        config = self._config
        return SnapshotOptions(
            compress=config.rdbcompression,
            checksum=config.rdbchecksum,
            aof_base=aof_base,
            replication=() if aof_base else tuple(self.replication_aux()),
            functions=tuple(self.function_sources()),
            access=config.maxmemory_policy.endswith(("lru", "lrm", "lfu")),
            incremental_sync=config.aof_rewrite_incremental_fsync if aof_base else config.rdb_save_incremental_fsync,
            key_delay_us=config.rdb_key_save_delay,
        )

    def save_sync(self) -> bool:
        """Save now, while everybody waits; False when it failed (logged)."""
        return self.saver.save_sync()

    def on_everything_flushed(self) -> None:
        """FLUSHALL ran: nobody needs a child that saves what is gone, and the file on disk should be empty too."""
        if self.loader.progress is not None:
            return
        if self.child is not None and self.child.kind == RDB:
            self.child.kill()
        if self._config.save:
            self.save_sync()

    def start_bgsave(self) -> bool:
        """Save in a child; False when that is not possible now."""
        return self.saver.start()

    # -- timers ----------------------------------------------------------------------------------------------

    def keep_up(self) -> bool:
        """The housekeeping; whether something is under way, or waits to be."""
        self.migrate_links.close_idle()
        self._maybe_save()
        busy = self.child is not None or self.loader.progress is not None
        return busy or self.saver.scheduled or self.rewriter.scheduled or self.aof.sync_waits

    def _maybe_save(self) -> None:
        """Start what is due: a scheduled child, a save point, a rewrite of a log that has grown."""
        if self.child is not None or self.loader.progress is not None:
            return
        saver, rewriter = self.saver, self.rewriter
        if rewriter.scheduled and rewriter.may_start():
            rewriter.start()
        elif saver.may_retry() and saver.save_point_reached():
            saver.start()
        elif rewriter.may_start() and rewriter.has_grown():
            rewriter.start()
        elif saver.scheduled and saver.may_retry():
            saver.start()

    async def run(self) -> None:
        """Wait for children, sync the log. Runs as long as the server."""
        async with trio.open_nursery() as nursery:
            self.children.run_in(nursery)
            while True:
                await self._sync_due.wait()
                self._sync_due = trio.Event()
                await self._sync_once()

    def _wake_syncer(self) -> None:
        self._sync_due.set()

    async def _sync_once(self) -> None:
        """One fsync of the log in a thread, so that a slow disk holds nobody up."""
        aof = self.aof
        if self._config.no_appendfsync_on_rewrite and self.child is not None and not aof.retired:
            return
        fd, size, retired = aof.take_sync_job()

        def sync() -> OSError | None:
            try:
                for each in (*retired, fd):
                    if each >= 0:
                        os.fdatasync(each)
            except OSError as error:
                return error
            finally:
                for old in retired:
                    os.close(old)
            return None

        before = aof.sync_error
        error = await trio.to_thread.run_sync(sync)
        self._state.clock.refresh()
        aof.sync_finished(fd, size, error)
        self.flush()  # what was held back meanwhile
        self.on_synced()
        if before is not aof.sync_error:
            self._refresh_write_gate()

    # -- start and end ---------------------------------------------------------------------------------------

    async def load_at_start(self) -> None:
        """Load what is on disk, then open the log. Raises StorageError."""
        try:
            await self.loader.load_at_start()
            if self._config.appendonly:
                self.aof.open_at_start(self._write_first_base)
                self.rewriter.began(self._state.clock.mono_ms)
                self.set_feeding(True)
        except OSError as error:
            place = os.path.abspath(error.filename or ".")
            raise StorageError(f"Fatal error loading the DB from {place}: {error.strerror}. Exiting.") from error

    def _write_first_base(self, path: str) -> None:
        temp_path = self.aof.files.temp_base_path(os.getpid())
        self.rewriter.write_base(temp_path, self.aof.files.base_extension)
        os.rename(temp_path, path)

    def reload(self, *, save: bool = True, flush: bool = True, merge: bool = False) -> None:
        """DEBUG RELOAD. Raises CommandError."""
        if save and not self.save_sync():
            raise CommandError("ERR Error trying to load the RDB dump, check server logs.")
        self.loader.reload(flush=flush, merge=merge)

    def reload_log(self) -> None:
        """DEBUG LOADAOF: also of the files of a log that is switched off. Raises CommandError.

        Not while the first rewrite of a log runs: it would become the base of other data than those loaded.
        """
        if self.aof.state == states.WAITING and self.aof.is_open:
            raise CommandError("ERR Error trying to load the AOF files, check server logs.")
        if self.aof.is_open:
            self.aof.flush(at_once=True)
        self.loader.reload_log()

    def prepare_exit(self, save: bool | None = None, *, force: bool = False) -> bool:
        """End a child that saves, and save (None: if there are save points); False when saving failed.

        `force`: give up on a log that was switched on and is not complete yet, too. The log stays open: commands may
        still run until the server stops.
        """
        if self.child is not None:
            if self.child.kind == AOF and self.aof.state == states.WAITING and not force:
                log.warning("Writing initial AOF, can't exit.")
                return False
            log.warning("There is a child (%s). Killing it!", self.child.kind)
            self.child.kill()
            remove_if_there(temp_name(self.child.pid))
            remove_if_there(self.aof.files.temp_base_path(self.child.pid))
        if self.loader.progress is not None:
            return True  # half a data set must not replace a whole one
        if save or (save is None and self._config.save):
            log.info("Saving the final RDB snapshot before exiting.")
            if not self.save_sync():
                log.warning("Error trying to save the DB, can't exit.")
                return False
        return True

    def close(self) -> None:
        """The last thing: complete and close the log. Nothing can be fed any more."""
        if self.aof.is_open:
            log.info("Calling fsync() on the AOF file.")
        self.set_feeding(False)
        self.aof.close()
        self.migrate_links.close_all()

    def stats_fields(self) -> Fields:
        """What persistence adds to the `stats` section of INFO."""
        return {"latest_fork_usec": self.children.latest_fork_us}

    def info_fields(self) -> Fields:
        """The `persistence` section of INFO."""
        return persistence_fields(self._state, self.child, self.aof, self.saver, self.rewriter, self.loader)
