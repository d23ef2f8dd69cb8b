"""LATENCY: spikes over `latency-monitor-threshold`, kept as a short time series per kind of event.

A sample is the worst of its second; a series holds the last 160 of them, and the worst ever. Events are named as in
stock: `command`, `fast-command`, `fork`, `expire-cycle`, `aof-write`, ... Whoever does slow work reports it with `add`.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

_SERIES_LENGTH: Final = 160


class Series:
    """The samples of one event: (Unix time in s, ms), oldest first."""

    __slots__ = ("samples", "worst_ms")

    def __init__(self) -> None:
        self.samples: deque[tuple[int, int]] = deque(maxlen=_SERIES_LENGTH)
        self.worst_ms = 0

    def add(self, at_s: int, ms: int) -> None:
        """One spike."""
        self.worst_ms = max(self.worst_ms, ms)
        if self.samples and self.samples[-1][0] == at_s:
            ms = max(ms, self.samples.pop()[1])
        self.samples.append((at_s, ms))


@attrs.frozen
class Summary:
    """Figures about a series. `period_s`: how far back it reaches; `deviation_ms`: mean absolute deviation."""

    count: int
    mean_ms: int
    deviation_ms: int
    low_ms: int
    high_ms: int
    period_s: int


def summarize(series: Series, now_s: int) -> Summary:
    """What LATENCY GRAPH and DOCTOR say about a series; it must not be empty."""
    values = [ms for _, ms in series.samples]
    mean = sum(values) // len(values)
    return Summary(
        count=len(values),
        mean_ms=mean,
        deviation_ms=sum(abs(mean - value) for value in values) // len(values),
        low_ms=min(values),
        high_ms=max(values),
        period_s=max(1, now_s - series.samples[0][0]),
    )


class LatencyMonitor:
    """All series of one node."""

    def __init__(self) -> None:
        self.threshold_ms = 0
        self.events: dict[str, Series] = {}

    def add(self, event: str, ms: int, now_s: int) -> None:
        """Note that `event` took `ms`, if that is worth a sample."""
        if self.threshold_ms and ms >= self.threshold_ms:
            self.events.setdefault(event, Series()).add(now_s, ms)

    def reset(self, names: list[str]) -> int:
        """Forget the named series, all when none is named; how many there were."""
        chosen = [event for event in self.events if not names or event.lower() in names]
        for event in chosen:
            del self.events[event]
        return len(chosen)


def draw_graph(event: str, series: Series, now_s: int, rows: int = 4) -> str:
    """An ASCII chart of a series with the age of each sample below it, read downwards."""
    summary = summarize(series, now_s)
    head = f"{event} - high {summary.high_ms} ms, low {summary.low_ms} ms (all time high {series.worst_ms} ms)"
    lines = [head, "-" * 80]
    for first in range(0, len(series.samples), 80):
        part = list(series.samples)[first : first + 80]
        lines += _draw_part(part, summary.low_ms, summary.high_ms, now_s, rows)
        lines.append("")
    return "\n".join(lines) + "\n"


def _draw_part(part: list[tuple[int, int]], low: int, high: int, now_s: int, rows: int) -> list[str]:
    marks = "_o#"
    steps = len(marks) * rows
    heights = [min((ms - low) * steps // max(high - low, 1), steps - 1) for _, ms in part]
    lines = []
    for row in range(rows):
        base = (rows - row - 1) * len(marks)
        cells = [" " if h < base else "|" if h >= base + len(marks) else marks[h - base] for h in heights]
        lines.append("".join(cells))
    lines.append("")
    labels = [_age(now_s - at_s) for at_s, _ in part]
    for depth in range(max(map(len, labels))):
        lines.append("".join(label[depth] if depth < len(label) else " " for label in labels))
    return lines


def _age(seconds: int) -> str:
    for limit, divisor, unit in ((60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds // divisor}{unit}"
    return f"{seconds // 86400}d"
