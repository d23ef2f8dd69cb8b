"""Replies as Lua values, with dicts in the place of Lua tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slotmesh.node.base.errors import ErrorReply
from slotmesh.node.resp.values import NULL_ARRAY, OK, OrderedSet, Pairs, Raw, Verbatim
from slotmesh.node.scripting.conversion import error_text, number_text, to_int64, to_lua


class Tables:
    """Tables as plain Python values: what is inside must be tables or scalars again."""

    def table_from(self, items: Any) -> Any:
        values = items.items() if isinstance(items, dict) else enumerate(items, 1)
        return {key: value for key, value in values if value is not None}

    def __init__(self) -> None:
        self.status_table: Callable[[bytes], Any] = lambda text: {b"ok": text}

    def error_table(self, text: bytes, counted: bool) -> Any:
        return {b"err": text, b"ignore_error_stats_update": counted}


TABLES = Tables()
NESTED = [b"a", None, [1, OK]]


@pytest.mark.parametrize(
    ("value", "resp2", "resp3"),
    [
        (b"x", b"x", b"x"),
        (7, 7, 7),
        (None, False, None),
        (NULL_ARRAY, False, None),
        (True, 1, True),
        (False, 0, False),
        (1.5, b"1.5", {b"double": 1.5}),
        (OK, {b"ok": b"OK"}, {b"ok": b"OK"}),
        (bytearray(b"x"), b"x", b"x"),
        ([b"a", b"b"], {1: b"a", 2: b"b"}, {1: b"a", 2: b"b"}),
        ((), {}, {}),
        (NESTED, {1: b"a", 2: False, 3: {1: 1, 2: {b"ok": b"OK"}}}, {1: b"a", 3: {1: 1, 2: {b"ok": b"OK"}}}),
        ({b"f": 1}, {1: b"f", 2: 1}, {b"map": {b"f": 1}}),
        ({b"f": {b"g": 2.0}}, {1: b"f", 2: {1: b"g", 2: b"2"}}, {b"map": {b"f": {b"map": {b"g": {b"double": 2.0}}}}}),
        ({b"m"}, {1: b"m"}, {b"set": {b"m": True}}),
        (OrderedSet([b"m"]), {1: b"m"}, {b"set": {b"m": True}}),
        (Pairs([(b"m", 1.0)]), {1: b"m", 2: b"1"}, {1: {1: b"m", 2: {b"double": 1.0}}}),
        (Verbatim(b"t"), b"t", {b"verbatim_string": {b"string": b"t", b"format": b"txt"}}),
        (Raw(b",1.25\r\n"), {b"double": 1.25}, {b"double": 1.25}),
        (Raw(b"(123\r\n"), {b"big_number": b"123"}, {b"big_number": b"123"}),
    ],
)
def test_reply_becomes_what_stock_shows_a_script(value: Any, resp2: Any, resp3: Any) -> None:
    assert to_lua(TABLES, value, False) == resp2
    assert to_lua(TABLES, value, True) == resp3


def test_error_inside_a_reply_is_a_table_that_is_counted_already() -> None:
    shown = to_lua(TABLES, [ErrorReply("WRONGTYPE x")], False)
    assert shown == {1: {b"err": b"WRONGTYPE x", b"ignore_error_stats_update": True}}


def test_error_text_without_a_code_gets_one() -> None:
    assert error_text(b"oops") == b"ERR oops"
    assert error_text(b"CODE oops\r\n") == b"CODE oops"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, b"1"),
        (-12, b"-12"),
        (2**53, b"9007199254740992"),
        (10**16, b"10000000000000000"),
        (10**17, b"1e+17"),
        (0.1, b"0.10000000000000001"),
        (3.5, b"3.5"),
        (float("inf"), b"inf"),
        (float("-inf"), b"-inf"),
        (float("nan"), b"nan"),
        (-float("nan"), b"-nan"),
    ],
)
def test_number_is_an_argument_with_17_digits(number: float, text: bytes) -> None:
    assert number_text(number) == text


@pytest.mark.parametrize(
    ("number", "integer"),
    [
        (3.99, 3),
        (-3.99, -3),
        (7, 7),
        (float("nan"), -(2**63)),
        (float("inf"), -(2**63)),
        (1e300, -(2**63)),
        (2**63, -(2**63)),
        (-(2**63), -(2**63)),
    ],
)
def test_number_is_cut_off_to_an_integer_reply(number: float, integer: int) -> None:
    assert to_int64(number) == integer
