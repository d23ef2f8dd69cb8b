"""The struct library in a bare runtime, most of it against Python's own `struct`."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.script_libraries import bare_runtime, quote

LUA = bare_runtime()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("letter", "ours"), [("b", "b"), ("h", "h"), ("i", "i"), ("q", "l"), ("B", "B"), ("H", "H"), ("I", "I")]
)
@pytest.mark.parametrize("number", [0, 1, 100, -1, -100])
def test_integer_of_a_fixed_size_is_packed_as_by_python(order: str, letter: str, ours: str, number: int) -> None:
    value = abs(number) if letter.isupper() else number
    packed = struct.pack(order + letter, value)
    assert LUA.execute(b"return struct.pack('%s', %d)" % ((order + ours).encode(), value)) == packed
    assert LUA.execute(b"return struct.unpack('%s', %s)" % ((order + ours).encode(), quote(packed))) == (
        value,
        len(packed) + 1,
    )


@given(number=st.floats(allow_nan=False))
def test_double_of_any_value_is_packed_as_by_python(number: float) -> None:
    packed = struct.pack(">d", number)
    pack, unpack = LUA.eval(b"struct.pack"), LUA.eval(b"struct.unpack")
    if not (number == 0 and math.copysign(1, number) < 0):  # -0.0 crosses the border as the integer 0
        assert pack(b">d", number) == packed
    assert struct.pack(">d", unpack(b">d", packed)[0]) == packed or number == 0


@given(number=st.floats(width=32, allow_nan=False))
def test_single_of_any_value_survives_a_round_trip(number: float) -> None:
    assert LUA.eval(b"struct.unpack")(b"<f", LUA.eval(b"struct.pack")(b"<f", number)) == (number, 5)


@pytest.mark.parametrize(
    ("call", "packed"),
    [
        (b"'i3', -2", b"\xfe\xff\xff"),
        (b"'>I3', 0x010203", b"\x01\x02\x03"),
        (b"'i9', -1", b"\xff" * 8 + b"\x00"),
        (b"'L', 2^64", b"\x00" * 8),
        (b"'L', -2.9", b"\xfe" + b"\xff" * 7),
        (b"'!4bi', 1, 2", b"\x01\x00\x00\x00\x02\x00\x00\x00"),
        (b"'!bd', 1, 0", b"\x01" + b"\x00" * 15),
        (b"'bi', 1, 2", b"\x01\x02\x00\x00\x00"),
        (b"'s', 'ab'", b"ab\x00"),
        (b"'c2c0x', 'abc', 'de'", b"abde\x00"),
        (b"'<h>h', 1, 1", b"\x01\x00\x00\x01"),
        (b"'d', -1/(1/0)", b"\x00" * 7 + b"\x80"),
        (b"'<f', 1e39", b"\x00\x00\x80\x7f"),
    ],
)
def test_pack_of_values_gives_their_bytes(call: bytes, packed: bytes) -> None:
    assert LUA.execute(b"return struct.pack(%s)" % call) == packed


@pytest.mark.parametrize(
    ("call", "results"),
    [
        (b"'bc0', '\\2abc'", (b"ab", 4)),
        (b"'sB', 'ab\\0\\255'", (b"ab", 255, 5)),
        (b"'b', 'abc', 2", (98, 3)),
        (b"'i9', '\\200' .. string.rep('\\0', 8)", (-56, 10)),
        (b"'', 'a'", 1),
    ],
)
def test_unpack_of_bytes_gives_values_and_the_next_position(call: bytes, results: Any) -> None:
    assert LUA.execute(b"return struct.unpack(%s)" % call) == results


@pytest.mark.parametrize(
    ("layout", "size"), [(b"", 0), (b"bhild", 23), (b"!bhild", 24), (b"c10i7", 17), (b"!4 bd", 12), (b"q", 0)]
)
def test_size_of_a_layout_counts_its_padding(layout: bytes, size: int) -> None:
    assert LUA.execute(b"return struct.size('%s')" % layout) == size


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (b"struct.pack('q', 1)", b"bad argument #1 to 'pack' (invalid format option 'q')"),
        (b"struct.pack('bb', 1)", b"bad argument #3 to 'pack' (number expected, got nil)"),
        (b"struct.pack('c3', 'a')", b"bad argument #3 to 'pack' (string too short)"),
        (b"struct.pack('i33', 1)", b"integral size 33 is larger than limit of 32"),
        (b"struct.pack('i99999999999', 1)", b"integral size overflow"),
        (b"struct.pack('!3')", b"alignment 3 is not a power of 2"),
        (b"struct.unpack('i', 'abc')", b"bad argument #2 to 'unpack' (data string too short)"),
        (b"struct.unpack('i', 'abcd', 0)", b"bad argument #3 to 'unpack' (offset must be 1 or greater)"),
        (b"struct.unpack('c0', 'abcd')", b"format 'c0' needs a previous size"),
        (b"struct.unpack('s', 'abcd')", b"unfinished string in data"),
        (b"struct.size('s')", b"bad argument #1 to 'size' (option 's' has no fixed size)"),
        (b"struct.size('c0')", b"bad argument #1 to 'size' (option 'c0' has no fixed size)"),
    ],
)
def test_failed_call_raises_the_text_of_the_original(call: bytes, error: bytes) -> None:
    script = b"return select(2, pcall(function() local r = %s return r end))" % call
    assert LUA.execute(script, name=b"@user_script") == b"user_script:1: " + error
