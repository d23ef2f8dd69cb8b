"""What the driver itself promises: order, and nothing told that could not be saved."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import hiredis
import pytest
import trio
import trio.testing

from slotmesh.node.config import rewrite as config_rewrite
from slotmesh.sentinel import driver as driver_module
from slotmesh.sentinel.driver import Driver
from slotmesh.sentinel.effects import ErrorReply, Persist, Send, split_free
from tests.support.sentinel_bench import SentinelBench

CONFIG = "sentinel monitor m 127.0.0.1 1 2\n"
QUESTION = ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", "1", "7", "a" * 40)


def words(*argv: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in argv)


async def run_driver(path: Path, act: object) -> None:
    core = SentinelBench(CONFIG, now_ms=driver_module.monotonic_ms()).core
    driver = Driver(core, str(path), lambda channel, message: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(driver.run)
        with trio.fail_after(10):
            await act(driver)  # type: ignore[operator]
        nursery.cancel_scope.cancel()


def test_vote_is_in_the_file_when_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "sentinel.conf"

    async def act(driver: Driver) -> None:
        reply = await driver.request(words(*QUESTION))
        assert reply == [0, b"a" * 40, 7] or reply == [1, b"a" * 40, 7]
        assert "sentinel leader-epoch m 7" in path.read_text()

    trio.run(run_driver, path, act)


def test_nothing_that_was_decided_during_a_failed_write_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sentinel.conf"
    writing, go_on = trio.Event(), trio.Event()
    real = config_rewrite.replace_file
    failing = True

    def fail(target: str, content: bytes) -> None:
        if failing:
            trio.from_thread.run_sync(writing.set)
            trio.from_thread.run(go_on.wait)
            raise OSError("disk full")
        real(target, content)

    monkeypatch.setattr(driver_module, "replace_file", fail)

    async def act(driver: Driver) -> None:
        nonlocal failing
        replies: list[object] = []

        async def ask() -> None:
            replies.append(await driver.request(words(*QUESTION)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await writing.wait()
            nursery.start_soon(ask)  # the vote stands in memory by now; its write is under way, and fails
            await trio.testing.wait_all_tasks_blocked()
            go_on.set()
        assert all(isinstance(reply, ErrorReply) and "Failed to save" in reply.text for reply in replies)
        assert (await driver.request(words(*QUESTION)))[1:] == [b"*", 0]  # type: ignore[index]
        failing = False
        reply = await driver.request(words("SENTINEL", "FLUSHCONFIG"))
        assert not isinstance(reply, ErrorReply)
        assert (await driver.request(words(*QUESTION)))[1:] == [b"a" * 40, 7]  # type: ignore[index]

    trio.run(run_driver, path, act)


class Primary:
    """A server that answers PING, and counts how often it was asked."""

    def __init__(self) -> None:
        self.pings = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        reader = hiredis.Reader()
        async for data in stream:
            reader.feed(bytes(data))
            while (command := reader.gets()) is not False:
                self.pings += command == [b"PING"]
                await stream.send_all(b"+PONG\r\n" if command == [b"PING"] else b"+OK\r\n")

    async def asked_again(self) -> None:
        before = self.pings
        with trio.fail_after(20):
            while self.pings < before + 2:
                await trio.sleep(0.01)


def test_servers_are_asked_on_while_a_vote_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, go_on = trio.Event(), trio.Event()
    real = config_rewrite.replace_file

    def hold(target: str, content: bytes) -> None:
        if b"leader-epoch m 7" in content:
            trio.from_thread.run_sync(writing.set)
            trio.from_thread.run(go_on.wait)
        real(target, content)

    monkeypatch.setattr(driver_module, "replace_file", hold)
    primary = Primary()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, primary.serve, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
            config = f"sentinel monitor m 127.0.0.1 {port} 2\nsentinel down-after-milliseconds m 100\n"
            core = SentinelBench(config, now_ms=driver_module.monotonic_ms()).core
            driver = Driver(core, str(tmp_path / "sentinel.conf"), lambda channel, message: None)
            await nursery.start(driver.run)
            await primary.asked_again()
            replies: list[object] = []

            async def ask() -> None:
                argv = ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", str(port), "7", "a" * 40)
                replies.append(await driver.request(words(*argv)))

            async with trio.open_nursery() as asking:
                asking.start_soon(ask)
                await writing.wait()
                await primary.asked_again()
                assert not replies
                go_on.set()
            assert replies[0][1:] == [b"a" * 40, 7]  # type: ignore[index]
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_what_overtakes_keeps_the_order_of_its_connection() -> None:
    ping, order = Send(1, (b"PING",), free=True), Send(2, (b"CLUSTER", b"FAILOVER"))
    behind = Send(2, (b"PING",), free=True)
    held: set[int] = set()
    assert split_free([Persist("text"), order, ping, behind], held) == ([ping], [Persist("text"), order, behind])
    assert held == {2}
    assert split_free([behind, ping], held) == ([ping], [behind])
