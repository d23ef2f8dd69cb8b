"""Command line of the fuzzers.

``python -m tests.fuzz --seconds 60 [TARGET ...]`` runs new seeds of every target (or those named) for so long each and
prints the counts; ``--seed N`` replays one seed of each. Exit status 1 when a seed failed; each failure comes with its
traceback and the command that replays it.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from random import SystemRandom

from tests.fuzz.targets import TARGETS

MAX_FAILURES = 5


def try_seed(name: str, seed: int) -> tuple[int, bool]:
    """(inputs tried, whether all went well)."""
    try:
        return TARGETS[name](seed), True
    except Exception:
        traceback.print_exc()
        print(f"{name}: seed {seed} failed; replay: python -m tests.fuzz --seed {seed} {name}", flush=True)
        return 0, False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all when none is named")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, help="replay this one")
    chosen = parser.parse_args()
    failures = 0
    for name in chosen.targets or TARGETS:
        if chosen.seed is not None:
            failures += not try_seed(name, chosen.seed)[1]
            continue
        first = SystemRandom().randrange(2**40)
        started_s = time.monotonic()
        inputs = seeds = failed = 0
        while time.monotonic() - started_s < chosen.seconds and failed < MAX_FAILURES:
            tried, well = try_seed(name, first + seeds)
            inputs, seeds, failed = inputs + tried, seeds + 1, failed + (not well)
        failures += failed
        print(f"{name}: {inputs} inputs in {seeds} histories from seed {first}, {failed} failed", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
