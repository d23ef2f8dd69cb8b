"""The data plane's listening sockets: who is registered with epoll, and taking in those who knock."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import time
from collections.abc import Callable
from typing import Final

from slotmesh.cluster.faults import EXHAUSTED, Complaints

log = logging.getLogger("node")

#: New clients of one listener per pass, so that a storm of them does not keep the others waiting.
ACCEPTS_PER_PASS: Final = 64


class Acceptor:
    """Accepts on every socket that was added; `admit` gets each new connection, set to non-blocking."""

    def __init__(self, epoll: select.epoll, admit: Callable[[socket.socket], None]) -> None:
        self._epoll = epoll
        self._admit = admit
        self._complaints = Complaints(log, time.monotonic)
        self._paused: list[int] = []
        self.listeners: dict[int, socket.socket] = {}

    def add(self, listener: socket.socket) -> None:
        """Accept clients on a bound, listening socket."""
        listener.setblocking(False)
        self.listeners[listener.fileno()] = listener
        self._epoll.register(listener.fileno(), select.EPOLLIN)

    def remove(self, listener: socket.socket) -> None:
        """Accept nobody on this socket any more, and close it."""
        self._paused = [fd for fd in self._paused if fd != listener.fileno()]
        del self.listeners[listener.fileno()]
        with contextlib.suppress(OSError):
            self._epoll.unregister(listener.fileno())
        listener.close()

    def close(self) -> None:
        """Accept nobody any more."""
        for listener in list(self.listeners.values()):
            self.remove(listener)

    def accept(self, fd: int) -> None:
        """Somebody knocks at one of the `listeners`.

        No error of accept is worth the process: most are about one connection that is gone. Where the machine has
        nothing left for another one, the listener pauses until `resume`, or epoll would report it over and over.
        """
        listener = self.listeners[fd]
        for _ in range(ACCEPTS_PER_PASS):
            try:
                sock, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._complaints.warn(f"cannot accept a client: {error}")
                if error.errno in EXHAUSTED:
                    self._epoll.unregister(fd)
                    self._paused.append(fd)
                    return
                continue
            try:
                sock.setblocking(False)
                self._admit(sock)
            except OSError as error:  # it is gone already
                self._complaints.warn(f"cannot serve a client: {error}")
                sock.close()

    def resume(self) -> bool:
        """Try again, after a pause, where this machine was short of something; whether there was such a place."""
        paused, self._paused = self._paused, []
        for fd in paused:
            if fd in self.listeners:
                self._epoll.register(fd, select.EPOLLIN)
        return bool(paused)
