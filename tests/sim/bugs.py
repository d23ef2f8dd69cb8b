"""Deliberate bugs, to prove that the simulator has teeth.

Each one breaks a single rule of the real core while its context is open; a run of the simulator must then fail, and its
seed must replay the same failure. They are for tests and for ``python -m tests.sim --bug NAME`` (those of the
sentinels: ``tests.sim.sentinel_run``). The hint how to replay a failure names the bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

from slotmesh.cluster.admin import Admin
from slotmesh.cluster.election import Ballot, Candidate
from slotmesh.cluster.epochs import Epochs
from slotmesh.cluster.guard import Guard, GuardReply
from slotmesh.cluster.members import Member, Members
from slotmesh.cluster.messages import OpenSlots
from slotmesh.cluster.open_slots import OpenSlotSharing
from slotmesh.cluster.view import ClusterView
from slotmesh.sentinel import selection
from slotmesh.sentinel.election import Election
from slotmesh.sentinel.failover import Failover
from slotmesh.sentinel.instance import Hold, Unit
from slotmesh.sentinel.leases import Leases
from slotmesh.sentinel.state import Context
from tests.sim.lag import Lag

Bug = Callable[[], AbstractContextManager[None]]


@contextmanager
def double_vote() -> Iterator[None]:
    """A voter does not remember that it voted in this epoch."""

    def may_vote(self: Epochs, epoch: int) -> bool:
        return epoch >= self.current_epoch

    with patch.object(Epochs, "may_vote", may_vote):
        yield


@contextmanager
def unsynced_vote() -> Iterator[None]:
    """State is written but not synced, so a crash of the machine forgets votes and epochs."""
    real_save = ClusterView.save

    def save(self: ClusterView, *, write: bool = False, sync: bool = False) -> None:
        real_save(self, write=write or sync)

    with patch.object(ClusterView, "save", save):
        yield


@contextmanager
def unsynced_import() -> Iterator[None]:
    """A node that closes an import answers before its new slot would survive the machine, as stock does."""
    real_changed = Admin._slots_changed

    def slots_changed(self: Admin, *, sync: bool = False) -> None:
        real_changed(self)

    with patch.object(Admin, "_slots_changed", slots_changed):
        yield


@contextmanager
def lonely_winner() -> Iterator[None]:
    """A candidate takes over with one vote, whatever the majority is."""
    real_advance = Candidate.advance
    real_majority = Members.majority

    def advance(self: Candidate) -> None:
        with patch.object(Members, "majority", lambda members: 1):
            real_advance(self)

    with patch.object(Candidate, "advance", advance):
        yield
    assert Members.majority is real_majority


@contextmanager
def reused_epoch() -> Iterator[None]:
    """A candidate asks for votes in the present epoch instead of a new one."""

    def ask(self: Candidate, ballot: Ballot) -> None:
        epochs = self._view.epochs
        epochs.current_epoch -= 1
        real_ask(self, ballot)

    real_ask = Candidate._ask_for_votes
    with patch.object(Candidate, "_ask_for_votes", ask):
        yield


@contextmanager
def no_fence() -> Iterator[None]:
    """A primary goes on accepting writes when its leases have run out (for ``guarded_world``)."""

    def is_fenced(self: Guard, now_ms: int) -> bool:
        return False

    with patch.object(Guard, "is_fenced", is_fenced):
        yield


@contextmanager
def lease_from_arrival() -> Iterator[None]:
    """A lease runs from the arrival of the ping instead of from the echoed clock (for ``guarded_world``)."""
    real_on_guard = Guard.on_guard

    def on_guard(
        self: Guard, name: str, sentinel_id: str, lease_ms: int, voters: int, echo_ms: int, *, watch: bool = False
    ) -> GuardReply:
        arrived_ms = self._node.now_ms if echo_ms else 0
        return real_on_guard(self, name, sentinel_id, lease_ms, voters, arrived_ms, watch=watch)

    with patch.object(Guard, "on_guard", on_guard):
        yield


@contextmanager
def deaf_replica() -> Iterator[None]:
    """A replica does not take over the open slots that its primary tells."""

    def on_told(self: OpenSlotSharing, sender: Member, told: OpenSlots) -> None:
        return

    with patch.object(OpenSlotSharing, "on_told", on_told):
        yield


@contextmanager
def outliving_hold() -> Iterator[None]:
    """A voter leases nobody for ten seconds, also when its vote was given back (for the sentinels' worlds)."""

    def hold(self: Leases, unit: Unit, epoch: int, candidate: str) -> None:
        if self.leased(unit):
            unit.holds[epoch] = Hold(candidate, self._ctx.now_ms + 10_000)
            self.renew(unit.primary)

    def drop_hold(self: Leases, unit: Unit, epoch: int, candidate: str) -> None:
        return

    with patch.object(Leases, "hold", hold), patch.object(Leases, "drop_hold", drop_hold):
        yield


@contextmanager
def block_after_failure() -> Iterator[None]:
    """After a failed attempt, or a vote for another's, there is none for twice the failover timeout, as in stock (for
    the sentinels' worlds).
    """
    real_abort, real_lost, real_give_way = Failover.abort, Election.lost, Election._give_way

    def block(ctx: Context, unit: Unit) -> None:
        unit.failover.blocked_until_ms = ctx.now_ms + 2 * unit.settings.failover_timeout_ms

    def abort(self: Failover, unit: Unit, why: str) -> None:
        real_abort(self, unit, why)
        block(self._ctx, unit)

    def lost(self: Election, unit: Unit, winner: str | None) -> None:
        real_lost(self, unit, winner)
        block(self._ctx, unit)

    def give_way(self: Election, unit: Unit, leader: str) -> None:
        real_give_way(self, unit, leader)
        block(self._ctx, unit)

    def nothing(self: Election, unit: Unit) -> None:
        return

    with (
        patch.object(Failover, "abort", abort),
        patch.object(Election, "lost", lost),
        patch.object(Election, "_give_way", give_way),
        patch.object(Election, "_line_up", nothing),
        patch.object(Election, "stand_down", nothing),
    ):
        yield


@contextmanager
def first_up_wins() -> Iterator[None]:
    """A replica that started without its primary is promoted at once (for the sentinels' worlds)."""
    with patch.object(selection, "head_start_over_ms", lambda replica: 0):
        yield


@contextmanager
def undrained_promotion() -> Iterator[None]:
    """A replica is promoted without what it has received and not applied yet (for the sentinels' worlds)."""

    def drain(self: Lag, applied: int) -> int:
        return applied

    with patch.object(Lag, "drain", drain):
        yield


_planted = ""


def bug_option() -> str:
    """The option that plants the present bug, with a blank behind it; empty without one. For hints how to replay."""
    return f"--bug {_planted} " if _planted else ""


def _named(bugs: dict[str, Bug]) -> dict[str, Bug]:
    """The same bugs, each known by its name while it is planted."""

    def with_name(name: str, plant: Bug) -> Bug:
        @contextmanager
        def planted() -> Iterator[None]:
            global _planted
            _planted = name
            try:
                with plant():
                    yield
            finally:
                _planted = ""

        return planted

    return {name: with_name(name, plant) for name, plant in bugs.items()}


GUARD_BUGS = _named({"no-fence": no_fence, "lease-from-arrival": lease_from_arrival})

SENTINEL_BUGS = _named(
    {
        "outliving-hold": outliving_hold,
        "block-after-failure": block_after_failure,
        "first-up-wins": first_up_wins,
        "undrained-promotion": undrained_promotion,
        "no-fence": no_fence,
    }
)

BUGS = _named(
    {
        "double-vote": double_vote,
        "unsynced-vote": unsynced_vote,
        "unsynced-import": unsynced_import,
        "lonely-winner": lonely_winner,
        "reused-epoch": reused_epoch,
        "deaf-replica": deaf_replica,
    }
)
