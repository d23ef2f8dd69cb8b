"""Tests of ``cluster.terms``: flag words and role words of the wire."""

from __future__ import annotations

import pytest

from slotmesh.cluster.terms import (
    FLAG_EXTENSIONS,
    FLAG_FAIL,
    FLAG_MIGRATE_TO,
    FLAG_MYSELF,
    FLAG_NOADDR,
    FLAG_NOFAILOVER,
    FLAG_PFAIL,
    FLAG_PRIMARY,
    FLAG_REPLICA,
    decode_flags,
    encode_flags,
)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (0, "noflags"),
        (FLAG_MYSELF | FLAG_PRIMARY, "myself,master"),
        (FLAG_REPLICA | FLAG_PFAIL, "slave,fail?"),
        (FLAG_REPLICA | FLAG_FAIL | FLAG_NOADDR, "slave,fail,noaddr"),
        (FLAG_NOFAILOVER | FLAG_REPLICA, "slave,nofailover"),
    ],
)
def test_flag_words_are_those_of_stock_in_its_order(flags: int, text: str) -> None:
    assert encode_flags(flags) == text
    assert decode_flags(text) == flags


def test_flags_without_a_word_are_not_written() -> None:
    assert encode_flags(FLAG_MIGRATE_TO | FLAG_EXTENSIONS) == "noflags"


def test_unknown_word_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'boss'"):
        decode_flags("master,boss")
