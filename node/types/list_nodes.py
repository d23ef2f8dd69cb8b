"""How the stock server would cut a list into nodes: `list-max-listpack-size`, and what it says about the encoding.

A quicklist is a chain of listpacks. The setting bounds one of them: -1 to -5 mean 4 to 64 KB, a positive number means
so many elements (0 counts as 1) and at most 8 KB. Since 7.2 a list that fits into one node is no quicklist at all but
a `listpack`; it becomes a quicklist when it outgrows the bound and a listpack again when it has shrunk to half of it,
so that a list near the bound does not change for ever. (Sources of the rules: quicklist.c and t_list.c of stock.)

Our lists have no nodes, so one thing cannot be told: stock leaves a short list that lies in two nodes, after removals
at its front, a quicklist until the first of them is used up. Here it becomes a listpack at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.types.limits import LIMITS

#: Bytes of a node for the settings -1 to -5.
_NODE_BYTES: Final = (4096, 8192, 16384, 32768, 65536)
#: The bound of a node whose elements are counted.
_COUNTED_NODE_BYTES: Final = 8192
_ANY_NUMBER: Final = 1 << 62
#: Before 7.2 only an element of this size stood by itself.
_ALONE_BYTES_OLD: Final = 1 << 30


@lru_cache(maxsize=8)
def node_bounds(fill: int) -> tuple[int, int]:
    """(bytes, elements) that one node may hold; `fill` is the setting."""
    if fill < 0:
        return _NODE_BYTES[min(-fill, len(_NODE_BYTES)) - 1], _ANY_NUMBER
    return _COUNTED_NODE_BYTES, max(fill, 1)


@lru_cache(maxsize=8)
def packed_bounds(fill: int) -> tuple[int, int]:
    """(bytes, elements) to which a quicklist must have shrunk to become a listpack: half of the one that is set."""
    most_bytes, most = node_bounds(fill)
    return (most_bytes, most >> 1) if fill >= 0 else (most_bytes >> 1, most)


def alone_bytes() -> int:
    """The length from which on an element is a node of its own, without a listpack around it."""
    if LIMITS.list_alone_bytes:
        return LIMITS.list_alone_bytes
    return node_bounds(LIMITS.list_max_listpack_size)[0] + 1 if COMPAT.newer else _ALONE_BYTES_OLD
