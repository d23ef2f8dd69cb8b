"""CLUSTER SLOT-STATS: which slots it lists, in which order, and what it counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from slotmesh.cluster.slots import key_slot
from slotmesh.node.resp.encoder import encode_command
from tests.support.inprocess import InProcessClient, InProcessNode

SLOT = key_slot(b"{t}")


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    """A cluster of one, which owns the slots 0 to 9 and that of {t}."""
    with InProcessNode("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no") as node:
        node.client().call("CLUSTER", "ADDSLOTS", str(SLOT), *map(str, range(10)))
        assert node.server.cluster is not None
        node.server.cluster.core.view.cluster_ok = True
        node.server.cluster.settled()
        yield node


def stats(client: InProcessClient) -> dict[str, int]:
    ((slot, pairs),) = client.call("CLUSTER", "SLOT-STATS", "SLOTSRANGE", str(SLOT), str(SLOT))
    assert slot == SLOT
    return {name.decode(): value for name, value in zip(pairs[::2], pairs[1::2], strict=True)}


def test_slots_of_a_range_are_listed_in_order_with_their_keys(node: InProcessNode) -> None:
    client = node.client()
    client.call("SET", "{t}a", "1")
    client.call("SET", "{t}b", "1")
    assert client.call("CLUSTER", "SLOT-STATS", "SLOTSRANGE", "8", "11") == [
        [8, [b"key-count", 0]],
        [9, [b"key-count", 0]],
    ]
    assert stats(client) == {"key-count": 2}
    resp3 = node.client(resp3=True)
    assert resp3.call("CLUSTER", "SLOT-STATS", "SLOTSRANGE", "9", "9") == [[9, {b"key-count": 0}]]


def test_order_by_keys_takes_the_fullest_first_and_equals_by_slot(node: InProcessNode) -> None:
    client = node.client()
    client.call("SET", "{t}a", "1")

    def slots(*options: str) -> list[int]:
        return [row[0] for row in client.call("CLUSTER", "SLOT-STATS", "ORDERBY", "key-count", *options)]

    assert slots() == [SLOT, *range(10)]
    assert slots("LIMIT", "3", "DESC") == [SLOT, 0, 1]
    assert slots("ASC", "LIMIT", "2") == [0, 1]
    assert slots("asc")[-1] == SLOT


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("SLOTSRANGE 5 4", "ERR Start slot number 5 is greater than end slot number 4"),
        ("SLOTSRANGE 0 16384", "ERR Invalid or out of range slot"),
        ("SLOTSRANGE 0", "ERR unknown subcommand or wrong number of arguments for 'SLOT-STATS'. Try CLUSTER HELP."),
        ("NOSUCH 0 1", "ERR unknown subcommand or wrong number of arguments for 'SLOT-STATS'. Try CLUSTER HELP."),
        ("ORDERBY cpu-usec", "ERR Unrecognized sort metric for ORDERBY."),
        ("ORDERBY key-count LIMIT 0", "ERR Limit has to lie in between 1 and 16384 (maximum number of slots)."),
        ("ORDERBY key-count LIMIT", "ERR syntax error"),
        ("ORDERBY key-count up", "ERR syntax error"),
        ("ORDERBY key-count ASC DESC", "ERR Multiple filters of the same type are disallowed."),
        ("ORDERBY key-count LIMIT 1 LIMIT 2", "ERR Multiple filters of the same type are disallowed."),
    ],
)
def test_bad_requests_are_refused(node: InProcessNode, words: str, error: str) -> None:
    assert node.client().raw("CLUSTER", "SLOT-STATS", *words.split()) == f"-{error}\r\n".encode()


def sent(*words: str) -> int:
    return len(encode_command([word.encode() for word in words]))


def test_costs_are_counted_while_they_are_switched_on(node: InProcessNode) -> None:
    client = node.client()
    client.call("SET", "{t}a", "before")
    client.call("CONFIG", "SET", "cluster-slot-stats-enabled", "yes")
    client.call("SET", "{t}a", "value")
    client.call("GET", "{t}a")
    client.call("PING")
    counted = stats(client)
    assert counted.pop("cpu-usec") > 0
    bytes_in = sent("SET", "{t}a", "value") + sent("GET", "{t}a")
    assert counted == {"key-count": 1, "network-bytes-in": bytes_in, "network-bytes-out": len("+OK\r\n$5\r\nvalue\r\n")}
    client.call("CONFIG", "RESETSTAT")
    assert stats(client) == {"key-count": 1, "cpu-usec": 0, "network-bytes-in": 0, "network-bytes-out": 0}
    client.call("CONFIG", "SET", "cluster-slot-stats-enabled", "no")
    assert node.server.state.gates == 0


def test_transaction_and_script_count_once(node: InProcessNode) -> None:
    client = node.client()
    client.call("CONFIG", "SET", "cluster-slot-stats-enabled", "yes")
    script = ("EVAL", "return redis.call('SET', KEYS[1], 'x')", "1", "{t}a")
    for words in (("MULTI",), ("SET", "{t}a", "v"), ("GET", "{t}a"), ("EXEC",), script):
        client.call(*words)
    counted = stats(client)
    requests = sent("MULTI") + sent("SET", "{t}a", "v") + sent("GET", "{t}a") + sent("EXEC") + sent(*script)
    assert counted["network-bytes-in"] == requests
    assert counted["network-bytes-out"] == len("+QUEUED\r\n") * 2 + len("*2\r\n+OK\r\n$1\r\nv\r\n") + len("+OK\r\n")


def test_blocked_command_counts_its_request_once_and_its_reply_when_served(node: InProcessNode) -> None:
    waiting, other = node.client(), node.client()
    other.call("CONFIG", "SET", "cluster-slot-stats-enabled", "yes")
    waiting.send(encode_command([b"BLPOP", b"{t}list", b"0"]))
    request = sent("BLPOP", "{t}list", "0")
    assert stats(other)["network-bytes-in"] == request
    assert stats(other)["network-bytes-out"] == 0
    other.call("RPUSH", "{t}list", "job")
    counted = stats(other)
    assert counted["network-bytes-in"] == request + sent("RPUSH", "{t}list", "job")
    assert counted["network-bytes-out"] == len(":1\r\n") + len("*2\r\n$7\r\n{t}list\r\n$3\r\njob\r\n")


def test_slot_that_is_lost_starts_again_when_it_comes_back(node: InProcessNode) -> None:
    client = node.client()
    client.call("CONFIG", "SET", "cluster-slot-stats-enabled", "yes")
    client.call("GET", "{t}a")
    assert stats(client)["network-bytes-in"] > 0
    client.call("CLUSTER", "DELSLOTS", str(SLOT))
    answer: Any = client.call("CLUSTER", "SLOT-STATS", "SLOTSRANGE", str(SLOT), str(SLOT))
    assert answer == []
    client.call("CLUSTER", "ADDSLOTS", str(SLOT))
    assert stats(client)["network-bytes-in"] == 0


def test_outside_a_cluster_it_is_refused() -> None:
    with InProcessNode() as node:
        reply = node.client().raw("CLUSTER", "SLOT-STATS", "SLOTSRANGE", "0", "1")
    assert reply == b"-ERR This instance has cluster support disabled\r\n"
