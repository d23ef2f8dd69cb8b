"""The memory limit of the control group that this process runs in: what a container may use before it is killed.

A container engine sets the limit on a group of its own; a group above it may have a tighter one. Both versions of the
kernel's interface are read, each group from the own one up to the root (Linux, Documentation/admin-guide/cgroup-v2.rst
and cgroup-v1/memory.rst). Files that the kernel caches for the group count as used until it needs their pages, so the
part of them that it drops first is taken off.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")
#: Version 1 has no word for "no limit": it says the largest multiple of a page below 2^63.
_UNLIMITED: Final = 1 << 60


def memory_room(root: Path = _ROOT, membership: Path = _MEMBERSHIP) -> int | None:
    """Bytes that may still be allocated before the tightest limit is met; None where there is no limit."""
    rooms = [
        limit - max(0, used - cached)
        for group in _groups(root, membership)
        if (limit := _number(group, "memory.max", "memory.limit_in_bytes")) is not None
        and limit < _UNLIMITED
        and (used := _number(group, "memory.current", "memory.usage_in_bytes")) is not None
        and (cached := _droppable(group)) is not None
    ]
    return min(rooms, default=None)


def _groups(root: Path, membership: Path) -> Iterator[Path]:
    """The folders of this process's memory group and of those above it.

    Inside of a container the path may be that of the host, which is not there; then the root is the own group.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        group = top / path.lstrip("/")
        while group != top:
            if group.is_dir():
                yield group
            group = group.parent
        yield top


def _number(group: Path, *names: str) -> int | None:
    for name in names:
        try:
            text = (group / name).read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() and len(text) < 20 else None
    return None


def _droppable(group: Path) -> int:
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    wanted = ("total_inactive_file ", "inactive_file ")  # version 1 has both; the total includes the groups below
    return max((int(line.split()[1]) for line in lines if line.startswith(wanted)), default=0)
