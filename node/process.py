"""What a node says and does about being a process: the banner in the log, the background, the pid file,
and how many descriptors it may open.

`daemonize` detaches before any thread or descriptor exists that a fork would break. Scripts of others look for ` PID: `
in the banner and for the pid file, so both keep the stock server's form.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from node.config_kinds import ConfigError
from node.observe.info_sections import SLOTMESH_VERSION, STOCK_VERSION

if TYPE_CHECKING:
    from node.config import Config

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
        stock=STOCK_VERSION,
        bits=64 if sys.maxsize > 2**32 else 32,
        mode=mode,
        port=config.port,
        pid=os.getpid(),
    )


def daemonize() -> None:
    """Go on as a child in a session of its own, without terminal; the parent ends with status 0."""
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)


@contextlib.contextmanager
def pid_file(config: Config) -> Iterator[None]:
    """Keep a pid file while the node runs, if one is configured or the node is in the background."""
    path = config.pidfile or (DEFAULT_PID_FILE if config.daemonize else "")
    if path:
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
        except OSError as error:
            log.warning("Failed to write PID file: %s", os.strerror(error.errno or 0))
            path = ""
    try:
        yield
    finally:
        if path:
            log.info("Removing the pid file.")
            with contextlib.suppress(OSError):
                os.unlink(path)


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
