"""The first line of scripts and libraries, and what their flags mean for dispatch."""

from __future__ import annotations

import pytest

from slotmesh.node.base.errors import CommandError
from slotmesh.node.scripting import flags
from slotmesh.node.spec import registry


def test_script_without_a_first_line_is_compatible_and_unchanged() -> None:
    assert flags.parse_script(b"return 1") == (flags.COMPATIBLE, b"return 1")


def test_script_keeps_its_line_numbers_behind_the_first_line() -> None:
    declared, source = flags.parse_script(b"#!lua flags=no-writes,allow-oom\nreturn 1")
    assert declared == flags.NO_WRITES | flags.ALLOW_OOM
    assert source == b"\nreturn 1"


def test_empty_list_of_flags_declares_none() -> None:
    assert flags.parse_script(b"#!lua flags=\n")[0] == 0


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"#!lua", b"ERR Invalid script shebang"),
        (b"#!lua 'x\n", b"ERR Invalid engine in script shebang"),
        (b"#!python\n", b"ERR Unexpected engine in script shebang: #!python"),
        (b"#!lua flags=fast\n", b"ERR Unexpected flag in script shebang: fast"),
        (b"#!lua name=x\n", b"ERR Unknown lua shebang option: name=x"),
    ],
)
def test_bad_first_line_of_a_script_is_refused(body: bytes, error: bytes) -> None:
    with pytest.raises(CommandError) as raised:
        flags.parse_script(body)
    assert raised.value.reply.line == error


def test_library_is_named_by_its_first_line() -> None:
    assert flags.parse_library(b"#!LUA NAME=my_lib1\ncode") == (b"my_lib1", b"\ncode")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (b"code", b"ERR Missing library metadata"),
        (b"#!lua name=a", b"ERR Invalid library metadata"),
        (b"#!lua\n", b"ERR Library name was not given"),
        (b"#!lua name=a name=a\n", b"ERR Invalid metadata value, name argument was given multiple times"),
        (b"#!lua flags=x\n", b"ERR Invalid metadata value given: flags=x"),
        (b"#!js name=a\n", b"ERR Engine 'js' not found"),
    ],
)
def test_bad_first_line_of_a_library_is_refused(code: bytes, error: bytes) -> None:
    with pytest.raises(CommandError) as raised:
        flags.parse_library(code)
    assert raised.value.reply.line == error


@pytest.mark.parametrize("name", [b"", b"a b", b"a-b", b"\xc3\xa4"])
def test_name_with_other_than_word_characters_is_refused(name: bytes) -> None:
    with pytest.raises(CommandError, match="can only contain letters"):
        flags.check_name(name)


def test_compatible_script_is_judged_by_its_command() -> None:
    assert flags.command_flags(registry.STALE | registry.MAY_REPLICATE, flags.COMPATIBLE) == (
        registry.STALE | registry.MAY_REPLICATE
    )


def test_script_that_declares_nothing_may_write_and_needs_memory() -> None:
    judged = flags.command_flags(registry.NOSCRIPT | registry.STALE | registry.MAY_REPLICATE, 0)
    assert judged == registry.NOSCRIPT | registry.WRITE | registry.DENYOOM


def test_script_that_writes_nothing_is_stopped_by_neither_replica_nor_memory() -> None:
    judged = flags.command_flags(registry.STALE, flags.NO_WRITES | flags.ALLOW_STALE)
    assert judged == registry.STALE
