"""Listpacks."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.persistence.errors import FormatError
from slotmesh.node.persistence.listpack import as_bytes, decode_listpack, encode_entry, encode_listpack

ELEMENTS = st.one_of(
    st.binary(max_size=80),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: b"%d" % n),
    st.integers(-5000, 5000),
)


@given(st.lists(ELEMENTS, max_size=40))
def test_listpack_any_elements_round_trip_as_strings(elements: list[bytes | int]) -> None:
    assert as_bytes(decode_listpack(encode_listpack(elements))) == as_bytes(elements)


@pytest.mark.parametrize(
    ("element", "entry"),
    [
        (b"0", b"\x00\x01"),
        (127, b"\x7f\x01"),
        (128, b"\xc0\x80\x02"),
        (-1, b"\xdf\xff\x02"),
        (4095, b"\xcf\xff\x02"),
        (-4096, b"\xd0\x00\x02"),
        (4096, b"\xf1\x00\x10\x03"),
        (-32769, b"\xf2\xff\x7f\xff\x04"),
        (2**23, b"\xf3\x00\x00\x80\x00\x05"),
        (2**31, b"\xf4\x00\x00\x00\x80\x00\x00\x00\x00\x09"),
        (b"ab", b"\x82ab\x03"),
        (b"", b"\x80\x01"),
        (b"01", b"\x8201\x03"),
        (b"-0", b"\x82-0\x03"),
        (b"9223372036854775808", b"\x939223372036854775808\x14"),
    ],
)
def test_entry_boundaries_have_the_documented_bytes(element: bytes | int, entry: bytes) -> None:
    assert encode_entry(element) == entry


@pytest.mark.parametrize("size", [63, 64, 125, 126, 127, 4095, 4096, 16380, 16381, 16382, 2097145, 2097146, 2097147])
def test_listpack_string_sizes_around_every_header_round_trip(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert decode_listpack(encode_listpack([data, b"end"])) == [data, b"end"]


def test_listpack_more_elements_than_the_count_can_say_round_trip() -> None:
    elements: list[bytes | int] = list(range(70_000))
    packed = encode_listpack(elements)
    assert packed[4:6] == b"\xff\xff"
    assert decode_listpack(packed) == elements


def test_listpack_truncated_or_extended_raises() -> None:
    packed = encode_listpack([b"abc", 5, b"x" * 200])
    for cut in range(len(packed)):
        with pytest.raises(FormatError):
            decode_listpack(packed[:cut])
    with pytest.raises(FormatError):
        decode_listpack(packed + b"\xff")


def test_listpack_wrong_count_or_back_length_raises() -> None:
    packed = bytearray(encode_listpack([b"abc", 5]))
    packed[4] = 3
    with pytest.raises(FormatError, match="count"):
        decode_listpack(bytes(packed))
    packed[4] = 2
    packed[-2] = 9
    with pytest.raises(FormatError, match="length"):
        decode_listpack(bytes(packed))


def test_listpack_flipped_bytes_never_fail_otherwise() -> None:
    rng = random.Random(3)
    packed = encode_listpack([b"hello", 1, -5, 70000, b"y" * 130, 2**40])
    for _ in range(3000):
        spoilt = bytearray(packed)
        for _ in range(rng.randrange(1, 4)):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        with contextlib.suppress(FormatError):
            decode_listpack(bytes(spoilt))
