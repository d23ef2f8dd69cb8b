"""Every command that both servers know is declared alike: COMMAND INFO of stock and of ours, field by field.

What differs on purpose is listed below with its reason; an exception that is no longer needed fails as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.processes import start_node, start_stock_server

pytestmark = pytest.mark.stock

#: (command, field) -> why it differs.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("zrank", "arity"): "WITHSCORE, of 7.2",
    ("zrevrank", "arity"): "WITHSCORE, of 7.2",
}

Info = dict[str, Any]


def _text(value: Any) -> Any:
    """Bytes to text, pairs to dicts, all the way down."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {_text(key): _text(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_text(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(_text(item) for item in value)
    return value


def _key_spec(spec: Any) -> Info:
    """A key specification without its notes, which are prose."""
    found = spec if isinstance(spec, dict) else dict(zip(spec[::2], spec[1::2], strict=True))
    return {name: sorted(value) if name == "flags" else value for name, value in found.items() if name != "notes"}


def _entries(entry: Any) -> Iterator[tuple[str, Info]]:
    """The entry and those of its subcommands, by full name."""
    name, arity, flags, first, last, step, categories, tips, key_specs, subcommands = _text(entry)
    yield (
        name,
        {
            "arity": arity,
            "flags": sorted(flags),
            "first": first,
            "last": last,
            "step": step,
            "categories": sorted(categories),
            "tips": sorted(tips),
            "key specs": [_key_spec(spec) for spec in key_specs],
        },
    )
    for subcommand in subcommands:
        yield from _entries(subcommand)


def _command_info(port: int) -> dict[str, Info]:
    client = redis.Redis(port=port, protocol=3)
    client.response_callbacks.clear()
    try:
        return {name: info for entry in client.execute_command("COMMAND") for name, info in _entries(entry)}
    finally:
        client.close()


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Info], dict[str, Info]]]:
    directory: Path = tmp_path_factory.mktemp("command_info")
    with start_stock_server(directory / "stock") as stock, start_node(directory / "ours") as ours:
        yield _command_info(stock.port), _command_info(ours.port)


def test_common_commands_are_declared_alike(tables: tuple[dict[str, Info], dict[str, Info]]) -> None:
    stock, ours = tables
    different = {
        (name, field): (stock[name][field], ours[name][field])
        for name in sorted(stock.keys() & ours.keys())
        for field in stock[name]
        if stock[name][field] != ours[name][field]
    }
    unexplained = {place: values for place, values in different.items() if place not in EXCEPTIONS}
    report = "\n".join(f"{name}: {field}\n   stock {a}\n   ours  {b}" for (name, field), (a, b) in unexplained.items())
    assert not unexplained, report
    assert not EXCEPTIONS.keys() - different.keys(), "exceptions that are no longer needed"
