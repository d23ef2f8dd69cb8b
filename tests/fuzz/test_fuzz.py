"""The short form of the fuzzers: fixed seeds, the same for everybody. `make fuzz` runs new ones."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import TARGETS

SEEDS = 15


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("target", list(TARGETS))
def test_hostile_input_leaves_everything_whole(target: str, seed: int) -> None:
    assert TARGETS[target](seed) > 0
