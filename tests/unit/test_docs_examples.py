"""docs/adding-a-command.md says the truth: its command and its table are run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adding-a-command.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
DECLARE = """
import sys
from slotmesh.node import commands
from slotmesh.node.spec import registry

commands.load_all()
handler, table = sys.argv[1:]
if b"setmax" not in registry.LOOKUP:  # whoever tries the page out has it in the tree already
    exec(handler)
exec(table)
"""
PLAY = """
from tests.support.inprocess import InProcessNode
from tests.tables.support import play

for resp3 in (False, True):
    with InProcessNode() as node:
        client = node.client(resp3=resp3)
        play(SETMAX, lambda words: client.raw(*words), resp3=resp3)
        print(client.call("COMMAND", "GETKEYS", "setmax", "peak", "1"), node.propagated[:2])
"""


def test_example_command_of_the_page_passes_the_table_of_the_page() -> None:
    assert len(BLOCKS) == 2
    # In a process of its own: a command that is declared stays in the table.
    done = subprocess.run(
        [sys.executable, "-c", DECLARE + PLAY, *BLOCKS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first = "[b'peak'] [[b'SETMAX', b'peak', b'7'], [b'SETMAX', b'peak', b'9']]"
    assert done.stdout.splitlines() == [first, first]


def test_example_command_of_the_page_is_a_module_without_complaints() -> None:
    handler = BLOCKS[0]
    for check in (("check",), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--stdin-filename", "node/commands/setmax.py", "-"],
            cwd=ROOT,
            input=handler,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_modules_that_the_page_names_exist() -> None:
    for name in re.findall(r"`((?:node|tests)/[\w/]+\.py)`", PAGE):
        assert (ROOT / name).exists(), name
