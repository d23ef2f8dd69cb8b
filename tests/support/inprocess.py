"""A node inside the test's own process: real parser, dispatch and encoder, but neither trio nor a network.

A client is one end of a socket pair whose other end the data plane serves; `InProcessNode.pump` runs passes of the data
plane until it has nothing to do. So a test sees the very bytes that a client would, within microseconds, and it owns
the clock: time stands still until `advance`.
"""

from __future__ import annotations

import itertools
import os
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import hiredis

from slotmesh.node import commands
from slotmesh.node.acl.users import check_user_lines
from slotmesh.node.base.clock import Clock
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.clients.client import Client
from slotmesh.node.config.load import load_config
from slotmesh.node.resp.encoder import encode_command
from slotmesh.node.server import Server

#: Where the tests were started, and the directories of the nodes that live: the working directory is the last one.
_homes = [os.getcwd()]
START_MS = 1_700_000_000_000


class ManualClock(Clock):
    """A clock that only the test moves."""

    __slots__ = ()

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.mono_ms = 1_000_000

    def refresh(self) -> None:
        """Time stands still."""

    def advance(self, ms: int) -> None:
        """Let `ms` pass."""
        self.now_ms += ms
        self.mono_ms += ms


class InProcessNode:
    """A node, started with options as on the command line: `InProcessNode("--appendonly", "no")`."""

    def __init__(self, *options: str) -> None:
        commands.load_all()
        config = load_config(["--save", "", *options], check_user_lines)
        # Relative paths (dump.rdb, appendonlydir, nodes.conf) must not land where the tests were started.
        self._home = tempfile.TemporaryDirectory(prefix="slotmesh-test-")
        _homes.append(self._home.name)
        os.chdir(self._home.name)
        self.clock = ManualClock()
        self.server = Server(config, self.clock)
        self.propagated: list[list[bytes]] = []
        self.server.propagation.feeds.append(lambda db_index, argv: self.propagated.append(argv))
        self._clients: list[InProcessClient] = []

    def client(self, *, resp3: bool = False) -> InProcessClient:
        """A new connection."""
        client = InProcessClient(self)
        self._clients.append(client)
        if resp3:
            client.call("HELLO", "3")
        return client

    def advance(self, ms: int) -> None:
        """Let `ms` pass, and what is due come true for blocked clients. Keys expire on access only."""
        self.clock.advance(ms)
        self.server.keyspace.now_ms = self.clock.now_ms
        self.server.blocking.expire(self.clock.mono_ms)
        self.pump()

    def pump(self) -> None:
        """Run passes until no socket has anything to say."""
        plane = self.server.data_plane
        for _ in range(100_000):
            events = plane._epoll.poll(0)
            if not events:
                plane.flush()
                return
            plane.run_pass(events)
        raise AssertionError("the data plane never came to rest")

    def take_propagated(self) -> list[list[bytes]]:
        """The commands that went to AOF and replicas since the last call."""
        taken = self.propagated[:]
        self.propagated.clear()
        return taken

    def close(self) -> None:
        """Close every connection and the data plane."""
        for client in self._clients:
            client.sock.close()
        self.server.data_plane.close()
        COMPAT.choose("7.0")  # a level holds for the whole process
        _homes.remove(self._home.name)
        os.chdir(_homes[-1])
        self._home.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class InProcessClient:
    """One connection to an `InProcessNode`."""

    def __init__(self, node: InProcessNode) -> None:
        self.node = node
        self.sock, served = socket.socketpair()
        self.sock.setblocking(False)
        served.setblocking(False)
        server = node.server
        self.served: Client = server.new_client(served, "127.0.0.1:1", "127.0.0.1:2")
        server.clients[self.served.id] = self.served
        server.acl.start_client(self.served)
        server.data_plane.attach(self.served)

    def send(self, data: bytes) -> bytes:
        """Send raw bytes; what came back."""
        received: list[bytes] = []
        view = memoryview(data)
        while view:
            view = view[self.sock.send(view[:32768]) :]
            self.node.pump()
            received.append(self.received())
        return b"".join(received)

    def received(self) -> bytes:
        """Bytes that arrived and were not read yet."""
        parts: list[bytes] = []
        for _ in itertools.count():
            self.node.pump()
            try:
                part = self.sock.recv(1 << 16)
            except BlockingIOError:
                break
            if not part:
                break
            parts.append(part)
        return b"".join(parts)

    def raw(self, *args: str | bytes | int) -> bytes:
        """Send one command; the raw bytes of the reply."""
        return self.send(encode_command([to_bytes(arg) for arg in args]))

    def call(self, *args: str | bytes | int) -> Any:
        """Send one command; the parsed reply. An error reply is returned as a `hiredis.ReplyError`."""
        reader = hiredis.Reader(notEnoughData=Ellipsis)
        reader.feed(self.raw(*args))
        return reader.gets()


def to_bytes(arg: str | bytes | int) -> bytes:
    """An argument as it goes over the wire."""
    if isinstance(arg, bytes):
        return arg
    return str(arg).encode()


def write_bytes(path: str, data: bytes) -> None:
    """Write a file; for callbacks that return nothing."""
    Path(path).write_bytes(data)
