"""Fieldsets of HIMPORT belong to a connection, and go with it."""

from __future__ import annotations

from tests.support.inprocess import InProcessNode


def test_fieldset_belongs_to_its_connection_until_it_is_reset() -> None:
    with InProcessNode() as node:
        one, other = node.client(), node.client()
        one.call("HIMPORT", "PREPARE", "f", "a")
        other.call("HIMPORT", "PREPARE", "f", "b")
        one.call("HIMPORT", "SET", "k", "f", 1)
        assert one.call("HGETALL", "k") == [b"a", b"1"]
        one.call("RESET")
        assert "no such fieldset" in str(one.call("HIMPORT", "SET", "k", "f", 1))
        other.call("HIMPORT", "SET", "k", "f", 2)
        assert one.call("HGETALL", "k") == [b"b", b"2"]


def test_hashes_of_a_fieldset_share_the_names_of_their_fields() -> None:
    with InProcessNode() as node:
        client = node.client()
        client.call("HIMPORT", "PREPARE", "f", "a_long_field_name")
        for key in "xy":
            client.call("HIMPORT", "SET", key, "f", "value")
        first, second = (next(iter(client.served.db.peek(key).fields)) for key in (b"x", b"y"))
        assert first is second
