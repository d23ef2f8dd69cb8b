"""The tasks that a node cannot do without, and what it means when one of them fails.

Faults that concern one client, link, replica or child process are caught where they happen and cost just that. What is
not caught there leaves in doubt whether what was done is in the log, at the replicas, or told to the cluster. Then the
node ends, with a word in its log, and writes nothing more: what is on disk and elsewhere is what was confirmed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator

import trio

from slotmesh.node.persistence.errors import StorageError

log = logging.getLogger("node")


class NeededTasks:
    """Starts them; `failed` tells whether one has failed."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.failed = False

    def start(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` in the nursery; if it fails, all that runs there is cancelled. StorageError is passed on."""
        self._nursery.start_soon(self._run, what, work)

    async def _run(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except* StorageError:
            raise
        except* Exception as group:  # a bug of ours
            log.critical("Exiting: %s failed in a way that is a bug of this server.", what, exc_info=group)
            self.failed = True
            self._nursery.cancel_scope.cancel()


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The errors of a group, those of the groups in it included."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
