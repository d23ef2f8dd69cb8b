"""The arguments in COMMAND DOCS are those of the stock server: same usage, same names and types, same keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from slotmesh.node.spec.syntax import Argument, render
from tests.support.processes import start_node, start_stock_server

pytestmark = pytest.mark.stock

#: Command -> why its arguments differ.
EXCEPTIONS = {
    "bitop": "the operations are spelled out, with those of Redis 8.2",
    "cluster|guard": "ours",
    "cluster|setslot": "TIMEOUT",
    "command|getkeys": "stock names no arguments",
    "command|getkeysandflags": "stock names no arguments",
    "geohash": "members may be left out, as the arity says",
    "geopos": "members may be left out, as the arity says",
    "geosearch": "BYPOLYGON",
    "geosearchstore": "BYPOLYGON",
    "hscan": "NOVALUES",
    "migrate": 'the empty key is spelled ""',
    "pfmerge": "sources may be left out, as the arity says",
    "set": "IFEQ, IFNE, IFDEQ, IFDNE",
    "shutdown": "SAFE",
    "sort": "patterns are no keys",
    "sort_ro": "patterns are no keys",
    "xadd": "IDMP, IDMPAUTO, KEEPREF, DELREF, ACKED",
    "xread": "MAXCOUNT, MAXSIZE",
    "xreadgroup": "CLAIM, MAXCOUNT, MAXSIZE",
    "xtrim": "KEEPREF, DELREF, ACKED",
    "zinter": "AGGREGATE COUNT",
    "zinterstore": "AGGREGATE COUNT",
    "zrank": "WITHSCORE",
    "zrevrank": "WITHSCORE",
    "zunion": "AGGREGATE COUNT",
    "zunionstore": "AGGREGATE COUNT",
}

Usage = tuple[str, list[tuple[str, str, int | None]]]


def _argument(told: dict[bytes, Any]) -> Argument:
    flags = {bytes(flag) for flag in told.get(b"flags", ())}
    return Argument(
        told[b"name"].decode(),
        told[b"type"].decode(),
        told.get(b"token", b"").decode(),
        b"optional" in flags,
        b"multiple" in flags,
        b"multiple_token" in flags,
        [_argument(part) for part in told.get(b"arguments", ())],
    )


def _values(told: list[dict[bytes, Any]]) -> Iterator[tuple[str, str, int | None]]:
    """Name, type and key specification of every value."""
    for argument in told:
        if b"arguments" in argument:
            yield from _values(argument[b"arguments"])
        elif argument[b"type"] != b"pure-token":
            yield argument[b"name"].decode(), argument[b"type"].decode(), argument.get(b"key_spec_index")


def _usages(told: dict[bytes, Any]) -> Iterator[tuple[str, Usage]]:
    for name, docs in told.items():
        arguments = docs.get(b"arguments", [])
        yield name.decode(), (render([_argument(one) for one in arguments]), list(_values(arguments)))
        yield from _usages(docs.get(b"subcommands", {}))


def _command_docs(port: int) -> dict[str, Usage]:
    client = redis.Redis(port=port, protocol=3)
    client.response_callbacks.clear()
    try:
        return dict(_usages(client.execute_command("COMMAND", "DOCS")))
    finally:
        client.close()


def test_common_commands_have_the_same_arguments(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("command_docs")
    with start_stock_server(directory / "stock") as server, start_node(directory / "node") as node:
        stock, ours = _command_docs(server.port), _command_docs(node.port)
    common = stock.keys() & ours.keys()
    different = {name: (stock[name], ours[name]) for name in sorted(common) if stock[name] != ours[name]}
    report = "\n".join(
        f"{name}\n   stock {a}\n   ours  {b}" for name, (a, b) in different.items() if name not in EXCEPTIONS
    )
    assert not report, report
    assert len(common) > 350
    unneeded = [name for name in EXCEPTIONS if name in common and name not in different]
    assert not unneeded, "exceptions that are no longer needed"
