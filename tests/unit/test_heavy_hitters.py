"""The heaviest of many names in little room: what the algorithm promises, for any sequence."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.observe.heavy_hitters import HeavyHitters

_NAMES = st.integers(0, 30).map(lambda n: b"%d" % n)


@given(st.lists(st.tuples(_NAMES, st.integers(0, 1000)), max_size=300), st.integers(1, 12))
def test_weights_are_never_too_small_and_too_large_by_a_share_of_the_total(
    added: list[tuple[bytes, int]], capacity: int
) -> None:
    hitters, truth = HeavyHitters(capacity), Counter[bytes]()
    for name, weight in added:
        hitters.add(name, weight)
        truth[name] += weight
    share = hitters.total / capacity
    assert hitters.total == sum(truth.values())
    assert len(hitters.weights) <= capacity
    assert sum(hitters.weights.values()) == hitters.total
    for name, weight in hitters.weights.items():
        assert truth[name] <= weight <= truth[name] + share
    for name, weight in truth.items():
        assert name in hitters.weights or weight <= share


def test_few_names_are_weighed_exactly() -> None:
    hitters = HeavyHitters(3)
    for name, weight in ((b"a", 5), (b"b", 7), (b"a", 5), (b"c", 1)):
        hitters.add(name, weight)
    assert hitters.heaviest(2) == [(b"a", 10), (b"b", 7)]
    assert hitters.heaviest(10) == [(b"a", 10), (b"b", 7), (b"c", 1)]


def test_hot_names_are_found_among_a_hundred_thousand() -> None:
    rng = random.Random(1)
    hitters = HeavyHitters(100)
    hot = [b"hot:%d" % n for n in range(10)]
    for _ in range(100_000):
        name = rng.choice(hot) if rng.random() < 0.3 else b"%d" % rng.randrange(100_000)
        hitters.add(name, 1)
    assert {name for name, _ in hitters.heaviest(10)} == set(hot)
