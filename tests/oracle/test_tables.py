"""The tables of requests and replies say what a stock server says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.processes import have_stock, start_stock_server
from tests.support.twins import Wire
from tests.tables import (
    bits_and_geo,
    extremes,
    hashes,
    keys,
    lists,
    sets,
    sorted_set_ranges,
    sorted_sets,
    stream_claims,
    stream_groups,
    streams,
    strings,
)
from tests.tables.support import Table, play

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

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


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with start_stock_server(tmp_path_factory.mktemp("tables")) as stock:
        connection = Wire(stock.port)
        yield connection
        connection.close()


@pytest.mark.parametrize("resp3", [False, True], ids=["resp2", "resp3"])
@pytest.mark.parametrize("table", ALL.values(), ids=ALL.keys())
def test_table_is_true_of_stock(wire: Wire, table: Table, resp3: bool) -> None:
    wire.call(["HELLO", 3 if resp3 else 2])
    wire.call(["FLUSHALL"])
    play(table, wire.call, resp3=resp3)
