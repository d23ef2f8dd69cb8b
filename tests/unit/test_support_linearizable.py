"""The checker of histories accepts what a register can do and nothing else."""

from __future__ import annotations

import random

import pytest

from tests.support.linearizable import INITIAL, Operation, why_not_linearizable


def write(start: float, end: float, value: object) -> Operation:
    return Operation(start, end, True, value)


def read(start: float, end: float, value: object) -> Operation:
    return Operation(start, end, False, value)


@pytest.mark.parametrize(
    ("history", "contradiction"),
    [
        ([], ""),
        ([read(0, 1, INITIAL), write(2, 3, "a"), read(4, 5, "a")], ""),
        ([write(0, 10, "a"), read(1, 2, INITIAL), read(3, 4, "a")], ""),
        ([write(0, 1, "a"), write(2, 9, "b"), read(3, 4, "b"), read(5, 6, "b")], ""),
        ([write(0, 9, "a"), write(1, 8, "b"), read(2, 7, "a")], ""),
        ([read(0, 1, "a"), write(2, 3, "a")], "'a' was read before its write began"),
        ([read(0, 1, "a")], "'a' was read but written 0 times"),
        ([write(0, 1, "a"), read(2, 3, INITIAL)], "'a' came and went while None was held"),
        (
            [write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "b"), read(4, 5, "a")],
            "'a' and 'b' were held at the same time",
        ),
        ([write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "a")], "'b' came and went while 'a' was held"),
        (
            [write(0, 9, "a"), write(0, 9, "b"), read(1, 2, "a"), read(3, 4, "b"), read(5, 6, "a")],
            "'b' came and went while 'a' was held",
        ),
    ],
)
def test_contradictions_of_small_histories(history: list[Operation], contradiction: str) -> None:
    assert why_not_linearizable(history) == contradiction


@pytest.mark.parametrize("seed", range(20))
def test_history_made_from_a_register_is_accepted_and_a_stale_read_is_not(seed: int) -> None:
    rng = random.Random(seed)
    value: object = INITIAL
    history: list[Operation] = []
    for point in range(1, 200):
        start, end = point - rng.random() * 5, point + rng.random() * 5
        if rng.random() < 0.3:
            value = point
            history.append(write(start, end, value))
        else:
            history.append(read(start, end, value))
    assert why_not_linearizable(history) == ""
    first = next(operation.value for operation in history if operation.is_write)
    assert why_not_linearizable([*history, read(300, 301, first)]) != ""
