"""The local cluster of `clusterctl up`: its state file, its directories, its processes.

Everything lives in one directory: `cluster.json` (which processes there are; written once, when they are first made),
and a subdirectory per process with its configuration file, data, log and pid. The configuration files are real
redis.conf / sentinel.conf files and belong to the user once written: they are never overwritten, and any of the
processes can be started by hand with them.

A process is recognised by its pid file *and* its working directory, which is its own subdirectory: a pid that the
kernel has given to somebody else is never signalled. This reads /proc, so it works on Linux only, like the nodes.

File `cluster.json`: `{"version": 1, "primaries", "replicas", "node_command", "sentinel_command", "formed",
"processes": [{"name", "kind": "node" | "sentinel", "host", "port"}]}`. `formed` tells a cluster from a set of nodes on
the way to become one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import attrs

from slotmesh.cluster.numbers import INT32_MAX, to_uint
from slotmesh.cluster.plan import Address
from slotmesh.tools.clusterctl.errors import OperationFailed, UsageMistake, naming
from slotmesh.tools.clusterctl.session import STATE_FILE

FORMAT_VERSION = 1
BUS_PORT_OFFSET = 10_000
MONITOR_NAME = "mesh"
LOCAL_HOST = "127.0.0.1"
PROJECT_ROOT = Path(__file__).resolve().parents[2]


@attrs.frozen
class LocalProcess:
    """A node or sentinel of the local cluster. `home` is its own directory."""

    name: str
    kind: str
    address: Address
    home: Path

    @property
    def is_node(self) -> bool:
        return self.kind == "node"

    @property
    def config_path(self) -> Path:
        return self.home / ("redis.conf" if self.is_node else "sentinel.conf")

    @property
    def log_path(self) -> Path:
        return self.home / f"{self.kind}.log"

    @property
    def pid_path(self) -> Path:
        return self.home / "pid"

    @property
    def ports(self) -> list[int]:
        """Every port it listens on."""
        return [self.address.port, self.address.port + BUS_PORT_OFFSET] if self.is_node else [self.address.port]

    def pid(self) -> int | None:
        """The pid when it runs, else None."""
        try:
            pid = to_uint(self.pid_path.read_bytes().strip(), INT32_MAX)
        except FileNotFoundError:
            return None
        return pid if pid and _lives_in(pid, self.home) else None

    def log_tail(self, lines: int) -> list[str]:
        try:
            text = self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-lines:]

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start it in the background, in a session of its own: it outlives us and the terminal."""
        environment = dict(os.environ)
        if command[0] == sys.executable:
            environment["PYTHONPATH"] = os.pathsep.join(
                filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH", "")])
            )
        with naming(self.log_path), self.log_path.open("ab") as log:
            try:
                process = subprocess.Popen(
                    [*command, self.config_path.name],
                    cwd=self.home,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise OperationFailed(f"cannot start {command[0]}: {error.strerror}") from error
        with naming(self.pid_path):
            self.pid_path.write_text(f"{process.pid}\n")
        return process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it runs."""
        pid = self.pid()
        if pid is not None:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return  # it ended between the look and the signal


def _lives_in(pid: int, home: Path) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and Path(os.readlink(f"/proc/{pid}/cwd")) == home.resolve()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


@attrs.define
class LocalCluster:
    """All that `cluster.json` says."""

    directory: Path
    primaries: int
    replicas: int
    node_command: tuple[str, ...]
    sentinel_command: tuple[str, ...]
    processes: tuple[LocalProcess, ...]
    formed: bool = False

    @property
    def nodes(self) -> list[LocalProcess]:
        return [process for process in self.processes if process.is_node]

    @property
    def sentinels(self) -> list[LocalProcess]:
        return [process for process in self.processes if not process.is_node]

    def command_for(self, process: LocalProcess) -> tuple[str, ...]:
        return self.node_command if process.is_node else self.sentinel_command

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """The cluster of `directory`, or None when there is none."""
        path = directory / STATE_FILE
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UsageMistake(f"the state file {path} cannot be read: {error}") from error
        try:
            if state["version"] != FORMAT_VERSION:
                raise UsageMistake(f"{path} has format {state['version']}; this clusterctl knows {FORMAT_VERSION}")
            processes = tuple(
                LocalProcess(e["name"], e["kind"], Address(e["host"], e["port"]), (directory / e["name"]).absolute())
                for e in state["processes"]
            )
            return cls(
                directory,
                state["primaries"],
                state["replicas"],
                tuple(state["node_command"]),
                tuple(state["sentinel_command"]),
                processes,
                state["formed"],
            )
        except (KeyError, TypeError) as error:
            raise UsageMistake(
                f"the state file {path} is not one of ours: {error}", "remove it, or name --dir"
            ) from error

    def save(self) -> None:
        state: dict[str, Any] = {
            "version": FORMAT_VERSION,
            "primaries": self.primaries,
            "replicas": self.replicas,
            "node_command": list(self.node_command),
            "sentinel_command": list(self.sentinel_command),
            "formed": self.formed,
            "processes": [
                {"name": p.name, "kind": p.kind, "host": p.address.host, "port": p.address.port} for p in self.processes
            ],
        }
        path = self.directory / STATE_FILE
        draft = path.with_suffix(".tmp")
        with naming(path.absolute()):
            self.directory.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
            draft.replace(path)


def lay_out(
    directory: Path,
    primaries: int,
    replicas: int,
    sentinels: int,
    port: int,
    sentinel_port: int,
    node_command: Sequence[str],
    sentinel_command: Sequence[str],
) -> LocalCluster:
    """A new local cluster: consecutive ports, a directory per process."""
    home = directory.absolute()
    nodes = [
        LocalProcess(f"node-{p}", "node", Address(LOCAL_HOST, p), home / f"node-{p}")
        for p in range(port, port + primaries * (1 + replicas))
    ]
    watchers = [
        LocalProcess(f"sentinel-{p}", "sentinel", Address(LOCAL_HOST, p), home / f"sentinel-{p}")
        for p in range(sentinel_port, sentinel_port + sentinels)
    ]
    ports = [p for process in (*nodes, *watchers) for p in process.ports]
    if len(set(ports)) != len(ports):
        raise UsageMistake("the port ranges of nodes, bus (port + 10000) and sentinels overlap")
    if max(ports) > 65535:
        raise UsageMistake(f"port {max(ports)} is too high; nodes need port + {BUS_PORT_OFFSET} for the bus")
    return LocalCluster(
        directory, primaries, replicas, tuple(node_command), tuple(sentinel_command), (*nodes, *watchers)
    )


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCAL_HOST, port))
        except OSError:
            return False
    return True


def who_listens(port: int) -> tuple[int, str] | None:
    """(pid, command) of the process listening on a TCP port, as far as we may see it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue  # no IPv6 here
        for fields in map(str.split, rows):
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":  # 0A: LISTEN
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(descriptor) in inodes for descriptor in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return int(process.name), command
        except OSError:
            continue  # it has ended, or is not ours to look into
    return None
