"""RDB files between a stock server and ours, in both directions."""

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

FUNCTION = "#!lua name=mylib\nredis.register_function('seven', function() return 7 end)"


def _check(path: Path) -> str:
    """The verdict of redis-check-rdb, which must be good."""
    done = subprocess.run(["redis-check-rdb", str(path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout
    assert "RDB looks OK" in done.stdout
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [(), ("--rdbcompression", "no", "--rdbchecksum", "no")],
    ids=["default", "uncompressed without checksum"],
)
@pytest.mark.parametrize(
    ("start_source", "start_target"),
    [(start_node, start_stock_server), (start_stock_server, start_node), (start_node, start_node)],
    ids=["node to stock", "stock to node", "node to node"],
)
def test_saved_file_loads_on_the_other_server_with_equal_content(
    tmp_path: Path, start_source: Start, start_target: Start, options: tuple[str, ...]
) -> None:
    with start_source(tmp_path / "source", *options) as source:
        datasets.fill(source)
        assert source.call("SAVE") == b"OK"
        expected = datasets.everything(source)
        _check(tmp_path / "source" / "dump.rdb")
        (tmp_path / "target").mkdir()
        shutil.copy(tmp_path / "source" / "dump.rdb", tmp_path / "target" / "dump.rdb")
        with start_target(tmp_path / "target", *options) as target:
            found = datasets.everything(target)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == value, key


def test_background_save_of_ours_is_a_sound_file_and_is_counted(tmp_path: Path) -> None:
    with start_node(tmp_path) as node:
        datasets.fill(node)
        before = node.call("LASTSAVE")
        assert int(node.info("persistence")["rdb_changes_since_last_save"]) > 50
        assert node.call("BGSAVE") == b"Background saving started"
        wait_until(lambda: node.info("persistence")["rdb_bgsave_in_progress"] == "0", 10, "the save to end")
        fields = node.info("persistence")
        assert fields["rdb_last_bgsave_status"] == "ok"
        assert fields["rdb_changes_since_last_save"] == "0"
        assert fields["rdb_saves"] == "1"
        assert int(fields["rdb_last_cow_size"]) > 0
        assert node.call("LASTSAVE") >= before
        assert _check(tmp_path / "dump.rdb").count("Selecting DB ID") == 2
        assert not list(tmp_path.glob("temp-*"))


def test_file_with_functions_keeps_them_through_our_server(tmp_path: Path) -> None:
    with start_stock_server(tmp_path / "first") as stock:
        stock.call("FUNCTION", "LOAD", FUNCTION)
        stock.call("SET", "k", "v")
        stock.call("SAVE")
    (tmp_path / "node").mkdir()
    shutil.copy(tmp_path / "first" / "dump.rdb", tmp_path / "node" / "dump.rdb")
    with start_node(tmp_path / "node") as node:
        assert node.call("GET", "k") == b"v"
        node.call("SAVE")
    (tmp_path / "second").mkdir()
    shutil.copy(tmp_path / "node" / "dump.rdb", tmp_path / "second" / "dump.rdb")
    with start_stock_server(tmp_path / "second") as stock:
        assert stock.call("FCALL", "seven", 0) == 7


def test_expired_keys_of_a_file_are_left_out_and_counted(tmp_path: Path) -> None:
    with start_stock_server(tmp_path / "stock") as stock:
        stock.call("SET", "soon", "v", "PX", 60)
        stock.call("SET", "stays", "v")
        stock.call("SAVE")
    (tmp_path / "node").mkdir()
    shutil.copy(tmp_path / "stock" / "dump.rdb", tmp_path / "node" / "dump.rdb")

    def loaded_late() -> bool:
        with start_node(tmp_path / "node") as node:
            fields = node.info("persistence")
            return (
                fields["rdb_last_load_keys_expired"] == "1"
                and fields["rdb_last_load_keys_loaded"] == "1"
                and node.call("DBSIZE") == 1
            )

    wait_until(loaded_late, 10, "a start after the key's time")
