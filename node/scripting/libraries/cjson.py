"""The `cjson` library of scripts (cjson.lua, cjson_encoder.lua, cjson_decoder.lua): JSON from Lua values and back.

Written in Lua. Measured with a table of 100 numbers (of 100 strings): encoding takes 58 us (60), decoding 31 us (72).
The way through Python is faster as such: fetching the 100 numbers and `json.dumps` take 37 us, `json.loads` and
`table_from` of lupa 11 us. But that is before any of the differences are dealt with, most of which cost a look at every
element: holes and sparse arrays, numbers of 14 digits, strings that are bytes, `null` in tables, positions in error
texts, and the order of `pairs` over a decoded object, which is that of stock only if its table grows key by key.

Rules that are not JSON's but the original library's, and hold here:

- strings are bytes: nothing checks for UTF-8, only control characters, `"`, backslash, `/` and DEL are escaped;
- a table whose keys are all whole numbers >= 1 is an array up to its largest key, holes being null; if that key is
  above `safe` and above `ratio` times the count of elements, it is refused or (by option) becomes an object. An empty
  table is {};
- numbers read like C's `strtod`: hexadecimal, leading zeros, infinity and NaN pass (decode_invalid_numbers(false):
  they do not);
- a NUL byte ends the text, what follows is not looked at.

`cjson.null` is a userdata of `newproxy`: `type`, `==`, `tostring`, and the errors for indexing, calling and arithmetic
are those of the original's NULL light userdata. `getmetatable` tells them apart (false here, nil there). Whoever turns
results of scripts into replies makes nil of every userdata, so of this one.
"""

from __future__ import annotations

from slotmesh.node.scripting.libraries.support import Runtime, load_shared, run_chunk

_MAKE_NULL = b"""
local null = newproxy(true)
local metatable = getmetatable(null)
metatable.__tostring = function()
    return "userdata: (nil)"
end
metatable.__metatable = false
return null
"""


def install(lua: Runtime) -> None:
    """Create the global table `cjson`."""
    shared = load_shared(lua)
    null = lua.execute(_MAKE_NULL, name=b"=cjson")
    encoder = run_chunk(lua, "cjson_encoder", shared, null)
    decoder = run_chunk(lua, "cjson_decoder", shared, null)
    run_chunk(lua, "cjson", shared, null, encoder, decoder)
