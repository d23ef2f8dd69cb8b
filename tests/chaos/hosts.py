"""The processes of a sequence: started, killed, ended, stopped and continued; what is known of each at any moment."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import attrs

from tests.chaos.network import Address, Place
from tests.chaos.wire import Refused, ask
from tests.support.processes import OUR_NODE, OUR_SENTINEL

DOWN_AFTER_MS = 1000
NODE_OPTIONS = ("--save", "", "--appendonly", "yes", "--repl-diskless-sync-delay", "0", "--protected-mode", "no")
CLUSTER_OPTIONS = ("--cluster-enabled", "yes", "--cluster-node-timeout", "5000")


@attrs.define(eq=False)
class Host:
    """One process and its place. `fit` says that a node may lead its shard: it is a primary, or has been linked to one
    and is not in the middle of a full synchronization.
    """

    name: str
    place: Place
    directory: Path
    command: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    ready_s: float | None = None
    fit: bool = False
    role: str = ""
    paused: bool = False
    cut: bool = False
    restart_at_s: float | None = None

    @property
    def address(self) -> Address:
        return self.place.address

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def serving(self) -> bool:
        """Whether it runs, has answered since its start, and can be reached."""
        return self.ready_s is not None and not self.paused and not self.cut and self.running

    @property
    def log_path(self) -> Path:
        return self.directory / "log"

    def start(self) -> None:
        self.restart_at_s, self.ready_s, self.fit, self.paused = None, None, False, False
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=self.place.enter_as_child,
            )

    def kill(self, number: signal.Signals = signal.SIGKILL, patience_s: float = 20.0) -> None:
        """Send the signal and wait for the end; a SIGTERM that is not obeyed in time is an AssertionError."""
        process = self.process
        assert process is not None
        self.ready_s = None
        if self.paused:
            process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise AssertionError(f"{self.name} did not end within {patience_s} s of {number.name}") from None
        finally:
            self.paused = False

    def pause(self) -> None:
        assert self.process is not None
        self.paused = True
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def probe(self, sentinel: bool) -> None:
        """Ask a running process whether it is ready, and a node what it is."""
        if self.paused or self.cut or not self.running:
            return
        try:
            if self.ready_s is None:
                if ask(self.address, "PING", reply_s=0.5) != b"PONG" and not sentinel:
                    return
                self.ready_s = time.monotonic()
            if not sentinel:
                role = ask(self.address, "ROLE", reply_s=0.5)
                before, self.role = self.role, role[0].decode()
                settled = role[0] == b"master" or role[3] == b"connected"
                self.fit = settled or (self.fit and before == self.role and role[3] != b"sync")
        except (OSError, Refused):
            return

    def starved_s(self) -> float:
        """How long its main thread has waited for a processor since its start."""
        try:
            text = Path(f"/proc/{self.process.pid if self.process else 0}/schedstat").read_text()
        except OSError:
            return 0.0
        return int(text.split()[1]) / 1e9


def node(name: str, place: Place, home: Path, *options: str) -> Host:
    """A node that has not been started."""
    directory = home / name
    directory.mkdir(parents=True)
    ip, port = place.address
    where = ("--port", str(port), "--bind", ip, "--dir", str(directory))
    return Host(name, place, directory, (*OUR_NODE, *where, *NODE_OPTIONS, *options))


def sentinel(name: str, place: Place, home: Path, monitored: Address) -> Host:
    """A sentinel that has not been started; the failover timeout is the default one."""
    directory = home / name
    directory.mkdir(parents=True)
    ip, port = place.address
    config = directory / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind {ip}\ndir {directory}\nprotected-mode no\n"
        f"sentinel monitor mesh {monitored[0]} {monitored[1]} 2\n"
        f"sentinel down-after-milliseconds mesh {DOWN_AFTER_MS}\n"
    )
    return Host(name, place, directory, (*OUR_SENTINEL, str(config)))
