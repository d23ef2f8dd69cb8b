"""The replication stream of this node: what a primary produces, or what a replica passes on from its own primary.

`feed` is called once for every command that changed something, so it only encodes and counts; `flush`, at the end of a
pass of the data plane, makes one chunk of it all, which the backlog keeps and every replica is sent. The chunk is one
object: however many replicas are behind, the bytes exist once.

There is no stream until a replica asks for one (`open`): a lone primary pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from slotmesh.node.replication.backlog import NOTHING, Backlog
from slotmesh.node.replication.history import History
from slotmesh.node.resp.encoder import encode_command

if TYPE_CHECKING:
    from slotmesh.node.keyspace.propagation import Propagation

_GET_ACK: Final = encode_command([b"REPLCONF", b"GETACK", b"*"])
_PING: Final = encode_command([b"PING"])
#: No database is selected in the stream: the next command must be preceded by SELECT.
NO_DB: Final = -1


class Stream:
    """Offsets, history and backlog. `offset` is that of the last byte produced, or applied on a replica.

    `deliver` is called with every chunk, after the backlog has it; `oldest_held` tells the offset of the oldest byte
    that a replica has not been sent. `ack_wanted`: ask the replicas how far they are, as
    soon as `may_ask` allows it: while writes are paused the offset must stand still.
    """

    __slots__ = (
        "_pending",
        "_propagation",
        "_sink",
        "ack_wanted",
        "backlog",
        "deliver",
        "history",
        "may_ask",
        "offset",
        "oldest_held",
        "selected_db",
    )

    def __init__(self, propagation: Propagation, history: History) -> None:
        self._propagation = propagation
        self._pending: list[bytes] = []
        self._sink = self.feed  # one object: the fast path knows it by identity
        self.history = history
        self.offset = 0
        self.selected_db = NO_DB
        self.backlog: Backlog | None = None
        self.ack_wanted = False
        self.may_ask: Callable[[], bool] = lambda: True
        self.deliver: Callable[[bytes], None] = lambda chunk: None
        self.oldest_held: Callable[[int], int] = lambda next_offset: NOTHING

    # -- opening and closing ---------------------------------------------------------------------------------

    def open(self, size: int) -> None:
        """Keep a backlog of `size` bytes from here on."""
        if self.backlog is None:
            self.backlog = Backlog(size, self.offset + 1)

    def close(self) -> None:
        """Forget the backlog; nobody can resume any more."""
        self.flush()
        self.backlog = None

    def set_feeding(self, on: bool) -> None:
        """Whether the commands that run here make the stream: on a primary with a backlog."""
        feeds = self._propagation.feeds
        if on and self._sink not in feeds:
            feeds.append(self._sink)
        elif not on and self._sink in feeds:
            feeds.remove(self._sink)
        self._propagation.replica_feed = self._sink if on else None

    # -- producing -------------------------------------------------------------------------------------------

    def feed(self, db_index: int, argv: list[bytes]) -> None:
        """A command changed database `db_index` of this primary; -1: it concerns none."""
        if db_index != self.selected_db and db_index >= 0:
            self.selected_db = db_index
            self._append(encode_command([b"SELECT", b"%d" % db_index]))
        data = encode_command(argv)
        self._pending.append(data)
        self.offset += len(data)

    def bytes_for_slow_replicas(self) -> int:
        """What is held only for replicas that are behind, beyond the size of the backlog."""
        backlog = self.backlog
        return max(0, backlog.memory - backlog.size) if backlog is not None else 0

    def ping(self) -> None:
        """Show the replicas that this primary lives."""
        self._append(_PING)

    def relay(self, data: bytes) -> None:
        """Bytes of our own primary's stream, whose commands have been applied here."""
        self._append(data)

    def _append(self, data: bytes) -> None:
        self._pending.append(data)
        self.offset += len(data)

    def flush(self) -> None:
        """End of a pass: hand out what came together."""
        if self.ack_wanted and self.may_ask():
            self.ack_wanted = False
            if self.backlog is not None:  # else there is no stream, and nobody to ask
                self._append(_GET_ACK)
        pending = self._pending
        if not pending:
            return
        chunk = pending[0] if len(pending) == 1 else b"".join(pending)
        pending.clear()
        if self.backlog is not None:
            self.backlog.append(chunk, self.oldest_held(self.backlog.next_offset))
        self.deliver(chunk)
