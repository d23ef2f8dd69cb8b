"""The simulator as part of the test run: many seeds stay green, and broken rules are found and replayed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.sim.bugs import BUGS, GUARD_BUGS
from tests.sim.checks import SafetyViolation
from tests.sim.guarded_world import GuardedWorld
from tests.sim.world import LivenessViolation, World

SEEDS = 100
BATCH = 20


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_cluster_under_faults_stays_safe_and_recovers(first: int) -> None:
    won = 0
    for seed in range(first, first + BATCH):
        world = World(seed)
        world.run()
        won += len(world.safety.winners)
    assert won > 0, "no election was won: the faults are too tame to test anything"


def first_failure(seeds: range, kind: type[World] = World) -> tuple[int, str, int]:
    """The first seed that breaks safety: (seed, message, trace)."""
    for seed in seeds:
        world = kind(seed)
        violation: SafetyViolation | None = None
        try:
            world.run()
        except SafetyViolation as error:
            violation = error
        except LivenessViolation:
            continue
        if violation is not None:
            assert any(world.replay_command() in note for note in violation.__notes__)
            return seed, str(violation), world.network.trace
    raise AssertionError("the bug was not found")


@pytest.mark.parametrize(
    ("bug", "seeds", "message"),
    [
        ("double-vote", range(30, 500), "votes twice in epoch"),
        ("unsynced-vote", range(40), "on disk"),
        ("lonely-winner", range(100), "needed"),
        ("reused-epoch", range(100), "two writable owners|won by|wins epoch"),
    ],
)
def test_injected_bug_is_found_and_its_seed_replays_it(bug: str, seeds: range, message: str) -> None:
    with BUGS[bug]():
        seed, text, trace = first_failure(seeds)
        again = first_failure(range(seed, seed + 1))
    assert again == (seed, text, trace)
    with BUGS[bug]():
        assert World(seed).replay_command() == f"python -m tests.sim --bug {bug} --seed {seed}"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(text)
    World(seed).run()  # without the bug the same seed is green


def test_slot_that_is_taken_on_without_a_sync_can_end_as_nobodys() -> None:
    def lost(seed: int) -> bool:
        try:
            World(seed).run()
        except LivenessViolation as violation:
            return "slots nobody claims" in str(violation)
        return False

    with BUGS["unsynced-import"]():
        seed = next(seed for seed in range(49, 200) if lost(seed))
    World(seed).run()


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 10, 20])
def test_guarded_cluster_under_faults_never_has_two_writers(first: int) -> None:
    promotions = 0
    for seed in range(first, first + 10):
        world = GuardedWorld(seed)
        world.run()
        promotions += world.promotions
    assert promotions > 0, "no failover happened: the faults are too tame to test anything"


@pytest.mark.parametrize("bug", list(GUARD_BUGS))
def test_injected_bug_of_leases_is_found_and_its_seed_replays_it(bug: str) -> None:
    with GUARD_BUGS[bug]():
        seed, text, trace = first_failure(range(7, 200), GuardedWorld)
        again = first_failure(range(seed, seed + 1), GuardedWorld)
    assert again == (seed, text, trace)
    assert "accept writes of one shard" in text
    GuardedWorld(seed).run()


def test_seed_run_in_another_process_gives_the_same_trace() -> None:
    traces = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-m", "tests.sim", "--seed", "15", "--quiet"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        traces.append(done.stdout)
    assert traces[0] == traces[1]
    assert "trace" in traces[0]


def test_different_seeds_give_different_traces() -> None:
    worlds = [World(seed) for seed in (6, 9)]
    assert worlds[0].run() != worlds[1].run()


def test_replica_deaf_to_open_slots_is_found_and_the_seed_is_green_without_the_bug() -> None:
    with BUGS["deaf-replica"]():
        seed = next(seed for seed in range(40) if "does not know the open slots of its primary" in complaint(seed))
    assert complaint(seed) == ""


def complaint(seed: int) -> str:
    """What was still missing at the end of a run; empty when nothing was."""
    try:
        World(seed).run()
    except LivenessViolation as error:
        return str(error)
    return ""
