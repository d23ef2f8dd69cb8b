"""What a pass gives to the replicas: the bytes of every change, before any client gets its reply."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from slotmesh.node.base.native import compiled
from slotmesh.node.resp.encoder import encode_command
from tests.support.inprocess import InProcessClient, InProcessNode


class Watched:
    """Stands before what sends replies, and notes what the replica had received by then."""

    def __init__(self, sender: Any, replica: InProcessClient, seen: list[bytes]) -> None:
        self._sender = sender
        self._replica = replica
        self._seen = seen

    def receive(self, *args: Any) -> Any:
        return self._sender.receive(*args)

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
            plane._client_io = None
            plane._output = Watched(plane._output, replica, seen)  # type: ignore[assignment]
        else:
            plane._client_io = Watched(plane._client_io, replica, seen)
        assert writer.raw("SET", "k", "v") == b"+OK\r\n"
        assert b"".join(seen) == encode_command([b"SELECT", b"0"]) + encode_command([b"SET", b"k", b"v"])


@pytest.mark.parametrize("other_feed", [False, True])
def test_stream_is_the_same_whichever_way_a_command_is_fed(other_feed: bool) -> None:
    """The compiled fast path feeds the stream by itself while that is the only feed."""
    commands = [
        ["SET", "a", "1"],
        ["SELECT", "2"],
        ["SET", "b", "x" * 3000],
        ["GET", "b"],
        ["SPOP", "nothing"],
        ["SADD", "s", "only"],
        ["SPOP", "s"],
        ["SELECT", "0"],
        ["APPEND", "a", ""],
        ["DEL", "a", "b"],
    ]
    with InProcessNode() as node:
        replication, client = node.server.replication, node.client()
        if not other_feed:
            node.server.propagation.feeds.clear()
        replication.serving.open_stream(feeding=True)
        for command in commands:
            client.call(*command)
        backlog = replication.stream.backlog
        assert backlog is not None
        told = b"".join(backlog.since(1))
        wanted = [
            ["SELECT", "0"],
            ["SET", "a", "1"],
            ["SELECT", "2"],
            ["SET", "b", "x" * 3000],
            ["SADD", "s", "only"],
            ["SREM", "s", "only"],
            ["SELECT", "0"],
            ["APPEND", "a", ""],
            ["DEL", "a", "b"],
        ]
        assert told == b"".join(encode_command([word.encode() for word in command]) for command in wanted)
        assert (replication.offset, client.served.write_offset) == (len(told), len(told))
