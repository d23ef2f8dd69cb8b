"""The house rules, measured on the source: circles of imports, arrows between rooms, lengths, functions nobody calls.

``python -m slotmesh.tools.house`` prints them; ``tests/unit/test_house.py`` holds them to limits that may only go down.
The rooms of ``node`` and their order are read from the table in ARCHITECTURE.md, which is the only place that has them:
a room may import those above it and itself. A module in ``node/`` that has a row of its own is a room. Imports for type
checking count like all others, as a reader who follows them has to know both ends.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cluster", "node", "sentinel", "tools")
PREFIX = "slotmesh."
ROOT_OF_NODE = "(root)"
"""The room of the modules that lie loose in ``node/``: it is below all others and may import them all."""

LONG_MODULE = 400
LONG_FUNCTION = 70

TRANSPARENT_DECORATORS = {"property", "staticmethod", "classmethod", "cached_property", "contextmanager", "cache"}
"""Decorators that only change how a function is called. Any other may register it, which is a use."""

_ROW = re.compile(r"^\|([^|]+)\|")
_NAMED = re.compile(r"`((?:cluster|node|sentinel|tools|tests)/(?:\w+(?:/|\.py))?)`")
_WORD = re.compile(r"[A-Za-z_]\w*")


@attrs.frozen
class Module:
    """One source file: its dotted name without the prefix (``node.serving.output``), its text and its syntax tree."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return self.text.count("\n")


@attrs.frozen(order=True)
class Function:
    """A function or method: ``name`` is that of its module and, after a colon, its own qualified one."""

    lines: int
    name: str


@attrs.frozen
class House:
    """What was measured."""

    circles: list[list[str]]
    """Sets of modules that all reach each other by imports, largest first; modules by name."""
    upward: list[tuple[str, str]]
    """(importer, imported), both module names in ``node``, where the imported one's room comes later in the table."""
    loose: list[str]
    """Modules in ``node/`` itself without a row of their own, but ``__init__``."""
    roomless: list[str]
    """Modules that no row of the table covers."""
    long_modules: list[tuple[int, str]]
    long_functions: list[Function]
    longest_module: tuple[int, str]
    longest_function: Function
    dead: list[str]
    """Public functions and methods whose name occurs nowhere in the four packages but where it is defined."""

    def room_arrows(self, order: list[str]) -> Counter[tuple[str, str]]:
        """How many of the upward arrows go from one room to another."""
        return Counter((room_of(one, order), room_of(other, order)) for one, other in self.upward)


def read_modules(root: Path = ROOT) -> dict[str, Module]:
    """All modules of the four packages by name. Packages' ``__init__`` have the package's name."""
    modules = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = list(path.relative_to(root).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            text = path.read_text(encoding="utf-8")
            name = ".".join(parts)
            modules[name] = Module(name, path, text, ast.parse(text, str(path)))
    return modules


def table_rows(root: Path = ROOT) -> list[str]:
    """What the table of rooms in ARCHITECTURE.md names, from its top: folders, such as ``cluster/`` and ``node/base/``,
    and modules that are a room of their own, such as ``node/state.py``."""
    text = (root / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("\n## Rooms\n")[2].partition("\n## ")[0]
    first_columns = [match[1] for line in text.splitlines() if (match := _ROW.match(line))]
    return [folder for column in first_columns for folder in _NAMED.findall(column)]


def room_order(root: Path = ROOT) -> list[str]:
    """The rooms of ``node`` in the table's order, its own root last."""
    rooms = [row.split("/")[1].removesuffix(".py") for row in table_rows(root) if row.startswith("node/")]
    rooms = [room for room in rooms if room]
    return [*rooms, ROOT_OF_NODE]


def room_of(module: str, order: list[str]) -> str:
    """The room of a module of ``node``; its root's when it lies in no room of the table."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in order else ROOT_OF_NODE


def imports_of(module: Module, known: dict[str, Module]) -> set[str]:
    """The modules of the four packages that one imports anywhere in it, those for type checking included."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [
                full if (full := f"{node.module}.{alias.name}").removeprefix(PREFIX) in known else node.module
                for alias in node.names
            ]
        else:
            continue
        found |= {name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)}
    return (found & known.keys()) - {module.name}


def find_circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components with more than one member, largest first (Tarjan's algorithm, iterative)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    circles: list[list[str]] = []
    for start in sorted(graph):
        if start in index:
            continue
        work: list[tuple[str, Iterator[str]]] = []

        def enter(name: str, work: list[tuple[str, Iterator[str]]] = work) -> None:
            index[name] = low[name] = len(index)
            stack.append(name)
            on_stack.add(name)
            work.append((name, iter(sorted(graph[name]))))

        enter(start)
        while work:
            name, rest = work[-1]
            child = next(rest, None)
            if child is None:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[name])
                if low[name] == index[name]:
                    members = stack[stack.index(name) :]
                    del stack[stack.index(name) :]
                    on_stack.difference_update(members)
                    if len(members) > 1:
                        circles.append(sorted(members))
            elif child not in index:
                enter(child)
            elif child in on_stack:
                low[name] = min(low[name], index[child])
    return sorted(circles, key=lambda members: (-len(members), members))


def functions_of(module: Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions and methods of a module with their qualified names, nested ones included."""

    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + child.name, child
                yield from visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}{child.name}.")
            else:
                yield from visit(child, prefix)

    return visit(module.tree, "")


def _may_be_dead(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    if function.name.startswith("_"):
        return False
    for decorator in function.decorator_list:
        name = decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")
        if name not in TRANSPARENT_DECORATORS:
            return False
    return True


def _words_used(module: Module) -> Counter[str]:
    """How often each name is used in a module. A definition is no use; a string without blanks is one."""
    used: Counter[str] = Counter()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name):
            used[node.id] += 1
        elif isinstance(node, ast.Attribute):
            used[node.attr] += 1
        elif isinstance(node, ast.keyword) and node.arg:
            used[node.arg] += 1
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            used.update(_WORD.findall(node.value))
    return used


def find_dead(modules: dict[str, Module], root: Path = ROOT) -> list[str]:
    """Public functions that nothing in the four packages names: neither a module nor a compiled one nor pyproject.

    Use by tests does not count. By name only: a function that shares its name with a living one is taken for alive.
    """
    used: Counter[str] = Counter()
    for module in modules.values():
        used += _words_used(module)
    others = [*root.glob("node/compiled/*.p[yx][xd]"), root / "pyproject.toml", root / "Makefile"]
    for path in others:
        used.update(_WORD.findall(path.read_text(encoding="utf-8")))
    return sorted(
        f"{module.name}:{name}"
        for module in modules.values()
        for name, function in functions_of(module)
        if _may_be_dead(function) and not used[function.name]
    )


def measure(root: Path = ROOT) -> House:
    """Measure the checkout at ``root``."""
    modules = read_modules(root)
    graph = {name: imports_of(module, modules) for name, module in modules.items()}
    order = room_order(root)
    rank = {room: place for place, room in enumerate(order)}
    in_node = [name for name in modules if name.startswith("node.")]
    upward = [
        (name, other)
        for name in in_node
        for other in sorted(graph[name])
        if other.startswith("node.") and rank[room_of(other, order)] > rank[room_of(name, order)]
    ]
    sizes = sorted(((module.lines, name) for name, module in modules.items()), reverse=True)
    functions = sorted(
        (
            Function((function.end_lineno or function.lineno) - function.lineno + 1, f"{module.name}:{name}")
            for module in modules.values()
            for name, function in functions_of(module)
        ),
        reverse=True,
    )
    rows = table_rows(root)
    folders = {name: module.path.relative_to(root).as_posix() for name, module in modules.items()}
    return House(
        circles=find_circles(graph),
        upward=upward,
        loose=[
            name
            for name in in_node
            if modules[name].path.parent == root / "node" and room_of(name, order) == ROOT_OF_NODE
        ],
        roomless=[
            name
            for name, path in folders.items()
            if not any(
                path.startswith(row) if row != "node/" else path.count("/") == 1 and path.startswith(row)
                for row in rows
            )
        ],
        long_modules=[(lines, name) for lines, name in sizes if lines > LONG_MODULE],
        long_functions=[function for function in functions if function.lines > LONG_FUNCTION],
        longest_module=sizes[0],
        longest_function=functions[0],
        dead=find_dead(modules, root),
    )


def render(house: House, order: list[str]) -> str:
    """The measurements as text for people."""
    out = [f"circles of imports: {len(house.circles)}"]
    out += [f"  {len(members)} modules: {', '.join(members)}" for members in house.circles]
    out.append(f"upward arrows between rooms of node: {len(house.upward)}")
    for (room, other), count in house.room_arrows(order).most_common():
        out.append(f"  {room} -> {other}: {count}")
        out += [
            f"    {one} -> {two}"
            for one, two in house.upward
            if (room_of(one, order), room_of(two, order)) == (room, other)
        ]
    out.append(f"loose modules in node/: {len(house.loose)} ({', '.join(house.loose)})")
    out.append(f"modules without a row in ARCHITECTURE.md: {len(house.roomless)}")
    out += [f"  {name}" for name in house.roomless]
    out.append(
        "longest module: {1} ({0} lines); over {2}: {3}".format(
            *house.longest_module, LONG_MODULE, len(house.long_modules)
        )
    )
    out += [f"  {lines} {name}" for lines, name in house.long_modules]
    longest = house.longest_function
    out.append(
        f"longest function: {longest.name} ({longest.lines} lines); over {LONG_FUNCTION}: {len(house.long_functions)}"
    )
    out += [f"  {function.lines} {function.name}" for function in house.long_functions]
    out.append(f"public functions that nothing uses: {len(house.dead)}")
    out += [f"  {name}" for name in house.dead]
    return "\n".join(out)


if __name__ == "__main__":
    print(render(measure(), room_order()))
