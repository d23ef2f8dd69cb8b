"""When the log is rewritten by itself, and when not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from slotmesh.node.persistence import aof as states
from slotmesh.node.persistence import children as children_module
from slotmesh.node.persistence.rewriter import AofRewriter
from tests.support.inprocess import InProcessNode


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    options = ("--auto-aof-rewrite-percentage", "100", "--auto-aof-rewrite-min-size", "1kb")
    with InProcessNode(*options) as running:
        yield running


def _log_of(node: InProcessNode, size: int, base: int) -> AofRewriter:
    rewriter = node.server.persistence.rewriter
    aof = node.server.persistence.aof
    aof.state, aof.size, aof.size_after_rewrite = states.ON, size, base
    return rewriter


def test_log_that_is_due_at_start_waits_a_minute(node: InProcessNode) -> None:
    rewriter = _log_of(node, 5000, 100)
    rewriter.began(node.clock.mono_ms)
    node.advance(59_999)
    assert not rewriter.has_grown()
    node.advance(1)
    assert rewriter.has_grown()


def test_log_that_grows_after_the_start_does_not_wait(node: InProcessNode) -> None:
    rewriter = _log_of(node, 100, 100)
    rewriter.began(node.clock.mono_ms)
    node.server.persistence.aof.size = 5000
    assert rewriter.has_grown()


def test_child_that_does_not_fit_is_not_begun(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = node.client()
    monkeypatch.setattr(children_module, "memory_room", lambda: 10 << 20)
    monkeypatch.setattr(children_module, "resident_bytes", lambda: node.server.cron.memory.startup + (30 << 20))
    assert client.raw("BGREWRITEAOF").startswith(b"-ERR Can't execute an AOF background rewriting.")
    assert client.raw("BGSAVE") == b"-ERR\r\n"
    assert "the child may need 30 MB and the container's memory limit leaves 10 MB" in caplog.text
    assert node.server.persistence.child is None


def test_slow_change_of_the_manifest_shows_in_latency(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    rewriter, client = _log_of(node, 5000, 100), node.client()
    client.call("CONFIG", "SET", "latency-monitor-threshold", "10")
    ticks = iter((0, 800_000_000))
    monkeypatch.setattr("slotmesh.node.persistence.rewriter.perf_counter_ns", lambda: next(ticks))
    with contextlib.suppress(OSError), rewriter._on_the_loop("aof-rotate"):
        raise OSError(28, "full")  # one that fails has kept everybody waiting, too
    [[event, *_rest]] = client.call("LATENCY", "LATEST")
    assert event == b"aof-rotate"
    assert b"disk" in client.call("LATENCY", "DOCTOR").lower()
