"""Commands and exact byte counts out of a replication stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.replication.stream_parser import ProtocolError, StreamParser, wire_length
from slotmesh.node.resp.encoder import encode_command

COMMANDS = [
    [b"SELECT", b"0"],
    [b"SET", b"key", b"value"],
    [b"SET", b"binary", b"\r\n*3\r\n$3\r\nSET\r\n"],
    [b"SET", b"looks like a push", b"\r\n>3\r\n"],
    [b"SET", b"looks like a large array", b"*123456\r\n"],
    [b"PING"],
    [b"RPUSH", b"list", b"", b"x" * 300],
]
STREAM = b"".join(map(encode_command, COMMANDS))

argvs = st.lists(st.binary(max_size=120), min_size=1, max_size=12)


def test_stream_split_at_every_byte_gives_the_same_commands_and_counts() -> None:
    for cut in range(len(STREAM) + 1):
        parser = StreamParser()
        commands = parser.feed(STREAM[:cut]) if cut else []
        assert parser.used == sum(map(wire_length, commands))
        if cut < len(STREAM):
            commands = commands + parser.feed(STREAM[cut:])
        assert commands == COMMANDS
        assert parser.used == parser.fed == len(STREAM)


def test_stream_fed_byte_by_byte_counts_whole_commands_only() -> None:
    parser = StreamParser()
    done = 0
    for index in range(len(STREAM)):
        done += sum(map(wire_length, parser.feed(STREAM[index : index + 1])))
        assert parser.used == done
    assert done == len(STREAM)


@given(st.lists(argvs, min_size=1, max_size=8), st.data())
def test_stream_of_any_bytes_in_any_chunks_gives_the_same_commands(
    commands: list[list[bytes]], data: st.DataObject
) -> None:
    stream = b"".join(map(encode_command, commands))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=6)))
    parser = StreamParser()
    found: list[list[bytes]] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += parser.feed(stream[begin:end])
        assert parser.used == sum(map(wire_length, found))
    assert found == commands


@given(argvs)
def test_wire_length_of_any_command_is_that_of_its_encoding(argv: list[bytes]) -> None:
    assert wire_length(argv) == len(encode_command(argv))


def test_wire_length_of_large_arguments_counts_the_digits() -> None:
    for size in (9, 10, 99, 100, 999, 1000, 10_000):
        argv = [b"SET", b"k", b"x" * size]
        assert wire_length(argv) == len(encode_command(argv))


def test_stream_with_garbage_raises_protocol_error() -> None:
    parser = StreamParser()
    with pytest.raises(ProtocolError):
        parser.feed(b"*1\r\n:5\r\n")


@pytest.mark.parametrize("value", [b"\r\n>3\r\n", b"*123456", b"\r\n*1"])
def test_stream_command_that_the_quick_road_refuses_is_returned_at_once(value: bytes) -> None:
    parser = StreamParser()
    commands = [[b"PING"], [b"SET", b"k", value]]
    assert parser.feed(b"".join(map(encode_command, commands))) == commands
    assert parser.used == parser.fed
    assert parser.feed(encode_command([b"PING"])) == [[b"PING"]]
