"""The log, in the stock server's line format: `pid:role date level message`. Tools and tests of others look for it."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Final

_SIGNS: Final = (
    (logging.WARNING, "#"),
    (logging.INFO + 1, "*"),
    (logging.INFO, "*"),
    (logging.DEBUG + 1, "-"),
    (0, "."),
)
#: `loglevel` words and what they let through.
LEVELS: Final = {
    "debug": logging.DEBUG,
    "verbose": logging.DEBUG + 1,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "nothing": logging.CRITICAL + 1,
}


class StockFormatter(logging.Formatter):
    """`1234:M 24 Nov 2026 12:00:00.123 * Ready to accept connections`."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role

    def format(self, record: logging.LogRecord) -> str:
        """One line, with a traceback below it when there is one."""
        sign = next(sign for level, sign in _SIGNS if record.levelno >= level)
        stamp = time.strftime("%d %b %Y %H:%M:%S", time.localtime(record.created))
        text = f"{os.getpid()}:{self.role} {stamp}.{int(record.msecs):03d} {sign} {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def set_up(level: str, path: str, role: str = "M") -> StockFormatter:
    """Send the log to `path` (standard output when empty); the formatter, whose `role` letter may change later."""
    handler = logging.FileHandler(path) if path else logging.StreamHandler(sys.stdout)
    formatter = StockFormatter(role)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    return formatter


def set_role(letter: str) -> None:
    """Let the log say what this process is: M for a primary, S for a replica."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, StockFormatter):
            handler.formatter.role = letter
