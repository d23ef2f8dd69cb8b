"""Scripts and functions reply with stock's bytes: conversions both ways, error texts, the sandbox, FUNCTION."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import have_stock
from tests.support.scripts import GROUPS
from tests.support.twins import Twins, running_twins

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    directory: Path = tmp_path_factory.mktemp("scripts")
    with running_twins(directory) as both:
        yield both


@pytest.mark.parametrize("protocol", ["2", "3"])
@pytest.mark.parametrize("group", list(GROUPS))
def test_scripts_reply_as_on_a_stock_server(pair: Twins, group: str, protocol: str) -> None:
    pair.both("HELLO", protocol)
    pair.both("FLUSHALL")
    for case in GROUPS["conversions"] if group != "conversions" else ():
        pair.both(*case)  # the values that other groups use
    wrong = []
    for case in GROUPS[group]:
        wanted, got = pair.stock.call(case), pair.ours.call(case)
        if got != wanted:
            wrong.append(f"{case!r}\n  stock: {wanted!r}\n  ours:  {got!r}")
    assert not wrong, "\n".join(wrong)
