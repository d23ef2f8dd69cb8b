"""HashValue: fields against a dict, expiry of fields against a dict of times, encodings."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.types.hash import HashValue

fields = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
times = st.integers(1, 20)
operations = st.lists(
    st.tuples(
        st.sampled_from(["set", "update", "replace", "remove", "ttl", "clear", "pick"]),
        fields,
        st.sampled_from([b"1", b"2"]),
        times,
    ),
    max_size=60,
)


@given(operations, st.integers(0, 2**32), times)
def test_hash_any_operations_match_model(steps: list[tuple[str, bytes, bytes, int]], seed: int, now_ms: int) -> None:
    rng = random.Random(seed)
    value, model, ttls = HashValue(), dict[bytes, bytes](), dict[bytes, int]()
    for name, field, text, at_ms in steps:
        if name == "set":
            assert value.set(field, text) == (field not in model)
            model[field] = text
            ttls.pop(field, None)
        elif name == "update":
            before = len(model)
            model |= {field: text, b"z": text}
            assert value.update([field, text, b"z", text]) == len(model) - before
            ttls.pop(field, None)
            ttls.pop(b"z", None)
        elif name == "replace":
            value.replace(field, text)
            model[field] = text
        elif name == "remove":
            assert value.remove(field) == (model.pop(field, None) is not None)
            ttls.pop(field, None)
        elif name == "ttl" and field in model:
            value.set_ttl(field, at_ms)
            ttls[field] = at_ms
        elif name == "clear":
            assert value.clear_ttl(field) == (ttls.pop(field, None) is not None)
        elif name == "pick" and model:
            assert value.random_field(rng) in model
        assert value.fields == model
        assert (value.ttls or {}) == ttls
        assert value.next_expiry_ms() == min(ttls.values(), default=None)
        assert sorted(value.due_fields(now_ms)) == sorted(f for f, at in ttls.items() if at < now_ms)


def test_hash_changing_one_expiry_for_ever_keeps_the_heap_small() -> None:
    value = HashValue({b"a": b"1"})
    for i in range(5000):
        value.set_ttl(b"a", 1000 + i)
    assert len(value._due) < 200
    assert value.next_expiry_ms() == 5999


@pytest.mark.parametrize(
    ("held", "encoding"),
    [
        ({b"f%d" % i: b"v" for i in range(512)}, b"listpack"),
        ({b"f%d" % i: b"v" for i in range(513)}, b"hashtable"),
        ({b"x" * 64: b"x" * 64}, b"listpack"),
        ({b"x" * 65: b"v"}, b"hashtable"),
        ({b"f": b"x" * 65}, b"hashtable"),
    ],
)
def test_hash_encoding_follows_stock(held: dict[bytes, bytes], encoding: bytes) -> None:
    value = HashValue()
    for field, text in held.items():
        value.set(field, text)
    assert value.encoding() == encoding
    assert HashValue(dict(held)).encoding() == encoding
    value.remove(next(iter(held)))
    assert value.encoding() == encoding


def test_hash_copy_is_independent() -> None:
    value = HashValue({b"a": b"1"}, {b"a": 5})
    twin = value.copy()
    twin.set(b"a", b"2")
    assert value.fields == {b"a": b"1"}
    assert value.ttls == {b"a": 5}
    assert twin.ttls is None
