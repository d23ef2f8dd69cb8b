"""The figures of ``make house`` do not get worse, and there are no circles of imports.

LIMITS is a ratchet: each may only be lowered, by the change that makes its figure smaller. What is dead is named
function by function.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from slotmesh.tools import house

LIMITS = {
    "circles": 0,
    "modules in circles": 0,
    "upward arrows": 0,
    "loose modules": 2,
    "lines of the longest module": 431,
    "modules over 400 lines": 13,
    "lines of the longest function": 97,
    "functions over 70 lines": 1,
}

CALLED_BY_LIBRARIES = {
    "tools.clusterctl.__main__:VerbGroup.format_commands",
    "tools.clusterctl.__main__:VerbGroup.list_commands",
}
"""Public methods that nothing of ours calls because a base class of a library does."""

CALLED_BY_TESTS = {
    "node.persistence.aof:Aof.unsynced_bytes",
    "node.persistence.rdb_file:load_rdb",
    "node.scripting.libraries:install_all",
}
"""Public functions that only tests call."""


@pytest.fixture(scope="module")
def measured() -> house.House:
    return house.measure()


def figures(measured: house.House) -> dict[str, int]:
    return {
        "circles": len(measured.circles),
        "modules in circles": sum(map(len, measured.circles)),
        "upward arrows": len(measured.upward),
        "loose modules": len(measured.loose),
        "lines of the longest module": max(measured.longest_module[0], house.LONG_MODULE),
        "modules over 400 lines": len(measured.long_modules),
        "lines of the longest function": max(measured.longest_function.lines, house.LONG_FUNCTION),
        "functions over 70 lines": len(measured.long_functions),
    }


def test_no_figure_is_over_its_limit(measured: house.House) -> None:
    over = {name: (found, LIMITS[name]) for name, found in figures(measured).items() if found > LIMITS[name]}
    assert over == {}, "figure and limit; `make house` says where"


def test_every_module_belongs_to_a_row_of_the_table_and_every_row_exists(measured: house.House) -> None:
    assert measured.roomless == []
    assert [row for row in house.table_rows() if not (house.ROOT / row).exists()] == []


def test_at_most_three_modules_lie_loose_in_node(measured: house.House) -> None:
    assert len(measured.loose) <= 3


def test_every_public_function_is_used(measured: house.House) -> None:
    assert set(measured.dead) == CALLED_BY_LIBRARIES | CALLED_BY_TESTS


def make_house(root: Path, files: dict[str, str]) -> None:
    table = (
        "\n## Rooms\n\n| room | holds |\n|---|---|\n| `node/base/` | x |\n| `node/top/` | x |\n| `node/` itself | x |\n"
    )
    files = {"ARCHITECTURE.md": table, "pyproject.toml": "", "Makefile": "", **files}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_circle_and_upward_arrow_by_an_import_for_type_checking_are_seen(tmp_path: Path) -> None:
    make_house(
        tmp_path,
        {
            "node/server.py": "from slotmesh.node.base.low import run\n\nrun()\n",
            "node/base/low.py": (
                "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    from slotmesh.node.server import Server\n"
                "def run() -> None:\n    pass\n\ndef idle() -> None:\n    pass\n"
            ),
            "node/top/high.py": "from slotmesh.node.base import low\n",
            "node/strange/room.py": "",
        },
    )
    measured = house.measure(tmp_path)
    assert measured.circles == [["node.base.low", "node.server"]]
    assert measured.upward == [("node.base.low", "node.server")]
    assert measured.loose == ["node.server"]
    assert measured.roomless == ["node.strange.room"]
    assert measured.dead == ["node.base.low:idle"]
    assert measured.longest_function.lines == 2


def test_module_with_a_row_of_its_own_is_a_room(tmp_path: Path) -> None:
    make_house(
        tmp_path,
        {
            "node/base/low.py": "from slotmesh.node import middle\n",
            "node/middle.py": "from slotmesh.node.base import low\n",
            "node/top/high.py": "from slotmesh.node import middle\n",
            "node/last.py": "from slotmesh.node.top import high\n\ndef _run() -> None: ...\n",
        },
    )
    architecture = tmp_path / "ARCHITECTURE.md"
    table = architecture.read_text().replace("| `node/top/`", "| `node/middle.py` | x |\n| `node/top/`")
    architecture.write_text(table)
    measured = house.measure(tmp_path)
    assert house.room_order(tmp_path) == ["base", "middle", "top", house.ROOT_OF_NODE]
    assert measured.upward == [("node.base.low", "node.middle")]
    assert measured.loose == ["node.last"]
    assert measured.roomless == []


def test_circles_are_found_apart_and_largest_first() -> None:
    graph = {"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"e"}, "e": {"c"}, "f": {"a", "c"}}
    assert house.find_circles(graph) == [["c", "d", "e"], ["a", "b"]]


def test_registered_and_private_functions_are_not_taken_for_dead(tmp_path: Path) -> None:
    text = "@register\ndef by_table(): ...\n\ndef _own(): ...\n\nclass A:\n    @property\n    def unread(self): ...\n"
    make_house(tmp_path, {"node/base/low.py": text})
    assert house.measure(tmp_path).dead == ["node.base.low:A.unread"]
