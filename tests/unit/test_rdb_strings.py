"""Lengths, strings and numbers of the RDB format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.persistence.crc64 import crc64
from slotmesh.node.persistence.errors import FormatError, ShortRead
from slotmesh.node.persistence.rdb_strings import Reader, encode_double, encode_length, encode_string


def test_crc64_check_value_is_that_of_the_jones_polynomial() -> None:
    assert crc64(b"123456789") == 0xE9C6D914C4B8D9CA
    assert crc64(b"456789", crc64(b"123")) == 0xE9C6D914C4B8D9CA


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (0, b"\x00"),
        (63, b"\x3f"),
        (64, b"\x40\x40"),
        (16383, b"\x7f\xff"),
        (16384, b"\x80\x00\x00\x40\x00"),
        (2**32 - 1, b"\x80\xff\xff\xff\xff"),
        (2**32, b"\x81\x00\x00\x00\x01\x00\x00\x00\x00"),
        (2**64 - 1, b"\x81" + b"\xff" * 8),
    ],
)
def test_length_boundaries_have_the_documented_bytes(value: int, wire: bytes) -> None:
    assert encode_length(value) == wire
    assert Reader(wire).length() == value


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        (b"", b"\x00"),
        (b"abc", b"\x03abc"),
        (b"-1", b"\xc0\xff"),
        (b"127", b"\xc0\x7f"),
        (b"128", b"\xc1\x80\x00"),
        (b"-32768", b"\xc1\x00\x80"),
        (b"32768", b"\xc2\x00\x80\x00\x00"),
        (b"-2147483648", b"\xc2\x00\x00\x00\x80"),
        (b"2147483648", b"\x0a2147483648"),
        (b"007", b"\x03007"),
        (b"+1", b"\x02+1"),
        (b"-0", b"\x02-0"),
        (b"-", b"\x01-"),
        (b"1 ", b"\x021 "),
    ],
)
def test_string_short_text_has_the_documented_bytes(text: bytes, wire: bytes) -> None:
    assert encode_string(text) == wire
    assert Reader(wire).string() == text


@given(st.binary(max_size=400), st.booleans())
def test_string_any_bytes_round_trip(data: bytes, compress: bool) -> None:
    reader = Reader(encode_string(data, compress) + b"rest")
    assert reader.string() == data
    assert reader.take(4) == b"rest"


@given(st.sampled_from([b"abc" * 50, b"x" * 20000, b"12345", b"plain", b"y" * 70]))
def test_string_every_prefix_is_a_short_read_that_names_enough(data: bytes) -> None:
    wire = encode_string(data)
    for cut in range(len(wire)):
        with pytest.raises(ShortRead) as caught:
            Reader(wire[:cut]).string()
        assert cut < caught.value.needed <= len(wire)


def test_reader_unknown_encodings_raise_with_their_offset() -> None:
    reader = Reader(b"\x00\xc7", base=100)
    reader.take(1)
    with pytest.raises(FormatError, match="offset 101"):
        reader.string()
    with pytest.raises(FormatError, match="length encoding"):
        Reader(b"\x82\x00\x00\x00\x00").length()
    with pytest.raises(FormatError, match="LZF"):
        Reader(b"\xc3\x01\x80\x7f\xff\xff\xffa").string()  # one byte that claims to be two gigabytes


def test_reader_numbers_are_read_as_written() -> None:
    reader = Reader(encode_double(-2.5) + b"\xfe\xff" + b"\x033.5" + b"\x031e5"[:4] + b"\xfd")
    assert reader.double() == -2.5
    assert reader.text_double() == float("inf")
    assert reader.text_double() == float("-inf")
    assert reader.text_double() == 3.5
    assert reader.text_double() == 1e5
    assert str(reader.text_double()) == "nan"
