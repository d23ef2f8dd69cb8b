"""WAIT, in the test's own process."""

from __future__ import annotations

from tests.support.inprocess import InProcessNode


def test_wait_twice_within_a_millisecond_by_one_client_is_no_trouble() -> None:
    """A wait that is over leaves its deadline behind; the next one may have the same."""
    with InProcessNode() as node:
        client = node.client()
        server = node.server
        for _ in range(3):
            client.raw("WAIT", 1, 500)
            assert client.served.blocked is not None
            server.blocking.complete(client.served, 1)
            assert client.received() == b":1\r\n"
        client.raw("WAIT", 1, 500)
        node.advance(499)
        assert client.received() == b""
        node.advance(1)
        assert client.received() == b":0\r\n"


def test_wait_without_replicas_moves_no_offset() -> None:
    with InProcessNode() as node:
        client = node.client()
        client.raw("WAIT", 1, 10)
        node.advance(10)
        assert client.received() == b":0\r\n"
        assert node.server.replication.offset == 0
