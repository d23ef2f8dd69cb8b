"""INCR of a long string: it is no integer, and is not copied to find that out."""

from __future__ import annotations

import tracemalloc

import pytest

from tests.support.inprocess import InProcessNode

SIZE = 4 << 20


@pytest.mark.parametrize("command", [("INCR", "k"), ("DECRBY", "k", "5"), ("INCRBYFLOAT", "k", "1")])
def test_number_command_on_a_long_string_copies_nothing(command: tuple[str, ...]) -> None:
    with InProcessNode() as node:
        client = node.client()
        client.call("SETRANGE", "k", str(SIZE), "1")
        client.raw(*command)
        tracemalloc.start()
        try:
            reply = client.raw(*command)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert reply.startswith(b"-ERR value is not a")
    assert peak < SIZE // 4


@pytest.mark.parametrize("text", ["1" * 21, "9223372036854775807" + "0" * 3, "-9223372036854775808" + "1"])
def test_more_digits_than_an_int64_has_are_no_integer(text: str) -> None:
    with InProcessNode() as node:
        client = node.client()
        client.call("APPEND", "k", text[:10])
        client.call("APPEND", "k", text[10:])
        assert client.raw("INCR", "k") == b"-ERR value is not an integer or out of range\r\n"
