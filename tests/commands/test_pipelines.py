"""However a pipeline is cut into chunks, its replies are those of the commands sent one by one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotmesh.node.resp.encoder import encode_command
from tests.support.inprocess import InProcessNode

LONG = b"x" * 3000
COMMANDS = [
    [b"SET", b"a", b"1"],
    [b"INCR", b"a"],
    [b"GET", b"a"],
    [b"LPUSH", b"list", b"x", LONG],
    [b"LRANGE", b"list", b"0", b"2"],
    [b"LPUSH", b"a", b"wrong type"],
    [b"NOSUCH", b"command"],
    [b"get"],
    [b"MGET", b"a", b"none"],
    [b"CONFIG", b"GET", b"maxmemory"],
    [b"MULTI"],
    [b"EXEC"],
    [b"BLPOP", b"list", b"0.001"],
    [b"SET", b"\r\n*1\r\n$4\r\nPING\r\n", LONG],
    [b"SUBSCRIBE", b"channel"],
    [b"UNSUBSCRIBE"],
    [b"ECHO", b""],
]
INLINE = b"ECHO inline\r\n"
ODD = b"*0\r\n"


def encoded(number: int) -> bytes:
    """The request of that number: a command, or one of the two forms that the fast path refuses."""
    if number < len(COMMANDS):
        return encode_command(COMMANDS[number])
    return INLINE if number == len(COMMANDS) else ODD


requests = st.lists(st.integers(0, len(COMMANDS) + 1), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(requests, st.data())
def test_pipeline_cut_anywhere_gives_the_replies_of_single_commands(numbers: list[int], data: st.DataObject) -> None:
    pieces = [encoded(number) for number in numbers]
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(whole) - 1)), max_size=8)))
    with InProcessNode() as node:
        client = node.client()
        one_by_one = b""
        for piece in pieces:
            one_by_one += client.send(piece)
            node.advance(5)
            one_by_one += client.received()
    with InProcessNode() as node:
        client = node.client()
        in_chunks = b""
        for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            in_chunks += client.send(whole[begin:end])
        for _ in pieces:  # each may block once
            node.advance(5)
            in_chunks += client.received()
    assert in_chunks == one_by_one


@pytest.mark.parametrize("size", [1, 7, 4096, 65_537, 200_000])
def test_long_pipeline_cut_into_equal_chunks_runs_every_command_once(size: int) -> None:
    pipeline = encode_command([b"INCR", b"counter"]) * 5000
    step = max(size, 50)
    with InProcessNode() as node:
        client = node.client()
        replies = b"".join(client.send(pipeline[i : i + step]) for i in range(0, len(pipeline), step))
    assert replies == b"".join(b":%d\r\n" % n for n in range(1, 5001))


def test_value_longer_than_any_chunk_between_short_commands_is_stored_whole() -> None:
    value = bytes(range(256)) * 4096
    with InProcessNode() as node:
        client = node.client()
        stream = encode_command([b"PING"]) + encode_command([b"SET", b"k", value]) + encode_command([b"STRLEN", b"k"])
        replies = b"".join(client.send(stream[i : i + 50_000]) for i in range(0, len(stream), 50_000))
    assert replies == b"+PONG\r\n+OK\r\n:%d\r\n" % len(value)


@pytest.mark.parametrize("size", [100, 1000, 9000, 20_000])
def test_client_that_reads_late_gets_every_reply_once_and_in_order(size: int) -> None:
    with InProcessNode() as node:
        client = node.client()
        count = 2_000_000 // size  # more than a socket takes
        for number in range(count):
            client.sock.send(encode_command([b"SET", b"k", b"%0*d" % (size, number)]) + encode_command([b"GET", b"k"]))
            node.pump()
        replies = client.received()
        assert client.call("PING") == b"PONG"
    assert replies == b"".join(b"+OK\r\n$%d\r\n%0*d\r\n" % (size, size, number) for number in range(count))
