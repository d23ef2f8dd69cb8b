"""The redis.conf and sentinel.conf files of the local cluster."""

from __future__ import annotations

from collections.abc import Sequence

from slotmesh.tools.clusterctl.errors import naming
from slotmesh.tools.clusterctl.local import MONITOR_NAME, LocalCluster, LocalProcess

NODE_TIMEOUT_MS = 5000
"""Silence after which nodes suspect each other. Sentinels act much earlier; lower values misfire on a busy machine."""

DOWN_AFTER_MS = 1000

_NODE_LINES = """\
# Written once by `clusterctl up`; edit freely, it is not overwritten.
port {port}
bind {host}
dir .
daemonize no
logfile ""
cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout {node_timeout_ms}
appendonly yes
repl-diskless-sync-delay 0
"""

_SENTINEL_LINES = """\
# Written once by `clusterctl up`; the sentinel itself rewrites it to remember what it has learnt.
port {port}
bind {host}
dir .
daemonize no
logfile ""
sentinel monitor {name} {monitored_host} {monitored_port} {quorum}
sentinel down-after-milliseconds {name} {down_after_ms}
sentinel failover-timeout {name} 10000
sentinel parallel-syncs {name} 1
"""


def quote(value: str) -> str:
    """A value as the configuration file format wants it: double quotes, with escapes, unless it is plain."""
    if value and all(ch.isalnum() or ch in "-_./:@%+=," for ch in value):
        return value
    escaped = "".join(
        f"\\x{byte:02x}" if byte < 32 or byte > 126 or byte in b'"\\' else chr(byte) for byte in value.encode()
    )
    return f'"{escaped}"'


def node_config(process: LocalProcess, password: str | None, extra: Sequence[str]) -> str:
    """redis.conf of a node. `extra` are lines of the user's; a later line wins over an earlier one."""
    text = _NODE_LINES.format(port=process.address.port, host=process.address.host, node_timeout_ms=NODE_TIMEOUT_MS)
    if password is not None:
        text += f"requirepass {quote(password)}\nmasterauth {quote(password)}\n"
    return text + "".join(f"{line}\n" for line in extra)


def sentinel_config(cluster: LocalCluster, process: LocalProcess, password: str | None) -> str:
    """sentinel.conf: one monitored name, the whole cluster behind any of its nodes. The quorum is a majority."""
    first = cluster.nodes[0].address
    text = _SENTINEL_LINES.format(
        port=process.address.port,
        host=process.address.host,
        name=MONITOR_NAME,
        monitored_host=first.host,
        monitored_port=first.port,
        quorum=len(cluster.sentinels) // 2 + 1,
        down_after_ms=DOWN_AFTER_MS,
    )
    if password is not None:
        text += f"sentinel auth-pass {MONITOR_NAME} {quote(password)}\n"
    return text


def write_configs(cluster: LocalCluster, password: str | None, extra_node_lines: Sequence[str]) -> None:
    """Make the directories and the files that are not there yet. A file may hold the password, so only we read it."""
    for process in cluster.processes:
        path = process.config_path
        with naming(path):
            process.home.mkdir(parents=True, exist_ok=True)
            if path.exists():
                continue
            if process.is_node:
                text = node_config(process, password, extra_node_lines)
            else:
                text = sentinel_config(cluster, process, password)
            draft = path.with_suffix(".tmp")  # half a file, from a full disk, would be kept for good
            draft.touch(mode=0o600)
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
