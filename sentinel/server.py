"""The server side: clients of this sentinel, and other sentinels as clients.

One trio task per connection is plenty for the few clients a sentinel has; commands of one connection run strictly one
after the other. Commands about the connection are in `session_commands`, the others go to the core.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from itertools import count

import trio

from slotmesh.cluster.faults import EXHAUSTED, Complaints
from slotmesh.node.base.glob import match
from slotmesh.node.resp.encoder import encode, register_encoder
from slotmesh.node.resp.parser import ProtocolError, RequestParser
from slotmesh.node.resp.values import Push
from slotmesh.sentinel.access import Access
from slotmesh.sentinel.config import ServerOptions
from slotmesh.sentinel.driver import Driver, monotonic_ms
from slotmesh.sentinel.effects import ErrorReply
from slotmesh.sentinel.server_state import ServerState
from slotmesh.sentinel.session import Session
from slotmesh.sentinel.session_commands import run_command
from slotmesh.sentinel.wire import Wire

MAX_BULK = 1024 * 1024
"""Largest argument: SENTINEL commands and hello messages are small."""

ACCEPT_PAUSE_S = 0.1

MAX_UNSENT = 32 * 1024 * 1024
"""A subscriber that lets this much pile up is dropped."""

_DENIED = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the "
    b"default user. Switch protected mode off, or set a password.\r\n"
)
_logger = logging.getLogger("sentinel")


def _encode_error(out: list[bytes], value: ErrorReply, resp3: bool) -> None:
    text = value.text.replace("\r", " ").replace("\n", " ")
    out.append(b"-" + text.encode("utf-8", "surrogateescape") + b"\r\n")


register_encoder(ErrorReply, _encode_error)


class Server:
    """All client connections."""

    def __init__(self, options: ServerOptions, access: Access) -> None:
        self.state = ServerState(options, access, monotonic_ms())
        self.options = options
        self.access = access
        self.sessions = self.state.sessions
        self._complaints = Complaints(_logger, time.monotonic)
        self._ids = count(1)
        self._listeners: list[socket.socket] = []

    # ------------------------------------------------------------------------------------------------------- listening

    def listen(self) -> None:
        """Bind all addresses. An address with a `-` in front may be missing on this machine. Raises OSError."""
        if not self.options.bind or not self.options.port:
            raise OSError(errno.EADDRNOTAVAIL, "Configured to not listen anywhere, exiting.")
        for word in self.options.bind:
            optional, address = word.startswith("-"), word.removeprefix("-")
            host = {"*": "0.0.0.0", "::*": "::"}.get(address, address)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                self._listeners.append(self._listen_on(family, host))
            except (OSError, UnicodeError) as error:  # UnicodeError: what is not even a name
                if not optional:
                    number = error.errno if isinstance(error, OSError) else errno.EINVAL
                    raise OSError(number, f"Could not bind {address}:{self.options.port}: {error}") from error

    def _listen_on(self, family: socket.AddressFamily, host: str) -> socket.socket:
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((host, self.options.port))
            listener.listen(self.options.tcp_backlog)
            listener.setblocking(False)
        except (OSError, UnicodeError):
            listener.close()
            raise
        return listener

    async def run(self, driver: Driver) -> None:
        """Accept clients until cancelled."""
        self.state.driver = driver
        try:
            async with trio.open_nursery() as nursery:
                for listener in self._listeners:
                    nursery.start_soon(self._accept, listener, nursery)
        finally:
            for listener in self._listeners:
                listener.close()
            for session in self.sessions.values():
                session.wire.close()

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                self._complaints.warn(f"Accepting client connection: {error}")
                await trio.sleep(ACCEPT_PAUSE_S if error.errno in EXHAUSTED else 0)
                continue
            self.state.total_connections += 1
            try:
                wire = Wire(sock)
            except OSError:  # it is gone already
                sock.close()
                continue
            if len(self.sessions) >= self.options.maxclients:
                self.state.rejected += 1
                wire.send(b"-ERR max number of clients reached\r\n")
                wire.close()
                continue
            if self._protected(str(address[0])):
                self.state.rejected += 1
                wire.send(_DENIED)
                wire.close()
                continue
            session = Session(next(self._ids), wire, f"{address[0]}:{address[1]}", monotonic_ms())
            session.user = self.access.open_door
            self.sessions[session.session_id] = session
            nursery.start_soon(self._serve, session)

    def _protected(self, peer_ip: str) -> bool:
        """Whether `protected-mode` keeps this peer out: no password is set, and it is not on this machine."""
        local = peer_ip in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
        return self.options.protected_mode and self.access.open_door is not None and not local

    # --------------------------------------------------------------------------------------------------------- serving

    async def _serve(self, session: Session) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.wire.drain)
                try:
                    await self._converse(session)
                except Exception:  # a bug of ours
                    self._complaints.fault(f"client {session.address}")
                    session.wire.close()
                await session.wire.flush()
                nursery.cancel_scope.cancel()
        finally:
            session.wire.close()
            del self.sessions[session.session_id]

    async def _converse(self, session: Session) -> None:
        parser = RequestParser(MAX_BULK, authenticated=session.user is not None)
        while data := await session.wire.receive():
            parser.feed(data)
            session.last_ms = monotonic_ms()
            try:
                while (argv := parser.next_command()) is not None:
                    self.state.total_commands += 1
                    reply = await run_command(self.state, session, argv)
                    parser.authenticated = session.user is not None
                    self._write(session, reply)
                    if session.closing:
                        return
            except ProtocolError as error:
                self._write(session, ErrorReply(f"ERR {error.args[0]}"))
                return

    def _write(self, session: Session, reply: object) -> None:
        out: list[bytes] = []
        encode(out, reply, session.resp3)
        session.wire.send(b"".join(out))

    # ----------------------------------------------------------------------------------------------------------- events

    def publish(self, channel: str, message: str) -> None:
        """Hand a sentinel event to its subscribers."""
        name, payload = channel.encode(), message.encode("utf-8", "surrogateescape")
        for session in self.sessions.values():
            if name in session.channels:
                self._push(session, [b"message", name, payload])
            for pattern in session.patterns:
                if match(pattern, name):
                    self._push(session, [b"pmessage", pattern, name, payload])

    def _push(self, session: Session, items: list[bytes]) -> None:
        self._write(session, Push(items))
        if session.wire.unsent > MAX_UNSENT:
            _logger.warning("Client %s closed for overcoming of output buffer limits.", session.address)
            session.wire.close()
