"""MONITOR shows what runs, in order, and costs the others little: commands stay on the fast path."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.inprocess import InProcessNode


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as node:
        yield node


def _lines(said: bytes) -> list[bytes]:
    """What a monitor was sent, line by line: of what it is shown the database and the words, and its own replies."""
    return [re.sub(rb"^\+\d+\.\d{6} \[(\d+) \S+\] ", rb"\1 ", line) for line in said.split(b"\r\n") if line]


def test_monitor_sees_commands_of_the_fast_and_the_slow_path_in_order(node: InProcessNode) -> None:
    monitor, client = node.client(), node.client()
    assert monitor.raw("MONITOR") == b"+OK\r\n"
    client.call("SET", "k", 'a "b"\n')
    client.call("SELECT", "3")
    client.call("MULTI")
    client.call("GET", "k")
    client.call("EXEC")
    client.call("CONFIG", "GET", "port")  # an administrator's command: shown to nobody
    assert _lines(monitor.received()) == [
        b'0 "SET" "k" "a \\"b\\"\\n"',
        b'3 "SELECT" "3"',
        b'3 "MULTI"',
        b'3 "GET" "k"',
        b'3 "EXEC"',
    ]


def test_replies_and_lines_of_a_monitor_keep_their_order(node: InProcessNode) -> None:
    monitor = node.client()
    monitor.raw("MONITOR")
    said = monitor.send(b"PING\r\nSET a 1\r\nMULTI\r\nGET a\r\nEXEC\r\nEVAL 'return 1' 0\r\nRESET\r\nGET a\r\n")
    refused = b"-ERR Replica can't interact with the keyspace"
    assert _lines(said) == [
        b"+PONG",
        b'0 "PING"',
        refused,
        b"+OK",
        b'0 "MULTI"',
        refused,
        b"-EXECABORT Transaction discarded because of previous errors.",
        b'0 "EXEC"',
        refused,
        b"+RESET",
        b"$-1",
    ]


def test_many_commands_of_one_script_are_handed_out_on_the_way(node: InProcessNode) -> None:
    monitor, client = node.client(), node.client()
    monitor.raw("MONITOR")
    client.call("EVAL", "for i = 1, 1000 do redis.call('INCR', 'n') end", 0)
    lines = _lines(monitor.received())
    assert len(lines) == 1001
    assert lines[1:] == [b'0 "INCR" "n"'] * 1000


def test_who_stops_monitoring_is_shown_no_more(node: InProcessNode) -> None:
    monitor, client = node.client(), node.client()
    monitor.raw("MONITOR")
    assert monitor.raw("RESET") == b"+RESET\r\n"
    client.call("SET", "k", "v")
    assert monitor.received() == b""
    assert monitor.raw("GET", "k") == b"$1\r\nv\r\n"
