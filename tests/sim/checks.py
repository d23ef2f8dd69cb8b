"""What must hold whatever happens (safety), and what must come about once nothing bad happens any more (liveness).

Safety is checked on every effect and after every step, against a ledger kept outside the nodes, so no crash can hide a
broken promise:

- a node votes at most once per epoch, across restarts;
- a vote, the epoch of an election that a node starts, and the config epoch that it claims are on disk, synced, before
  the message that tells them is sent; a batch has its ``Persist`` first;
- no epoch a node tells is ever less than one it told before: its own config epoch as long as it exists, its current one
  as long as the process lives (what it only heard it may forget with its process);
- an election is won with the votes of a majority of the primaries with slots, all given to the winner in that epoch;
- within one config epoch a slot has at most one owner that would accept writes for it (config epochs taken without
  consensus, by TAKEOVER or by closing an import, excepted: stock gives no such promise for them).
"""

from __future__ import annotations

from attrs import define, field

from slotmesh.cluster.effects import Effect, ElectionStarted, ElectionWon, Persist, RoleChanged, Send
from slotmesh.cluster.messages import AuthAck, AuthRequest
from slotmesh.cluster.slot_set import ALL_SLOTS, NO_SLOTS, SlotSet
from tests.sim.node import Observer, SimNode


class SafetyViolation(AssertionError):
    """A promise was broken; the text says which."""


@define
class Told:
    """The greatest epochs a node has told others; the current one by its process of this ``incarnation``."""

    incarnation: int = 0
    current_epoch: int = 0
    config_epoch: int = 0


@define
class Safety(Observer):
    """The ledger and its rules."""

    votes: dict[tuple[str, int], str] = field(factory=dict)
    """(voter, epoch) -> link and receiver of the vote."""
    ballots: dict[int, dict[str, set[str]]] = field(factory=dict)
    """epoch -> candidate -> voters."""
    winners: dict[int, str] = field(factory=dict)
    told: dict[str, Told] = field(factory=dict)
    claims: dict[int, list[tuple[str, SlotSet]]] = field(factory=dict)
    """config epoch -> who would accept writes for which slots in it."""
    unconsented_epochs: set[int] = field(factory=set)
    _last_claim: dict[str, tuple[int, SlotSet]] = field(factory=dict)
    _winning: dict[str, int] = field(factory=dict)

    def on_effect(self, node: SimNode, effect: Effect, position: int) -> None:
        if isinstance(effect, Send):
            self._on_send(node, effect)
        elif isinstance(effect, Persist):
            if position != 0:
                raise SafetyViolation(f"{node.address}: Persist is not the first effect of its batch")
        elif isinstance(effect, ElectionWon):
            self._on_won(node, effect.epoch)
        elif isinstance(effect, RoleChanged):
            self._on_role(node, effect)
        elif isinstance(effect, ElectionStarted) and effect.epoch > node.disk.synced_epoch:
            raise SafetyViolation(f"{node.address}: election in epoch {effect.epoch}, which is not on disk")

    def _on_send(self, node: SimNode, effect: Send) -> None:
        header = effect.message.header
        told = self.told.setdefault(header.sender, Told())
        if told.incarnation != node.incarnation:
            told.incarnation, told.current_epoch = node.incarnation, 0
        if isinstance(effect.message, AuthRequest) and header.current_epoch > node.disk.synced_epoch:
            raise SafetyViolation(f"{node.address} stands in epoch {header.current_epoch} before it is on disk")
        if header.current_epoch < told.current_epoch:
            raise SafetyViolation(f"{node.address} tells epoch {header.current_epoch} after {told.current_epoch}")
        told.current_epoch = header.current_epoch
        if not header.primary_id:
            if header.config_epoch < told.config_epoch:
                raise SafetyViolation(
                    f"{node.address} tells config epoch {header.config_epoch} after {told.config_epoch}"
                )
            told.config_epoch = header.config_epoch
            if header.config_epoch > node.disk.synced_config_epoch:
                raise SafetyViolation(f"{node.address} claims config epoch {header.config_epoch} before it is on disk")
        if isinstance(effect.message, AuthAck):
            self._on_vote(node, effect)

    def _on_vote(self, node: SimNode, effect: Send) -> None:
        voter = effect.message.header.sender
        epoch = effect.message.header.current_epoch
        link = node.core.view.links.get(effect.link)
        candidate = link.member.node_id if link is not None and link.member is not None else "unknown"
        if (voter, epoch) in self.votes:
            raise SafetyViolation(
                f"{node.address} votes twice in epoch {epoch}: for {self.votes[voter, epoch][:8]} and {candidate[:8]}"
            )
        self.votes[voter, epoch] = candidate
        self.ballots.setdefault(epoch, {}).setdefault(candidate, set()).add(voter)
        if node.disk.synced_vote_epoch < epoch:
            raise SafetyViolation(f"{node.address} sends its vote in epoch {epoch} before it is on disk")

    def _on_won(self, node: SimNode, epoch: int) -> None:
        node_id = node.core.view.myself.node_id
        votes = len(self.ballots.get(epoch, {}).get(node_id, ()))
        needed = node.core.view.members.majority()
        if votes < needed:
            raise SafetyViolation(f"{node.address} wins epoch {epoch} with {votes} votes of {needed} needed")
        if self.winners.setdefault(epoch, node_id) != node_id:
            raise SafetyViolation(f"epoch {epoch} is won by {node.address} and by {self.winners[epoch][:8]}")
        self._winning[node_id] = epoch

    def _on_role(self, node: SimNode, effect: RoleChanged) -> None:
        me = node.core.view.myself
        if effect.primary_id:
            return
        if effect.why == "election":
            won = self._winning.pop(me.node_id, 0)
            if won != me.config_epoch:
                raise SafetyViolation(f"{node.address} takes config epoch {me.config_epoch} after winning {won}")
        elif effect.why in ("takeover", "sentinel"):
            self.unconsented_epochs.add(me.config_epoch)
        else:
            raise SafetyViolation(f"{node.address} became primary by {effect.why}")

    def note_unconsented(self, node: SimNode) -> None:
        """The node may have taken its config epoch without asking anybody (an order to do so was given)."""
        self.unconsented_epochs.add(node.core.view.myself.config_epoch)

    def on_settled(self, node: SimNode) -> None:
        view = node.core.view
        me = view.myself
        if not node.may_write:
            self._last_claim.pop(node.address, None)
            return
        claim = (me.config_epoch, me.slots)
        if self._last_claim.get(node.address) == claim:
            return
        self._last_claim[node.address] = claim
        if me.config_epoch in self.unconsented_epochs:
            return
        others = self.claims.setdefault(me.config_epoch, [])
        for node_id, slots in others:
            if node_id != me.node_id and slots & me.slots:
                raise SafetyViolation(
                    f"slots {(slots & me.slots).to_text()[:40]} have two writable owners in config epoch "
                    f"{me.config_epoch}: {node_id[:8]} and {me.node_id[:8]}"
                )
        others.append((me.node_id, me.slots))


def describe_disagreement(nodes: list[SimNode]) -> str:
    """What is still missing for all nodes to agree on one working cluster; empty when nothing is."""
    for node in nodes:
        if not node.up:
            return f"{node.address} is down"
        if not node.core.view.cluster_ok:
            return f"{node.address} says cluster_state:fail"
    ids = {node.core.view.myself.node_id: node for node in nodes}
    covered = NO_SLOTS
    for node in nodes:
        me = node.core.view.myself
        if me.is_primary:
            if me.slots & covered:
                return f"{node.address} claims slots that another one claims too"
            covered |= me.slots
        elif me.primary is None or not ids[me.primary.node_id].core.view.myself.is_primary:
            return f"{node.address} replicates no primary"
    if covered != ALL_SLOTS:
        return f"slots nobody claims: {(ALL_SLOTS - covered).to_text()[:60]}"
    return _first_difference(nodes, ids)


def _first_difference(nodes: list[SimNode], ids: dict[str, SimNode]) -> str:
    epochs: dict[int, str] = {}
    for node in nodes:
        view = node.core.view
        for node_id, other in ids.items():
            seen = view.members.get(node_id)
            real = other.core.view.myself
            if seen is None:
                return f"{node.address} does not know {other.address}"
            if seen.failed or seen.pfail:
                return f"{node.address} holds {other.address} for failing"
            if seen.role != real.role or seen.slots != real.slots:
                return f"{node.address} has an outdated view of {other.address}"
            if real.is_primary and seen.config_epoch != real.config_epoch:
                return f"{node.address} has an outdated config epoch of {other.address}"
            seen_primary = seen.primary.node_id if seen.primary is not None else ""
            real_primary = real.primary.node_id if real.primary is not None else ""
            if seen_primary != real_primary:
                return f"{node.address} has an outdated primary of {other.address}"
        me = view.myself
        shard = ids[me.shard_primary.node_id] if me.shard_primary is not None else node
        if view.slots.opened() != shard.core.view.slots.opened():
            return f"{node.address} does not know the open slots of its primary"
        if me.is_primary and epochs.setdefault(me.config_epoch, node.address) != node.address:
            return f"{node.address} and {epochs[me.config_epoch]} have the same config epoch"
    return ""


__all__ = ["Safety", "SafetyViolation", "describe_disagreement"]
