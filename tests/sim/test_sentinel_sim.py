"""Sentinels under simulated faults: safety after every step, recovery afterwards, and proof that the checks can fail.

First many seeds of random faults. Then scenarios, one per rule that keeps two primaries apart: each passes, and fails
as soon as its rule is switched off. A check that has never caught anything proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slotmesh.cluster.guard import Guard
from slotmesh.sentinel import election
from slotmesh.sentinel.effects import Effect
from slotmesh.sentinel.instance import Instance, Unit
from slotmesh.sentinel.leases import Leases
from tests.sim import sentinel_run
from tests.sim.bugs import SENTINEL_BUGS, no_fence
from tests.sim.restarts import RestartClusterWorld, RestartWorld
from tests.sim.sentinel_cluster import ClusterWorld, run_cluster_seed
from tests.sim.sentinel_hosts import Note, SimSentinel, VoteSaved
from tests.sim.sentinel_server import SimServer
from tests.sim.sentinel_world import LEADER_MS, SafetyViolation, SentinelWorld, run_seed

SEEDS_PER_BATCH = 15
BATCHES = 6
CLUSTER_BATCHES = 2
PLAIN_SEED = 4  # 10.0.0.1 is the primary; two replicas, three sentinels; down-after 2 s
CLUSTER_SEED = 37  # one shard of three, 10.0.0.1 is its primary; three sentinels; down-after 2 s


@pytest.mark.parametrize("batch", range(BATCHES))
def test_sentinels_under_random_faults_stay_safe_and_recover(batch: int) -> None:
    writes = 0
    for seed in range(batch * SEEDS_PER_BATCH, (batch + 1) * SEEDS_PER_BATCH):
        writes += run_seed(seed).write_count
    assert writes > SEEDS_PER_BATCH * 50, "hardly anything was written: the checks had little to look at"


@pytest.mark.parametrize("batch", range(CLUSTER_BATCHES))
def test_sentinels_over_real_nodes_stay_safe_and_recover(batch: int) -> None:
    writes = run_cluster_seeds(range(batch * SEEDS_PER_BATCH, (batch + 1) * SEEDS_PER_BATCH))
    assert writes > SEEDS_PER_BATCH * 50


def run_cluster_seeds(seeds: range) -> int:
    """Writes accepted in all these runs together."""
    return sum(run_cluster_seed(seed).write_count for seed in seeds)


def test_real_node_without_a_fence_is_noticed() -> None:
    with no_fence(), pytest.raises(SafetyViolation):
        run_cluster_seeds(range(40))


@pytest.mark.parametrize("kind", [SentinelWorld, ClusterWorld])
def test_same_seed_gives_the_same_run(kind: type[SentinelWorld]) -> None:
    assert kind(3).run() == kind(3).run()


RESTART_SEEDS = 10


@pytest.mark.parametrize(("kind", "seeds"), [(RestartWorld, RESTART_SEEDS), (RestartClusterWorld, RESTART_SEEDS // 2)])
def test_restarts_in_any_order_leave_the_shards_writable_in_time(kind: type[RestartWorld], seeds: int) -> None:
    outages = 0
    for seed in range(seeds):
        world = kind(seed)
        world.run()
        outages += world.longest_ms > 0
    assert outages > seeds // 2, "hardly anything went away: there was little to recover from"


RESTART_BUGS = [
    ("outliving-hold", RestartWorld),
    ("block-after-failure", RestartWorld),
    ("first-up-wins", RestartWorld),
    ("undrained-promotion", RestartWorld),
    ("undrained-promotion", RestartClusterWorld),
]


@pytest.mark.parametrize(("bug", "kind"), RESTART_BUGS)
def test_injected_bug_is_found_by_restarts_and_the_hint_replays_it(bug: str, kind: type[RestartWorld]) -> None:
    with SENTINEL_BUGS[bug]():
        seed, failure = next((seed, said) for seed in range(60) if (said := sentinel_run.run_seed(kind, seed)))
        assert failure.endswith(f"replay: python -m tests.sim.sentinel_run {kind.flags}--bug {bug} --seed {seed}")
        words = failure.rpartition("sentinel_run ")[2].split()
    assert sentinel_run.main(words) == 1
    assert sentinel_run.run_seed(kind, seed) == "", "without the bug the same seed is green"


# Scenarios


def _ready_cluster() -> SentinelWorld:
    world = SentinelWorld(CLUSTER_SEED)
    assert world.clustered
    assert world.shards == 1
    assert world.down_after_ms == 2_000
    world.warm_up()
    return world


def _at_first_vote(world: SentinelWorld, act: Callable[[VoteSaved], None], own: bool = True) -> list[VoteSaved]:
    """Have something happen at the first vote (not for oneself, unless `own`); returns a list that gets that vote."""
    watch = world.sentinels[0].watch
    votes: list[VoteSaved] = []

    def on_effect(sentinel: SimSentinel, effect: Effect | Note) -> None:
        watch(sentinel, effect)
        if isinstance(effect, VoteSaved) and not votes and (own or effect.candidate != sentinel.core.ctx.my_id):
            votes.append(effect)
            act(effect)

    for sentinel in world.sentinels:
        sentinel.watch = on_effect
    return votes


def hidden_primary_and_a_manual_takeover() -> None:
    """The primary is cut off with fresh leases, and a replica takes over by hand: it must wait for the leases to
    end.
    """
    world = _ready_cluster()
    world.network.cut([world.servers[0]], world.hosts, both_ways=True)
    world.servers[1].take_over(0)
    world.run_for(3 * world.down_after_ms)
    assert world.servers[1].writable()
    world.make_peace()
    world.recover()


def hidden_primary_and_restarted_sentinels() -> None:
    """As before, and all sentinels restart: they must remember whom they may have leased."""
    world = _ready_cluster()
    world.network.cut([world.servers[0]], world.hosts, both_ways=True)
    for sentinel in world.sentinels:
        world.bounce(sentinel)
    world.servers[1].take_over(0)
    world.run_for(3 * world.down_after_ms)
    assert world.servers[1].writable()
    world.make_peace()
    world.recover()


def one_blind_sentinel_with_quorum_one() -> None:
    """One sentinel loses sight of a healthy primary and is enough for ODOWN: the others must not vote it down.

    From its own vote on nothing reaches the primary any more, so that no lease can be taken back.
    """
    world = _ready_cluster()
    blind = world.sentinels[0]
    for unit in blind.core.ctx.units.values():
        unit.settings.quorum = 1
    _at_first_vote(world, lambda vote: world.network.cut(world.sentinels, [world.servers[0]], both_ways=False))
    world.network.cut([world.servers[0]], [blind], both_ways=True)
    world.run_for(3 * world.down_after_ms)
    world.make_peace()
    world.recover()


def late_candidate_after_the_primary_came_back() -> None:
    """The votes are cast, the primary comes back, and the candidate counts them late: it must not be leased
    meanwhile.
    """
    world = _ready_cluster()

    def stop_candidate(vote: VoteSaved) -> None:
        world.network.heal()
        candidate = next(one for one in world.sentinels if one.core.ctx.my_id == vote.candidate)
        world.network.after(0, candidate.freeze, LEADER_MS * 2 // 3)

    votes = _at_first_vote(world, stop_candidate, own=False)
    world.network.cut([world.servers[0]], world.sentinels, both_ways=True)
    world.run_for(2 * world.down_after_ms + 2 * LEADER_MS)
    assert votes, "no election took place"
    world.make_peace()
    world.recover()


def one_run_of_random_faults() -> None:
    run_seed(1)


# The same rules for a primary without a cluster.


def _ready_plain() -> SentinelWorld:
    world = SentinelWorld(PLAIN_SEED)
    assert not world.clustered
    assert world.down_after_ms == 2_000
    world.warm_up()
    return world


def plain_primary_out_of_sight() -> None:
    """It is cut off from everybody, goes on while its leases last, and is back after its successor's first write."""
    world = _ready_plain()
    world.network.cut([world.servers[0]], world.hosts, both_ways=True)
    world.run_for(3 * world.down_after_ms)
    assert world.plain_writer is not world.servers[0], "nobody took its place"
    world.network.heal()
    world.run_for(1_000)
    world.make_peace()
    world.recover()


def plain_primary_and_one_blind_sentinel() -> None:
    """As in a cluster: one sentinel that does not see a healthy primary is enough for ODOWN, and gets no votes."""
    world = _ready_plain()
    blind = world.sentinels[0]
    for unit in blind.core.ctx.units.values():
        unit.settings.quorum = 1
    _at_first_vote(world, lambda vote: world.network.cut(world.sentinels, [world.servers[0]], both_ways=False))
    world.network.cut([world.servers[0]], [blind], both_ways=True)
    world.run_for(3 * world.down_after_ms)
    world.make_peace()
    world.recover()


def restarted_plain_primary_with_its_role() -> None:
    """It restarts as the primary that it was, out of the sight of the sentinels, while its successor serves."""
    world = _ready_plain()
    old = world.servers[0]
    old.crash()
    world.run_for(2_000)
    world.network.cut([old], world.sentinels, both_ways=True)
    old.start()
    world.run_for(5_000)
    assert not old.writable()
    world.make_peace()
    world.recover()


def _forgetful(self: SimServer) -> None:
    self.guard_disk = ("", 0, 0)


def _lease_without_rule_1(self: Leases, unit: Unit, instance: Instance) -> bool:
    return instance is unit.primary and unit.hold_until_ms <= self._ctx.now_ms


Rule = tuple[Callable[[], None], Any, str, Callable[..., Any]]
RULES: list[Rule] = [
    (hidden_primary_and_a_manual_takeover, Leases, "may_grant", _lease_without_rule_1),
    (hidden_primary_and_restarted_sentinels, Leases, "restarted", lambda self, unit: None),
    (one_blind_sentinel_with_quorum_one, Leases, "may_vote_at_ms", lambda self, unit: 0),
    (late_candidate_after_the_primary_came_back, Leases, "hold", lambda self, unit, epoch, candidate: None),
    (one_run_of_random_faults, election, "votes_to_win", lambda voters, quorum: quorum),
    (plain_primary_out_of_sight, Guard, "is_fenced", lambda self, now_ms: False),
    (plain_primary_and_one_blind_sentinel, Leases, "may_vote_at_ms", lambda self, unit: 0),
    (restarted_plain_primary_with_its_role, SimServer, "save", _forgetful),
]
NAMES = ["one_lease", "restart", "no_vote_over_a_lease", "no_lease_after_a_vote", "majority"]
NAMES += ["plain_fence", "plain_no_vote_over_a_lease", "plain_restart"]


@pytest.mark.parametrize("scenario", [rule[0] for rule in RULES], ids=NAMES)
def test_scenario_with_all_rules_is_safe(scenario: Callable[[], None]) -> None:
    scenario()


@pytest.mark.parametrize(("scenario", "owner", "name", "broken"), RULES, ids=NAMES)
def test_scenario_with_its_rule_switched_off_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
    scenario: Callable[[], None],
    owner: Any,
    name: str,
    broken: Callable[..., Any],
) -> None:
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(SafetyViolation):
        scenario()
