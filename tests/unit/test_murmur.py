"""MurmurHash64A: the function against the textbook, word by word, and what hashes elements against the function."""

from __future__ import annotations

import ctypes
import random

import pytest

from node.types import murmur

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
        if size < len(murmur.C_SIZES):
            for function in (murmur.hash_sized, murmur._sized_hash):
                assert function(data, murmur.C_SIZES[size], murmur.C_SEED) == murmur.murmur64a(data)


def test_element_hash_without_a_runtime_library_is_murmur64a(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "PyDLL", refuse)
    assert murmur._load_native() is None
