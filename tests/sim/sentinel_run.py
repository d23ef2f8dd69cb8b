"""`python -m tests.sim.sentinel_run --seed N` replays one run of the sentinels' simulation; `--seeds N` runs many.

With `--cluster` the nodes are real ones (`sentinel_cluster`), else models (`sentinel_world`).
"""

from __future__ import annotations

import argparse

from tests.sim.sentinel_cluster import ClusterWorld
from tests.sim.sentinel_world import SentinelWorld


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cluster", action="store_true", help="real nodes")
    parser.add_argument("--seed", type=int, help="replay this one and show what happened")
    parser.add_argument("--seeds", type=int, default=200, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    options = parser.parse_args()
    kind = ClusterWorld if options.cluster else SentinelWorld
    if options.seed is not None:
        world = kind(options.seed)
        world.run()
        print("\n".join(world.log))
        return
    for seed in range(options.first, options.first + options.seeds):
        kind(seed).run()
    print(f"{options.seeds} seeds passed")


if __name__ == "__main__":
    main()
