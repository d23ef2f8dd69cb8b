"""A non-blocking TCP connection whose `send` is a plain call.

The core's effects are carried out in order by one task; if every send awaited, one slow peer would hold up all others.
So bytes go out at once as far as the kernel takes them, and what is left waits in a buffer that a task of this
connection drains. Receiving is an ordinary await.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import trio

RECEIVE_SIZE = 65_536


class Wire:
    """One connection. Closed by whoever notices first that it broke; both directions end then."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._sock = sock
        self._out = bytearray()
        self._wake = trio.Event()
        self.closed = False
        self.on_close: Callable[[], None] = lambda: None
        """Called before the socket is closed, for whoever waits for it in another way than by `receive`."""

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    @property
    def unsent(self) -> int:
        """Bytes that the peer has not taken yet."""
        return len(self._out)

    def local_ip(self) -> str:
        return str(self._sock.getsockname()[0])

    def send(self, data: bytes) -> None:
        """Send now, or as soon as the peer takes it. Does nothing on a closed wire: its reader knows already."""
        if self.closed:
            return
        if not self._out:
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                self.close()
                return
        if data:
            self._out += data
            self._wake.set()

    async def drain(self) -> None:
        """Send what `send` left over, until the wire is closed."""
        while not self.closed:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._out and not self.closed:
                try:
                    await trio.lowlevel.wait_writable(self._sock)
                    del self._out[: self._sock.send(self._out)]
                except BlockingIOError:
                    continue
                except (OSError, trio.ClosedResourceError):
                    self.close()

    async def flush(self) -> None:
        """Until everything is sent, or the wire is closed."""
        while self._out and not self.closed:
            try:
                await trio.lowlevel.wait_writable(self._sock)
            except trio.ClosedResourceError:
                return
            await trio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        """The next bytes; empty at the end, however it came."""
        while not self.closed:
            try:
                await trio.lowlevel.wait_readable(self._sock)
                return self._sock.recv(RECEIVE_SIZE)
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError):
                break
        return b""

    def receive_now(self) -> bytes | None:
        """What has come; empty at the end, however it came; None when there is nothing yet."""
        try:
            return self._sock.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def close(self) -> None:
        """Close at once; bytes still unsent are dropped. Tasks waiting on the wire wake up."""
        if not self.closed:
            self.closed = True
            self.on_close()
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
            self._wake.set()


async def connect(host: str, port: int) -> tuple[Wire, str]:
    """Connect to `host`:`port`; returns the wire and the IP that was reached.

    Raises ConnectionRefusedError when the peer's kernel says nobody listens, and other OSErrors.
    """
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, _, _, _, address = found[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        try:
            sock.connect(address)
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"connecting to {host}:{port}")
        if sock.getsockname() == sock.getpeername():
            # TCP can connect a port to itself: to a local port that nobody listens on, by a lucky ephemeral number.
            raise ConnectionRefusedError(f"{host}:{port} is our own end")
        return Wire(sock), str(address[0])
    except BaseException:
        sock.close()
        raise
