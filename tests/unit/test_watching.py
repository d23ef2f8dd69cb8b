"""WATCH: what breaks a transaction and what only looks as if it did."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slotmesh.node.keyspace.database import Database
from tests.support.inprocess import InProcessClient, InProcessNode


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def survives(client: InProcessClient) -> bool:
    """Whether the transaction runs."""
    client.call("MULTI")
    client.call("PING")
    return bool(client.call("EXEC") == [b"PONG"])


def stop_expiry(node: InProcessNode) -> None:
    """Keys go when they are asked for, not by themselves (that is so here; the name says why it matters)."""
    node.server.cron.active_expire = False


def test_watched_key_that_expires_breaks_the_transaction(node: InProcessNode, client: InProcessClient) -> None:
    client.call("SET", "k", "v", "PX", 10)
    client.call("WATCH", "k")
    node.advance(11)
    assert not survives(client)


def test_watched_key_that_was_stale_already_breaks_nothing(node: InProcessNode, client: InProcessClient) -> None:
    stop_expiry(node)
    client.call("SET", "k", "v", "PX", 10)
    node.advance(11)
    client.call("WATCH", "k")
    node.client().call("GET", "k")  # removes it
    assert survives(client)


def test_stale_key_that_is_written_anew_breaks_the_transaction(node: InProcessNode, client: InProcessClient) -> None:
    client.call("SET", "k", "v", "PX", 10)
    node.advance(11)
    client.call("WATCH", "k")
    node.client().call("SET", "k", "w")
    assert not survives(client)


def test_flush_of_a_stale_key_breaks_nothing(node: InProcessNode, client: InProcessClient) -> None:
    client.call("SET", "k", "v", "PX", 10)
    node.advance(11)
    client.call("WATCH", "k")
    node.client().call("FLUSHALL")
    assert survives(client)


def test_flush_of_a_missing_key_breaks_nothing_and_of_a_present_one_does(
    node: InProcessNode, client: InProcessClient
) -> None:
    client.call("WATCH", "nosuch")
    node.client().call("FLUSHDB")
    assert survives(client)
    client.call("SET", "k", "v")
    client.call("WATCH", "k")
    node.client().call("FLUSHDB")
    assert not survives(client)


@pytest.mark.parametrize(
    ("here", "there", "broken"),
    [
        ("", "", False),
        ("live", "", True),
        ("", "live", True),
        ("live", "live", True),
        ("stale", "", False),
        ("", "stale", False),
        ("stale", "stale", False),
        ("stale", "live", True),
        ("live", "stale", True),
    ],
)
def test_swap_of_databases_is_judged_by_what_is_logically_there(
    node: InProcessNode, client: InProcessClient, here: str, there: str, broken: bool
) -> None:
    stop_expiry(node)
    other = node.client()
    for db, state in ((0, here), (1, there)):
        other.call("SELECT", db)
        if state:
            other.call("SET", "k", f"in {db}", *(("PX", 10) if state == "stale" else ()))
    node.advance(11)
    client.call("WATCH", "k")
    other.call("SWAPDB", 0, 1)
    assert survives(client) is not broken


def test_nobody_is_watched_any_more_when_the_clients_are_gone(node: InProcessNode, client: InProcessClient) -> None:
    client.call("WATCH", "a", "b")
    other = node.client()
    other.call("WATCH", "b")
    assert (len(node.server.watching), node.server.keyspace.watched) == (2, 3)
    client.sock.close()
    node.pump()
    assert (len(node.server.watching), node.server.keyspace.watched) == (1, 1)
    other.call("UNWATCH")
    assert (len(node.server.watching), node.server.keyspace.watched) == (0, 0)
    assert not node.server.keyspace.observed


@pytest.mark.parametrize("command", [("FLUSHALL",), ("FLUSHDB", "ASYNC"), ("SWAPDB", "0", "1")])
def test_keys_that_nobody_watches_are_not_listed_when_all_are_touched(
    node: InProcessNode, client: InProcessClient, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Of a million keys few are watched: asking for these must do."""

    def list_all(db: Database) -> list[bytes]:
        raise AssertionError("all keys were listed")

    monkeypatch.setattr(Database, "keys", list_all)
    for name in ("watched", "other"):
        node.client().call("SET", name, "v")
    client.call("WATCH", "watched", "missing")
    waiting = node.client()
    waiting.call("BLPOP", "other", "nothing", 0)
    node.client().call(*command)
    assert not survives(client)


def test_swapped_in_list_wakes_who_waits_for_it(node: InProcessNode, client: InProcessClient) -> None:
    waiting = node.client()
    waiting.call("BLPOP", "other", "list", 0)
    client.call("SELECT", 1)
    client.call("RPUSH", "list", "element")
    client.call("SWAPDB", 0, 1)
    assert waiting.received() == b"*2\r\n$4\r\nlist\r\n$7\r\nelement\r\n"
