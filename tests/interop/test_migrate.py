"""MIGRATE between a stock server and ours, both ways, with every way it can fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.support import datasets
from tests.support.processes import ServerHandle, free_ports, start_node, start_stock_server

pytestmark = pytest.mark.stock

Pair = tuple[ServerHandle, ServerHandle]

Start = Callable[[Path], ServerHandle]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    root: Path = tmp_path_factory.mktemp("migrate")
    with start_stock_server(root / "stock") as stock, start_node(root / "node") as node:
        yield stock, node


@pytest.fixture(params=["stock to node", "node to stock"])
def pair(request: pytest.FixtureRequest, both: Pair) -> Iterator[Pair]:
    """(source, target), both empty."""
    source, target = both if request.param == "stock to node" else (both[1], both[0])
    yield source, target
    for server in both:
        server.call("FLUSHALL")


def _migrate(source: ServerHandle, target: ServerHandle, key: str, *rest: str | int) -> bytes:
    return bytes(source.call("MIGRATE", "127.0.0.1", target.port, key, *rest))


def test_migrate_one_key_moves_value_and_expiry(pair: Pair) -> None:
    source, target = pair
    source.call("SET", "k", "v", "PXAT", datasets.FAR_MS)
    assert _migrate(source, target, "k", 0, 5000) == b"OK"
    assert source.call("EXISTS", "k") == 0
    assert target.call("GET", "k") == b"v"
    assert abs(target.call("PEXPIRETIME", "k") - datasets.FAR_MS) < 5000


def test_migrate_missing_key_answers_nokey(pair: Pair) -> None:
    assert _migrate(*pair, "nothing", 0, 5000) == b"NOKEY"
    assert _migrate(*pair, "", 0, 5000, "KEYS", "a", "b") == b"NOKEY"


def test_migrate_many_keys_moves_those_that_exist(pair: Pair) -> None:
    source, target = pair
    names = [f"key:{i}" for i in range(300)]
    pipe = source.client().pipeline(transaction=False)
    for name in names:
        pipe.rpush(name, "x" * 1000, name, *range(20))
    pipe.execute()
    assert _migrate(source, target, "", 0, 10_000, "KEYS", "absent", *names) == b"OK"
    assert source.call("DBSIZE") == 0
    assert target.call("DBSIZE") == 300
    assert target.call("LRANGE", "key:7", 1, 2) == [b"key:7", b"0"]


def test_migrate_copy_leaves_the_key_and_replace_overwrites(pair: Pair) -> None:
    source, target = pair
    source.call("SET", "k", "new")
    target.call("SET", "k", "old")
    with pytest.raises(redis.ResponseError, match="Target instance replied with error: BUSYKEY"):
        _migrate(source, target, "k", 0, 5000)
    assert source.call("GET", "k") == b"new"
    assert _migrate(source, target, "k", 0, 5000, "COPY", "REPLACE") == b"OK"
    assert (source.call("GET", "k"), target.call("GET", "k")) == (b"new", b"new")
    assert _migrate(source, target, "k", 0, 5000, "REPLACE") == b"OK"
    assert source.call("EXISTS", "k") == 0


def test_migrate_partial_refusal_moves_the_rest(pair: Pair) -> None:
    source, target = pair
    for name in ("a", "b", "c"):
        source.call("SET", name, "new")
    target.call("SET", "b", "old")
    with pytest.raises(redis.ResponseError, match="BUSYKEY"):
        _migrate(source, target, "", 0, 5000, "KEYS", "a", "b", "c")
    assert sorted(source.call("KEYS", "*")) == [b"b"]
    assert target.call("MGET", "a", "b", "c") == [b"new", b"old", b"new"]


def test_migrate_other_database_and_back_to_the_first(pair: Pair) -> None:
    source, target = pair
    for name, index in (("one", 3), ("two", 3), ("three", 0)):
        source.call("SET", name, index)
        assert _migrate(source, target, name, index, 5000) == b"OK"
    client = redis.Redis(port=target.port, db=3)
    assert sorted(client.keys()) == [b"one", b"two"]
    assert target.call("KEYS", "*") == [b"three"]
    client.close()


def test_migrate_is_propagated_as_del(tmp_path: Path, both: Pair) -> None:
    stock, _ = both
    with start_node(tmp_path, "--appendonly", "yes") as node:
        node.call("MSET", "a", 1, "b", 2, "stays", 3)
        assert _migrate(node, stock, "", 0, 5000, "KEYS", "a", "b", "none") == b"OK"
        node.kill9()
        log = (tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof").read_bytes()
        assert log.endswith(b"*3\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n")
        node.restart()
        assert node.call("KEYS", "*") == [b"stays"]
    stock.call("FLUSHALL")


def test_migrate_with_credentials(tmp_path: Path) -> None:
    with (
        start_stock_server(tmp_path / "stock") as target,
        start_node(tmp_path / "node") as node,
    ):
        target.call("CONFIG", "SET", "requirepass", "secret")
        node.call("MSET", "a", 1, "b", 2)
        with pytest.raises(redis.ResponseError, match="Target instance replied with error: NOAUTH"):
            _migrate(node, target, "a", 0, 5000)
        with pytest.raises(redis.ResponseError, match="Target instance replied with error: WRONGPASS"):
            _migrate(node, target, "a", 0, 5000, "AUTH", "wrong")
        assert node.call("EXISTS", "a", "b") == 2
        assert _migrate(node, target, "a", 0, 5000, "AUTH", "secret") == b"OK"
        assert _migrate(node, target, "b", 0, 5000, "AUTH2", "default", "secret") == b"OK"


def test_migrate_kept_connection_that_died_is_replaced(tmp_path: Path) -> None:
    with start_node(tmp_path / "node") as node:
        port = free_ports(1)[0]
        for name in ("a", "b"):
            with start_stock_server(tmp_path / name, port=port) as target:
                node.call("SET", name, "v")
                assert _migrate(node, target, name, 0, 5000) == b"OK"
                assert target.call("KEYS", "*") == [name.encode()]


@pytest.mark.parametrize("start", [start_node, start_stock_server])
def test_migrate_to_nobody_fails_and_keeps_the_key(tmp_path: Path, start: Start) -> None:
    with start(tmp_path) as server:
        server.call("SET", "k", "v")
        port = free_ports(1)[0]
        with pytest.raises(redis.ResponseError, match="IOERR error or timeout writing to target instance"):
            server.call("MIGRATE", "127.0.0.1", port, "k", 0, 500)
        assert server.call("GET", "k") == b"v"


@pytest.mark.parametrize("start", [start_node, start_stock_server])
def test_migrate_to_a_silent_target_times_out_and_keeps_the_key(tmp_path: Path, start: Start) -> None:
    with start(tmp_path) as server, socket.create_server(("127.0.0.1", 0)) as listener:
        server.call("SET", "k", "v")
        with pytest.raises(redis.ResponseError, match="IOERR error or timeout reading to target instance"):
            server.call("MIGRATE", "127.0.0.1", listener.getsockname()[1], "k", 0, 100)
        assert server.call("GET", "k") == b"v"


def test_migrate_target_that_answers_half_keeps_what_is_unacknowledged(tmp_path: Path) -> None:
    def answer_one(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"+OK\r\n+OK\r\n")  # SELECT, and the first of three keys

    with start_node(tmp_path) as node, socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_one, args=(listener,))
        thread.start()
        node.call("MSET", "a", 1, "b", 2, "c", 3)
        with pytest.raises(redis.ResponseError, match="IOERR error or timeout reading to target instance"):
            node.call("MIGRATE", "127.0.0.1", listener.getsockname()[1], "", 0, 3000, "KEYS", "a", "b", "c")
        thread.join(5)
        assert sorted(node.call("KEYS", "*")) == [b"b", b"c"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("k", "x", "1"), "value is not an integer or out of range"),
        (("k", "0", "x"), "value is not an integer or out of range"),
        (("k", "0", "1", "NOPE"), "syntax error"),
        (("k", "0", "1", "AUTH"), "syntax error"),
        (("k", "0", "1", "AUTH2", "user"), "syntax error"),
        (("k", "0", "1", "KEYS", "a"), "the key argument must be set to the empty string"),
    ],
)
def test_migrate_bad_arguments_fail_as_in_stock(both: Pair, arguments: tuple[str, ...], error: str) -> None:
    for server in both:
        with pytest.raises(redis.ResponseError, match=error):
            server.call("MIGRATE", "127.0.0.1", 1, *arguments)


def test_migrate_keys_are_found_as_in_stock(both: Pair) -> None:
    for command in (
        ("MIGRATE", "h", "1", "k", "0", "1"),
        ("MIGRATE", "h", "1", "", "0", "1", "COPY", "AUTH", "keys", "KEYS", "a", "b"),
        ("MIGRATE", "h", "1", "", "0", "1", "AUTH2", "keys", "keys", "KEYS", "a"),
    ):
        found = [server.call("COMMAND", "GETKEYS", *command) for server in both]
        assert found[0] == found[1], command
