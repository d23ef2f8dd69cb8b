"""What to do with a slot that was left half-moved, doubly owned, unowned, or whose keys lie on the wrong node.

Pure decisions, one slot at a time, from facts that any set of nodes can state: who claims the slot, who has it marked
as migrating or importing, who holds how many of its keys. The rule behind every case: no key may be lost, and when a
key exists twice, the copy that clients have been served from wins. Clients are served by the claimant with the highest
config epoch, because that is the one gossip makes everybody believe; a copy elsewhere is older, or a left-over.

Not here: the commands that carry a repair out (tools.clusterctl.repair), slots of dead nodes (promoting a replica comes
first, and is not a question of slots).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from slotmesh.cluster.slot_set import SlotSet


@attrs.frozen
class SlotFacts:
    """What the reachable primaries say about one slot. Node ids throughout; `keys` holds counts above zero only."""

    slot: int
    claims: Mapping[str, int] = attrs.field(factory=dict)
    """Primaries that list the slot as their own, with their config epoch."""
    migrating: Mapping[str, str] = attrs.field(factory=dict)
    """Primaries that have it marked as migrating, with the node it goes to."""
    importing: Mapping[str, str] = attrs.field(factory=dict)
    """Primaries that have it marked as importing, with the node it comes from."""
    keys: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def serving(self) -> str | None:
        """The claimant that clients end up at: highest config epoch, then most keys, then smallest id."""
        if not self.claims:
            return None
        return min(self.claims, key=lambda node: (-self.claims[node], -self.keys.get(node, 0), node))

    @property
    def sound(self) -> bool:
        """Whether there is nothing to repair: one owner, no marks, no key elsewhere."""
        marked = self.migrating or self.importing
        return len(self.claims) == 1 and not marked and all(node in self.claims for node in self.keys)


@attrs.frozen
class SlotRepair:
    """How to close slots: `owner` shall own them, after the keys of `carry_from` have come to it.

    `serving` is the node whose copy of a key wins (None: nobody served the slot, the owner's wins). `marked` are the
    nodes whose migrating or importing mark has to go.
    """

    owner: str
    serving: str | None
    carry_from: tuple[str, ...]
    marked: tuple[str, ...]
    why: str


def plan_slot_repair(facts: SlotFacts, usable: Sequence[str], fallback: str) -> SlotRepair | None:
    """The repair of one slot, or None when it is sound.

    `usable` are the reachable primaries; `fallback` becomes the owner of a slot that nobody claims or holds keys of.
    """
    if facts.sound:
        return None
    owner, why = _choose_owner(facts, usable, fallback)
    others = tuple(sorted(node for node in facts.keys if node != owner and node in usable))
    marked = tuple(sorted({*facts.migrating, *facts.importing}))
    return SlotRepair(owner, facts.serving, others, marked, why)


def _choose_owner(facts: SlotFacts, usable: Sequence[str], fallback: str) -> tuple[str, str]:
    serving = facts.serving
    if serving is None:
        if facts.keys:
            return min(facts.keys, key=lambda node: (-facts.keys[node], node)), "unowned: to the holder of its keys"
        return fallback, "unowned and empty"
    target = _move_target(facts, serving, usable)
    if target is not None:
        return target, "half-moved: finish the move"
    if len(facts.claims) > 1:
        return serving, "several owners: the latest stays"
    if facts.migrating or facts.importing:
        return serving, "half-moved: keep the owner"
    return serving, "keys outside the owner"


def _move_target(facts: SlotFacts, serving: str, usable: Sequence[str]) -> str | None:
    """Where an interrupted move was going, if part of the keys has arrived there already.

    A move that has carried nothing yet is cheaper to undo. When the target itself is gone, its replica, promoted
    meanwhile, holds what had arrived: then the move is finished to that holder. Taking those keys back instead would
    for a while hide them from clients, who would write new ones in their place.
    """
    wanted = facts.migrating.get(serving)
    candidates = [node for node in sorted(facts.importing) if node != serving]
    if wanted is not None:
        holders = sorted(facts.keys, key=lambda node: (-facts.keys[node], node))
        heirs = [] if wanted in usable else [node for node in holders if node != serving]
        candidates = [wanted, *candidates, *heirs]
    return next((node for node in candidates if node in usable and facts.keys.get(node)), None)


def group_repairs(repairs: Iterable[tuple[int, SlotRepair]]) -> list[tuple[SlotRepair, SlotSet]]:
    """Slots with equal repairs together, so that each step can be done for many slots at once."""
    grouped: dict[SlotRepair, list[int]] = {}
    for slot, repair in repairs:
        grouped.setdefault(repair, []).append(slot)
    return [(repair, SlotSet(slots)) for repair, slots in grouped.items()]
