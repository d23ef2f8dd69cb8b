"""The bit library in a bare runtime, against Python's integers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.script_libraries import bare_runtime

LUA = bare_runtime()
BIT = LUA.eval(b"bit")
integers = st.integers(-(2**50), 2**50)


def signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - 2**32 if value >= 2**31 else value


@given(a=integers, b=integers, c=integers)
def test_logic_on_any_integers_is_that_of_words(a: int, b: int, c: int) -> None:
    assert BIT.band(a, b, c) == signed(a & b & c)
    assert BIT.bor(a, b, c) == signed(a | b | c)
    assert BIT.bxor(a, b, c) == signed(a ^ b ^ c)
    assert BIT.bnot(a) == signed(~a)
    assert BIT.tobit(a) == signed(a)


@given(a=integers, distance=st.integers(-100, 100))
def test_shift_of_any_integer_wraps_at_32_bits(a: int, distance: int) -> None:
    word, n = a & 0xFFFFFFFF, distance % 32
    assert BIT.lshift(a, distance) == signed(word << n)
    assert BIT.rshift(a, distance) == signed(word >> n)
    assert BIT.arshift(a, distance) == signed(signed(word) >> n)
    assert BIT.rol(a, distance) == signed(word << n | word >> (32 - n))
    assert BIT.ror(a, distance) == signed(word >> n | word << (32 - n))


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        (b"bit.tobit(1.5)", 2),
        (b"bit.tobit(2.5)", 2),
        (b"bit.tobit('0x10')", 16),
        (b"bit.tobit(0/0)", 0),
        (b"bit.bswap(0x12345678)", 0x78563412),
        (b"bit.tohex(0xdeadbeef)", b"deadbeef"),
        (b"bit.tohex(0xdeadbeef, 4)", b"beef"),
        (b"bit.tohex(0xdeadbeef, -6)", b"ADBEEF"),
        (b"bit.tohex(1, 0)", b""),
        (b"bit.tohex(1, 20)", b"00000001"),
        (b"bit.band(7)", 7),
    ],
)
def test_expression_has_the_result_of_the_original(expression: bytes, result: Any) -> None:
    assert LUA.execute(b"return " + expression) == result


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (b"bit.band()", b"bad argument #1 to 'band' (number expected, got no value)"),
        (b"bit.bor(1, {})", b"bad argument #2 to 'bor' (number expected, got table)"),
        (b"bit.bxor(1, {}, 'x')", b"bad argument #3 to 'bxor' (number expected, got string)"),
        (b"bit.lshift(1)", b"bad argument #2 to 'lshift' (number expected, got no value)"),
        (b"bit.tohex(1, nil)", b"bad argument #2 to 'tohex' (number expected, got nil)"),
        (b"bit:tobit()", b"calling 'tobit' on bad self (number expected, got table)"),
    ],
)
def test_failed_call_raises_the_text_of_the_original(call: bytes, error: bytes) -> None:
    script = b"return select(2, pcall(function() local r = %s return r end))" % call
    assert LUA.execute(script, name=b"@user_script") == b"user_script:1: " + error
