"""What a node does for its replicas, whether it is a primary or a replica itself: let them in, and keep them going."""

from __future__ import annotations

import logging
import secrets
import socket
from typing import TYPE_CHECKING, Final

from slotmesh.node.clients.blocking import Blocking
from slotmesh.node.clients.pause import FAILOVER, Pause
from slotmesh.node.persistence.manager import Persistence
from slotmesh.node.replication.full_sync import FullSync
from slotmesh.node.replication.history import ID_LENGTH
from slotmesh.node.replication.ports import Node
from slotmesh.node.replication.replica import CAN_PSYNC2, SNAPSHOT, WAITING
from slotmesh.node.replication.replicas import Replicas
from slotmesh.node.replication.stream import Stream
from slotmesh.node.replication.waiting import Waiting
from slotmesh.node.state import NodeState

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client

log = logging.getLogger("node")

_KEEP_ALIVE: Final = b"\n"


def new_replication_id() -> bytes:
    """A name that no other history has."""
    return secrets.token_hex(ID_LENGTH // 2).encode()


class Serving:
    """The stream's consumers: attached replicas, snapshots for them, and clients that wait for their word."""

    def __init__(
        self,
        state: NodeState,
        persistence: Persistence,
        pause: Pause,
        blocking: Blocking,
        stream: Stream,
        node: Node,
    ) -> None:
        self._state = state
        self._pause = pause
        self._stream = stream
        self.replicas = Replicas(state, node.refresh_write_gate)
        self.full_sync = FullSync(state, persistence, self.replicas, stream, node.flush)
        self.waiting = Waiting(blocking, stream)
        stream.deliver = self.replicas.deliver
        stream.oldest_held = self.replicas.oldest_held
        self._seconds = 0

    # -- letting in ------------------------------------------------------------------------------------------

    def attach_resumed(self, client: Client, replid: bytes, offset: int) -> bool:
        """Let a replica go on from byte `offset`; False when it needs a full sync."""
        stream, replicas = self._stream, self.replicas
        stream.flush()
        reason = stream.history.why_not_resume(replid, offset, stream.backlog)
        if reason is not None:
            log.info("Partial resynchronization not accepted: %s", reason)
            return False
        assert stream.backlog is not None
        replica = replicas.attach(client)
        chunks = stream.backlog.since(offset)
        name = b" " + stream.history.replid if replica.intro.capabilities & CAN_PSYNC2 else b""
        replicas.send(replica, (b"+CONTINUE%b\r\n" % name, *chunks))
        replica.release()
        replicas.put_online(replica)
        log.info(
            "Partial resynchronization request from %s accepted. Sending %d bytes of backlog starting from offset %d.",
            replica.name,
            sum(map(len, chunks)),
            offset,
        )
        return True

    def attach_full(self, client: Client, *, old_sync: bool) -> None:
        """Give a replica all the data, then the stream."""
        stream = self._stream
        if stream.backlog is None:
            # Nothing was recorded so far, so nobody can have the beginning of what is recorded from here on.
            stream.history.restart(new_replication_id())
            self.open_stream(feeding=True)
            log.info("Replication backlog created, my new replication ID is '%s'", stream.history.replid.decode())
        replica = self.replicas.attach(client)
        replica.old_sync = old_sync
        if self._state.config.repl_disable_tcp_nodelay:
            _let_packets_fill(client)
        self.full_sync.enlist(replica)

    def open_stream(self, *, feeding: bool) -> None:
        """Keep a backlog from here on; `feeding`: of what runs here, not of what a primary sends."""
        self._stream.open(self._state.config.repl_backlog_size)
        self._stream.set_feeding(feeding)

    # -- keeping going ---------------------------------------------------------------------------------------

    def every_second(self, *, is_replica: bool) -> None:
        """Drop who is silent; show who waits, and who follows, that we live; forget a backlog nobody wants.

        A replica neither pings nor forgets: its stream is its primary's, and it may have to take that one's place.
        """
        replicas = self.replicas
        self._seconds += 1
        if len(replicas):
            replicas.drop_silent()
            for replica in replicas:
                if replica.state == WAITING or (replica.state == SNAPSHOT and not self.full_sync.is_streaming):
                    replicas.send(replica, (_KEEP_ALIVE,))
        if not is_replica:
            self._ping_or_forget()
        replicas.refresh_good()

    def _ping_or_forget(self) -> None:
        state, stream = self._state, self._stream
        config = state.config
        if len(self.replicas):
            # While a failover waits for a replica to catch up the offset must stand still.
            due = not self._seconds % config.repl_ping_replica_period
            if due and not self._pause.is_paused_for(FAILOVER):
                stream.ping()
        elif stream.backlog is not None and config.repl_backlog_ttl:
            idle_ms = state.clock.mono_ms - self.replicas.none_since_ms
            if idle_ms > config.repl_backlog_ttl * 1000:
                self._forget_backlog()

    def _forget_backlog(self) -> None:
        """What is written from now on is in no stream, so the history ends here."""
        stream = self._stream
        stream.set_feeding(False)
        stream.close()
        stream.history.restart(new_replication_id())
        log.info(
            "Replication backlog freed after %d seconds without connected replicas.",
            self._state.config.repl_backlog_ttl,
        )


def _let_packets_fill(client: Client) -> None:
    """`repl-disable-tcp-nodelay`: fewer packets at the price of up to 40 ms."""
    if client.sock is not None and client.sock.family != socket.AF_UNIX:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
