"""Directives that came after the stock server 7.0: of Redis 7.2 and Valkey 8 to 9, so that their files start our node.

They are hidden: `CONFIG GET *` gives the names of 7.0, and each of these answers to its full name only. What they do
here is told in `config/effects.py`, as for all others.
"""

from __future__ import annotations

from typing import Any, Final

from slotmesh.node.base.compat import LEVELS
from slotmesh.node.config.directive import (
    NATURAL,
    NATURAL_64,
    OPTIONAL_TEXT,
    SIZE,
    TEXT,
    YES_NO,
    Directive,
)
from slotmesh.node.config.kinds import LONG_MAX, Integer, Word
from slotmesh.node.types.stream_once import MAX_DURATION_S, MAX_MESSAGES

NEWER_DIRECTIVES: Final = (
    Directive("availability-zone", TEXT, "", hidden=True),
    Directive("client-default-resp", Integer(2, 3), 2, immutable=True, hidden=True),
    Directive("cluster-announce-client-ipv4", OPTIONAL_TEXT, "", hidden=True),
    Directive("cluster-announce-client-ipv6", OPTIONAL_TEXT, "", hidden=True),
    Directive("cluster-announce-human-nodename", OPTIONAL_TEXT, "", hidden=True),
    Directive("cluster-blacklist-ttl", NATURAL_64, 60, hidden=True),
    Directive("cluster-ping-interval", NATURAL_64, 0, hidden=True),
    Directive("cluster-slot-stats-enabled", YES_NO, False, hidden=True),
    Directive("commandlog-large-reply-max-len", NATURAL_64, 128, hidden=True),
    Directive("commandlog-large-request-max-len", NATURAL_64, 128, hidden=True),
    Directive("commandlog-reply-larger-than", Integer(-1, LONG_MAX), 1 << 20, hidden=True),
    Directive("commandlog-request-larger-than", Integer(-1, LONG_MAX), 1 << 20, hidden=True),
    Directive("compat-level", Word(*LEVELS), "7.0", immutable=True, hidden=True),
    Directive("debug-context", TEXT, "", hidden=True),
    Directive("dual-channel-replication-enabled", YES_NO, False, hidden=True),
    Directive("enable-debug-assert", YES_NO, False, immutable=True, hidden=True),
    Directive("events-per-io-thread", NATURAL, 2, hidden=True),
    Directive("extended-redis-compatibility", YES_NO, False, hidden=True),
    Directive("hide-user-data-from-log", YES_NO, True, hidden=True),
    Directive("import-mode", YES_NO, False, hidden=True),
    Directive("locale-collate", TEXT, "", hidden=True),
    Directive("log-format", Word("legacy", "logfmt"), "legacy", hidden=True),
    Directive("log-timestamp-format", Word("legacy", "iso8601", "milliseconds"), "legacy", hidden=True),
    Directive("max-new-connections-per-cycle", Integer(1, 1000), 10, hidden=True),
    Directive("max-new-tls-connections-per-cycle", Integer(1, 1000), 1, hidden=True),
    Directive("prefetch-batch-max-size", Integer(0, 128), 16, hidden=True),
    Directive("req-res-logfile", OPTIONAL_TEXT, "", immutable=True, hidden=True),
    Directive("set-max-listpack-entries", NATURAL_64, 128, hidden=True),
    Directive("set-max-listpack-value", SIZE, 64, hidden=True),
    Directive("stream-idmp-duration", Integer(1, MAX_DURATION_S), 100, hidden=True),
    Directive("stream-idmp-maxsize", Integer(1, MAX_MESSAGES), 100, hidden=True),
    Directive("unixsocketgroup", OPTIONAL_TEXT, "", immutable=True, hidden=True),
)

#: Newer names of stock directives, hidden as well.
NEWER_NAMES: Final = {
    "aof-rewrite-cpulist": "aof_rewrite_cpulist",
    "bgsave-cpulist": "bgsave_cpulist",
    "bio-cpulist": "bio_cpulist",
    "commandlog-execution-slower-than": "slowlog-log-slower-than",
    "commandlog-slow-execution-max-len": "slowlog-max-len",
    "primaryauth": "masterauth",
    "primaryuser": "masteruser",
    "server-cpulist": "server_cpulist",
}

#: Directives of 7.0 that level 7.2 reads and no longer lists.
GONE_SINCE: Final = frozenset({"io-threads-do-reads"})

#: Defaults of stock directives that level 7.2 takes from Valkey 8: freeing in the background is the rule there.
NEWER_DEFAULTS: Final[dict[str, Any]] = {
    "lazyfree-lazy-eviction": True,
    "lazyfree-lazy-expire": True,
    "lazyfree-lazy-server-del": True,
    "lazyfree-lazy-user-del": True,
    "lazyfree-lazy-user-flush": True,
    "replica-lazy-flush": True,
}


def default_at(level: str, directive: Directive) -> Any:
    """The default of a directive at a compat-level."""
    return NEWER_DEFAULTS.get(directive.name, directive.default) if level != "7.0" else directive.default
