"""A client gives way when its turn is over, and loses nothing by it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotmesh.node.base.native import compiled
from slotmesh.node.resp.encoder import encode_command
from slotmesh.node.serving.client_io import STRANGERS_COMMANDS
from tests.commands.test_pipelines import encoded, requests
from tests.support.inprocess import InProcessNode

FORMS = ["plain", pytest.param("compiled", marks=pytest.mark.skipif(compiled is None, reason="not built here"))]


def shortest_turns(node: InProcessNode) -> None:
    """From now on every turn is over after one command."""
    node.server.data_plane.input.share_ns = node.server.data_plane.input.least_turn_ns = 0


@pytest.fixture(params=FORMS)
def node(request: pytest.FixtureRequest) -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        if request.param == "plain":
            running.server.data_plane._client_io = None
        yield running


def one_pass(node: InProcessNode) -> None:
    plane = node.server.data_plane
    plane.run_pass(plane._epoll.poll(0))


def arrived(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 16)
    except BlockingIOError:
        return b""


@settings(max_examples=40, deadline=None)
@given(requests, st.booleans())
def test_turns_of_one_command_give_the_replies_of_single_commands(numbers: list[int], as_compiled: bool) -> None:
    pieces = [encoded(number) for number in numbers]
    with InProcessNode() as node:
        client = node.client()
        one_by_one = b""
        for piece in pieces:
            one_by_one += client.send(piece)
            node.advance(5)
            one_by_one += client.received()
    with InProcessNode() as node:
        if not as_compiled:
            node.server.data_plane._client_io = None
        shortest_turns(node)
        client = node.client()
        in_turns = client.send(b"".join(pieces))
        for _ in pieces:  # each may block once
            node.advance(5)
            in_turns += client.received()
    assert in_turns == one_by_one


@pytest.mark.parametrize("request_", [encode_command([b"INCR", b"n"]), b"INCR n\r\n"], ids=["multibulk", "inline"])
def test_pipeline_gives_way_to_others_and_goes_on(node: InProcessNode, request_: bytes) -> None:
    greedy, modest = node.client(), node.client()
    shortest_turns(node)
    greedy.sock.send(request_ * 100)
    one_pass(node)
    assert arrived(greedy.sock) == b":1\r\n"
    modest.sock.send(encode_command([b"GET", b"n"]))
    replies = b""
    for _ in range(4):
        one_pass(node)
        replies += arrived(greedy.sock)
    assert arrived(modest.sock) in (b"$1\r\n1\r\n", b"$1\r\n2\r\n"), "served in the pass after it asked"
    node.pump()
    replies += arrived(greedy.sock)
    assert b":1\r\n" + replies == b"".join(b":%d\r\n" % n for n in range(1, 101))


def test_nothing_is_read_from_a_client_that_has_commands_left(node: InProcessNode) -> None:
    client = node.client()
    shortest_turns(node)
    client.sock.send(encode_command([b"PING"]) * 10)
    one_pass(node)
    client.sock.send(encode_command([b"ECHO", b"later"]))
    one_pass(node)
    assert len(client.served.commands) == 8
    node.pump()
    assert arrived(client.sock) == b"+PONG\r\n" * 10 + b"$5\r\nlater\r\n"


def test_every_greedy_client_has_its_turn(node: InProcessNode) -> None:
    clients = [node.client() for _ in range(10)]
    shortest_turns(node)
    for client in clients:
        client.sock.send(encode_command([b"PING"]) * 5)
    for _ in range(12):
        one_pass(node)
    assert all(arrived(client.sock) for client in clients)


def test_transaction_is_not_cut(node: InProcessNode) -> None:
    greedy, other = node.client(), node.client()
    shortest_turns(node)
    greedy.sock.send(encode_command([b"MULTI"]) + encode_command([b"INCR", b"n"]) * 50 + encode_command([b"EXEC"]))
    seen = set()
    for _ in range(60):
        one_pass(node)
        other.sock.send(encode_command([b"GET", b"n"]))
        one_pass(node)
        seen.add(arrived(other.sock))
    assert seen <= {b"$-1\r\n", b"$2\r\n50\r\n", b""}
    assert b"$2\r\n50\r\n" in seen


def test_client_that_ends_in_the_middle_of_its_pipeline_runs_no_more(node: InProcessNode) -> None:
    client = node.client()
    shortest_turns(node)
    client.sock.send(encode_command([b"INCR", b"n"]) * 10)
    one_pass(node)
    node.server.data_plane.drop(client.served)
    node.pump()
    assert node.client().raw("GET", "n") == b"$1\r\n1\r\n"


def test_stranger_runs_a_bounded_number_of_commands_a_turn(node: InProcessNode) -> None:
    node.client().call("CONFIG", "SET", "requirepass", "p")
    stranger = node.client()
    node.server.data_plane.input.share_ns = 10**10  # so that the time is not what ends the turn
    stranger.sock.send(b"GET k\r\n" * (2 * STRANGERS_COMMANDS))
    one_pass(node)
    assert arrived(stranger.sock).count(b"-NOAUTH") == STRANGERS_COMMANDS


def test_stranger_that_never_reads_is_closed(node: InProcessNode) -> None:
    node.client().call("CONFIG", "SET", "requirepass", "p")
    stranger = node.client()
    stranger.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(200):
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            stranger.sock.send(b"GET k\r\n" * 1000)
        node.pump()
        if stranger.served.sock is None:
            break
    assert stranger.served.sock is None
    assert node.server.stats.output_buffer_disconnections == 1


SLOW_EVAL = encode_command([b"EVAL", b"for i = 1, 200000 do end return 1", b"0"])
SLOW = [
    pytest.param(encode_command([b"DEBUG", b"SLEEP", b"0.003"]), id="multibulk"),
    pytest.param(b"DEBUG SLEEP 0.003\r\n", id="inline"),
    pytest.param(SLOW_EVAL, id="script"),
    pytest.param(encode_command([b"MULTI"]) + SLOW_EVAL + encode_command([b"EXEC"]), id="transaction"),
]


@pytest.mark.parametrize("command", SLOW)
def test_pipeline_of_slow_commands_gives_way_by_the_clock(node: InProcessNode, command: bytes) -> None:
    node.server.config.enable_debug_command = "yes"
    greedy, other = node.client(), node.client()
    greedy.sock.send(command * 30)
    one_pass(node)
    other.sock.send(encode_command([b"PING"]))
    one_pass(node)
    assert arrived(other.sock) == b"+PONG\r\n"
    so_far = arrived(greedy.sock).count(b"\r\n")
    assert 0 < so_far < greedy.received().count(b"\r\n")


@pytest.mark.parametrize("padding", [b"\r\n", b"\n", b" \r\n", b"*0\r\n", b"*-1\r\n"])
def test_empty_commands_use_up_a_turn_as_others_do(node: InProcessNode, padding: bytes) -> None:
    shortest_turns(node)
    client = node.client()
    client.sock.send(padding * 200 + b"PING\r\n")
    for _ in range(50):
        one_pass(node)
    assert arrived(client.sock) == b""
    assert client.received() == b"+PONG\r\n"


def test_pipeline_that_ends_with_a_part_of_a_command_stays_on_the_fast_path(node: InProcessNode) -> None:
    shortest_turns(node)
    client = node.client()
    command = encode_command([b"INCR", b"n"])
    assert client.send(command * 3 + command[:9]) == b":1\r\n:2\r\n:3\r\n"
    assert client.served.parser is not None
    assert client.served.parser.untouched
    assert client.send(command[9:]) == b":4\r\n"
    assert client.served.parser is None


def test_paused_client_goes_on_where_it_was_held_back(node: InProcessNode) -> None:
    shortest_turns(node)
    client, admin = node.client(), node.client()
    client.sock.send(encode_command([b"INCR", b"n"]) * 50)
    one_pass(node)
    admin.call("CLIENT", "PAUSE", "100000", "WRITE")
    held = node.server.keyspace.dbs[0].peek(b"n")
    node.pump()
    assert node.server.keyspace.dbs[0].peek(b"n") == held != b"50"
    admin.call("CLIENT", "UNPAUSE")
    client.received()
    assert node.server.keyspace.dbs[0].peek(b"n") == b"50"


def test_what_a_client_has_left_counts_as_its_memory(node: InProcessNode) -> None:
    shortest_turns(node)
    client, other = node.client(), node.client()
    client.sock.send(encode_command([b"SET", b"k", b"x" * 1000]) * 30)
    one_pass(node)
    line = other.call("CLIENT", "LIST", "ID", client.served.id).decode()
    fields = dict(field.split("=", 1) for field in line.split())
    assert int(fields["tot-mem"]) > 20_000


def test_nothing_behind_quit_runs_however_the_pipeline_is_cut(node: InProcessNode) -> None:
    shortest_turns(node)
    client = node.client()
    increment = encode_command([b"INCR", b"n"])
    client.sock.send(increment * 3 + encode_command([b"QUIT"]) + increment)
    assert client.received() == b":1\r\n:2\r\n:3\r\n+OK\r\n"
    assert node.client().call("GET", "n") == b"3"
