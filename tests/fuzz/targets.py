"""All fuzzers by name."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz import bus, files, scripts, sentinels

TARGETS: dict[str, Callable[[int], int]] = {
    "bus": bus.run,
    "sentinels": sentinels.run,
    "files": files.run,
    "scripts": scripts.run,
}
"""A seed -> how many inputs were tried; whatever it raises is a finding."""
