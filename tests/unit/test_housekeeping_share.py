"""How much of the processor the housekeeping takes from clients."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slotmesh.node.serving import cron
from tests.support.inprocess import InProcessNode

MS = 1_000_000


class Machine:
    """Clocks of a machine that gives the node an eighth of a processor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.worked_ns = 0
        monkeypatch.setattr(cron, "thread_time_ns", lambda: self.worked_ns)
        monkeypatch.setattr(cron, "perf_counter_ns", lambda: 8 * self.worked_ns)


@pytest.mark.trio
@pytest.mark.parametrize(("busy", "share"), [(True, 25), (False, 75)])
async def test_share_is_of_processor_time(monkeypatch: pytest.MonkeyPatch, busy: bool, share: int) -> None:
    machine = Machine(monkeypatch)
    with InProcessNode() as node:
        node.server.config.hz = 10

        def work(in_time: Callable[[], bool]) -> bool:
            while in_time():
                machine.worked_ns += MS
            node.server.stats.commands += busy
            return True

        spent, left = await node.server.cron._in_slices(work)
    assert left
    assert abs(machine.worked_ns / MS - share) <= 3  # the first slice counts as one that clients waited for
    assert spent == 8 * machine.worked_ns
