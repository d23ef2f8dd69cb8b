"""The `bit` library of scripts (bits.lua): operations on numbers as 32-bit words; results are signed.

Lua 5.1 has no bit operators. `band` walks both words in nibbles through a table of 256 entries, `bor` and `bxor`
follow from it (a|b = a+b-(a&b), a^b = a+b-2(a&b)), shifts are multiplications. Eight look-ups take 0.6 us; a call of
Python's `operator.and_` from Lua takes 0.5 us, much the same, and would put a Python object behind the function.

A number becomes a word as in the original: round to the nearest integer, ties to even, modulo 2^32. The original gets
that by adding 2^52 + 2^51 and taking the low half of the double; from 2^51 upwards its result is whatever these bits
are, and so is ours.
"""

from __future__ import annotations

from slotmesh.node.scripting.libraries.support import Runtime, load_shared, run_chunk


def install(lua: Runtime) -> None:
    """Create the global table `bit`."""
    run_chunk(lua, "bits", load_shared(lua))
