"""Over `maxmemory` a node refuses what would use more, with stock's words, and goes on with the rest."""

from __future__ import annotations

from tests.support.inprocess import InProcessNode

OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"


def test_write_over_the_limit_is_refused_while_reads_and_deletions_go_on() -> None:
    with InProcessNode() as node:
        client = node.client()
        assert client.raw("SET", "a", "1") == b"+OK\r\n"
        assert client.raw("CONFIG", "SET", "maxmemory", "1mb") == b"+OK\r\n"
        assert client.raw("SET", "b", "2") == OOM
        assert client.raw("GET", "a") == b"$1\r\n1\r\n"
        assert client.raw("DEL", "a") == b":1\r\n"
        assert client.raw("CONFIG", "SET", "maxmemory", "0") == b"+OK\r\n"
        assert client.raw("SET", "b", "2") == b"+OK\r\n"
