"""What the script libraries share: errors that look as if a C function had raised them, arguments, IEEE 754 bits.

The libraries are Lua closures where the stock server has C functions, so three things have to be rebuilt (support.lua):

- the place in an error text is that of the script's line, not of ours, however deep in a recursion the error is found.
  `fail` looks for the public function on the call stack (only when something fails) and blames its caller;
- `bad argument #1 to 'encode'` names the function as the call named it: Lua's own debug information gives that name;
- the C functions keep what they work on upon Lua's stack, which ends at 8000 slots. Where that limit decides a result
  (very deep nesting, thousands of results) the libraries count the slots that theirs would have used.

One thing cannot be rebuilt here: `return cjson.decode(x)` is a tail call. It replaces the frame of the script when the
callee is a closure, but not when it is a C function, so there the text has no place. It would need a C function that
raises a string, and lupa makes C functions only of Python callables, which raise Python objects.

Numbers become bytes through `frexp`/`ldexp`: exact, no crossing. A NaN keeps its sign but not its payload.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

_HERE = Path(__file__).parent


class Runtime(Protocol):
    """The part of `lupa.lua51.LuaRuntime` that an installation needs (lupa has no type stubs)."""

    def execute(self, code: bytes, *arguments: object, name: bytes) -> object:
        """Compile and run `code` with `arguments` as `...`; return what it returns."""
        ...


def run_chunk(lua: Runtime, name: str, *arguments: object) -> object:
    """Run the file `name`.lua of this package with `arguments` as `...`; return what it returns."""
    return lua.execute((_HERE / f"{name}.lua").read_bytes(), *arguments, name=b"=" + name.encode())


def load_shared(lua: Runtime) -> object:
    """A new table of the shared functions. One per library: it also knows which functions of the library are public."""
    return run_chunk(lua, "support")
