"""What a node says about itself as a process: the banner in the log; and what it tells or asks the system: open files,
the system log, its title. Going to the background and the pid file are in `background.py`.

Scripts of others look for ` PID: ` in the banner, so it keeps the stock server's form.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import resource
import sys
from typing import TYPE_CHECKING, Final

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.config.kinds import ConfigError
from slotmesh.node.observe.info_sections import SLOTMESH_VERSION

if TYPE_CHECKING:
    from slotmesh.node.config.configuration import Config

log = logging.getLogger("node")

DEFAULT_PID_FILE: Final = "/var/run/redis.pid"
#: Descriptors that are not clients: listeners, files, links to other nodes.
RESERVED_DESCRIPTORS: Final = 32

_BANNER: Final = r"""
        o---o---o
       / \ / \ / \       slotmesh {version} (speaks Redis {stock}, {bits} bit)
      o---o---o---o
     / \ / \ / \ / \     Running in {mode} mode
    o---o---o---o---o    Port: {port}
     \ / \ / \ / \ /     PID: {pid}
      o---o---o---o
"""


def banner(config: Config) -> str:
    """The banner, or one line unless the log is a terminal or `always-show-logo` asks for it."""
    mode = "cluster" if config.cluster_enabled else "standalone"
    on_terminal = not config.syslog_enabled and not config.logfile and sys.stdout.isatty()
    if not (config.always_show_logo or on_terminal):
        return f"Running mode={mode}, port={config.port}."
    return _BANNER.format(
        version=SLOTMESH_VERSION,
        stock=COMPAT.version,
        bits=64 if sys.maxsize > 2**32 else 32,
        mode=mode,
        port=config.port,
        pid=os.getpid(),
    )


def fit_file_limit(maxclients: int) -> int:
    """Raise the process's limit of open files for `maxclients`; how many clients the limit now allows, at most that."""
    wanted = maxclients + RESERVED_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        for new in ((wanted, max(hard, wanted)), (min(wanted, hard), hard)):
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, new)
                break
            except (OSError, ValueError):
                continue
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(maxclients, max(soft - RESERVED_DESCRIPTORS, 1))


def follow_maxclients(maxclients: int) -> None:
    """CONFIG SET maxclients. Raises ConfigError when the system does not allow that many descriptors."""
    possible = fit_file_limit(maxclients)
    if possible < maxclients:
        raise ConfigError(
            f"The operating system is not able to handle the specified number of clients, try with {possible}"
        )


def settle_maxclients(config: Config) -> None:
    """At the start: serve as many clients as the system allows, and say so when that is fewer than configured."""
    possible = fit_file_limit(config.maxclients)
    if possible < config.maxclients:
        log.warning("Current maximum open files allows %d clients: maxclients has been reduced to that.", possible)
        config.maxclients = possible
    config.on_change("maxclients", follow_maxclients)


# -- what the system is told about us --------------------------------------------------------------------------------

_SYSLOG_SOCKET: Final = "/dev/log"


def start_syslog(config: Config) -> None:
    """`syslog-enabled`: send the log to the system's as well."""
    if not config.syslog_enabled:
        return
    from logging.handlers import SysLogHandler  # a start without it is spared what that imports

    try:
        handler = SysLogHandler(_SYSLOG_SOCKET, SysLogHandler.facility_names[config.syslog_facility])
    except OSError as error:
        log.warning("No system log at %s: %s", _SYSLOG_SOCKET, os.strerror(error.errno or 0))
        return
    handler.ident = f"{config.syslog_ident}[{os.getpid()}]: "
    logging.getLogger().addHandler(handler)


def set_title(config: Config) -> None:
    """`set-proc-title`: what `ps` shows, by `proc-title-template`; cut at the length of the original command line.

    Linux shows the memory where the arguments were when the process began, so that is where the title is written.
    """
    if not config.set_proc_title:
        return
    mode = " [cluster]" if config.cluster_enabled else ""
    host = config.bind[0].removeprefix("-") if config.bind else "*"
    variables = {
        "title": "slotmesh-node",
        "listen-addr": config.unixsocket if not config.port and config.unixsocket else f"{host}:{config.port}",
        "server-mode": mode.strip(),
        "port": config.port,
        "tls-port": config.tls_port,
        "unixsocket": config.unixsocket,
        "config-file": config.path or "",
    }
    title = re.sub(r"\{([^{}]+)\}", lambda match: str(variables[match[1]]), config.proc_title_template).strip()
    with open("/proc/self/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, counted behind the name in parentheses
    if start and end > start:
        raw = title.encode("utf-8", "surrogateescape")[: end - start - 1]
        ctypes.memmove(start, raw.ljust(end - start, b"\0"), end - start)
