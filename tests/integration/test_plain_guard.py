"""A plain primary of ours under guard of our sentinels: it and its successor never both take writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.handovers import hand_over
from tests.support.plain_guarded import NAME, Plain, running_plain
from tests.support.processes import ServerHandle, wait_until

DOWN_AFTER_MS = 1500


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Plain]:
    """With all three nodes guarded, and the primary leased by all."""
    with running_plain(tmp_path, down_after_ms=DOWN_AFTER_MS) as world:
        wait_until(lambda: guarded(world), 30, "all nodes are guarded")
        yield world


def guarded(world: Plain) -> bool:
    told = [node.info("cluster") for node in world.nodes]
    leases = sorted(int(one.get("cluster_guard_leases", -1)) for one in told)
    return all(one.get("guarded_by") == NAME for one in told) and leases == [0, 0, 3]


def write(node: ServerHandle) -> str:
    """The error of a write, empty when it was acknowledged."""
    try:
        return "" if node.call("SET", "k", "v") == b"OK" else "no answer"
    except (redis.RedisError, OSError) as error:
        return str(error) or type(error).__name__


def answers_until_replica(node: ServerHandle) -> set[str]:
    """What writers are told until the node has become a replica, whose clients are disconnected then."""
    answers = {write(node)}

    def is_replica() -> bool:
        answers.add(write(node))
        try:
            return bool(node.info("replication")["role"] == "slave")
        except (redis.RedisError, OSError):
            return False

    wait_until(is_replica, 30, "the old primary is a replica", poll_s=0.001)
    print(sorted(answers))
    return answers


def successor(plain: Plain, old: ServerHandle) -> ServerHandle:
    """Who takes writes instead, once somebody does; how long that took is printed."""
    began = time.monotonic()
    others = [node for node in plain.nodes if node is not old]
    found = wait_until(lambda: next((node for node in others if not write(node)), None), 30, "a successor takes writes")
    print(f"a successor takes writes after {time.monotonic() - began:.2f} s")
    return found


def test_killed_primary_is_succeeded_and_takes_no_write_when_it_is_back(plain: Plain) -> None:
    old = plain.nodes[0]
    old.kill9()
    new = successor(plain, old)
    old.restart()
    assert "" not in answers_until_replica(old)
    wait_until(plain.settled, 40, "everybody is well")
    assert plain.primary() is new
    assert not write(new)


def test_stopped_primary_takes_no_write_when_it_goes_on(plain: Plain) -> None:
    old = plain.nodes[0]
    assert not write(old)
    old.pause()
    new = successor(plain, old)
    old.resume()
    assert "" not in answers_until_replica(old), "its leases ran out while it was stopped"
    wait_until(plain.settled, 40, "everybody is well")
    assert not write(new)


def test_primary_without_most_of_its_sentinels_refuses_writes_until_they_are_back(plain: Plain) -> None:
    primary = plain.nodes[0]
    for sentinel in plain.sentinels[:2]:
        sentinel.pause()
    began = time.monotonic()
    refusal = wait_until(lambda: write(primary), 30, "the leases have run out")
    print(f"writes refused after {time.monotonic() - began:.2f} s: {refusal}")
    assert f"CLUSTER UNGUARD {NAME}" in refusal
    assert primary.call("GET", "k") == b"v"
    plain.sentinels[0].resume()
    wait_until(lambda: not write(primary), 30, "two of three are enough")
    print(f"again taken after {time.monotonic() - began:.2f} s")
    plain.sentinels[1].resume()


def test_everything_restarts_and_the_primary_waits_for_its_leases(plain: Plain) -> None:
    processes = [*plain.nodes, *plain.sentinels]
    for process in processes:
        process.kill9()
    primary = plain.nodes[0]
    primary.restart()
    assert "has 0 of the 2 leases" in write(primary)
    began = time.monotonic()
    for process in processes:
        if process is not primary:
            process.restart()
    wait_until(lambda: any(not write(node) for node in plain.nodes), 60, "somebody takes writes")
    print(f"writes taken {time.monotonic() - began:.2f} s after the start of the others began")
    wait_until(plain.settled, 60, "everybody is well")


def test_sentinels_that_leave_free_the_primary(plain: Plain) -> None:
    primary = plain.nodes[0]
    for sentinel in plain.sentinels:
        assert sentinel.call("SENTINEL", "REMOVE", NAME) == b"OK"
    wait_until(lambda: "guarded_by" not in primary.info("cluster"), 30, "nobody guards it")
    assert not write(primary)
    primary.kill9()
    primary.restart()
    assert not write(primary)


def test_setting_ends_the_guard_and_begins_it_again(plain: Plain) -> None:
    for sentinel in plain.sentinels:
        assert sentinel.call("SENTINEL", "SET", NAME, "guard", "no") == b"OK"
    wait_until(lambda: not any("guarded_by" in node.info("cluster") for node in plain.nodes), 30, "all are free")
    for sentinel in plain.sentinels:
        assert sentinel.call("SENTINEL", "SET", NAME, "guard", "yes") == b"OK"
    wait_until(lambda: guarded(plain), 30, "all are guarded again")
    assert not write(plain.nodes[0])


def test_planned_failover_hands_the_leases_over(plain: Plain) -> None:
    outcome = hand_over(plain.nodes, "a", "planned", (plain.sentinels[0], ("SENTINEL", "FAILOVER", NAME)))
    print(outcome)
    assert outcome.lost == 0
    wait_until(plain.settled, 40, "the sentinels agree again")
    wait_until(lambda: guarded(plain), 30, "the new primary is leased by all")


STOCK_RULES = (
    "allchannels +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info "
    "+client|setname +client|kill +script|kill"
)
"""What the stock server's documentation has operators give the user of sentinels."""

LEASE_RULES = "+cluster|guard +cluster|unguard +cluster|failover +failover"


@pytest.mark.parametrize("may_lease", [True, False])
def test_sentinels_user_without_the_right_to_lease_has_stock_failovers(tmp_path: Path, may_lease: bool) -> None:
    rules = f"watcher on >secret {STOCK_RULES} {LEASE_RULES if may_lease else ''}".split()
    auth = (f"sentinel auth-user {NAME} watcher", f"sentinel auth-pass {NAME} secret")
    with running_plain(tmp_path, "--user", *rules, sentinel_lines=auth, down_after_ms=DOWN_AFTER_MS) as world:
        if may_lease:
            wait_until(lambda: guarded(world), 30, "all nodes are guarded")
        else:
            wait_until(lambda: "takes no lease: NOPERM" in world.sentinels[0].log(), 30, "it is told no")
        old = world.nodes[0]
        old.kill9()
        assert "guarded_by" not in successor(world, old).info("cluster") or may_lease
