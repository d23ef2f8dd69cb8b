"""Hash fields whose time has come: invisible at once, removed on access and by the active cycle, hidden on replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from slotmesh.node.keyspace.database import DELETE, HIDE
from slotmesh.node.keyspace.field_expiry import expire_due_fields
from tests.support.inprocess import START_MS, InProcessClient, InProcessNode


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def _propagated(node: InProcessNode) -> list[str]:
    return [b" ".join(argv).decode() for argv in node.take_propagated()]


def _expire(node: InProcessNode, budget: Callable[[], bool]) -> int:
    keyspace = node.server.keyspace
    return expire_due_fields(keyspace.field_expiry, keyspace.dbs, keyspace.now_ms, budget)


def _cycle(node: InProcessNode) -> int:
    return _expire(node, lambda: True)


@pytest.fixture
def expired(node: InProcessNode, client: InProcessClient) -> InProcessClient:
    """`h` with a field that lives and one whose time has come."""
    client.call("HSET", "h", "a", "1", "b", "2")
    client.call("HPEXPIRE", "h", "50", "FIELDS", "1", "a")
    node.take_propagated()
    node.advance(51)
    return client


READS: tuple[tuple[str, object], ...] = (
    ("HGET h a", None),
    ("HMGET h a b", [None, b"2"]),
    ("HGETALL h", [b"b", b"2"]),
    ("HKEYS h", [b"b"]),
    ("HVALS h", [b"2"]),
    ("HLEN h", 1),
    ("HEXISTS h a", 0),
    ("HSTRLEN h a", 0),
    ("HRANDFIELD h", b"b"),
    ("HRANDFIELD h -2", [b"b", b"b"]),
    ("HSCAN h 0", [b"0", [b"b", b"2"]]),
    ("HTTL h FIELDS 2 a b", [-2, -1]),
)


@pytest.mark.parametrize(("command", "reply"), READS, ids=[row[0] for row in READS])
def test_read_does_not_see_an_expired_field_and_removes_it(
    node: InProcessNode, expired: InProcessClient, command: str, reply: object
) -> None:
    assert expired.call(*command.split()) == reply
    assert _propagated(node) == ["HDEL h a"]
    assert node.server.keyspace.field_expiry.expired == 1


@pytest.mark.parametrize(("command", "reply"), READS, ids=[row[0] for row in READS])
def test_read_on_a_replica_hides_an_expired_field_and_keeps_it(
    node: InProcessNode, expired: InProcessClient, command: str, reply: object
) -> None:
    node.server.keyspace.expiry_ignored.otherwise(HIDE)
    assert expired.call(*command.split()) == reply
    assert node.server.keyspace.expire_cycle(lambda: True) == 0
    with node.server.keyspace.expiry_ignored:
        assert expired.call("HGET", "h", "a") == b"1"
    assert _propagated(node) == []
    node.server.keyspace.expiry_ignored.otherwise(DELETE)


@pytest.mark.parametrize(
    ("command", "reply", "propagated"),
    [
        ("HINCRBY h a 5", 5, ["HDEL h a", "HINCRBY h a 5"]),
        ("HSETNX h a 7", 1, ["HDEL h a", "HSETNX h a 7"]),
        ("HDEL h a", 0, ["HDEL h a"]),
        ("HSET h a 7", 1, ["HDEL h a", "HSET h a 7"]),
        ("HGETDEL h FIELDS 1 a", [None], ["HDEL h a"]),
        ("HEXPIRE h 5 FIELDS 1 a", [-2], ["HDEL h a"]),
        ("HPERSIST h FIELDS 1 a", [-2], ["HDEL h a"]),
    ],
)
def test_write_starts_without_the_expired_field(
    node: InProcessNode, expired: InProcessClient, command: str, reply: object, propagated: list[str]
) -> None:
    assert expired.call(*command.split()) == reply
    assert _propagated(node) == propagated


def test_hash_whose_last_field_expired_is_gone(node: InProcessNode, client: InProcessClient) -> None:
    client.call("HSETEX", "h", "PX", "50", "FIELDS", "1", "a", "1")
    node.take_propagated()
    node.advance(51)
    assert client.call("HLEN", "h") == 0
    assert client.call("EXISTS", "h") == 0
    assert _propagated(node) == ["HDEL h a"]


def test_active_cycle_removes_what_nobody_reads(node: InProcessNode, client: InProcessClient) -> None:
    for i in range(100):
        client.call("HSET", f"h{i}", "keep", "1", "go", "2")
        client.call("HPEXPIREAT", f"h{i}", START_MS + 10 + i, "FIELDS", "1", "go")
        client.call("HSETEX", f"short{i}", "PX", "20", "FIELDS", "1", "go", "2")
    assert _cycle(node) == 0
    node.advance(60)
    assert _cycle(node) == 150
    node.advance(1000)
    assert _cycle(node) == 50
    assert client.call("DBSIZE") == 100
    assert client.call("HGETALL", "h50") == [b"keep", b"1"]


def test_active_cycle_stops_when_its_budget_is_spent(node: InProcessNode, client: InProcessClient) -> None:
    for i in range(10):
        client.call("HSETEX", f"h{i}", "PX", "20", "FIELDS", "1", "go", "2")
    node.advance(60)
    budget = iter([True, True, True, False])
    assert _expire(node, lambda: next(budget)) == 3
    assert _cycle(node) == 7


@pytest.mark.parametrize("command", ["RENAME h moved", "COPY h moved", "MOVE h 1"])
def test_active_cycle_finds_a_hash_that_went_elsewhere(
    node: InProcessNode, client: InProcessClient, command: str
) -> None:
    client.call("HSETEX", "h", "PX", "50", "FIELDS", "1", "a", "1")
    client.call(*command.split())
    node.advance(60)
    assert _cycle(node) >= 1
    assert node.server.keyspace.total_keys() == 0


def test_dump_and_restore_keep_the_expiry_of_fields(node: InProcessNode, client: InProcessClient) -> None:
    client.call("HSETEX", "h", "PX", "50", "FIELDS", "1", "a", "1")
    payload = client.call("DUMP", "h")
    assert client.call("RESTORE", "twin", "0", payload) == b"OK"
    assert client.call("HPTTL", "twin", "FIELDS", "1", "a") == [50]
    node.advance(60)
    assert _cycle(node) == 2


def test_setting_one_expiry_again_and_again_does_not_fill_the_schedule(
    node: InProcessNode, client: InProcessClient
) -> None:
    client.call("HSET", "h", "a", "1")
    for i in range(500):
        client.call("HPEXPIREAT", "h", START_MS + 100_000 + i, "FIELDS", "1", "a")
    assert len(node.server.keyspace.field_expiry._due) == 1
    node.advance(100_400)
    assert _cycle(node) == 0
    assert client.call("HGET", "h", "a") == b"1"
    node.advance(200)
    assert _cycle(node) == 1


def test_watched_hash_that_loses_a_field_breaks_the_transaction(node: InProcessNode, client: InProcessClient) -> None:
    client.call("HSET", "h", "b", "1")
    client.call("HSETEX", "h", "PX", "50", "FIELDS", "1", "a", "1")
    client.call("WATCH", "h")
    node.advance(60)
    _cycle(node)
    client.call("MULTI")
    client.call("PING")
    assert client.call("EXEC") is None
