"""Majority and quorum arithmetic, shared by the cluster's elections and the sentinels'.

Two different words that are easy to mix up:

- the *majority* of N voters is floor(N/2) + 1. It authorises: any two majorities of the same voters share at least one
  member, so whatever a majority has granted once per epoch cannot be granted twice. Nothing below a majority is safe.
- the *quorum* is a number an operator configures: how many observers must agree that a primary is down before anybody
  acts. It only declares. It may be smaller or larger than the majority; a failover needs both.

No state, no time, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable


def majority(voters: int) -> int:
    """The smallest number of votes that two rivals cannot both have among `voters` voters (which must be >= 1)."""
    if voters < 1:
        raise ValueError(f"a majority needs at least one voter, not {voters}")
    return voters // 2 + 1


def votes_to_win(voters: int, quorum: int) -> int:
    """Votes a failover leader needs: the majority, and never fewer than the configured quorum."""
    return max(majority(voters), quorum)


def tally(ballots: Iterable[str]) -> dict[str, int]:
    """Votes per candidate, in the order of first appearance (so that ties resolve the same way everywhere)."""
    counts: dict[str, int] = {}
    for candidate in ballots:
        counts[candidate] = counts.get(candidate, 0) + 1
    return counts


def front_runner(counts: dict[str, int]) -> str | None:
    """The candidate with most votes; among equals the one counted first; None without votes."""
    best: str | None = None
    for candidate, votes in counts.items():
        if best is None or votes > counts[best]:
            best = candidate
    return best
