"""Errors: what they say of themselves in a log."""

from __future__ import annotations

from slotmesh.node.base.errors import NO_AUTH, CommandError


def test_command_error_is_shown_as_its_text_whatever_it_was_made_of() -> None:
    assert str(CommandError(NO_AUTH)) == "NOAUTH Authentication required."
    assert str(CommandError("ERR some text")) == "ERR some text"
    assert str(CommandError(b"ERR \xff bytes")) == "ERR � bytes"
