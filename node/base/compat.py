"""Which version of the stock server a node equals: `compat-level 7.0` (the default), `7.2`, `7.4` or `8.0`.

Most of what came after 7.0 is new commands and options, which a node has at either level. This switch is for the
rest: where a later version answers *the same request* differently (the encoding that OBJECT ENCODING names, an error
text, the command that goes to the replicas, the RDB version of a dump). Level 7.2 is what Redis 7.2 and Valkey 8 do.
Levels 7.4 and 8.0 differ from it by the version that the node tells: clients switch features on by that number
(redis-py its cache from 7.4 on), and what they then use (tracking in RESP3, expiry of hash fields, HGETEX, HSETEX) is
there at every level. Files and payloads stay at RDB version 11, which servers from 7.2 on read.
The level is that of the process and is chosen before the first value exists.
"""

from __future__ import annotations

from typing import Final, Protocol

LEVELS: Final = {"7.0": "7.0.15", "7.2": "7.2.4", "7.4": "7.4.2", "8.0": "8.0.2"}
"""Level -> the version that the node reports."""


class Compat:
    """`newer` is true from level 7.2 on."""

    __slots__ = ("newer", "version")

    def __init__(self) -> None:
        self.newer = False
        self.version = LEVELS["7.0"]

    def choose(self, level: str) -> None:
        """Take a level of LEVELS."""
        self.newer = level != "7.0"
        self.version = LEVELS[level]


#: Written once by the server from its configuration, read wherever the two versions part.
COMPAT: Final = Compat()


def deletion(*, lazy: bool) -> bytes:
    """The command that says in the log, and to replicas, that a key is gone."""
    return b"UNLINK" if lazy else b"DEL"


class LazySettings(Protocol):
    """What of the configuration is asked here."""

    lazyfree_lazy_server_del: bool


def server_deletion(config: LazySettings) -> bytes:
    """What replicas are told when a command emptied or replaced a key as a whole. 7.0 says DEL whatever the setting."""
    return deletion(lazy=COMPAT.newer and config.lazyfree_lazy_server_del)
