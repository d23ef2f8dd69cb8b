"""When too few processes ran, when faults were silent, and what that excuses of a gap between writes."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

Span = tuple[float, float]


def overlap_s(span: Span, others: Sequence[Span]) -> float:
    """How much of `span` is inside the others, which do not overlap each other."""
    return sum(max(0.0, min(span[1], end) - max(span[0], begin)) for begin, end in others)


@attrs.define
class Condition:
    """Spans of time in which something was so."""

    spans: list[Span] = attrs.Factory(list)
    _since_s: float | None = None

    def note(self, so: bool, now_s: float) -> None:
        """It is so, or not, from now on."""
        if so and self._since_s is None:
            self._since_s = now_s
        elif not so and self._since_s is not None:
            self.spans.append((self._since_s, now_s))
            self._since_s = None

    def until(self, now_s: float) -> list[Span]:
        """All spans; one that still lasts ends now."""
        return [*self.spans, *([(self._since_s, now_s)] if self._since_s is not None else [])]


@attrs.frozen
class Gap:
    """A time without an acknowledged write, what of it is excused, and how long processes waited for a processor."""

    tag: str
    span: Span
    excused_s: float
    starved_s: float

    @property
    def excess_s(self) -> float:
        """Its length beyond the time in which too few processes ran."""
        return self.span[1] - self.span[0] - self.excused_s

    @property
    def unexplained_s(self) -> float:
        """Its length beyond what is explained by processes that did not run, or waited for a processor."""
        return max(0.0, self.excess_s - self.starved_s)

    def __str__(self) -> str:
        return (
            f"{self.tag}: no write for {self.span[1] - self.span[0]:.2f} s, {self.excess_s:.2f} s of it while enough "
            f"processes ran, {self.unexplained_s:.2f} s beyond their waiting for a processor"
        )


@attrs.define
class Timeline:
    """What was so when."""

    unable: Condition = attrs.Factory(Condition)
    """Too few processes ran: no majority of sentinels, or a shard without a member that may lead it."""
    silent: Condition = attrs.Factory(Condition)
    """A process was stopped or cut off: what it acknowledges meanwhile may be lost."""
    starved: list[tuple[float, float]] = attrs.Factory(list)
    """(time, the longest wait of any process for a processor since the last entry)."""

    def judge(self, tag: str, span: Span, now_s: float) -> Gap:
        starved_s = sum(waited for at, waited in self.starved if span[0] <= at <= span[1] + 0.2)
        return Gap(tag, span, overlap_s(span, self.unable.until(now_s)), starved_s)

    def permits_loss(self, at_s: float, now_s: float, margin_s: float = 1.5) -> bool:
        """Whether a write acknowledged at that time may be lost by asynchronous replication."""
        return any(begin - margin_s <= at_s <= end + margin_s for begin, end in self.silent.until(now_s))
