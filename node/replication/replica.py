"""What is known of one attached replica. Its connection stays an ordinary client of the data plane.

    WAITING -> SNAPSHOT -> [SENDING ->] ONLINE          full sync
    ONLINE                                              partial resync

While a snapshot is made and sent, the stream is held in `held`; the chunks are shared with the backlog and the other
replicas. A replica that got its snapshot as a stream is online then, but the held chunks are released by its first
acknowledgement only: until then it is looking for the end of the snapshot, and nothing should come close behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client

WAITING: Final = 0  # for a snapshot to begin
SNAPSHOT: Final = 1  # one is being made, or is being streamed as it is made
SENDING: Final = 2  # a finished snapshot file is being sent
ONLINE: Final = 3
DONE: Final = 4  # an rdb-only client that has its snapshot

#: How INFO names the states; DONE is not shown.
STATE_NAMES: Final = ("wait_bgsave", "wait_bgsave", "send_bulk", "online", "")

# Capabilities (REPLCONF capa).
CAN_EOF: Final = 1
CAN_PSYNC2: Final = 2

# What a filtered snapshot leaves out (REPLCONF rdb-filter-only).
WITHOUT_DATA: Final = 1
WITHOUT_FUNCTIONS: Final = 2


class Introduction:
    """What a connection said of itself by REPLCONF. `ip` empty: the one it is connected from."""

    __slots__ = ("capabilities", "filters", "ip", "port", "rdb_only")

    def __init__(self) -> None:
        self.port = 0
        self.ip = ""
        self.capabilities = 0
        self.rdb_only = False
        self.filters = 0


class Replica:
    """One replica. Times are ms of Unix time, as those of clients."""

    __slots__ = (
        "ack_offset",
        "aof_offset",
        "client",
        "drained",
        "held",
        "held_bytes",
        "intro",
        "old_sync",
        "online_ms",
        "over_soft_limit_since_ms",
        "snapshot_offset",
        "start_on_ack",
        "state",
        "stuck_bytes",
        "stuck_since_ms",
        "waiting_since_ms",
    )

    def __init__(self, client: Client, intro: Introduction) -> None:
        self.client = client
        self.intro = intro
        self.state = WAITING
        #: Attached by SYNC, which has neither names nor offsets: it will never acknowledge anything.
        self.old_sync = False
        self.ack_offset = 0
        self.aof_offset = 0
        self.snapshot_offset = -1
        self.start_on_ack = False
        self.held: list[bytes] | None = []
        self.held_bytes = 0
        self.over_soft_limit_since_ms = 0
        self.online_ms = 0
        self.waiting_since_ms = client.server.state.clock.now_ms
        # progress of the snapshot, for the time limit
        self.stuck_bytes = 0
        self.stuck_since_ms = 0
        self.drained = trio.Event()

    @property
    def host(self) -> str:
        """The address it announces, or the one it is connected from."""
        if self.intro.ip:
            return self.intro.ip
        return self.client.addr.rpartition(":")[0].strip("[]")

    @property
    def name(self) -> str:
        """`host:port` for the log."""
        return f"{self.host}:{self.intro.port}" if self.intro.port else f"client id #{self.client.id}"

    @property
    def state_name(self) -> str:
        """The state as INFO shows it."""
        return STATE_NAMES[self.state]

    def silent_ms(self, now_ms: int) -> int:
        """How long it has said nothing, an empty line included, since it went online."""
        return max(0, now_ms - max(self.online_ms, self.client.last_used_ms))

    def hold(self, chunk: bytes) -> None:
        """Keep a chunk of the stream until the replica is ready for it."""
        assert self.held is not None
        self.held.append(chunk)
        self.held_bytes += len(chunk)

    def release(self) -> list[bytes]:
        """The chunks held so far; from now on nothing is held."""
        held, self.held = self.held, None
        self.held_bytes = 0
        self.start_on_ack = False
        return held or []

    def on_drained(self) -> None:
        """Called by the data plane: the socket took all that was queued for it. Also when the connection is gone."""
        self.drained.set()
        self.drained = trio.Event()
