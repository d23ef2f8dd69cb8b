"""The commands about the server itself, byte by byte, on a node in this process and in both protocols."""

from __future__ import annotations

import pytest

from tests.support.inprocess import InProcessNode
from tests.tables.server import TABLES
from tests.tables.support import Table, play


@pytest.mark.parametrize("resp3", [False, True], ids=["resp2", "resp3"])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_every_request_gets_its_exact_reply(table: Table, resp3: bool) -> None:
    with InProcessNode() as node:
        client = node.client(resp3=resp3)
        play(table, lambda words: client.raw(*words), resp3=resp3)
