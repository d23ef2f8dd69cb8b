"""Scripts of a cluster node that serves half of the slots: which keys they may use, and what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes import have_stock, start_node, start_stock_server, wait_until
from tests.support.twins import Twins, Wire

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

LIBRARY = "#!lua name=l\nredis.register_function('f', function(k, a) return redis.call('get', a[1]) end)"
# Slots: b 3300, {b}x 3300, c 7365, a 15495 (nobody's).
CASES = [
    ("EVAL", "return 1", "0"),
    ("EVAL", "return 1", "1", "b"),
    ("EVAL", "return 1", "2", "b", "c"),
    ("EVAL", "return 1", "1", "a"),
    ("EVAL", "return redis.call('set', KEYS[1], ARGV[1])", "1", "b", "1"),
    ("EVAL", "return redis.call('get', 'b')", "0"),
    ("EVAL", "return redis.call('get', 'c')", "1", "b"),
    ("EVAL", "return redis.call('get', 'a')", "1", "b"),
    ("EVAL", "return redis.call('get', 'a')", "0"),
    ("EVAL", "return redis.call('mget', 'b', 'c')", "0"),
    ("EVAL", "return redis.call('mget', 'b', '{b}x')", "0"),
    ("EVAL", "return redis.call('ping')", "1", "b"),
    ("EVAL", "return redis.call('select', 1)", "0"),
    ("EVAL", "redis.call('get', 'b') return redis.call('get', 'c')", "0"),
    ("EVAL", "#!lua\nreturn redis.call('get', 'b')", "0"),
    ("EVAL", "#!lua\nreturn redis.call('get', 'c')", "1", "b"),
    ("EVAL", "#!lua\nredis.call('get', 'b') return redis.call('get', 'c')", "0"),
    ("EVAL", "#!lua\nredis.call('get', 'b') return redis.call('get', '{b}x')", "0"),
    ("EVAL", "#!lua flags=allow-cross-slot-keys\nredis.call('get', 'b') return redis.call('get', 'c')", "0"),
    ("EVAL", "#!lua flags=no-cluster\nreturn 1", "0"),
    ("FUNCTION", "LOAD", LIBRARY),
    ("FCALL", "f", "0", "b"),
    ("FCALL", "f", "0", "a"),
    ("FCALL", "f", "1", "b", "c"),
    ("FCALL", "f", "1", "b", "{b}x"),
    ("FCALL", "f", "1", "a", "b"),
    ("MULTI",),
    ("EVAL", "return redis.call('get', KEYS[1])", "1", "b"),
    ("EVAL", "return redis.call('get', 'a')", "1", "b"),
    ("EXEC",),
]


def serves(wire: Wire) -> bool:
    return b"cluster_state:ok" in wire.call(["CLUSTER", "INFO"])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    directory: Path = tmp_path_factory.mktemp("cluster_scripts")
    options = ("--cluster-require-full-coverage", "no")
    with (
        start_stock_server(directory / "stock", *options, cluster=True) as stock,
        start_node(directory / "ours", *options, cluster=True) as ours,
    ):
        twins = Twins(stock.port, ours.port)
        twins.both("CLUSTER", "ADDSLOTSRANGE", 0, 8000)
        for wire in (twins.stock, twins.ours):
            wait_until(partial(serves, wire), 20, "the slots are served")
        yield twins
        twins.close()


@pytest.mark.parametrize("protocol", ["2", "3"])
def test_scripts_are_held_to_their_slots_as_on_a_stock_server(pair: Twins, protocol: str) -> None:
    pair.both("HELLO", protocol)
    pair.both("FUNCTION", "FLUSH")
    wrong = []
    for case in CASES:
        wanted, got = pair.stock.call(case), pair.ours.call(case)
        if got != wanted:
            wrong.append(f"{case!r}\n  stock: {wanted!r}\n  ours:  {got!r}")
    assert not wrong, "\n".join(wrong)
