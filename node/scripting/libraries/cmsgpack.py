"""The `cmsgpack` library of scripts (cmsgpack.lua): MessagePack from Lua values and back.

Written in Lua, see the package's docstring. A table of 100 numbers is packed in 48 us and unpacked in 26 us. Listing
the values of such a table in Python takes 8 us (by index 27 us), and then no byte is packed yet: too little to win for
a second language and Python objects within reach of scripts.

Rules of the original library beyond the format (https://github.com/msgpack/msgpack/blob/master/spec.md):

- a number that a 64-bit integer can hold is packed as the shortest integer, any other as a single if that is exact,
  else as a double. What comes in as an unsigned integer of 64 bits becomes negative from 2^63 upwards;
- a table is an array if its keys are exactly 1..n (so is the empty one), else a map; its 17th level of nesting becomes
  nil, which also ends cycles. Functions, threads and userdata become nil;
- strings are packed by `str`, never by `bin`; `bin`, `ext` and timestamps are a bad format when they come in;
- `pack` puts its arguments one after the other, `unpack` returns them all; `unpack_one` and `unpack_limit` return
  first the offset to go on from (-1: nothing left).
"""

from __future__ import annotations

from slotmesh.node.scripting.libraries.support import Runtime, load_shared, run_chunk


def install(lua: Runtime) -> None:
    """Create the global table `cmsgpack`."""
    run_chunk(lua, "cmsgpack", load_shared(lua))
