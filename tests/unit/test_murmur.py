"""MurmurHash64A: the function against the textbook, word by word, and what hashes elements against the function."""

from __future__ import annotations

import random

import pytest

from slotmesh.node.base.native import compiled
from slotmesh.node.types import murmur

_M64 = (1 << 64) - 1
_MULTIPLIER = 0xC6A4A7935BD1E995
#: Around the sizes where the function takes another road, and some long ones.
SIZES = (*range(40), *range(120, 140), 255, 256, 1000, 4099)


def _textbook(data: bytes, seed: int) -> int:
    def times(number: int) -> int:
        return number * _MULTIPLIER & _M64

    h = seed ^ times(len(data))
    for at in range(0, len(data), 8):
        word = data[at : at + 8]
        k = int.from_bytes(word, "little")
        if len(word) == 8:
            k = times(k)
            k = times(k ^ k >> 47)
        h = times(h ^ k)
    h = times(h ^ h >> 47)
    return h ^ h >> 47


@pytest.mark.parametrize("size", SIZES)
def test_murmur64a_of_any_size_and_seed_equals_the_textbook(size: int) -> None:
    rng = random.Random(size)
    for seed in (0, murmur.SEED, rng.getrandbits(64)):
        data = rng.randbytes(size)
        assert murmur.murmur64a(data, seed) == _textbook(data, seed)


@pytest.mark.parametrize("size", SIZES)
def test_element_hash_of_any_size_equals_murmur64a(size: int) -> None:
    rng = random.Random(size)
    for data in (rng.randbytes(size), bytes(size), b"\xff" * size):
        assert murmur.hash_element(data) == murmur.murmur64a(data)


@pytest.mark.skipif(compiled is None, reason="the compiled twins were not built here")
@pytest.mark.parametrize("size", SIZES)
def test_compiled_twin_with_any_seed_equals_murmur64a(size: int) -> None:
    rng = random.Random(size)
    for seed in (0, murmur.SEED, rng.getrandbits(64)):
        data = rng.randbytes(size)
        assert compiled.murmur64a(data, seed) == murmur.murmur64a(data, seed)
