"""How changes reach the append-only file and the replicas.

A command that changed something is handed, after it ran, to every feed: as it was called, or as its handler rewrote it
(`Client.propagate_as`). What one EXEC, script or rewriting command causes in more than one command is wrapped in MULTI
and EXEC, so that nobody who replays it can see half of it. Removals of expired keys come in as commands of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from slotmesh.node.base.compat import COMPAT, deletion
from slotmesh.node.keyspace.database import Database

Feed = Callable[[int, list[bytes]], None]

#: The database index of commands that concern none: no SELECT goes before them.
NO_DATABASE: Final = -1
#: Who gets a command (`redis.set_repl` of scripts): the log, the replicas, both.
TO_LOG: Final = 1
TO_REPLICAS: Final = 2
EVERYBODY: Final = TO_LOG | TO_REPLICAS
_MULTI = [b"MULTI"]
_EXEC = [b"EXEC"]


class Author(Protocol):
    """Who runs a command: a client. `rewritten`: what to propagate instead of the command, None for the command."""

    db: Database
    rewritten: list[list[bytes]] | None


class Propagation:
    """Fans commands out to `feeds`. Each feed takes (database index or NO_DATABASE, argv) and must not raise."""

    def __init__(self) -> None:
        self.feeds: list[Feed] = []
        #: One of `feeds`: the one of the replicas, for what only they must see.
        self.replica_feed: Feed | None = None
        #: Who gets what is fed now. Anything but EVERYBODY only inside of a batch.
        self.targets = EVERYBODY
        self._depth = 0
        #: What the batch under way has gathered: (database index, argv, who gets it).
        self._batch: list[tuple[int, list[bytes], int]] = []

    def after_command(self, client: Author, argv: list[bytes]) -> None:
        """`client` ran `argv`, which changed the keyspace or rewrote itself."""
        rewritten, client.rewritten = client.rewritten, None
        if not self.feeds:
            return
        if rewritten is None:
            self.feed(client.db.index, argv)
        elif len(rewritten) == 1:
            self.feed(client.db.index, rewritten[0])
        elif rewritten:
            self.begin_batch()
            for command in rewritten:
                self.feed(client.db.index, command)
            self.end_batch()

    def feed(self, db_index: int, argv: list[bytes]) -> None:
        """Send one command to AOF and replicas."""
        if self._depth:
            self._batch.append((db_index, argv, self.targets))
            return
        for feed in self.feeds:
            feed(db_index, argv)

    def to_replicas(self, db_index: int, argv: list[bytes]) -> None:
        """Send a command to the replicas alone: a PUBLISH changes nothing that a log would have to keep."""
        if self.replica_feed is None:
            return
        if self._depth:
            self._batch.append((db_index, argv, self.targets & TO_REPLICAS))
        else:
            self.replica_feed(db_index, argv)

    def removed(self, db_index: int, keys: list[bytes], *, lazy: bool) -> None:
        """The time of keys had come on this primary, or they had to make room (on a replica that evicts by itself, too:
        only its log is a feed then, as its stream is that of its primary)."""
        if self.feeds:
            command = deletion(lazy=lazy)
            for key in keys:
                self.feed(db_index, [command, key])

    @property
    def in_batch(self) -> bool:
        """Whether a transaction or script is under way, whose changes have not gone out yet."""
        return self._depth > 0

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """What is fed meanwhile goes out at once, and belongs to no batch that is under way: it happened before it."""
        depth, batch, targets = self._depth, self._batch, self.targets
        self._depth, self._batch, self.targets = 0, [], EVERYBODY
        try:
            yield
        finally:
            self._depth, self._batch, self.targets = depth, batch, targets

    def begin_batch(self) -> None:
        """What follows up to `end_batch` is indivisible. Batches nest; the outermost one counts."""
        self._depth += 1

    def drop_batch(self) -> None:
        """Forget what the batch under way has gathered: the node goes down in the middle of it."""
        self._batch.clear()

    def end_batch(self) -> None:
        """Close the batch: what it gathered goes out, between MULTI and EXEC if it is more than one command."""
        self._depth -= 1
        if self._depth or not self._batch:
            return
        batch, self._batch = self._batch, []
        for feed in self.feeds:
            target = TO_REPLICAS if feed == self.replica_feed else TO_LOG
            chosen = [(db, argv) for db, argv, targets in batch if targets & target]
            if len(chosen) > 1:
                first = NO_DATABASE if COMPAT.newer else chosen[0][0]  # where SELECT goes: behind MULTI, or before it
                chosen = [(first, _MULTI), *chosen, (NO_DATABASE, _EXEC)]
            for db_index, argv in chosen:
                feed(db_index, argv)
