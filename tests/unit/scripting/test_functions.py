"""Sets of libraries: every change is whole or none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slotmesh.node.base.errors import CommandError
from slotmesh.node.scripting.functions import Functions
from tests.support.inprocess import InProcessNode


def library(name: str, *functions: str) -> bytes:
    body = "".join(f"redis.register_function('{function}', function() return '{name}' end)\n" for function in functions)
    return f"#!lua name={name}\n{body}".encode()


@pytest.fixture
def functions() -> Iterator[Functions]:
    with InProcessNode() as node:
        yield node.server.scripting.functions


def names(functions: Functions) -> dict[bytes, list[bytes]]:
    return {name: list(library.functions) for name, library in functions.libraries.items()}


def test_library_that_takes_the_name_of_a_function_changes_nothing(functions: Functions) -> None:
    functions.load(library("one", "f"), replace=False)
    with pytest.raises(CommandError, match="Function f already exists"):
        functions.load(library("two", "g", "f"), replace=False)
    assert names(functions) == {b"one": [b"f"]}
    assert list(functions.by_name) == [b"f"]


def test_replaced_library_takes_its_functions_along(functions: Functions) -> None:
    functions.load(library("one", "f", "g"), replace=False)
    functions.load(library("one", "g", "h"), replace=True)
    assert sorted(functions.by_name) == [b"g", b"h"]


def test_failed_replacement_keeps_the_old_library(functions: Functions) -> None:
    functions.load(library("one", "f"), replace=False)
    with pytest.raises(CommandError, match="Error registering functions"):
        functions.load(b"#!lua name=one\nredis.register_function('g', function() end) nosuch()", replace=True)
    assert names(functions) == {b"one": [b"f"]}


def test_restore_that_collides_changes_nothing(functions: Functions) -> None:
    functions.load(library("one", "f"), replace=False)
    with pytest.raises(CommandError, match="Library one already exists"):
        functions.restore([library("two", "g"), library("one", "h")], flush=False, replace=False)
    with pytest.raises(CommandError, match="Function f already exists"):
        functions.restore([library("two", "g"), library("three", "f")], flush=False, replace=True)
    assert names(functions) == {b"one": [b"f"]}


def test_restore_with_flush_may_take_names_that_go(functions: Functions) -> None:
    functions.load(library("one", "f"), replace=False)
    functions.restore([library("two", "f")], flush=True, replace=False)
    assert names(functions) == {b"two": [b"f"]}


def test_restore_with_replace_keeps_the_others(functions: Functions) -> None:
    functions.load(library("one", "f"), replace=False)
    functions.load(library("two", "g"), replace=False)
    functions.restore([library("one", "h")], flush=False, replace=True)
    assert sorted(functions.by_name) == [b"g", b"h"]


def test_functions_are_found_whatever_their_case_and_libraries_are_not(functions: Functions) -> None:
    functions.load(library("one", "Fun"), replace=False)
    assert functions.find(b"fUN").name == b"Fun"
    with pytest.raises(CommandError, match="Library not found"):
        functions.delete(b"ONE")


def test_deleted_library_is_gone_with_its_functions(functions: Functions) -> None:
    functions.load(library("one", "f"), replace=False)
    functions.delete(b"one")
    with pytest.raises(CommandError, match="Function not found"):
        functions.find(b"f")
    assert functions.sources() == []
