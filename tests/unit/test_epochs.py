"""Tests of ``cluster.epochs``: votes once per epoch, epochs that only grow, and collisions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.cluster.epochs import Epochs, holds_greatest_epoch, must_yield_epoch
from slotmesh.cluster.members import Member, Members
from slotmesh.cluster.terms import FLAG_PRIMARY


@given(st.lists(st.tuples(st.sampled_from(["observe", "advance", "vote"]), st.integers(0, 12)), max_size=30))
def test_epochs_under_any_use_never_fall_and_vote_once(uses: list[tuple[str, int]]) -> None:
    epochs = Epochs()
    voted: list[int] = []
    for use, number in uses:
        before = (epochs.current_epoch, epochs.last_vote_epoch)
        if use == "observe":
            assert epochs.observe(number) == (number > before[0])
        elif use == "advance":
            assert epochs.advance(number) >= number
            assert epochs.current_epoch > before[0]
        elif epochs.may_vote(number):
            epochs.spend_vote(number)
            voted.append(number)
        assert epochs.current_epoch >= before[0]
        assert epochs.last_vote_epoch >= before[1]
    assert voted == sorted(set(voted))


def test_vote_in_an_older_epoch_than_known_is_not_given() -> None:
    epochs = Epochs(current_epoch=5, last_vote_epoch=2)
    assert not epochs.may_vote(4)
    assert epochs.may_vote(5)
    epochs.spend_vote(5)
    assert not epochs.may_vote(5)


def test_of_two_colliding_primaries_the_smaller_id_moves() -> None:
    assert must_yield_epoch("0" * 40, "1" * 40)
    assert not must_yield_epoch("1" * 40, "0" * 40)


@pytest.mark.parametrize(
    ("mine", "other", "current", "greatest"),
    [(0, 0, 0, False), (3, 2, 3, True), (3, 3, 3, True), (3, 4, 4, False), (3, 2, 5, False)],
)
def test_holds_greatest_epoch_compares_with_all_known(mine: int, other: int, current: int, greatest: bool) -> None:
    members = Members(Member("0" * 40, role=FLAG_PRIMARY, is_myself=True, config_epoch=mine))
    members.add(Member("1" * 40, role=FLAG_PRIMARY, config_epoch=other))
    assert holds_greatest_epoch(members, Epochs(current_epoch=current)) == greatest
