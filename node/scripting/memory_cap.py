"""The memory that one Lua world may have: `lua-memory-limit`.

lupa's allocator refuses what goes beyond a limit, and Lua raises "not enough memory". Inside Lua that is an error like
any other. Inside lupa's own code it would jump over Python frames, which ends the process; so whoever crosses from
Python to Lua makes sure first that there is room, and RESERVE is kept for the small things that always cross: numbers,
errors, short texts. What crosses from Lua needs memory for nothing but references to its arguments: `spare_references`.

A run that goes beyond the limit ends with an error; its garbage is collected, and the next run finds room again.
"""

from __future__ import annotations

from typing import Any, Final

#: Kept free for what crosses without being asked.
RESERVE: Final = 1 << 20
#: As many arguments as a C function of Lua takes (8,000), and some: see `spare_references`. Lua rounds up to 8,192.
REFERENCES: Final = 8100


class MemoryCap:
    """The limit of one Lua world. `limit`: bytes beside what an empty world takes, 0 for none."""

    __slots__ = ("_set", "_used", "exceeded", "limit")

    def __init__(self, lua: Any, limit: int) -> None:
        self._used = lua.get_memory_used
        self._set = lua.set_max_memory
        self.limit = 0
        #: The run under way went beyond the limit and must end.
        self.exceeded = False
        self.set_limit(limit)

    def set_limit(self, limit: int) -> None:
        """Another limit, from now on."""
        self.limit = max(limit, 2 * RESERVE) if limit else 0
        self._set(self.limit)

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes may cross into Lua."""
        limit = self.limit
        return not limit or self._used() + size + RESERVE <= limit

    def lift(self) -> None:
        """No limit for what follows: something of unknown size crosses, and is looked at afterwards."""
        self._set(0)

    def restore(self) -> None:
        """The limit counts again, once there is room for the small things."""
        limit = self.limit
        self._set(limit and max(limit, self._used() + RESERVE))

    def exceed(self) -> None:
        """The run under way must end: it gets just enough room for that."""
        self.exceeded = True
        self.restore()


def spare_references(lua: Any) -> None:
    """Make Lua's table of references so long that the arguments of a call fit in without memory being allocated."""
    references = [lua.globals() for _ in range(REFERENCES)]
    references.clear()
