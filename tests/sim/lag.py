"""A replica that applies its primary's stream more slowly than it receives it (docs/adr/0034).

The data of the models are an offset. What a replica has received and not applied is worth nothing while the primary
works; once the stream has ended it counts, and is applied before the replica becomes a primary.
"""

from __future__ import annotations

from attrs import define

NO_LAG = 1 << 40


@define
class Lag:
    """What a replica has received, and how much it applies between two looks. It is lost with the process."""

    pace: int = NO_LAG
    received: int = 0

    def receive(self, applied: int, offset: int) -> int:
        """The primary is at `offset`: what is applied now."""
        if offset < applied:
            applied = offset  # another history: a full synchronization
        self.received = offset
        return self.apply(applied)

    def apply(self, applied: int) -> int:
        """A while later: what is applied now."""
        return max(applied, min(self.received, applied + self.pace))

    def to_succeed(self, applied: int, *, linked: bool) -> int:
        """The offset with which the replica would take its primary's place."""
        return applied if linked else max(applied, self.received)

    def drain(self, applied: int) -> int:
        """Before the replica becomes a primary: what is applied then."""
        return max(applied, self.received)

    def restart(self, applied: int) -> None:
        """Of a process that died only what it had applied is there."""
        self.received = applied
