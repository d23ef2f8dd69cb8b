"""The `replication` section of INFO: stock's fields, in stock's order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.replication.link import CONNECTED, SYNC

if TYPE_CHECKING:
    from slotmesh.node.base.stats import Stats
    from slotmesh.node.replication.failover import Failover
    from slotmesh.node.replication.link import PrimaryLink
    from slotmesh.node.replication.replicas import Replicas
    from slotmesh.node.replication.stream import Stream
    from slotmesh.node.state import NodeState


class Shown(Protocol):
    """Replication, as the section shows it; `node/replication/manager.py` says what each of its attributes means."""

    can_resume: bool
    failover: Failover
    link: PrimaryLink | None
    replicas: Replicas
    stream: Stream

    @property
    def is_replica(self) -> bool:
        """Whether this node follows a primary."""

    @property
    def offset(self) -> int:
        """Bytes of the stream produced, or applied by a replica."""

    @property
    def unapplied(self) -> int:
        """Bytes received and not applied yet."""

    @property
    def primary_offset_age_ms(self) -> int | None:
        """Time since a primary of this history was last heard."""

    def offset_to_succeed(self) -> int:
        """The offset that a replica would take its primary's place with."""


def replication_fields(state: NodeState, replication: Shown) -> dict[str, Any]:
    """The whole section."""
    stream, replicas, config = replication.stream, replication.replicas, state.config
    backlog = stream.backlog
    fields: dict[str, Any] = {"role": "slave" if replication.is_replica else "master"}
    if replication.is_replica:
        fields |= _replica_fields(state, replication)
    fields["connected_slaves"] = len(replicas)
    if config.min_replicas_to_write and config.min_replicas_max_lag:
        fields["min_slaves_good_slaves"] = replicas.good
    shown = (replica for replica in replicas if replica.state_name)
    for number, replica in enumerate(shown):
        fields[f"slave{number}"] = (
            f"ip={replica.host},port={replica.intro.port},state={replica.state_name},offset={replica.ack_offset},"
            f"lag={replicas.lag_s(replica)}"
        )
    if COMPAT.newer:
        fields["replicas_waiting_psync"] = 0  # of a full synchronisation over two connections, which we have not
    return fields | {
        "master_failover_state": replication.failover.state,
        "master_replid": stream.history.replid.decode(),
        "master_replid2": stream.history.replid2.decode(),
        "master_repl_offset": stream.offset,
        "second_repl_offset": stream.history.second_offset,
        "repl_backlog_active": int(backlog is not None),
        "repl_backlog_size": config.repl_backlog_size,
        "repl_backlog_first_byte_offset": backlog.first_offset if backlog is not None else 0,
        "repl_backlog_histlen": backlog.length if backlog is not None else 0,
    }


def traffic_fields(stats: Stats) -> dict[str, Any]:
    """Bytes of replication, for the `stats` section."""
    return {
        "total_net_repl_input_bytes": stats.repl_input_bytes,
        "total_net_repl_output_bytes": stats.repl_output_bytes,
    }


def memory_fields(stream: Stream) -> dict[str, Any]:
    """What the backlog and the replicas hold, for the `memory` section.

    They share their bytes: what is beyond the size of the backlog is there for a replica only.
    """
    backlog = stream.backlog
    held = backlog.memory if backlog is not None else 0
    size = backlog.size if backlog is not None else 0
    return {
        "mem_replication_backlog": min(held, size),
        "mem_total_replication_buffers": held,
        "mem_clients_slaves": max(0, held - size),
    }


def _replica_fields(state: NodeState, replication: Shown) -> dict[str, Any]:
    """How the link to the primary stands."""
    config, link, now_ms = state.config, replication.link, state.clock.now_ms
    assert link is not None
    up = link.state == CONNECTED
    io_ms = replication.primary_offset_age_ms
    applied = replication.offset_to_succeed() if replication.can_resume else 1
    fields: dict[str, Any] = {
        "master_host": link.host,
        "master_port": link.port,
        "master_link_status": "up" if up else "down",
        "master_last_io_seconds_ago": io_ms // 1000 if up and io_ms is not None else -1,
        "master_sync_in_progress": int(link.state == SYNC),
        "slave_read_repl_offset": replication.offset + replication.unapplied if replication.can_resume else 1,
        "slave_repl_offset": applied,
    }
    if link.transfer is not None:
        total, received = link.transfer.total, link.transfer.received
        fields |= {
            "master_sync_total_bytes": total,
            "master_sync_read_bytes": received,
            "master_sync_left_bytes": total - received,
            "master_sync_perc": f"{received * 100 / total if total else 0:.2f}",
            "master_sync_last_io_seconds_ago": (io_ms or 0) // 1000,
        }
    if not up:
        down_ms = link.down_since_ms
        fields["master_link_down_since_seconds"] = (now_ms - down_ms) // 1000 if down_ms else -1
    return fields | {
        "slave_priority": config.replica_priority,
        "slave_read_only": int(config.replica_read_only),
        "replica_announced": int(config.replica_announced),
    }
