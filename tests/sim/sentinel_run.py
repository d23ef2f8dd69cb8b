"""`python -m tests.sim.sentinel_run --seed N` replays one run of the sentinels' simulation; `--seeds N` runs many.

With `--cluster` the nodes are real ones (`sentinel_cluster`), else models (`sentinel_world`); with `--restarts` whole
machines restart, and recovery is judged by time (`restarts`); `--bug` breaks a rule on purpose (`bugs`). Exit status 1
when a seed failed; each failure comes with the command that replays it.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import nullcontext
from functools import partial
from multiprocessing import Pool

from tests.sim.bugs import SENTINEL_BUGS
from tests.sim.restarts import RestartClusterWorld, RestartWorld
from tests.sim.sentinel_cluster import ClusterWorld
from tests.sim.sentinel_world import SentinelWorld

KINDS: dict[tuple[bool, bool], type[SentinelWorld]] = {
    (False, False): SentinelWorld,
    (True, False): ClusterWorld,
    (False, True): RestartWorld,
    (True, True): RestartClusterWorld,
}


def run_seed(kind: type[SentinelWorld], seed: int) -> str:
    """Run one seed: "" or why it failed and what replays it."""
    world = kind(seed)
    try:
        world.run()
    except AssertionError as error:
        return f"seed {seed}: {type(error).__name__}: {error}\n  replay: {world.replay}"
    return ""


def replay(world: SentinelWorld) -> int:
    """Run one seed and tell its story."""
    failure = ""
    try:
        world.run()
    except AssertionError as error:
        failure = f"{type(error).__name__}: {error}"
    print("\n".join(world.log))
    print(failure or "ok")
    return 1 if failure else 0


def run_many(kind: type[SentinelWorld], first: int, count: int, processes: int) -> int:
    """Run seeds in parallel; print failures as they come."""
    failed = 0
    with Pool(processes) as pool:
        for failure in pool.imap_unordered(partial(run_seed, kind), range(first, first + count), chunksize=4):
            if failure:
                failed += 1
                print(failure, flush=True)
    print(f"{count} seeds, {failed} failed")
    return 1 if failed else 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.sentinel_run", description="Simulator of the sentinels")
    parser.add_argument("--cluster", action="store_true", help="real nodes")
    parser.add_argument("--restarts", action="store_true", help="whole restarts, and recovery judged by time")
    parser.add_argument("--bug", choices=sorted(SENTINEL_BUGS), help="break a rule on purpose")
    parser.add_argument("--seed", type=int, help="replay this one and show what happened")
    parser.add_argument("--seeds", type=int, default=200, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    kind = KINDS[options.cluster, options.restarts]
    with SENTINEL_BUGS[options.bug]() if options.bug else nullcontext():
        if options.seed is not None:
            return replay(kind(options.seed))
        return run_many(kind, options.first, options.seeds, options.processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
