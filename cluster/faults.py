"""What drivers share about faults: which errors of accept are worth a pause, and how often to complain.

A peer can cause the same fault as often as it likes; the log must not be what fills up then.
"""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable
from typing import Final

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of accept that say that this machine is short of something: trying again at once makes it worse. All others
are about the one connection that was to be accepted, or pass by themselves."""

PERIOD_S: Final = 10.0
"""A complaint is repeated after this long at the earliest."""

MAX_KINDS: Final = 256
"""Different complaints remembered; their texts may come from outside."""


class Complaints:
    """A log that says the same thing only now and then."""

    def __init__(self, log: logging.Logger, clock_s: Callable[[], float]) -> None:
        self._log = log
        self._clock_s = clock_s
        self._told_s: dict[str, float] = {}
        self._silenced: dict[str, int] = {}
        self.faults = 0
        """Bugs of ours that showed."""

    def warn(self, text: str) -> None:
        """One line, unless the same was told moments ago."""
        due, again = self._due(text)
        if due:
            self._log.warning("%s%s", text, again)

    def fault(self, what: str) -> None:
        """The exception being handled is a bug of ours, and ``what`` is given up for it: told with its traceback, once
        per place in the code."""
        self.faults += 1
        error = sys.exc_info()[1]
        trace = error.__traceback__ if error is not None else None
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
        due, again = self._due(f"{type(error).__name__} {place}")
        if due:
            self._log.exception("internal error: %s is given up%s", what, again)

    def _due(self, key: str) -> tuple[bool, str]:
        now_s = self._clock_s()
        if now_s - self._told_s.get(key, -PERIOD_S) < PERIOD_S:
            self._silenced[key] = self._silenced.get(key, 0) + 1
            return False, ""
        if len(self._told_s) >= MAX_KINDS:
            self._told_s.clear()
            self._silenced.clear()
        self._told_s[key] = now_s
        count = self._silenced.pop(key, 0)
        return True, f" (and {count} more like it)" if count else ""
