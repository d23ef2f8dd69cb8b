"""The cjson library in a bare runtime."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.script_libraries import bare_runtime, quote


@pytest.fixture
def lua() -> Any:
    return bare_runtime()


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (b"{}", b"{}"),
        (b"{1, 2.5, 'x', true, cjson.null}", b'[1,2.5,"x",true,null]'),
        (b"{1, nil, 3}", b"[1,null,3]"),
        (b"{[3]=1}", b"[null,null,1]"),
        (b"{[0]=1}", b'{"0":1}'),
        (b"{a={b={}}}", b'{"a":{"b":{}}}'),
        (b"'a\"/\\\\\\n\\0\\127\\255'", b'"a\\"\\/\\\\\\n\\u0000\\u007f\xff"'),
        (b"1/3", b"0.33333333333333"),
        (b"1e15", b"1e+15"),
        (b"-1/(1/0)", b"-0"),
        (b"nil", b"null"),
    ],
)
def test_encode_of_a_value_gives_its_text(lua: Any, expression: bytes, text: bytes) -> None:
    assert lua.execute(b"return cjson.encode(%s)" % expression) == text


@pytest.mark.parametrize(
    ("text", "check"),
    [
        (
            b'[1, -2.5e3 ,"x",true,false,null,[],{}]',
            b"#v == 8 and v[2] == -2500 and v[4] == true and v[6] == cjson.null",
        ),
        (b'{"a":{"b":[1,2,3]}}', b"v.a.b[3] == 3 and #v.a.b == 3"),
        (b'"\\u00e9\\ud83d\\ude00\\n\xff"', b"v == '\\195\\169\\240\\159\\152\\128\\n\\255'"),
        (b"[1,2,30,-4,5.5,0,7]", b"#v == 7 and v[4] == -4 and v[5] == 5.5 and v[6] == 0 and v[7] == 7"),
        (b"[10, 20,30 ,40]", b"#v == 4 and v[2] == 20 and v[3] == 30"),
        (b"0x10", b"v == 16"),
        (b" null ", b"v == cjson.null"),
        (b"[1]\x00 ignored", b"v[1] == 1"),
    ],
)
def test_decode_of_a_text_gives_its_value(lua: Any, text: bytes, check: bytes) -> None:
    assert lua.execute(b"local v = cjson.decode(%s) return %s" % (quote(text), check)) is True


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (b"cjson.encode()", b"bad argument #1 to 'encode' (expected 1 argument)"),
        (b"cjson.encode({[100]=1})", b"Cannot serialise table: excessively sparse array"),
        (b"cjson.encode({{{f=type}}})", b"Cannot serialise function: type not supported"),
        (b"cjson.encode({[true]=1})", b"Cannot serialise boolean: table key must be a number or string"),
        (b"cjson.encode({1/0})", b"Cannot serialise number: must not be NaN or Inf"),
        (b"cjson.encode(loop)", b"Cannot serialise, excessive nesting (1001)"),
        (b"cjson.decode('')", b"Expected value but found T_END at character 1"),
        (b"cjson.decode('x')", b"Expected value but found invalid token at character 1"),
        (b"cjson.decode('[1,]')", b"Expected value but found T_ARR_END at character 4"),
        (b"cjson.decode('{1:2}')", b"Expected object key string but found T_NUMBER at character 2"),
        (b"cjson.decode('{\"a\" 1}')", b"Expected colon but found T_NUMBER at character 6"),
        (b"cjson.decode('[1 2]')", b"Expected comma or array end but found T_NUMBER at character 4"),
        (b"cjson.decode('1 2')", b"Expected the end but found T_NUMBER at character 3"),
        (b"cjson.decode('\"ab')", b"Expected value but found unexpected end of string at character 4"),
        (b"cjson.decode('\"\\\\q\"')", b"Expected value but found invalid escape code at character 2"),
        (b"cjson.decode('\"\\\\ud800\"')", b"Expected value but found invalid unicode escape code at character 2"),
        (b"cjson.decode('\\0x')", b"JSON parser does not support UTF-16 or UTF-32"),
        (b"cjson.decode({})", b"bad argument #1 to 'decode' (string expected, got table)"),
        (b"cjson.decode(deep)", b"Found too many nested data structures (1001) at character 1001"),
        (
            b"cjson.encode_max_depth(0)",
            b"bad argument #1 to 'encode_max_depth' (expected integer between 1 and 2147483647)",
        ),
        (b"cjson.encode_keep_buffer('x')", b"bad argument #1 to 'encode_keep_buffer' (invalid option 'x')"),
        (b"cjson.decode_max_depth(1, 2)", b"bad argument #2 to 'decode_max_depth' (found too many arguments)"),
    ],
)
def test_failed_call_raises_text_that_blames_the_line_of_the_script(lua: Any, call: bytes, error: bytes) -> None:
    script = b"local loop = {} loop[1] = loop\nlocal deep = string.rep('[', 2000)\n"
    script += b"return select(2, pcall(function() local r = %s return r end))" % call
    assert lua.execute(script, name=b"@user_script") == b"user_script:3: " + error


def test_options_of_a_new_library_are_its_own(lua: Any) -> None:
    script = b"local c = cjson.new() c.encode_number_precision(3) return c.encode(1/3), cjson.encode(1/3)"
    assert lua.execute(script) == (b"0.333", b"0.33333333333333")


def test_option_that_is_refused_keeps_its_value(lua: Any) -> None:
    script = b"pcall(cjson.encode_number_precision, 99) return cjson.encode_number_precision(), cjson.encode(1/3)"
    assert lua.execute(script) == (14, b"0.33333333333333")


def test_sparse_array_with_convert_becomes_an_object(lua: Any) -> None:
    assert lua.execute(b"cjson.encode_sparse_array(true) return cjson.encode({[100]=1})") == b'{"100":1}'


def test_null_is_a_userdata_that_equals_itself_only(lua: Any) -> None:
    script = b"return type(cjson.null), tostring(cjson.null), cjson.null == cjson.decode('null'), cjson.null == nil"
    assert lua.execute(script) == (b"userdata", b"userdata: (nil)", True, False)


def test_null_has_nothing_to_get_hold_of(lua: Any) -> None:
    script = b"return getmetatable(cjson.null), pcall(function() return cjson.null.__class__ end)"
    metatable, ok, error = lua.execute(script, name=b"@user_script")
    assert (metatable, ok) == (False, False)
    assert error == b"user_script:1: attempt to index field 'null' (a userdata value)"
