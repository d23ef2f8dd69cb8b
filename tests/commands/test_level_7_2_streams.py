"""Streams at compat-level 7.2: what later servers answer differently to the same requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.inprocess import START_MS, InProcessClient, InProcessNode
from tests.tables.support import NULL_ARRAY, OK, Table, array, bulk, error, number, play


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode("--compat-level", "7.2") as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


_NEVER_ACTIVE = array(
    *(bulk("name"), bulk("c"), bulk("pending"), number(0)), *(bulk("idle"), number(0), bulk("inactive"), number(-1))
)
_ACTIVE = array(
    *(bulk("name"), bulk("c"), bulk("pending"), number(1)), *(bulk("idle"), number(0), bulk("inactive"), number(0))
)
SEEN_AND_ACTIVE: Table = (
    ("XGROUP CREATE s g $ MKSTREAM", OK),
    ("XREADGROUP GROUP g c STREAMS s >", NULL_ARRAY),
    ("XINFO CONSUMERS s g", array(_NEVER_ACTIVE)),
    ("XADD s 1 f v", bulk("1-0")),
    (
        "XREADGROUP GROUP g c STREAMS s >",
        array(array(bulk("s"), array(array(bulk("1-0"), array(bulk("f"), bulk("v")))))),
    ),
    ("XINFO CONSUMERS s g", array(_ACTIVE)),
    ("XCLAIM s g idler 0 7", array()),
    ("XAUTOCLAIM s g sleeper 1000 0", array(bulk("0-0"), array(), array())),
    ("XGROUP DELCONSUMER s g idler", number(0)),
    ("XGROUP DELCONSUMER s g sleeper", number(0)),
    ("XGROUP CREATECONSUMER s g idler", number(1)),
)
TEXTS: Table = (
    ("XADD s 5 f v", bulk("5-0")),
    ("XADD s 6 f v", bulk("6-0")),
    ("XDEL s 6", number(1)),
    ("XSETID s 5", error("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")),
    ("XSETID s 6", OK),
    (
        "XREAD COUNT 1 STREAMS s",
        error("ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified."),
    ),
    (
        "XREADGROUP GROUP g c STREAMS s t 1",
        error("ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."),
    ),
)


@pytest.mark.parametrize("table", [SEEN_AND_ACTIVE, TEXTS], ids=["seen and active", "texts"])
def test_every_request_gets_the_reply_of_the_newer_level(client: InProcessClient, table: Table) -> None:
    play(table, lambda words: client.raw(*words), resp3=False)


def test_full_info_of_a_stream_tells_when_consumers_were_active(node: InProcessNode, client: InProcessClient) -> None:
    client.call("XADD", "s", "1", "f", "v")
    client.call("XGROUP", "CREATE", "s", "g", "0")
    client.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")
    node.advance(50)
    client.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")
    info = client.call("XINFO", "STREAM", "s", "FULL")
    groups = dict(zip(info[::2], info[1::2], strict=True))[b"groups"]
    consumer = groups[0][-1][0]
    assert consumer[:6] == [b"name", b"c", b"seen-time", START_MS + 50, b"active-time", START_MS]


_GONE = b"-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option\r\n"
#: what happens to stream or group, the error of the client that waits on it
LOSSES: tuple[tuple[str, bytes], ...] = (
    ("DEL s", _GONE),
    ("RENAME s t", _GONE),
    ("FLUSHALL", _GONE),
    ("XGROUP DESTROY s g", _GONE),
    ("SET s text", b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
)


@pytest.mark.parametrize(("command", "reply"), LOSSES, ids=[row[0] for row in LOSSES])
def test_xreadgroup_waiting_ends_as_if_it_came_now(
    node: InProcessNode, client: InProcessClient, command: str, reply: bytes
) -> None:
    client.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    waiting = node.client()
    assert waiting.raw("XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">") == b""
    client.call(*command.split())
    assert waiting.received() == reply


def test_info_counts_the_keys_that_are_waited_for(node: InProcessNode, client: InProcessClient) -> None:
    def counted() -> list[bytes]:
        lines = client.call("INFO", "clients").split(b"\r\n")
        return [line.rpartition(b":")[2] for line in lines if line.startswith(b"total_blocking_keys")]

    assert counted() == [b"0", b"0"]
    poppers = [node.client(), node.client()]
    for popper in poppers:
        popper.raw("BLPOP", "s", "t", "0")
    assert counted() == [b"2", b"0"]
    client.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    reader = node.client()
    reader.raw("XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">")
    assert counted() == [b"2", b"1"]
    client.call("DEL", "s")
    assert counted() == [b"2", b"0"]


def test_clients_at_the_older_level_find_no_newer_fields() -> None:
    with InProcessNode() as node:
        client = node.client()
        assert b"total_blocking_keys" not in client.call("INFO", "clients")
        client.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
        client.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")
        assert client.call("XINFO", "CONSUMERS", "s", "g") == []


def test_what_a_group_reads_reaches_the_replicas_with_the_count_of_entries_read(
    node: InProcessNode, client: InProcessClient
) -> None:
    client.call("XADD", "s", "1", "f", "v")
    client.call("XGROUP", "CREATE", "s", "g", "0")
    del node.propagated[:]
    client.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")
    assert [words[0] for words in node.propagated] == [b"MULTI", b"XCLAIM", b"XGROUP", b"EXEC"]
    assert node.propagated[2] == [b"XGROUP", b"SETID", b"s", b"g", b"1-0", b"ENTRIESREAD", b"1"]
