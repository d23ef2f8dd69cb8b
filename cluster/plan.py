"""Which slots should move where, and which node should replicate which: planning without a network.

Everything an operator's tool decides before it touches a node is here as plain functions over node ids, addresses and
`SlotSet`s, so that each rule can be tested alone and a dry run shows exactly what a real run would do. The functions
are deterministic: the same input gives the same plan, which is what makes a written plan resumable.

The even split of a new cluster and the rules of `reshard` and `rebalance` follow what stock redis-cli does (0-5460,
5461-10922, 10923-16383 for three primaries; a threshold in percent of the ideal share; weights; primaries without slots
left out unless asked for), because operators and documents rely on it.

Not here: moving anything (tools.clusterctl.mover), repairing half-moved slots (plan_repair).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs

from slotmesh.cluster.slot_set import NO_SLOTS, SlotSet
from slotmesh.cluster.slots import SLOT_COUNT


class PlanError(ValueError):
    """The wish cannot be planned; the text says why, in words for an operator."""


@attrs.frozen
class Move:
    """Slots that are to change their owner from node id `source` to node id `target`."""

    source: str
    target: str
    slots: SlotSet


@attrs.frozen
class Address:
    """Where a node serves clients. `host` doubles as the failure domain for anti-affinity."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class PlannedShard:
    """One primary of a new cluster with its slots and the addresses of its replicas."""

    primary: Address
    slots: SlotSet
    replicas: tuple[Address, ...]


@attrs.frozen
class Layout:
    """A new cluster. `conflicts` counts pairs of nodes of one shard that share a host (0 is ideal)."""

    shards: tuple[PlannedShard, ...]
    conflicts: int


# --- a new cluster -------------------------------------------------------------------------------------------------


def split_slots(parts: int) -> list[SlotSet]:
    """All slots in `parts` contiguous ranges of nearly equal size, cut where redis-cli cuts them."""
    if not 1 <= parts <= SLOT_COUNT:
        raise PlanError(f"cannot split {SLOT_COUNT} slots over {parts} primaries")
    width = SLOT_COUNT / parts
    ranges: list[SlotSet] = []
    first = 0
    for index in range(parts):
        last = SLOT_COUNT - 1 if index == parts - 1 else math.floor((index + 1) * width - 1 + 0.5)
        ranges.append(SlotSet.from_range(first, last))
        first = last + 1
    return ranges


def plan_layout(addresses: Sequence[Address], replicas_per_primary: int) -> Layout:
    """Choose primaries and replicas among `addresses`, keeping the nodes of one shard on different hosts.

    Primaries are spread over the hosts in turn; nodes left over by the division become extra replicas. `PlanError` for
    duplicate addresses or too few nodes.
    """
    if len(set(addresses)) != len(addresses):
        raise PlanError("an address is given twice")
    if replicas_per_primary < 0:
        raise PlanError("the number of replicas cannot be negative")
    primary_count = len(addresses) // (replicas_per_primary + 1)
    if primary_count < 1:
        raise PlanError(f"{len(addresses)} nodes are too few for a primary with {replicas_per_primary} replicas")
    spread = _interleave_hosts(addresses)
    primaries, rest = spread[:primary_count], spread[primary_count:]
    groups = _assign_replicas(primaries, rest)
    _swap_conflicts_away(primaries, groups)
    shards = tuple(
        PlannedShard(primary, slots, tuple(group))
        for primary, slots, group in zip(primaries, split_slots(primary_count), groups, strict=True)
    )
    return Layout(shards, sum(_conflicts(p, g) for p, g in zip(primaries, groups, strict=True)))


def _interleave_hosts(addresses: Sequence[Address]) -> list[Address]:
    by_host: dict[str, list[Address]] = {}
    for address in addresses:
        by_host.setdefault(address.host, []).append(address)
    queues = list(by_host.values())
    rounds = max(map(len, queues))
    return [queue[turn] for turn in range(rounds) for queue in queues if turn < len(queue)]


def _conflicts(primary: Address, group: Sequence[Address]) -> int:
    hosts = [primary.host, *(replica.host for replica in group)]
    return sum(hosts[i] == hosts[j] for i in range(len(hosts)) for j in range(i))


def _assign_replicas(primaries: Sequence[Address], rest: Sequence[Address]) -> list[list[Address]]:
    groups: list[list[Address]] = [[] for _ in primaries]
    left = list(rest)
    while left:
        for primary, group in zip(primaries, groups, strict=True):
            if not left:
                break
            used = [primary.host, *(replica.host for replica in group)]
            best = min(left, key=lambda candidate: used.count(candidate.host))
            left.remove(best)
            group.append(best)
    return groups


def _swap_conflicts_away(primaries: Sequence[Address], groups: list[list[Address]]) -> None:
    """Exchange replicas between shards while that lowers the number of conflicts (the greedy choice can end badly)."""
    improved = True
    while improved:
        improved = False
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                improved = _swap_between(primaries[a], groups[a], primaries[b], groups[b]) or improved


def _swap_between(primary_a: Address, group_a: list[Address], primary_b: Address, group_b: list[Address]) -> bool:
    swapped = False
    for i in range(len(group_a)):
        for j in range(len(group_b)):
            before = _conflicts(primary_a, group_a) + _conflicts(primary_b, group_b)
            group_a[i], group_b[j] = group_b[j], group_a[i]
            if _conflicts(primary_a, group_a) + _conflicts(primary_b, group_b) < before:
                swapped = True
            else:
                group_a[i], group_b[j] = group_b[j], group_a[i]
    return swapped


def choose_primary_for_replica(shards: Sequence[tuple[str, Sequence[str]]], host: str) -> str:
    """The primary that needs a replica on `host` most: fewest replicas, then fewest nodes on that host, then order.

    `shards` holds (primary id, hosts of the primary and of its replicas).
    """
    if not shards:
        raise PlanError("there is no primary to replicate")
    return min(shards, key=lambda shard: (len(shard[1]), list(shard[1]).count(host)))[0]


# --- moving slots --------------------------------------------------------------------------------------------------


def take_slots(slots: SlotSet, count: int) -> SlotSet:
    """`count` of `slots`, chosen so that few new ranges appear: whole short ranges first, then the end of the next."""
    if count > len(slots):
        raise PlanError(f"{count} slots wanted, {len(slots)} there")
    taken = NO_SLOTS
    for first, last in sorted(slots.ranges(), key=lambda run: (run[1] - run[0], run[0])):
        if count == 0:
            break
        size = min(count, last - first + 1)
        taken |= SlotSet.from_range(last - size + 1, last)
        count -= size
    return taken


def share_out(total: int, weights: Sequence[float]) -> list[int]:
    """`total` split into whole parts in proportion to `weights` (largest remainder; ties go to the earlier one)."""
    whole = sum(weights)
    if whole <= 0:
        raise PlanError("at least one weight must be above zero")
    ideal = [total * weight / whole for weight in weights]
    parts = [math.floor(share) for share in ideal]
    by_remainder = sorted(range(len(parts)), key=lambda index: (parts[index] - ideal[index], index))
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts


def plan_reshard(owned: Mapping[str, SlotSet], sources: Sequence[str], target: str, count: int) -> list[Move]:
    """Move `count` slots to `target`, taken from `sources` in proportion to what each holds."""
    _require_known(owned, [*sources, target])
    givers = [source for source in dict.fromkeys(sources) if source != target and owned[source]]
    available = sum(len(owned[giver]) for giver in givers)
    if count < 1:
        raise PlanError("the number of slots must be at least 1")
    if count > available:
        raise PlanError(f"{count} slots wanted, but the sources hold only {available}")
    givers.sort(key=lambda giver: -len(owned[giver]))
    parts = share_out(count, [len(owned[giver]) for giver in givers])
    return [
        Move(giver, target, take_slots(owned[giver], part)) for giver, part in zip(givers, parts, strict=True) if part
    ]


def plan_slots_to(owned: Mapping[str, SlotSet], slots: SlotSet, target: str) -> list[Move]:
    """Move exactly `slots` to `target`, from whoever holds them; those it holds already need no move."""
    _require_known(owned, [target])
    moves = [Move(node, target, held & slots) for node, held in owned.items() if node != target and held & slots]
    orphans = slots
    for held in owned.values():
        orphans -= held
    if orphans:
        raise PlanError(f"slots without an owner cannot be moved: {orphans.to_text()}")
    return moves


def plan_rebalance(
    owned: Mapping[str, SlotSet],
    weights: Mapping[str, float] | None = None,
    threshold_percent: float = 2.0,
    use_empty: bool = False,
) -> list[Move]:
    """Even out the slots by weight (1.0 unless given; 0 empties a node).

    Nodes without slots take part only with `use_empty` or a weight of their own. Nothing moves while every node is
    within `threshold_percent` of its ideal share.
    """
    weights = dict(weights or {})
    _require_known(owned, list(weights))
    if any(weight < 0 for weight in weights.values()):
        raise PlanError("a weight cannot be negative")
    nodes = [node for node, held in owned.items() if held or use_empty or node in weights]
    if not nodes:
        raise PlanError("no primary holds slots")
    shares = [weights.get(node, 1.0) for node in nodes]
    total = sum(len(owned[node]) for node in nodes)
    whole = sum(shares)
    if whole <= 0:
        raise PlanError("at least one weight must be above zero")
    ideal = {node: total * share / whole for node, share in zip(nodes, shares, strict=True)}
    if all(_within(len(owned[node]), ideal[node], threshold_percent) for node in nodes):
        return []
    # Rounding up goes to the fullest nodes first, so that no slot moves only because of a remainder.
    fullest_first = sorted(range(len(nodes)), key=lambda i: ideal[nodes[i]] - len(owned[nodes[i]]))
    parts = share_out(total, [shares[index] for index in fullest_first])
    wanted = {nodes[index]: part for index, part in zip(fullest_first, parts, strict=True)}
    return _match(owned, wanted)


def _within(have: int, ideal: float, threshold_percent: float) -> bool:
    if abs(have - ideal) < 1:
        return True  # cannot be cut finer
    return ideal > 0 and abs(have - ideal) * 100 / ideal <= threshold_percent


def plan_drain(owned: Mapping[str, SlotSet], leaving: str, recipients: Sequence[str]) -> list[Move]:
    """Give all slots of `leaving` to `recipients`, filling the emptiest first; nothing moves between recipients."""
    _require_known(owned, [leaving, *recipients])
    takers = [node for node in dict.fromkeys(recipients) if node != leaving]
    if not owned[leaving]:
        return []
    if not takers:
        raise PlanError("there is no other primary to take the slots")
    have = {node: len(owned[node]) for node in takers}
    left = len(owned[leaving])
    level = _water_level(sorted(have.values()), left)
    wanted = {node: max(count, level) for node, count in have.items()}
    surplus = left - sum(wanted[node] - have[node] for node in takers)
    for node in sorted(takers, key=lambda node: wanted[node])[:surplus]:
        wanted[node] += 1
    return _match(owned, {leaving: 0, **wanted})


def _water_level(ascending: Sequence[int], amount: int) -> int:
    """The highest whole level to which `amount` fills the lower of the columns."""
    for columns in range(len(ascending), 0, -1):
        level = (sum(ascending[:columns]) + amount) // columns
        if level >= ascending[columns - 1]:
            return level
    raise AssertionError("a single column always takes everything")


def _match(owned: Mapping[str, SlotSet], wanted: Mapping[str, int]) -> list[Move]:
    """Moves that bring every node of `wanted` to its number of slots; big givers serve big takers first."""
    give = {node: len(owned[node]) - count for node, count in wanted.items() if len(owned[node]) > count}
    need = {node: count - len(owned[node]) for node, count in wanted.items() if len(owned[node]) < count}
    holding = {node: owned[node] for node in give}
    moves: list[Move] = []
    takers = sorted(need, key=lambda node: -need[node])
    for giver in sorted(give, key=lambda node: -give[node]):
        for taker in takers:
            size = min(give[giver], need[taker])
            if size == 0:
                continue
            chosen = take_slots(holding[giver], size)
            holding[giver] -= chosen
            give[giver] -= size
            need[taker] -= size
            moves.append(Move(giver, taker, chosen))
    return moves


def apply_moves(owned: Mapping[str, SlotSet], moves: Sequence[Move]) -> dict[str, SlotSet]:
    """What every node holds once `moves` are done."""
    after = dict(owned)
    for move in moves:
        after[move.source] -= move.slots
        after[move.target] |= move.slots
    return after


def _require_known(owned: Mapping[str, SlotSet], nodes: Sequence[str]) -> None:
    for node in nodes:
        if node not in owned:
            raise PlanError(f"{node} is not a primary of this cluster")


def split_into_stages(moves: Sequence[Move]) -> list[list[Move]]:
    """The moves in groups to be done one after the other, such that within a group no source is a target too."""
    stages: list[list[Move]] = []
    for move in moves:
        for stage in stages:
            if all(other.target != move.source and other.source != move.target for other in stage):
                stage.append(move)
                break
        else:
            stages.append([move])
    return stages
