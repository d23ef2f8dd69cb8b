"""The libraries that scripts find beside Lua's own: `cjson`, `cmsgpack`, `struct` and `bit`.

All four are written in Lua and live inside the runtime: a call of one of them does not cross the border to Python, and
no Python object is reachable from a script through them. A call of a Python function from Lua costs 0.5 us, as much as
the eight table look-ups of `bit.band`, and a table crosses element by element: most of what C code on the other
side wins is lost on the way. The figures are in the docstrings of the modules. Installing all four takes 3 ms.

Install them into a fresh runtime, before `debug` and `newproxy` are taken away: their Lua code keeps what it needs in
upvalues and reads no global later, so what the sandbox removes or replaces afterwards does not matter to it.
"""

from __future__ import annotations

from typing import Final

from slotmesh.node.scripting.libraries import bits, cjson, cmsgpack, structs
from slotmesh.node.scripting.libraries.support import Runtime

_MODULES: Final = {b"cjson": cjson, b"cmsgpack": cmsgpack, b"struct": structs, b"bit": bits}


def install_library(lua: Runtime, name: bytes) -> None:
    """Create one of the globals in `lua`."""
    _MODULES[name].install(lua)


def install_all(lua: Runtime) -> None:
    """Create the globals `cjson`, `cmsgpack`, `struct` and `bit` in `lua`, a runtime with `encoding=None`."""
    for name in _MODULES:
        install_library(lua, name)
