"""What the cluster needs of the replication."""

from __future__ import annotations

from typing import Protocol


class Roles(Protocol):
    """Replication: how this node stands, and how its role is changed."""

    can_resume: bool
    """Whether the data here is a known state of a history."""

    @property
    def offset(self) -> int:
        """Bytes of the stream produced, or applied by a replica."""

    @property
    def primary_link_up(self) -> bool:
        """Whether a replica follows its primary's stream right now."""

    @property
    def primary_offset_age_ms(self) -> int | None:
        """Time since a primary of this history was last heard."""

    def offset_to_succeed(self) -> int:
        """The offset that a replica would take its primary's place with."""

    def become_primary(self) -> None:
        """Follow nobody, and take writes."""

    def become_replica_of(self, host: str, port: int, *, may_resume: bool = True) -> None:
        """Follow a primary. `may_resume`: what is here may be the beginning of what it has."""
