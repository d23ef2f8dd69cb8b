"""The table of all configuration directives: names, kinds, defaults and who may change them when.

Names, aliases, ranges and defaults are those of the stock server (7.0.15); `CONFIG GET *` on both gives the same names.
A directive's value is the attribute of `Config` with underscores for hyphens (`config.maxclients`); its type is
declared in `config/values.py`. Those of later versions are in `config/directives_after_7_0.py`. Directives that exist
in files only (include, user, rename-command, loadmodule) are in `config/load.py`. What a directive does not (or not
fully) do here is said in `config/effects.py`.
"""

from __future__ import annotations

from typing import Final

from slotmesh.node.config.directive import (
    INT_MIN,
    NATURAL,
    NATURAL_64,
    NO_DEFRAGMENTATION,
    NO_TLS_LINKS,
    OPTIONAL_TEXT,
    PORT,
    POSITIVE,
    PROTECTED_ACTION,
    SECRET,
    SIZE,
    TEXT,
    YES_NO,
    Directive,
)
from slotmesh.node.config.directives_after_7_0 import NEWER_DIRECTIVES, NEWER_NAMES
from slotmesh.node.config.kinds import (
    INT_MAX,
    LONG_MAX,
    UINT_MAX,
    ULONG_MAX,
    Directory,
    EventClasses,
    Hertz,
    Integer,
    Memory,
    MemoryOrPercent,
    NoTlsPort,
    Octal,
    ShutdownFlags,
    Text,
    Word,
    address_check,
    file_name_check,
    host_name_check,
    title_check,
)
from slotmesh.node.config.list_kinds import (
    Addresses,
    AddressViews,
    BufferLimits,
    OomScores,
    Percentiles,
    PrimaryAddress,
    SavePoints,
)

#: In the order in which CONFIG GET and CONFIG REWRITE give them.
DIRECTIVES: Final = (
    # Network
    Directive("bind", Addresses(), ("*", "-::*")),
    Directive("bind-source-addr", OPTIONAL_TEXT, ""),
    Directive("protected-mode", YES_NO, True),
    Directive("port", PORT, 6379),
    Directive("tcp-backlog", NATURAL, 511, immutable=True),
    Directive("unixsocket", OPTIONAL_TEXT, "", immutable=True),
    Directive("unixsocketperm", Octal(0, 0o777), 0, immutable=True),
    Directive("timeout", NATURAL, 0),
    Directive("tcp-keepalive", NATURAL, 300),
    Directive("socket-mark-id", Integer(0, UINT_MAX), 0, immutable=True),
    Directive("maxclients", Integer(1, UINT_MAX), 10000),
    # TLS
    Directive("tls-port", NoTlsPort(0, 65535), 0),
    Directive("tls-session-cache-size", NATURAL, 20480),
    Directive("tls-session-cache-timeout", NATURAL, 300),
    Directive("tls-cluster", NO_TLS_LINKS, False),
    Directive("tls-replication", NO_TLS_LINKS, False),
    Directive("tls-auth-clients", Word("no", "yes", "optional"), "yes"),
    Directive("tls-prefer-server-ciphers", YES_NO, False),
    Directive("tls-session-caching", YES_NO, True),
    Directive("tls-cert-file", OPTIONAL_TEXT, "", volatile=True),
    Directive("tls-key-file", OPTIONAL_TEXT, "", volatile=True),
    Directive("tls-key-file-pass", OPTIONAL_TEXT, "", sensitive=True),
    Directive("tls-client-cert-file", OPTIONAL_TEXT, "", volatile=True),
    Directive("tls-client-key-file", OPTIONAL_TEXT, "", volatile=True),
    Directive("tls-client-key-file-pass", OPTIONAL_TEXT, "", sensitive=True),
    Directive("tls-dh-params-file", OPTIONAL_TEXT, "", volatile=True),
    Directive("tls-ca-cert-file", OPTIONAL_TEXT, "", volatile=True),
    Directive("tls-ca-cert-dir", OPTIONAL_TEXT, "", volatile=True),
    Directive("tls-protocols", OPTIONAL_TEXT, ""),
    Directive("tls-ciphers", OPTIONAL_TEXT, ""),
    Directive("tls-ciphersuites", OPTIONAL_TEXT, ""),
    # General
    Directive("daemonize", YES_NO, False, immutable=True),
    Directive("supervised", Word("upstart", "systemd", "auto", "no"), "no", immutable=True),
    Directive("pidfile", OPTIONAL_TEXT, "", immutable=True),
    Directive("loglevel", Word("debug", "verbose", "notice", "warning"), "notice"),
    Directive("logfile", TEXT, "", immutable=True),
    Directive("syslog-enabled", YES_NO, False, immutable=True),
    Directive("syslog-ident", TEXT, "redis", immutable=True),
    Directive(
        "syslog-facility",
        Word("user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"),
        "local0",
        immutable=True,
    ),
    Directive("crash-log-enabled", YES_NO, True),
    Directive("crash-memcheck-enabled", YES_NO, True),
    Directive("use-exit-on-panic", YES_NO, False, hidden=True),
    Directive("databases", POSITIVE, 16, immutable=True),
    Directive("always-show-logo", YES_NO, False, immutable=True),
    Directive("set-proc-title", YES_NO, True, immutable=True),
    Directive("proc-title-template", Text(check=title_check), "{title} {listen-addr} {server-mode}"),
    Directive("dir", Directory(), "", protected=True, not_while_loading=True),
    Directive("hz", Hertz(0, INT_MAX), 10),
    Directive("dynamic-hz", YES_NO, True),
    Directive("ignore-warnings", TEXT, ""),
    Directive("watchdog-period", NATURAL, 0, hidden=True),
    # Snapshots
    Directive("save", SavePoints(), ((3600, 1), (300, 100), (60, 10000))),
    Directive("stop-writes-on-bgsave-error", YES_NO, True),
    Directive("rdbcompression", YES_NO, True),
    Directive("rdbchecksum", YES_NO, True, immutable=True),
    Directive("sanitize-dump-payload", Word("no", "yes", "clients"), "no"),
    Directive(
        "dbfilename",
        Text(check=file_name_check("dbfilename", "filename", may_be_empty=True)),
        "dump.rdb",
        protected=True,
    ),
    Directive("rdb-del-sync-files", YES_NO, False),
    Directive("rdb-save-incremental-fsync", YES_NO, True),
    Directive("rdb-key-save-delay", Integer(INT_MIN, INT_MAX), 0, hidden=True),
    Directive("key-load-delay", Integer(INT_MIN, INT_MAX), 0, hidden=True),
    Directive("loading-process-events-interval-bytes", Integer(1024, INT_MAX), 2 << 20, hidden=True),
    # Append-only file
    Directive("appendonly", YES_NO, False, not_while_loading=True),
    Directive(
        "appendfilename", Text(check=file_name_check("appendfilename", "filename")), "appendonly.aof", immutable=True
    ),
    Directive(
        "appenddirname", Text(check=file_name_check("appenddirname", "dirname")), "appendonlydir", immutable=True
    ),
    Directive("appendfsync", Word("everysec", "always", "no"), "everysec"),
    Directive("no-appendfsync-on-rewrite", YES_NO, False),
    Directive("auto-aof-rewrite-percentage", NATURAL, 100),
    Directive("auto-aof-rewrite-min-size", SIZE, 64 << 20),
    Directive("aof-load-truncated", YES_NO, True),
    Directive("aof-use-rdb-preamble", YES_NO, True),
    Directive("aof-timestamp-enabled", YES_NO, False),
    Directive("aof-rewrite-incremental-fsync", YES_NO, True),
    Directive("aof-disable-auto-gc", YES_NO, False),
    # Replication
    Directive("replicaof", PrimaryAddress(), None, alias="slaveof", immutable=True),
    Directive("masterauth", SECRET, b"", sensitive=True),
    Directive("masteruser", SECRET, b"", sensitive=True),
    Directive("repl-disable-tcp-nodelay", YES_NO, False),
    Directive("repl-diskless-sync", YES_NO, True),
    Directive("replica-lazy-flush", YES_NO, False, alias="slave-lazy-flush"),
    Directive("replica-serve-stale-data", YES_NO, True, alias="slave-serve-stale-data"),
    Directive("replica-read-only", YES_NO, True, alias="slave-read-only"),
    Directive("replica-ignore-maxmemory", YES_NO, True, alias="slave-ignore-maxmemory"),
    Directive("replica-announced", YES_NO, True),
    Directive("replica-ignore-disk-write-errors", YES_NO, False),
    Directive("replica-announce-ip", OPTIONAL_TEXT, "", alias="slave-announce-ip"),
    Directive(
        "repl-diskless-load",
        Word("disabled", "on-empty-db", "swapdb", newer=("flush-before-load",)),
        "disabled",
        not_while_loading=True,
    ),
    Directive("propagation-error-behavior", Word("ignore", "panic", "panic-on-replicas"), "ignore"),
    Directive("replica-priority", NATURAL, 100, alias="slave-priority"),
    Directive("repl-diskless-sync-delay", NATURAL, 5),
    Directive("replica-announce-port", PORT, 0, alias="slave-announce-port"),
    Directive("repl-timeout", POSITIVE, 60),
    Directive("repl-ping-replica-period", POSITIVE, 10, alias="repl-ping-slave-period"),
    Directive("min-replicas-to-write", NATURAL, 0, alias="min-slaves-to-write"),
    Directive("min-replicas-max-lag", NATURAL, 10, alias="min-slaves-max-lag"),
    Directive("repl-diskless-sync-max-replicas", NATURAL, 0),
    Directive("repl-backlog-size", Memory(1, LONG_MAX), 1 << 20),
    Directive("repl-backlog-ttl", NATURAL_64, 3600),
    # Security
    Directive("requirepass", SECRET, b"", sensitive=True),
    Directive("aclfile", TEXT, "", immutable=True),
    Directive("acllog-max-len", NATURAL_64, 128),
    Directive("acl-pubsub-default", Word("allchannels", "resetchannels"), "resetchannels"),
    Directive("enable-protected-configs", PROTECTED_ACTION, "no", immutable=True),
    Directive("enable-debug-command", PROTECTED_ACTION, "no", immutable=True),
    Directive("enable-module-command", PROTECTED_ACTION, "no", immutable=True),
    # Clients
    Directive(
        "client-output-buffer-limit", BufferLimits(), ((0, 0, 0), (256 << 20, 64 << 20, 60), (32 << 20, 8 << 20, 60))
    ),
    Directive("client-query-buffer-limit", Memory(1 << 20, LONG_MAX), 1 << 30),
    Directive("proto-max-bulk-len", Memory(1 << 20, LONG_MAX), 512 << 20),
    Directive("maxmemory-clients", MemoryOrPercent(-100, LONG_MAX), 0),
    Directive("tracking-table-max-keys", NATURAL_64, 1_000_000),
    # Memory
    Directive("maxmemory", Memory(0, ULONG_MAX), 0),
    Directive(
        "maxmemory-policy",
        Word(
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "noeviction",
            newer=("volatile-lrm", "allkeys-lrm"),
        ),
        "noeviction",
    ),
    Directive("maxmemory-samples", POSITIVE, 5),
    Directive("maxmemory-eviction-tenacity", Integer(0, 100), 10),
    Directive("lfu-log-factor", NATURAL, 10),
    Directive("lfu-decay-time", NATURAL, 1),
    Directive("active-expire-effort", Integer(1, 10), 1),
    Directive("activerehashing", YES_NO, True),
    Directive("lazyfree-lazy-eviction", YES_NO, False),
    Directive("lazyfree-lazy-expire", YES_NO, False),
    Directive("lazyfree-lazy-server-del", YES_NO, False),
    Directive("lazyfree-lazy-user-del", YES_NO, False),
    Directive("lazyfree-lazy-user-flush", YES_NO, False),
    Directive("jemalloc-bg-thread", YES_NO, True),
    Directive("activedefrag", NO_DEFRAGMENTATION, False),
    Directive("active-defrag-cycle-min", Integer(1, 99), 1),
    Directive("active-defrag-cycle-max", Integer(1, 99), 25),
    Directive("active-defrag-threshold-lower", Integer(0, 1000), 10),
    Directive("active-defrag-threshold-upper", Integer(0, 1000), 100),
    Directive("active-defrag-max-scan-fields", Integer(1, LONG_MAX), 1000),
    Directive("active-defrag-ignore-bytes", Memory(1, LONG_MAX), 100 << 20),
    # Threads and kernel
    Directive("io-threads", Integer(1, 128), 1, immutable=True),
    Directive("io-threads-do-reads", YES_NO, False, immutable=True),
    Directive("oom-score-adj", Word("no", "yes", "relative", "absolute", also={"relative": "yes"}), "no"),
    Directive("oom-score-adj-values", OomScores(), (0, 200, 800)),
    Directive("disable-thp", YES_NO, True, immutable=True),
    Directive("server_cpulist", OPTIONAL_TEXT, "", immutable=True),
    Directive("bio_cpulist", OPTIONAL_TEXT, "", immutable=True),
    Directive("aof_rewrite_cpulist", OPTIONAL_TEXT, "", immutable=True),
    Directive("bgsave_cpulist", OPTIONAL_TEXT, "", immutable=True),
    # Scripts and shutdown
    Directive("busy-reply-threshold", NATURAL_64, 5000, alias="lua-time-limit"),
    Directive("lua-memory-limit", SIZE, 256 << 20, hidden=True),
    Directive("shutdown-timeout", NATURAL, 10),
    Directive("shutdown-on-sigint", ShutdownFlags(), ()),
    Directive("shutdown-on-sigterm", ShutdownFlags(), ()),
    # Cluster
    Directive("cluster-require-full-coverage", YES_NO, True),
    Directive("cluster-replica-no-failover", YES_NO, False, alias="cluster-slave-no-failover"),
    Directive("cluster-enabled", YES_NO, False, immutable=True),
    Directive("cluster-allow-reads-when-down", YES_NO, False),
    Directive("cluster-allow-pubsubshard-when-down", YES_NO, True),
    Directive("cluster-allow-replica-migration", YES_NO, True),
    Directive("cluster-announce-ip", Text(unset_when_empty=True, check=address_check), ""),
    Directive("cluster-config-file", TEXT, "nodes.conf", immutable=True),
    Directive("cluster-announce-hostname", Text(unset_when_empty=True, check=host_name_check), ""),
    Directive("cluster-preferred-endpoint-type", Word("ip", "hostname", "unknown-endpoint"), "ip"),
    Directive("cluster-replica-validity-factor", NATURAL, 10, alias="cluster-slave-validity-factor"),
    Directive("cluster-migration-barrier", NATURAL, 1),
    Directive("cluster-port", PORT, 0, immutable=True),
    Directive("cluster-announce-bus-port", PORT, 0),
    Directive("cluster-announce-port", PORT, 0),
    Directive("cluster-announce-tls-port", PORT, 0),
    Directive("cluster-announce-view", AddressViews(), (), hidden=True),
    Directive("cluster-node-timeout", NATURAL_64, 15000),
    Directive("cluster-link-sendbuf-limit", Memory(0, ULONG_MAX), 0),
    Directive("sentinel-guard", YES_NO, True, hidden=True),
    Directive("sentinel-guard-file", TEXT, "", immutable=True, hidden=True),
    # Observation
    Directive("slowlog-log-slower-than", Integer(-1, LONG_MAX), 10000),
    Directive("slowlog-max-len", NATURAL_64, 128),
    Directive("latency-monitor-threshold", NATURAL_64, 0),
    Directive("latency-tracking", YES_NO, True),
    Directive("latency-tracking-info-percentiles", Percentiles(), (50.0, 99.0, 99.9)),
    Directive("notify-keyspace-events", EventClasses(), 0),
    # Encodings of small values
    Directive("list-max-listpack-size", Integer(INT_MIN, INT_MAX), -2, alias="list-max-ziplist-size"),
    Directive("list-compress-depth", NATURAL, 0),
    Directive("stream-node-max-entries", NATURAL_64, 100),
    Directive("hash-max-listpack-entries", NATURAL_64, 512, alias="hash-max-ziplist-entries"),
    Directive("set-max-intset-entries", NATURAL_64, 512),
    Directive("zset-max-listpack-entries", NATURAL_64, 128, alias="zset-max-ziplist-entries"),
    Directive("hash-max-listpack-value", SIZE, 64, alias="hash-max-ziplist-value"),
    Directive("stream-node-max-bytes", SIZE, 4096),
    Directive("zset-max-listpack-value", SIZE, 64, alias="zset-max-ziplist-value"),
    Directive("hll-sparse-max-bytes", SIZE, 3000),
)

#: With those that are younger than 7.0.
ALL_DIRECTIVES: Final = DIRECTIVES + NEWER_DIRECTIVES

#: Directives by every name they answer to, aliases included.
BY_NAME: Final = {directive.name: directive for directive in ALL_DIRECTIVES} | {
    directive.alias: directive for directive in DIRECTIVES if directive.alias
}
BY_NAME.update((newer, BY_NAME[name]) for newer, name in NEWER_NAMES.items())

#: Names of old versions that files may still hold; they are read over.
OBSOLETE: Final = frozenset({"list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"})
