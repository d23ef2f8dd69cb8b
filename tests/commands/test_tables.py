"""Byte-exact requests and replies, on a node in this process, in both protocols."""

from __future__ import annotations

import pytest

from tests.support.inprocess import InProcessNode
from tests.tables import (
    bits_and_geo,
    collections_after_8_8,
    extremes,
    fields_and_acks_after_7_0,
    hashes,
    keys,
    lists,
    sets,
    sorted_set_ranges,
    sorted_sets,
    stream_claims,
    stream_groups,
    streams,
    streams_after_8_4,
    strings,
)
from tests.tables.support import Table, play

MODULES = (
    strings,
    keys,
    bits_and_geo,
    extremes,
    hashes,
    lists,
    sets,
    sorted_set_ranges,
    sorted_sets,
    stream_claims,
    stream_groups,
    streams,
)
ALL = {name: table for module in MODULES for name, table in module.TABLES.items()}
ALL["newer strings"] = strings.NEWER
ALL["newer keys"] = keys.NEWER
ALL["newer bits and geo"] = bits_and_geo.NEWER
ALL |= fields_and_acks_after_7_0.TABLES
ALL |= collections_after_8_8.TABLES | streams_after_8_4.TABLES


@pytest.mark.parametrize("resp3", [False, True], ids=["resp2", "resp3"])
@pytest.mark.parametrize("table", ALL.values(), ids=ALL.keys())
def test_every_request_gets_its_exact_reply(table: Table, resp3: bool) -> None:
    with InProcessNode() as node:
        client = node.client(resp3=resp3)
        play(table, lambda words: client.raw(*words), resp3=resp3)
