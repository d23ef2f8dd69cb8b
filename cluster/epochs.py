"""The logical clocks of the cluster, and the rule for two primaries with the same one.

``current_epoch`` is the greatest epoch heard of; each election takes the next. A primary's ``config_epoch`` is the
epoch in which it last won (or was given) its slots: of two claims on a slot the greater config epoch wins.
``last_vote_epoch`` is the last epoch in which this node voted: at most one vote per epoch.

None of them ever falls, across restarts too: the core persists a new value, synced, before any message tells it.
"""

from __future__ import annotations

from attrs import define

from slotmesh.cluster.members import Members
from slotmesh.cluster.numbers import INT64_MAX

MOST_CREDIBLE_EPOCH = 2**62
CREDIBLE_STEP = 2**16


def is_credible(told: int, known: int) -> bool:
    """Whether an epoch that somebody tells can be one: elections count them up by one, from 0.

    Stock takes every epoch to heart, and its counter wraps around after 2**64 - 1. Here nobody is led near the end of
    the range: up to 2**62 everything is believed, and beyond that only what our own epoch (``known``) may have grown
    to since we heard last, so that a cluster that was told 2**62 can still count on.
    """
    return told <= MOST_CREDIBLE_EPOCH or told <= min(known + CREDIBLE_STEP, INT64_MAX)


@define
class Epochs:
    """The epochs that belong to this node rather than to one member."""

    current_epoch: int = 0
    last_vote_epoch: int = 0

    def observe(self, epoch: int) -> bool:
        """Take note of an epoch heard; true when it is news."""
        if epoch <= self.current_epoch:
            return False
        self.current_epoch = epoch
        return True

    def advance(self, at_least: int = 0) -> int:
        """Start a new epoch, greater than any heard of and not less than ``at_least``."""
        self.current_epoch = max(self.current_epoch + 1, at_least)
        return self.current_epoch

    def may_vote(self, epoch: int) -> bool:
        """Whether a vote in ``epoch`` is still to be given."""
        return epoch >= self.current_epoch and self.last_vote_epoch < epoch

    def spend_vote(self, epoch: int) -> None:
        """Record the vote; it counts once the record is on disk."""
        assert self.may_vote(epoch)
        self.last_vote_epoch = epoch


def must_yield_epoch(my_id: str, other_id: str) -> bool:
    """Two primaries have the same config epoch: whether the one called ``my_id`` is to take a new one.

    The smaller id moves, so that of any number of colliding nodes exactly one stays (stock rule).
    """
    return my_id < other_id


def holds_greatest_epoch(members: Members, epochs: Epochs) -> bool:
    """Whether our own config epoch is non-zero and no epoch known is greater."""
    mine = members.myself.config_epoch
    return mine != 0 and mine == max(members.max_config_epoch(), epochs.current_epoch)
