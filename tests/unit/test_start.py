"""What a program imports before it serves: each of these would make every start of a node or sentinel dearer."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Large, and of no use to a node or sentinel that starts. (ssl, subprocess and the like come with trio.)
NEEDLESS = (
    "asyncio",
    "click",
    "concurrent.futures",
    "email",
    "http",
    "importlib.metadata",
    "json",
    "logging.handlers",
    "lupa",
    "multiprocessing",
    "pickle",
    "pkg_resources",
    "redis",
    "rich",
    "setuptools",
    "unittest",
    "uuid",
    "xml",
)


def imported_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after `code`; without `site`, so only what `code` asks for."""
    program = f"import sys; sys.path[:0] = {sys.path!r}; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import slotmesh.node.program; from slotmesh.node import commands; commands.load_all()",
        "import slotmesh.sentinel.program",
    ],
)
def test_start_imports_nothing_large_that_it_does_not_need(code: str) -> None:
    assert not imported_by(code) & set(NEEDLESS)


@pytest.mark.parametrize("program", ["node", "sentinel"])
def test_garbage_is_not_looked_for_while_the_program_is_imported(program: str) -> None:
    """So the entry point itself must not import it."""
    assert "trio" not in imported_by(f"import slotmesh.{program}.__main__")
