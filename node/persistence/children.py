"""The children of a node that write files or snapshots: at most one at a time."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import trio

from slotmesh.node.memory.cgroup import memory_room
from slotmesh.node.memory.used import Memory, resident_bytes
from slotmesh.node.persistence.child import Child, ChildResult, Report, fork_child
from slotmesh.node.persistence.errors import StorageError
from slotmesh.node.state import NodeState


class Children:
    """The one child that there may be."""

    def __init__(self, state: NodeState, memory: Memory, prepare: Callable[[], None]) -> None:
        """`prepare` is called in each child before its work."""
        self._state = state
        self._memory = memory
        self._prepare = prepare
        self._nursery: trio.Nursery | None = None
        self.current: Child | None = None
        self.latest_fork_us = 0

    def run_in(self, nursery: trio.Nursery) -> None:
        """Wait for children in `nursery`; before this none can be started."""
        self._nursery = nursery

    def require_memory(self) -> None:
        """Raise OSError when the container's memory limit leaves no room for a child that copies the data.

        It does so as soon as it has looked at them, since that writes reference counts (docs/adr/0021). A child that
        does not fit would have the whole container killed. Replicas that need a full sync are not refused one.
        """
        room = memory_room()
        needed = max(0, resident_bytes() - self._memory.startup)
        if room is not None and needed > room:
            raise OSError(
                errno.ENOMEM,
                f"the child may need {needed >> 20} MB and the container's memory limit leaves {room >> 20} MB;"
                " lower maxmemory or raise the limit",
            )

    def start(
        self,
        kind: str,
        work: Callable[[Report], None],
        on_done: Callable[[Child, ChildResult], None],
        keep_fds: Sequence[int] = (),
    ) -> Child:
        """Fork a child for `work`; `on_done` hears how it ended. There must be none yet. Raises OSError."""
        assert self.current is None, "at most one child at a time"
        assert self._nursery is not None, "persistence is not running"

        def work_last_in_line(report: Report) -> None:
            self._prepare()
            work(report)

        child = fork_child(kind, work_last_in_line, keep_fds)
        self._state.stats.forks += 1
        self.latest_fork_us = child.fork_us
        self.current = child
        self._nursery.start_soon(self._await_child, child, on_done)
        return child

    async def _await_child(self, child: Child, on_done: Callable[[Child, ChildResult], None]) -> None:
        result = await child.wait()
        self.current = None
        try:
            on_done(child, result)
        except StorageError:
            raise
        except Exception:  # a bug of ours: its file may be missing, but another child can write one
            self._state.complaints.fault("the outcome of a child process")
