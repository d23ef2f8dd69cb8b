"""`python -m tests.sim.sentinel_run --seed N` replays one run of the sentinels' simulation; `--seeds N` runs many."""

from __future__ import annotations

import argparse

from tests.sim.sentinel_world import SentinelWorld, run_seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one and show what happened")
    parser.add_argument("--seeds", type=int, default=200, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    options = parser.parse_args()
    if options.seed is not None:
        world = SentinelWorld(options.seed)
        world.run()
        print("\n".join(world.log))
        return
    for seed in range(options.first, options.first + options.seeds):
        run_seed(seed)
    print(f"{options.seeds} seeds passed")


if __name__ == "__main__":
    main()
