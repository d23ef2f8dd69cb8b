"""The tables about the server itself say what a stock server says."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.support.processes import have_stock, start_stock_server
from tests.support.twins import Wire
from tests.tables.server import TABLES
from tests.tables.support import Table, play

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]


@pytest.mark.parametrize("resp3", [False, True], ids=["resp2", "resp3"])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_table_is_true_of_stock(tmp_path: Path, table: Table, resp3: bool) -> None:
    with start_stock_server(tmp_path) as stock, closing(Wire(stock.port)) as wire:
        wire.call(["HELLO", 3 if resp3 else 2])
        play(table, wire.call, resp3=resp3)
