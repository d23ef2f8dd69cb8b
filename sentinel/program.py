"""One sentinel from its arguments, which are those of stock's redis-sentinel, to its exit status."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from random import Random

import trio

from slotmesh import __version__
from slotmesh.cluster.addresses import is_host_name, is_ip
from slotmesh.node.base import log
from slotmesh.node.config.kinds import ConfigFileError as NodeConfigFileError
from slotmesh.node.config.load import read_files
from slotmesh.node.process.background import daemonize, pid_file
from slotmesh.sentinel import statements
from slotmesh.sentinel.access import Access
from slotmesh.sentinel.commands import execute
from slotmesh.sentinel.config import ConfigFile, ConfigFileError, ConfigText, option_lines, parse_config
from slotmesh.sentinel.core import SentinelCore
from slotmesh.sentinel.driver import Driver, monotonic_ms
from slotmesh.sentinel.server import Server

VERSION = f"Redis server v=7.0.15 (slotmesh {__version__}, sentinel)"
USAGE = """Usage: slotmesh-sentinel /path/to/sentinel.conf [--option value ...]
       slotmesh-sentinel -v or --version
       slotmesh-sentinel -h or --help

Examples:
       slotmesh-sentinel /etc/sentinel.conf
       slotmesh-sentinel /etc/sentinel.conf --port 26380
       slotmesh-sentinel ./sentinel.conf --sentinel monitor mymaster 10.0.0.1 6379 2
"""
_logger = logging.getLogger("sentinel")


def main() -> None:
    """Run a sentinel as the command line says, and exit. To be called with the garbage collector disabled."""
    argv = sys.argv[1:]
    if argv[:1] in (["-v"], ["--version"]):
        print(VERSION)
        return
    if argv[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return
    try:
        path, config = _read_config(argv)
        access = Access(config.options)
        core = _new_core(config)
    except ConfigFileError as error:
        sys.exit(str(error))
    sys.exit(_serve(path, config, access, core))


def _read_config(argv: Sequence[str]) -> tuple[str, ConfigFile]:
    """The config file's path (absolute) and what it says. Raises ConfigFileError."""
    if not argv or argv[0].startswith("-"):
        raise ConfigFileError("Sentinel needs config file on disk to save state. Exiting...")
    path = os.path.abspath(argv[0])
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigFileError(f"Fatal error, can't open config file '{path}': {error.strerror}") from error
    config = parse_config(text, option_lines(argv[1:]), _read_included)
    if not os.access(path, os.W_OK) or not os.access(os.path.dirname(path), os.W_OK):
        raise ConfigFileError(f"Sentinel config file {path} is not writable: Permission denied. Exiting...")
    return path, config


def _read_included(pattern: str) -> str:
    """What an `include` line brings in. Raises ConfigFileError."""
    try:
        return read_files(pattern).decode("utf-8", "surrogateescape")
    except NodeConfigFileError as error:
        raise ConfigFileError(str(error)) from error


def _new_core(config: ConfigFile) -> SentinelCore:
    """A core with the state of the file. Raises ConfigFileError."""
    rng = Random(os.urandom(16))
    core = SentinelCore(rng, monotonic_ms(), execute)
    core.ctx.port, core.ctx.requirepass = config.options.port, config.options.requirepass
    core.executable = _executable
    _resolve_names(core, config)
    statements.load(core, config.statements, _executable)
    new = not core.ctx.my_id
    if new:
        core.ctx.my_id = rng.randbytes(20).hex()

    content = ConfigText(config.lines)
    core.render = lambda: content.rewrite(statements.dump(core))
    if new:
        core.ctx.persist()
    return core


def _executable(path: str) -> bool:
    return os.access(path, os.X_OK)


def _resolve_names(core: SentinelCore, config: ConfigFile) -> None:
    """With resolve-hostnames, look up the names in the file now: their IPs are compared from the first message on."""
    words = [statement.words for statement in config.statements]
    if not any(word[0].lower() == "resolve-hostnames" and word[-1].lower() == "yes" for word in words):
        return
    told = [word[2] for word in words if len(word) > 3 and word[0].lower() in _NAMES_HOST]
    hosts = [host for host in told if is_host_name(host) and not is_ip(host)]

    async def look_up() -> None:
        for host in dict.fromkeys(hosts):
            try:
                found = await trio.socket.getaddrinfo(host, None)
                core.ctx.names[host] = str(found[0][4][0])
            except OSError:
                core.ctx.names[host] = ""  # it is tried again at every connection

    trio.run(look_up)


_NAMES_HOST = ("monitor", "known-replica", "known-slave", "known-sentinel")


def _serve(path: str, config: ConfigFile, access: Access, core: SentinelCore) -> int:
    """Run until told to stop; the exit status."""
    options = config.options
    if options.dir:
        try:
            os.chdir(options.dir)
        except OSError as error:
            print(f"Can't chdir to '{options.dir}': {error.strerror}", file=sys.stderr)
            return 1
    if options.daemonize:
        daemonize()
    try:
        log.set_up(options.loglevel, options.logfile, role="X")
    except OSError as error:
        print(f"Can't open the log file {options.logfile}: {error.strerror}", file=sys.stderr)
        return 1
    server = Server(options, access)
    driver = Driver(core, path, server.publish)
    _logger.warning("oO0OoO0OoO0Oo slotmesh sentinel is starting oO0OoO0OoO0Oo")
    try:
        server.listen()
        _logger.info("Running mode=sentinel, port=%d.", options.port)
        with pid_file(options.pidfile, _logger):
            return trio.run(_run, server, driver)
    except OSError as error:
        _logger.warning("%s", error.strerror or error)
        return 1


async def _run(server: Server, driver: Driver) -> int:
    gc.freeze()  # what is there now stays: the collector need not walk it
    gc.enable()
    async with trio.open_nursery() as nursery:
        driver.core.start()
        await nursery.start(driver.run)
        nursery.start_soon(server.run, driver)
        nursery.start_soon(_watch_signals, server)
        await server.state.stopping.wait()
        _logger.warning("Sentinel is now ready to exit, bye bye...")
        nursery.cancel_scope.cancel()
    return 0


async def _watch_signals(server: Server) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _logger.warning("Received %s, scheduling shutdown...", signal.Signals(number).name)
            server.state.stopping.set()
