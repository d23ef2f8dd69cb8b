"""Kept connections of MIGRATE."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from slotmesh.node.persistence.migrate_links import IDLE_MS, MAX_LINKS, Link, LinkError, MigrateLinks


class Bench:
    def __init__(self) -> None:
        self.now_ms = 1000
        self.links = MigrateLinks(lambda: self.now_ms)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = b"%d" % self.listener.getsockname()[1]
        self.accepted: list[socket.socket] = []

    def get(self) -> tuple[Link, socket.socket]:
        link = self.links.get(b"127.0.0.1", self.port, 1000)
        self.listener.settimeout(0.05)
        with contextlib.suppress(TimeoutError):  # the kept connection was used
            self.accepted.append(self.listener.accept()[0])
        return link, self.accepted[-1]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.links.close_all()
    for sock in (bench.listener, *bench.accepted):
        sock.close()


def test_link_is_kept_and_closed_when_idle(bench: Bench) -> None:
    first, _ = bench.get()
    assert bench.get()[0] is first
    bench.now_ms += IDLE_MS
    bench.links.close_idle()
    assert len(bench.links) == 1
    bench.now_ms += 1
    bench.links.close_idle()
    assert len(bench.links) == 0
    assert bench.get()[0] is not first


def test_link_that_the_peer_closed_or_spoke_on_is_replaced(bench: Bench) -> None:
    first, peer = bench.get()
    peer.close()
    second, peer = bench.get()
    assert second is not first
    peer.sendall(b"-ERR unasked\r\n")
    assert bench.get()[0] is not second


def test_link_number_is_limited(bench: Bench) -> None:
    for _ in range(MAX_LINKS):
        bench.get()
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(MAX_LINKS + 5)]
    for index, listener in enumerate(listeners):
        bench.now_ms += index
        bench.links.get(b"127.0.0.1", b"%d" % listener.getsockname()[1], 1000)
    assert len(bench.links) == MAX_LINKS
    for listener in listeners:
        listener.close()


def test_link_lines_are_read_across_packets(bench: Bench) -> None:
    link, peer = bench.get()
    link.send(b"PING\r\n")
    assert peer.recv(100) == b"PING\r\n"
    peer.sendall(b"+OK\r\n-ER")
    assert link.read_line() == b"+OK"
    peer.sendall(b"R no\r\n")
    assert link.read_line() == b"-ERR no"


def test_link_failures_say_whether_time_ran_out(bench: Bench) -> None:
    link, peer = bench.get()
    link.set_timeout(20)
    with pytest.raises(LinkError) as caught:
        link.read_line()
    assert caught.value.timed_out
    peer.close()
    with pytest.raises(LinkError) as caught:
        link.read_line()
    assert not caught.value.timed_out


@pytest.mark.parametrize("port", [b"x", b""])
def test_link_to_no_address_fails(bench: Bench, port: bytes) -> None:
    with pytest.raises(LinkError) as caught:
        bench.links.get(b"127.0.0.1", port, 200)
    assert not caught.value.refused


def test_link_to_a_closed_port_is_refused(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = b"%d" % gone.getsockname()[1]
    with pytest.raises(LinkError) as caught:
        bench.links.get(b"127.0.0.1", port, 200)
    assert caught.value.refused
