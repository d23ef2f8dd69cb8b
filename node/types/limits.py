"""The thresholds at which the stock server changes an encoding (OBJECT ENCODING reports them; clients and tests look).

Our containers have one representation each; they keep only the fact which encoding stock would have by now. The numbers
are live configuration: CONFIG SET writes them here.
"""

from __future__ import annotations


class Limits:
    """Entries and element bytes up to which a value counts as compact. Names are those of redis.conf."""

    __slots__ = (
        "hash_max_listpack_entries",
        "hash_max_listpack_value",
        "list_alone_bytes",
        "list_max_listpack_size",
        "set_max_intset_entries",
        "set_max_listpack_entries",
        "set_max_listpack_value",
        "stream_idmp_duration",
        "stream_idmp_maxsize",
        "stream_node_max_bytes",
        "stream_node_max_entries",
        "zset_max_listpack_entries",
        "zset_max_listpack_value",
    )

    def __init__(self) -> None:
        self.hash_max_listpack_entries = 512
        self.hash_max_listpack_value = 64
        self.list_max_listpack_size = -2
        #: Elements of this length are list nodes of their own; 0: as the node size has it. Only DEBUG sets it.
        self.list_alone_bytes = 0
        self.set_max_intset_entries = 512
        self.set_max_listpack_entries = 128
        self.set_max_listpack_value = 64
        self.zset_max_listpack_entries = 128
        self.zset_max_listpack_value = 64
        self.stream_node_max_bytes = 4096
        self.stream_node_max_entries = 100
        self.stream_idmp_duration = 100
        self.stream_idmp_maxsize = 100


#: Read by the value classes, written by CONFIG SET.
LIMITS = Limits()
