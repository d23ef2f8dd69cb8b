"""Function libraries and the effects of scripts in files and streams that a stock server shares with us."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import redis

from slotmesh.node.resp.encoder import encode_command
from tests.support.processes import (
    ServerHandle,
    free_ports,
    have_stock,
    start_node,
    start_node_cluster,
    start_stock_server,
    wait_until,
)

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

LIBRARY = "#!lua name=lib\n" + "-- a comment that repeats itself, a comment that repeats itself\n" * 4
LIBRARY += "redis.register_function('cap', function(keys, args) local n = redis.call('incr', keys[1]) return n end)\n"
LIBRARY += "redis.register_function{function_name='ro', callback=function() return 7 end, flags={'no-writes'}}\n"
STARTERS = {"stock": start_stock_server, "ours": start_node}
BOTH_WAYS = [("stock", "ours"), ("ours", "stock"), ("ours", "ours")]


def failure(server: ServerHandle, *args: str | bytes | int) -> str:
    """The error with which a command fails."""
    with pytest.raises(redis.ResponseError) as raised:
        server.call(*args)
    return str(raised.value)


def assert_knows_library(server: ServerHandle) -> None:
    assert server.call("FCALL", "cap", 1, "n") == 1
    assert server.call("FCALL_RO", "ro", 0) == 7
    assert server.call("FUNCTION", "LIST", "WITHCODE")[0][b"library_code"] == LIBRARY.encode()


@pytest.mark.parametrize(("writer", "reader"), BOTH_WAYS)
def test_rdb_file_carries_libraries(tmp_path: Path, writer: str, reader: str) -> None:
    with STARTERS[writer](tmp_path) as server:
        server.call("FUNCTION", "LOAD", LIBRARY)
        server.call("SAVE")
    with STARTERS[reader](tmp_path) as server:
        assert_knows_library(server)


@pytest.mark.parametrize("rewrite", [False, True])
@pytest.mark.parametrize(("writer", "reader"), BOTH_WAYS)
def test_append_only_file_carries_libraries(tmp_path: Path, writer: str, reader: str, rewrite: bool) -> None:
    options = ("--appendonly", "yes", "--aof-use-rdb-preamble", "no")
    with STARTERS[writer](tmp_path, *options) as server:
        server.call("FUNCTION", "LOAD", "#!lua name=gone\nredis.register_function('gone', function() end)")
        server.call("FUNCTION", "LOAD", LIBRARY)
        server.call("FUNCTION", "DELETE", "gone")
        server.call("EVAL", "redis.call('set','a',1) redis.call('incr','a') return 1", 0)
        if rewrite:
            server.call("BGREWRITEAOF")
            wait_until(lambda: server.info()["aof_rewrite_in_progress"] == "0", 20, "the log is rewritten")
    with STARTERS[reader](tmp_path, *options) as server:
        assert_knows_library(server)
        assert len(server.call("FUNCTION", "LIST")) == 1
        assert server.call("GET", "a") == b"2"


def test_log_of_an_old_server_that_holds_scripts_is_replayed(tmp_path: Path) -> None:
    """Servers before 7.0 logged scripts as they were called, and functions may be called by a log, too."""
    requests = [
        ["SELECT", "0"],
        ["EVAL", "redis.call('set', KEYS[1], ARGV[1]) return 1", "1", "k", "v"],
        ["SCRIPT", "LOAD", "return 1"],
        ["FUNCTION", "LOAD", LIBRARY],
        ["FCALL", "cap", "1", "n"],
    ]
    directory = tmp_path / "appendonlydir"
    directory.mkdir()
    log = b"".join(encode_command([word.encode() for word in request]) for request in requests)
    (directory / "appendonly.aof.1.incr.aof").write_bytes(log)
    (directory / "appendonly.aof.manifest").write_bytes(b"file appendonly.aof.1.incr.aof seq 1 type i\n")
    with start_node(tmp_path, "--appendonly", "yes") as node:
        assert node.call("GET", "k") == b"v"
        assert node.call("FCALL", "cap", 1, "n") == 2


@pytest.mark.parametrize(("primary_kind", "replica_kind"), BOTH_WAYS)
def test_replica_gets_libraries_and_effects(tmp_path: Path, primary_kind: str, replica_kind: str) -> None:
    with (
        STARTERS[primary_kind](tmp_path / "primary") as primary,
        STARTERS[replica_kind](tmp_path / "replica") as replica,
    ):
        primary.call("FUNCTION", "LOAD", "#!lua name=early\nredis.register_function('early', function() end)")
        replica.call("REPLICAOF", "127.0.0.1", primary.port)
        wait_until(lambda: replica.info()["master_link_status"] == "up", 30, "the replica is in step")
        assert len(replica.call("FUNCTION", "LIST")) == 1
        primary.call("FUNCTION", "LOAD", LIBRARY)
        primary.call("FCALL", "cap", 1, "n")
        primary.call("EVAL", "for i = 1, 3 do redis.call('rpush', KEYS[1], ARGV[i]) end", 1, "l", "a", "b", "c")
        primary.call("EVAL", "redis.set_repl(redis.REPL_NONE) redis.call('set', 'here', 1)", 0)
        primary.call("EVAL", "redis.set_repl(redis.REPL_REPLICA) redis.call('set', 'there', 1)", 0)
        primary.call("WAIT", 1, 5000)
        assert replica.call("GET", "n") == b"1"
        assert replica.call("LRANGE", "l", 0, -1) == [b"a", b"b", b"c"]
        assert replica.call("EXISTS", "here") == 0
        assert replica.call("EXISTS", "there") == 1
        assert replica.call("FCALL_RO", "ro", 0) == 7
        assert failure(replica, "FCALL", "cap", 1, "n").startswith("You can't write against a read only")
        primary.call("FUNCTION", "FLUSH")
        primary.call("WAIT", 1, 5000)
        assert replica.call("FUNCTION", "LIST") == []


@pytest.mark.parametrize(("giver", "taker"), [("stock", "ours"), ("ours", "stock")])
def test_dump_of_libraries_is_restored(tmp_path: Path, giver: str, taker: str) -> None:
    with STARTERS[giver](tmp_path / "giver") as one, STARTERS[taker](tmp_path / "taker") as two:
        one.call("FUNCTION", "LOAD", LIBRARY)
        payload = one.call("FUNCTION", "DUMP")
        assert two.call("FUNCTION", "RESTORE", payload) == b"OK"
        assert failure(two, "FUNCTION", "RESTORE", payload) == "Library lib already exists"
        assert two.call("FUNCTION", "RESTORE", payload, "REPLACE") == b"OK"
        assert two.call("FUNCTION", "RESTORE", payload, "FLUSH") == b"OK"
        assert two.call("FUNCTION", "DUMP") == payload
        assert_knows_library(two)
        broken = payload[:-1] + bytes([payload[-1] ^ 1])
        assert failure(two, "FUNCTION", "RESTORE", broken) == "DUMP payload version or checksum are wrong"


def test_redis_cli_copies_libraries_to_a_node_that_it_adds(tmp_path: Path) -> None:
    with start_node_cluster(tmp_path / "cluster", primaries=3, replicas=0) as cluster:
        for node in cluster.nodes:
            node.call("FUNCTION", "LOAD", LIBRARY)
        (port,) = free_ports(1, cluster=True)
        with start_node(tmp_path / "new", port=port, cluster=True) as new:
            first = cluster.nodes[0]
            command = ["redis-cli", "--cluster", "add-node", f"127.0.0.1:{new.port}", f"127.0.0.1:{first.port}"]
            done = subprocess.run(command, capture_output=True, timeout=60, check=False)
            assert done.returncode == 0, done.stdout
            assert new.call("FUNCTION", "LIST", "WITHCODE") == first.call("FUNCTION", "LIST", "WITHCODE")
