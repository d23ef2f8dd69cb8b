"""DUMP payloads between a stock server and ours, for every type and encoding, in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support import datasets
from tests.support.processes import ServerHandle, start_node, start_stock_server

pytestmark = pytest.mark.stock

#: Unordered values: two servers hold their members in different orders, so only the content can agree.
UNORDERED = (b"set:strings", b"set:many-ints", b"h:many", b"h:long-value")
#: Entries that were deleted one by one stay in stock's nodes as tombstones.
WITH_TOMBSTONES = (b"x:groups",)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerHandle, ServerHandle]]:
    root: Path = tmp_path_factory.mktemp("dump")
    with start_stock_server(root / "stock") as stock, start_node(root / "node") as node:
        datasets.fill(stock)
        datasets.fill(node)
        yield stock, node


@pytest.mark.parametrize("direction", ["stock to node", "node to stock"])
def test_restore_payload_of_the_other_server_gives_the_same_value(
    servers: tuple[ServerHandle, ServerHandle], direction: str
) -> None:
    stock, node = servers
    source, target = (stock, node) if direction == "stock to node" else (node, stock)
    for key in datasets.keys(source):
        payload = source.call("DUMP", key)
        ttl = max(0, source.call("PEXPIRETIME", key))
        assert target.call("RESTORE", b"copy:" + key, ttl, payload, "ABSTTL") == b"OK", key
        assert datasets.content(target, b"copy:" + key) == datasets.content(source, key), key
        assert target.call("DEL", b"copy:" + key) == 1


def test_dump_of_ordered_values_is_byte_for_byte_that_of_stock(servers: tuple[ServerHandle, ServerHandle]) -> None:
    stock, node = servers
    compared = 0
    for key in datasets.keys(stock):
        if key in UNORDERED or key in WITH_TOMBSTONES:
            continue
        assert node.call("DUMP", key) == stock.call("DUMP", key), key
        compared += 1
    assert compared > 35


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("0", b"garbage"), "DUMP payload version or checksum are wrong"),
        (("-1", b"garbage"), "Invalid TTL value, must be >= 0"),
        (("x", b"garbage"), "value is not an integer or out of range"),
        (("0", b"garbage", "IDLETIME", "-1"), "Invalid IDLETIME value, must be >= 0"),
        (("0", b"garbage", "FREQ", "256"), "Invalid FREQ value, must be >= 0 and <= 255"),
        (("0", b"garbage", "IDLETIME", "1", "FREQ", "1"), "syntax error"),
        (("0", b"garbage", "NOPE"), "syntax error"),
        (("0", b"garbage", "IDLETIME"), "syntax error"),
    ],
)
def test_restore_bad_arguments_fail_as_in_stock(
    servers: tuple[ServerHandle, ServerHandle], arguments: tuple[str | bytes, ...], error: str
) -> None:
    for server in servers:
        with pytest.raises(redis.ResponseError, match=error):
            server.call("RESTORE", "new", *arguments)


def test_restore_options_behave_as_in_stock(servers: tuple[ServerHandle, ServerHandle]) -> None:
    stock, _ = servers
    payload = stock.call("DUMP", "s:embstr")
    for server in servers:
        assert server.call("RESTORE", "opt", 0, payload) == b"OK"
        with pytest.raises(redis.ResponseError, match="BUSYKEY Target key name already exists"):
            server.call("RESTORE", "opt", 0, payload)
        assert server.call("RESTORE", "opt", 100_000, payload, "REPLACE", "IDLETIME", 100) == b"OK"
        assert 90_000 < server.call("PTTL", "opt") <= 100_000
        assert 100 <= server.call("OBJECT", "IDLETIME", "opt") < 110
        assert server.call("RESTORE", "opt", datasets.FAR_MS, payload, "REPLACE", "ABSTTL", "FREQ", 3) == b"OK"
        assert server.call("PEXPIRETIME", "opt") == datasets.FAR_MS
        assert server.call("RESTORE", "opt", 1, payload, "REPLACE", "ABSTTL") == b"OK"  # long past
        assert server.call("EXISTS", "opt") == 0
        assert server.call("DUMP", "opt") is None
        assert server.call("RESTORE-ASKING", "opt", 0, payload) == b"OK"
        server.call("DEL", "opt")


def test_restore_payload_with_a_flipped_byte_is_refused(servers: tuple[ServerHandle, ServerHandle]) -> None:
    _, node = servers
    payload = bytearray(node.call("DUMP", "h:small"))
    for position in range(len(payload)):
        payload[position] ^= 0x55
        with pytest.raises(redis.ResponseError, match="DUMP payload version or checksum are wrong"):
            node.call("RESTORE", "flipped", 0, bytes(payload))
        payload[position] ^= 0x55
    assert node.call("EXISTS", "flipped") == 0
