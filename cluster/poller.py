"""Many sockets, one task: what waits for them costs one wake-up, however many of them have something to say.

trio's own waiting costs, per socket and wake-up, a system call, a task switch and several times the work of taking in a
short message. Here an epoll descriptor holds the sockets and a single task waits for that descriptor; everything that
came meanwhile is handed out in one pass, and what follows from all of it can be done once, at the end (`after_pass`).
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable

import trio

IN, OUT = select.EPOLLIN, select.EPOLLOUT
Handler = Callable[[int], None]
"""Called with the epoll mask when the socket has something to say (or is broken, which reading will tell)."""

MOST_PER_PASS = 64


class Poller:
    """Level-triggered: what a handler leaves unread is told again."""

    def __init__(self, after_pass: Callable[[], None]) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._after_pass = after_pass

    def watch(self, descriptor: int, handler: Handler) -> None:
        """Call `handler` whenever the descriptor is readable. It must not raise."""
        self._epoll.register(descriptor, IN)
        self._handlers[descriptor] = handler

    def want(self, descriptor: int, *, writable: bool) -> None:
        """Whether to tell as well when a descriptor is writable; nothing happens when it is not watched."""
        if descriptor in self._handlers:
            self._epoll.modify(descriptor, IN | OUT if writable else IN)

    def forget(self, descriptor: int) -> None:
        """Before the descriptor is closed; nothing happens when it is not watched."""
        if self._handlers.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)

    async def run(self) -> None:
        """Hand out what happens until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            self.run_pass()

    def run_pass(self) -> None:
        """One round over the descriptors that are ready."""
        handlers = self._handlers
        # Looked up before anything is handled: a number may be closed and given to another socket meanwhile.
        ready = [(handlers.get(fd), fd, what) for fd, what in self._epoll.poll(0, MOST_PER_PASS)]
        for handler, fd, what in ready:
            if handler is not None and handlers.get(fd) is handler:
                handler(what)
        self._after_pass()

    def close(self) -> None:
        """Watch nothing any more."""
        self._handlers.clear()
        self._epoll.close()
