"""Over `maxmemory` a node refuses what would use more, with stock's words, and goes on with the rest."""

from __future__ import annotations

from slotmesh.node.base.gates import SERVER_MEMORY
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


def test_limit_that_is_far_away_leaves_commands_on_the_fast_path() -> None:
    with InProcessNode("--maxmemory", "100gb") as node:
        client = node.client()
        assert client.call("SET", "k", "v") == b"OK"
        assert not node.server.state.gates & SERVER_MEMORY
        node.server.cron.memory.used = 101 << 30
        node.server.cron.memory.next_look_ms = 1 << 62
        assert str(client.call("SET", "k", "w")).startswith("OOM")
        assert node.server.state.gates & SERVER_MEMORY
        assert client.call("GET", "k") == b"v"
        node.server.cron.memory.used = 99 << 30
        assert client.call("SET", "k", "w") == b"OK"
        assert not node.server.state.gates & SERVER_MEMORY
