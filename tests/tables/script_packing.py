"""Expressions with cmsgpack, struct and bit, for the comparison with stock."""

from __future__ import annotations

from tests.support.script_libraries import quote

NAMES = b"local r = {} for n, l in pairs{cjson=cjson, cmsgpack=cmsgpack, struct=struct, bit=bit} do r[n] = {} "
NAMES += b"for k, v in pairs(l) do r[n][k] = type(v) == 'string' and v or type(v) end end"

#: (statements before, expression)
CASES: list[tuple[bytes, bytes]] = []


def _add(*expressions: bytes, before: bytes = b"") -> None:
    CASES.extend((before, expression) for expression in expressions)


_add(b"r", before=NAMES)

# cmsgpack
_add(
    b"cmsgpack.pack()",
    b"pcall(cmsgpack.pack)",
    b"cmsgpack:unpack()",
    b"cmsgpack:unpack_one()",
    b"cmsgpack.pack(nil)",
    b"cmsgpack.pack(nil, nil)",
    b"cmsgpack.pack(true, false, tostring, cjson.null)",
    b"cmsgpack.pack({})",
    b"cmsgpack.pack({1,nil,3})",
    b"cmsgpack.pack({[1]=1,[3]=1})",
    b"cmsgpack.pack({[1.5]=1})",
    b"cmsgpack.pack({[0]=1})",
    b"cmsgpack.pack({a=1})",
    b"cmsgpack.pack({[{1}]={2}})",
    b"cmsgpack.pack({[true]=tostring})",
    b"cmsgpack.pack({[2^31]=1})",
    b"cmsgpack.pack(0/0, -(0/0))",
    b"cmsgpack.pack(setmetatable({1}, {__index=function() return 9 end}))",
    b"cmsgpack.pack(unpack({}, 1, 4000))",
    b"cmsgpack.pack(unpack({}, 1, 4001))",
    b"cmsgpack.unpack()",
    b"cmsgpack.unpack({})",
    b"cmsgpack.unpack(nil)",
    b"cmsgpack.unpack(12)",
    b"cmsgpack.unpack('')",
    b"cmsgpack.unpack('\\1\\2', 1, 2)",
    b"cmsgpack.unpack_one('')",
    b"cmsgpack.unpack_one()",
    b"cmsgpack.unpack_one(nil, 'x')",
    b"cmsgpack.unpack_one('\\1\\2')",
    b"cmsgpack.unpack_one('\\1\\2', 1)",
    b"cmsgpack.unpack_one('\\1\\2', '1')",
    b"cmsgpack.unpack_one('\\1\\2', 1.9)",
    b"cmsgpack.unpack_one('\\1\\2', 2)",
    b"cmsgpack.unpack_one('\\1\\2', 3)",
    b"cmsgpack.unpack_one('\\1\\2', -1)",
    b"cmsgpack.unpack_one('\\1\\2', nil, 5)",
    b"cmsgpack.unpack_one('\\1\\2', {})",
    b"cmsgpack.unpack_one('\\1\\2', 2^33+1)",
    b"cmsgpack.unpack_one('\\1\\2', -2^33-1)",
    b"cmsgpack.unpack_one('\\1\\2', 0/0)",
    b"cmsgpack.unpack_limit('\\1\\2\\3')",
    b"cmsgpack.unpack_limit()",
    b"cmsgpack.unpack_limit('\\1\\2\\3', nil)",
    b"cmsgpack.unpack_limit('\\1\\2\\3', 0)",
    b"cmsgpack.unpack_limit('\\1\\2\\3', 2)",
    b"cmsgpack.unpack_limit('\\1\\2\\3', 3)",
    b"cmsgpack.unpack_limit('\\1\\2\\3', 4)",
    b"cmsgpack.unpack_limit('\\1\\2\\3', 1, 2)",
    b"cmsgpack.unpack_limit('\\1\\2\\3', 0, 2)",
    b"cmsgpack.unpack_limit('\\1\\2\\3', 0, 3)",
    b"cmsgpack.unpack_limit('\\1\\2\\3', -1)",
    b"cmsgpack.unpack_limit('\\1\\2\\3', 1, -1)",
    b"cmsgpack.unpack_limit('\\1\\2\\3', 1, 4)",
    b"cmsgpack.unpack_limit({}, 1)",
    b"cmsgpack.unpack_limit('', 1)",
    b"cmsgpack.unpack_limit('', 0)",
    b"cmsgpack.unpack_limit('\\193', 0)",
)
for depth in (15, 16, 17, 20):
    _add(b"cmsgpack.pack(t)", before=b"local t = {} for i = 1, %d do t = {t} end" % depth)
    _add(b"cmsgpack.pack(t)", before=b"local t = {} for i = 1, %d do t = {a=t} end" % depth)
for count in (0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536):
    _add(b"cmsgpack.pack(string.rep('x', %d))" % count, b"#cmsgpack.unpack(cmsgpack.pack(string.rep('x', %d)))" % count)
    _add(b"string.sub(cmsgpack.pack(t), 1, 40)", before=b"local t = {} for i = 1, %d do t[i] = i end" % count)
    _add(b"string.sub(cmsgpack.pack(t), 1, 40)", before=b"local t = {x=1} for i = 1, %d do t[i] = i end" % count)
NUMBERS = b"0 1 127 128 255 256 65535 65536 2^31-1 2^31 2^32-1 2^32 2^53 2^62 2^63 2^64 1e30 1e300 0.5 0.1 1.1 "
NUMBERS += b"1e-40 1e-45 1e-46 "
NUMBERS += b"2^-149 2^-150 2^-1022 2^-1074 5e-324 3.4028234663852886e38 3.4028235677973366e38 3.5e38 "
NUMBERS += b"1/0 16777217 33554433.5 32 33 129 2^15 2^47+1"
NUMERALS = [sign + number for number in NUMBERS.split() for sign in (b"", b"-")] + [
    b"0/0",
    b"-(0/0)",
    b"'12'",
    b"' 0x1f '",
]
for numeral in NUMERALS:
    _add(b"cmsgpack.pack(%s), cmsgpack.unpack(cmsgpack.pack(%s))" % (numeral, numeral))
BAD_PACKS = [
    bytes([code]) + tail for code in range(128, 256) for tail in (b"", b"\x01", b"\xff\xff", b"\xc0" * 9, b"\x80" * 17)
]
BAD_PACKS += [
    b"\x81\xc0\x01",
    b"\x81\xca\x7f\xc0\x00\x00\x01",
    b"\x93\x01\xc0\x03",
    b"\xdd\xff\xff\xff\xff\x01",
    b"\x01\xc1",
    b"\x92\x01",
]
for text in BAD_PACKS:
    _add(b"cmsgpack.unpack(%s)" % quote(text))
for code, counts in ((b"\\145", (3999, 4000, 4001)), (b"\\1", (7998, 7999, 8000))):
    for count in counts:
        _add(b"cmsgpack.unpack(string.rep('%s', %d))" % (code, count), before=b"")
        _add(b"select('#', cmsgpack.unpack(string.rep('%s', %d)))" % (code, count))
        _add(b"select('#', cmsgpack.unpack_limit(string.rep('%s', %d), 9999))" % (code, count))
for count in (3999, 4000, 4001):
    _add(
        b"cmsgpack.unpack(string.rep('\\129\\1', %d))" % count,
        b"cmsgpack.unpack(string.rep('\\129', %d))" % (2 * count),
    )

# struct
LAYOUTS = b"b B h H l L T i I i1 I3 i7 I8 i0 I0 i9 i12 i16 I16 i32 f d >b >H >l >I3 >i9 >i16 >f >d <d "
LAYOUTS += b"!4bi !bd !8bl >!2bi !16bi16 !8bi3 !8bbi7"
for layout in LAYOUTS.split():
    zeros = b"1, " * (len([letter for letter in layout if chr(letter).isalpha()]) - 1)
    for numeral in (*NUMERALS, b"1.5*2^63", b"-2.7", b"2.7"):
        _add(b"struct.pack('%s', %s%s)" % (layout, zeros, numeral))
    for data in (
        b"\x01",
        b"\xff",
        b"\x80",
        b"\x7f",
        b"\x00\x01",
        b"\x00\x00\x00\x00\x00\x00\x00\x80",
        b"\x12\x34\x56\x78\x9a\xbc\xde\xf0",
    ):
        _add(b"struct.unpack('%s', %s)" % (layout, quote((data * 80)[:80])))
    _add(b"struct.size('%s')" % layout)
_add(
    b"struct.pack()",
    b"struct.pack(1)",
    b"struct.pack({})",
    b"struct.pack('')",
    b"struct.pack('', 1, 2)",
    b"struct.pack('b')",
    b"struct.pack('bb', 1)",
    b"struct.pack('bb', 1, nil)",
    b"struct.pack('b', 'x')",
    b"struct.pack('b', {})",
    b"struct.pack('s')",
    b"struct.pack('s', {})",
    b"struct.pack('s', 12)",
    b"struct.pack('ss', 'a\\0b', '')",
    b"struct.pack('c', 'abc')",
    b"struct.pack('c0', 'abc')",
    b"struct.pack('c5', 'abc')",
    b"struct.pack('c3c2', 'abc', 'd')",
    b"struct.pack('c', '')",
    b"struct.pack('x!4xi', 1)",
    b"struct.pack('!4 b c0 i', 1, 'abc', 2)",
    b"struct.pack('!8xsxd', 'a', 1)",
    b"struct.pack(' > h < h ', 1, 1)",
    b"struct.pack('q')",
    b"struct.pack('b5', 1)",
    b"struct.pack('z')",
    b"struct.pack('\\200')",
    b"struct.pack('%')",
    b"struct.pack('b\\0q', 1)",
    b"struct.pack('i33', 1)",
    b"struct.pack('i99999999999', 1)",
    b"struct.pack('i2147483648', 1)",
    b"struct.pack('c2147483647', 'a')",
    b"struct.pack('!3')",
    b"struct.pack('!0')",
    b"struct.pack('!1024')",
    b"struct.pack('!2147483648')",
    b"struct:pack()",
    b"struct:size()",
    b"pcall(struct.pack, 'q')",
    b"struct.unpack()",
    b"struct.unpack('b')",
    b"struct.unpack('b', {})",
    b"struct.unpack('b', 1)",
    b"struct.unpack('b', '')",
    b"struct.unpack('bb', 'a')",
    b"struct.unpack('', 'a')",
    b"struct.unpack('', 'a', 5)",
    b"struct.unpack(' ', 'a', 5)",
    b"struct.unpack('', 'a', 0)",
    b"struct.unpack('', 'a', -5)",
    b"struct.unpack('b', 'a', -5)",
    b"struct.unpack('!8d', 'abcdefgh', -1)",
    b"struct.unpack('b', 'abc', 2)",
    b"struct.unpack('b', 'abc', '2')",
    b"struct.unpack('b', 'abc', 2.9)",
    b"struct.unpack('b', 'abc', 0.5)",
    b"struct.unpack('b', 'abc', {})",
    b"struct.unpack('b', 'abc', nil)",
    b"struct.unpack('b', 'abc', 1e30)",
    b"struct.unpack('b', 'abc', 4)",
    b"struct.unpack('s', 'abc')",
    b"struct.unpack('s', 'ab\\0c')",
    b"struct.unpack('ss', 'ab\\0\\0c')",
    b"struct.unpack('s', '')",
    b"struct.unpack('c', 'abc')",
    b"struct.unpack('c2', 'abc')",
    b"struct.unpack('c4', 'abc')",
    b"struct.unpack('c0', 'abc')",
    b"struct.unpack('bc0', '\\2abc')",
    b"struct.unpack('bc0', '\\0abc')",
    b"struct.unpack('bc0', '\\9abc')",
    b"struct.unpack('bc0', '\\255abc')",
    b"struct.unpack('cc0', '2abc')",
    b"struct.unpack('cc0', 'xabc')",
    b"struct.unpack('c4c0', '0x02abc')",
    b"struct.unpack('bc0c0', '\\1a2')",
    b"struct.unpack('bc0c0', '\\1' .. '1' .. '2')",
    b"struct.unpack('<fc0', struct.pack('<f', 2.5) .. 'abc')",
    b"struct.unpack('<fc0', struct.pack('<f', -0.5) .. 'abc')",
    b"struct.unpack('<fc0', struct.pack('<f', 0/0) .. 'abc')",
    b"struct.unpack('<dc0', struct.pack('<d', 1e300) .. 'abc')",
    b"struct.unpack('bxb', '\\1\\2\\3')",
    b"struct.unpack('x', '')",
    b"struct.unpack('q', 'abc')",
    b"struct.unpack('b7', 'abc')",
    b"struct.unpack('!3', 'abc')",
    b"struct.unpack('!4bi', '\\1\\0\\0\\0\\2\\0\\0\\0')",
    b"struct.unpack('!4bi', '\\1\\0\\0\\0\\2\\0\\0\\0', 2)",
    b"struct.unpack('i40', 'abc')",
    b"struct.size()",
    b"struct.size({})",
    b"struct.size('')",
    b"struct.size('s')",
    b"struct.size('c0')",
    b"struct.size('c')",
    b"struct.size('q5z')",
    b"struct.size('%')",
    b"struct.size('!3')",
    b"struct.size('!8bdb!4i<>c7x')",
    b"struct.size('i33')",
    b"struct.size('b', 1, 2)",
)
for count in (7996, 7997, 7998, 7999):
    _add(b"select('#', struct.unpack(string.rep('b', %d), string.rep('x', 9000)))" % count)
    _add(b"select('#', struct.unpack(string.rep('b', %d), string.rep('x', 9000), 1))" % count)

# bit
OPERANDS = (
    b"0 1 -1 2 31 32 33 255 0x7fffffff 0x80000000 0xffffffff -0x80000000 2^32 2^33+5 1.5 2.5 -1.5 0.5 '7' '0x1f' 1e10 "
)
OPERANDS += b"2^51 2^51+1 -2^51-3 "
OPERANDS += b"2^52 2^53+2 1e17 -1e17 1e300 -1e300 2^62+2^40 -6755399441055744 1/0 -1/0 0/0"
for operand in OPERANDS.split():
    for name in (b"tobit", b"bnot", b"bswap", b"tohex", b"band", b"bor", b"bxor"):
        _add(b"bit.%s(%s)" % (name, operand))
    for name in (b"band", b"bor", b"bxor"):
        _add(b"bit.%s(%s, 0x12345678, 0xf0f0ffff)" % (name, operand), b"bit.%s(0x12345678, %s)" % (name, operand))
    for name in (b"lshift", b"rshift", b"arshift", b"rol", b"ror"):
        _add(b"bit.%s(0x87654321, %s)" % (name, operand), b"bit.%s(%s, 3)" % (name, operand))
    _add(b"bit.tohex(0x8765fedc, %s)" % operand, b"bit.tohex(0x8765fedc, -(%s))" % operand)
for name in b"tobit bnot bswap tohex band bor bxor lshift rshift arshift rol ror".split():
    _add(
        *(
            b"bit.%s(%s)" % (name, arguments)
            for arguments in b" |nil|'x'|{}|1,nil|1,'x'|1,{}|1,2,nil|1,'x','y'|1,2,3".split(b"|")
        )
    )
    _add(b"bit:%s()" % name, b"pcall(bit.%s)" % name)
