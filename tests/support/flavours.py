"""The two kinds of servers that everything has to work with: stock Redis and ours."""

from __future__ import annotations

import attrs
import pytest

from tests.support.processes import OUR_NODE, OUR_SENTINEL, STOCK_SENTINEL, STOCK_SERVER, have_stock


@attrs.frozen
class Flavour:
    """How to start a node and a sentinel of one kind."""

    name: str
    node: tuple[str, ...]
    sentinel: tuple[str, ...]


STOCK = Flavour("stock", (STOCK_SERVER,), (STOCK_SENTINEL,))
OURS = Flavour("ours", OUR_NODE, OUR_SENTINEL)

needs_stock = pytest.mark.skipif(not have_stock(), reason="stock redis-server not on PATH")
BOTH = [pytest.param(STOCK, id="stock", marks=[pytest.mark.stock, needs_stock]), pytest.param(OURS, id="ours")]
ONLY_STOCK = BOTH[:1]
ONLY_OURS = BOTH[1:]
