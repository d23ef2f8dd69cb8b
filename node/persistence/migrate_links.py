"""Connections of MIGRATE to other servers, kept for a few seconds because keys are moved in many small batches.

MIGRATE is atomic by being synchronous, as in stock: while it talks to the target, this node serves nobody, so a key is
on exactly one side at any time anybody could look. The sockets are therefore plain blocking ones with a timeout.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from errno import EINVAL
from typing import Final

from slotmesh.cluster.numbers import to_uint

MAX_LINKS: Final = 64
IDLE_MS: Final = 10_000
_READ_SIZE: Final = 64 * 1024
_MAX_LINE: Final = 64 * 1024


class LinkError(Exception):
    """The connection failed. `timed_out` tells a slow target from a dead connection, `refused` one that said no."""

    def __init__(self, timed_out: bool, *, refused: bool = False) -> None:
        super().__init__("timeout" if timed_out else "connection lost")
        self.timed_out = timed_out
        self.refused = refused


class Link:
    """One connection. `selected_db` is the database that the target has selected on it, -1 when unknown."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._held = b""
        self.selected_db = -1
        self.used_ms = 0

    def set_timeout(self, timeout_ms: int) -> None:
        """The longest time that one send or receive may wait."""
        self._sock.settimeout(timeout_ms / 1000)

    def is_alive(self) -> bool:
        """False when the target has closed the connection, or said something unasked."""
        self._sock.settimeout(0)
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self._held
        except OSError:
            return False
        return False

    def send(self, data: bytes) -> None:
        """Send everything. Raises LinkError."""
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise LinkError(isinstance(error, TimeoutError)) from error

    def read_line(self) -> bytes:
        """One line of the reply, without its end. Raises LinkError."""
        while (end := self._held.find(b"\r\n")) < 0:
            if len(self._held) > _MAX_LINE:
                raise LinkError(False)
            try:
                chunk = self._sock.recv(_READ_SIZE)
            except OSError as error:
                raise LinkError(isinstance(error, TimeoutError)) from error
            if not chunk:
                raise LinkError(False)
            self._held += chunk
        line, self._held = self._held[:end], self._held[end + 2 :]
        return line

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


class MigrateLinks:
    """The cached connections of one node. `now_ms` gives monotonic time."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._links: dict[tuple[bytes, bytes], Link] = {}

    def __len__(self) -> int:
        return len(self._links)

    def get(self, host: bytes, port: bytes, timeout_ms: int) -> Link:
        """A connection to host:port, an open one if there is one. Raises LinkError."""
        link = self._links.get((host, port))
        if link is not None and not link.is_alive():
            self.close(host, port)
            link = None
        if link is None:
            if len(self._links) >= MAX_LINKS:
                self.close(*min(self._links, key=lambda place: self._links[place].used_ms))
            number = to_uint(port, 65535)
            try:
                if number is None:
                    raise OSError(EINVAL, "the port is no number")
                sock = socket.create_connection((host.decode("ascii"), number), timeout_ms / 1000)
            except (OSError, ValueError) as error:  # ValueError: the host is no name (UnicodeError is one)
                refused = isinstance(error, ConnectionError)
                raise LinkError(isinstance(error, TimeoutError), refused=refused) from error
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = self._links[host, port] = Link(sock)
        link.set_timeout(timeout_ms)
        link.used_ms = self._now_ms()
        return link

    def close(self, host: bytes, port: bytes) -> None:
        """Close the connection to host:port, if there is one."""
        link = self._links.pop((host, port), None)
        if link is not None:
            link.close()

    def close_idle(self) -> None:
        """Close what was not used for `IDLE_MS`; called by the cron."""
        limit = self._now_ms() - IDLE_MS
        for place in [place for place, link in self._links.items() if link.used_ms < limit]:
            self.close(*place)

    def close_all(self) -> None:
        """Close every connection."""
        for place in list(self._links):
            self.close(*place)
