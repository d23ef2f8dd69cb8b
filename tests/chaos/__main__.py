"""Command line of the sequences of faults (`make chaos-sequence CHAOS="--seed 1 --steps 50 --mode cluster"`).

Real processes of one long-lived deployment are killed, ended, stopped, cut off, failed over and resharded at random;
every acknowledged write is looked for, and times without writes are measured against the time in which too few
processes ran. The seed decides all that is random; `--first` begins at a later step. Exit status 1 when something was
found; the logs and data of all processes are kept then.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.deployments import WORLDS
from tests.chaos.network import make_network
from tests.chaos.sequence import MOST_GAP_S, Sequence


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=50, help="the last step (default 50)")
    parser.add_argument("--first", type=int, default=1, help="the first step (default 1)")
    parser.add_argument("--mode", choices=[*WORLDS, "both"], default="both")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first find")
    parser.add_argument("--most-gap", type=float, default=MOST_GAP_S, help="seconds without writes that are allowed")
    parser.add_argument("--home", type=Path, help="where to keep logs and data (default: a temporary directory)")
    options = parser.parse_args(arguments)
    network = make_network()
    if not network.can_cut:
        print("no right to make network namespaces: sequences without partitions")
    status = 0
    for mode in WORLDS if options.mode == "both" else [options.mode]:
        home = Path(tempfile.mkdtemp(prefix=f"chaos-{mode}-", dir=options.home))
        sequence = Sequence(mode, options.seed, home, network, most_gap_s=options.most_gap)
        result = sequence.run(options.first, options.steps, keep_going=options.keep_going)
        print(f"{mode}, seed {options.seed}: {result}", flush=True)
        if result.finds:
            status = 1
            print(f"kept: {home}")
        else:
            shutil.rmtree(home)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
