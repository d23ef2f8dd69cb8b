"""Planned failovers of guarded shards: the leases change hands with the role, and never before the old ones ended."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import pytest

from slotmesh.cluster.guard import Guard, GuardReply
from slotmesh.sentinel.instance import Unit
from slotmesh.sentinel.leases import Leases
from tests.sim.sentinel_cluster import ClusterWorld, GuardedNode
from tests.sim.sentinel_world import SafetyViolation

SEEDS = range(6)
LONE_SHARD_SEED = 1
MOST_MS = 60
"""What a planned failover may take, of which the messages need up to 15 ms each."""


def ready(seed: int) -> tuple[ClusterWorld, GuardedNode, GuardedNode]:
    """A healthy guarded cluster; the primary of the first shard and a replica of it."""
    world = ClusterWorld(seed)
    world.warm_up()
    old = world.servers[0]
    assert old.writable()
    return world, old, next(node for node in world.servers if node.leads is old)


def run_until(world: ClusterWorld, condition: Callable[[], bool], limit_ms: int = 10_000) -> int:
    """Run until something is so; how long that took."""
    for passed_ms in range(limit_ms):
        if condition():
            return passed_ms
        world.run_for(1)
    raise AssertionError(f"not within {limit_ms} ms")


def planned_failover_ms(seed: int) -> int:
    """For how long nobody of the shard takes writes."""
    world, old, heir = ready(seed)
    heir.order(lambda admin: admin.failover())
    run_until(world, lambda: not old.writable())
    gap_ms = run_until(world, lambda: any(node.writable() for node in (old, heir)))
    assert heir.writable()
    world.recover()
    return gap_ms


@pytest.mark.parametrize("seed", SEEDS)
def test_heir_of_a_planned_failover_is_leased_when_it_takes_over(seed: int) -> None:
    assert planned_failover_ms(seed) < MOST_MS


def test_without_an_heir_the_successor_waits_for_the_sentinels() -> None:
    def deaf(self: Leases, unit: Unit, node_id: str) -> None:
        return

    with patch.object(Leases, "_follow_heir", deaf):
        assert max(map(planned_failover_ms, SEEDS)) > MOST_MS


@pytest.mark.parametrize("seed", SEEDS)
def test_second_planned_failover_right_after_the_first_waits_for_no_lease(seed: int) -> None:
    world, old, heir = ready(seed)
    for first, second in ((old, heir), (heir, old)):
        second.order(lambda admin: admin.failover())
        run_until(world, lambda new=second: new.leads is None)  # type: ignore[misc]
        assert run_until(world, lambda new=second: new.writable()) < MOST_MS, "it waits for leases"  # type: ignore[misc]
        run_until(world, lambda now=first, new=second: now.leads is new and now.link_up)  # type: ignore[misc]
        run_until(world, lambda new=second: _known_to_all(world, new))  # type: ignore[misc]
    world.recover()


def _known_to_all(world: ClusterWorld, primary: GuardedNode) -> bool:
    units = [unit for sentinel in world.sentinels for unit in sentinel.core.ctx.units.values()]
    return sum(unit.primary.node_id == primary.node_id for unit in units) == len(world.sentinels)


def heir_takes_over_while_the_old_primary_is_out_of_sight() -> None:
    """The sentinels have leased the heir when the old primary is cut off from everybody; its pause ends after five
    seconds, long before any lease does, and an operator has the heir take over.
    """
    world, old, heir = ready(LONE_SHARD_SEED)
    assert world.shards == 1, "else the cut takes the majority of primaries from it"
    for sentinel in world.sentinels:
        for guard in sentinel.core.ctx.guards.values():
            guard.settings.down_after_ms = 20_000
    world.run_for(1_000)
    others = [node for node in world.servers if node is not old]
    heir.order(lambda admin: admin.failover())
    run_until(world, lambda: old.data.paused_until_ms > 0)
    world.network.cut([old], others, both_ways=True)
    run_until(world, lambda: not heir.core.is_fenced(heir.clock_ms()))
    world.network.cut([old], world.hosts, both_ways=True)
    run_until(world, lambda: not old.data.paused_until_ms)
    heir.take_over(0)
    world.run_for(2_000)
    assert heir.writable()
    assert not old.writable()
    world.make_peace()
    world.recover()


def test_primary_that_named_an_heir_is_fenced_until_it_is_leased_again() -> None:
    heir_takes_over_while_the_old_primary_is_out_of_sight()


def test_primary_that_keeps_its_leases_though_it_names_an_heir_is_noticed() -> None:
    real_on_guard = Guard.on_guard

    def on_guard(self: Guard, *args: object, watch: bool = False) -> GuardReply:
        leases = dict(self._leases)
        reply = real_on_guard(self, *args, watch=watch)  # type: ignore[arg-type]
        if reply.heir and not self._node.primary_id:
            self._leases = leases
            self.writable_until_ms = self._majority_until_ms([lease.expires_ms for lease in leases.values()])
        return reply

    with patch.object(Guard, "on_guard", on_guard), pytest.raises(SafetyViolation):
        heir_takes_over_while_the_old_primary_is_out_of_sight()
