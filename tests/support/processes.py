"""Real server processes for tests: free ports, start, stop, kill, pause, wait for a condition.

One `ServerHandle` per process, used as a context manager, so a failing test leaves nothing behind. Children also ask
the kernel to be killed when the test process dies (PR_SET_PDEATHSIG): a runner that is itself killed leaks no servers.

Ports are picked at random below the kernel's ephemeral range and probed by binding: an outgoing connection of a
parallel test can then never take a port between the probe and the start. A cluster node also needs port + 10000 for
its bus.

Nothing here sleeps for a fixed time: `wait_until` polls a condition and fails with what was awaited and last seen.
Building a cluster uses plain CLUSTER commands, not clusterctl, so that tests of clusterctl do not rest on it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs
import redis

T = TypeVar("T")

STOCK_SERVER = "redis-server"
STOCK_SENTINEL = "redis-sentinel"
OUR_NODE: tuple[str, ...] = (sys.executable, "-m", "slotmesh.node")
OUR_SENTINEL: tuple[str, ...] = (sys.executable, "-m", "slotmesh.sentinel")
PROJECT_ROOT = Path(__file__).resolve().parents[2]
BUS_PORT_OFFSET = 10_000
SLOT_COUNT = 16_384

_PORT_RANGE = range(11_000, 22_500)  # with the bus offset: 21,000-32,499, still below 32,768
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_handed_out: set[int] = set()
_random = random.Random(os.urandom(8))


def have_stock() -> bool:
    """True when the stock redis-server binary is on PATH (tests marked `stock` need it)."""
    return shutil.which(STOCK_SERVER) is not None


def wait_until(condition: Callable[[], T | None], deadline_s: float, what: str, poll_s: float = 0.01) -> T:
    """Call `condition` until it returns something truthy and return that.

    Connection errors and error replies count as "not yet". Raises AssertionError naming `what` and the last value or
    error after `deadline_s`.
    """
    end = time.monotonic() + deadline_s
    last: object = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (OSError, redis.ConnectionError, redis.TimeoutError, redis.ResponseError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what} (last seen: {last!r})")
        time.sleep(poll_s)


def free_ports(count: int, *, cluster: bool = False) -> list[int]:
    """`count` different free TCP ports on 127.0.0.1; with `cluster` the bus port (port + 10000) is free as well."""
    ports: list[int] = []
    while len(ports) < count:
        port = _random.choice(_PORT_RANGE)
        if port in _handed_out or not _can_bind(port) or (cluster and not _can_bind(port + BUS_PORT_OFFSET)):
            continue
        _handed_out.add(port)
        ports.append(port)
    return ports


def free_port_block(count: int, *, cluster: bool = False) -> int:
    """First of `count` consecutive free ports (for tools that take a base port)."""
    while True:
        first = _random.choice(_PORT_RANGE[:-count])
        block = range(first, first + count)
        if any(port in _handed_out or not _can_bind(port) for port in block):
            continue
        if cluster and not all(_can_bind(port + BUS_PORT_OFFSET) for port in block):
            continue
        _handed_out.update(block)
        return first


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers_ping(port: int) -> bool:
    """Whether a server answers PONG. By hand: the client's own retries of a refused connection take a second each."""
    with socket.create_connection(("127.0.0.1", port), 5) as probe:
        probe.sendall(b"PING\r\n")
        return probe.recv(64).startswith(b"+PONG")


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@attrs.define(eq=False)
class ServerHandle:
    """One running server process and everything a test wants to do to it."""

    command: tuple[str, ...]
    port: int
    directory: Path
    log_path: Path
    process: subprocess.Popen[bytes]
    _client: redis.Redis | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        """All output so far (stdout and stderr)."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def client(self) -> redis.Redis:
        """A cached sync client of this process (bytes replies, 5 s timeouts)."""
        if self._client is None:
            self._client = redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=5, socket_connect_timeout=5)
        return self._client

    def call(self, *args: str | bytes | int) -> Any:
        """Run one command and return the raw reply (no redis-py parsing of the command's answer)."""
        return raw_call(self.client(), *args)

    def info(self, section: str = "everything") -> dict[str, str]:
        """INFO as a flat dict of strings."""
        text = bytes(self.call("INFO", section)).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))

    def wait_ready(self, deadline_s: float = 60.0) -> None:
        """Until PING is answered; fails at once, with the log, when the process has died."""

        def answered() -> bool:
            if not self.running:
                raise AssertionError(f"{self.command} exited with {self.process.returncode}:\n{self.log()[-4000:]}")
            return _answers_ping(self.port)

        wait_until(answered, deadline_s, f"PONG from {self.address}")

    def pause(self) -> None:
        """SIGSTOP: the process keeps its sockets but answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill9(self) -> None:
        """SIGKILL and reap."""
        self._close_client()
        if self.running:
            self.process.kill()
        self.process.wait(10)

    def stop(self, deadline_s: float = 10.0) -> int:
        """SIGTERM, wait, SIGKILL after the deadline. Returns the exit status."""
        self._close_client()
        if self.running:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(deadline_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait(10)

    def restart(self, *extra_args: str) -> None:
        """Start the same command line again in the same directory (after kill9 or stop)."""
        assert not self.running, "stop or kill it first"
        self.process = _spawn((*self.command, *extra_args), self.directory, self.log_path)
        self.wait_ready()

    def move(self, port: int) -> None:
        """Start again in the same directory, but on another port."""
        self._close_client()
        at = self.command.index("--port") + 1
        self.command, self.port = (*self.command[:at], str(port), *self.command[at + 1 :]), port
        self.restart()

    def _close_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill9()


def raw_call(client: redis.Redis, *args: str | bytes | int) -> Any:
    """One command over `client` with redis-py's per-command reply parsing switched off; errors raise."""
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_command(*args)
        return connection.read_response()
    finally:
        pool.release(connection)


def _spawn(command: Sequence[str], directory: Path, log_path: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}
    with log_path.open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=_die_with_parent,
        )


def start_server(
    launcher: Sequence[str],
    directory: Path,
    *args: str,
    port: int | None = None,
    cluster: bool = False,
    wait: bool = True,
) -> ServerHandle:
    """Start `launcher --port P --dir D args...` (redis-server's argument style) and, if told to `wait`, for PONG.

    `directory` is created. Persistence is off unless `args` switch it on. `cluster` adds cluster-enabled with a
    2 s node timeout and no wait before a full sync; later `args` override.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = port if port is not None else free_ports(1, cluster=cluster)[0]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
    if cluster:
        options += ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0"]
    command = (*launcher, *options, *args)
    log_path = directory / "server.log"
    handle = ServerHandle(command, port, directory, log_path, _spawn(command, directory, log_path))
    try:
        if wait:
            handle.wait_ready()
    except BaseException:
        handle.kill9()
        raise
    return handle


def start_stock_server(directory: Path, *args: str, port: int | None = None, cluster: bool = False) -> ServerHandle:
    """A stock redis-server; see `start_server`."""
    return start_server((STOCK_SERVER,), directory, *args, port=port, cluster=cluster)


def start_node(directory: Path, *args: str, port: int | None = None, cluster: bool = False) -> ServerHandle:
    """Our node process; see `start_server`."""
    return start_server(OUR_NODE, directory, *args, port=port, cluster=cluster)


def start_sentinel(
    launcher: Sequence[str], directory: Path, config_lines: Sequence[str], port: int | None = None
) -> ServerHandle:
    """A sentinel (`OUR_SENTINEL` or `(STOCK_SENTINEL,)`) with a sentinel.conf of `config_lines` plus port and dir."""
    directory.mkdir(parents=True, exist_ok=True)
    port = port if port is not None else free_ports(1)[0]
    config = directory / "sentinel.conf"
    config.write_text("\n".join([f"port {port}", "bind 127.0.0.1", f"dir {directory}", *config_lines]) + "\n")
    command = (*launcher, str(config))
    log_path = directory / "sentinel.log"
    handle = ServerHandle(command, port, directory, log_path, _spawn(command, directory, log_path))
    try:
        handle.wait_ready()
    except BaseException:
        handle.kill9()
        raise
    return handle


@attrs.define(eq=False)
class ClusterHandle:
    """Several cluster nodes; `nodes[:primaries]` are the primaries, in slot order, then their replicas in rounds."""

    nodes: list[ServerHandle]
    primaries: int

    @property
    def addresses(self) -> list[str]:
        return [node.address for node in self.nodes]

    def client(self) -> redis.RedisCluster:
        """A new stock cluster client; the caller closes it."""
        startup = [_cluster_node(node.port) for node in self.nodes if node.running]
        return redis.RedisCluster(startup_nodes=startup, socket_timeout=5)

    def wait_ok(self, deadline_s: float = 60.0) -> None:
        """Until every running node answers cluster_state:ok and all agree on the slot map."""
        wait_until(self._settled, deadline_s, "all nodes ok and agreeing")

    def _settled(self) -> bool:
        maps = []
        for node in self.nodes:
            if not node.running:
                continue
            if b"cluster_state:ok" not in node.call("CLUSTER", "INFO"):
                return False
            maps.append(sorted((lo, hi, owner[2]) for lo, hi, owner, *_ in node.call("CLUSTER", "SLOTS")))
        return all(one == maps[0] for one in maps)

    def stop(self) -> None:
        for node in self.nodes:
            node.kill9()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextlib.contextmanager
def running_nodes(
    launcher: Sequence[str], directory: Path, count: int, *args: str, cluster: bool = True
) -> Iterator[list[ServerHandle]]:
    """`count` nodes in subdirectories named by port, not joined to each other."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for port in free_ports(count, cluster=cluster):
            node = start_server(launcher, directory / str(port), *args, port=port, cluster=cluster)
            nodes.append(stack.enter_context(node))
        yield nodes


def start_cluster(
    launcher: Sequence[str], directory: Path, *args: str, primaries: int = 3, replicas: int = 1
) -> ClusterHandle:
    """A ready cluster of `primaries` with `replicas` each, slots split evenly and contiguously."""
    handle = ClusterHandle([], primaries)
    try:
        for port in free_ports(primaries * (1 + replicas), cluster=True):
            handle.nodes.append(
                start_server(launcher, directory / str(port), *args, port=port, cluster=True, wait=False)
            )
        for node in handle.nodes:  # they start side by side
            node.wait_ready()
        _join(handle.nodes, primaries)
        handle.wait_ok()
    except BaseException:
        handle.stop()
        raise
    return handle


def start_stock_cluster(directory: Path, *args: str, primaries: int = 3, replicas: int = 1) -> ClusterHandle:
    """`start_cluster` of stock redis-server processes."""
    return start_cluster((STOCK_SERVER,), directory, *args, primaries=primaries, replicas=replicas)


def start_node_cluster(directory: Path, *args: str, primaries: int = 3, replicas: int = 1) -> ClusterHandle:
    """`start_cluster` of our nodes."""
    return start_cluster(OUR_NODE, directory, *args, primaries=primaries, replicas=replicas)


def _cluster_node(port: int) -> redis.cluster.ClusterNode:
    return redis.cluster.ClusterNode("127.0.0.1", port)


def _join(nodes: list[ServerHandle], primaries: int) -> None:
    bounds = [round(index * SLOT_COUNT / primaries) for index in range(primaries + 1)]
    for index, node in enumerate(nodes):
        node.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        if index < primaries:
            node.call("CLUSTER", "ADDSLOTSRANGE", bounds[index], bounds[index + 1] - 1)
        for other in nodes[:index]:  # every pair meets: no waiting for gossip to introduce them
            node.call("CLUSTER", "MEET", "127.0.0.1", other.port)
    ids = [bytes(node.call("CLUSTER", "MYID")) for node in nodes]
    for index, node in enumerate(nodes[primaries:]):
        _replicate(node, ids[index % primaries])
    for node in nodes[primaries:]:
        _wait_linked(node)


def _replicate(node: ServerHandle, primary_id: bytes) -> None:
    wait_until(lambda: node.call("CLUSTER", "REPLICATE", primary_id) == b"OK", 60, f"{node.address} accepts REPLICATE")


def _wait_linked(node: ServerHandle) -> None:
    wait_until(lambda: node.info("replication").get("master_link_status") == "up", 60, f"{node.address} linked")
