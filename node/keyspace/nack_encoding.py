"""The command that stands for a released stream entry where released entries are not known: in logs and on replicas.

XNACK (Redis 8.8) leaves an entry pending without an owner. In the words of the 7.0 line it belongs to a consumer with
an empty name and was delivered at time 0, so that it can be claimed at once there, too. Ours know these words again by
`IDLE 0` before `TIME 0`, which no other XCLAIM that is propagated has.
"""

from __future__ import annotations

from typing import Final

from slotmesh.node.types.stream_group import UNOWNED, Group
from slotmesh.node.types.stream_id import format_id

#: Arguments 6 to 9 of the XCLAIM.
_MARK: Final = [b"IDLE", b"0", b"TIME", b"0"]


def release_command(key: bytes, group: Group, entry_id: int, count: int) -> list[bytes]:
    """The XCLAIM that makes an equal group elsewhere agree on one released entry, delivered `count` times."""
    return [
        *(b"XCLAIM", key, group.name, UNOWNED, b"0", format_id(entry_id), *_MARK, b"RETRYCOUNT", b"%d" % count),
        *(b"FORCE", b"JUSTID", b"LASTID", format_id(group.last_id)),
    ]


def is_release_command(argv: list[bytes]) -> bool:
    """Whether an XCLAIM is one of those."""
    return argv[3] == UNOWNED and argv[6:10] == _MARK and len(argv) == 16
