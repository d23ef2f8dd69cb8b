"""Numbers from outside: what is taken, and that nothing raises."""

from __future__ import annotations

import math

import pytest

from slotmesh.cluster.numbers import INT64_MAX, INT64_MIN, UINT64_MAX, to_float, to_int64, to_lenient_float, to_uint

HOSTILE = [b"", b" 1", b"1 ", b"+1", b"1_0", b"1\n", b"0x1", b"1.0", b"-", b"\xff", b"9" * 5000, b"\xd9\xa1"]


@pytest.mark.parametrize("text", [*HOSTILE, b"-0", b"01", b"%d" % (INT64_MAX + 1), b"%d" % (INT64_MIN - 1)])
def test_to_int64_of_what_is_not_canonical_is_none(text: bytes) -> None:
    assert to_int64(text) is None


@pytest.mark.parametrize("number", [0, 1, -1, INT64_MAX, INT64_MIN])
def test_to_int64_reads_the_whole_range(number: int) -> None:
    assert to_int64(b"%d" % number) == number


@pytest.mark.parametrize("text", [*HOSTILE, b"-1"])
def test_to_uint_of_what_is_no_number_is_none(text: bytes) -> None:
    assert to_uint(text) is None
    assert to_uint(text.decode("utf-8", "surrogateescape")) is None


@pytest.mark.parametrize("text", ["²", "٣", "１"])
def test_to_uint_knows_only_ascii_digits(text: str) -> None:
    assert to_uint(text) is None


def test_to_uint_stops_at_its_limit() -> None:
    assert to_uint("007") == 7
    assert to_uint(str(INT64_MAX)) == INT64_MAX
    assert to_uint(str(INT64_MAX + 1)) is None
    assert to_uint(str(UINT64_MAX), UINT64_MAX) == UINT64_MAX
    assert to_uint("65535", 65535) == 65535
    assert to_uint("65536", 65535) is None


@pytest.mark.parametrize(
    "text", [b"", b" 1", b"1 ", b"1_0", b"1\n", b"nan", b"-nan", b"\xd9\xa1", b"1e", b"0x", b"--1", b"1e999"]
)
def test_to_float_of_what_is_no_double_is_none(text: bytes) -> None:
    assert to_float(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"1", 1.0),
        (b"-.5", -0.5),
        (b"+1e3", 1000.0),
        (b"0x10", 16.0),
        (b"-Infinity", -math.inf),
        (b"0e-999", 0.0),
        (b"9" * 300, 1e300),
    ],
)
def test_to_float_reads_what_strtod_reads(text: bytes, value: float) -> None:
    assert to_float(text) == pytest.approx(value)


def test_lenient_float_goes_on_to_infinity_and_zero() -> None:
    assert to_float(b"9" * 5000) is None
    assert to_lenient_float(b"9" * 5000) == math.inf
    assert to_lenient_float(b"-0x1p9999") == -math.inf
    assert to_float(b"1e-999") is None
    assert to_lenient_float(b"1e-999") == 0.0
    assert to_lenient_float(b"x") is None
