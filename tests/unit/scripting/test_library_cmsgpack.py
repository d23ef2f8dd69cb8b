"""The cmsgpack library in a bare runtime."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.script_libraries import bare_runtime, quote


@pytest.fixture
def lua() -> Any:
    return bare_runtime()


@pytest.mark.parametrize(
    ("expression", "packed"),
    [
        (b"nil, true, false", b"\xc0\xc3\xc2"),
        (b"0, 127, 128, 255, 256", b"\x00\x7f\xcc\x80\xcc\xff\xcd\x01\x00"),
        (b"65536, 2^32", b"\xce\x00\x01\x00\x00\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
        (b"-1, -32, -33, -129", b"\xff\xe0\xd0\xdf\xd1\xff\x7f"),
        (b"-32769, -2^31-1", b"\xd2\xff\xff\x7f\xff\xd3\xff\xff\xff\xff\x7f\xff\xff\xff"),
        (b"0.5, 0.1", b"\xca\x3f\x00\x00\x00\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a"),
        (b"'ab'", b"\xa2ab"),
        (b"string.rep('x', 32)", b"\xd9\x20" + b"x" * 32),
        (b"string.rep('x', 256)", b"\xda\x01\x00" + b"x" * 256),
        (b"string.rep('x', 65536)", b"\xdb\x00\x01\x00\x00" + b"x" * 65536),
        (b"{}", b"\x90"),
        (b"{1, {2}}", b"\x92\x01\x91\x02"),
        (b"{a=1}", b"\x81\xa1a\x01"),
        (b"{[2]=1}", b"\x81\x02\x01"),
        (b"{type}", b"\x91\xc0"),
    ],
)
def test_pack_of_values_gives_the_shortest_bytes(lua: Any, expression: bytes, packed: bytes) -> None:
    assert lua.execute(b"return cmsgpack.pack(%s)" % expression) == packed


def test_pack_of_a_cycle_ends_in_nil_at_the_seventeenth_level(lua: Any) -> None:
    assert lua.execute(b"local t = {} t[1] = t return cmsgpack.pack(t)") == b"\x91" * 16 + b"\xc0"


@pytest.mark.parametrize(
    ("packed", "results"),
    [
        (b"\x01\xc3\xa1x", (1, True, b"x")),
        (b"\xcf" + b"\xff" * 8, -1),
        (b"\xd3" + b"\x80" + b"\x00" * 7, -(2**63)),
        (b"\xca\x7f\x80\x00\x00\xcb\xff\xf0" + b"\x00" * 6, (float("inf"), float("-inf"))),
        (b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", 0.1),
        (b"\xcb\x00\x00\x00\x00\x00\x00\x00\x01", 5e-324),
        (b"", None),
    ],
)
def test_unpack_of_bytes_returns_every_value(lua: Any, packed: bytes, results: Any) -> None:
    assert lua.execute(b"return cmsgpack.unpack(%s)" % quote(packed)) == results


def test_unpack_of_containers_returns_tables(lua: Any) -> None:
    packed = quote(b"\x82\xa1a\x93\x01\xc0\x03\x05\xdf\x00\x00\x00\x01\x01\x02")
    script = b"local t = cmsgpack.unpack(%s) return t.a[1], t.a[2], t.a[3], t[5][1]" % packed
    assert lua.execute(script) == (1, None, 3, 2)


def test_unpack_one_and_limit_return_where_to_go_on(lua: Any) -> None:
    script = b"local s = '\\1\\2\\3' return {cmsgpack.unpack_one(s)}, {cmsgpack.unpack_limit(s, 2, 1)}"
    one, limit = lua.execute(script)
    assert list(one.values()) == [1, 1]
    assert list(limit.values()) == [-1, 2, 3]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (b"cmsgpack.pack()", b"user_script:1: bad argument #0 to 'pack' (MessagePack pack needs input.)"),
        (b"cmsgpack.unpack('\\146\\1')", b"user_script:1: Missing bytes in input."),
        (b"cmsgpack.unpack('\\193')", b"user_script:1: Bad data format in input."),
        (b"cmsgpack.unpack('\\129\\192\\1')", b"table index is nil"),
        (b"cmsgpack.unpack_one('a', 2)", b"user_script:1: Start offset 2 greater than input length 1."),
        (
            b"cmsgpack.unpack_limit('a', -1)",
            b"user_script:1: Invalid request to unpack with offset of 0 and limit of 1.",
        ),
        (
            b"cmsgpack.unpack(string.rep('\\145', 4000))",
            b"user_script:1: stack overflow (in function mp_decode_to_lua_array)",
        ),
        (
            b"cmsgpack.unpack_limit('a')",
            b"user_script:1: bad argument #2 to 'unpack_limit' (number expected, got no value)",
        ),
    ],
)
def test_failed_call_raises_the_text_of_the_original(lua: Any, call: bytes, error: bytes) -> None:
    script = b"return select(2, pcall(function() local r = %s return r end))" % call
    assert lua.execute(script, name=b"@user_script") == error


def test_unpack_of_thousands_of_values_returns_them_all(lua: Any) -> None:
    assert lua.execute(b"return select('#', cmsgpack.unpack(string.rep('\\1', 7999)))") == 7999
