"""Random glob patterns: KEYS of the stock server finds what our patterns find, in each of their forms."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from slotmesh.node.base import glob
from tests.support.processes import ServerHandle, have_stock, start_stock_server

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

_LETTERS = b"abAB]-^\\["
_KINDS = b"aabbAB*?[]^-\\"
_FIXED = (
    b"a*a*a*a*b",
    b"*a*a*a*b*",
    b"[z-a]*",
    b"[a",
    b"a\\",
    b"[^]",
    b"[]",
    b"**",
    b"*?*?*",
    b"[\\]]",
    b"[a-\\]*",
    b"\\*",
)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    with start_stock_server(tmp_path_factory.mktemp("glob")) as server:
        yield server


@pytest.mark.parametrize("seed", range(4))
def test_keys_finds_what_patterns_find(stock: ServerHandle, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(seed)
    keys = {bytes(rng.choices(_LETTERS, k=rng.randrange(1, 9))) for _ in range(150)} | {b"a" * 30, b"a" * 30 + b"b"}
    stock.call("FLUSHALL")
    stock.call("MSET", *(word for key in keys for word in (key, b"v")))
    for pattern in (*_FIXED, *(bytes(rng.choices(_KINDS, k=rng.randrange(12))) for _ in range(400))):
        expected = set(stock.call("KEYS", pattern))
        for longest in (1024, -1):  # -1: every pattern is walked over as long ones are
            monkeypatch.setattr(glob, "_LONG", longest)
            fits = glob.Glob(pattern).fits
            assert {key for key in keys if fits(key)} == expected, (pattern, longest)
