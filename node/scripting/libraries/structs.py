"""The `struct` library of scripts (structs.lua): values to bytes and back by a format string.

Written in Lua, see the package's docstring. A format is a row of one-letter options, read from left to right:

    <  >     little, big endian from here on (at first: little, as the machines that matter are)
    !  !n    align to at most 8 (n, a power of 2) bytes from here on (at first: 1, that is not at all)
    b B h H l L T   integers of 1, 2, 8 bytes (T: like L); small letters are signed
    i I in In       integers of 4 (n, at most 32) bytes
    f d      IEEE 754 single and double
    s        a string that ends with a zero byte
    cn       n bytes (default 1); c0: the whole string when packing, when unpacking as many as the value before says
    x        a zero byte
    space    nothing

Peculiarities of the original that are kept: numbers go through a 64-bit integer, so `i16` of -1 has zeros above its
eighth byte; signed integers wider than 8 bytes extend the sign from the bit that a shift by their size modulo 64 finds;
the message for a string that is too short names the argument behind it; `size` overlooks letters that it does not know.
"""

from __future__ import annotations

from slotmesh.node.scripting.libraries.support import Runtime, load_shared, run_chunk


def install(lua: Runtime) -> None:
    """Create the global table `struct`."""
    run_chunk(lua, "structs", load_shared(lua))
