"""CONFIG REWRITE and ACL SAVE, on a disk that syncs slowly, hold up nobody but the client that asked."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support.inprocess import InProcessNode


class SlowDisk:
    """Syncs wait until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.waiting = threading.Event()
        real = os.fsync

        def fsync(handle: int) -> None:
            self.waiting.set()
            assert self.go.wait(60)
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)


def run(node: InProcessNode, act: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.server.file_saves.run)
                await trio.testing.wait_all_tasks_blocked()
                await act()
                nursery.cancel_scope.cancel()

    trio.run(main)


def first_line(node: InProcessNode) -> str:
    assert node.server.config.path is not None
    return Path(node.server.config.path).read_text().split("\n")[0]


async def wait_for(condition: Callable[[], object]) -> None:
    while not condition():
        await trio.sleep(0.001)


@pytest.fixture
def node(tmp_path: Path) -> Any:
    path = tmp_path / "redis.conf"
    path.write_text("maxclients 100\n")
    with InProcessNode() as node:
        node.server.config.path = str(path)
        yield node


def test_others_are_served_while_a_rewrite_waits_for_the_disk(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, other = node.client(), node.client()
    disk = SlowDisk(monkeypatch)

    async def act() -> None:
        other.call("CONFIG", "SET", "maxclients", "200")
        assert asking.raw("CONFIG", "REWRITE") == b""
        await wait_for(disk.waiting.is_set)
        assert other.raw("PING") == b"+PONG\r\n"
        assert first_line(node) == "maxclients 100"
        disk.go.set()
        await wait_for(lambda: not asking.served.blocked)
        assert asking.received() == b"+OK\r\n"
        assert first_line(node) == "maxclients 200"

    run(node, act)


def test_rewrite_in_a_transaction_is_answered_at_once_and_done_before_the_end(
    node: InProcessNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = node.client()
    disk = SlowDisk(monkeypatch)

    async def act() -> None:
        client.call("MULTI")
        client.call("CONFIG", "SET", "maxclients", "300")
        client.call("CONFIG", "REWRITE")
        assert client.call("EXEC") == [b"OK", b"OK"]
        disk.go.set()

    run(node, act)
    assert first_line(node) == "maxclients 300"


def test_failing_rename_is_told_to_the_client(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    client = node.client()

    def fail(old: str, new: str) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "rename", fail)

    async def act() -> None:
        assert client.raw("CONFIG", "REWRITE") == b""
        await wait_for(lambda: not client.served.blocked)
        assert client.received() == b"-ERR Rewriting config file: No space left on device\r\n"

    run(node, act)
    assert client.raw("CONFIG", "REWRITE") == b"-ERR Rewriting config file: No space left on device\r\n"


def test_later_of_two_saves_wins(node: InProcessNode) -> None:
    first, second = node.client(), node.client()

    async def act() -> None:
        first.call("CONFIG", "SET", "maxclients", "400")
        assert first.raw("CONFIG", "REWRITE") == b""
        second.call("CONFIG", "SET", "maxclients", "500")
        assert second.raw("CONFIG", "REWRITE") == b""
        await wait_for(lambda: not first.served.blocked and not second.served.blocked)

    run(node, act)
    assert first_line(node) == "maxclients 500"
