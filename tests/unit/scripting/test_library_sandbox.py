"""What all script libraries promise: plain functions, string errors, nothing of Python, no need for any global."""

from __future__ import annotations

import pytest

from tests.support.script_libraries import bare_runtime

LIBRARIES = (b"cjson", b"cmsgpack", b"struct", b"bit")

WALK = b"""
local found = {}
for _, name in ipairs{'cjson', 'cmsgpack', 'struct', 'bit'} do
    for key, value in pairs(_G[name]) do found[#found + 1] = name .. '.' .. key .. ' ' .. type(value) end
end
table.sort(found)
return table.concat(found, '\\n')
"""

UPVALUES = b"""
local seen, strange = {}, {}
local function visit(value, path)
    if seen[value] or type(value) ~= 'table' and type(value) ~= 'function' and type(value) ~= 'userdata' then return end
    seen[value] = true
    if type(value) == 'userdata' then
        if value ~= cjson.null then strange[#strange + 1] = path end
    elseif type(value) == 'table' then
        for key, item in pairs(value) do visit(item, path .. '.' .. tostring(key)) end
    else
        for i = 1, math.huge do
            local name, item = debug.getupvalue(value, i)
            if not name then break end
            visit(item, path .. '>' .. name)
        end
    end
end
for _, name in ipairs{'cjson', 'cmsgpack', 'struct', 'bit'} do visit(_G[name], name) end
return table.concat(strange, ' ')
"""


def test_libraries_hold_functions_strings_and_one_null() -> None:
    kinds = [line.split() for line in bare_runtime().execute(WALK).decode().splitlines()]
    assert {kind for name, kind in kinds if "_" not in name.split(".")[1][0]} == {"function", "userdata"}
    assert [name for name, kind in kinds if kind == "userdata"] == ["cjson.null"]
    assert len(kinds) == 13 + 8 + 3 + 12


def test_nothing_of_python_is_reachable_through_upvalues() -> None:
    assert bare_runtime().execute(UPVALUES) == b""


@pytest.mark.parametrize("library", LIBRARIES)
def test_error_is_a_string_even_when_called_without_a_script(library: bytes) -> None:
    script = b"local kinds = {} for _, f in pairs(%s) do if type(f) == 'function' then " % library
    script += (
        b"local ok, e = pcall(f, {}, {}, {}, {}, {}) kinds[type(e)] = not ok or kinds[type(e)] end end return kinds"
    )
    failed = {kind for kind, value in bare_runtime().execute(script).items() if value}
    assert b"string" in failed
    assert failed <= {b"string", b"table"}  # cjson.new() gives a table


def test_libraries_work_when_every_global_is_gone() -> None:
    lua = bare_runtime()
    script = b"""
    local cjson, cmsgpack, struct, bit, pcall, select = cjson, cmsgpack, struct, bit, pcall, select
    local g = _G
    for _, name in g.ipairs{'string', 'table', 'math', 'debug'} do
        for key in g.pairs(g[name]) do g[name][key] = nil end
    end
    for key in g.pairs(g) do g[key] = nil end
    local text = cjson.encode(cjson.decode('[1,"a\\\\u0041",{"b":[0.5]}]'))
    local number, float = cmsgpack.unpack(cmsgpack.pack(5, 0.1))
    local size = struct.unpack('>!4bd', struct.pack('>!4bd', 3, 0.1))
    local ok, problem = pcall(function() local x = cjson.decode('x') return x end)
    return text, number, float, size, bit.band(6, 3), problem
    """
    text, number, float_, size, both, problem = lua.execute(script, name=b"@user_script")
    assert text == b'[1,"aA",{"b":[0.5]}]'
    assert (number, float_, size, both) == (5, 0.1, 3, 2)
    assert problem == b"user_script:11: Expected value but found invalid token at character 1"


def test_error_of_a_tail_call_names_the_function_but_no_line() -> None:
    lua = bare_runtime()
    script = b"return select(2, pcall(function() return cjson.encode() end))"
    assert lua.execute(script, name=b"@user_script") == b"bad argument #1 to 'encode' (expected 1 argument)"
