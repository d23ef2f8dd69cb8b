"""The replica's side: the task that connects to the primary, gets in step with it, and follows its stream.

One `PrimaryLink` per primary; it is made when the node becomes its replica and retired when that ends. What it learns
it hands to `Replication` (`on_resumed`, `on_snapshot_begins`, `on_snapshot_loaded`), which owns all state that outlives
a connection. The task may be cancelled at every `await`; once retired it changes nothing any more.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from slotmesh.node.clients.client import Client
from slotmesh.node.clients.pause import BY_CLIENT, Pause
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.persistence.manager import Persistence
from slotmesh.node.replication.applier import Applying
from slotmesh.node.replication.failover import Failover
from slotmesh.node.replication.handshake import (
    Failed,
    FullSync,
    Handshake,
    HandshakePlan,
    OldSync,
    Outcome,
    Resume,
)
from slotmesh.node.replication.incoming import Incoming
from slotmesh.node.replication.loading import Snapshot
from slotmesh.node.replication.ports import LinkOwner
from slotmesh.node.replication.stream import Stream
from slotmesh.node.replication.stream_parser import ProtocolError
from slotmesh.node.replication.transfer import Transfer, TransferError
from slotmesh.node.resp.encoder import encode_command
from slotmesh.node.state import NodeState

log = logging.getLogger("node")

# States, by the names that ROLE gives them.
CONNECT: Final = "connect"
CONNECTING: Final = "connecting"
HANDSHAKE: Final = "handshake"
SYNC: Final = "sync"
CONNECTED: Final = "connected"

_READ_SIZE: Final = 1 << 16
_BULK_READ_SIZE: Final = 1 << 18
_RETRY_S: Final = 1.0
_ACK_EVERY_S: Final = 1.0
#: How often a replica looks whether CLIENT PAUSE is over: as often as the housekeeping may end it.
_LOOK_AT_PAUSE_S: Final = 0.1
_MAX_LINE: Final = 4096


class LinkBroken(Exception):
    """The connection is of no use any more; the text is for the log."""


@attrs.frozen
class LinkParts:
    """What links to primaries work with."""

    state: NodeState
    persistence: Persistence
    pause: Pause
    clients: dict[int, Client]
    stream: Stream
    failover: Failover
    applying: Callable[[], Applying]
    flush: Callable[[], None]
    """Sends what clients and replicas are owed."""


class PrimaryLink:
    """The link to one primary. `client` is the pseudo-client that its commands run as."""

    def __init__(self, parts: LinkParts, owner: LinkOwner, host: str, port: int, client: Client) -> None:
        self._state = parts.state
        self._parts = parts
        self._owner = owner
        self.host = host
        self.port = port
        self.client = client
        self.state = CONNECT
        #: Monotonic ms of the last byte from the primary; None before the first.
        self.last_io_ms: int | None = None
        #: When the link went down, Unix ms; 0 while it never was up.
        self.down_since_ms = 0
        self.transfer: Transfer | None = None
        #: The stream, while there is one.
        self.incoming: Incoming | None = None
        self._scope = trio.CancelScope()
        self._connection_scope: trio.CancelScope | None = None
        self._ack_due = trio.Event()
        self._old_sync = False

    # -- life ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the primary until retired, connecting again and again."""
        with self._scope:
            while True:
                if not await self._one_connection():
                    await trio.sleep(_RETRY_S)

    def drain(self, *, patient: bool) -> None:
        """The node is about to have another primary (`patient`: none): apply what this one has sent."""
        if self.incoming is not None:
            self.incoming.drain(patient=patient)

    def retire(self) -> None:
        """The node has another primary now, or none."""
        self.incoming = None
        self._scope.cancel()
        self._forget_client()

    def break_off(self) -> None:
        """Drop the connection (CLIENT KILL, a new password); the link will be made anew."""
        if self._connection_scope is not None:
            self._connection_scope.cancel()

    def ack_soon(self) -> None:
        """The primary wants to know how far we are."""
        self._ack_due.set()

    def set_state(self, state: str) -> None:
        """Enter a state and tell."""
        self.state = state
        self._owner.on_link_changed()

    async def _one_connection(self) -> bool:
        """Connect and follow until it breaks; whether to try again at once."""
        at_once = False
        with trio.CancelScope() as self._connection_scope:
            try:
                async with await self._connect() as stream:
                    await self._talk(stream)
            except* (OSError, trio.BrokenResourceError, trio.TooSlowError) as group:
                at_once = self.state in (SYNC, CONNECTED)
                log.warning("%s: %s", self._what_failed(), _text_of(group))
            except* (LinkBroken, TransferError, ProtocolError) as group:
                at_once = self.state in (SYNC, CONNECTED)
                log.warning("%s", _text_of(group))
            except* LoadError as group:
                log.warning("Failed trying to load the MASTER synchronization DB: %s", _text_of(group))
            except* Exception as group:  # a bug of ours, as in the data plane: it costs the link, not the data
                log.error("The link to MASTER is dropped for a bug of this server", exc_info=group)
        at_once = at_once or self._connection_scope.cancelled_caught
        if self.state == CONNECTED:
            self.down_since_ms = self._state.clock.now_ms
        self.incoming = None
        self.transfer = None
        self._forget_client()
        self.set_state(CONNECT)
        return at_once

    def _what_failed(self) -> str:
        if self.state == CONNECTED:
            return "Connection with master lost"
        if self.state == SYNC:
            return "I/O error trying to sync with MASTER"
        return "Error condition on socket for SYNC"

    def _forget_client(self) -> None:
        """The pseudo-client is no connection any more, and what of a transaction was queued did not happen."""
        self._parts.clients.pop(self.client.id, None)
        self._owner.reset_primary_client(self.client)

    # -- connecting ------------------------------------------------------------------------------------------

    async def _connect(self) -> trio.SocketStream:
        state = self._state
        log.info("Connecting to MASTER %s:%d", self.host, self.port)
        self.set_state(CONNECTING)
        with trio.fail_after(state.config.repl_timeout):
            stream = await trio.open_tcp_stream(
                self.host, self.port, local_address=state.config.bind_source_addr or None
            )
        log.info("MASTER <-> REPLICA sync started")
        return stream

    async def _talk(self, stream: trio.SocketStream) -> None:
        """The whole conversation; ends with an exception."""
        self.set_state(HANDSHAKE)
        outcome, rest = await self._handshake(stream)
        if isinstance(outcome, Failed):
            raise LinkBroken(outcome.reason)
        if isinstance(outcome, Resume):
            log.info("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.")
            self._owner.on_resumed(outcome.replid)
        else:
            rest = await self._full_sync(stream, outcome, rest)
        await self._follow(stream, rest)

    async def _handshake(self, stream: trio.SocketStream) -> tuple[Outcome, bytes]:
        handshake = Handshake(self._plan())
        await self._send(stream, handshake.start())
        held = b""
        while True:
            while handshake.outcome is None and b"\n" in held:
                line, _, held = held.partition(b"\n")
                await self._send(stream, handshake.on_line(line.rstrip(b"\r")))
            if handshake.outcome is not None:
                break
            if len(held) > _MAX_LINE:
                raise LinkBroken("Bad protocol from MASTER: endless line in the handshake")
            held += await self._receive(stream, _READ_SIZE)
        for remark in handshake.remarks:
            log.info("%s", remark)
        self._parts.failover.on_handshake(handshake.outcome)
        return handshake.outcome, held

    def _plan(self) -> HandshakePlan:
        config, owner = self._state.config, self._owner
        resume = owner.resume_point()
        if resume is not None:
            log.info("Trying a partial resynchronization (request %s:%d).", resume[0].decode(), resume[1])
        else:
            log.info("Partial resynchronization not possible (no cached master)")
        replid, next_offset = resume or (b"?", -1)
        return HandshakePlan(
            listening_port=config.replica_announce_port or config.port,
            announce_ip=config.replica_announce_ip.encode(),
            user=config.masteruser,
            password=config.masterauth,
            replid=replid,
            next_offset=next_offset,
            failover=self._parts.failover.in_progress,
        )

    # -- full sync -------------------------------------------------------------------------------------------

    async def _full_sync(self, stream: trio.SocketStream, outcome: FullSync | OldSync, rest: bytes) -> bytes:
        """Take the snapshot; the bytes that came behind it."""
        self._old_sync = isinstance(outcome, OldSync)
        if isinstance(outcome, FullSync):
            log.info("Full resync from master: %s:%d", outcome.replid.decode(), outcome.offset)
        self.transfer = transfer = Transfer()
        self.set_state(SYNC)

        async def receive() -> bytes:
            return await self._receive(stream, _BULK_READ_SIZE)

        piece = transfer.feed(rest)
        while not transfer.started:
            piece = transfer.feed(await receive())
        owner = self._owner
        same_history = isinstance(outcome, FullSync) and outcome.replid == self._parts.stream.history.replid
        snapshot = Snapshot(self._state, self._parts.persistence, transfer, same_history, owner.on_snapshot_begins)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_newlines, stream)
            await snapshot.take(piece, receive)
            nursery.cancel_scope.cancel()
        owner.on_snapshot_loaded(outcome, snapshot.aux)
        log.info("MASTER <-> REPLICA sync: Finished with success")
        self._ack_due.set()  # this is what puts us online
        return transfer.rest

    async def _send_newlines(self, stream: trio.SocketStream) -> None:
        """While the snapshot is loaded nothing is acknowledged; an empty line now and then shows that we live."""
        while True:
            await trio.sleep(_ACK_EVERY_S)
            await self._send(stream, b"\n")

    # -- following -------------------------------------------------------------------------------------------

    async def _follow(self, stream: trio.SocketStream, rest: bytes) -> None:
        state, client = self._state, self.client
        client.fd = stream.socket.fileno()
        client.addr, client.laddr = _address(stream.socket.getpeername()), _address(stream.socket.getsockname())
        client.created_ms = client.last_used_ms = state.clock.now_ms
        self._parts.clients[client.id] = client
        incoming = self.incoming = Incoming(self._parts.applying(), self._parts.stream, client, rest, self._heard)
        self.transfer = None
        self.down_since_ms = 0
        self.set_state(CONNECTED)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._acknowledge, stream)
            while True:
                incoming.receive()
                if incoming.has_work:
                    await self._apply(incoming)
                elif incoming.end is not None:
                    raise _broken_by(incoming.end)
                else:
                    await self._wait_for_more(stream, incoming)

    async def _apply(self, incoming: Incoming) -> None:
        """Apply a slice of what was received. CLIENT PAUSE holds the primary's commands back as well."""
        pause, fibers = self._parts.pause, self._state.fibers
        await fibers.whole()
        while pause.is_paused_for(BY_CLIENT):
            await trio.sleep(_LOOK_AT_PAUSE_S)
            await fibers.whole()
        await fibers.run(incoming.apply)
        self.client.last_used_ms = self._state.clock.now_ms
        self._parts.flush()
        await trio.lowlevel.checkpoint()

    async def _wait_for_more(self, stream: trio.SocketStream, incoming: Incoming) -> None:
        """Until the primary says something, or somebody else took what it said. Raises LinkBroken when it is silent for
        too long."""
        with trio.move_on_after(self._state.config.repl_timeout) as scope:
            incoming.wake = scope.cancel
            await trio.lowlevel.wait_readable(stream.socket)
        if scope.cancelled_caught and trio.current_time() >= scope.deadline:
            raise LinkBroken(_TIMEOUTS[CONNECTED])

    async def _acknowledge(self, stream: trio.SocketStream) -> None:
        """Tell how far we are, until the primary does not listen any more: what it has sent is still to be read."""
        with contextlib.suppress(trio.BrokenResourceError):
            while not self._old_sync:
                self._ack_due = trio.Event()
                await self._send(stream, self._owner.ack_command())
                with trio.move_on_after(_ACK_EVERY_S):
                    await self._ack_due.wait()

    async def _receive(self, stream: trio.SocketStream, size: int) -> bytes:
        """More bytes from the primary. Raises LinkBroken when it is silent for too long or hangs up."""
        with trio.move_on_after(self._state.config.repl_timeout):
            data = bytes(await stream.receive_some(size))
            # A connection that was given up while the bytes came in must not change anything any more.
            await trio.lowlevel.checkpoint_if_cancelled()
            if not data:
                raise LinkBroken("Connection with master lost.")
            self._heard(len(data))
            return data
        raise LinkBroken(_TIMEOUTS.get(self.state, "Timeout connecting to the MASTER..."))

    def _heard(self, size: int) -> None:
        """`size` bytes came from the primary."""
        self.last_io_ms = self._state.clock.mono_ms
        self._state.stats.repl_input_bytes += size

    async def _send(self, stream: trio.SocketStream, data: bytes) -> None:
        if data:
            with trio.fail_after(self._state.config.repl_timeout):
                await stream.send_all(data)


def _broken_by(end: Exception) -> Exception:
    """The end of the stream as what ends the conversation."""
    return LinkBroken("Connection with master lost.") if isinstance(end, EOFError) else end


_TIMEOUTS: Final = {
    SYNC: "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter "
    "in redis.conf to a larger value.",
    CONNECTED: "MASTER timeout: no data nor PING received...",
}


def _text_of(error: BaseException) -> str:
    """The innermost reason, in the system's words if it is the system's."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif error.__cause__ is not None and not getattr(error, "strerror", None):
            error = error.__cause__
        else:
            break
    if isinstance(error, trio.TooSlowError):
        return "timed out"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _address(name: tuple[str, int]) -> str:
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def encode_ack(offset: int, synced_offset: int | None) -> bytes:
    """REPLCONF ACK, with how much of it is on disk if that is known."""
    argv = [b"REPLCONF", b"ACK", b"%d" % offset]
    if synced_offset is not None:
        argv += [b"FACK", b"%d" % synced_offset]
    return encode_command(argv)
