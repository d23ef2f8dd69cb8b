"""Rewriting the append-only file, and switching it on and off at run time."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from time import perf_counter_ns
from typing import Final, Protocol

from slotmesh.node.persistence import aof as states
from slotmesh.node.persistence.aof import Aof
from slotmesh.node.persistence.aof_commands import write_commands
from slotmesh.node.persistence.child import KILLED, Child, ChildResult
from slotmesh.node.persistence.children import Children
from slotmesh.node.persistence.rewrite_pacing import RewritePacing
from slotmesh.node.persistence.saver import remove_if_there
from slotmesh.node.persistence.snapshot import SnapshotOptions, write_file, write_snapshot
from slotmesh.node.state import NodeState

log = logging.getLogger("node")

AOF: Final = "aof"
_QUIET_AFTER_START_MS: Final = 60_000


class OptionsOf(Protocol):
    """Tells what an RDB written now has to hold."""

    def __call__(self, *, aof_base: bool = False) -> SnapshotOptions:
        """`aof_base`: it is the base of a log."""


class AofRewriter:
    """Makes new bases for the log, in children."""

    def __init__(
        self,
        state: NodeState,
        children: Children,
        aof: Aof,
        options: OptionsOf,
        set_feeding: Callable[[bool], None],
        refresh_write_gate: Callable[[], None],
    ) -> None:
        """`set_feeding`: whether propagation feeds the log."""
        self._state = state
        self._config = state.config
        self._children = children
        self._aof = aof
        self._options = options
        self._set_feeding = set_feeding
        self._refresh_write_gate = refresh_write_gate
        self.scheduled = False
        self.failed = False
        self.last_seconds = -1
        self.rewrites = 0
        self.cow_bytes = 0
        self.pacing = RewritePacing()
        self._not_before_ms = 0

    def start(self) -> bool:
        """Rewrite the log in a child; False when one is active or it cannot begin (logged)."""
        if self._children.current is not None:
            return False
        self.scheduled = False
        aof, extension = self._aof, self._aof.files.base_extension
        try:
            self._children.require_memory()
            with self._on_the_loop("aof-rotate"):
                superseded = aof.rotate()
            self._set_feeding(aof.is_open)
            child = self._children.start(
                AOF,
                lambda report: self.write_base(aof.files.temp_base_path(os.getpid()), extension, report.progress),
                lambda child, result: self._done(child, result, superseded, extension),
            )
        except OSError as error:
            log.warning("Can't rewrite append only file in background: %s", error.strerror or error)
            self._note_failure()
            return False
        self.rewrites += 1
        log.info("Background append only file rewriting started by pid %d", child.pid)
        return True

    @contextlib.contextmanager
    def _on_the_loop(self, event: str) -> Iterator[None]:
        """Record in LATENCY how long everybody waits for the manifest: the next command may only go into the new file
        once it is named there, and the old files may only go once they are not."""
        began = perf_counter_ns()
        try:
            yield
        finally:
            spent_ms = (perf_counter_ns() - began) // 1_000_000
            self._state.latency.add(event, spent_ms, self._state.clock.now_ms // 1000)

    def write_base(self, path: str, extension: str, progress: Callable[[int], None] = lambda keys: None) -> None:
        """Write the present data set as a base file. Raises OSError."""
        options = self._options(aof_base=True)
        keyspace = self._state.keyspace

        def fill(write: Callable[[bytes], object]) -> None:
            if extension == "rdb":
                write_snapshot(write, keyspace, options, progress)
            else:
                write_commands(write, keyspace, options, self._config.aof_timestamp_enabled, progress)

        write_file(path, options.incremental_sync, fill)

    def _done(self, child: Child, result: ChildResult, superseded: int, extension: str) -> None:
        self.last_seconds = int(result.seconds)
        self.cow_bytes = result.cow_bytes
        temp_path = self._aof.files.temp_base_path(child.pid)
        if result.error:
            log.warning("Background AOF rewrite terminated with error: %s", result.error)
            remove_if_there(temp_path)
            self._aof.drop_waiting()
            self._set_feeding(self._aof.is_open)
            if result.error != KILLED:
                self._note_failure()
            return
        try:
            with self._on_the_loop("aof-rename"):
                self._aof.install_base(temp_path, superseded, extension)
        except OSError as error:
            log.warning("Error trying to install the rewritten AOF: %s", error)
            remove_if_there(temp_path)
            self._note_failure()
            return
        self.failed = False
        self.pacing.succeeded()
        log.info("Background AOF rewrite finished successfully")

    def _note_failure(self) -> None:
        self.failed = True
        minutes = self.pacing.failed(self._state.clock.mono_ms)
        if minutes:
            log.warning(
                "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in %d minutes",
                minutes,
            )
        if self._aof.state == states.WAITING:
            self.scheduled = True

    def may_start(self) -> bool:
        """Whether an automatic rewrite may begin now."""
        return not self.pacing.holds_back(self._state.clock.mono_ms)

    def began(self, now_ms: int) -> None:
        """The log was opened at start, at `now_ms` (monotonic). One that is due for a rewrite already waits a while:
        where all nodes of a machine start at once, memory, disk and processors are needed for something else."""
        self._not_before_ms = now_ms + _QUIET_AFTER_START_MS if self._growth() is not None else 0

    def has_grown(self) -> bool:
        """Whether the log has outgrown its last rewrite by `auto-aof-rewrite-percentage`; says so in the log."""
        growth = self._growth()
        if growth is None or self._state.clock.mono_ms < self._not_before_ms:
            return False
        log.info("Starting automatic rewriting of AOF on %d%% growth", growth)
        return True

    def _growth(self) -> int | None:
        """Percent by which the log has grown, if that is enough for a rewrite."""
        aof, percent = self._aof, self._config.auto_aof_rewrite_percentage
        if aof.state != states.ON or not percent or aof.size <= self._config.auto_aof_rewrite_min_size:
            return None
        growth = aof.size * 100 // (aof.size_after_rewrite or 1) - 100
        return growth if growth >= percent else None

    def switch(self, enabled: bool) -> bool:
        """Switch the log on or off while the server runs; False when its first rewrite could not start.

        It is tried again then, until the log is switched off.
        """
        started = True
        child = self._children.current
        own_child = child if child is not None and child.kind == AOF else None
        if enabled and self._aof.state == states.OFF:
            self._aof.begin_waiting()
            if own_child is not None:
                own_child.kill()  # it began without a file for what happens meanwhile
            if self._state.propagation.in_batch:
                # A base written now would hold changes that the log is about to be told of as well.
                log.info(
                    "AOF was enabled during a transaction. An AOF background was scheduled to start when possible."
                )
                self.scheduled = True
            else:
                started = child is not None or self.start()
                self.scheduled = child is not None or not started
        elif not enabled and self._aof.state != states.OFF:
            if own_child is not None:
                log.info("Killing running AOF rewrite child: %d", own_child.pid)
                own_child.kill()
            self._aof.close()
            self._set_feeding(False)
            self.scheduled = False
        self._refresh_write_gate()
        return started
