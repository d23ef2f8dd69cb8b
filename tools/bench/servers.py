"""Starting and stopping the servers under test, each pinned to one processor, on free loopback ports."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Final

from attrs import frozen

START_SECONDS: Final = 20.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@frozen
class RunningServer:
    """A server that answers. `name` is what the report calls it."""

    name: str
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of the process so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def pinned_server(name: str, command: list[str], processors: str) -> Iterator[RunningServer]:
    """Run `command --port P ...` on `processors` (written as for taskset) in a scratch directory until the block ends.

    Raises RuntimeError with the server's last words when it does not answer in time.
    """
    port = free_port()
    scratch = tempfile.mkdtemp(prefix="slotmesh-bench-")
    output = os.path.join(scratch, "log")
    argv = [*command, "--port", str(port), "--dir", scratch, "--save", "", "--appendonly", "no"]
    if shutil.which("taskset"):
        argv = ["taskset", "-c", processors, *argv]
    with open(output, "wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        _wait_for(process, port, output)
        yield RunningServer(name, port, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def _wait_for(process: subprocess.Popen[bytes], port: int, output: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
            sock.sendall(b"PING\r\n")
            if sock.recv(64).startswith(b"+PONG"):
                return
        time.sleep(0.02)
    with open(output, encoding="utf-8", errors="replace") as file:
        raise RuntimeError(f"server on port {port} did not start: {file.read()[-500:]}")


def our_command() -> list[str]:
    """How to start a node of ours."""
    return [sys.executable, "-m", "slotmesh.node"]


def stock_command() -> list[str] | None:
    """How to start the stock server, None when the machine lacks it."""
    found = shutil.which("redis-server")
    return [found] if found else None
