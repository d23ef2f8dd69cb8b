"""The configuration values as plain typed attributes, one per directive of `config/directives.py`.

Only annotations: a test checks that they and the table agree. Units are those of redis.conf: bytes for sizes, seconds
for `timeout` and the like, ms where the name says so, `cluster-node-timeout` and `busy-reply-threshold` in ms, and
microseconds for `slowlog-log-slower-than`. A negative `maxmemory_clients` is a percentage of `maxmemory`.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network


class ConfigValues:
    """Base of `Config`."""

    # Network
    bind: tuple[str, ...]
    bind_source_addr: str
    protected_mode: bool
    port: int
    tcp_backlog: int
    unixsocket: str
    unixsocketperm: int
    timeout: int
    tcp_keepalive: int
    socket_mark_id: int
    maxclients: int
    # TLS
    tls_port: int
    tls_session_cache_size: int
    tls_session_cache_timeout: int
    tls_cluster: bool
    tls_replication: bool
    tls_auth_clients: str
    tls_prefer_server_ciphers: bool
    tls_session_caching: bool
    tls_cert_file: str
    tls_key_file: str
    tls_key_file_pass: str
    tls_client_cert_file: str
    tls_client_key_file: str
    tls_client_key_file_pass: str
    tls_dh_params_file: str
    tls_ca_cert_file: str
    tls_ca_cert_dir: str
    tls_protocols: str
    tls_ciphers: str
    tls_ciphersuites: str
    # General
    daemonize: bool
    supervised: str
    pidfile: str
    loglevel: str
    logfile: str
    syslog_enabled: bool
    syslog_ident: str
    syslog_facility: str
    crash_log_enabled: bool
    crash_memcheck_enabled: bool
    use_exit_on_panic: bool
    databases: int
    always_show_logo: bool
    set_proc_title: bool
    proc_title_template: str
    dir: str
    hz: int
    dynamic_hz: bool
    ignore_warnings: str
    watchdog_period: int
    # Snapshots
    save: tuple[tuple[int, int], ...]
    stop_writes_on_bgsave_error: bool
    rdbcompression: bool
    rdbchecksum: bool
    sanitize_dump_payload: str
    dbfilename: str
    rdb_del_sync_files: bool
    rdb_save_incremental_fsync: bool
    rdb_key_save_delay: int
    key_load_delay: int
    loading_process_events_interval_bytes: int
    # Append-only file
    appendonly: bool
    appendfilename: str
    appenddirname: str
    appendfsync: str
    no_appendfsync_on_rewrite: bool
    auto_aof_rewrite_percentage: int
    auto_aof_rewrite_min_size: int
    aof_load_truncated: bool
    aof_use_rdb_preamble: bool
    aof_timestamp_enabled: bool
    aof_rewrite_incremental_fsync: bool
    aof_disable_auto_gc: bool
    # Replication
    replicaof: tuple[str, int] | None
    masterauth: bytes
    masteruser: bytes
    repl_disable_tcp_nodelay: bool
    repl_diskless_sync: bool
    replica_lazy_flush: bool
    replica_serve_stale_data: bool
    replica_read_only: bool
    replica_ignore_maxmemory: bool
    replica_announced: bool
    replica_ignore_disk_write_errors: bool
    replica_announce_ip: str
    repl_diskless_load: str
    propagation_error_behavior: str
    replica_priority: int
    repl_diskless_sync_delay: int
    replica_announce_port: int
    repl_timeout: int
    repl_ping_replica_period: int
    min_replicas_to_write: int
    min_replicas_max_lag: int
    repl_diskless_sync_max_replicas: int
    repl_backlog_size: int
    repl_backlog_ttl: int
    # Security
    requirepass: bytes
    aclfile: str
    acllog_max_len: int
    acl_pubsub_default: str
    enable_protected_configs: str
    enable_debug_command: str
    enable_module_command: str
    # Clients
    client_output_buffer_limit: tuple[tuple[int, int, int], ...]
    client_query_buffer_limit: int
    proto_max_bulk_len: int
    maxmemory_clients: int
    tracking_table_max_keys: int
    # Memory
    maxmemory: int
    maxmemory_policy: str
    maxmemory_samples: int
    maxmemory_eviction_tenacity: int
    lfu_log_factor: int
    lfu_decay_time: int
    active_expire_effort: int
    activerehashing: bool
    lazyfree_lazy_eviction: bool
    lazyfree_lazy_expire: bool
    lazyfree_lazy_server_del: bool
    lazyfree_lazy_user_del: bool
    lazyfree_lazy_user_flush: bool
    jemalloc_bg_thread: bool
    activedefrag: bool
    active_defrag_cycle_min: int
    active_defrag_cycle_max: int
    active_defrag_threshold_lower: int
    active_defrag_threshold_upper: int
    active_defrag_max_scan_fields: int
    active_defrag_ignore_bytes: int
    # Threads and kernel
    io_threads: int
    io_threads_do_reads: bool
    oom_score_adj: str
    oom_score_adj_values: tuple[int, ...]
    disable_thp: bool
    server_cpulist: str
    bio_cpulist: str
    aof_rewrite_cpulist: str
    bgsave_cpulist: str
    # Scripts and shutdown
    busy_reply_threshold: int
    lua_memory_limit: int
    shutdown_timeout: int
    shutdown_on_sigint: tuple[str, ...]
    shutdown_on_sigterm: tuple[str, ...]
    # Cluster
    cluster_require_full_coverage: bool
    cluster_replica_no_failover: bool
    cluster_enabled: bool
    cluster_allow_reads_when_down: bool
    cluster_allow_pubsubshard_when_down: bool
    cluster_allow_replica_migration: bool
    cluster_announce_ip: str
    cluster_config_file: str
    cluster_announce_hostname: str
    cluster_preferred_endpoint_type: str
    cluster_replica_validity_factor: int
    cluster_migration_barrier: int
    cluster_port: int
    cluster_announce_bus_port: int
    cluster_announce_port: int
    cluster_announce_tls_port: int
    cluster_announce_view: tuple[tuple[IPv4Network | IPv6Network, str], ...]
    cluster_node_timeout: int
    cluster_link_sendbuf_limit: int
    sentinel_guard: bool
    sentinel_guard_file: str
    # Observation
    slowlog_log_slower_than: int
    slowlog_max_len: int
    latency_monitor_threshold: int
    latency_tracking: bool
    latency_tracking_info_percentiles: tuple[float, ...]
    notify_keyspace_events: int
    # Encodings of small values
    list_max_listpack_size: int
    list_compress_depth: int
    stream_node_max_entries: int
    hash_max_listpack_entries: int
    set_max_intset_entries: int
    zset_max_listpack_entries: int
    hash_max_listpack_value: int
    stream_node_max_bytes: int
    zset_max_listpack_value: int
    hll_sparse_max_bytes: int
    # Younger than 7.0
    availability_zone: str
    client_default_resp: int
    commandlog_large_reply_max_len: int
    commandlog_large_request_max_len: int
    commandlog_reply_larger_than: int
    commandlog_request_larger_than: int
    compat_level: str
    cluster_announce_client_ipv4: str
    cluster_announce_client_ipv6: str
    cluster_announce_human_nodename: str
    cluster_blacklist_ttl: int
    cluster_ping_interval: int
    cluster_slot_stats_enabled: bool
    debug_context: str
    dual_channel_replication_enabled: bool
    enable_debug_assert: bool
    events_per_io_thread: int
    extended_redis_compatibility: bool
    hide_user_data_from_log: bool
    import_mode: bool
    locale_collate: str
    log_format: str
    log_timestamp_format: str
    max_new_connections_per_cycle: int
    max_new_tls_connections_per_cycle: int
    prefetch_batch_max_size: int
    req_res_logfile: str
    set_max_listpack_entries: int
    set_max_listpack_value: int
    stream_idmp_duration: int
    stream_idmp_maxsize: int
    unixsocketgroup: str
