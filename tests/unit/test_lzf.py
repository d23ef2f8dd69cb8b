"""LZF: both implementations against each other, and what is no LZF."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.persistence import lzf
from slotmesh.node.persistence.errors import FormatError

_rng = random.Random(7)
REPETITIVE = st.lists(st.sampled_from([b"abc", b"{'key': 1}", b"\x00" * 40, b"z", bytes(range(60))]), max_size=60).map(
    b"".join
)
IMPLEMENTATIONS = [(lzf.compress_pure, lzf.decompress_pure), (lzf.compress, lzf.decompress)]


@pytest.mark.parametrize(("compress", "decompress"), IMPLEMENTATIONS)
@given(data=st.one_of(REPETITIVE, st.binary(max_size=300)))
def test_compress_any_data_round_trips_through_both_decoders(compress: Any, decompress: Any, data: bytes) -> None:
    packed = compress(data)
    if packed is not None:
        assert len(packed) <= len(data) - lzf.MIN_GAIN
        assert lzf.decompress_pure(packed, len(data)) == data
        assert lzf.decompress(packed, len(data)) == data


def test_compress_pure_repetitive_text_shrinks_like_the_native_one() -> None:
    text = b"".join(b'{"id":%d,"name":"user","tags":["a","b"]}' % i for i in range(500))
    packed = lzf.compress_pure(text)
    assert packed is not None
    assert len(packed) < len(text) // 3


def test_compress_pure_matches_across_the_maximal_distance_and_length() -> None:
    far = _rng.randbytes(8192)
    for data in (b"abcdef" + far[:8183] + b"abcdef" * 3, b"abcdef" + far + b"abcdef" * 3, b"q" * 10_000):
        packed = lzf.compress_pure(data)
        if packed is not None:
            assert lzf.decompress(packed, len(data)) == data
            assert lzf.decompress_pure(packed, len(data)) == data


@pytest.mark.parametrize("compress", [lzf.compress_pure, lzf.compress])
def test_compress_incompressible_data_gives_none(compress: Any) -> None:
    assert compress(bytes(range(200))) is None
    assert compress(b"aaaa") is None


@pytest.mark.parametrize("decompress", [lzf.decompress_pure, lzf.decompress])
@pytest.mark.parametrize(
    ("packed", "size"),
    [
        (b"\x05abc", 6),  # literals cut off
        (b"\x00a\x20\x05", 4),  # reference before the start
        (b"\x00a\xe0", 9),  # reference cut off
        (b"\x02abc", 4),  # shorter than announced
        (b"\x02abc", 2),  # longer than announced
    ],
)
def test_decompress_malformed_input_raises(decompress: Any, packed: bytes, size: int) -> None:
    with pytest.raises(FormatError):
        decompress(packed, size)


@pytest.mark.parametrize("decompress", [lzf.decompress_pure, lzf.decompress])
def test_decompress_random_bytes_never_fails_otherwise(decompress: Any) -> None:
    for _ in range(2000):
        packed = _rng.randbytes(_rng.randrange(1, 40))
        with contextlib.suppress(FormatError):
            assert len(decompress(packed, 64)) == 64
