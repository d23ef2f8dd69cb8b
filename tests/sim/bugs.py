"""Deliberate bugs, to prove that the simulator has teeth.

Each one breaks a single rule of the real core while its context is open; a run of the simulator must then fail, and its
seed must replay the same failure. They are for tests and for ``python -m tests.sim --bug NAME``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from cluster.election import Ballot, Candidate
from cluster.epochs import Epochs
from cluster.guard import Guard, GuardReply
from cluster.members import Member, Members
from cluster.messages import OpenSlots
from cluster.open_slots import OpenSlotSharing
from cluster.view import ClusterView


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

    def save(self: ClusterView, *, sync: bool = False) -> None:
        real_save(self, sync=False)

    with patch.object(ClusterView, "save", save):
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
        arrived_ms = self._view.now_ms if echo_ms else 0
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


GUARD_BUGS = {"no-fence": no_fence, "lease-from-arrival": lease_from_arrival}

BUGS = {
    "double-vote": double_vote,
    "unsynced-vote": unsynced_vote,
    "lonely-winner": lonely_winner,
    "reused-epoch": reused_epoch,
    "deaf-replica": deaf_replica,
}
