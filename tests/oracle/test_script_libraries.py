"""cjson, cmsgpack, struct and bit: ours in a bare runtime against EVAL on stock, results and error texts."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.processes import have_stock, start_stock_server
from tests.support.script_libraries import bare_runtime, quote, run_here, snapshot
from tests.tables import cjson, script_packing

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

Same = Callable[..., bytes]

CASES = [*cjson.CASES, *script_packing.CASES]


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Same]:
    """Evaluate an expression on both, assert that the outcome is the same, and return it."""
    lua = bare_runtime()
    with start_stock_server(tmp_path_factory.mktemp("script_libraries")) as stock:
        client = redis.Redis(port=stock.port)

        def compare(expression: bytes, before: bytes = b"") -> bytes:
            script = snapshot(expression, before)
            theirs: Any = client.eval(script, 0)  # type: ignore[arg-type]
            ours = run_here(lua, script)
            assert ours == theirs, (before + b" " + expression)[:300]
            return ours

        with contextlib.closing(client):
            yield compare


@pytest.mark.parametrize("library", ["cjson", "cmsgpack", "struct", "bit"])
def test_expression_of_the_table_has_the_outcome_of_stock(same: Same, library: str) -> None:
    chosen = [case for case in CASES if library.encode() in case[1] + case[0]]
    assert len(chosen) > 100
    for before, expression in chosen:
        same(expression, before)


def as_lua(value: Any) -> bytes:
    """A Lua expression for a Python value; None is cjson.null."""
    if value is None:
        return b"cjson.null"
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        if math.isnan(value):
            return b"(0/0)"
        if math.isinf(value):
            return b"(1/0)" if value > 0 else b"(-1/0)"
        return b"(-1/(1/0))" if value == 0 and math.copysign(1, value) < 0 else repr(value).encode()
    if isinstance(value, bytes):
        return quote(value)
    if isinstance(value, list):
        return b"{" + b", ".join(as_lua(item) for item in value) + b"}"
    assert isinstance(value, dict)
    return b"{" + b", ".join(b"[" + as_lua(key) + b"]=" + as_lua(item) for key, item in value.items()) + b"}"


numbers = st.integers(-(2**53), 2**53) | st.integers(-300, 300) | st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | numbers | st.binary(max_size=20)
keys = st.binary(max_size=6) | st.integers(-3, 40) | st.floats(-5, 5, allow_nan=False)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(keys, inner, max_size=8), max_leaves=30
)
json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
).map(lambda value: json.dumps(value, ensure_ascii=len(repr(value)) % 2 == 0).encode())
quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(value=values)
def test_encode_of_any_value_is_that_of_stock(same: Same, value: Any) -> None:
    same(b"cjson.encode(%s)" % as_lua(value))


@quick
@given(text=json_texts, cut=st.integers(0, 400), put=st.binary(max_size=2))
def test_decode_of_any_text_is_that_of_stock(same: Same, text: bytes, cut: int, put: bytes) -> None:
    same(b"cjson.decode(%s)" % quote(text))
    same(b"cjson.encode(cjson.decode(%s))" % quote(text))
    same(b"cjson.decode(%s)" % quote(text[:cut] + put + text[cut + 1 :]))


@quick
@given(packed=st.lists(values, min_size=1, max_size=4), cut=st.integers(0, 60), put=st.binary(max_size=2))
def test_message_pack_of_any_values_is_that_of_stock(same: Same, packed: list[Any], cut: int, put: bytes) -> None:
    same(b"cmsgpack.pack(%s)" % b", ".join(as_lua(value) for value in packed))
    before = b"local s = cmsgpack.pack(%s)" % b", ".join(as_lua(value) for value in packed)
    same(b"cmsgpack.unpack(s)", before)
    same(b"cmsgpack.unpack(string.sub(s, 1, %d) .. %s .. string.sub(s, %d))" % (cut, quote(put), cut + 2), before)


@quick
@given(data=st.binary(max_size=40), limit=st.integers(-1, 4), offset=st.integers(-1, 41))
def test_unpack_of_any_bytes_is_that_of_stock(same: Same, data: bytes, limit: int, offset: int) -> None:
    same(b"cmsgpack.unpack(%s)" % quote(data))
    same(b"cmsgpack.unpack_one(%s, %d)" % (quote(data), offset))
    same(b"cmsgpack.unpack_limit(%s, %d, %d)" % (quote(data), limit, offset))


options = st.sampled_from([*b"b B h H l L T i I i2 I3 i5 I7 i8 I11 f d x s c c0 c3 < > ! !2 !4 !8 q".split(), b" "])
layouts = st.lists(options, max_size=8).map(b"".join)


@quick
@given(layout=layouts, arguments=st.lists(numbers, max_size=8), data=st.binary(max_size=60), start=st.integers(-9, 30))
def test_struct_of_any_layout_is_that_of_stock(
    same: Same, layout: bytes, arguments: list[Any], data: bytes, start: int
) -> None:
    same(b"struct.pack(%s)" % b", ".join([quote(layout), *map(as_lua, arguments)]))
    same(b"struct.unpack(%s, %s)" % (quote(layout), quote(data)))
    same(b"struct.unpack(%s, %s, %d)" % (quote(layout), quote(data), start))
    same(b"struct.size(%s)" % quote(layout))


@quick
@given(number=st.floats())
def test_float_bits_are_those_of_stock(same: Same, number: float) -> None:
    same(b"struct.pack('>d>f', %s, %s)" % (as_lua(number), as_lua(number)))
    same(b"struct.unpack('>d>f', %s)" % quote(struct.pack(">d", number) + struct.pack(">d", number)[:4]))


@quick
@given(words=st.lists(numbers, min_size=1, max_size=4), distance=numbers)
def test_bit_operations_on_any_numbers_are_those_of_stock(same: Same, words: list[Any], distance: Any) -> None:
    arguments = b", ".join(map(as_lua, words))
    for name in (b"band", b"bor", b"bxor", b"bnot", b"tobit", b"bswap", b"tohex"):
        same(b"bit.%s(%s)" % (name, arguments))
    for name in (b"lshift", b"rshift", b"arshift", b"rol", b"ror", b"tohex"):
        same(b"bit.%s(%s, %s)" % (name, as_lua(words[0]), as_lua(distance)))
