"""The shape of HELP replies, shared by all containers (no command lives here)."""

from __future__ import annotations

from collections.abc import Sequence

from slotmesh.node.resp.values import Status


def help_reply(container: bytes, entries: Sequence[tuple[str, str]]) -> list[Status]:
    """The lines of `<container> HELP`: simple strings in the stock layout. An entry is (syntax, explanation)."""
    lines = [container.decode() + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    for syntax, text in (*entries, ("HELP", "Print this help.")):
        lines += syntax.splitlines()
        lines += ("    " + row for row in text.splitlines())
    return [Status(line.encode()) for line in lines]
