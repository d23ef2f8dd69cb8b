"""Events about the fields of hashes: who hears what on which channel, and that nobody does without the letters."""

from __future__ import annotations

from collections.abc import Iterator

import hiredis
import pytest

from tests.support.inprocess import InProcessClient, InProcessNode


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def _listener(node: InProcessNode, pattern: str = "__sub*") -> InProcessClient:
    listener = node.client()
    listener.call("PSUBSCRIBE", pattern)
    return listener


def _heard(listener: InProcessClient) -> list[str]:
    """`channel payload` of every message."""
    reader = hiredis.Reader()
    reader.feed(listener.received())
    heard: list[str] = []
    while message := reader.gets():
        heard.append(f"{message[2].decode()} {message[3].decode()}")
    return heard


def test_each_letter_is_a_channel_of_its_own(node: InProcessNode, client: InProcessClient) -> None:
    listener = _listener(node)
    wanted = {
        "S": ["__subkeyspace@0__:h hset|1:a,2:bb"],
        "T": ["__subkeyevent@0__:hset 1:h|1:a,2:bb"],
        "I": ["__subkeyspaceitem@0__:h\na hset", "__subkeyspaceitem@0__:h\nbb hset"],
        "V": ["__subkeyspaceevent@0__:hset|h 1:a,2:bb"],
    }
    for letter, messages in wanted.items():
        client.call("CONFIG", "SET", "notify-keyspace-events", letter)
        client.call("HSET", "h", "a", 1, "bb", 2)
        assert _heard(listener) == messages
    client.call("CONFIG", "SET", "notify-keyspace-events", "STIV")
    assert client.call("CONFIG", "GET", "notify-keyspace-events")[1] == b"STIV"
    client.call("HSET", "h", "a", 1, "bb", 2)
    assert _heard(listener) == [message for messages in wanted.values() for message in messages]


def test_letters_of_keys_and_of_fields_do_not_mix(node: InProcessNode, client: InProcessClient) -> None:
    listener = _listener(node, "__*")
    client.call("CONFIG", "SET", "notify-keyspace-events", "S")
    client.call("SET", "k", "v")
    client.call("HSET", "h", "a", 1)
    assert _heard(listener) == ["__subkeyspace@0__:h hset|1:a"]
    client.call("CONFIG", "SET", "notify-keyspace-events", "KA")
    client.call("HSET", "h", "a", 1)
    assert _heard(listener) == ["__keyspace@0__:h hset"]
    client.call("CONFIG", "SET", "notify-keyspace-events", "EhT")
    client.call("HSET", "h", "a", 1)
    assert _heard(listener) == ["__keyevent@0__:hset h", "__subkeyevent@0__:hset 1:h|1:a"]


#: commands that prepare, the command, its messages on the channel of the key
EVENTS: tuple[tuple[tuple[str, ...], str, list[str]], ...] = (
    ((), "HMSET h a 1 b 2", ["hset|1:a,1:b"]),
    ((), "HSETNX h a 1", ["hset|1:a"]),
    (("HSET h a 1",), "HSETNX h a 1", []),
    (("HSET h a 1 b 2",), "HDEL h a none b", ["hdel|1:a,1:b"]),
    (("HSET h a 1",), "HDEL h none", []),
    ((), "HINCRBY h a 1", ["hincrby|1:a"]),
    ((), "HINCRBYFLOAT h a 1", ["hincrbyfloat|1:a"]),
    (("HSET h a 1 b 2",), "HEXPIRE h 9 FIELDS 3 a none b", ["hexpire|1:a,1:b"]),
    (("HSET h a 1 b 2",), "HPEXPIREAT h 1 FIELDS 1 b", ["hdel|1:b"]),
    (("HSETEX h EX 9 FIELDS 1 a 1", "HSET h b 2"), "HPERSIST h FIELDS 2 a b", ["hpersist|1:a"]),
    (("HSET h a 1",), "HGETEX h EX 9 FIELDS 2 a none", ["hexpire|1:a"]),
    (("HSETEX h EX 9 FIELDS 1 a 1",), "HGETEX h PERSIST FIELDS 1 a", ["hpersist|1:a"]),
    (("HSET h a 1",), "HGETEX h PXAT 1 FIELDS 1 a", ["hdel|1:a"]),
    ((), "HSETEX h EX 9 FIELDS 2 a 1 b 2", ["hset|1:a,1:b", "hexpire|1:a,1:b"]),
    ((), "HSETEX h PXAT 1 FIELDS 1 a 1", ["hset|1:a", "hdel|1:a"]),
    (("HSET h a 1 b 2",), "HGETDEL h FIELDS 2 a none", ["hdel|1:a"]),
    (("HSET h a 1",), "DEL h", []),
    (("HIMPORT PREPARE f a b",), "HIMPORT SET h f 1 2", ["hset|1:a,1:b"]),
)


@pytest.mark.parametrize(("before", "command", "expected"), EVENTS, ids=[row[1] for row in EVENTS])
def test_command_names_the_fields_that_it_changed(
    node: InProcessNode, client: InProcessClient, before: tuple[str, ...], command: str, expected: list[str]
) -> None:
    for line in before:
        client.call(*line.split())
    client.call("CONFIG", "SET", "notify-keyspace-events", "S")
    listener = _listener(node)
    client.call(*command.split())
    assert _heard(listener) == [f"__subkeyspace@0__:h {payload}" for payload in expected]


def test_expired_fields_are_named_together(node: InProcessNode, client: InProcessClient) -> None:
    client.call("CONFIG", "SET", "notify-keyspace-events", "T")
    client.call("HSETEX", "h", "PX", 5, "FIELDS", 2, "a", 1, "b", 2)
    client.call("HSET", "h", "c", 3)
    listener = _listener(node)
    node.advance(6)
    assert client.call("HLEN", "h") == 1
    assert _heard(listener) in (["__subkeyevent@0__:hexpired 1:h|1:a,1:b"], ["__subkeyevent@0__:hexpired 1:h|1:b,1:a"])


def test_key_with_a_line_break_has_no_channel_for_each_field(node: InProcessNode, client: InProcessClient) -> None:
    client.call("CONFIG", "SET", "notify-keyspace-events", "SI")
    listener = _listener(node)
    client.call("HSET", "two\nlines", "a", 1)
    assert _heard(listener) == ["__subkeyspace@0__:two\nlines hset|1:a"]


def test_channels_name_the_database(node: InProcessNode, client: InProcessClient) -> None:
    client.call("CONFIG", "SET", "notify-keyspace-events", "V")
    listener = _listener(node)
    client.call("SELECT", 3)
    client.call("HSET", "h", "a", 1)
    assert _heard(listener) == ["__subkeyspaceevent@3__:hset|h 1:a"]
