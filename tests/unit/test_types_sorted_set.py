"""SortedSetValue against a dict that is sorted anew for each question; small ones and those above the switch."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.types import sorted_set
from slotmesh.node.types.score_order import Pair
from slotmesh.node.types.sorted_set import LexBound, ScoreBound, SortedSetValue

members = st.sampled_from([b"a", b"b", b"c", b"d", b"", b"aa", b"\xff"])
scores = st.sampled_from([0.0, -0.0, 1.0, 2.5, -1.0, math.inf, -math.inf, 5e-324])
operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), members, scores),
        st.tuples(st.just("remove"), members, st.just(0.0)),
        st.tuples(st.just("cut"), st.just(b""), scores),
    ),
    max_size=40,
)


def ordered(model: dict[bytes, float]) -> list[Pair]:
    return sorted((score, member) for member, score in model.items())


@pytest.fixture(params=[2, 1024], ids=["buckets", "list"])
def small(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@given(operations)
def _check_operations(steps: list[tuple[str, bytes, float]]) -> None:
    value, model = SortedSetValue(), dict[bytes, float]()
    for name, member, score in steps:
        if name == "put":
            assert value.put(member, score) == model.get(member)
            if model.get(member) != score:
                model[member] = score
        elif name == "remove":
            assert value.remove(member) == (model.pop(member, None) is not None)
        else:
            start, stop = value.score_span((score, True), (math.inf, False))
            gone = value.delete_slice(start, max(start, stop))
            assert gone == [pair for pair in ordered(model) if pair[0] > score]
            for _, one in gone:
                del model[one]
        assert value.scores == model
        assert list(value) == ordered(model)
        for rank, (_, one) in enumerate(ordered(model)):
            assert value.rank(one) == rank
            assert value.at(rank)[1] == one
        assert value.rank(b"nobody") is None


def test_sorted_set_any_operations_match_model(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_set, "_SMALL", small)
    _check_operations()


bounds = st.tuples(scores, st.booleans())


@given(st.dictionaries(members, scores), bounds, bounds)
def test_sorted_set_score_span_matches_filter(held: dict[bytes, float], low: ScoreBound, high: ScoreBound) -> None:
    value = SortedSetValue(dict(held))
    start, stop = value.score_span(low, high)
    expected = [
        pair
        for pair in ordered(held)
        if (pair[0] > low[0] if low[1] else pair[0] >= low[0])
        and (pair[0] < high[0] if high[1] else pair[0] <= high[0])
    ]
    assert (value.slice(start, stop) if start < stop else []) == expected


lex_bounds = st.one_of(
    st.sampled_from([(-1, b"", True), (1, b"", True)]), st.tuples(st.just(0), members, st.booleans())
)


def _within(member: bytes, low: LexBound, high: LexBound) -> bool:
    above = low[0] < 0 or (not low[0] and (member > low[1] if low[2] else member >= low[1]))
    below = high[0] > 0 or (not high[0] and (member < high[1] if high[2] else member <= high[1]))
    return above and below


@given(st.sets(members), lex_bounds, lex_bounds)
def test_sorted_set_lex_span_of_equal_scores_matches_filter(held: set[bytes], low: LexBound, high: LexBound) -> None:
    value = SortedSetValue(dict.fromkeys(sorted(held), 7.0))
    start, stop = value.lex_span(low, high)
    found = [member for _, member in value.slice(start, stop)] if start < stop else []
    assert found == [member for member in sorted(held) if _within(member, low, high)]


@pytest.mark.parametrize(
    ("held", "encoding"),
    [
        ({b"m%d" % i: 1.0 for i in range(128)}, b"listpack"),
        ({b"m%d" % i: 1.0 for i in range(129)}, b"skiplist"),
        ({b"x" * 64: 1.0}, b"listpack"),
        ({b"x" * 65: 1.0}, b"skiplist"),
    ],
)
def test_sorted_set_encoding_follows_stock(held: dict[bytes, float], encoding: bytes) -> None:
    one_by_one = SortedSetValue()
    for member, score in held.items():
        one_by_one.put(member, score)
    assert one_by_one.encoding() == encoding
    assert SortedSetValue(dict(held)).encoding() == encoding
    one_by_one.remove(next(iter(held)))
    assert one_by_one.encoding() == encoding


def test_sorted_set_negative_zero_is_kept_only_outside_listpacks() -> None:
    packed = SortedSetValue()
    packed.put(b"a", -0.0)
    assert math.copysign(1, packed.scores[b"a"]) == 1
    grown = SortedSetValue()
    grown.put(b"x" * 65, -0.0)
    assert math.copysign(1, grown.scores[b"x" * 65]) == -1
    large = SortedSetValue({b"x" * 65: 1.0})
    large.put(b"a", -0.0)
    assert math.copysign(1, large.scores[b"a"]) == -1


def test_sorted_set_grown_large_stays_in_order() -> None:
    rng = random.Random(3)
    value, model = SortedSetValue(), dict[bytes, float]()
    for _ in range(6000):
        member, score = b"%d" % rng.randrange(3000), float(rng.randrange(500))
        value.put(member, score)
        model[member] = score
    assert list(value) == ordered(model)
    twin = value.copy()
    twin.delete_slice(0, 2000)
    assert len(value) == len(model)
    assert list(twin) == ordered(model)[2000:]
