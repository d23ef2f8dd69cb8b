"""Command line of the simulator.

``python -m tests.sim --seed 17`` replays one seed and prints what happened; ``python -m tests.sim --seeds 1000`` runs
seeds 0 to 999 on all cores (``--from`` sets the first). Exit status 1 when a seed failed; each failure comes with the
command that replays it. ``--bug`` breaks a rule on purpose (see ``bugs``).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import nullcontext
from multiprocessing import Pool

from tests.sim.bugs import BUGS
from tests.sim.world import World, replay_command


def run_seed(seed: int) -> tuple[int, str]:
    """Run one seed: (seed, "" or why it failed)."""
    try:
        World(seed).run()
    except AssertionError as error:
        return seed, f"{type(error).__name__}: {error}"
    return seed, ""


def replay(seed: int, *, quiet: bool) -> int:
    """Run one seed and tell its story."""
    world = World(seed)
    status = 0
    failure = ""
    try:
        world.run()
    except AssertionError as error:
        failure = f"{type(error).__name__}: {error}"
        status = 1
    if not quiet:
        print("\n".join(world.log))
    print(
        f"seed {seed}: {len(world.nodes)} nodes, {world.network.now_ms} virtual ms, {world.network.events} events, "
        f"{len(world.safety.winners)} elections won, trace {world.network.trace:08x}"
    )
    print(failure or "ok")
    return status


def run_many(first: int, count: int, processes: int) -> int:
    """Run seeds in parallel; print failures as they come."""
    started = time.monotonic()
    failed = 0
    with Pool(processes) as pool:
        for seed, failure in pool.imap_unordered(run_seed, range(first, first + count), chunksize=4):
            if failure:
                failed += 1
                print(f"seed {seed}: {failure}\n  replay: {replay_command(seed)}", flush=True)
    print(f"{count} seeds, {failed} failed, {time.monotonic() - started:.1f} s")
    return 1 if failed else 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Deterministic cluster simulator")
    parser.add_argument("--seed", type=int, help="replay one seed")
    parser.add_argument("--seeds", type=int, help="run this many seeds")
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed of --seeds (default 0)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--bug", choices=sorted(BUGS), help="break a rule on purpose")
    parser.add_argument("--quiet", action="store_true", help="with --seed: only the result")
    options = parser.parse_args(arguments)
    if (options.seed is None) == (options.seeds is None):
        parser.error("give either --seed or --seeds")
    with BUGS[options.bug]() if options.bug else nullcontext():
        if options.seed is not None:
            return replay(options.seed, quiet=options.quiet)
        return run_many(options.first, options.seeds, options.processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
