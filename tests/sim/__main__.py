"""Command line of the simulator.

``python -m tests.sim --seed 17`` replays one seed and prints what happened; ``python -m tests.sim --seeds 1000`` runs
seeds 0 to 999 on all cores (``--from`` sets the first). ``--guarded`` leaves failovers to guards (``guarded_world``),
``--bug`` breaks a rule on purpose (``bugs``). Exit status 1 when a seed failed; each failure comes with the command
that replays it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import nullcontext
from functools import partial
from multiprocessing import Pool

from tests.sim.bugs import BUGS, GUARD_BUGS
from tests.sim.guarded_world import GuardedWorld
from tests.sim.world import World

ALL_BUGS = BUGS | GUARD_BUGS


def run_seed(kind: type[World], seed: int) -> str:
    """Run one seed: "" or why it failed and what replays it."""
    world = kind(seed)
    try:
        world.run()
    except AssertionError as error:
        return f"seed {seed}: {type(error).__name__}: {error}\n  replay: {world.replay_command()}"
    return ""


def replay(world: World, *, quiet: bool) -> int:
    """Run one seed and tell its story."""
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
        f"seed {world.seed}: {len(world.nodes)} nodes, {world.network.now_ms} virtual ms, "
        f"{world.network.events} events, {len(world.safety.winners)} elections won, trace {world.network.trace:08x}"
    )
    print(failure or "ok")
    return status


def run_many(kind: type[World], first: int, count: int, processes: int) -> int:
    """Run seeds in parallel; print failures as they come."""
    started = time.monotonic()
    failed = 0
    with Pool(processes) as pool:
        for failure in pool.imap_unordered(partial(run_seed, kind), range(first, first + count), chunksize=4):
            if failure:
                failed += 1
                print(failure, flush=True)
    print(f"{count} seeds, {failed} failed, {time.monotonic() - started:.1f} s")
    return 1 if failed else 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Deterministic cluster simulator")
    parser.add_argument("--seed", type=int, help="replay one seed")
    parser.add_argument("--seeds", type=int, help="run this many seeds")
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed of --seeds (default 0)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--guarded", action="store_true", help="leave failovers to guards with leases")
    parser.add_argument("--bug", choices=sorted(ALL_BUGS), help="break a rule on purpose")
    parser.add_argument("--quiet", action="store_true", help="with --seed: only the result")
    options = parser.parse_args(arguments)
    if (options.seed is None) == (options.seeds is None):
        parser.error("give either --seed or --seeds")
    kind = GuardedWorld if options.guarded else World
    with ALL_BUGS[options.bug]() if options.bug else nullcontext():
        if options.seed is not None:
            return replay(kind(options.seed), quiet=options.quiet)
        return run_many(kind, options.first, options.seeds, options.processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
