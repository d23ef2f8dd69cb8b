"""What a client may have waiting, what counts when it blocks, and what a transaction may do without memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slotmesh.node.serving.output import Output
from tests.support.inprocess import InProcessClient, InProcessNode


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode("--enable-debug-command", "yes") as running:
        yield running


def test_replies_beyond_the_hard_limit_are_not_sent_at_all(node: InProcessNode) -> None:
    node.client().call("CONFIG", "SET", "client-output-buffer-limit", "normal 100000 0 0")
    client = node.client()
    client.call("SET", "small", "x" * 90_000)
    client.call("SET", "large", "x" * 110_000)
    assert len(client.call("GET", "small")) == 90_000
    assert client.raw("GET", "large") == b""
    assert client.served.sock is None
    assert node.server.stats.output_buffer_disconnections == 1


def test_transaction_runs_to_its_end_though_nobody_will_read_its_replies(node: InProcessNode) -> None:
    other = node.client()
    other.call("CONFIG", "SET", "client-output-buffer-limit", "normal 20000 0 0")
    client = node.client()
    client.call("SET", "large", "x" * 30_000)
    for words in (("MULTI",), ("GET", "large"), ("SET", "done", "1")):
        client.call(*words)
    assert client.raw("EXEC") == b""
    assert other.call("GET", "done") == b"1"


def test_soft_limit_ends_a_client_that_gets_nothing_more(node: InProcessNode) -> None:
    node.client().call("CONFIG", "SET", "client-output-buffer-limit", "normal 0 1000 2")
    client = node.client()
    served = client.served
    client.call("SET", "huge", "x" * 8_000_000)
    client.sock.sendall(b"*2\r\n$3\r\nGET\r\n$4\r\nhuge\r\n")  # its reply is more than a socket takes
    node.pump()
    plane = node.server.data_plane
    plane.enforce_soft_limits()
    assert isinstance(plane._output, Output)
    assert served.sock is not None
    node.advance(2001)
    plane.enforce_soft_limits()
    assert served.sock is None


def test_blocked_call_costs_no_time_until_it_is_served(node: InProcessNode) -> None:
    waiter, other = node.client(), node.client()
    other.call("CONFIG", "RESETSTAT")
    waiter.send(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nl\r\n$1\r\n0\r\n")
    assert b"cmdstat_blpop" not in other.call("INFO", "commandstats")
    other.call("RPUSH", "l", "x")
    assert b"cmdstat_blpop:calls=1,usec=" in other.call("INFO", "commandstats")


def _over_the_limit(node: InProcessNode) -> InProcessClient:
    other = node.client()
    other.call("CONFIG", "SET", "maxmemory", "1")
    return other


def test_exec_needs_memory_only_for_commands_that_do(node: InProcessNode) -> None:
    client = node.client()
    client.call("SET", "x", "v")
    client.call("MULTI")
    client.call("GET", "x")
    other = _over_the_limit(node)
    assert client.raw("EXEC") == b"*1\r\n$1\r\nv\r\n"
    other.call("CONFIG", "SET", "maxmemory", "0")
    client.call("MULTI")
    client.call("SET", "x", "w")
    _over_the_limit(node)
    assert client.raw("EXEC").startswith(b"-EXECABORT Transaction discarded because of: OOM")
    assert client.call("GET", "x") == b"v"


def test_without_memory_nothing_is_queued_but_discard_works(node: InProcessNode) -> None:
    client = node.client()
    client.call("MULTI")
    _over_the_limit(node)
    assert client.raw("GET", "x").startswith(b"-OOM")
    assert client.raw("DISCARD") == b"+OK\r\n"


def test_object_is_told_of_without_touching_it(node: InProcessNode) -> None:
    client = node.client()
    client.call("SET", "k", "v")
    client.call("DEBUG", "OBJECT", "k")
    client.call("CLIENT", "NO-TOUCH", "ON")
    node.advance(3000)
    client.call("GET", "k")
    assert b"lru_seconds_idle:3" in client.call("DEBUG", "OBJECT", "k")
    assert client.call("OBJECT", "IDLETIME", "k") == 3
    client.call("CLIENT", "NO-TOUCH", "OFF")
    client.call("GET", "k")
    assert client.call("OBJECT", "IDLETIME", "k") == 0


def test_client_kill_by_age_spares_the_young(node: InProcessNode) -> None:
    old, caller = node.client(), node.client()
    node.advance(5000)
    young = node.client()
    assert caller.call("CLIENT", "KILL", "MAXAGE", "4", "SKIPME", "yes") == 1
    assert [old.served.sock is None, young.served.sock is None] == [True, False]
    assert caller.raw("CLIENT", "KILL", "MAXAGE", "0") == b"-ERR maxage should be greater than 0\r\n"
    assert caller.raw("CLIENT", "KILL", "MAXAGE", "x") == b"-ERR maxage is not an integer or out of range\r\n"
