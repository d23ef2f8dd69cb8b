"""One node from its arguments, which are those of the stock server, to its exit code."""

from __future__ import annotations

import gc
import logging
import sys

import trio

from slotmesh import __version__
from slotmesh.node import commands
from slotmesh.node.acl.users import check_user_lines
from slotmesh.node.base import log
from slotmesh.node.base.native import HOT_PATH
from slotmesh.node.clustering.guard_file import GuardFileError
from slotmesh.node.clustering.host import ClusterStartError
from slotmesh.node.config.configuration import Config, ConfigFileError
from slotmesh.node.config.load import load_config
from slotmesh.node.persistence.errors import StorageError
from slotmesh.node.process.background import daemonize, pid_file
from slotmesh.node.process.process import DEFAULT_PID_FILE, banner, set_title, settle_maxclients, start_syslog
from slotmesh.node.process.signals import Signals
from slotmesh.node.server import Server
from slotmesh.node.serving.tasks import NeededTasks, leaves

_USAGE = """Usage: slotmesh-node [/path/to/redis.conf] [options] [-]
       slotmesh-node - (read config from stdin)
       slotmesh-node -v or --version
       slotmesh-node -h or --help

Examples:
       slotmesh-node (run the server with default conf)
       slotmesh-node --port 7777 --cluster-enabled yes
       slotmesh-node /etc/myredis.conf --loglevel verbose -
"""


def main() -> None:
    """Run a node as the command line says, and exit. To be called with the garbage collector disabled."""
    argv = sys.argv[1:]
    if argv[:1] in (["-v"], ["--version"]):
        print(f"Redis server v=7.0.15 (slotmesh {__version__})")
        return
    if argv[:1] in (["-h"], ["--help"]):
        print(_USAGE, end="")
        return
    commands.load_all()  # before the configuration, whose `rename-command` and `user` lines are about commands
    try:
        config = load_config(argv, check_user_lines)
    except ConfigFileError as error:
        sys.exit(str(error))
    if config.daemonize and config.supervised == "no":
        daemonize()
    log.set_up(config.loglevel, config.logfile)
    with pid_file(config.pidfile or (DEFAULT_PID_FILE if config.daemonize else ""), logging.getLogger("node")):
        code = serve(config)
    sys.exit(code)


def serve(config: Config) -> int:
    """Run a node in this process; its exit code."""
    logger = logging.getLogger("node")
    logger.info("oO0OoO0OoO0Oo slotmesh is starting oO0OoO0OoO0Oo")
    start_syslog(config)
    settle_maxclients(config)
    set_title(config)
    config.on_change("proc-title-template", lambda _: set_title(config))
    try:
        server = Server(config)
    except (ClusterStartError, GuardFileError, ConfigFileError) as error:
        logger.warning("%s", error)
        return 1
    logger.info("%s", banner(config))
    # Values live long: keep the collector from walking them. Strings are untracked anyway.
    gc.freeze()
    # A look at the youngest takes 1 ms, one at the next generation some 5; the last is looked at after 100M containers.
    gc.set_threshold(10_000, 5, 2_000)
    gc.enable()

    async def run() -> int:
        Signals(server.state, server.shutdown, server.scripting, server.shutdown_requested)
        return await run_server(server)

    try:
        server.listeners.open()
        if server.cluster is not None:
            server.cluster.listen()
        logger.info("Server initialized")
        return trio.run(run)
    except OSError as error:
        logger.warning("%s", error.strerror or error)
        return 1
    finally:
        logger.warning("Redis is now ready to exit, bye bye...")


async def run_server(server: Server) -> int:
    """Load the data, serve until a shutdown is requested; the exit code of the process."""
    logger = logging.getLogger("node")
    tasks: NeededTasks | None = None
    try:
        async with trio.open_nursery() as nursery:
            tasks = NeededTasks(nursery)
            nursery.start_soon(_cancel_when_requested, server, nursery.cancel_scope)
            tasks.start("the data plane", server.data_plane.run)
            tasks.start("persistence", server.persistence.run)
            await server.persistence.load_at_start()
            server.replication.restore(server.persistence.loader.aux, server.persistence.loader.dropped)
            if server.cluster is not None:
                server.cluster.adopt_slots_of_keys()
            tasks.start("replication", server.replication.run)
            tasks.start("the housekeeping", server.cron.run)
            tasks.start("saving files", server.file_saves.run)
            if server.cluster is not None:
                tasks.start("the cluster", server.cluster.run)
            logger.info("The hot path of commands is %s.", HOT_PATH)
            logger.info("Ready to accept connections")
        if not tasks.failed:
            server.persistence.close()
    except* StorageError as group:
        for error in leaves(group):
            logger.warning("%s", error)
        server.exit_code = 1
    server.data_plane.close()
    if tasks is not None and tasks.failed:
        return 1
    if server.cluster is not None:
        server.cluster.close()
    return server.exit_code


async def _cancel_when_requested(server: Server, scope: trio.CancelScope) -> None:
    """End what runs in `scope`, a data set that is still loading included, when a shutdown is requested."""
    await server.shutdown_requested.wait()
    scope.cancel()
