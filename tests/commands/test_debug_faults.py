"""DEBUG makes faults happen, and undoes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotmesh.node.base.gates import SERVER_LOADING
from tests.support.inprocess import InProcessNode, write_bytes


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode("--enable-debug-command", "yes") as running:
        yield running


def test_wrong_checksums_are_taken_only_on_request(node: InProcessNode) -> None:
    client = node.client()
    client.call("SET", "k", "v")
    client.call("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() return 1 end)")
    payload, functions = client.call("DUMP", "k"), client.call("FUNCTION", "DUMP")
    wrong, wrong_functions = payload[:-1] + b"x", functions[:-1] + b"x"
    assert client.raw("RESTORE", "copy", "0", wrong).startswith(b"-ERR DUMP payload version or checksum")
    assert client.raw("FUNCTION", "RESTORE", wrong_functions, "REPLACE").startswith(b"-ERR")
    client.call("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", "1")
    assert client.call("RESTORE", "copy", "0", wrong) == b"OK"
    assert client.call("FUNCTION", "RESTORE", wrong_functions, "REPLACE") == b"OK"
    client.call("SAVE")
    file = Path("dump.rdb")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert client.call("DEBUG", "RELOAD", "NOSAVE") == b"OK"
    assert client.call("GET", "copy") == b"v"
    client.call("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", "0")
    assert client.raw("DEBUG", "RELOAD", "NOSAVE").startswith(b"-ERR Error trying to load the RDB dump")


def test_writes_to_the_log_can_be_slowed_down(node: InProcessNode) -> None:
    client = node.client()
    log = node.server.persistence.aof
    client.call("DEBUG", "AOF-FLUSH-SLEEP", "30000")
    assert log.write_delay_us == 30_000
    log.open_at_start(lambda path: write_bytes(path, b"base"))
    started = time.perf_counter()
    log.feed(0, [b"SET", b"k", b"v"])
    log.flush()
    assert time.perf_counter() - started >= 0.03


def test_links_exist_only_in_a_cluster(node: InProcessNode) -> None:
    client = node.client()
    assert client.raw("DEBUG", "CLUSTERLINK", "KILL", "TO", "x").startswith(b"-ERR Debug option only available for")
    assert client.raw("DEBUG", "CLUSTERLINK", "HEAL", "TO", "x").startswith(b"-ERR unknown subcommand")
    assert client.raw("DEBUG", "DROP-CLUSTER-PACKET-FILTER", "1").startswith(b"-ERR This instance has cluster support")


def test_reply_buffers_are_whatever_is_said_of_them(node: InProcessNode) -> None:
    client = node.client()
    for words in (("RESIZING", "0"), ("PEAK-RESET-TIME", "never"), ("PEAK-RESET-TIME", "100")):
        assert client.call("DEBUG", "REPLYBUFFER", *words) == b"OK"
    assert client.raw("DEBUG", "REPLYBUFFER", "PEAK-RESET-TIME", "soon").startswith(b"-ERR value is not an integer")
    assert client.raw("DEBUG", "REPLYBUFFER", "GROWING", "1").startswith(b"-ERR")


def test_clients_are_told_of_loading_while_debug_reloads(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    client = node.client()
    seen = []
    client.call("SET", "k", "v")
    loader = node.server.persistence.loader
    steps = loader.rdb_steps
    client.call("SAVE")

    def spying_steps(path: str, *, drop_expired: bool, replace: bool = False) -> Iterator[None]:
        seen.append(node.server.state.gates & SERVER_LOADING)
        yield from steps(path, drop_expired=drop_expired, replace=replace)

    monkeypatch.setattr(loader, "rdb_steps", spying_steps)
    assert client.call("DEBUG", "RELOAD", "NOSAVE") == b"OK"
    assert seen == [SERVER_LOADING]
    assert not node.server.state.gates & SERVER_LOADING
    assert client.call("GET", "k") == b"v"
