"""Expressions with cjson, for the comparison with stock."""

from __future__ import annotations

from tests.support.script_libraries import quote

#: (statements before, expression)
CASES: list[tuple[bytes, bytes]] = []


def _add(*expressions: bytes, before: bytes = b"") -> None:
    CASES.extend((before, expression) for expression in expressions)


# cjson: values
_add(
    b"cjson.encode({})",
    b"cjson.encode({1,2,3})",
    b"cjson.encode({1,nil,3})",
    b"cjson.encode({[1]=1,[3]=3})",
    b"cjson.encode({[10]=1})",
    b"cjson.encode({[11]=1})",
    b"cjson.encode({[1]=1,[2]=2,[3]=3,[4]=4,[5]=5,[6]=6,[12]=1})",
    b"cjson.encode({[1]=1,[2]=2,[3]=3,[4]=4,[5]=5,[13]=1})",
    b"cjson.encode({[0]=1})",
    b"cjson.encode({[-1]=1})",
    b"cjson.encode({[1.5]=1})",
    b"cjson.encode({1,2,x=3})",
    b"cjson.encode({[1e10]=1})",
    b"cjson.encode({[2^31]=1})",
    b"cjson.encode({[1/0]=1})",
    b"cjson.encode({[true]=1})",
    b"cjson.encode({[{}]=1})",
    b"cjson.encode({[cjson.null]=1})",
    b"cjson.encode({a={b={c={}}}})",
    b"cjson.encode({{{}},{{1}}})",
    b"cjson.encode('')",
    b"cjson.encode('a\"b\\\\c/d\\127\\0\\1\\31\\8\\9\\10\\11\\12\\13\\195\\164\\255')",
    b"cjson.encode({['k\"/']=1})",
    b"cjson.encode(nil)",
    b"cjson.encode(true)",
    b"cjson.encode(false)",
    b"cjson.encode(cjson.null)",
    b"cjson.encode({cjson.null, a=cjson.null})",
    b"cjson.encode({cjson.null, cjson.null})",
    b"cjson.encode(tostring)",
    b"cjson.encode({tostring})",
    b"cjson.encode({{{x={tostring}}}})",
    b"cjson.encode(coroutine.create(function() end))",
    b"cjson.encode(0)",
    b"cjson.encode(-0)",
    b"cjson.encode(-1/(1/0))",
    b"cjson.encode(1e15)",
    b"cjson.encode(1e14)",
    b"cjson.encode(123456789012345)",
    b"cjson.encode(0.1)",
    b"cjson.encode(1/3)",
    b"cjson.encode(1e300)",
    b"cjson.encode(2^53)",
    b"cjson.encode(1/0)",
    b"cjson.encode(-1/0)",
    b"cjson.encode(0/0)",
    b"cjson.encode({[0.5]=1/0})",
    b"cjson.encode('12')",
    b"cjson.encode(setmetatable({1}, {__index=function() return 9 end}))",
)
_add(b"cjson.encode(t)", before=b"local t = {} for i = 1, 1000 do t = {t} end")
_add(b"cjson.encode(t)", before=b"local t = 1 for i = 1, 1000 do t = {t} end")
_add(b"cjson.encode(t)", before=b"local t = {} t.t = t")
_add(b"cjson.encode(t)", before=b"local t = {} for i = 1, 300 do t[i] = i end")
_add(b"cjson.encode(t)", before=b"local t = {} for i = 1, 40 do t['k' .. i] = i end")
for depth in (7997, 7998, 7999):
    _add(
        b"#c.encode(t)",
        before=b"local c = cjson.new() c.encode_max_depth(9999) local t = 1 for i=1,%d do t={t} end" % depth,
    )
for depth in (3998, 3999, 4000):
    _add(
        b"#c.encode(t)",
        before=b"local c = cjson.new() c.encode_max_depth(9999) local t = 1 for i=1,%d do t={a=t} end" % depth,
    )
# cjson: arguments and places of errors
_add(
    b"cjson.encode()",
    b"cjson.encode(1, 2)",
    b"cjson.decode()",
    b"cjson.decode('1', 2)",
    b"cjson.decode({})",
    b"cjson.decode(nil)",
    b"cjson.decode(true)",
    b"cjson.decode(12)",
    b"pcall(cjson.encode)",
    b"pcall(cjson.decode, {})",
    b"pcall(cjson.decode, '[')",
    b"cjson:encode()",
    b"cjson:decode()",
    b"f()",
    b"f({[100]=1})",
    b"t.f.g()",
    b"t[1]()",
    b"pcall(pcall, cjson.encode)",
    b"select(2, xpcall(cjson.encode, function(m) return {m} end))",
    b"coroutine.wrap(function(x) local y = cjson.decode(x) return y end)('x')",
    b"coroutine.resume(coroutine.create(function(x) local y = cjson.decode(x) return y end), 'x')",
    b"string.gsub('x', 'x', cjson.encode)",
    b"string.gsub('x', 'x', cjson.decode)",
    before=b"local f = cjson.encode local t = {cjson.encode, f={g=cjson.encode}}",
)
# cjson: options
for option in (
    b"encode_max_depth",
    b"decode_max_depth",
    b"encode_number_precision",
    b"encode_keep_buffer",
    b"decode_invalid_numbers",
    b"encode_invalid_numbers",
    b"encode_sparse_array",
):
    _add(b"cjson.%s()" % option, b"cjson.%s(nil)" % option, b"cjson.%s(nil, nil, nil, nil)" % option)
    for value in (
        b"0 1 5 14 15 1.9 -1 '3' 'x' {} true false 'on' 'off' 'null' 2^31 2^31-1 2^32+7 -2^40 1/0 0/0 "
        b"cjson.null 'on\\0x'"
    ).split():
        _add(b"c.%s(%s)" % (option, value), b"c.%s(), {}" % option, before=b"local c = cjson.new()")
        _add(b"pcall(c.%s, %s), c.%s()" % (option, value, option), before=b"local c = cjson.new()")
_add(
    b"c.encode_sparse_array(true, 0, 5)",
    b"c.encode_sparse_array(true, 'x')",
    b"c.encode_sparse_array(true, 1, {})",
    b"c.encode_sparse_array(true, -1)",
    b"c.encode_sparse_array(true, 1, -1)",
    b"pcall(c.encode_sparse_array, true, -1), {c.encode_sparse_array()}",
    b"{c.encode_sparse_array(true)}, c.encode({[1000]=1})",
    b"{c.encode_sparse_array(false, 0)}, c.encode({[1000]=1})",
    b"{c.encode_sparse_array(false, 1, 2)}, pcall(c.encode, {1,2,[4]=3})",
    b"{c.encode_sparse_array(false, 2147483647, 2)}, pcall(c.encode, {1,2,[400]=3})",
    b"{c.encode_sparse_array(false, 2, 2000)}, c.encode({[1000]=1})",
    b"c.encode_number_precision(3), c.encode({1/3, 1000, 12345})",
    b"c.encode_number_precision(1), c.encode({1/3, 1000, [0.26]=1})",
    b"c.encode_invalid_numbers(true), c.encode({1/0, -1/0, 0/0, -(0/0)})",
    b"c.encode_invalid_numbers('null'), c.encode({1/0, -1/0, 0/0, [0.5]=1})",
    b"c.encode_invalid_numbers('null'), c.encode({[1/0]=1})",
    b"c.encode_max_depth(2), c.encode({{}}), pcall(c.encode, {{{}}})",
    b"c.decode_max_depth(2), c.decode('[[]]'), pcall(c.decode, '[[[]]]')",
    b"c.decode_max_depth(2), pcall(c.decode, ' [ {\"a\": [] } ]')",
    b"c.encode_keep_buffer(false), c.encode({1}), pcall(c.encode, tostring)",
    b"cjson.new(1,2).encode({1})",
    b"c.new().null == cjson.null, c.null",
    b"c.encode == cjson.encode",
    before=b"local c = cjson.new()",
)
# cjson.null
_add(
    b"cjson.null",
    b"type(cjson.null)",
    b"cjson.null == nil",
    b"cjson.null == cjson.null",
    b"cjson.decode('null') == cjson.null",
    b"cjson.decode('[null]')[1] == cjson.null",
    b"cjson.null.x",
    b"cjson.null + 1",
    b"cjson.null .. ''",
    b"cjson.null()",
    b"#cjson.null",
    b"cjson.null < cjson.null",
    b"not cjson.null",
    b"({[cjson.null]=1})[cjson.decode('null')]",
)
# cjson: decoding
TEXTS = [
    *b"1|-1|0|-0|1.5|1e3|1E+3|1e-3|1e|1e+|1.|1.e2|.5|-.5|01|00|-01|+1|+|-|--1|0x10|-0x1F|0x|0x.8|0x1p4|0x1.8p-1|0xg|1_0".split(
        b"|"
    ),
    *b"inf|-inf|Infinity|-infinity|INF|infinite|nan|-nan|NaN|nan(12)|nan(|nan(a_b)x|i|I|N|n|+inf|+nan|+x|-x|in|nul|nulll".split(
        b"|"
    ),
    *b"true|false|null|True|tru|truex|falsey|t|f||   | 1 |1 2|[1]x|]|}|:|,|[|{|[,]|[1,]|[1 2]|[1,2|[1:2]|{,}".split(
        b"|"
    ),
    *b'{"a"}|{"a":}|{"a":1,}|{"a":1 "b"}|{"a" 1}|{"a":1|{"a":1]|{"a":1,"b":[1,{"c":null}]}|{"a":1,"a":2}|{1:2}'.split(
        b"|"
    ),
    *b'{"":1}|{null:1}|"|"a|"\\|"\\"|"\\x"|"\\u"|"\\u12"|"\\u00e9"|"\\u20ac"|"\\ud83d\\ude00"|"\\ud83d"|"\\ud83dx"|"\\ud83d\\u0041"'.split(
        b"|"
    ),
    *b'"\\ude00"|"\\u0000"|"\\uZZZZ"|"\\b\\f\\n\\r\\t\\/\\\\\\""|"a\\u0041b\\u0042"|"\\U0041"|["\\x"]|{"\\x":1}|{"a":"|[1,"b'.split(
        b"|"
    ),
    b"1\x002",
    b'"a\x00b"',
    b"[1,\x00",
    b'{"a":\x00',
    b"\x00",
    b"\x001",
    b"1\x00",
    b"[\x00]",
    b"  [ ] ",
    b" { } ",
    b"\t\n\r1\t\n\r",
    b"\x0b1",
    b"\xef\xbb\xbf1",
    b'"\xff\xfe\x01\x7f"',
    b"[[[]]]",
    b"[" * 1001,
    b"[" * 1000 + b"]" * 1000,
    b'{"a":' * 1001,
    b"123456789012345678901234567890",
    b"1e400",
    b"-1e400",
    b"1e-400",
    b"0.1e1x",
    b"1" * 500,
    b"[" + b",".join(b"%d" % i for i in range(300)) + b"]",
]
for text in TEXTS:
    _add(b"cjson.decode(%s)" % quote(text))
    _add(b"c.decode_invalid_numbers(false), c.decode(%s)" % quote(text), before=b"local c = cjson.new()")
for opening, depths in ((b"[", (7998, 7999)), (b'{"a":', (3998, 3999, 4000))):
    for depth in depths:
        _add(
            b"c.decode(string.rep('%s', %d))" % (opening, depth),
            before=b"local c = cjson.new() c.decode_max_depth(9999)",
        )
