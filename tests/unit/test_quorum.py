from __future__ import annotations

import pytest

from slotmesh.cluster.quorum import front_runner, majority, tally, votes_to_win


@pytest.mark.parametrize(("voters", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (1000, 501)])
def test_majority_of_n_voters_is_more_than_half(voters: int, needed: int) -> None:
    assert majority(voters) == needed


def test_two_majorities_always_share_a_voter() -> None:
    assert all(2 * majority(voters) > voters for voters in range(1, 200))


@pytest.mark.parametrize("voters", [0, -1])
def test_majority_of_nobody_is_refused(voters: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        majority(voters)


@pytest.mark.parametrize(("voters", "quorum", "needed"), [(5, 1, 3), (5, 4, 4), (3, 2, 2), (1, 1, 1)])
def test_votes_to_win_is_the_larger_of_majority_and_quorum(voters: int, quorum: int, needed: int) -> None:
    assert votes_to_win(voters, quorum) == needed


def test_front_runner_with_a_tie_is_who_was_counted_first() -> None:
    counts = tally(["b", "a", "a", "b", "c"])
    assert counts == {"b": 2, "a": 2, "c": 1}
    assert front_runner(counts) == "b"
    assert front_runner({}) is None
