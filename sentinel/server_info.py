"""INFO of a sentinel: the sections server, clients, stats, cpu and sentinel, with stock's field names."""

from __future__ import annotations

import os
import resource
import sys
import time

from slotmesh.sentinel.config import STOCK_VERSION
from slotmesh.sentinel.driver import monotonic_ms
from slotmesh.sentinel.info import OUR_SERVER_NAME
from slotmesh.sentinel.present import info_section
from slotmesh.sentinel.server_state import ServerState

_SECTIONS = ("server", "clients", "stats", "cpu", "sentinel")
_EVERYTHING = ("all", "everything", "default")


def info_text(server: ServerState, wanted: list[bytes]) -> bytes:
    """The sections asked for (all by default), separated by empty lines."""
    words = [word.decode("utf-8", "replace").lower() for word in wanted]
    everything = not words or any(word in _EVERYTHING for word in words)
    sections = [name for name in _SECTIONS if everything or name in words]
    writers = {"server": _server, "clients": _clients, "stats": _stats, "cpu": _cpu, "sentinel": _sentinel}
    return "\r\n".join(writers[name](server) for name in sections).encode("utf-8", "surrogateescape")


def _section(title: str, fields: list[tuple[str, object]]) -> str:
    return f"# {title}\r\n" + "".join(f"{name}:{value}\r\n" for name, value in fields)


def _server(server: ServerState) -> str:
    uptime = (monotonic_ms() - server.started_ms) // 1000
    assert server.driver is not None, "INFO before the driver runs"
    return _section(
        "Server",
        [
            ("redis_version", STOCK_VERSION),
            ("server_name", OUR_SERVER_NAME),
            ("redis_mode", "sentinel"),
            ("os", "{0.sysname} {0.release} {0.machine}".format(os.uname())),
            ("arch_bits", 64 if sys.maxsize > 2**32 else 32),
            ("multiplexing_api", "epoll"),
            ("process_id", os.getpid()),
            ("run_id", server.driver.core.ctx.my_id),
            ("tcp_port", server.options.port),
            ("server_time_usec", time.time_ns() // 1000),
            ("uptime_in_seconds", uptime),
            ("uptime_in_days", uptime // 86_400),
            ("executable", sys.executable),
            ("config_file", server.driver.config_path),
        ],
    )


def _clients(server: ServerState) -> str:
    subscribed = sum(bool(session.subscriptions) for session in server.sessions.values())
    return _section(
        "Clients",
        [
            ("connected_clients", len(server.sessions)),
            ("cluster_connections", 0),
            ("maxclients", server.options.maxclients),
            ("blocked_clients", 0),
            ("pubsub_clients", subscribed),
        ],
    )


def _stats(server: ServerState) -> str:
    channels = {channel for session in server.sessions.values() for channel in session.channels}
    patterns = {pattern for session in server.sessions.values() for pattern in session.patterns}
    return _section(
        "Stats",
        [
            ("total_connections_received", server.total_connections),
            ("total_commands_processed", server.total_commands),
            ("rejected_connections", server.rejected),
            ("pubsub_channels", len(channels)),
            ("pubsub_patterns", len(patterns)),
        ],
    )


def _cpu(server: ServerState) -> str:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return _section(
        "CPU",
        [
            ("used_cpu_sys", f"{own.ru_stime:.6f}"),
            ("used_cpu_user", f"{own.ru_utime:.6f}"),
            ("used_cpu_sys_children", f"{children.ru_stime:.6f}"),
            ("used_cpu_user_children", f"{children.ru_utime:.6f}"),
        ],
    )


def _sentinel(server: ServerState) -> str:
    assert server.driver is not None, "INFO before the driver runs"
    return info_section(server.driver.core.ctx)
