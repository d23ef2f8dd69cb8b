"""Run a piece of Lua with the script libraries in a bare runtime of ours, and see its results as text.

`snapshot` wraps statements so that one text tells everything: how many results there are, their types and exact values
(numbers with 17 digits, so that -0, nan and -nan differ), or the error. The same text is what EVAL on stock returns.
"""

from __future__ import annotations

from typing import Any

import lupa.lua51

from slotmesh.node.scripting.libraries import install_all

_PRELUDE = rb"""local function show(value)
  local kind = type(value)
  if kind == 'number' then return string.format('%.17g', value) end
  if kind == 'string' then return string.format('%q', value) end
  if kind ~= 'table' then return kind == 'function' and kind or tostring(value) end
  local entries = {}
  for key, item in pairs(value) do entries[#entries + 1] = show(key) .. '=' .. show(item) end
  table.sort(entries)
  return '{' .. table.concat(entries, ', ') .. '}'
end
local function show_all(...)
  local texts = {}
  for i = 1, select('#', ...) do texts[i] = show((select(i, ...))) end
  return table.concat(texts, ' | ')
end
"""


def bare_runtime() -> Any:
    """A runtime with the four libraries and nothing else of ours."""
    lua = lupa.lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True, register_eval=False)
    install_all(lua)
    return lua


def quote(value: bytes) -> bytes:
    """`value` as a Lua string literal."""
    return b'"' + b"".join(b"\\%03d" % code for code in value) + b'"'


def snapshot(expression: bytes, before: bytes = b"") -> bytes:
    """A script that returns the results of `expression` (evaluated after the statements `before`), or its error.

    The whole is one line: error texts name line 1 wherever the prelude ends.
    """
    line = b" ".join(_PRELUDE.split(b"\n"))
    return line + b"return show_all(pcall(function() %s return (function(...) return ... end)(%s) end))" % (
        before,
        expression,
    )


def run_here(lua: Any, script: bytes) -> bytes:
    """Run `script` under the name that a server gives to scripts."""
    result = lua.execute(script, name=b"@user_script")
    assert isinstance(result, bytes)
    return result
