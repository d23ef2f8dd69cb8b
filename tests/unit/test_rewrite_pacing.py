"""How soon a failed rewrite is tried again."""

from __future__ import annotations

from slotmesh.node.persistence.rewrite_pacing import RewritePacing

MINUTE_MS = 60_000


def _pause_ms(pacing: RewritePacing, now_ms: int) -> int:
    """How long automatic attempts are held back from `now_ms` on, to a second."""
    return next(pause for pause in range(0, 3 * 3600 * 1000, 1000) if not pacing.holds_back(now_ms + pause))


def test_pauses_double_after_three_failures_up_to_an_hour() -> None:
    pacing = RewritePacing()
    assert not pacing.holds_back(0)
    pauses = []
    for attempt in range(12):
        told_minutes = pacing.failed(attempt)
        pauses.append(_pause_ms(pacing, attempt))
        assert told_minutes == pauses[-1] // MINUTE_MS
    assert pauses[:2] == [1000, 1000]
    assert [pause // MINUTE_MS for pause in pauses[2:]] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_success_ends_the_pause() -> None:
    pacing = RewritePacing()
    for _ in range(5):
        pacing.failed(0)
    pacing.succeeded()
    assert not pacing.holds_back(0)
    assert pacing.failures == 0
