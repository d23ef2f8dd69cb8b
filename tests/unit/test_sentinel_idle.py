"""A sentinel that has nothing to do does nothing: in no state does it ask to be stepped again and again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slotmesh.sentinel.effects import Tick
from tests.support.sentinel_bench import SentinelBench, info

PRIMARY, REPLICA, PEER = 6379, 6380, 26001
CONFIG = """\
sentinel monitor m 10.0.0.1 6379 {quorum}
sentinel down-after-milliseconds m 2000
sentinel failover-timeout m 5000
sentinel known-replica m 10.0.0.2 6380
sentinel known-sentinel m 10.0.1.2 26001 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
"""
FACTS = {PRIMARY: info(), REPLICA: info("slave", master_host="10.0.0.1", master_port=6379), PEER: b""}
MOST_STEPS_PER_SECOND = 40


def serve(bench: SentinelBench, *ports: int) -> None:
    for port in ports:
        bench.accept(port)
        bench.answer(port, {"PING": b"PONG", "INFO": FACTS[port], "DOWN": [1, b"*", 0]})


def refuse(bench: SentinelBench, *ports: int) -> None:
    for port in ports:
        bench.drop(port)
        bench.refuse(port)


def all_answer(bench: SentinelBench) -> None:
    serve(bench, PRIMARY, REPLICA, PEER)


def primary_silent(bench: SentinelBench) -> None:
    serve(bench, REPLICA, PEER)


def primary_refuses(bench: SentinelBench) -> None:
    refuse(bench, PRIMARY)
    serve(bench, REPLICA, PEER)


def all_silent(bench: SentinelBench) -> None:
    pass


def all_refuse(bench: SentinelBench) -> None:
    refuse(bench, PRIMARY, REPLICA, PEER)


STATES = [all_answer, primary_silent, primary_refuses, all_silent, all_refuse]


@pytest.mark.parametrize("quorum", [1, 2, 3])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_lasting_state_needs_few_steps(state: Callable[[SentinelBench], None], quorum: int) -> None:
    bench = SentinelBench(CONFIG.format(quorum=quorum))
    serve(bench, PRIMARY, REPLICA, PEER)
    seconds = 30
    end_ms = bench.now_ms + seconds * 1_000
    steps = 0
    while bench.now_ms < end_ms:
        bench.now_ms = max(bench.core.next_deadline_ms(), bench.now_ms + 1)
        bench.step(Tick())
        state(bench)
        steps += 1
    assert steps < seconds * MOST_STEPS_PER_SECOND
