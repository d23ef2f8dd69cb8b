"""Which stream of changes a data set comes from, and whether a replica may resume it.

A replication id names one history of changes; a primary's data set is that history up to an offset. When a replica is
promoted it goes on under a new id and remembers the old one, with the offset up to which both histories are the same:
replicas of the old primary that had not passed that point may resume from the new one. (PSYNC2; the rule is stock's.)

Pure: ids are made by the caller.
"""

from __future__ import annotations

from typing import Final

import attrs

from slotmesh.node.replication.backlog import Backlog

ID_LENGTH: Final = 40
NO_ID: Final = b"0" * ID_LENGTH
#: A stream that is told to have come this far is none: its offset must have room to grow within 64 bits.
MOST_CREDIBLE_OFFSET: Final = 2**62


def is_replication_id(text: bytes) -> bool:
    """Whether `text` can be the name of a history: 40 letters and digits, so that INFO, logs and files can show it."""
    return len(text) == ID_LENGTH and text.isalnum()


@attrs.define
class History:
    """`replid` names the present history; `replid2` the one before, which is the same below `second_offset`."""

    replid: bytes
    replid2: bytes = NO_ID
    second_offset: int = -1

    def branch(self, new_id: bytes, offset: int) -> None:
        """Go on under `new_id` from the byte after `offset`: a replica was promoted."""
        self.replid2 = self.replid
        self.second_offset = offset + 1
        self.replid = new_id

    def restart(self, new_id: bytes) -> None:
        """A history that shares nothing with any other."""
        self.replid = new_id
        self.forget_second()

    def forget_second(self) -> None:
        """No other history leads up to this one."""
        self.replid2 = NO_ID
        self.second_offset = -1

    def why_not_resume(self, asked_id: bytes, asked_offset: int, backlog: Backlog | None) -> str | None:
        """Why a replica that asks for byte `asked_offset` of history `asked_id` and all behind it needs a full sync.

        None: it may resume. The texts are for the log.
        """
        asked = asked_id.lower()
        if asked[:1] == b"?":
            return "it asked for a full resync"
        if asked != self.replid:
            if asked != self.replid2:
                return (
                    f"Replication ID mismatch (Replica asked for '{asked_id.decode(errors='replace')}', my "
                    f"replication IDs are '{self.replid.decode()}' and '{self.replid2.decode()}')"
                )
            if asked_offset > self.second_offset:
                return f"requested offset for second ID was {asked_offset}, but I can reply up to {self.second_offset}"
        if backlog is None:
            return "there is no backlog"
        if not backlog.holds(asked_offset):
            return (
                f"lack of backlog (Replica request was: {asked_offset}, held are {backlog.first_offset} "
                f"up to {backlog.next_offset})"
            )
        return None
