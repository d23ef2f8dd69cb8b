"""Intsets, ziplists and zipmaps. The ziplist and zipmap bytes are the examples in the comments of stock's sources."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.persistence.compact import decode_intset, decode_ziplist, decode_zipmap, encode_intset
from slotmesh.node.persistence.errors import FormatError

ZIPLIST_2_5_HELLO = bytes.fromhex("1c0000000e0000000300") + b"\x00\xf3\x02\xf6\x02\x0bHello World\xff"
ZIPMAP = b"\x02\x03foo\x03\x00bar\x05hello\x05\x00world\xff"


def _ziplist(entries: list[bytes]) -> bytes:
    """A ziplist of entries (encoding byte and data, without the previous length)."""
    body, previous = b"", 0
    for entry in entries:
        piece = (bytes((previous,)) if previous < 254 else b"\xfe" + previous.to_bytes(4, "little")) + entry
        body, previous = body + piece, len(piece)
    total = 10 + len(body) + 1
    tail = total - 1 - previous
    return (
        total.to_bytes(4, "little") + tail.to_bytes(4, "little") + len(entries).to_bytes(2, "little") + body + b"\xff"
    )


@given(st.sets(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_intset_any_integers_round_trip_sorted(members: set[int]) -> None:
    assert decode_intset(encode_intset(members)) == sorted(members)


@pytest.mark.parametrize(("high", "width"), [(2**15 - 1, 2), (2**15, 4), (2**31 - 1, 4), (2**31, 8)])
def test_intset_width_follows_the_largest_member(high: int, width: int) -> None:
    packed = encode_intset({1, high})
    assert packed[0] == width
    assert len(packed) == 8 + 2 * width


def test_intset_bad_frames_raise() -> None:
    good = encode_intset({1, 2, 3})
    for bad in (good[:-1], good + b"\x00", b"\x03" + good[1:], good[:8] + good[10:12] + good[8:10] + good[12:], b""):
        with pytest.raises(FormatError):
            decode_intset(bad)


def test_ziplist_the_documented_example_decodes() -> None:
    assert decode_ziplist(ZIPLIST_2_5_HELLO) == [b"2", b"5", b"Hello World"]


def test_ziplist_every_encoding_decodes() -> None:
    long, huge = b"m" * 300, b"h" * 20_000
    packed = _ziplist(
        [
            b"\xfe\x80",
            b"\xc0\x00\x80",
            b"\xf0\xff\xff\x7f",
            b"\xd0\x00\x00\x00\x80",
            b"\xe0" + (2**40).to_bytes(8, "little"),
            b"\xf1",
            b"\xfd",
            b"\x41\x2c" + long,
            b"\x80" + (20_000).to_bytes(4, "big") + huge,
            b"\x00",
        ]
    )
    assert decode_ziplist(packed) == [
        b"-128",
        b"-32768",
        b"8388607",
        b"-2147483648",
        b"1099511627776",
        b"0",
        b"12",
        long,
        huge,
        b"",
    ]


def test_zipmap_the_documented_example_decodes() -> None:
    assert decode_zipmap(ZIPMAP) == [(b"foo", b"bar"), (b"hello", b"world")]


def test_zipmap_free_space_and_long_values_decode() -> None:
    value = b"v" * 300
    packed = b"\x02\x01a\x02\x02xy##\x01b\xfe" + (300).to_bytes(4, "little") + b"\x00" + value + b"\xff"
    assert decode_zipmap(packed) == [(b"a", b"xy"), (b"b", value)]


def test_ziplist_that_begins_its_last_entry_elsewhere_raises() -> None:
    packed = ZIPLIST_2_5_HELLO
    tail = int.from_bytes(packed[4:8], "little")
    with pytest.raises(FormatError, match="integrity check failed"):
        decode_ziplist(packed[:4] + (tail - 2).to_bytes(4, "little") + packed[8:])
    assert decode_ziplist(_ziplist([])) == []


@pytest.mark.parametrize(("decode", "packed"), [(decode_ziplist, ZIPLIST_2_5_HELLO), (decode_zipmap, ZIPMAP)])
def test_old_encodings_damaged_raise_and_nothing_else(decode: Any, packed: bytes) -> None:
    for cut in range(len(packed)):
        with pytest.raises(FormatError):
            decode(packed[:cut])
    rng = random.Random(5)
    for _ in range(2000):
        spoilt = bytearray(packed)
        spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        with contextlib.suppress(FormatError):
            decode(bytes(spoilt))
