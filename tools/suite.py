"""Run Valkey's own Tcl suite against a node of ours and count what passes: `python -m slotmesh.tools.suite --suite
DIR`.

DIR is a checkout of Valkey; nothing of it is part of this project. Every unit runs in the suite's external mode
against a fresh node, so that a unit that goes astray spoils no other. The yardstick is `valkey-server` itself, run
the same way: a test that it passes is expected of us, one that it skips is not. Tests that the suite repeats under one
name count as often as they pass.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import click
from attrs import frozen

from slotmesh.tools.bench.servers import START_SECONDS, RunningServer, free_port, our_command, pinned_server

UNITS: Final = (
    *(f"unit/type/{name}" for name in ("string", "incr", "list", "list-2", "list-3", "set", "zset", "hash")),
    *(f"unit/type/{name}" for name in ("stream", "stream-cgroups")),
    *(f"unit/{name}" for name in ("expire", "scan", "keyspace", "sort", "bitops", "bitfield", "geo", "hyperloglog")),
    *(f"unit/{name}" for name in ("multi", "pubsub", "pubsubshard", "dump", "other", "protocol")),
)
OPTIONS: Final = ("--enable-debug-command", "yes", "--enable-protected-configs", "yes")
OUR_OPTIONS: Final = ("--compat-level", "7.2")  # the suite checks what 7.2 and later answer
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_TIME: Final = re.compile(r" \(\d+ ms\)$")


@frozen
class Outcome:
    """What one unit did: passed names with their count, and what the suite printed of each failure."""

    passed: Counter[str]
    failures: list[str]


def run_unit(suite: Path, command: list[str], unit: str, *, cluster_mode: bool, timeout_s: int) -> Outcome:
    """Run one unit against a server started by `command`. Raises RuntimeError when that does not start."""
    options = [*OPTIONS, *(_cluster_options() if cluster_mode else ())]
    processors = "0-255"  # any: nothing is timed here
    with (
        tempfile.TemporaryDirectory(prefix="slotmesh-suite-") as scratch,
        pinned_server(unit, [*command, *options], processors) as server,
    ):
        if cluster_mode:
            _own_all_slots(server)
        # A copy of its own: runs at the same time would clean up each other's scratch files.
        tree = Path(scratch)
        shutil.copytree(suite / "tests", tree / "tests", symlinks=True)
        shutil.copy(suite / "runtest", tree)
        (tree / "src").symlink_to(suite.resolve() / "src")
        argv = ["./runtest", "--host", "127.0.0.1", "--port", str(server.port), "--single", unit]
        argv += ["--verbose", "--durable", "--tags", "-slow", *(["--cluster-mode"] if cluster_mode else [])]
        # The runner listens 32 ports below this one; with its default, two runs at a time get in each other's way.
        argv += ["--baseport", str(random.randrange(12_000, 30_000, 40))]
        try:
            code, output = _run_all(argv, tree, timeout_s)
            if code and b"[ready]" not in output:
                raise RuntimeError(f"{unit} did not run: {output.decode('utf-8', 'replace')[-500:]}")
        except subprocess.TimeoutExpired as stuck:
            output = (stuck.stdout or b"") + f"\n[err]: {unit} did not end in {timeout_s} s\n".encode()
    return _read(_COLOUR.sub("", output.decode("utf-8", "replace")))


def _run_all(argv: list[str], cwd: Path, timeout_s: float) -> tuple[int, bytes]:
    """(exit code, all output) of a program. In vain, its children end too: they hold the pipe that is read to its end.

    Raises subprocess.TimeoutExpired with what was printed until then.
    """
    with subprocess.Popen(
        argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as running:
        try:
            output, _ = running.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as stuck:
            os.killpg(running.pid, signal.SIGKILL)
            stuck.output, _ = running.communicate()
            raise
    return running.returncode, output


def _cluster_options() -> tuple[str, ...]:
    """A bus port is named, as the usual one, 10,000 above the clients', may lie beyond all ports."""
    return "--cluster-enabled", "yes", "--cluster-port", str(free_port())


def _own_all_slots(server: RunningServer) -> None:
    """Make the node a cluster of one."""
    cli = ["redis-cli", "-p", str(server.port), "cluster"]
    subprocess.run([*cli, "addslotsrange", "0", "16383"], check=True, capture_output=True, timeout=10)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        info = subprocess.run([*cli, "info"], check=True, capture_output=True, timeout=10).stdout
        if b"cluster_state:ok" in info:
            return
        time.sleep(0.05)
    raise RuntimeError("a cluster of one node did not become ok")


def _read(output: str) -> Outcome:
    passed: Counter[str] = Counter()
    failures: list[str] = []
    text: list[str] | None = None
    for line in output.splitlines():
        if "[ok]: " in line:  # words about waiting may stand before it
            passed[_TIME.sub("", line.partition("[ok]: ")[2])] += 1
        if line.startswith(("[err]: ", "[exception]: ")):
            text = [line]
            failures.append(line)
        elif line.startswith("[") or line.strip() == "The End":
            text = None
        elif text is not None:
            text.append(line)
            failures[-1] = "\n".join(text[:12])
    return Outcome(passed, failures)


@click.command()
@click.argument("units", nargs=-1)
@click.option("--suite", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--cluster-mode", is_flag=True, help="One cluster node that owns all slots.")
@click.option("--expected", type=click.Path(path_type=Path), help="What valkey-server passes; made if missing.")
@click.option("--jobs", default=1, show_default=True)
@click.option("--timeout", "timeout_s", default=900, show_default=True, help="Seconds for one unit.")
@click.option("--at-least", default=98.0, show_default=True, help="Percent below which the exit code is 1.")
def main(
    units: tuple[str, ...],
    suite: Path,
    cluster_mode: bool,
    expected: Path | None,
    jobs: int,
    timeout_s: int,
    at_least: float,
) -> None:
    """Count how many tests of UNITS (all named ones by default) a node passes that valkey-server passes."""
    chosen = units or UNITS
    reference = suite.resolve() / "src" / "valkey-server"
    known: dict[str, dict[str, int]] = json.loads(expected.read_text()) if expected and expected.exists() else {}

    if not reference.exists() and not all(unit in known for unit in chosen):
        raise click.UsageError(f"{reference} is missing: build it first (make in {suite})")

    def measure(unit: str) -> Outcome:
        if unit not in known:
            theirs = run_unit(suite, [str(reference)], unit, cluster_mode=cluster_mode, timeout_s=timeout_s)
            known[unit] = dict(theirs.passed)
        command = [*our_command(), *OUR_OPTIONS]
        return run_unit(suite, command, unit, cluster_mode=cluster_mode, timeout_s=timeout_s)

    wanted_in_all = passed_in_all = 0
    with ThreadPoolExecutor(jobs) as pool:
        for unit, ours in zip(chosen, pool.map(measure, chosen), strict=True):
            wanted = Counter(known[unit])
            missing = wanted - ours.passed
            wanted_in_all += wanted.total()
            passed_in_all += wanted.total() - missing.total()
            click.echo(f"{unit}: {wanted.total() - missing.total()} of {wanted.total()}")
            for name, times in sorted(missing.items()):
                click.echo(f"    missing: {name}" + (f" ({times} times)" if times > 1 else ""))
            for failure in ours.failures:
                click.echo("    " + failure.replace("\n", "\n        "))
    if expected:
        expected.write_text(json.dumps(known, indent=1, sort_keys=True))
    percent = 100 * passed_in_all / max(wanted_in_all, 1)
    click.echo(f"together: {passed_in_all} of {wanted_in_all} ({percent:.2f} %)")
    sys.exit(percent < at_least)


if __name__ == "__main__":
    main()
