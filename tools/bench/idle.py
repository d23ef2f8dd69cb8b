"""`python -m slotmesh.tools.bench.idle`: what doing nothing costs, beside redis-server.

Clusters at rest, guarded by sentinels, each beside the same of redis-server (without sentinels) in the same minutes.
What is printed is processor time (user and system, all threads), per process and in percent of one core; the load of
the machine changes it less than it changes anything that is timed by the wall clock, though busy caches count.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SENTINELS = 3
SETTLE_S = 10.0
"""After `up` there are rounds of gossip, INFO and file writes that are not rest yet."""

_CLUSTERCTL = (sys.executable, "-m", "slotmesh.tools.clusterctl")


def main() -> None:
    """Measure what the command line says and print a table."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="slotmesh-idle."))
    try:
        for nodes in options.nodes:
            _measure(folder, nodes, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.idle", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="*", default=[6], help="sizes of the clusters, even numbers")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each measurement")
    parser.add_argument("--port", type=int, default=19000, help="first of some 300 free ports (and their bus ports)")
    parser.add_argument("--node-timeout", type=int, default=1000, help="cluster-node-timeout, ms")
    return parser.parse_args()


def _measure(folder: Path, nodes: int, options: argparse.Namespace) -> None:
    timeout = f"cluster-node-timeout {options.node_timeout}"
    ours = ("--sentinels", str(SENTINELS), "--sentinel-port", str(options.port + 290))
    stock = ("--sentinels", "0", "--node-command", "redis-server")
    with (
        _cluster(folder / f"ours-{nodes}", nodes, options.port, timeout, ours) as mine,
        _cluster(folder / f"stock-{nodes}", nodes, options.port + 120, timeout, stock) as theirs,
    ):
        time.sleep(SETTLE_S)
        groups = {
            "node": [pid for kind, pid in mine if kind == "node"],
            "sentinel": [pid for kind, pid in mine if kind != "node"],
            "stock node": [pid for _, pid in theirs],
        }
        before = {pid: processor_s(pid) for pids in groups.values() for pid in pids}
        began = time.monotonic()
        time.sleep(options.seconds)
        took_s = time.monotonic() - began
        for what, pids in groups.items():
            shares = [100 * (processor_s(pid) - before[pid]) / took_s for pid in pids]
            print(
                f"{nodes:3} nodes, each {what:10} {sum(shares) / len(shares):6.2f} % of a core "
                f"(from {min(shares):.2f} to {max(shares):.2f}; all {sum(shares):.1f})",
                flush=True,
            )


def processor_s(pid: int) -> float:
    """Processor seconds that all threads of a process have used."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _cluster(
    folder: Path, nodes: int, port: int, node_option: str, more: Sequence[str]
) -> Iterator[list[tuple[str, int]]]:
    """A cluster of primaries with a replica each; (kind, pid) of its processes."""
    where = ("--dir", str(folder))
    up = ("up", *where, "--primaries", str(nodes // 2), "--port", str(port), "--node-option", node_option, *more)
    try:
        subprocess.run([*_CLUSTERCTL, *up], check=True, stdout=subprocess.DEVNULL)
        told = subprocess.run([*_CLUSTERCTL, "ps", *where, "--json"], check=True, capture_output=True, text=True)
        yield [(process["kind"], process["pid"]) for process in json.loads(told.stdout)["processes"]]
    finally:
        subprocess.run([*_CLUSTERCTL, "down", *where], check=False, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
