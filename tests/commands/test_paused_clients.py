"""What CLIENT LIST says of clients whose commands a pause holds back."""

from __future__ import annotations

from tests.support.inprocess import InProcessNode


def flags(text: bytes, name: bytes) -> bytes:
    """The flags of the client called `name`."""
    line = next(line for line in text.splitlines() if b" name=%b " % name in line)
    return line.partition(b" flags=")[2].partition(b" ")[0]


def test_paused_client_is_listed_as_blocked_until_the_pause_ends() -> None:
    with InProcessNode() as node:
        watcher, writer = node.client(), node.client()
        writer.call("CLIENT", "SETNAME", "writer")
        watcher.call("CLIENT", "PAUSE", "10000", "WRITE")
        assert writer.raw("SET", "k", "v") == b""
        assert (
            flags(watcher.call("CLIENT", "LIST"), b"writer") == b"bU"
        )  # U: the connection of this test is a Unix socket
        watcher.call("CLIENT", "UNPAUSE")
        assert writer.received() == b"+OK\r\n"
        assert flags(watcher.call("CLIENT", "LIST"), b"writer") == b"U"
