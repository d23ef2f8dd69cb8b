"""Replaying an append-only file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slotmesh.node.persistence.aof_load import CommandParser, load_log_steps
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.persistence.loading import KeyspaceSink, Progress, run_steps
from slotmesh.node.persistence.rdb_file import RdbWriter
from slotmesh.node.resp.encoder import encode_command
from tests.support.inprocess import InProcessNode

COMMANDS = [
    [b"SELECT", b"0"],
    [b"SET", b"k", b"\x00\r\n$5\r\n*"],
    [b"DEL"] + [b"key%d" % i for i in range(30)],
    [b"", b""],
]
LOG = b"".join(map(encode_command, COMMANDS))


def _commands(chunks: list[bytes]) -> list[list[bytes]]:
    parser = CommandParser()
    found = []
    for chunk in chunks:
        parser.feed(chunk)
        while (argv := parser.next_command()) is not None:
            found.append(argv)
    while (argv := parser.next_command(last=True)) is not None:
        found.append(argv)
    assert not parser.leftover
    return found


def test_parser_any_split_gives_the_same_commands() -> None:
    for cut in range(len(LOG) + 1):
        assert _commands([LOG[:cut], LOG[cut:]]) == COMMANDS
    for size in (1, 2, 5):
        assert _commands([LOG[i : i + size] for i in range(0, len(LOG), size)]) == COMMANDS


def test_parser_annotations_are_read_over_and_counted() -> None:
    parser = CommandParser()
    parser.feed(b"#TS:123\r\n" + encode_command([b"PING"]) + b"#a comment\n")
    assert parser.next_command() == [b"PING"]
    assert parser.next_command() is None
    assert parser.leftover == 0
    parser.feed(b"#half")
    assert parser.next_command(last=True) is None
    assert parser.leftover == 5


def test_parser_offset_is_that_of_the_next_command() -> None:
    parser = CommandParser(offset=100)
    parser.feed(LOG)
    ends = []
    while parser.next_command() is not None:
        ends.append(parser.offset)
    assert ends[-1] == 100 + len(LOG)
    assert ends[0] == 100 + len(encode_command(COMMANDS[0]))


@pytest.mark.parametrize(
    "text",
    [
        b"SET k v\r\n",
        b"*x\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*1\r\n+4\r\nPING\r\n",
        b"*1\r\n$-4\r\n",
        b"*1\r\n$x\r\nPING\r\n",
    ],
)
def test_parser_bytes_that_are_no_log_raise_with_their_offset(text: bytes) -> None:
    parser = CommandParser()
    parser.feed(encode_command([b"PING"]) + text)
    assert parser.next_command() == [b"PING"]
    with pytest.raises(LoadError, match="Bad file format reading the append only file at offset"):
        parser.next_command(last=True)


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as node:
        yield node


def _load(node: InProcessNode, path: Path, may_truncate: bool = True) -> dict[bytes, Any]:
    functions: list[bytes] = []
    sink = KeyspaceSink(node.server.keyspace, functions.append)
    progress = Progress(path.stat().st_size, 0.0)
    with node.server.keyspace.expiry_ignored:
        run_steps(
            load_log_steps(node.server.new_client, str(path), sink, progress, verify=True, may_truncate=may_truncate)
        )
    assert progress.loaded_bytes in (progress.total_bytes, path.stat().st_size)
    return {key: value for key, value, _ in node.server.keyspace.dbs[0].items()}


def _log(path: Path, *commands: list[bytes]) -> Path:
    path.write_bytes(b"".join(map(encode_command, commands)))
    return path


def test_log_commands_run_in_order_in_their_databases(node: InProcessNode, tmp_path: Path) -> None:
    path = _log(tmp_path / "log", [b"SET", b"n", b"1"], [b"INCR", b"n"], [b"SELECT", b"5"], [b"SET", b"other", b"x"])
    assert _load(node, path) == {b"n": b"2"}
    assert node.server.keyspace.dbs[5].peek(b"other") == b"x"
    assert node.propagated == []


def test_log_large_file_is_loaded_in_slices(node: InProcessNode, tmp_path: Path) -> None:
    path = _log(tmp_path / "log", *([b"INCR", b"n"] for _ in range(100_000)))
    sink = KeyspaceSink(node.server.keyspace, lambda code: None)
    steps = load_log_steps(node.server.new_client, str(path), sink, Progress(1, 0.0), verify=True, may_truncate=False)
    assert sum(1 for _ in steps) > 100
    assert node.server.keyspace.dbs[0].peek(b"n") == b"100000"


def test_log_transaction_runs_only_with_its_exec(node: InProcessNode, tmp_path: Path) -> None:
    whole = [[b"MULTI"], [b"SET", b"a", b"1"], [b"SET", b"b", b"2"], [b"EXEC"]]
    path = _log(tmp_path / "log", *whole, [b"MULTI"], [b"SET", b"a", b"9"], [b"SET", b"c", b"3"])
    assert _load(node, path) == {b"a": b"1", b"b": b"2"}
    assert path.read_bytes() == b"".join(map(encode_command, whole))  # the open one is cut off


@pytest.mark.parametrize("cut", [1, 5, 12, 20])
def test_log_with_an_incomplete_end_is_cut_or_refused(
    node: InProcessNode, tmp_path: Path, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    good = encode_command([b"SET", b"k", b"v"])
    path = tmp_path / "log"
    path.write_bytes(good + encode_command([b"SET", b"k", b"lost"])[:-cut])
    with pytest.raises(LoadError, match="Unexpected end of file"):
        _load(node, path, may_truncate=False)
    node.server.keyspace.dbs[0].clear()
    with caplog.at_level(logging.WARNING):
        assert _load(node, path) == {b"k": b"v"}
    assert "Truncating the AOF" in caplog.text
    assert path.read_bytes() == good


def test_log_of_an_old_server_begins_with_an_rdb(node: InProcessNode, tmp_path: Path) -> None:
    parts: list[bytes] = []
    writer = RdbWriter(parts.append)
    writer.start([])
    writer.key(b"from-rdb", b"1")
    writer.key(b"past", b"kept", expire_at_ms=1)  # the commands behind may still need it
    writer.end()
    path = tmp_path / "log"
    tail = [[b"INCR", b"from-rdb"], [b"PERSIST", b"past"]]
    path.write_bytes(b"".join(parts) + b"".join(map(encode_command, tail)))
    assert _load(node, path) == {b"from-rdb": b"2", b"past": b"kept"}
    path.write_bytes(path.read_bytes()[:-3])
    node.server.keyspace.dbs[0].clear()
    assert _load(node, path) == {b"from-rdb": b"2", b"past": b"kept"}
    assert path.read_bytes() == b"".join(parts) + encode_command(tail[0])


def test_log_errors_name_the_file_and_the_reason(node: InProcessNode, tmp_path: Path) -> None:
    path = _log(tmp_path / "log", [b"SET", b"k", b"v"], [b"NOSUCHCOMMAND", b"x"])
    with pytest.raises(LoadError, match=r"log: Unknown command 'NOSUCHCOMMAND' reading the append only file"):
        _load(node, path)
    path.write_bytes(b"REDIS0010\xfe\x00\x63")
    with pytest.raises(LoadError, match=r"log: bad RDB: unknown object type 99|log: unexpected end"):
        _load(node, path)


def test_log_command_that_fails_is_reported_and_passed_over(
    node: InProcessNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = ([b"LPUSH", b"k", b"x"], [b"SET", b"k"], [b"SELECT", b"9" * 5000], [b"CONFIG"])
    path = _log(tmp_path / "log", [b"SET", b"k", b"v"], *wrong, [b"SET", b"after", b"1"])
    with caplog.at_level(logging.WARNING):
        assert _load(node, path) == {b"k": b"v", b"after": b"1"}
    assert caplog.text.count("A command of the AOF failed") == len(wrong)
    assert "wrong number of arguments for 'set' command" in caplog.text
