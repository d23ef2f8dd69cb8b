"""XREADGROUP ... CLAIM with clients that wait: when they are looked at again, and what others must hear of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.inprocess import START_MS, InProcessClient, InProcessNode
from tests.tables.streams_after_8_4 import claimed
from tests.tables.support import NULL_ARRAY, array, bulk


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def _waiting(node: InProcessNode, consumer: str, block_ms: int, claim_ms: int) -> InProcessClient:
    waiting = node.client()
    options = ("BLOCK", block_ms, "CLAIM", claim_ms, "STREAMS", "s", ">")
    assert waiting.raw("XREADGROUP", "GROUP", "g", consumer, *options) == b""
    return waiting


def _reply(*rows: bytes) -> bytes:
    return array(array(bulk("s"), array(*rows)))


def _one_pending_entry(client: InProcessClient) -> None:
    client.call("XADD", "s", 1, "f", "v")
    client.call("XGROUP", "CREATE", "s", "g", "0")
    client.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")


def _told(node: InProcessNode) -> list[str]:
    return [b" ".join(argv).decode() for argv in node.take_propagated() if argv[0] not in (b"MULTI", b"EXEC")]


@pytest.mark.parametrize("block_ms", [0, 5000])
def test_waiting_client_gets_an_entry_as_soon_as_it_was_pending_long_enough(
    node: InProcessNode, client: InProcessClient, block_ms: int
) -> None:
    _one_pending_entry(client)
    waiting = _waiting(node, "d", block_ms, 1000)
    node.take_propagated()
    node.advance(999)
    assert waiting.received() == b""
    node.advance(1)
    assert waiting.received() == _reply(claimed(1, 1000, 1))
    assert _told(node) == [
        f"XCLAIM s g d 0 1-0 TIME {START_MS + 1000} RETRYCOUNT 2 FORCE JUSTID LASTID 1-0",
    ]
    node.advance(10_000)
    assert waiting.received() == b""


def test_waiting_client_is_answered_in_time_when_nothing_waits_long_enough(
    node: InProcessNode, client: InProcessClient
) -> None:
    _one_pending_entry(client)
    waiting = _waiting(node, "d", 500, 1000)
    node.advance(499)
    assert waiting.received() == b""
    node.advance(2)
    assert waiting.received() == NULL_ARRAY


def test_waiting_client_waits_on_when_the_entry_was_taken_or_acknowledged_meanwhile(
    node: InProcessNode, client: InProcessClient
) -> None:
    _one_pending_entry(client)
    waiting = _waiting(node, "d", 0, 1000)
    node.advance(600)
    client.call("XCLAIM", "s", "g", "e", 0, 1)
    node.advance(600)
    assert waiting.received() == b""
    node.advance(400)
    assert waiting.received() == _reply(claimed(1, 1000, 2))
    waiting = _waiting(node, "e", 3000, 1000)
    client.call("XACK", "s", "g", 1)
    node.advance(2999)
    assert waiting.received() == b""
    node.advance(2)
    assert waiting.received() == NULL_ARRAY


def test_second_waiting_client_gets_what_the_first_one_does_not_acknowledge(
    node: InProcessNode, client: InProcessClient
) -> None:
    client.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    first, second = _waiting(node, "c", 0, 100), _waiting(node, "d", 0, 100)
    client.call("XADD", "s", 1, "f", "v")
    assert first.received() == _reply(claimed(1, 0, 0))
    assert second.received() == b""
    node.advance(100)
    assert second.received() == _reply(claimed(1, 100, 1))


def test_waiting_client_gets_a_released_entry_at_once(node: InProcessNode, client: InProcessClient) -> None:
    _one_pending_entry(client)
    waiting = _waiting(node, "d", 0, 2**62)
    client.call("XNACK", "s", "g", "FAIL", "IDS", 1, 1)
    assert waiting.received() == _reply(claimed(1, -1, 1))


def test_consumer_that_finds_nothing_to_claim_is_told_of(node: InProcessNode, client: InProcessClient) -> None:
    _one_pending_entry(client)
    node.take_propagated()
    assert client.call("XREADGROUP", "GROUP", "g", "d", "CLAIM", 9, "STREAMS", "s", ">") is None
    assert _told(node) == ["XGROUP CREATECONSUMER s g d"]


def test_entries_that_are_gone_are_dropped_and_that_is_told(node: InProcessNode, client: InProcessClient) -> None:
    _one_pending_entry(client)
    client.call("XDEL", "s", 1)
    node.take_propagated()
    assert client.call("XREADGROUP", "GROUP", "g", "c", "CLAIM", 0, "STREAMS", "s", ">") is None
    assert _told(node) == [f"XCLAIM s g c 0 1-0 TIME {START_MS} RETRYCOUNT 1 FORCE JUSTID LASTID 1-0"]
    pending: Any = client.call("XPENDING", "s", "g")
    assert pending[0] == 0


def test_claims_go_on_where_the_bound_of_the_last_one_was(client: InProcessClient) -> None:
    for number in range(1, 8):
        client.call("XADD", "s", number, "f", "v")
    client.call("XGROUP", "CREATE", "s", "g", "0")
    client.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")
    for number in range(1, 8):
        client.call("XCLAIM", "s", "g", "c", 0, number, "IDLE", 1000 * (10 - number), "JUSTID")
    seen: list[bytes] = []
    for bound in (("COUNT", 2), ("MAXSIZE", 1), ("MAXCOUNT", 3), ("COUNT", 5)):
        reply: Any = client.call("XREADGROUP", "GROUP", "g", "d", *bound, "CLAIM", 1000, "STREAMS", "s", ">")
        seen += [row[0] for row in reply[0][1]]
    assert seen == [b"%d-0" % number for number in range(1, 8)]
