"""What a node and a sentinel do about being a process of the system: going to the background, and the pid file."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator


def daemonize() -> None:
    """Go on as a child in a session of its own, without terminal; the parent ends with status 0.

    To be called before any thread or descriptor exists that a fork would break.
    """
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)


@contextlib.contextmanager
def pid_file(path: str, log: logging.Logger) -> Iterator[None]:
    """Keep a pid file as long as the block runs; none without a path. One that cannot be written is only a warning."""
    if path:
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
        except OSError as error:
            log.warning("Failed to write PID file %s: %s", path, os.strerror(error.errno or 0))
            path = ""
    try:
        yield
    finally:
        if path:
            log.info("Removing the pid file.")
            with contextlib.suppress(OSError):
                os.unlink(path)
