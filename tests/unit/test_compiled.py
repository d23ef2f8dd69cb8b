"""The compiled twins: built where they can be, and equal to the plain ones in all they do.

The parser's cases are in test_resp_parser.py. That the plain twins still do all that the commands need is shown by
running the tables of tests/commands on them, as every other test here runs on the compiled ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from binascii import crc32
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.cluster.slots import key_slot
from slotmesh.node.base.native import compiled
from slotmesh.node.resp.encoder import encode_command_plain
from slotmesh.node.resp.values import OK
from tests.support.processes import PROJECT_ROOT
from tests.unit.test_resp_encoder import plain_form, replies

pytestmark = pytest.mark.skipif(os.environ.get("SLOTMESH_PLAIN") == "1", reason="plain Python was asked for")


def test_compiled_twins_are_built_where_a_compiler_is() -> None:
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None or not header.exists():
        pytest.skip("no C compiler, or no headers of Python")
    assert compiled is not None, "reinstall the package: pip install -e ."


needs_compiled = pytest.mark.skipif(compiled is None, reason="the compiled twins were not built here")


@needs_compiled
@given(st.binary(max_size=40) | st.text("ab{}", max_size=12).map(str.encode))
def test_slot_of_any_key_is_that_of_the_specification_and_of_the_database(key: bytes) -> None:
    assert compiled.slot_of(key, True) == key_slot(key)
    assert compiled.slot_of(key, False) == crc32(key) & 0x3FFF


@needs_compiled
@given(st.lists(st.binary(max_size=300), max_size=12))
def test_encode_command_equals_the_plain_twin(argv: list[bytes]) -> None:
    assert compiled.encode_command(argv) == encode_command_plain(argv)


@needs_compiled
@pytest.mark.parametrize("size", [0, 9, 10, 99, 100, 999, 1000, 65536, 1_000_000])
def test_encode_command_of_any_length_equals_the_plain_twin(size: int) -> None:
    argv = [b"SET", b"k", b"x" * size]
    assert compiled.encode_command(argv) == encode_command_plain(argv)


@needs_compiled
@given(st.lists(replies, max_size=12))
def test_encode_array_of_any_nesting_equals_the_plain_form(items: list[Any]) -> None:
    assert compiled.encode_array(items, False) == plain_form(items)
    assert compiled.encode_array(tuple(items), False) == plain_form(items)


@needs_compiled
@pytest.mark.parametrize(
    "number", [0, 9, 10, -1, -9, -10, 2**31, -(2**31), 2**63 - 1, -(2**63), 10**18, -(10**18)], ids=str
)
def test_encode_array_of_any_integer_equals_the_plain_form(number: int) -> None:
    assert compiled.encode_array([number], False) == b"*1\r\n:%d\r\n" % number


@needs_compiled
def test_encode_array_null_depends_on_the_protocol() -> None:
    assert compiled.encode_array([None, [None]], False) == b"*2\r\n$-1\r\n*1\r\n$-1\r\n"
    assert compiled.encode_array([None, [None]], True) == b"*2\r\n_\r\n*1\r\n_\r\n"


@needs_compiled
@pytest.mark.parametrize("odd", [1.5, True, OK, {b"a": b"b"}, bytearray(b"x"), 2**63, "text"], ids=repr)
def test_encode_array_leaves_what_it_does_not_know_to_the_plain_twin(odd: Any) -> None:
    assert compiled.encode_array([b"a", odd], False) is None
    assert compiled.encode_array([b"a", [1, (odd,)]], True) is None


@needs_compiled
def test_encode_array_nested_too_deeply_is_left_to_the_plain_twin() -> None:
    items: list[Any] = []
    for _ in range(100_000):
        items = [items]
    assert compiled.encode_array(items, False) is None
    while items:  # one level at a time: freeing them at once recurses as deeply
        items = items[0]


@needs_compiled
@pytest.mark.slow
def test_commands_hold_on_the_plain_twins() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/commands",
            "--ignore=tests/commands/test_refusals.py",  # about errors, which are raised in plain Python in both forms
            "tests/unit/test_resp_encoder.py",
        ],
        env={**os.environ, "SLOTMESH_PLAIN": "1"},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
