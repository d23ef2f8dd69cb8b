"""The import rules of the house, checked on the source text: pure modules stay pure, and rooms keep their doors shut.

Pure modules decide; they get time, randomness and input from outside, so that the simulator can replay them. The type
``random.Random`` may be named, as that of an injected generator, but none may be made. Who may import whom is a list
below; a package may always import itself. Imports for type checking only are exempt from the room
rules (they do not exist at run time), not from purity.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("cluster", "node", "sentinel", "tools")

IMPURE = {
    "asyncio",
    "os",
    "pathlib",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "trio",
}

PURE = ("cluster", "node/types", "node/resp")
SOCKETS_OF_CLUSTER = {"bus.py", "bus_link.py", "poller.py"}
PURE_BUT = {"cluster/__main__.py", *(f"cluster/{name}" for name in SOCKETS_OF_CLUSTER)}
PURE_FILES = tuple(
    f"sentinel/{name}.py"
    for name in (
        "command_support",
        "command_table",
        "commands",
        "config",
        "core",
        "detector",
        "effects",
        "election",
        "failover",
        "guarding",
        "hello",
        "help",
        "info",
        "inspection",
        "instance",
        "leases",
        "links",
        "peers",
        "present",
        "roster",
        "scripts",
        "selection",
        "settings_commands",
        "state",
        "statements",
        "topology",
        "unit_names",
    )
)
PURE_FILES += tuple(
    f"node/replication/{name}.py" for name in ("backlog", "handshake", "history", "stream_parser", "transfer")
)

MAY_NOT_IMPORT = {
    "cluster": ("node", "sentinel", "tools"),
    "node/types": (
        "node.keyspace",
        "node.commands",
        "node.server",
        "node.clients.client",
        "node.serving.data_plane",
        "cluster",
    ),
    "node/resp": (
        "node.keyspace",
        "node.commands",
        "node.server",
        "node.clients.client",
        "node.types",
        "cluster",
    ),
    "node/keyspace": (
        "node.commands",
        "node.server",
        "node.serving.data_plane",
        "node.replication",
        "node.persistence",
    ),
    "node": ("sentinel", "tools"),
    "sentinel": (
        "node.commands",
        "node.keyspace",
        "node.server",
        "node.serving.data_plane",
        "tools",
    ),
}
"""Folder (its subfolders included) -> modules of slotmesh that it must not import."""

BENEATH_ALL = ("cluster.numbers",)
"""What every room may import: numbers from outside are read in one place."""

THIRD_PARTY_OF_CLUSTER = {"attr", "attrs", "crcmod", "trio"}


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def is_type_checking(node: ast.If) -> bool:
    test = node.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imports_of(path: Path, *, at_run_time: bool) -> list[str]:
    """Full names of everything a file imports, e.g. ``slotmesh.node.keyspace.database``."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if at_run_time and isinstance(node, ast.If) and is_type_checking(node):
            for other in node.orelse:
                visit(other)
            return
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append(node.module or "")
            found.extend(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(), str(path)))
    return found


def pure_files() -> list[Path]:
    files = [path for folder in PURE for path in python_files(folder)]
    files += [ROOT / name for name in PURE_FILES if (ROOT / name).exists()]
    return [path for path in files if str(path.relative_to(ROOT)) not in PURE_BUT]


def own_randomness(path: Path) -> list[str]:
    """Uses of the ``random`` module other than naming the type of an injected generator."""
    found = []
    tree = ast.parse(path.read_text(), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            found += [alias.name for alias in node.names if alias.name != "Random"]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
            found += [node.attr] if node.attr != "Random" else []
        elif isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            found += ["Random()"] if name in ("Random", "SystemRandom") else []
    return found


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_module_imports_nothing_impure(path: Path) -> None:
    impure = [name for name in imports_of(path, at_run_time=False) if name.split(".")[0] in IMPURE]
    assert not impure, f"{path.relative_to(ROOT)} imports {impure}"
    assert not own_randomness(path), f"{path.relative_to(ROOT)} uses random: {own_randomness(path)}"


@pytest.mark.parametrize("folder", list(MAY_NOT_IMPORT))
def test_room_imports_only_what_it_may(folder: str) -> None:
    offences = []
    for path in python_files(folder):
        for name in (name.removeprefix("slotmesh.") for name in imports_of(path, at_run_time=True)):
            for forbidden in MAY_NOT_IMPORT[folder]:
                if (name == forbidden or name.startswith(forbidden + ".")) and not name.startswith(BENEATH_ALL):
                    offences.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not offences, offences


def test_cluster_needs_nothing_but_the_standard_library_attrs_and_crcmod() -> None:
    offences = []
    for path in python_files("cluster"):
        for name in imports_of(path, at_run_time=False):
            top = name.split(".")[0]
            if top == "slotmesh" or top in sys.stdlib_module_names or top in THIRD_PARTY_OF_CLUSTER:
                continue
            offences.append(f"{path.relative_to(ROOT)} imports {name}")
        if path.name not in SOCKETS_OF_CLUSTER and "trio" in imports_of(path, at_run_time=False):
            offences.append(f"{path.relative_to(ROOT)} imports trio")
    assert not offences, offences


def test_import_graph_of_the_rooms_has_no_cycle() -> None:
    """Room-level cycles only; within a room, Python itself complains."""
    graph: dict[str, set[str]] = {room: set() for room in ROOMS}
    for room in ROOMS:
        for path in python_files(room):
            named = [name.split(".") for name in imports_of(path, at_run_time=True) if name.startswith("slotmesh.")]
            graph[room] |= {parts[1] for parts in named} & set(ROOMS) - {room}
    order: list[str] = []
    while len(order) < len(ROOMS):
        ready = [room for room in ROOMS if room not in order and graph[room] <= set(order)]
        assert ready, f"cycle among {[room for room in ROOMS if room not in order]}: {graph}"
        order += ready


def test_checker_sees_a_forbidden_import(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from slotmesh.node.server import Server\n"
        "def f():\n    import time\n    from slotmesh.node.keyspace import database\n"
    )
    assert "time" in imports_of(source, at_run_time=True)
    assert "slotmesh.node.keyspace.database" in imports_of(source, at_run_time=True)
    assert "slotmesh.node.server" not in imports_of(source, at_run_time=True)
    assert "slotmesh.node.server" in imports_of(source, at_run_time=False)
    source.write_text("import random\nfrom random import Random\n\ndef f(rng: random.Random) -> Random: ...\n")
    assert own_randomness(source) == []
    source.write_text("import random\nx = random.choice([1])\ny = random.Random(3)\n")
    assert sorted(own_randomness(source)) == ["Random()", "choice"]
