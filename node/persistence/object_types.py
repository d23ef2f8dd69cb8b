"""The type bytes of RDB objects (stock: `rdb.h`), and what a list node says of itself."""

from __future__ import annotations

from typing import Final

STRING: Final = 0
LIST: Final = 1
SET: Final = 2
ZSET: Final = 3
HASH: Final = 4
ZSET_2: Final = 5
HASH_ZIPMAP: Final = 9
LIST_ZIPLIST: Final = 10
SET_INTSET: Final = 11
ZSET_ZIPLIST: Final = 12
HASH_ZIPLIST: Final = 13
LIST_QUICKLIST: Final = 14
STREAM_LISTPACKS: Final = 15
HASH_LISTPACK: Final = 16
ZSET_LISTPACK: Final = 17
LIST_QUICKLIST_2: Final = 18
STREAM_LISTPACKS_2: Final = 19
SET_LISTPACK: Final = 20
STREAM_LISTPACKS_3: Final = 21
HASH_METADATA_OLD: Final = 22
HASH_LISTPACK_EX_OLD: Final = 23
HASH_METADATA: Final = 24
HASH_LISTPACK_EX: Final = 25

#: Containers of a list node: one large element by itself, or a listpack.
PLAIN_NODE: Final = 1
PACKED_NODE: Final = 2
