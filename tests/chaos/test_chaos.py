"""The judge of the sequences, and one short sequence of each deployment."""

from __future__ import annotations

import subprocess
import sys
from random import Random

import pytest

from tests.chaos.faults import kinds
from tests.chaos.ledger import Ledger, Writer
from tests.chaos.timeline import Condition, Timeline, overlap_s
from tests.support.processes import PROJECT_ROOT


def test_overlap_counts_each_excuse_once_and_only_inside() -> None:
    assert overlap_s((10.0, 20.0), [(5.0, 11.0), (12.0, 13.0), (19.5, 30.0), (40.0, 50.0)]) == 2.5


def test_condition_that_lasts_ends_now() -> None:
    condition = Condition()
    for so, at in [(False, 1.0), (True, 2.0), (True, 3.0), (False, 4.0), (True, 6.0)]:
        condition.note(so, at)
    assert condition.until(7.0) == [(2.0, 4.0), (6.0, 7.0)]
    assert condition.spans == [(2.0, 4.0)]


def test_gap_is_judged_beyond_the_time_in_which_too_few_processes_ran() -> None:
    timeline = Timeline()
    timeline.unable.note(True, 11.0)
    timeline.unable.note(False, 13.0)
    timeline.starved += [(9.0, 5.0), (11.5, 0.25), (12.0, 0.25)]
    gap = timeline.judge("b", (10.0, 14.0), 20.0)
    assert (gap.excused_s, gap.excess_s, gap.starved_s, gap.unexplained_s) == (2.0, 2.0, 0.5, 1.5)


def test_only_writes_around_a_silence_may_be_lost() -> None:
    timeline = Timeline()
    timeline.silent.note(True, 10.0)
    timeline.silent.note(False, 12.0)
    assert [timeline.permits_loss(at, 60.0) for at in (5.0, 9.0, 11.0, 13.0, 20.0)] == [False, True, True, True, False]


def test_lost_writes_are_told_once_and_the_open_chapter_is_left_alone() -> None:
    writer = Writer("b", lambda failures: ("127.0.0.1", 1))
    writer.acknowledged[1] = {b"1": 1.0, b"2": 2.0}
    writer.acknowledged[2] = {b"3": 3.0}
    writer.chapter = 2
    ledger = Ledger([writer])
    assert ledger.missing(lambda key: {b"2"}, all_chapters=False) == [("{b}:1", b"1", 1.0)]
    assert ledger.missing(lambda key: set(), all_chapters=False) == []
    assert ledger.missing(lambda key: set(), all_chapters=True) == [("{b}:1", b"2", 2.0)]


@pytest.mark.parametrize("mode", ["cluster", "plain"])
def test_the_drawn_faults_fit_the_deployment(mode: str) -> None:
    drawn = kinds(mode, cuts=False)
    names = {Random(seed).choices(list(drawn), list(drawn.values()))[0].__name__ for seed in range(500)}
    assert ("move" in names) == (mode == "cluster")
    assert not any(name.startswith("cut") for name in names)


# Seeds whose first steps take little time: kills, an end, a move or a planned failover.
@pytest.mark.parametrize(("mode", "seed", "steps"), [("cluster", 48, 3), ("plain", 24, 1)])
def test_short_sequence_loses_nothing_and_ends_well(mode: str, seed: int, steps: int) -> None:
    # How fast it is, is not for this test.
    words = ("--mode", mode, "--seed", str(seed), "--steps", str(steps), "--most-gap", "60")
    ran = subprocess.run(
        (sys.executable, "-m", "tests.chaos", *words), cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{mode}, seed {seed}: {steps} steps" in ran.stdout
