"""The documents say what is true: commands.md is current, ARCHITECTURE.md names only what exists."""

from __future__ import annotations

import re

from slotmesh.tools import docs
from tests.support.processes import PROJECT_ROOT


def test_generated_pages_are_what_the_declarations_say() -> None:
    for page, text in docs.render_pages().items():
        assert page.read_text(encoding="utf-8") == text, f"{page.name}: run `make docs`"


def test_architecture_names_only_paths_that_exist() -> None:
    named: set[str] = set()
    for page in ("ARCHITECTURE.md", "README.md"):
        text = (PROJECT_ROOT / page).read_text(encoding="utf-8")
        named |= set(re.findall(r"`((?:cluster|node|sentinel|tools|tests|deploy|docs)/[\w./-]*)`", text))
        named |= {target for target in re.findall(r"\]\(([^)#:]+)\)", text) if not target.startswith("http")}
    assert named
    missing = sorted(name for name in named if not (PROJECT_ROOT / name).exists())
    assert not missing
