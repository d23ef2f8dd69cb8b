"""The fields of every INFO section, from what the node itself knows. Names and order are those of the stock server
(7.0.15).

Fields about things we do not have (threads, jemalloc arenas, modules) carry the value that says so. `server_name`,
`slotmesh_version`, `python_version` and `hot_path` (`node/base/native.py`) are ours: they tell a reader of INFO which
server this really is.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import attrs

from slotmesh import __version__
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.gates import SERVER_LOADING
from slotmesh.node.base.native import HOT_PATH
from slotmesh.node.clients.blocking import Blocking
from slotmesh.node.clients.client import KIND_REPLICA, Client
from slotmesh.node.clients.describe import memory_bytes
from slotmesh.node.clients.pause import Pause
from slotmesh.node.clients.tracking import Tracking
from slotmesh.node.config.list_kinds import format_percentile
from slotmesh.node.memory.eviction import Eviction
from slotmesh.node.memory.used import Memory
from slotmesh.node.observe.info import BaseProvider, human_bytes, ratio
from slotmesh.node.pubsub.registry import PubSub
from slotmesh.node.spec import registry
from slotmesh.node.state import NodeState

Fields = Iterable[tuple[str, Any]]

SLOTMESH_VERSION: Final = __version__


@attrs.frozen
class InfoSources:
    """What the sections are read from."""

    state: NodeState
    clients: Mapping[int, Client]
    blocking: Blocking
    pause: Pause
    tracking: Tracking
    pubsub: PubSub
    memory: Memory
    eviction: Callable[[], Eviction]
    aof_buffered_bytes: Callable[[], int]
    migrate_links: Callable[[], int]
    """Connections that MIGRATE keeps."""
    tracked_expiries: Callable[[], int]
    """Keys that a writable replica will expire itself."""
    cluster_links: Callable[[], tuple[int, int]]
    """Links of the cluster's bus, and the bytes that they hold."""


def server_fields(sources: InfoSources) -> Fields:
    """Who and where this node is."""
    config, clock = sources.state.config, sources.state.clock
    uptime_s = max(0, clock.now_ms - sources.state.started_ms) // 1000
    uname = os.uname()
    return (
        ("redis_version", COMPAT.version),
        ("server_name", "slotmesh"),
        ("slotmesh_version", SLOTMESH_VERSION),
        ("redis_git_sha1", "00000000"),
        ("redis_git_dirty", 0),
        ("redis_build_id", "0"),
        ("redis_mode", "cluster" if config.cluster_enabled else "standalone"),
        ("os", f"{uname.sysname} {uname.release} {uname.machine}"),
        ("arch_bits", 64 if sys.maxsize > 2**32 else 32),
        ("monotonic_clock", "POSIX clock_gettime"),
        ("multiplexing_api", "epoll"),
        ("atomicvar_api", "none"),
        ("gcc_version", "0.0.0"),
        ("python_version", sys.version.split()[0]),
        ("hot_path", HOT_PATH),
        ("process_id", os.getpid()),
        ("process_supervised", config.supervised),
        ("run_id", sources.state.run_id),
        ("tcp_port", config.port),
        ("server_time_usec", time.time_ns() // 1000),
        ("uptime_in_seconds", uptime_s),
        ("uptime_in_days", uptime_s // 86400),
        ("hz", config.hz),
        ("configured_hz", config.hz),
        ("lru_clock", clock.now_ms // 1000 & 0xFFFFFF),
        ("executable", os.path.abspath(sys.argv[0])),
        ("config_file", config.path or ""),
        ("io_threads_active", 0),
    )


def clients_fields(sources: InfoSources) -> Fields:
    """Who is connected."""
    clients = list(sources.clients.values())
    largest_input = max((c.parser.held_bytes for c in clients if c.parser is not None), default=0)
    return (
        ("connected_clients", sum(client.kind != KIND_REPLICA for client in clients)),
        ("cluster_connections", sources.cluster_links()[0]),
        ("maxclients", sources.state.config.maxclients),
        ("client_recent_max_input_buffer", largest_input),
        ("client_recent_max_output_buffer", max((client.unsent_bytes for client in clients), default=0)),
        ("blocked_clients", len(sources.blocking.blocked) + sources.pause.held),
        ("tracking_clients", sources.tracking.clients),
        ("clients_in_timeout_table", sum(bool(block.deadline_ms) for block in sources.blocking.blocked.values())),
        *_blocking_keys(sources),
    )


def _blocking_keys(sources: InfoSources) -> Fields:
    if not COMPAT.newer:
        return ()
    keys, needed = sources.blocking.count_keys()
    return ("total_blocking_keys", keys), ("total_blocking_keys_on_nokey", needed)


def memory_fields(sources: InfoSources) -> Fields:
    """What the memory is used for, as of now. `node/memory/used.py` says how that is known."""
    memory, config = sources.memory, sources.state.config
    memory.sample(sources.state.clock.mono_ms, config.maxmemory)
    used, peak, startup, resident = max(memory.used, 1), max(memory.peak, 1), memory.startup, memory.resident
    client_bytes = sum(memory_bytes(client) for client in sources.clients.values() if client.kind != KIND_REPLICA)
    overhead = min(used, startup + client_bytes)
    dataset = max(0, used - overhead)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    share = dataset * 100 / max(1, used - startup) if used > startup else 0.0
    return (
        ("used_memory", used),
        ("used_memory_human", human_bytes(used)),
        ("used_memory_rss", resident),
        ("used_memory_rss_human", human_bytes(resident)),
        ("used_memory_peak", peak),
        ("used_memory_peak_human", human_bytes(peak)),
        ("used_memory_peak_perc", f"{used * 100 / peak:.2f}%"),
        ("used_memory_overhead", overhead),
        ("used_memory_startup", startup),
        ("used_memory_dataset", dataset),
        ("used_memory_dataset_perc", f"{min(share, 100.0):.2f}%"),
        ("allocator_allocated", used),
        ("allocator_active", resident),
        ("allocator_resident", resident),
        ("total_system_memory", total),
        ("total_system_memory_human", human_bytes(total)),
        ("used_memory_lua", 0),
        ("used_memory_vm_eval", 0),
        ("used_memory_lua_human", "0B"),
        ("used_memory_scripts_eval", 0),
        ("number_of_cached_scripts", 0),
        ("number_of_functions", 0),
        ("number_of_libraries", 0),
        ("used_memory_vm_functions", 0),
        ("used_memory_vm_total", 0),
        ("used_memory_vm_total_human", "0B"),
        ("used_memory_functions", 0),
        ("used_memory_scripts", 0),
        ("used_memory_scripts_human", "0B"),
        ("maxmemory", config.maxmemory),
        ("maxmemory_human", human_bytes(config.maxmemory)),
        ("maxmemory_policy", config.maxmemory_policy),
        ("allocator_frag_ratio", ratio(resident, used)),
        ("allocator_frag_bytes", resident - used),
        ("allocator_rss_ratio", "1.00"),
        ("allocator_rss_bytes", 0),
        ("rss_overhead_ratio", "1.00"),
        ("rss_overhead_bytes", 0),
        ("mem_fragmentation_ratio", ratio(resident, used)),
        ("mem_fragmentation_bytes", resident - used),
        ("mem_not_counted_for_evict", sources.eviction().not_counted_bytes()),
        ("mem_replication_backlog", 0),
        ("mem_total_replication_buffers", 0),
        ("mem_clients_slaves", 0),
        ("mem_clients_normal", client_bytes),
        ("mem_cluster_links", sources.cluster_links()[1]),
        ("mem_aof_buffer", sources.aof_buffered_bytes()),
        ("mem_allocator", "pymalloc"),
        ("active_defrag_running", 0),
        ("lazyfree_pending_objects", sources.state.keyspace.lazy_free.pending),
        ("lazyfreed_objects", sources.state.keyspace.lazy_free.freed),
    )


def persistence_fields(sources: InfoSources) -> Fields:
    """State of snapshots and append-only file, as long as nobody else supplies it: there is neither then."""
    return (
        ("loading", int(bool(sources.state.gates & SERVER_LOADING))),
        ("async_loading", 0),
        ("current_cow_peak", 0),
        ("current_cow_size", 0),
        ("current_cow_size_age", 0),
        ("current_fork_perc", "0.00"),
        ("current_save_keys_processed", 0),
        ("current_save_keys_total", 0),
        ("rdb_changes_since_last_save", sources.state.keyspace.dirty),
        ("rdb_bgsave_in_progress", 0),
        ("rdb_last_save_time", sources.state.started_ms // 1000),
        ("rdb_last_bgsave_status", "ok"),
        ("rdb_last_bgsave_time_sec", -1),
        ("rdb_current_bgsave_time_sec", -1),
        ("rdb_saves", 0),
        ("rdb_last_cow_size", 0),
        ("rdb_last_load_keys_expired", 0),
        ("rdb_last_load_keys_loaded", 0),
        ("aof_enabled", int(sources.state.config.appendonly)),
        ("aof_rewrite_in_progress", 0),
        ("aof_rewrite_scheduled", 0),
        ("aof_last_rewrite_time_sec", -1),
        ("aof_current_rewrite_time_sec", -1),
        ("aof_last_bgrewrite_status", "ok"),
        ("aof_rewrites", 0),
        ("aof_rewrites_consecutive_failures", 0),
        ("aof_last_write_status", "ok"),
        ("aof_last_cow_size", 0),
        ("module_fork_in_progress", 0),
        ("module_fork_last_cow_size", 0),
    )


def stats_fields(sources: InfoSources) -> Fields:
    """Counters since the start or CONFIG RESETSTAT."""
    stats, keyspace, pubsub, tracking = sources.state.stats, sources.state.keyspace, sources.pubsub, sources.tracking
    exceeded_ms, exceeding_ms = sources.eviction().exceeded_ms
    return (
        ("total_connections_received", stats.connections),
        ("total_commands_processed", stats.commands),
        ("instantaneous_ops_per_sec", stats.ops.per_second),
        ("total_net_input_bytes", stats.input_bytes),
        ("total_net_output_bytes", stats.output_bytes),
        ("total_net_repl_input_bytes", 0),
        ("total_net_repl_output_bytes", 0),
        ("instantaneous_input_kbps", f"{stats.input_rate.per_second / 1024:.2f}"),
        ("instantaneous_output_kbps", f"{stats.output_rate.per_second / 1024:.2f}"),
        ("instantaneous_input_repl_kbps", f"{stats.repl_input_rate.per_second / 1024:.2f}"),
        ("instantaneous_output_repl_kbps", f"{stats.repl_output_rate.per_second / 1024:.2f}"),
        ("rejected_connections", stats.rejected_connections),
        ("sync_full", stats.sync_full),
        ("sync_partial_ok", stats.sync_partial_ok),
        ("sync_partial_err", stats.sync_partial_err),
        ("expired_keys", keyspace.expired_keys),
        ("expired_stale_perc", "0.00"),
        ("expired_time_cap_reached_count", 0),
        ("expire_cycle_cpu_milliseconds", stats.expire_nanos // 1_000_000),
        ("evicted_keys", keyspace.evicted_keys),
        ("evicted_clients", stats.evicted_clients),
        ("total_eviction_exceeded_time", exceeded_ms),
        ("current_eviction_exceeded_time", exceeding_ms),
        ("keyspace_hits", keyspace.hits),
        ("keyspace_misses", keyspace.misses),
        ("pubsub_channels", len(pubsub.channels.subscribers)),
        ("pubsub_patterns", len(pubsub.patterns.subscribers)),
        ("pubsubshard_channels", len(pubsub.shard_channels.subscribers)),
        ("latest_fork_usec", 0),
        ("total_forks", stats.forks),
        ("migrate_cached_sockets", sources.migrate_links()),
        ("slave_expires_tracked_keys", sources.tracked_expiries()),
        ("active_defrag_hits", 0),
        ("active_defrag_misses", 0),
        ("active_defrag_key_hits", 0),
        ("active_defrag_key_misses", 0),
        ("total_active_defrag_time", 0),
        ("current_active_defrag_time", 0),
        ("tracking_total_keys", tracking.keys),
        ("tracking_total_items", tracking.total_items),
        ("tracking_total_prefixes", tracking.prefix_count),
        ("unexpected_error_replies", 0),
        ("total_error_replies", stats.error_replies),
        ("dump_payload_sanitizations", 0),
        ("total_reads_processed", stats.reads),
        ("total_writes_processed", stats.writes),
        ("io_threaded_reads_processed", 0),
        ("io_threaded_writes_processed", 0),
        ("reply_buffer_shrinks", 0),
        ("reply_buffer_expands", 0),
    )


def replication_fields(sources: InfoSources) -> Fields:
    """A primary without replicas, as long as nobody else supplies it."""
    return (
        ("role", "master" if sources.state.config.replicaof is None else "slave"),
        ("connected_slaves", 0),
        ("master_failover_state", "no-failover"),
        ("master_replid", "0" * 40),
        ("master_replid2", "0" * 40),
        ("master_repl_offset", 0),
        ("second_repl_offset", -1),
        ("repl_backlog_active", 0),
        ("repl_backlog_size", sources.state.config.repl_backlog_size),
        ("repl_backlog_first_byte_offset", 0),
        ("repl_backlog_histlen", 0),
    )


def cpu_fields(sources: InfoSources) -> Fields:
    """Processor seconds of the process, its children, and the thread that runs commands."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    thread = resource.getrusage(resource.RUSAGE_THREAD)
    return (
        ("used_cpu_sys", f"{own.ru_stime:.6f}"),
        ("used_cpu_user", f"{own.ru_utime:.6f}"),
        ("used_cpu_sys_children", f"{children.ru_stime:.6f}"),
        ("used_cpu_user_children", f"{children.ru_utime:.6f}"),
        ("used_cpu_sys_main_thread", f"{thread.ru_stime:.6f}"),
        ("used_cpu_user_main_thread", f"{thread.ru_utime:.6f}"),
    )


def commandstats_fields(sources: InfoSources) -> Fields:
    """Calls and times of every command that was asked for."""
    for spec in registry.every_spec():
        if spec.calls or spec.rejected_calls or spec.failed_calls:
            micros = spec.nanos // 1000
            each = ratio(spec.nanos / 1000, spec.calls)
            figures = f"calls={spec.calls},usec={micros},usec_per_call={each}"
            failures = f"rejected_calls={spec.rejected_calls},failed_calls={spec.failed_calls}"
            yield f"cmdstat_{spec.full_name.decode()}", f"{figures},{failures}"


def errorstats_fields(sources: InfoSources) -> Fields:
    """Error replies by their first word."""
    for code, count in sources.state.stats.errors.items():
        yield f"errorstat_{code.decode('latin-1')}", f"count={count}"


def latencystats_fields(sources: InfoSources) -> Fields:
    """Percentiles of the latency of every command that was run."""
    percentiles = sources.state.config.latency_tracking_info_percentiles
    for spec in registry.every_spec():
        histogram = spec.latency
        if histogram is None or not histogram.total:
            continue
        values = (f"p{format_percentile(p)}={histogram.percentile_micros(p):.3f}" for p in percentiles)
        yield f"latency_percentiles_usec_{spec.full_name.decode()}", ",".join(values)


def cluster_fields(sources: InfoSources) -> Fields:
    """Whether this node is part of a cluster."""
    return (("cluster_enabled", int(sources.state.config.cluster_enabled)),)


def keyspace_fields(sources: InfoSources) -> Fields:
    """Keys per database."""
    now_ms = sources.state.clock.now_ms
    for db in sources.state.keyspace.dbs:
        if db.size:
            mean_ttl = db.expires.mean_ttl_ms(now_ms)
            yield f"db{db.index}", f"keys={db.size},expires={len(db.expires)},avg_ttl={mean_ttl}"


def modules_fields(sources: InfoSources) -> Fields:
    """There are none; nor are there figures for debugging at level 7.0."""
    return ()


_SECTIONS: Final[Mapping[str, Callable[[InfoSources], Fields]]] = {
    "server": server_fields,
    "clients": clients_fields,
    "memory": memory_fields,
    "persistence": persistence_fields,
    "stats": stats_fields,
    "debug": modules_fields,
    "replication": replication_fields,
    "cpu": cpu_fields,
    "modules": modules_fields,
    "commandstats": commandstats_fields,
    "errorstats": errorstats_fields,
    "latencystats": latencystats_fields,
    "cluster": cluster_fields,
    "keyspace": keyspace_fields,
}


def base_sections(sources: InfoSources) -> dict[str, BaseProvider]:
    """Who supplies each section of `Info` in the first place."""
    return {name: partial(fields, sources) for name, fields in _SECTIONS.items()}
