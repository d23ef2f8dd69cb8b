"""What parts of the replication call upwards: the node, and `Replication` itself as its parts see it."""

from __future__ import annotations

from typing import Protocol

from slotmesh.node.clients.client import Client
from slotmesh.node.clustering.host import ClusterHost
from slotmesh.node.replication.handshake import FullSync, OldSync


class Node(Protocol):
    """The node as a whole."""

    @property
    def cluster(self) -> ClusterHost | None:
        """The cluster that it is a member of."""

    def refresh_write_gate(self) -> None:
        """To be called when something changed that decides whether clients may write."""

    def flush(self) -> None:
        """Send what clients and replicas are owed."""

    def role_changed(self, *, is_replica: bool) -> None:
        """The role is another one now."""

    def acknowledged(self) -> None:
        """A replica told how far it is."""


class Roles(Protocol):
    """What this node is to others, and how that is changed."""

    @property
    def is_replica(self) -> bool:
        """Whether it follows a primary."""

    def become_primary(self) -> None:
        """Follow nobody, and take writes."""

    def become_replica_of(self, host: str, port: int) -> None:
        """Follow a primary."""


class LinkOwner(Protocol):
    """Who decides what the data here are, and tells others how the link stands."""

    def on_link_changed(self) -> None:
        """The link has another state."""

    def resume_point(self) -> tuple[bytes, int] | None:
        """(history, next offset) to ask the primary for; None: a full sync is needed."""

    def on_resumed(self, replid: bytes | None) -> None:
        """The primary goes on with the stream from where we are, perhaps under a new name."""

    def on_snapshot_begins(self) -> None:
        """The data here is about to be replaced by the primary's."""

    def on_snapshot_loaded(self, answer: FullSync | OldSync, aux: dict[bytes, bytes]) -> None:
        """The data here is the primary's, at the offset it said."""

    def reset_primary_client(self, client: Client) -> None:
        """The link is down: what of a transaction was queued did not happen."""

    def ack_command(self) -> bytes:
        """What tells the primary how far we are."""
