"""The data plane's listening sockets: who is registered with epoll, and taking in those who knock."""

from __future__ import annotations

import contextlib
import errno
import logging
import select
import socket
from collections.abc import Callable
from typing import Final

log = logging.getLogger("node")

#: New clients of one listener per pass, so that a storm of them does not keep the others waiting.
ACCEPTS_PER_PASS: Final = 64


class Acceptor:
    """Accepts on every socket that was added; `admit` gets each new connection, set to non-blocking."""

    def __init__(self, epoll: select.epoll, admit: Callable[[socket.socket], None]) -> None:
        self._epoll = epoll
        self._admit = admit
        self.listeners: dict[int, socket.socket] = {}

    def add(self, listener: socket.socket) -> None:
        """Accept clients on a bound, listening socket."""
        listener.setblocking(False)
        self.listeners[listener.fileno()] = listener
        self._epoll.register(listener.fileno(), select.EPOLLIN)

    def remove(self, listener: socket.socket) -> None:
        """Accept nobody on this socket any more, and close it."""
        del self.listeners[listener.fileno()]
        with contextlib.suppress(OSError):
            self._epoll.unregister(listener.fileno())
        listener.close()

    def close(self) -> None:
        """Accept nobody any more."""
        for listener in list(self.listeners.values()):
            self.remove(listener)

    def accept(self, fd: int) -> None:
        """Somebody knocks at one of the `listeners`."""
        listener = self.listeners[fd]
        for _ in range(ACCEPTS_PER_PASS):
            try:
                sock, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    log.warning("cannot accept a client: %s", error)
                elif error.errno != errno.ECONNABORTED:
                    raise
                return
            sock.setblocking(False)
            self._admit(sock)
