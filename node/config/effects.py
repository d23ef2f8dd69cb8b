"""Which directives do less here than in the stock server, and why. `docs/differences.md` is made from this.

Every directive is accepted with the stock server's values, shown by CONFIG GET and kept by CONFIG REWRITE. One that is
not named here has its full effect.
"""

from __future__ import annotations

from typing import Final

import attrs

NONE: Final = "none"
PARTLY: Final = "partly"


@attrs.frozen
class Effect:
    """`degree` is NONE or PARTLY."""

    degree: str
    reason: str


_THREADS = Effect(NONE, "one node is one thread; several nodes use several processors")
_PROCESSORS = Effect(NONE, "pin the process with taskset or a service manager instead")
_C_MEMORY = Effect(NONE, "about the C allocator and its tables, which Python does not have")
_SANITIZE = Effect(NONE, "payloads are always checked in full, as `yes` would demand")
_CRASH = Effect(NONE, "Python reports a crash by itself")
_OUR_LOG = Effect(NONE, "the log has the one format of 7.0")
_TLS = Effect(NONE, "TLS is not served yet")

_TLS_DIRECTIVES = (
    "tls-port",
    "tls-session-cache-size",
    "tls-session-cache-timeout",
    "tls-cluster",
    "tls-replication",
    "tls-auth-clients",
    "tls-prefer-server-ciphers",
    "tls-session-caching",
    "tls-cert-file",
    "tls-key-file",
    "tls-key-file-pass",
    "tls-client-cert-file",
    "tls-client-key-file",
    "tls-client-key-file-pass",
    "tls-dh-params-file",
    "tls-ca-cert-file",
    "tls-ca-cert-dir",
    "tls-protocols",
    "tls-ciphers",
    "tls-ciphersuites",
)

EFFECTS: Final[dict[str, Effect]] = {
    "io-threads": _THREADS,
    "io-threads-do-reads": _THREADS,
    "events-per-io-thread": _THREADS,
    "prefetch-batch-max-size": _THREADS,
    "server_cpulist": _PROCESSORS,
    "bio_cpulist": _PROCESSORS,
    "aof_rewrite_cpulist": _PROCESSORS,
    "bgsave_cpulist": _PROCESSORS,
    "jemalloc-bg-thread": _C_MEMORY,
    "activerehashing": _C_MEMORY,
    "activedefrag": Effect(NONE, "`yes` is refused, as by a stock server without its own jemalloc; see MEMORY PURGE"),
    "active-defrag-cycle-min": _C_MEMORY,
    "active-defrag-cycle-max": _C_MEMORY,
    "active-defrag-threshold-lower": _C_MEMORY,
    "active-defrag-threshold-upper": _C_MEMORY,
    "active-defrag-max-scan-fields": _C_MEMORY,
    "active-defrag-ignore-bytes": _C_MEMORY,
    "disable-thp": Effect(NONE, "set the policy of the machine instead"),
    "sanitize-dump-payload": _SANITIZE,
    "crash-log-enabled": _CRASH,
    "crash-memcheck-enabled": _CRASH,
    "use-exit-on-panic": _CRASH,
    "watchdog-period": _CRASH,
    "enable-debug-assert": _CRASH,
    "debug-context": _CRASH,
    "req-res-logfile": _CRASH,
    "hide-user-data-from-log": Effect(NONE, "the log never holds user data"),
    "log-format": _OUR_LOG,
    "log-timestamp-format": _OUR_LOG,
    "ignore-warnings": Effect(NONE, "there are no start-up warnings that it could silence"),
    "enable-module-command": Effect(NONE, "modules are machine code for another server: MODULE LOAD is refused always"),
    "key-load-delay": Effect(PARTLY, "it slows RDB files down, not the commands of a log"),
    "loading-process-events-interval-bytes": Effect(
        NONE, "while loading, others get their turn every few milliseconds"
    ),
    "replica-ignore-disk-write-errors": Effect(NONE, "a replica that cannot write its log goes on, and says so"),
    "maxmemory-samples": Effect(PARTLY, "volatile-ttl draws none: an index tells which keys fall due first"),
    "lazyfree-lazy-eviction": Effect(
        PARTLY, "large values are always freed in the background; it names the command in the log"
    ),
    "lazyfree-lazy-server-del": Effect(
        PARTLY, "large values are always freed in the background; at `compat-level 7.2` it names the command in the log"
    ),
    "lazyfree-lazy-user-flush": Effect(
        PARTLY, "large values are always freed in the background; it names the command in the log for CLUSTER FLUSHSLOT"
    ),
    "active-expire-effort": Effect(NONE, "an index tells which keys are due; none is searched for"),
    "dynamic-hz": Effect(NONE, "timers wake exactly when something is due; hz stays as configured"),
    "list-compress-depth": Effect(PARTLY, "lists are not compressed in memory; DEBUG OBJECT tells the setting"),
    "locale-collate": Effect(NONE, "SORT ALPHA compares by the locale of the process"),
    "dual-channel-replication-enabled": Effect(NONE, "a full synchronisation uses one connection"),
    "cluster-announce-client-ipv4": Effect(NONE, "clients and nodes are told the same address"),
    "cluster-announce-client-ipv6": Effect(NONE, "clients and nodes are told the same address"),
    "cluster-announce-human-nodename": Effect(NONE, "the bus speaks the protocol of 7.0, which lacks it"),
    "cluster-blacklist-ttl": Effect(NONE, "a forgotten node is kept out for the minute of 7.0"),
    "cluster-slot-stats-enabled": Effect(
        PARTLY, "what goes to replicas and to subscribers of shard channels is not counted"
    ),
    "availability-zone": Effect(NONE, "it is kept, and told to nobody"),
    "client-default-resp": Effect(NONE, "connections begin with RESP2; HELLO changes that"),
    "extended-redis-compatibility": Effect(NONE, "the name of the stock server is given always"),
    "max-new-connections-per-cycle": Effect(NONE, "64 connections are accepted per pass"),
    "max-new-tls-connections-per-cycle": _TLS,
    "unixsocketgroup": Effect(NONE, "the socket has the group of the process"),
    "set-max-listpack-entries": Effect(PARTLY, "with `compat-level 7.2`; 7.0 knows no compact form of small sets"),
    "supervised": Effect(PARTLY, "it only keeps the node in the foreground; readiness is not reported"),
    "socket-mark-id": Effect(NONE, "sockets are not marked"),
    "propagation-error-behavior": Effect(NONE, "a failing command of the primary is logged, as by `ignore`"),
    **dict.fromkeys(_TLS_DIRECTIVES, _TLS),
}
