"""What INFO says at level 7.2 beyond the fields of 7.0: who listens and watches, denials, why clients were closed, and
how the event loop fares.

A cycle of the event loop is one pass of the data plane or one tick of the cron, waiting left out. The section `debug`
is shown only when it is asked for by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from slotmesh.node.acl.check import DENIED_AUTH, DENIED_CHANNEL, DENIED_COMMAND, DENIED_KEY
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.stats import Stats
from slotmesh.node.clients.blocking import Blocking
from slotmesh.node.clients.client import GATE_SUBSCRIBED, Client
from slotmesh.node.clients.tracking import Tracking
from slotmesh.node.clients.watching import Watching
from slotmesh.node.spec import registry
from slotmesh.node.state import NodeState

_NANOS: Final = 1000  # in a microsecond


def clients_fields(
    clients: Collection[Client], tracking: Tracking, blocking: Blocking, watching: Watching
) -> Mapping[str, Any]:
    """Fields of the section `clients`, in behind `tracking_clients`."""
    return {
        "tracking_clients": tracking.clients,
        "pubsub_clients": sum(bool(client.gates & GATE_SUBSCRIBED) for client in clients),
        "watching_clients": sum(bool(client.watched) for client in clients),
        "clients_in_timeout_table": sum(bool(block.deadline_ms) for block in blocking.blocked.values()),
        "total_watched_keys": len(watching),
    }


def stats_fields(stats: Stats, denials: Counter[int]) -> Mapping[str, Any]:
    """Fields of the section `stats`, behind all others."""
    loop = stats.loop
    return {
        "io_threaded_writes_processed": 0,
        "client_query_buffer_limit_disconnections": stats.query_buffer_disconnections,
        "client_output_buffer_limit_disconnections": stats.output_buffer_disconnections,
        "reply_buffer_expands": 0,
        "eventloop_cycles": loop.cycles,
        "eventloop_duration_sum": loop.nanos // _NANOS,
        "eventloop_duration_cmd_sum": sum(spec.nanos for spec in registry.every_spec()) // _NANOS,
        "instantaneous_eventloop_cycles_per_sec": loop.cycle_rate.per_second,
        "instantaneous_eventloop_duration_usec": loop.mean_nanos // _NANOS,
        "acl_access_denied_auth": denials[DENIED_AUTH],
        "acl_access_denied_cmd": denials[DENIED_COMMAND],
        "acl_access_denied_key": denials[DENIED_KEY],
        "acl_access_denied_channel": denials[DENIED_CHANNEL],
    }


def debug_fields(stats: Stats) -> Mapping[str, Any]:
    """The section `debug`."""
    loop = stats.loop
    return {
        "eventloop_duration_aof_sum": loop.log_nanos // _NANOS,
        "eventloop_duration_cron_sum": loop.cron_nanos // _NANOS,
        "eventloop_duration_max": loop.longest_nanos // _NANOS,
        "eventloop_cmd_per_cycle_max": loop.most_commands,
    }


def supply(
    provide: Callable[[str, Callable[[], Mapping[str, Any]]], None],
    state: NodeState,
    clients: Mapping[int, Client],
    tracking: Tracking,
    blocking: Blocking,
    watching: Watching,
    denials: Counter[int],
) -> None:
    """Let `provide` (that of Info) know these fields, if the level is one that has them. `denials`: those by ACLs."""
    if COMPAT.newer:
        provide("clients", lambda: clients_fields(clients.values(), tracking, blocking, watching))
        provide("stats", lambda: stats_fields(state.stats, denials))
        provide("debug", lambda: debug_fields(state.stats))
