"""A small client: one connection, one command at a time, short patience."""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Self

import hiredis

from slotmesh.node.resp.encoder import encode_command
from tests.chaos.network import Address

CONNECT_S = 0.05
REPLY_S = 0.3


class Refused(Exception):
    """An error reply."""


class Link:
    """A connection; every failure of it is an OSError."""

    def __init__(self, address: Address, reply_s: float = REPLY_S, connect_s: float = CONNECT_S) -> None:
        self.address = address
        self._socket = socket.create_connection(address, connect_s)
        self._socket.settimeout(reply_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def call(self, *words: str | bytes | int) -> Any:
        """The reply to one command; raises `Refused` for an error reply."""
        self._socket.sendall(encode_command([w if isinstance(w, bytes) else str(w).encode() for w in words]))
        while True:
            reply = self._reader.gets()
            if reply is not False:
                if isinstance(reply, hiredis.HiredisError):
                    raise Refused(str(reply))
                return reply
            chunk = self._socket.recv(1 << 16)
            if not chunk:
                raise ConnectionResetError("closed by the server")
            self._reader.feed(chunk)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(address: Address, *words: str | bytes | int, reply_s: float = 2.0) -> Any:
    """One command over a connection of its own."""
    with Link(address, reply_s, connect_s=1.0) as link:
        return link.call(*words)
