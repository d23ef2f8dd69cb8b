"""A stock server raises the keyspace events, and counts the changes, that our tables say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.support.effects_collections import CHANGES, STOCK_EVENTS
from tests.support.processes import ServerHandle, have_stock, start_stock_server

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    with start_stock_server(tmp_path_factory.mktemp("stock"), "--notify-keyspace-events", "AEmn") as server:
        yield server


def _prepare(stock: ServerHandle, before: tuple[str, ...]) -> None:
    stock.call("FLUSHALL")
    for line in before:
        stock.call(*line.split())


@pytest.mark.parametrize(("before", "command", "expected"), STOCK_EVENTS, ids=[row[1] for row in STOCK_EVENTS])
def test_stock_raises_the_events_of_our_table(
    stock: ServerHandle, before: tuple[str, ...], command: str, expected: list[str]
) -> None:
    _prepare(stock, before)
    listener = redis.Redis(port=stock.port, socket_timeout=5).pubsub()
    listener.psubscribe("*")
    listener.get_message(timeout=5)
    stock.call(*command.split())
    stock.call("PUBLISH", "end", "end")
    seen: list[str] = []
    while (message := listener.get_message(timeout=5)) is not None and message["channel"] != b"end":
        seen.append(f"{message['channel'].split(b':')[1].decode()} {message['data'].decode()}")
    listener.close()
    assert seen == expected


@pytest.mark.parametrize(("before", "command", "count"), CHANGES, ids=[row[1] for row in CHANGES])
def test_stock_counts_the_changes_of_our_table(
    stock: ServerHandle, before: tuple[str, ...], command: str, count: int
) -> None:
    _prepare(stock, before)
    changes = int(stock.info("persistence")["rdb_changes_since_last_save"])
    stock.call(*command.split())
    assert int(stock.info("persistence")["rdb_changes_since_last_save"]) - changes == count
