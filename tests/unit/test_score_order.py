"""The order of large sorted sets, with buckets so small that they split and merge all the time."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

import pytest

from slotmesh.node.types import score_order
from slotmesh.node.types.score_order import Pair, ScoreOrder


@pytest.fixture(params=[(2, 1, 1, 3), (8, 6, 2, 2), (1024, 768, 128, 32)], ids=["tiny", "small", "real"], autouse=True)
def sizes(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, size in zip(("_MOST", "_FULL", "_FEW", "_BLOCK"), request.param, strict=True):
            patch.setattr(score_order, name, size)
        yield


def _check(order: ScoreOrder, model: list[Pair], rng: random.Random) -> None:
    assert list(order) == model
    start = rng.randint(0, len(model))
    stop = rng.randint(start, len(model))
    assert order.slice(start, stop) == model[start:stop]
    assert order.members(start, stop) == [member for _, member in model[start:stop]]
    if model:
        rank = rng.randrange(len(model))
        assert order.at(rank) == model[rank]
    score, member = float(rng.randint(-1, 6)), b"%d" % rng.randrange(40)
    assert order.rank(score, member) == bisect_left(model, (score, member))
    assert order.first_from(score) == bisect_left(model, score, key=lambda pair: pair[0])
    assert order.first_above(score) == bisect_right(model, score, key=lambda pair: pair[0])


def _any_pair(rng: random.Random) -> Pair:
    """Few scores, so that equal ones reach over several buckets."""
    return float(rng.randrange(6)), b"%d" % rng.randrange(40)


@pytest.mark.parametrize("seed", range(6))
def test_order_after_any_changes_is_that_of_a_sorted_list(seed: int) -> None:
    rng = random.Random(seed)
    model: list[Pair] = sorted({_any_pair(rng) for _ in range(60)})
    order = ScoreOrder(model)
    for step in range(800):
        pair = _any_pair(rng)
        action = rng.random()
        if action < 0.5 + 0.3 * (-1) ** (step // 100):  # it grows and shrinks in turn
            if pair not in model:
                order.add(*pair)
                insort(model, pair)
        elif action < 0.99:
            if model:
                pair = rng.choice(model)
                order.remove(*pair)
                model.remove(pair)
        else:
            start = rng.randint(0, len(model))
            stop = rng.randint(start, min(len(model), start + 30))
            assert order.delete_slice(start, stop) == model[start:stop]
            del model[start:stop]
        _check(order, model, rng)


def test_order_that_lost_everything_can_grow_again() -> None:
    order = ScoreOrder([(1.0, b"a"), (2.0, b"b"), (3.0, b"c")])
    assert order.delete_slice(0, 3) == [(1.0, b"a"), (2.0, b"b"), (3.0, b"c")]
    assert list(order) == []
    assert (order.rank(1.0, b"a"), order.first_from(1.0), order.first_above(1.0)) == (0, 0, 0)
    order.add(5.0, b"x")
    order.add(4.0, b"y")
    assert list(order) == [(4.0, b"y"), (5.0, b"x")]


def test_copy_of_an_order_is_independent() -> None:
    order = ScoreOrder([(float(i), b"%d" % i) for i in range(20)])
    twin = order.copy()
    twin.remove(3.0, b"3")
    twin.add(99.0, b"z")
    assert len(list(order)) == 20
    assert order.rank(99.0, b"z") == 20
    assert twin.rank(99.0, b"z") == 19
