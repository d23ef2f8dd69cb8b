"""A bug of ours, wherever it shows while a client is served, costs that client at most: others never notice."""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from slotmesh.node.base.native import compiled
from slotmesh.node.clients import client as node_client
from slotmesh.node.clients.client import Client
from slotmesh.node.program import run_server
from slotmesh.node.resp.encoder import encode_command
from slotmesh.node.resp.parser import RequestParser
from slotmesh.node.serving.client_io import Input
from slotmesh.node.serving.cron import Cron
from slotmesh.node.serving.output import Output
from tests.support.inprocess import InProcessClient, InProcessNode


class Planted(Exception):
    """The bug."""


def broken(*_args: Any, **_options: Any) -> Any:
    raise Planted


FORMS = ["plain", pytest.param("compiled", marks=pytest.mark.skipif(compiled is None, reason="not built here"))]


@pytest.fixture(params=FORMS)
def node(request: pytest.FixtureRequest) -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        if request.param == "plain":
            running.server.data_plane._client_io = None
        yield running


Patch = pytest.MonkeyPatch
Break = Callable[[InProcessNode, InProcessClient, Patch], bytes]


def in_parsing(node: InProcessNode, victim: InProcessClient, patch: Patch) -> bytes:
    patch.setattr(RequestParser, "next_step", broken)
    return b"PING\r\n"


def in_taking(node: InProcessNode, victim: InProcessClient, patch: Patch) -> bytes:
    patch.setattr(Input, "take_chunk", broken)
    return b"PING\r\n"


def behind_the_handler(node: InProcessNode, victim: InProcessClient, patch: Patch) -> bytes:
    patch.setattr(node.server.propagation, "after_command", broken)
    return encode_command([b"SET", b"k", b"v"])


def in_the_statistics(node: InProcessNode, victim: InProcessClient, patch: Patch) -> bytes:
    node.server.state.slow_nanos = 0
    patch.setattr(node.server.reports, "note_slow", broken)
    return encode_command([b"SET", b"k", b"v"])


def in_monitors(node: InProcessNode, victim: InProcessClient, patch: Patch) -> bytes:
    node.client().call("MONITOR")
    patch.setattr(node.server.monitors, "feed", broken)
    return encode_command([b"SET", b"k", b"v"])


def in_tracking(node: InProcessNode, victim: InProcessClient, patch: Patch) -> bytes:
    victim.call("HELLO", "3")
    victim.call("CLIENT", "TRACKING", "ON")
    patch.setattr(node.server.tracking, "after_command", broken)
    return encode_command([b"GET", b"k"])


def in_blocking(node: InProcessNode, victim: InProcessClient, patch: Patch) -> bytes:
    patch.setattr(node.server.blocking, "block", broken)
    return encode_command([b"BLPOP", b"list", b"0"])


def in_sending(node: InProcessNode, victim: InProcessClient, patch: Patch) -> bytes:
    real = Output.send

    def send(output: Output, client: Client) -> None:
        if client is victim.served:
            raise Planted
        real(output, client)

    patch.setattr(Output, "send", send)
    return encode_command([b"ECHO", b"x" * 20_000])


def in_what_is_sent(node: InProcessNode, victim: InProcessClient, patch: Patch) -> bytes:
    victim.served.out.append("no bytes")  # type: ignore[arg-type]
    return encode_command([b"PING"])


PLACES = [
    in_parsing,
    in_taking,
    behind_the_handler,
    in_the_statistics,
    in_monitors,
    in_tracking,
    in_blocking,
    in_sending,
    in_what_is_sent,
]


@pytest.mark.parametrize("place", PLACES)
def test_fault_while_a_client_is_served_closes_it_and_is_logged(
    node: InProcessNode, place: Break, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    victim, other = node.client(), node.client()
    caplog.set_level(logging.ERROR)
    with monkeypatch.context() as patch:
        request = place(node, victim, patch)
        victim.sock.send(request)
        node.pump()
    assert victim.served.sock is None
    assert victim.served.id not in node.server.clients
    assert "internal error: the connection of client" in caplog.text
    assert caplog.records[-1].exc_info is not None
    assert other.call("PING") == b"PONG"
    assert node.client().call("SET", "k", "v") == b"OK"


def test_fault_in_a_check_refuses_the_request_and_spoils_the_transaction(
    node: InProcessNode, monkeypatch: Patch
) -> None:
    client = node.client()
    client.call("MULTI")
    with monkeypatch.context() as patch:
        patch.setattr(node.server.dispatch, "_checks", (broken,))
        assert b"-ERR internal error" in client.raw("GET", "k")
    assert client.raw("EXEC") == b"-EXECABORT Transaction discarded because of previous errors.\r\n"
    assert client.call("PING") == b"PONG"


def test_fault_with_many_clients_in_one_pass_costs_one(node: InProcessNode, monkeypatch: Patch) -> None:
    clients = [node.client() for _ in range(9)]
    real = node.server.propagation.after_command

    def after_command(client: Client, argv: list[bytes]) -> None:
        if client is clients[4].served:
            raise Planted
        real(client, argv)

    monkeypatch.setattr(node.server.propagation, "after_command", after_command)
    for client in clients:
        client.sock.send(encode_command([b"INCR", b"n"]))
    node.pump()
    answered = [bool(client.served.sock) and client.received().startswith(b":") for client in clients]
    assert answered == [True] * 4 + [False] + [True] * 4


# -- what reaches a client without its asking --------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["2", "3"])
def test_message_that_cannot_be_encoded_costs_the_listener_not_the_publisher(
    node: InProcessNode, monkeypatch: Patch, protocol: str
) -> None:
    listener, publisher, second = node.client(), node.client(), node.client()
    listener.call("HELLO", protocol)
    listener.call("SUBSCRIBE", "c")
    second.call("SUBSCRIBE", "c")
    from slotmesh.node.resp.encoder import encode as real

    def encode(out: list[bytes], value: Any, resp3: bool) -> None:
        if out is listener.served.out:
            raise Planted
        real(out, value, resp3)

    monkeypatch.setattr(node_client, "encode", encode)
    assert publisher.call("PUBLISH", "c", "m") == 2
    assert second.received() == b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
    assert listener.served.sock is None


def test_handler_of_a_blocked_client_that_fails_does_not_cost_the_one_that_woke_it(
    node: InProcessNode, monkeypatch: Patch
) -> None:
    blocked, other = node.client(), node.client()
    blocked.sock.send(encode_command([b"BLPOP", b"list", b"0"]))
    node.pump()
    monkeypatch.setattr(node.server.blocking, "_run_again", broken)
    assert other.call("LPUSH", "list", "x") == 1
    assert blocked.served.sock is None
    assert other.call("LLEN", "list") == 1


def test_timeout_reply_that_fails_costs_the_one_that_waits(node: InProcessNode) -> None:
    blocked, second = node.client(), node.client()
    for client in (blocked, second):
        client.sock.send(encode_command([b"BLPOP", b"list", b"0.01"]))
    node.pump()
    assert blocked.served.blocked is not None
    blocked.served.blocked.on_timeout = broken
    node.advance(20)
    assert blocked.served.sock is None
    assert second.received() == b"*-1\r\n"


def test_wait_whose_question_fails_costs_the_one_that_waits(node: InProcessNode) -> None:
    waiting, other = node.client(), node.client()
    waiting.call("SET", "k", "v")
    waiting.sock.send(encode_command([b"WAIT", b"1", b"0"]))
    node.pump()
    waiters = node.server.replication.serving.waiting._waiters
    waiters[waiting.served] = (waiters[waiting.served][0], broken)
    assert other.call("PING") == b"PONG"
    assert waiting.served.sock is None


def test_client_that_goes_on_and_fails_costs_nobody_else(node: InProcessNode, monkeypatch: Patch) -> None:
    node.server.data_plane.input.share_ns = node.server.data_plane.input.least_turn_ns = 0
    greedy, other = node.client(), node.client()
    greedy.sock.send(encode_command([b"PING"]) * 10)
    node.server.data_plane.run_pass(node.server.data_plane._epoll.poll(0))
    assert greedy.served.commands
    with monkeypatch.context() as patch:
        patch.setattr(Input, "_run_waiting", broken)
        node.pump()
    assert greedy.served.sock is None
    assert other.call("PING") == b"PONG"


# -- between the clients -----------------------------------------------------------------------------------------------


def test_fault_while_a_client_is_forgotten_leaves_it_forgotten_by_the_rest(
    node: InProcessNode, monkeypatch: Patch
) -> None:
    leaving, other = node.client(), node.client()
    leaving.call("SUBSCRIBE", "c")
    monkeypatch.setattr(node.server.blocking, "forget", broken)
    leaving.sock.close()
    node.pump()
    assert other.call("PUBSUB", "NUMSUB", "c") == [b"c", 0]
    assert leaving.served.id not in node.server.clients


def test_fault_while_a_connection_is_taken_in_costs_that_one(node: InProcessNode, monkeypatch: Patch) -> None:
    plane = node.server.data_plane
    with monkeypatch.context() as patch:
        patch.setattr(plane, "_admit_socket", broken)
        ours, theirs = socket.socketpair()
        with theirs:
            plane._admit(ours)
            assert ours.fileno() == -1
            assert theirs.recv(1) == b""
    assert node.client().call("PING") == b"PONG"


def test_soft_limit_that_cannot_be_looked_at_costs_that_client(node: InProcessNode, monkeypatch: Patch) -> None:
    slow, other = node.client(), node.client()
    output = node.server.data_plane._output
    output._over_soft[slow.served] = None
    slow.served.unsent = deque()
    with monkeypatch.context() as patch:
        patch.setattr(output, "_enforce_limit", broken)
        node.server.data_plane.enforce_soft_limits()
    assert slow.served.sock is None
    assert slow.served not in output._over_soft
    assert other.call("PING") == b"PONG"


@pytest.mark.parametrize("what", ["tracking", "client_eviction", "eviction"])
def test_fault_at_the_edge_of_a_pass_leaves_the_pass_whole(node: InProcessNode, monkeypatch: Patch, what: str) -> None:
    client = node.client()
    name = {"tracking": "end_of_pass", "client_eviction": "maybe_evict", "eviction": "look"}[what]
    node.server.config.maxmemory = 1 << 40
    monkeypatch.setattr(getattr(node.server, what), name, broken)
    assert client.call("SET", "k", "v") == b"OK"


@pytest.mark.trio
async def test_task_of_the_housekeeping_that_fails_does_not_keep_the_others_from_running(
    monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    with InProcessNode() as node:
        ran = []
        node.server.cron.tasks[:] = [lambda: ran.append(1), broken, lambda: ran.append(2)]
        monkeypatch.setattr(Cron, "_sample", broken)
        monkeypatch.setattr(type(node.server.keyspace), "expire_cycle", broken)
        await node.server.cron._tick()
        assert ran == [1, 2]
        assert "a task of the housekeeping is given up" in caplog.text


# -- what the node cannot do without -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "name"),
    [("data_plane", "the data plane"), ("persistence", "persistence"), ("cron", "the housekeeping")],
)
def test_needed_task_that_fails_ends_the_node_with_a_word_in_the_log(
    monkeypatch: Patch, caplog: pytest.LogCaptureFixture, part: str, name: str
) -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise Planted

    with InProcessNode("--appendonly", "yes") as node:
        monkeypatch.setattr(getattr(node.server, part), "run", fail)
        closed: list[bool] = []
        monkeypatch.setattr(node.server.persistence, "close", lambda: closed.append(True))
        monkeypatch.setattr(node.server.data_plane, "close", lambda: None)
        assert trio.run(run_server, node.server) == 1
        assert not closed, "what cannot be trusted is not saved"
        assert f"Exiting: {name} failed" in caplog.text
        monkeypatch.undo()
