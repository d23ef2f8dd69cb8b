"""Taking in clients: no error of accept is worth the process."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from slotmesh.node.serving.acceptor import Acceptor


class FlakyListener(socket.socket):
    """Its `accept` fails with each of `errors` first."""

    errors: tuple[int, ...] = ()

    def accept(self) -> tuple[socket.socket, object]:
        if self.errors:
            number, *rest = self.errors
            self.errors = tuple(rest)
            raise OSError(number, errno.errorcode[number])
        return super().accept()


class Door:
    """A listener behind an acceptor, and somebody who knocks."""

    def __init__(self, stack: ExitStack, *errors: int) -> None:
        self.epoll = stack.enter_context(select.epoll())
        self.admitted: list[socket.socket] = []
        self.refuse = False
        self.acceptor = Acceptor(self.epoll, self._admit)
        listener = FlakyListener(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.errors = errors
        self.fd = listener.fileno()
        self.acceptor.add(listener)
        stack.callback(self.acceptor.close)
        stack.callback(self._close_admitted)
        stack.enter_context(socket.create_connection(listener.getsockname()))

    def _close_admitted(self) -> None:
        for sock in self.admitted:
            sock.close()

    def _admit(self, sock: socket.socket) -> None:
        if self.refuse:
            raise OSError(errno.EINVAL, "it is gone")
        self.admitted.append(sock)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN])
def test_error_about_one_connection_leaves_the_others_served(stack: ExitStack, number: int) -> None:
    door = Door(stack, number)
    door.acceptor.accept(door.fd)
    assert len(door.admitted) == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_listener_pauses_while_the_machine_has_nothing_left(stack: ExitStack, number: int) -> None:
    door = Door(stack, number)
    door.acceptor.accept(door.fd)
    assert door.admitted == []
    assert door.epoll.poll(0) == [], "epoll would report it over and over"
    door.acceptor.resume()
    assert door.epoll.poll(1) == [(door.fd, select.EPOLLIN)]
    door.acceptor.accept(door.fd)
    assert len(door.admitted) == 1


def test_listener_that_is_removed_while_it_pauses_stays_removed(stack: ExitStack) -> None:
    door = Door(stack, errno.EMFILE)
    door.acceptor.accept(door.fd)
    door.acceptor.close()
    door.acceptor.resume()
    assert door.epoll.poll(0) == []


def test_client_that_is_gone_before_it_is_admitted_costs_nothing(stack: ExitStack) -> None:
    door = Door(stack)
    door.refuse = True
    door.acceptor.accept(door.fd)
    assert door.admitted == []
