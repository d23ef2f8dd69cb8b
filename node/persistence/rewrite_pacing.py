"""How soon a failed rewrite of the log is tried again by itself.

Each attempt begins a new file for commands, so a disk that cannot take the rewrite must not be asked ten times a
second. The first three failures are free, then the pause doubles from one minute to an hour, as in stock. BGREWRITEAOF
by hand is always allowed.
"""

from __future__ import annotations

from typing import Final

_FREE_FAILURES: Final = 3
_MINUTE_MS: Final = 60_000
_MAX_PAUSE_MS: Final = 60 * _MINUTE_MS
#: Between free attempts, so that they do not all fall into the same second.
_SHORT_PAUSE_MS: Final = 1000


class RewritePacing:
    """Counts failures in a row. Times are monotonic ms."""

    def __init__(self) -> None:
        self.failures = 0
        self._not_before_ms = 0

    def failed(self, now_ms: int) -> int:
        """An attempt failed; the minutes until the next, 0 while failures are free."""
        self.failures += 1
        over = self.failures - _FREE_FAILURES
        pause = _SHORT_PAUSE_MS if over < 0 else min(_MINUTE_MS << min(over, 6), _MAX_PAUSE_MS)
        self._not_before_ms = now_ms + pause
        return pause // _MINUTE_MS

    def succeeded(self) -> None:
        """An attempt succeeded."""
        self.failures = 0
        self._not_before_ms = 0

    def holds_back(self, now_ms: int) -> bool:
        """Whether an automatic attempt must wait."""
        return now_ms < self._not_before_ms
