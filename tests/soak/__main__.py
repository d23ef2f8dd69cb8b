"""`python -m tests.soak --minutes 60`: does memory come back?

A primary and its replica go through rounds of everything that clients do. At the end of a round both are empty again,
so their resident sets must stay where they were. The first quarter of the time is for warming up; after it, the growth
from its first third to its last, by medians, must stay under what noise explains. Prints one line a round.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.soak.activity import ACTIVITIES, Pair
from tests.support.processes import ServerHandle, start_node

WARM_UP_SHARE = 0.25
MOST_GROWTH_KB = 2048
"""Arenas and pages that the allocators keep differ by this much from round to round."""

OPTIONS = ("--appendonly", "yes", "--compat-level", "7.2", "--enable-debug-command", "local")


def resident_kb(server: ServerHandle) -> int:
    """The resident set of a process."""
    text = Path(f"/proc/{server.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


def settle(server: ServerHandle) -> int:
    """Give back what can be given back; the resident set then, in kB."""
    server.call("MEMORY", "PURGE")
    return resident_kb(server)


def grown_kb(samples: list[int]) -> int:
    """Growth from the first third of the samples to the last."""
    third = max(1, len(samples) // 3)
    return int(median(samples[-third:]) - median(samples[:third]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        first = start_node(Path(folder) / "a", *OPTIONS)
        second = start_node(Path(folder) / "b", *OPTIONS)
        with first, second:
            second.call("REPLICAOF", "127.0.0.1", first.port)
            pair = Pair(first, second, random.Random(options.seed))
            pair.wait_in_sync()
            return run(pair, (first, second), options.minutes * 60)


def run(pair: Pair, servers: tuple[ServerHandle, ServerHandle], seconds: float) -> int:
    """Rounds until the time is up; the exit status."""
    began = time.monotonic()
    samples: dict[ServerHandle, list[int]] = {server: [] for server in servers}
    while (spent := time.monotonic() - began) < seconds:
        for activity in ACTIVITIES:
            activity(pair)
        pair.primary.call("FLUSHALL")
        pair.round += 1
        sizes = {server: settle(server) for server in servers}
        warm = spent >= seconds * WARM_UP_SHARE
        if warm:
            for server, size in sizes.items():
                samples[server].append(size)
        shown = " ".join(map(str, sizes.values()))
        print(f"{spent:6.0f} s, round {pair.round}: {shown} kB{'' if warm else ' (warming up)'}", flush=True)
    growth = [grown_kb(series) for series in samples.values()]
    right = all(kb <= MOST_GROWTH_KB for kb in growth)
    print(
        f"{'flat' if right else 'GROWS'}: {growth} kB over {len(next(iter(samples.values())))} rounds after the warm-up"
    )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
