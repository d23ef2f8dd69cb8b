"""Broken and odd requests: the bytes that come back, and whether the connection lives on, equal stock's."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.processes import ServerHandle, have_stock, start_node, start_stock_server

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="redis-server is not on PATH")]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerHandle, ServerHandle]]:
    with (
        start_node(tmp_path_factory.mktemp("ours"), "--save", "") as ours,
        start_stock_server(tmp_path_factory.mktemp("stock"), "--save", "") as stock,
    ):
        yield ours, stock


@pytest.fixture(scope="module")
def guarded_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerHandle, ServerHandle]]:
    with (
        start_node(tmp_path_factory.mktemp("ours"), "--save", "") as ours,
        start_stock_server(tmp_path_factory.mktemp("stock"), "--save", "") as stock,
    ):
        for server in (ours, stock):
            server.call("CONFIG", "SET", "requirepass", "secret")
        yield ours, stock


def conversation(server: ServerHandle, request: bytes) -> bytes:
    """The answers to `request` and an ECHO right behind it, in one piece; when the echo lacks, it closed."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), 5) as sock:
        try:
            sock.sendall(request + b"*2\r\n$4\r\nECHO\r\n$7\r\nthe-end\r\n")
            sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65536):
                received += chunk
        except ConnectionError:
            pass  # the server closed with bytes of ours unread; what it said came before
    return received


CASES = [
    b"PING\r\nPOST / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n",
    b"POST\r\nPING\r\n",
    b"GET / HTTP/1.1\r\nhOST: localhost:6379\r\nPING\r\n",
    b"*1\r\n$4\r\npost\r\n*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$5\r\nHost:\r\n*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nPOST\r\n*1\r\n$4\r\nEXEC\r\n",
    b"posted\r\nhost\r\nPOST:\r\n",
    b"PING\r\n",
    b"PING\n",
    b"\r\n\n\r\nPING\r\n",
    b"ping hello\r\n",
    b"ping 'hello world'\r\n",
    b'ping "\\x41\\t"\r\n',
    b"ping 'unbalanced\r\n",
    b'ping "a"b\r\n',
    b"*0\r\n",
    b"*-1\r\n",
    b"*-10\r\n",
    b"*abc\r\n",
    b"*1x\r\n",
    b"*+1\r\n",
    b"* 1\r\n",
    b"*01\r\n$4\r\nPING\r\n",
    b"*9999999999999999999999\r\n",
    b"*2147483648\r\n",
    b"*1\r\nPING\r\n",
    b"*1\r\n:1\r\n",
    b"*1\r\n\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$abc\r\n",
    b"*1\r\n$4x\r\nPING\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$99999999999999999999\r\n",
    b"*1\r\n$0\r\n\r\n",
    b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    b"*2\r\n$4\r\nECHO\r\n$7\r\na\x00\r\nb\r\n\r\n",
    b"*1\r\n$4\r\nPINGxx",
    b"*1\r\n$4\r\nPING\r\nPING\r\n*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$4\r\nPING\r\n*1\r\nPING\r\n",
    b"+OK\r\n",
    b":1\r\n",
    b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
    b"x" * 70_000,
    b"x" * 70_000 + b"\r\n",
    b"nosuchcommand some args\r\n",
    b"nosuchcommand " + b"long" * 50 + b" " + b"more" * 50 + b" rest\r\n",
    b"get\r\n",
    b"get a b\r\n",
    b"config\r\n",
    b"config nosuch\r\n",
    b"config get\r\n",
    b"quit\r\n",
    b"*1\r\n$4\r\nquit\r\n*1\r\n$4\r\nPING\r\n",
    b"hello 3\r\nhello 2\r\nping\r\n"[9:],
    b"hello 4\r\n",
    b"hello x\r\n",
]


@pytest.mark.parametrize("request_bytes", CASES, ids=lambda case: repr(case[:40]))
def test_odd_request_is_answered_like_stock(pair: tuple[ServerHandle, ServerHandle], request_bytes: bytes) -> None:
    ours, stock = pair
    if request_bytes.startswith(b"hello 2"):
        got, wanted = (conversation(server, request_bytes)[-30:] for server in pair)
        assert got == wanted
        return
    assert conversation(ours, request_bytes) == conversation(stock, request_bytes)


UNAUTHENTICATED = [
    b"PING\r\n",
    b"get a\r\n",
    b"auth wrong\r\n",
    b"auth secret\r\nping\r\n",
    b"auth default secret\r\nping\r\n",
    b"auth a b c\r\n",
    b"*11\r\n",
    b"*10\r\n$4\r\nPING\r\n",
    b"*2\r\n$4\r\nAUTH\r\n$16385\r\n",
    b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*2\r\n$4\r\nECHO\r\n$16385\r\n" + b"x" * 16385 + b"\r\n",
    b"hello 2\r\n",
    b"hello 3 auth default wrong\r\n",
    b"nosuch\r\n",
    b"quit\r\n",
]


@pytest.mark.parametrize("request_bytes", UNAUTHENTICATED, ids=lambda case: repr(case[:40]))
def test_stranger_is_answered_like_stock(guarded_pair: tuple[ServerHandle, ServerHandle], request_bytes: bytes) -> None:
    ours, stock = guarded_pair
    assert conversation(ours, request_bytes) == conversation(stock, request_bytes)


def test_flood_without_end_of_line_leaves_the_server_small_and_alive(pair: tuple[ServerHandle, ServerHandle]) -> None:
    ours, _ = pair
    before = int(ours.info("memory")["used_memory"])
    with socket.create_connection(("127.0.0.1", ours.port), 5) as sock:
        try:
            for _ in range(200):
                sock.sendall(b"x" * 100_000)
        except ConnectionError:
            pass
    assert ours.call("PING") == b"PONG"
    assert int(ours.info("memory")["used_memory"]) - before < 16 << 20
