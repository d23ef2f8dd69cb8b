"""RDB saving: SAVE, BGSAVE, save points, and what is remembered of them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Final

from slotmesh.node.persistence.child import KILLED, Child, ChildResult, Report
from slotmesh.node.persistence.children import Children
from slotmesh.node.persistence.snapshot import SnapshotOptions, save_file
from slotmesh.node.state import NodeState

log = logging.getLogger("node")

_RETRY_S: Final = 5
RDB: Final = "rdb"


class RdbSaver:
    """Writes `dbfilename`. Times are Unix seconds, -1 or 0 for never."""

    def __init__(
        self,
        state: NodeState,
        children: Children,
        options: Callable[[], SnapshotOptions],
        refresh_write_gate: Callable[[], None],
    ) -> None:
        """`options`: what an RDB written now has to hold."""
        self._config = state.config
        self._keyspace = state.keyspace
        self._children = children
        self._options = options
        self._refresh_write_gate = refresh_write_gate
        self.last_save_s = int(time.time())
        self.last_try_s = 0
        self.failed = False
        self.last_seconds = -1
        self.saves = 0
        self.scheduled = False
        self.cow_bytes = 0
        self._dirty_at_fork = 0

    @property
    def refuses_writes(self) -> bool:
        """Whether a failed save must stop writes (`stop-writes-on-bgsave-error`)."""
        return self.failed and self._config.stop_writes_on_bgsave_error and bool(self._config.save)

    def save_sync(self) -> bool:
        """Save now, while everybody waits (SAVE, shutdown); False when it failed, which is logged."""
        self.saves += 1
        path, options = self._config.dbfilename, self._options()
        try:
            save_file(path, temp_name(os.getpid()), self._keyspace, options)
        except OSError as error:
            log.warning("Write error saving DB on disk: %s", error.strerror or error)
            return False
        log.info("DB saved on disk")
        self._saved(self._keyspace.dirty)
        return True

    def _saved(self, changes: int) -> None:
        self._keyspace.dirty -= changes
        self.last_save_s = int(time.time())
        self._set_failed(False)

    def _set_failed(self, failed: bool) -> None:
        self.failed = failed
        self._refresh_write_gate()

    def start(self) -> bool:
        """Save in a child; False when one is active or fork failed (logged)."""
        if self._children.current is not None:
            return False
        self.saves += 1
        self.scheduled = False
        self.last_try_s = int(time.time())
        self._dirty_at_fork = self._keyspace.dirty
        path, keyspace, options = self._config.dbfilename, self._keyspace, self._options()

        def work(report: Report) -> None:
            temp_path = temp_name(os.getpid())
            save_file(path, temp_path, keyspace, options, report.progress, lambda: not report.orphaned())

        try:
            self._children.require_memory()
            child = self._children.start(RDB, work, self._done)
        except OSError as error:
            log.warning("Can't save in background: fork: %s", error.strerror)
            self._set_failed(True)
            return False
        log.info("Background saving started by pid %d", child.pid)
        return True

    def _done(self, child: Child, result: ChildResult) -> None:
        self.last_seconds = int(result.seconds)
        self.cow_bytes = result.cow_bytes
        if not result.error:
            log.info("Background saving terminated with success")
            self._saved(self._dirty_at_fork)
            return
        log.warning("Background saving error: %s", result.error)
        remove_if_there(temp_name(child.pid))
        if result.error != KILLED:  # killed by ourselves: the disk is not to blame
            self._set_failed(True)

    def may_retry(self) -> bool:
        """Whether an automatic save may begin, a few seconds after a failure."""
        return not self.failed or time.time() - self.last_try_s > _RETRY_S

    def save_point_reached(self) -> bool:
        """Whether one of the `save <seconds> <changes>` points asks for a save; says so in the log."""
        dirty, age_s = self._keyspace.dirty, time.time() - self.last_save_s
        for seconds, changes in self._config.save:
            if dirty >= changes and age_s > seconds:
                log.info("%d changes in %d seconds. Saving...", changes, seconds)
                return True
        return False


def temp_name(pid: int) -> str:
    """Where process `pid` writes an RDB before it is renamed."""
    return f"temp-{pid}.rdb"


def remove_if_there(path: str) -> None:
    """Delete a leftover file; one that cannot be deleted is worth a line in the log, nothing more."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("Cannot remove %s: %s", path, error.strerror)
