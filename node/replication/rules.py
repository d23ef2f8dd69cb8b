"""What clients may do here, by the role of this node: write at all, read old data, see keys past their expiry."""

from __future__ import annotations

from collections.abc import Callable

from slotmesh.node.base import errors
from slotmesh.node.base.errors import ErrorReply
from slotmesh.node.base.gates import SERVER_PAUSED
from slotmesh.node.keyspace.database import DELETE, HIDE, HIDE_FROM_READS
from slotmesh.node.replication.replicas import Replicas
from slotmesh.node.state import NodeState


class Rules:
    """The rules of one node."""

    def __init__(
        self, state: NodeState, replicas: Replicas, is_replica: Callable[[], bool], link_is_up: Callable[[], bool]
    ) -> None:
        """`link_is_up`: whether a replica follows its primary's stream right now."""
        self._state = state
        self._replicas = replicas
        self._is_replica = is_replica
        self._link_is_up = link_is_up

    @property
    def expiry_mode(self) -> int:
        """What this node does with keys past their expiry when a client asks."""
        if self._is_replica():
            return HIDE if self._state.config.replica_read_only else HIDE_FROM_READS
        if self._state.gates & SERVER_PAUSED:
            return HIDE
        return HIDE_FROM_READS if self._state.config.import_mode else DELETE

    def refresh_expiry_mode(self) -> None:
        """Have the keyspace follow `expiry_mode`."""
        self._state.keyspace.expiry_ignored.otherwise(self.expiry_mode)

    def write_refusal(self) -> ErrorReply | None:
        """Why clients may not write: this is a read-only replica, or a primary with too few replicas."""
        config = self._state.config
        if self._is_replica():
            return errors.READ_ONLY if config.replica_read_only else None
        if config.min_replicas_max_lag and self._replicas.good < config.min_replicas_to_write:
            return errors.NO_REPLICAS
        return None

    def is_stale(self) -> bool:
        """Whether the data may be old and must then not be served."""
        return self._is_replica() and not self._link_is_up() and not self._state.config.replica_serve_stale_data
