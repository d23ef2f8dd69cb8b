"""Our sentinels over a plain primary of ours with two replicas: planned failovers, a primary that comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.handovers import hand_over
from tests.support.plain_guarded import NAME, Plain, running_plain
from tests.support.processes import ServerHandle, wait_until


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Plain]:
    with running_plain(tmp_path) as world:
        yield world


def role(node: ServerHandle) -> str:
    return str(node.info("replication")["role"])


def takes_writes(node: ServerHandle) -> bool:
    try:
        return bool(node.call("SET", "k", "v") == b"OK")
    except (redis.RedisError, OSError):
        return False


def test_planned_failover_loses_nothing_and_is_kept_over_a_restart(plain: Plain) -> None:
    old = plain.nodes[0]
    order = ("SENTINEL", "FAILOVER", NAME)
    outcome = hand_over(plain.nodes, "a", "planned", (plain.sentinels[0], order))
    print(outcome)
    assert outcome.lost == 0
    wait_until(plain.settled, 40, "the sentinels agree again")
    assert "Failover request received" in plain.primary().log()
    assert role(old) == "slave"


def test_replaced_primary_that_comes_back_becomes_a_replica(plain: Plain) -> None:
    old = plain.nodes[0]
    old.kill9()
    wait_until(lambda: any(takes_writes(node) for node in plain.nodes[1:]), 30, "a successor takes writes")
    wait_until(lambda: plain.primary() is not old, 30, "the sentinels tell it")
    old.restart()
    wait_until(lambda: role(old) == "slave", 30, "the old one is a replica")
    wait_until(plain.settled, 40, "everybody is well")


def test_primary_that_ends_after_a_planned_failover_failed_is_replaced(plain: Plain) -> None:
    old, first, second = plain.nodes
    for replica in (first, second):
        replica.pause()
    assert plain.sentinels[0].call("SENTINEL", "FAILOVER", NAME) == b"OK"
    wait_until(lambda: b"failover_in_progress" not in _flags(plain), 30, "the attempt is over")
    for replica in (first, second):
        replica.resume()
    wait_until(plain.settled, 60, "the replicas are back")
    old.stop()
    wait_until(lambda: takes_writes(first) or takes_writes(second), 30, "a successor takes writes")


def _flags(plain: Plain) -> bytes:
    fact = plain.sentinels[0].call("SENTINEL", "MASTER", NAME)
    fact = dict(zip(fact[::2], fact[1::2], strict=True)) if isinstance(fact, list) else fact
    assert isinstance(fact[b"flags"], bytes)
    return fact[b"flags"]
