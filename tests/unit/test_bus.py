"""The driver of the bus over real sockets: what a fault of ours, of the machine or of a peer may cost."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import trio

from slotmesh.cluster.bus import Bus, BusClock
from slotmesh.cluster.config import ClusterConfig
from slotmesh.cluster.core import ClusterCore
from slotmesh.cluster.effects import Connect, Effect
from slotmesh.cluster.events import Event, MessageReceived, ReplicationStatus
from slotmesh.cluster.faults import PERIOD_S, Complaints
from slotmesh.cluster.messages import Header, Meet, Ping
from slotmesh.cluster.terms import FLAG_PRIMARY
from slotmesh.cluster.wire import MAX_STRANGER_FRAME_BYTES, encode_message

BAD, GOOD = "b" * 40, "c" * 40


class FaultyCore(ClusterCore):
    """Has a bug that the frames of one sender bring out."""

    def step(self, now_ms: int, event: Event) -> None:
        if isinstance(event, MessageReceived) and event.message.header.sender == BAD:
            raise KeyError("a bug")
        super().step(now_ms, event)


class Host:
    """Keeps what would be on disk."""

    def __init__(self) -> None:
        self.saved: list[str] = []
        self.faults = 0

    def persist(self, text: str, *, sync: bool) -> None:
        if self.faults:
            self.faults -= 1
            raise KeyError("a bug")
        self.saved.append(text)

    def persist_soon(self) -> None: ...

    def carry_out(self, effect: Effect) -> None: ...

    def settled(self) -> None: ...

    def replication_status(self) -> ReplicationStatus:
        return ReplicationStatus(0, False)


class FlakyListener(socket.socket):
    """Its `accept` fails with each of `errors` first."""

    errors: list[int]

    def accept(self) -> tuple[socket.socket, Any]:
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, errno.errorcode[number])
        return super().accept()


class DialledBus(Bus):
    """Knows the peers of a test, to close them."""

    peers: list[trio.SocketStream]

    async def dial(self, address: tuple[str, int]) -> trio.SocketStream:
        self.peers.append(await trio.open_tcp_stream(*address))
        return self.peers[-1]


def run_bus(
    act: Callable[[DialledBus, tuple[str, int]], Awaitable[None]],
    host: Host | None = None,
    errors: tuple[int, ...] = (),
) -> Host:
    """Run a bus while `act` plays the peers; it must end within seconds."""
    used = host or Host()
    clock = BusClock()
    core = FaultyCore(ClusterConfig(port=7000, cport=17000), Random(1), clock.now_ms())
    bus = DialledBus(core, used, clock, lambda: 0)
    bus.peers = []

    async def main() -> None:
        listener = FlakyListener(socket.AF_INET, socket.SOCK_STREAM)
        listener.errors = list(errors)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                listeners: list[socket.socket] = [listener]
                nursery.start_soon(bus.run, listeners)
                await act(bus, listener.getsockname())
                for peer in bus.peers:
                    await peer.aclose()
                nursery.cancel_scope.cancel()

    trio.run(main)
    return used


def ping_of(sender: str) -> bytes:
    return encode_message(Ping(Header(sender=sender, port=7000, cport=17000, flags=FLAG_PRIMARY)))


async def answers(stream: trio.SocketStream, frame: bytes) -> bool:
    """Whether the node answers a frame; False when it ends the link."""
    await stream.send_all(frame)
    try:
        return bool(await stream.receive_some())
    except trio.BrokenResourceError:
        return False


def test_bug_that_one_frame_brings_out_costs_that_link_only(caplog: pytest.LogCaptureFixture) -> None:
    async def act(bus: DialledBus, address: tuple[str, int]) -> None:
        good, bad, worse = [await bus.dial(address) for _ in range(3)]
        assert not await answers(bad, ping_of(BAD))
        assert not await answers(worse, ping_of(BAD))
        assert await answers(good, ping_of(GOOD))

    with caplog.at_level(logging.ERROR, logger="cluster"):
        run_bus(act)
    faults = [record for record in caplog.records if record.exc_info]
    assert len(faults) == 1, "the same traceback is told once"


def test_frame_that_violates_the_protocol_costs_its_link_and_is_counted() -> None:
    async def act(bus: DialledBus, address: tuple[str, int]) -> None:
        absurd = Header(sender=GOOD, port=7000, cport=17000, flags=FLAG_PRIMARY, current_epoch=2**64 - 1)
        too_long = b"RCmb" + (MAX_STRANGER_FRAME_BYTES + 1).to_bytes(4, "big") + b"\0\1"
        for frame in (encode_message(Ping(absurd)), b"GET / HTTP/1.1\r\n", too_long):
            assert not await answers(await bus.dial(address), frame)
        assert bus.violations == 3
        assert await answers(await bus.dial(address), ping_of(GOOD))

    run_bus(act)


@pytest.mark.parametrize(
    "number", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]
)
def test_error_of_accept_ends_nothing(number: int) -> None:
    async def act(bus: DialledBus, address: tuple[str, int]) -> None:
        assert await answers(await bus.dial(address), ping_of(GOOD))

    run_bus(act, errors=(number, number))


def test_link_that_cannot_be_opened_is_lost_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bus: DialledBus, address: tuple[str, int]) -> None:
        real = socket.socket

        def none_left(*_: object) -> socket.socket:
            raise OSError(errno.EMFILE, "too many open files")

        monkeypatch.setattr("slotmesh.cluster.bus.socket.socket", none_left)
        bus.core.admin(bus.clock.now_ms()).meet("127.0.0.1", 7001, address[1])
        bus.settle()
        (stranger,) = [member for member in bus.core.view.members if member.in_handshake]
        first = stranger.link
        while stranger.link is first:
            await trio.sleep(0.01)
        monkeypatch.setattr("slotmesh.cluster.bus.socket.socket", real)
        assert await answers(await bus.dial(address), ping_of(GOOD))

    run_bus(act)


def test_name_is_looked_up_without_holding_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = trio.Event()

    async def slow(host: str, port: int, **_: object) -> list[Any]:
        asked.set()
        await trio.sleep_forever()
        return []

    async def act(bus: DialledBus, address: tuple[str, int]) -> None:
        stream = await bus.dial(address)
        monkeypatch.setattr("slotmesh.cluster.bus.trio.socket.getaddrinfo", slow)
        bus._carry_out(Connect(77, "db.example", 17000))
        await asked.wait()
        assert await answers(stream, ping_of(GOOD))

    run_bus(act)


@pytest.mark.parametrize("host", ["\0", "x" * 64, "a..b"])
def test_what_is_not_even_a_name_loses_the_link(host: str) -> None:
    async def act(bus: DialledBus, address: tuple[str, int]) -> None:
        bus._carry_out(Connect(77, host, 17000))
        assert await answers(await bus.dial(address), ping_of(GOOD))

    run_bus(act)


def test_nothing_is_sent_while_the_state_cannot_be_rendered_or_saved() -> None:
    host = Host()

    async def act(bus: DialledBus, address: tuple[str, int]) -> None:
        stream = await bus.dial(address)
        meet = encode_message(Meet(Header(sender=GOOD, port=7000, cport=17000, flags=FLAG_PRIMARY)))
        host.faults = 1
        bus.core.save()
        await stream.send_all(meet)  # its answer is in the batch that begins with the Persist
        with trio.move_on_after(0.05) as waiting:
            await stream.receive_some()
        assert waiting.cancelled_caught
        assert await answers(stream, ping_of(GOOD))

    run_bus(act, host)
    assert not host.faults
    assert len(host.saved) > 1, "saved again with the next step"


def test_complaint_is_repeated_only_now_and_then_with_the_number_left_out(caplog: pytest.LogCaptureFixture) -> None:
    now_s = [0.0]
    complaints = Complaints(logging.getLogger("cluster"), lambda: now_s[0])
    with caplog.at_level(logging.WARNING, logger="cluster"):
        for _ in range(5):
            complaints.warn("no")
        now_s[0] = PERIOD_S
        complaints.warn("no")
    assert [record.getMessage() for record in caplog.records] == ["no", "no (and 4 more like it)"]


def test_complaints_remember_a_bounded_number_of_texts(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(logging.getLogger("cluster"), lambda: 0.0)
    for number in range(2000):
        complaints.warn(str(number))
    assert len(complaints._told_s) <= 256
