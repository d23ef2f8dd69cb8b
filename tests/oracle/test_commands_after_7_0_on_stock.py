"""Commands that a 7.0 server lacks reach it in words that it knows: by replication, in RDB files and in payloads.

What our node propagates for them is played to a stock server, which must then hold the same data; what cannot be said
there (the messages that producers have sent) must at least do no harm.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from slotmesh.node.persistence.rdb_file import RdbWriter
from tests.support.inprocess import START_MS, InProcessClient, InProcessNode
from tests.support.processes import have_stock, start_stock_server

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

_SIDES = ("LEFT", "RIGHT")
_LISTS = ("l", "m", "n")


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    with start_stock_server(tmp_path_factory.mktemp("newest")) as server:
        client = redis.Redis(port=server.port, protocol=3)
        client.response_callbacks.clear()
        yield client
        client.close()


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    """A node whose clock shows the time, as the stock server's does: expiry times go from one to the other."""
    with InProcessNode() as running:
        running.advance(int(time.time() * 1000) - START_MS)
        yield running


@pytest.fixture
def client(node: InProcessNode, stock: redis.Redis) -> InProcessClient:
    stock.execute_command("FLUSHALL")
    return node.client()


def _follow(node: InProcessNode, stock: redis.Redis) -> None:
    """Play to the stock server what replicas would have got."""
    for argv in node.take_propagated():
        if argv[0] not in (b"MULTI", b"EXEC"):
            stock.execute_command(*argv)


def _counting(rng: random.Random) -> list[Any]:
    argv: list[Any] = ["INCREX", rng.choice("ijk")]
    argv += rng.choice(([], ["BYINT", rng.randrange(-9, 10)], ["BYFLOAT", rng.choice(("0.1", "-2.5", "1e3"))]))
    argv += rng.choice(([], ["UBOUND", 20], ["LBOUND", -5, "UBOUND", 30, "SATURATE"]))
    return argv + rng.choice(([], ["EX", 100], ["PERSIST"], ["PX", 99_000, "ENX"], ["PXAT", 1]))


def _moving(rng: random.Random) -> list[Any]:
    argv: list[Any] = ["LMOVEM", rng.choice(_LISTS), rng.choice(_LISTS), rng.choice(_SIDES), rng.choice(_SIDES)]
    how = [rng.choice(("COUNT", "EXACTLY")), rng.randrange(1, 6), rng.choice(("OBO", "BULK"))]
    return argv + rng.choice(([], how, how))


def _reading(rng: random.Random) -> list[Any]:
    ids = [f"{rng.randrange(1, 20)}-0" for _ in range(3)]
    return rng.choice(
        (
            ["XNACK", "s", "g", rng.choice(("SILENT", "FAIL", "FATAL")), "IDS", 3, *ids],
            ["XNACK", "s", "g", "FAIL", "FORCE", "RETRYCOUNT", 4, "IDS", 3, *ids],
            ["XACK", "s", "g", *ids],
            ["XDEL", "s", ids[0]],
            ["XCLAIM", "s", "g", rng.choice("cd"), 0, *ids],
            ["XREADGROUP", "GROUP", "g", rng.choice("cd"), "COUNT", 3, "CLAIM", 0, "STREAMS", "s", ">"],
            ["XREADGROUP", "GROUP", "g", rng.choice("cd"), "MAXCOUNT", 2, "STREAMS", "s", ">"],
        )
    )


@pytest.mark.parametrize("seed", range(5))
def test_counters_and_lists_are_the_same_on_stock(
    node: InProcessNode, client: InProcessClient, stock: redis.Redis, seed: int
) -> None:
    rng = random.Random(seed)
    for key in _LISTS:
        client.call("RPUSH", key, *(f"{key}{number}" for number in range(6)))
    client.call("EXPIRE", "l", 3600)
    for _ in range(150):
        client.call(*(_counting(rng) if rng.random() < 0.5 else _moving(rng)))
    _follow(node, stock)
    for key in _LISTS:
        assert stock.execute_command("LRANGE", key, 0, -1) == client.call("LRANGE", key, 0, -1)
    # The time at which it ends, not what is left of it: their clocks are not read at the same moment.
    assert stock.execute_command("PEXPIRETIME", "l") == client.call("PEXPIRETIME", "l")
    for key in "ijk":
        assert stock.execute_command("GET", key) == client.call("GET", key)
        assert stock.execute_command("PEXPIRETIME", key) == client.call("PEXPIRETIME", key)


def _pending(reply: Any) -> Any:
    """Rows of XPENDING without the idle time, which is another clock's."""
    return [(entry_id, consumer, count) for entry_id, consumer, _, count in reply]


@pytest.mark.parametrize("seed", range(5))
def test_pending_entries_are_the_same_on_stock(
    node: InProcessNode, client: InProcessClient, stock: redis.Redis, seed: int
) -> None:
    rng = random.Random(seed)
    for number in range(1, 20):
        client.call("XADD", "s", number, "f", number)
    client.call("XGROUP", "CREATE", "s", "g", "0")
    for _ in range(150):
        client.call(*_reading(rng))
    _follow(node, stock)
    ours = _pending(client.call("XPENDING", "s", "g", "-", "+", 100))
    # released and deleted since: stock drops such entries when it is told of the release
    live = {row[0] for row in client.call("XRANGE", "s", "-", "+")}
    theirs = _pending(stock.execute_command("XPENDING", "s", "g", "-", "+", 100))
    assert [row for row in theirs if row[0] in live] == [row for row in ours if row[0] in live]
    released = [row[0] for row in ours if row[1] == b"" and row[0] in live]
    claimed = stock.execute_command("XAUTOCLAIM", "s", "g", "stock", 10**12, "0", "COUNT", 100, "JUSTID")
    assert claimed[1] == released


def test_entries_of_transactions_and_scripts_reach_stock(
    node: InProcessNode, client: InProcessClient, stock: redis.Redis
) -> None:
    client.call("MULTI")
    client.call("XADD", "s", "IDMP", "p", "a", "*", "f", "1")
    client.call("XCFGSET", "s", "IDMP-MAXSIZE", 5)
    client.call("SET", "k", "v")
    client.call("EXEC")
    client.call("EVAL", "return redis.call('XADD', KEYS[1], 'IDMP', 'p', 'b', '*', 'f', '2')", 1, "s")
    propagated = node.take_propagated()
    assert [argv[0] for argv in propagated].count(b"MULTI") == 2
    for argv in propagated:
        stock.execute_command(*argv)
    assert stock.execute_command("GET", "k") == b"v"
    assert stock.execute_command("XRANGE", "s", "-", "+") == client.call("XRANGE", "s", "-", "+")


def test_stock_loads_files_and_payloads_with_released_entries_and_sent_messages(
    node: InProcessNode, client: InProcessClient, stock: redis.Redis, tmp_path: Path
) -> None:
    for message in "abc":
        client.call("XADD", "s", "IDMP", "p", message, "*", "f", message)
    client.call("XGROUP", "CREATE", "s", "g", "0")
    client.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")
    entries = client.call("XRANGE", "s", "-", "+")
    client.call("XNACK", "s", "g", "FATAL", "IDS", 2, entries[2][0], entries[0][0])
    payload = client.call("DUMP", "s")
    for sanitize in ("no", "yes"):
        stock.execute_command("CONFIG", "SET", "sanitize-dump-payload", sanitize)
        stock.execute_command("RESTORE", "t", 0, payload, "REPLACE")
        assert stock.execute_command("XRANGE", "t", "-", "+") == entries
    rows = [(entries[0][0], b"", 2**63 - 1), (entries[1][0], b"c", 1), (entries[2][0], b"", 2**63 - 1)]
    assert _pending(stock.execute_command("XPENDING", "t", "g", "-", "+", 9)) == rows
    value = client.served.db.peek(b"s")
    with (tmp_path / "dump.rdb").open("wb") as file:
        writer = RdbWriter(file.write)
        writer.start([])
        writer.database(0, 2, 0)
        writer.key(b"s", value)
        writer.key(b"text", b"x", 32503680000000)
        writer.end()
    with start_stock_server(tmp_path) as server:
        other = redis.Redis(port=server.port)
        other.response_callbacks.clear()
        assert other.execute_command("XRANGE", "s", "-", "+") == entries
        assert _pending(other.execute_command("XPENDING", "s", "g", "-", "+", 9)) == rows
        assert other.execute_command("PEXPIRETIME", "text") == 32503680000000
        other.close()


@pytest.mark.parametrize("seed", range(3))
def test_moving_one_by_one_is_moving_one_element_again_and_again(
    client: InProcessClient, stock: redis.Redis, seed: int
) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        ends, count = [rng.choice(_SIDES), rng.choice(_SIDES)], rng.randrange(1, 8)
        source, target = range(rng.randrange(1, 6)), range(10, 10 + rng.randrange(4))
        for key, elements in (("l", source), ("m", target)):
            for call in (client.call, stock.execute_command):
                call("DEL", key)
                if elements:
                    call("RPUSH", key, *elements)
        moved = client.call("LMOVEM", "l", "m", *ends, "COUNT", count, "OBO")
        singly = [stock.execute_command("LMOVE", "l", "m", *ends) for _ in range(min(count, len(source)))]
        assert moved == (singly[::-1] if ends[1] == "LEFT" else singly)
        for key in "lm":
            assert client.call("LRANGE", key, 0, -1) == stock.execute_command("LRANGE", key, 0, -1)


@pytest.mark.parametrize("seed", range(3))
def test_cardinalities_are_those_of_the_sets_that_stock_computes(
    client: InProcessClient, stock: redis.Redis, seed: int
) -> None:
    rng = random.Random(seed)
    for key in "abcd":
        members = rng.sample(range(40), rng.randrange(1, 25))
        for call in (client.call, stock.execute_command):
            call("SADD", key, *members)
    for _ in range(100):
        keys = [rng.choice("abcdx") for _ in range(rng.randrange(1, 5))]
        limit = rng.choice((0, 0, 1, 5, 30, 99))
        for ours, theirs in (("SUNIONCARD", "SUNION"), ("SDIFFCARD", "SDIFF")):
            size = len(stock.execute_command(theirs, *keys))
            assert client.call(ours, len(keys), *keys, "LIMIT", limit) == (min(size, limit) if limit else size)


@pytest.mark.parametrize("seed", range(3))
def test_counting_within_no_bounds_is_stock_counting(client: InProcessClient, stock: redis.Redis, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        amount = rng.choice(("0.1", "-2.75", "1e15", "3.0e-7", str(rng.uniform(-9, 9))))
        stored = stock.execute_command("INCRBYFLOAT", "f", amount)
        assert client.call("INCREX", "f", "BYFLOAT", amount)[0] == stored == client.call("GET", "f")
        step = rng.randrange(-(10**12), 10**12)
        assert client.call("INCREX", "n", "BYINT", step) == [stock.execute_command("INCRBY", "n", step), step]
