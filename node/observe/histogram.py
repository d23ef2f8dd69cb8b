"""Distribution of a command's latencies, for LATENCY HISTOGRAM and the `latencystats` section of INFO.

Recording happens for every command, so it is one list increment: `counts[nanos >> SHIFT] += 1`, in steps of 1.024 us up
to about 4 ms. What takes longer goes, by `IndexError`, into buckets that grow by powers of two.
"""

from __future__ import annotations

from typing import Final

SHIFT: Final = 10
_LINEAR: Final = 4096
_MAX_POWER: Final = 64


class Histogram:
    """Latencies of one command. `counts` may be incremented from outside, with the rule above."""

    __slots__ = ("counts", "powers")

    def __init__(self) -> None:
        self.counts = [0] * _LINEAR
        #: powers[n]: how many took less than 2**n ns but at least half of that, beyond the linear range.
        self.powers = [0] * _MAX_POWER

    def add(self, nanos: int) -> None:
        """One call."""
        try:
            self.counts[nanos >> SHIFT] += 1
        except IndexError:
            self.powers[nanos.bit_length()] += 1

    @property
    def total(self) -> int:
        """All calls."""
        return sum(self.counts) + sum(self.powers)

    def _steps(self) -> list[tuple[int, int]]:
        """(upper bound in ns, count) of the buckets in use, ascending."""
        linear = [((i + 1 << SHIFT) - 1, count) for i, count in enumerate(self.counts) if count]
        return linear + [((1 << n) - 1, count) for n, count in enumerate(self.powers) if count]

    def percentile_micros(self, percent: float) -> float:
        """The latency that `percent` of the calls did not exceed, in microseconds."""
        wanted = max(1, int(self.total * percent / 100 + 0.5))
        seen = 0
        for bound, count in self._steps():
            seen += count
            if seen >= wanted:
                return bound / 1000
        return 0.0

    def cumulative(self) -> list[tuple[int, int]]:
        """(microseconds, calls that took no longer) at every power of two that adds calls, as LATENCY HISTOGRAM says
        it."""
        reached: list[tuple[int, int]] = []
        seen = 0
        for bound, count in self._steps():
            seen += count
            micros = (1 << bound.bit_length()) // 1000
            if reached and reached[-1][0] == micros:
                reached.pop()
            reached.append((micros, seen))
        return reached
