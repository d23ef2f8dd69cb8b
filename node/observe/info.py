"""INFO: the sections, who supplies them, and the text.

A section is a list of (field, value) in stock's order. `info_sections.py` supplies all of them from what the node
knows; a part that knows better calls `Info.provide(section, provider)`, and the fields its provider returns replace
those of the same name or come in behind the field before them. So every stock field is there from the start, with its
honest value, and nobody but its owner knows how it is found.

Values are str or int, ready to be shown; formatting helpers for sizes and ratios are below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Provider = Callable[[], Mapping[str, Any]]
BaseProvider = Callable[[], Iterable[tuple[str, Any]]]

#: Sections in their order: (name as asked for, title, shown by a plain INFO, shown by INFO ALL).
SECTIONS: Final = (
    ("server", "Server", True, True),
    ("clients", "Clients", True, True),
    ("memory", "Memory", True, True),
    ("persistence", "Persistence", True, True),
    ("stats", "Stats", True, True),
    ("replication", "Replication", True, True),
    ("cpu", "CPU", True, True),
    ("modules", "Modules", True, True),
    ("commandstats", "Commandstats", False, True),
    ("errorstats", "Errorstats", True, True),
    ("latencystats", "Latencystats", False, True),
    ("cluster", "Cluster", True, True),
    ("keyspace", "Keyspace", True, True),
    ("debug", "Debug", False, False),
)


class Info:
    """The INFO text of one node."""

    def __init__(self, base: Mapping[str, BaseProvider]) -> None:
        self._base = base
        self._providers: dict[str, list[Provider]] = {name: [] for name, *_ in SECTIONS}

    def provide(self, section: str, provider: Provider) -> None:
        """Let `provider` supply fields of a section: it returns field -> value, in stock's order."""
        self._providers[section].append(provider)

    def fields(self, section: str) -> dict[str, Any]:
        """All fields of a section."""
        fields = dict(self._base[section]())
        for provider in self._providers[section]:
            fields = merge(fields, provider())
        return fields

    def text(self, wanted: Iterable[str]) -> str:
        """The sections that INFO's arguments ask for, unknown ones left out."""
        words = {word.lower() for word in wanted} or {"default"}
        everything = bool(words & {"all", "everything"})
        parts = []
        for name, title, by_default, in_all in SECTIONS:
            if name in words or (everything and in_all) or ("default" in words and by_default):
                if name == "debug" and not self._providers[name]:
                    continue  # a section that only later servers know
                rows = "".join(f"{field}:{value}\r\n" for field, value in self.fields(name).items())
                parts.append(f"# {title}\r\n{rows}")
        return "\r\n".join(parts)


def merge(fields: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with values replaced by those of `newer`; its further fields follow the known field before them."""
    behind: dict[str, list[tuple[str, Any]]] = {}
    anchor = ""
    for field, value in newer.items():
        if field in fields:
            anchor = field
        else:
            behind.setdefault(anchor, []).append((field, value))
    merged: dict[str, Any] = {}
    for field, value in fields.items():
        merged[field] = newer.get(field, value)
        merged.update(behind.get(field, ()))
    merged.update(behind.get("", ()))
    return merged


def human_bytes(size: int) -> str:
    """`1.47M`, as the `*_human` fields show sizes."""
    if size < 1024:
        return f"{size}B"
    value = float(size)
    for unit in "KMGTPE":
        value /= 1024
        if value < 1024:
            return f"{value:.2f}{unit}"
    return f"{size}B"


def ratio(part: float, whole: float) -> str:
    """Two decimals; 0.00 when there is no whole."""
    return f"{part / whole:.2f}" if whole else "0.00"
