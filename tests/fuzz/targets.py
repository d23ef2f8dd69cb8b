"""All fuzzers by name."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz import bus, files, node_commands, node_files, node_payloads, node_primaries, scripts, sentinels

TARGETS: dict[str, Callable[[int], int]] = {
    "bus": bus.run,
    "sentinels": sentinels.run,
    "files": files.run,
    "scripts": scripts.run,
    "commands": node_commands.run,
    "payloads": node_payloads.run,
    "node-files": node_files.run,
    "primaries": node_primaries.run,
}
"""A seed -> how many inputs were tried; whatever it raises is a finding."""
