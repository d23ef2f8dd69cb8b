"""Byte-exact requests and replies, on a node in this process, in both protocols."""

from __future__ import annotations

import pytest

from tests.support import (
    tables_bits_and_geo,
    tables_extremes,
    tables_hashes,
    tables_keys,
    tables_lists,
    tables_newer_collections,
    tables_newest,
    tables_newest_streams,
    tables_sets,
    tables_sorted_set_ranges,
    tables_sorted_sets,
    tables_stream_claims,
    tables_stream_groups,
    tables_streams,
    tables_strings,
)
from tests.support.inprocess import InProcessNode
from tests.support.tables import Table, play

MODULES = (
    tables_strings,
    tables_keys,
    tables_bits_and_geo,
    tables_extremes,
    tables_hashes,
    tables_lists,
    tables_sets,
    tables_sorted_set_ranges,
    tables_sorted_sets,
    tables_stream_claims,
    tables_stream_groups,
    tables_streams,
)
ALL = {name: table for module in MODULES for name, table in module.TABLES.items()}
ALL["newer strings"] = tables_strings.NEWER
ALL["newer keys"] = tables_keys.NEWER
ALL["newer bits and geo"] = tables_bits_and_geo.NEWER
ALL |= tables_newer_collections.TABLES
ALL |= tables_newest.TABLES | tables_newest_streams.TABLES


@pytest.mark.parametrize("resp3", [False, True], ids=["resp2", "resp3"])
@pytest.mark.parametrize("table", ALL.values(), ids=ALL.keys())
def test_every_request_gets_its_exact_reply(table: Table, resp3: bool) -> None:
    with InProcessNode() as node:
        client = node.client(resp3=resp3)
        play(table, lambda words: client.raw(*words), resp3=resp3)
