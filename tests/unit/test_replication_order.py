"""In each pass the replicas get their bytes before any client gets its reply."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from node.native import compiled
from node.resp.encoder import encode_command
from tests.support.inprocess import InProcessClient, InProcessNode


class Watched:
    """Stands before what sends replies, and notes what the replica had received by then."""

    def __init__(self, sender: Any, replica: InProcessClient, seen: list[bytes]) -> None:
        self._sender = sender
        self._replica = replica
        self._seen = seen

    def receive(self, events: Any, clients: Any) -> Any:
        return self._sender.receive(events, clients)

    def send(self, what: Any) -> Any:
        if what and (isinstance(what, list) or what.replica is None):
            with contextlib.suppress(BlockingIOError):
                self._seen.append(self._replica.sock.recv(1 << 16))
        return self._sender.send(what)


@pytest.mark.parametrize(
    "form", ["plain", pytest.param("compiled", marks=pytest.mark.skipif(compiled is None, reason="not built here"))]
)
def test_write_is_with_the_replica_before_its_client_is_answered(form: str) -> None:
    with InProcessNode() as node:
        server, replica, writer = node.server, node.client(), node.client()
        server.replication.serving.open_stream(feeding=True)
        attached = server.replication.replicas.attach(replica.served)
        attached.release()
        server.replication.replicas.put_online(attached)
        plane, seen = server.data_plane, list[bytes]()
        if form == "plain":
            plane._turn = None
            plane._output = Watched(plane._output, replica, seen)  # type: ignore[assignment]
        else:
            plane._turn = Watched(plane._turn, replica, seen)
        assert writer.raw("SET", "k", "v") == b"+OK\r\n"
        assert b"".join(seen) == encode_command([b"SELECT", b"0"]) + encode_command([b"SET", b"k", b"v"])
