"""Syntax lines: what they parse to, and that each command's line fits its declaration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from slotmesh.node import commands
from slotmesh.node.spec import registry
from slotmesh.node.spec.registry import CommandSpec
from slotmesh.node.spec.syntax import Argument, SyntaxLineError, parse, plain, render

commands.load_all()
SPECS = {spec.full_name.decode(): spec for spec in registry.every_spec()}


def value(name: str, kind: str = "string", token: str = "", **flags: Any) -> Argument:
    return Argument(name, kind, token, **flags)


def word(text: str, *, optional: bool = False) -> Argument:
    return Argument(text.lower(), "pure-token", text, optional)


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("", []),
        ("key", [value("key", "key")]),
        ("increment(double)", [value("increment", "double")]),
        ("key [key ...]", [value("key", "key", multiple=True)]),
        ("[key [key ...]]", [value("key", "key", optional=True, multiple=True)]),
        ("[NX | XX]", [Argument("nx_xx", "oneof", optional=True, parts=[word("NX"), word("XX")])]),
        ("<* | id>", [Argument("*_id", "oneof", parts=[word("*"), value("id")])]),
        ("[GET]", [word("GET", optional=True)]),
        ("[COUNT count]", [value("count", "integer", "COUNT", optional=True)]),
        (
            "[GET pattern [GET pattern ...]]",
            [value("pattern", "pattern", "GET", optional=True, multiple=True, multiple_token=True)],
        ),
        ("KEYS key [key ...]", [value("key", "key", "KEYS", multiple=True)]),
        (
            "[LIMIT offset count]",
            [
                Argument(
                    *("offset_count", "block", "LIMIT", True),
                    parts=[value("offset", "integer"), value("count", "integer")],
                )
            ],
        ),
        (
            "field value [field value ...]",
            [Argument("field_value", "block", multiple=True, parts=[value("field"), value("value")])],
        ),
        (
            "FIELDS numfields field [field ...]",
            [
                Argument(
                    *("numfields_field", "block", "FIELDS"),
                    parts=[value("numfields", "integer"), value("field", multiple=True)],
                )
            ],
        ),
        (
            "[COUNT count [ANY]]",
            [
                Argument(
                    *("count_any", "block", "", True),
                    parts=[value("count", "integer", "COUNT"), word("ANY", optional=True)],
                )
            ],
        ),
        ("AGGREGATE <SUM | MIN>", [Argument("sum_min", "oneof", "AGGREGATE", parts=[word("SUM"), word("MIN")])]),
    ],
)
def test_line_and_tree_say_the_same(line: str, arguments: list[Argument]) -> None:
    assert parse(line) == arguments
    assert render(arguments) == plain(line)


@pytest.mark.parametrize("line", ["[key", "key]", "<a | b", "key [value ...]", "[a | b] [c ...]"])
def test_line_without_sense_is_refused(line: str) -> None:
    with pytest.raises(SyntaxLineError):
        parse(line)


def fewest_words(arguments: Sequence[Argument]) -> int:
    return sum(_fewest(argument) for argument in arguments if not argument.optional)


def _fewest(argument: Argument) -> int:
    own = int(bool(argument.token) and argument.kind != "pure-token")
    if argument.kind == "oneof":
        return own + min(_fewest(part) for part in argument.parts)
    if argument.kind == "block":
        return own + fewest_words(argument.parts)
    return own + 1


def every_argument(arguments: Sequence[Argument]) -> Iterator[Argument]:
    for argument in arguments:
        yield argument
        yield from every_argument(argument.parts)


#: Commands that a few words more or less still reach; their handlers say what is missing.
LENIENT = {
    *("cluster|guard", "cluster|setslot", "command", "debug", "hotkeys|start", "psync", "quit", "replconf"),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_line_of_a_command_reads_back_and_fits_its_arity(spec: CommandSpec) -> None:
    arguments = parse(spec.syntax)
    assert render(arguments) == plain(spec.syntax)
    if spec.handler is None or spec.full_name.decode() in LENIENT:
        return
    name = spec.full_name.count(b"|") + 1
    assert name + fewest_words(arguments) == spec.min_arity
    open_ended = any(argument.optional or argument.multiple for argument in every_argument(arguments))
    assert open_ended or spec.arity > 0
