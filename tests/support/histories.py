"""Plays histories that hypothesis makes up on both servers of a pair."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.support.twins import Twins

#: How many times as many histories as usual: `make soak` sets it.
FACTOR: Final = int(os.environ.get("SOAK", "1"))


def play_histories(
    machine: type[RuleBasedStateMachine], twins: Twins, *, histories: int = 40, commands: int = 60
) -> None:
    """Run `machine`, whose rules ask `self.twins`, with histories of up to so many commands each."""
    run_state_machine_as_test(
        type(machine.__name__, (machine,), {"twins": twins}),
        settings=settings(
            max_examples=histories * FACTOR,
            stateful_step_count=commands,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
