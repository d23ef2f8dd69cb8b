"""A sequence: steps of faults drawn from a seed, and what is found wrong."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

import attrs

from tests.chaos.deployments import WORLDS
from tests.chaos.faults import kinds
from tests.chaos.network import Network
from tests.chaos.wire import Refused
from tests.chaos.world import World

MOST_GAP_S = 1.5
"""The longest time without writes while enough processes run, and need not wait for a processor."""
SETTLE_PART = 0.6
"""After so many of the steps all has to become well; the others are followed by the next fault within seconds."""


@attrs.define
class Result:
    """What a sequence came to."""

    steps: int = 0
    finds: list[str] = attrs.Factory(list)
    acknowledged: int = 0
    lost: int = 0
    permitted: int = 0
    longest_gap_s: float = 0.0
    longest_excess_s: float = 0.0
    longest_unexplained_s: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.steps} steps, {self.acknowledged} writes acknowledged, {self.lost} lost, {self.permitted} lost as "
            f"asynchronous replication permits (stopped and cut off processes); longest gap {self.longest_gap_s:.2f} "
            f"s, beyond the time in which too few processes ran {self.longest_excess_s:.2f} s, without their waiting "
            f"for a processor {self.longest_unexplained_s:.2f} s; {len(self.finds)} finds"
        )


class Sequence:
    """Runs steps `first` to `last` of a seed in one deployment."""

    def __init__(self, mode: str, seed: int, home: Path, network: Network, *, most_gap_s: float = MOST_GAP_S) -> None:
        self.mode, self.seed, self.home = mode, seed, home
        self.result = Result()
        self._most_gap_s = most_gap_s
        self._world: World = WORLDS[mode](home, network)
        self._kinds = kinds(mode, cuts=network.can_cut)
        self._began_s = 0.0

    def run(self, first: int, last: int, *, keep_going: bool) -> Result:
        """Stops after the first find unless told to keep going."""
        world = self._world
        try:
            world.begin()
            self._began_s = time.monotonic()
            for step in range(first, last + 1):
                self._step(step, settle=step == last)
                self.result.steps += 1
                if self.result.finds and not keep_going:
                    break
            self._look(step, all_chapters=True)
        finally:
            self.result.acknowledged = world.ledger.count + self.result.lost + self.result.permitted
            world.close()
        return self.result

    def _step(self, step: int, *, settle: bool) -> None:
        """Each step draws from a generator of its own, so it does not depend on how earlier ones went."""
        rng = Random(f"{self.seed}:{step}")
        fault = rng.choices(list(self._kinds), list(self._kinds.values()))[0]
        calm = rng.random() < SETTLE_PART
        pause_s = 0.2 + 3 * rng.random()
        try:
            met = fault(self._world, rng)
        except AssertionError as error:
            met = ""
            self._found(step, str(error))
        self._say(step, f"{fault.__name__.replace('_', ' ')}: {met or 'nobody'}")
        if not calm and not settle:
            time.sleep(pause_s)  # then the next fault strikes
            return
        trouble = self._world.settle()
        if trouble:
            self._found(step, f"not well: {trouble}")
        self._look(step, all_chapters=False)

    def _look(self, step: int, *, all_chapters: bool) -> None:
        """Judge the gaps, and look for what was acknowledged until now."""
        world = self._world
        world.ledger.turn_to(step + 1)
        time.sleep(0.7)  # writes to the old chapter that are under way
        for gap in world.new_gaps():
            self.result.longest_gap_s = max(self.result.longest_gap_s, gap.span[1] - gap.span[0])
            self.result.longest_excess_s = max(self.result.longest_excess_s, gap.excess_s)
            self.result.longest_unexplained_s = max(self.result.longest_unexplained_s, gap.unexplained_s)
            began = self._at(gap.span[0])
            if gap.unexplained_s > self._most_gap_s:
                self._found(step, f"{began}: {gap}")
            elif gap.excess_s > self._most_gap_s / 2:
                self._say(step, f"{began}: {gap}")
        for silence in world.silent_writers(self._most_gap_s + 2):
            self._found(step, silence)
        try:
            missing = world.ledger.missing(world.read, all_chapters=all_chapters)
        except (OSError, Refused) as error:
            self._found(step, f"cannot read: {error}")
            return
        now = time.monotonic()
        permitted = [one for one in missing if ":far:" in one[0] or world.timeline.permits_loss(one[2], now)]
        lost = [one for one in missing if one not in permitted]
        self.result.permitted += len(permitted)
        self.result.lost += len(lost)
        if permitted:
            self._say(step, f"{len(permitted)} writes lost as asynchronous replication permits")
        if lost:
            (key, value, at), (_, _, until) = lost[0], lost[-1]
            values = f"{key} {value.decode()} and others" if len(lost) > 1 else f"{key} {value.decode()}"
            self._found(step, f"{len(lost)} acknowledged writes lost ({values}), {self._at(at)} to {self._at(until)}")

    @staticmethod
    def _at(monotonic_s: float) -> str:
        """A moment as the logs show it."""
        wall_s = time.time() - time.monotonic() + monotonic_s
        return f"{time.strftime('%H:%M:%S', time.localtime(wall_s))}.{int(wall_s % 1 * 1000):03d}"

    def _say(self, step: int, text: str) -> None:
        print(f"{self._at(time.monotonic())} step {step}: {text} [load {os.getloadavg()[0]:.0f}]", flush=True)

    def _found(self, step: int, text: str) -> None:
        self.result.finds.append(f"step {step}: {text}")
        self._say(step, f"FOUND: {text}")
        print(
            f'  replay: make chaos-sequence CHAOS="--seed {self.seed} --steps {step} --mode {self.mode}"\n'
            f"  logs: {self.home}",
            flush=True,
        )
