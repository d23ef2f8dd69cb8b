"""What producers have sent (IDMP) on all paths: time, log, replica, file, payload, copy; and what XINFO tells of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slotmesh.node.clients.client import GATE_PRIMARY
from slotmesh.node.persistence.aof_commands import value_commands
from slotmesh.node.persistence.errors import FormatError, LoadError
from slotmesh.node.persistence.extras import EXTRA, apply_extra
from slotmesh.node.persistence.loading import KeyspaceSink
from slotmesh.node.persistence.payload import dump_payload, load_payload
from slotmesh.node.persistence.rdb_file import RdbWriter, load_rdb
from slotmesh.node.types.stream import StreamValue
from tests.support.inprocess import START_MS, InProcessClient, InProcessNode


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def _stream(client: InProcessClient, key: bytes = b"s") -> StreamValue:
    value = client.served.db.peek(key)
    assert isinstance(value, StreamValue)
    return value


def _add(client: InProcessClient, producer: str, message: str) -> bytes:
    answer: bytes = client.call("XADD", "s", "IDMP", producer, message, "*", "f", "v")
    return answer


def _some_messages(client: InProcessClient) -> None:
    client.call("XADD", "s", "0-1", "f", "v")
    client.call("XCFGSET", "s", "IDMP-MAXSIZE", 3, "IDMP-DURATION", 50)
    for message in "abcd":
        _add(client, "p", message)
    _add(client, "q\r\n\0", "a")
    _add(client, "p", "d")


def _about(client: InProcessClient) -> dict[bytes, Any]:
    reply = client.call("XINFO", "STREAM", "s")
    told = dict(zip(reply[::2], reply[1::2], strict=True))
    return {name: value for name, value in told.items() if name.startswith((b"idmp", b"pids", b"iids"))}


def _state(stream: StreamValue) -> Any:
    sent = stream.sent
    assert sent is not None
    return sent.listed(), sent.duration_s, sent.max_messages, sent.added, sent.duplicates


def test_message_is_forgotten_after_its_time(node: InProcessNode, client: InProcessClient) -> None:
    first = _add(client, "p", "a")
    client.call("XCFGSET", "s", "IDMP-DURATION", 100)  # as it was
    node.advance(99_999)
    assert _add(client, "p", "a") == first
    node.advance(1)
    assert _add(client, "p", "a") == b"%d-0" % (START_MS + 100_000)


def test_silent_producers_are_forgotten_by_the_way(node: InProcessNode, client: InProcessClient) -> None:
    for number in range(50):
        _add(client, f"p{number}", "a")
    node.advance(100_000)
    for number in range(30):
        _add(client, "busy", str(number))
    sent = _stream(client).sent
    assert sent is not None
    assert {producer for producer, _, _ in sent.listed()} == {b"busy"}


def test_settings_of_the_server_are_those_of_streams_that_have_none(client: InProcessClient) -> None:
    client.call("CONFIG", "SET", "stream-idmp-maxsize", 1, "stream-idmp-duration", 7)
    try:
        first = _add(client, "p", "a")
        _add(client, "p", "b")
        assert _add(client, "p", "a") != first
        assert _about(client)[b"idmp-duration"] == 7
    finally:
        client.call("CONFIG", "SET", "stream-idmp-maxsize", 100, "stream-idmp-duration", 100)


def test_xinfo_tells_of_sent_messages_only_where_there_are_any(client: InProcessClient) -> None:
    client.call("XADD", "s", "1", "f", "v")
    assert _about(client) == {}
    client.call("DEL", "s")
    _some_messages(client)
    assert _about(client) == {
        b"idmp-duration": 50,
        b"idmp-maxsize": 3,
        b"pids-tracked": 2,
        b"iids-tracked": 4,
        b"iids-added": 5,
        b"iids-duplicates": 1,
    }
    client.call("XCFGSET", "s", "IDMP-MAXSIZE", 4)
    told = _about(client)
    assert (told[b"pids-tracked"], told[b"iids-tracked"]) == (0, 0)
    assert (told[b"iids-added"], told[b"iids-duplicates"]) == (5, 1)
    full = client.call("XINFO", "STREAM", "s", "FULL")
    assert full[full.index(b"iids-added") + 1] == 5


def test_message_is_told_to_replicas_beside_its_entry(node: InProcessNode, client: InProcessClient) -> None:
    node.take_propagated()
    text = _add(client, "p", "a").decode()
    _add(client, "p", "a")
    client.call("XADD", "s", "MAXLEN", "~", 100, "IDMP", "p", "b", "*", "f", "v")
    told = [b" ".join(argv).decode() for argv in node.take_propagated() if argv[0] not in (b"MULTI", b"EXEC")]
    assert told == [
        f"XADD s {text} f v",
        f"EVAL -- XIDMPRECORD 1 s p a {text}",
        f"XADD s MAXLEN = 2 {START_MS}-1 f v",
        f"EVAL -- XIDMPRECORD 1 s p b {START_MS}-1",
    ]


def test_marker_of_a_client_is_a_script_that_does_nothing(node: InProcessNode, client: InProcessClient) -> None:
    text = _add(client, "p", "a")
    node.take_propagated()
    assert client.call("EVAL", "-- XIDMPRECORD", 1, "s", "p", "b", text) is None
    assert client.call("EVAL", "-- XCFGSET", 1, "s", "IDMP-MAXSIZE", 7) is None
    assert node.take_propagated() == []
    assert _about(client)[b"iids-tracked"] == 1
    replica = node.client()
    replica.served.set_gate(GATE_PRIMARY, True)
    replica.call("EVAL", "-- XNOTHING", 1, "s", "p", "b", text)
    assert _about(client)[b"iids-tracked"] == 1


def test_replica_remembers_what_its_primary_does(node: InProcessNode, client: InProcessClient) -> None:
    node.take_propagated()
    _some_messages(client)
    wanted = _state(_stream(client))[:3]
    propagated = node.take_propagated()
    client.call("DEL", "s")
    replica = node.client()
    replica.served.set_gate(GATE_PRIMARY, True)
    for argv in propagated:
        replica.call(*argv)
    assert _state(_stream(client))[:3] == wanted


def test_log_made_of_commands_remembers_also_entries_that_are_gone(
    node: InProcessNode, client: InProcessClient
) -> None:
    _some_messages(client)
    client.call("XTRIM", "s", "MAXLEN", 1)
    wanted = _state(_stream(client))[:3]
    commands = list(value_commands(b"s", _stream(client)))
    client.call("DEL", "s")
    loader = node.client()
    loader.served.set_gate(GATE_PRIMARY, True)
    for argv in commands:
        loader.call(*argv)
    assert _state(_stream(client))[:3] == wanted


def test_payload_and_copy_remember(client: InProcessClient) -> None:
    _some_messages(client)
    assert _state(load_payload(dump_payload(_stream(client)))) == _state(_stream(client))
    client.call("COPY", "s", "t")
    assert _state(_stream(client, b"t")) == _state(_stream(client))
    client.call("XADD", "s", "IDMP", "p", "new", "*", "f", "v")
    assert _state(_stream(client, b"t")) != _state(_stream(client))


def test_rdb_file_remembers_for_each_stream(node: InProcessNode, client: InProcessClient) -> None:
    _some_messages(client)
    written: list[bytes] = []
    writer = RdbWriter(written.append)
    writer.start([])
    writer.database(0, 3, 0)
    plain = StreamValue()
    plain.append(1, (b"f", b"v"))
    writer.key(b"plain", plain)
    writer.key(b"s", _stream(client))
    writer.key(b"text", b"x")
    writer.end()
    wanted = _state(_stream(client))
    client.call("FLUSHALL")
    sink = KeyspaceSink(node.server.keyspace, lambda code: None)
    load_rdb(written, sink)
    assert _state(_stream(client)) == wanted
    assert _stream(client, b"plain").sent is None
    assert sink.aux == {}


def test_malformed_field_of_sent_messages_is_refused(node: InProcessNode, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no stream"):
        apply_extra(b"text", b"")
    with pytest.raises(FormatError, match="too early"):
        apply_extra(StreamValue(), b"\x05\x05\x00")
    with pytest.raises(FormatError, match="bad settings"):
        apply_extra(StreamValue(), b"\x00\x05\x00\x00\x00")
    with pytest.raises(FormatError, match="bytes behind"):
        apply_extra(StreamValue(), b"\x05\x05\x00\x00\x00\x00")
    written: list[bytes] = []
    writer = RdbWriter(written.append)
    writer.start([(EXTRA, b"\x05")])
    writer.end()
    with pytest.raises(LoadError, match="no stream"):
        load_rdb(written, KeyspaceSink(node.server.keyspace, lambda code: None))
