"""The words of the replication commands, those that replicas speak included, on stock and on ours."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ServerHandle, have_stock, start_node, start_stock_server, wait_until
from tests.support.twins import Twins, running_twins

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

LINES = """
WAIT a 1|WAIT 1 a|WAIT 1 -1|WAIT 0 0|WAIT -1 10|WAIT 1 1.5|WAIT 1 20|WAIT 1
WAIT 2 9223372036854775808
FAILOVER|FAILOVER ABORT|FAILOVER TO|FAILOVER TO h|FAILOVER TO h p|FAILOVER FORCE|FAILOVER TIMEOUT 0|FAILOVER TIMEOUT a
FAILOVER TO 1 2 FORCE TIMEOUT 3|FAILOVER TO 1.1.1.1 5|FAILOVER x|FAILOVER TO a 1 TO b 2|FAILOVER FORCE FORCE
FAILOVER TIMEOUT 5 TIMEOUT 6|failover abort now
ROLE|ROLE x|REPLICAOF|REPLICAOF a|REPLICAOF a b|REPLICAOF a 99999|REPLICAOF a -1|REPLICAOF NO ONE|slaveof no one
SLAVEOF a b c
REPLCONF|REPLCONF a|REPLCONF a b|REPLCONF listening-port x|REPLCONF listening-port 5|REPLCONF listening-port 5 capa
REPLCONF CAPA EOF CAPA PSYNC2|REPLCONF capa whatever|REPLCONF rdb-only 2|REPLCONF rdb-only x|REPLCONF rdb-only 1
REPLCONF rdb-only 0|REPLCONF rdb-filter-only foo|REPLCONF rdb-filter-only functions|REPLCONF ip-address 1.2.3.4
PSYNC|PSYNC a|PSYNC ? x|PSYNC ? -1 FAILOVER|SYNC x
"""


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("replication")) as pair:
        yield pair


@pytest.mark.parametrize("line", [line for row in LINES.split("\n") for line in row.split("|") if line])
def test_replication_command_gets_the_reply_of_stock(twins: Twins, line: str) -> None:
    twins.ask(*line.split())


def test_replconf_ip_address_that_is_too_long_gets_the_reply_of_stock(twins: Twins) -> None:
    twins.ask("REPLCONF", "ip-address", "1" * 45)
    twins.ask("REPLCONF", "ip-address", "1" * 255)
    twins.ask("REPLCONF", "ip-address", "1" * 256)


def test_replication_commands_in_multi_get_the_replies_of_stock(twins: Twins) -> None:
    twins.ask("MULTI")
    for line in ("WAIT 1 0", "ROLE", "PSYNC ? -1", "SYNC", "REPLCONF a"):
        twins.ask(*line.split())
    twins.ask("EXEC")


def bytes_until(port: int, request: bytes, enough: int) -> bytes:
    """What a server sends after a request, at least `enough` bytes of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(request)
        received = b""
        while len(received) < enough:
            chunk = sock.recv(65536)
            assert chunk, received
            received += chunk
        return received


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_full_sync_starts_on_the_wire_as_that_of_stock(tmp_path: Path, diskless: str) -> None:
    """The answer to PSYNC, the header of the snapshot and its first bytes, for a replica that knows the end mark."""
    options = ("--repl-diskless-sync", diskless, "--repl-diskless-sync-delay", "0")

    def exchange(server: ServerHandle) -> tuple[bytes, ...]:
        request = b"REPLCONF capa eof capa psync2\r\nPSYNC ? -1\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            sock.sendall(request.partition(b"\n")[0] + b"\n")
            assert sock.recv(100) == b"+OK\r\n"
            sock.sendall(b"PSYNC ? -1\r\n")
            received = b""
            while received.count(b"\r\n") < 2 or b"REDIS" not in received:
                received += sock.recv(65536)
        answer, header = received.replace(b"\n\n", b"\n").split(b"\r\n")[:2]
        words = answer.split()
        header = header.lstrip(b"\n")
        kind = header[:5] if header.startswith(b"$EOF:") else header[:1]
        assert len(words[1]) == 40
        return words[0], words[2], kind

    with start_stock_server(tmp_path / "s", *options) as stock, start_node(tmp_path / "o", *options) as ours:
        assert exchange(ours) == exchange(stock)


def test_stream_of_a_few_commands_is_byte_for_byte_that_of_stock(tmp_path: Path) -> None:
    """A fake replica listens to both; the commands are such as have one form only."""
    commands: list[tuple[str, ...]] = [
        ("SET", "k", "v"),
        ("INCR", "n"),
        ("SELECT", "3"),
        ("RPUSH", "l", "a", "b"),
        ("SELECT", "0"),
        ("DEL", "k", "missing"),
        ("DEL", "missing"),
        ("SET", "k", "v", "PXAT", "4102444800000"),
        ("SETEX", "fresh", "100000000", "v"),
        ("GETDEL", "n"),
        ("MULTI",),
        ("SET", "a", "1"),
        ("HSET", "h", "f", "1"),
        ("EXEC",),
        ("MULTI",),
        ("SET", "only", "1"),
        ("EXEC",),
        ("LPOP", "nothing"),
        ("SPOP", "nothing"),
        ("FLUSHALL",),
        ("PUBLISH", "channel", "message"),
    ]
    options = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "3600")

    def stream_of(server: ServerHandle) -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            sock.sendall(b"REPLCONF capa psync2\r\n")
            assert sock.recv(100) == b"+OK\r\n"
            sock.sendall(b"PSYNC ? -1\r\n")
            wait_until(lambda: "state=online" in server.info("replication").get("slave0", ""), 10, "it is online")
            client = server.client()
            with client.client() as connection:
                for command in commands:
                    connection.execute_command(*command)
                connection.execute_command("SET", "the", "end")
            received = b""
            while b"$3\r\nend\r\n" not in received:
                received += sock.recv(65536)
        return received[received.index(b"*2\r\n$6\r\nSELECT") :]

    def without_times(stream: bytes) -> list[bytes]:
        """The words of the stream; times of expiry that depend on when a command ran are left out."""
        words = stream.split(b"\r\n")
        return [
            b"<time>" if word.isdigit() and len(word) == 13 and word != b"4102444800000" else word for word in words
        ]

    with start_stock_server(tmp_path / "s", *options) as stock, start_node(tmp_path / "o", *options) as ours:
        assert without_times(stream_of(ours)) == without_times(stream_of(stock))
