"""The newest commands on running servers: replicas of both kinds, restarts from a log, and a move of the key.

`tests/oracle/test_commands_after_7_0_on_stock.py` proves the words command by command; here they go through real links
and files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ServerHandle, start_node, start_stock_server, wait_until
from tests.support.replication import OPTIONS, follow, run_pipeline, wait_in_step

pytestmark = pytest.mark.stock

Start = Callable[..., ServerHandle]


def _use_newest_commands(server: ServerHandle) -> None:
    for _ in range(3):
        server.call("INCREX", "hits", "UBOUND", 2, "EX", 1000, "ENX")
    server.call("RPUSH", "l", *range(9))
    server.call("LMOVEM", "l", "m", "LEFT", "LEFT", "COUNT", 3, "OBO")
    run_pipeline(server, [("HIMPORT", "PREPARE", "f", "name", "age"), ("HIMPORT", "SET", "h", "f", "Ann", 30)])
    server.call("ZADD", "z", 5, "x")
    server.call("ZUNIONSTORE", "d", 2, "z", "z", "AGGREGATE", "COUNT")
    for message in "abc":
        server.call("XADD", "s", "IDMP", "p", message, "*", "f", message)
    server.call("XGROUP", "CREATE", "s", "g", "0")
    server.call("XREADGROUP", "GROUP", "g", "c", "MAXCOUNT", 2, "CLAIM", 0, "STREAMS", "s", ">")
    first = server.call("XRANGE", "s", "-", "+")[0][0]
    server.call("XNACK", "s", "g", "FATAL", "IDS", 1, first)


def _content(server: ServerHandle) -> list[Any]:
    """What any server can be asked for."""
    pending = server.call("XPENDING", "s", "g", "-", "+", 9)
    return [
        server.call("GET", "hits"),
        server.call("PEXPIRETIME", "hits"),
        server.call("LRANGE", "l", 0, -1),
        server.call("LRANGE", "m", 0, -1),
        server.call("ZSCORE", "d", "x"),
        server.call("HGETALL", "h"),
        server.call("XRANGE", "s", "-", "+"),
        [(entry_id, consumer, count) for entry_id, consumer, _, count in pending],
    ]


def _sends_again(server: ServerHandle) -> list[bytes]:
    """The IDs that the messages get when they are sent once more."""
    return [server.call("XADD", "s", "IDMP", "p", message, "*", "f", "again") for message in "abc"]


@pytest.mark.parametrize("start_replica", [start_node, start_stock_server], ids=["ours", "stock"])
def test_replica_holds_what_the_newest_commands_made(tmp_path: Path, start_replica: Start) -> None:
    with start_node(tmp_path / "p", *OPTIONS) as primary, start_replica(tmp_path / "r", *OPTIONS) as replica:
        follow(replica, primary.port)
        errors = replica.info("errorstats")
        _use_newest_commands(primary)
        wait_in_step(primary, replica)
        assert _content(replica) == _content(primary)
        assert replica.info("replication")["master_link_status"] == "up"
        assert replica.info("errorstats") == errors


def test_promoted_replica_knows_messages_and_released_entries(tmp_path: Path) -> None:
    with start_node(tmp_path / "p", *OPTIONS) as primary, start_node(tmp_path / "r", *OPTIONS) as replica:
        _use_newest_commands(primary)
        follow(replica, primary.port)  # by a file
        primary.call("XADD", "s", "IDMP", "q", "later", "*", "f", "v")  # by the stream
        wait_in_step(primary, replica)
        ids = [row[0] for row in primary.call("XRANGE", "s", "-", "+")]
        replica.call("REPLICAOF", "NO", "ONE")
        assert _sends_again(replica) == ids[:3]
        assert replica.call("XADD", "s", "IDMP", "q", "later", "*", "f", "v") == ids[3]
        assert replica.call("XPENDING", "s", "g", "-", "+", 1)[0][1:] == [b"", -1, 2**63 - 1]


@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_restart_from_the_log_keeps_what_the_newest_commands_made(tmp_path: Path, preamble: str) -> None:
    options = (*OPTIONS, "--appendonly", "yes", "--aof-use-rdb-preamble", preamble)
    with start_node(tmp_path, *options) as node:
        _use_newest_commands(node)
        wanted = _content(node)
        node.kill9()
    with start_node(tmp_path, *options) as node:  # from the commands
        assert _content(node) == wanted
        node.call("BGREWRITEAOF")
        wait_until(lambda: node.info("persistence")["aof_rewrite_in_progress"] == "0", 20, "the rewrite")
        node.kill9()
    with start_node(tmp_path, *options) as node:  # from the base
        assert _content(node) == wanted
        assert _sends_again(node) == [row[0] for row in wanted[6]]
        assert node.call("XPENDING", "s", "g", "-", "+", 1)[0][1:] == [b"", -1, 2**63 - 1]


def test_migrated_stream_takes_everything_with_it(tmp_path: Path) -> None:
    with start_node(tmp_path / "a", *OPTIONS) as source, start_node(tmp_path / "b", *OPTIONS) as target:
        _use_newest_commands(source)
        ids = [row[0] for row in source.call("XRANGE", "s", "-", "+")]
        source.call("MIGRATE", "127.0.0.1", target.port, "s", 0, 5000)
        assert _sends_again(target) == ids
        assert target.call("XPENDING", "s", "g", "-", "+", 1)[0][1:] == [b"", -1, 2**63 - 1]


def test_waiting_reader_is_woken_by_the_clock(tmp_path: Path) -> None:
    with start_node(tmp_path, *OPTIONS) as node:
        node.call("XADD", "s", 1, "f", "v")
        node.call("XGROUP", "CREATE", "s", "g", "0")
        node.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")
        reply = node.call("XREADGROUP", "GROUP", "g", "d", "BLOCK", 10_000, "CLAIM", 60, "STREAMS", "s", ">")
        [[entry_id, _, idle_ms, count]] = dict(reply)[b"s"]
        assert (entry_id, count) == (b"1-0", 1)
        assert 60 <= idle_ms < 5000
