"""`make docs`: write docs/commands.md and docs/settings.md from the declarations; `--check`: are they current?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from slotmesh.node import commands
from slotmesh.node.config.effects import EFFECTS
from slotmesh.node.spec import registry
from slotmesh.node.spec.registry import CommandSpec
from slotmesh.node.spec.syntax import plain

_DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
_GROUPS: Final = (
    ("string", "Strings"),
    ("hash", "Hashes"),
    ("list", "Lists"),
    ("set", "Sets"),
    ("sorted_set", "Sorted sets"),
    ("stream", "Streams"),
    ("bitmap", "Bitmaps"),
    ("hyperloglog", "HyperLogLog"),
    ("geo", "Geo"),
    ("generic", "Keys"),
    ("transactions", "Transactions"),
    ("pubsub", "Pub/sub"),
    ("scripting", "Scripting"),
    ("connection", "Connections"),
    ("cluster", "Cluster"),
    ("server", "Server"),
)


def render_pages() -> dict[Path, str]:
    """All generated pages with their content."""
    return {_DOCS / "commands.md": render_commands(), _DOCS / "settings.md": render_settings()}


def render_settings() -> str:
    """docs/settings.md: the directives that do less here than in the stock server."""
    lines = [
        "# Settings that do less here",
        "",
        "Every directive of redis.conf is read, checked, shown by CONFIG GET and kept by CONFIG REWRITE. One that is",
        "not in this list has its full effect. Made by `make docs`; do not edit.",
        "",
        "| directive | effect | why |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {effect.degree} | {effect.reason} |" for name, effect in sorted(EFFECTS.items())]
    return "\n".join(lines) + "\n"


def render_commands() -> str:
    """docs/commands.md. Raises KeyError when a command belongs to no group of this page."""
    commands.load_all()
    by_group: dict[str, list[CommandSpec]] = {name: [] for name, _ in _GROUPS}
    for spec in registry.every_spec():
        if spec.handler is not None:
            by_group[spec.group].append(spec)
    total = sum(map(len, by_group.values()))
    lines = [
        "# Commands",
        "",
        f"{total} commands and subcommands, declared beside the handlers. Made by `make docs`; do not edit.",
        "Flags and categories are those of COMMAND INFO; a negative arity means at least that many words. Capitals are",
        "typed as they are; `[...]` may be left out, `<a \\| b>` is a choice, and `x [x ...]` may come again.",
    ]
    for group, title in _GROUPS:
        if by_group[group]:
            lines += [
                "",
                f"## {title}",
                "",
                "| command | arity | what it does | cost | flags | ACL |",
                "|---|---|---|---|---|---|",
            ]
            lines += map(_row, by_group[group])
    return "\n".join(lines) + "\n"


def _row(spec: CommandSpec) -> str:
    name = spec.full_name.decode().upper().replace("|", " ")
    usage = f"`{name} {plain(spec.syntax)}`".replace(" `", "`")
    summary = spec.summary
    if spec.deprecated_since is not None:
        summary += f" Deprecated since {spec.deprecated_since}: {spec.replaced_by}."
    flags = " ".join(word.decode() for bit, word in registry.FLAG_NAMES if spec.flags & bit)
    categories = " ".join(f"@{category}" for category in spec.categories)
    cells = (usage, str(spec.arity), summary, spec.complexity, flags, categories)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


@click.command()
@click.option("--check", is_flag=True, help="Exit 1 when a page is not what would be written.")
def main(check: bool) -> None:
    """Write the generated pages of docs/."""
    for page, text in render_pages().items():
        if not check:
            page.write_text(text, encoding="utf-8")
            click.echo(f"wrote {page.name}: {text.count(chr(10))} lines")
        elif not page.exists() or page.read_text(encoding="utf-8") != text:
            sys.exit(f"docs/{page.name} is out of date: run `make docs`")


if __name__ == "__main__":
    main()
