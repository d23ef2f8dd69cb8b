"""The memory limit of the own control group, in both versions of the kernel's interface."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotmesh.node.memory.cgroup import memory_room

MB = 1 << 20


class Groups:
    """A control group file system in a folder."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cgroup"
        self.membership = folder / "membership"
        self.root.mkdir()

    def belong(self, *lines: str) -> None:
        self.membership.write_text("".join(f"{line}\n" for line in lines))

    def put(self, group: str, **files: str) -> None:
        folder = self.root / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(f"{text}\n")

    def room(self) -> int | None:
        return memory_room(self.root, self.membership)


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def test_version_2_takes_the_tightest_limit_on_the_way_up(groups: Groups) -> None:
    groups.belong("0::/engine/box")
    groups.put("engine/box", memory__max=str(512 * MB), memory__current=str(100 * MB))
    groups.put("engine", memory__max=str(300 * MB), memory__current=str(200 * MB))
    groups.put("", memory__max="max", memory__current="0")
    assert groups.room() == 100 * MB


def test_pages_that_the_kernel_can_drop_do_not_count(groups: Groups) -> None:
    groups.belong("0::/")
    groups.put("", memory__max=str(512 * MB), memory__current=str(500 * MB), memory__stat=f"inactive_file {400 * MB}")
    assert groups.room() == 412 * MB


def test_version_1_in_a_container_that_does_not_see_its_path(groups: Groups) -> None:
    groups.belong("5:cpu:/docker/abc", "4:memory:/docker/abc", "0::/docker/abc")
    groups.put("memory", memory__limit_in_bytes=str(64 * MB), memory__usage_in_bytes=str(60 * MB))
    assert groups.room() == 4 * MB


@pytest.mark.parametrize(("name", "limit"), [("memory__max", "max"), ("memory__limit_in_bytes", "9223372036854771712")])
def test_no_limit_is_none(groups: Groups, name: str, limit: str) -> None:
    groups.belong("1:memory:/" if "limit" in name else "0::/")
    groups.put(
        "memory" if "limit" in name else "", **{name: limit, "memory__usage_in_bytes": "1", "memory__current": "1"}
    )
    assert groups.room() is None


def test_without_control_groups_there_is_no_limit(groups: Groups) -> None:
    assert groups.room() is None
