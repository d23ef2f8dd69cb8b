"""The reply encoder: short cuts for long arrays change nothing about the bytes; doubles print as C prints them."""

from __future__ import annotations

import math
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.resp.encoder import encode, format_double
from slotmesh.node.resp.values import NULL_ARRAY, OK, OrderedSet, Pairs

texts = st.binary(max_size=20) | st.sampled_from([b"x" * 1023, b"x" * 1024, b"\r\n"])
replies = st.recursive(
    texts | st.integers(-(2**63), 2**63 - 1) | st.none(),
    lambda inner: st.lists(inner, max_size=12) | st.lists(inner, max_size=12).map(tuple),
    max_leaves=40,
)


def _encoded(value: Any, resp3: bool = False) -> bytes:
    out: list[bytes] = []
    encode(out, value, resp3)
    return b"".join(out)


def plain_form(value: Any) -> bytes:
    """The RESP2 form, told in the plainest way."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    return b"*%d\r\n%b" % (len(value), b"".join(map(plain_form, value)))


@given(replies)
def test_encode_any_nesting_equals_the_plain_form(value: Any) -> None:
    assert _encoded(value) == plain_form(value)


@given(st.lists(texts, min_size=8, max_size=40), st.booleans())
def test_encode_long_lists_of_strings_equal_the_plain_form(items: list[bytes], equal_lengths: bool) -> None:
    if equal_lengths:
        items = [item[:1].ljust(3, b".") for item in items]
    assert _encoded(items) == plain_form(items)
    assert _encoded(tuple(items)) == plain_form(items)
    assert _encoded(OrderedSet(items), resp3=True) == b"~" + plain_form(items)[1:]


@pytest.mark.parametrize("odd", [None, 5, 1.5, [b"x"], OK, NULL_ARRAY, {b"a": b"b"}, True])
@pytest.mark.parametrize("place", [1, 8])
def test_encode_list_that_is_not_all_strings_is_whole(odd: Any, place: int) -> None:
    items: list[Any] = [b"abc"] * 9
    items[place] = odd
    reader = hiredis.Reader()
    reader.feed(_encoded(items, resp3=True))
    parsed = reader.gets()
    assert len(parsed) == 9
    assert parsed.count(b"abc") == 8
    assert not reader.has_data()


@pytest.mark.parametrize("resp3", [False, True])
def test_encode_pairs_flat_or_nested(resp3: bool) -> None:
    pairs = Pairs([(b"a", 1.5), (b"b", 2.0)])
    expected = (
        b"*2\r\n*2\r\n$1\r\na\r\n,1.5\r\n*2\r\n$1\r\nb\r\n,2\r\n"
        if resp3
        else b"*4\r\n$1\r\na\r\n$3\r\n1.5\r\n$1\r\nb\r\n$1\r\n2\r\n"
    )
    assert _encoded(pairs, resp3) == expected


@given(st.floats(allow_nan=False))
def test_format_double_is_c_percent_17g(value: float) -> None:
    if math.isinf(value):
        assert format_double(value) == (b"inf" if value > 0 else b"-inf")
    else:
        assert format_double(value) == b"%.17g" % value
        assert float(format_double(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, b"0"), (-0.0, b"-0"), (1e16, b"10000000000000000"), (1e17, b"1e+17"), (0.1, b"0.10000000000000001")],
)
def test_format_double_by_value(value: float, text: bytes) -> None:
    assert format_double(value) == text
