"""Multi-part append-only files between a stock server and ours, in both directions."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import datasets
from tests.support.processes import ServerHandle, start_node, start_stock_server, wait_until

pytestmark = pytest.mark.stock

Start = Callable[..., ServerHandle]

LOG = ("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
DIRECTIONS = pytest.mark.parametrize(
    ("start_source", "start_target"),
    [(start_node, start_stock_server), (start_stock_server, start_node), (start_node, start_node)],
    ids=["node to stock", "stock to node", "node to node"],
)


def check_log(directory: Path) -> None:
    """redis-check-aof must be content."""
    manifest = directory / "appendonlydir" / "appendonly.aof.manifest"
    done = subprocess.run(["redis-check-aof", str(manifest)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout
    assert "All AOF files and manifest are valid" in done.stdout


def _compare(source: Path, target: Path, start: Start, expected: dict[bytes, object], *options: str) -> None:
    shutil.copytree(source / "appendonlydir", target / "appendonlydir")
    with start(target, *LOG, *options) as server:
        found = datasets.everything(server, replayed=True)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == value, key


@DIRECTIONS
def test_log_of_commands_loads_on_the_other_server(tmp_path: Path, start_source: Start, start_target: Start) -> None:
    with start_source(tmp_path / "source", *LOG) as source:
        datasets.fill(source)
        pipe = source.client().pipeline(transaction=True)
        pipe.set("multi:1", 1)
        pipe.incr("multi:1")
        pipe.execute()
        expected = datasets.everything(source, replayed=True)
        source.kill9()
    check_log(tmp_path / "source")
    _compare(tmp_path / "source", tmp_path / "target", start_target, expected)


@DIRECTIONS
@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_rewritten_log_loads_on_the_other_server(
    tmp_path: Path, start_source: Start, start_target: Start, preamble: str
) -> None:
    options = ("--aof-use-rdb-preamble", preamble)
    with start_source(tmp_path / "source", *LOG, *options) as source:
        datasets.fill(source)
        assert b"started" in source.call("BGREWRITEAOF")
        source.call("SET", "meanwhile", "written")
        wait_until(lambda: source.info("persistence")["aof_rewrite_in_progress"] == "0", 20, "the rewrite to end")
        assert source.info("persistence")["aof_last_bgrewrite_status"] == "ok"
        source.call("APPEND", "meanwhile", " on")
        expected = datasets.everything(source, replayed=True)
        source.kill9()
    check_log(tmp_path / "source")
    names = sorted(path.name for path in (tmp_path / "source" / "appendonlydir").iterdir())
    extension = "rdb" if preamble == "yes" else "aof"
    assert names == [f"appendonly.aof.2.base.{extension}", "appendonly.aof.2.incr.aof", "appendonly.aof.manifest"]
    _compare(tmp_path / "source", tmp_path / "target", start_target, expected, *options)


def test_log_with_timestamps_loads_on_stock_and_here(tmp_path: Path) -> None:
    options = ("--aof-timestamp-enabled", "yes")
    with start_node(tmp_path / "node", *LOG, *options) as node:
        node.call("SET", "k", "v")
        node.kill9()
    assert b"#TS:" in (tmp_path / "node" / "appendonlydir" / "appendonly.aof.1.incr.aof").read_bytes()
    check_log(tmp_path / "node")
    for start in (start_node, start_stock_server):
        with start(tmp_path / "node", *LOG, *options) as server:
            assert server.call("GET", "k") == b"v"


def test_log_edited_by_hand_gives_back_what_a_flush_took(tmp_path: Path) -> None:
    with start_node(tmp_path, *LOG) as node:
        node.call("SET", "precious", "data")
        node.call("FLUSHALL")
        assert node.call("DBSIZE") == 0
        node.kill9()
        log = tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof"
        text = log.read_bytes()
        flush = b"*1\r\n$8\r\nFLUSHALL\r\n"
        assert text.upper().count(flush) == 1
        at = text.upper().index(flush)
        log.write_bytes(text[:at] + text[at + len(flush) :])
        node.restart()
        assert node.call("GET", "precious") == b"data"


@pytest.mark.parametrize("start", [start_node, start_stock_server])
def test_single_file_log_of_old_servers_is_taken_over(tmp_path: Path, start: Start) -> None:
    (tmp_path / "appendonly.aof").write_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n")
    with start(tmp_path, *LOG) as server:
        assert server.call("GET", "k") == b"v"
        server.call("SET", "k2", "v2")
        server.kill9()
        assert not (tmp_path / "appendonly.aof").exists()
        check_log(tmp_path)
        server.restart()
        assert server.call("GET", "k2") == b"v2"


def test_log_is_preferred_when_both_files_exist(tmp_path: Path) -> None:
    with start_node(tmp_path, *LOG) as node:
        node.call("SET", "k", "of the log")
        node.kill9()
    shutil.move(tmp_path / "appendonlydir", tmp_path / "aside")
    with start_node(tmp_path) as node:
        node.call("SET", "k", "of the snapshot")
        node.call("SAVE")
        node.kill9()
    shutil.move(tmp_path / "aside", tmp_path / "appendonlydir")
    with start_node(tmp_path, *LOG) as node:
        assert node.call("GET", "k") == b"of the log"
    with start_node(tmp_path) as node:
        assert node.call("GET", "k") == b"of the snapshot"


def test_snapshot_alone_is_loaded_and_becomes_the_base_of_a_new_log(tmp_path: Path) -> None:
    with start_node(tmp_path) as node:
        node.call("SET", "k", "v")
        node.call("SAVE")
        node.kill9()
    with start_node(tmp_path, *LOG) as node:  # stock would start empty here, and lose the key at the next save
        assert node.call("GET", "k") == b"v"
        node.kill9()
    (tmp_path / "dump.rdb").unlink()
    check_log(tmp_path)
    with start_stock_server(tmp_path, *LOG) as stock:
        assert stock.call("GET", "k") == b"v"


def test_log_is_replayed_to_the_same_state_as_by_stock(tmp_path: Path) -> None:
    """Consumer groups too: whatever a log of commands cannot bring back is lost in both."""
    with start_node(tmp_path / "node", *LOG) as node:
        datasets.fill(node)
        node.kill9()
    shutil.copytree(tmp_path / "node", tmp_path / "stock")
    found = []
    for start, name in ((start_node, "node"), (start_stock_server, "stock")):
        with start(tmp_path / name, *LOG) as server:
            found.append(datasets.content(server, b"x:groups"))
    for _, consumers in (group for one in found for group in one[-1]):
        for consumer in consumers:
            consumer.pop(b"seen-time")  # the moment of the replay
    assert found[0] == found[1]
