"""Pure helpers of strings: encodings, ranges, bits, longest common subsequences, extended precision, geohashes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.base.native import compiled
from slotmesh.node.types import bits, geohash, hyperloglog, long_double
from slotmesh.node.types.cardinality import estimate
from slotmesh.node.types.lcs import lcs, lcs_length
from slotmesh.node.types.string import clamp_range, string_encoding


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (b"0", b"int"),
        (b"-5", b"int"),
        (b"9223372036854775807", b"int"),
        (b"-9223372036854775808", b"int"),
        (b"9223372036854775808", b"embstr"),
        (b"01", b"embstr"),
        (b"+1", b"embstr"),
        (b"", b"embstr"),
        (b"x" * 44, b"embstr"),
        (b"x" * 45, b"raw"),
        (bytearray(b"1"), b"raw"),
    ],
)
def test_string_encoding_is_that_of_stock(value: bytes | bytearray, word: bytes) -> None:
    assert string_encoding(value) == word


@given(st.binary(max_size=20), st.integers(-30, 30), st.integers(-30, 30))
def test_clamped_range_selects_what_a_walk_over_indexes_selects(data: bytes, start: int, end: int) -> None:
    size = len(data)
    first = max(0, start + size) if start < 0 else start
    last = max(0, end + size) if end < 0 else min(end, size - 1)
    expected = data[first : last + 1] if first <= last and not (start < 0 and end < 0 and start > end) else b""
    begin, stop = clamp_range(start, end, size)
    assert data[begin:stop] == expected


def _bit_text(data: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in data)


@given(st.binary(min_size=1, max_size=30), st.data())
def test_bits_between_are_counted_and_found_as_in_the_text_of_digits(data: bytes, draw: st.DataObject) -> None:
    text = _bit_text(data)
    first = draw.draw(st.integers(0, len(text) - 1))
    last = draw.draw(st.integers(first, len(text) - 1))
    part = text[first : last + 1]
    assert bits.count_ones(data) == text.count("1")
    assert bits.count_ones_between(data, first, last) == part.count("1")
    for bit in (0, 1):
        found = part.find(str(bit))
        assert bits.find_bit(data, bit, first, last) == (first + found if found >= 0 else -1)


@given(st.binary(min_size=20, max_size=30), st.integers(0, 90), st.integers(1, 64), st.integers(-(2**63), 2**63 - 1))
def test_field_that_was_set_is_read_back_and_nothing_else_changed(data: bytes, at: int, width: int, value: int) -> None:
    edited = bytearray(data)
    bits.set_field(edited, at, width, value)
    assert bits.get_field(edited, at, width, False) == value & (1 << width) - 1
    before, after = _bit_text(data), _bit_text(bytes(edited))
    assert (before[:at], before[at + width :]) == (after[:at], after[at + width :])


@pytest.mark.parametrize("length", [100, (1 << 20) + 7])
def test_count_of_long_string_is_that_of_its_chunks(length: int) -> None:
    data = random.Random(1).randbytes(length)
    assert bits.count_ones(data) == sum(byte.bit_count() for byte in data)


def _lcs_length_by_table(a: bytes, b: bytes) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        before = row[:]
        for j, y in enumerate(b):
            row[j + 1] = before[j] + 1 if x == y else max(before[j + 1], row[j])
    return row[-1]


@given(st.binary(max_size=40), st.lists(st.sampled_from(b"abc"), max_size=60).map(bytes))
def test_lcs_is_a_common_subsequence_of_the_greatest_length(a: bytes, b: bytes) -> None:
    for first, second in ((a, b), (b, b[::-1]), (b, b[1::2])):
        text, runs = lcs(first, second)
        assert len(text) == lcs_length(first, second) == _lcs_length_by_table(first, second)
        assert b"".join(first[i : j + 1] for (i, j), _ in reversed(runs)) == text
        assert b"".join(second[i : j + 1] for _, (i, j) in reversed(runs)) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_long_double_reads_every_double_exactly(value: float) -> None:
    parsed = long_double.parse(repr(value).encode())
    assert isinstance(parsed, Fraction)
    assert float(parsed) == value


@pytest.mark.parametrize("text", [b"", b".", b"e1", b"1e", b"nan", b" 1", b"1 ", b"0x", b"1e5000", b"1e-5000", b"1_0"])
def test_long_double_refuses_what_is_no_number(text: bytes) -> None:
    assert long_double.parse(text) is None


@given(st.integers(-(2**200), 2**200), st.integers(1, 2**100))
def test_rounding_to_64_bits_is_to_nearest(top: int, bottom: int) -> None:
    value = Fraction(top, bottom)
    rounded = long_double.round_to_64_bits(value)
    assert isinstance(rounded, Fraction)
    if value:
        assert abs(rounded - value) <= abs(value) / 2**64
        assert abs(rounded.numerator).bit_length() - (rounded.numerator & -rounded.numerator).bit_length() < 64


@given(st.floats(-180, 180), st.floats(geohash.LAT_MIN, geohash.LAT_MAX))
def test_decoded_position_is_within_a_metre_of_the_encoded_one(longitude: float, latitude: float) -> None:
    point = geohash.decode(geohash.encode((longitude, latitude)))
    assert geohash.distance((longitude, latitude), point) < 1.0


@given(
    st.tuples(st.floats(-170, 170), st.floats(-70, 70)),
    st.floats(1, 500_000),
    st.floats(0, 1),
    st.floats(0, 2 * math.pi),
)
def test_areas_of_a_circle_cover_the_points_inside(
    center: tuple[float, float], radius: float, share: float, angle: float
) -> None:
    degrees = radius * share * 0.999 / 111_320
    point = (
        center[0] + degrees * math.cos(angle) / math.cos(math.radians(center[1])),
        center[1] + degrees * math.sin(angle),
    )
    circle = geohash.Circle(center, radius)
    if not (-180 <= point[0] <= 180 and abs(point[1]) <= geohash.LAT_MAX):
        return
    score = geohash.encode(point)
    if circle.distance_inside(geohash.decode(score)) is not None:
        assert any(low <= score < high for low, high in geohash.areas(circle))


@given(st.floats(10, 20), st.floats(40, 50))
def test_point_is_in_a_square_polygon_as_it_is_in_the_box(longitude: float, latitude: float) -> None:
    square = geohash.Polygon([(12.0, 42.0), (18.0, 42.0), (18.0, 48.0), (12.0, 48.0)])
    inside = 12.0 < longitude < 18.0 and 42.0 < latitude < 48.0
    assert (square.distance_inside((longitude, latitude)) is not None) == inside


def test_concave_polygon_leaves_its_notch_out() -> None:
    notched = geohash.Polygon([(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (2.0, 1.0), (0.0, 4.0)])
    assert notched.distance_inside((2.0, 0.5)) is not None
    assert notched.distance_inside((2.0, 3.0)) is None


@given(st.lists(st.binary(max_size=12), max_size=200))
def test_dense_and_sparse_hyperloglog_hold_the_same_registers(elements: list[bytes]) -> None:
    sparse, dense = hyperloglog.new(), hyperloglog.new()
    hyperloglog.make_dense(dense)
    for element in elements:
        assert hyperloglog.add(sparse, element, 3000) == hyperloglog.add(dense, element, 3000)
    assert sparse[4] == hyperloglog.SPARSE
    assert hyperloglog.registers(sparse) == hyperloglog.registers(dense)
    hyperloglog.make_dense(sparse)
    assert sparse[16:] == dense[16:]


ADD_DENSE = pytest.mark.parametrize(
    "add_dense",
    [
        pytest.param(hyperloglog.add_dense_plain, id="plain"),
        pytest.param(
            compiled and compiled.add_dense,
            id="compiled",
            marks=pytest.mark.skipif(compiled is None, reason="the compiled twins were not built here"),
        ),
    ],
)


@ADD_DENSE
def test_add_dense_does_what_add_does(add_dense: Callable[[bytearray, bytes], bool | None]) -> None:
    rng = random.Random(7)
    data = hyperloglog.new()
    hyperloglog.make_dense(data)
    rises = 0
    for size in (0, 1, 7, 8, 9, 19, 200) * 3000:
        element = rng.randbytes(size)
        expected = data[:]
        rose = hyperloglog.add(expected, element, 3000)
        assert add_dense(data, element) is rose
        assert data == expected
        rises += rose
        assert add_dense(data, element) is False
    assert 1000 < rises < 20_000


@ADD_DENSE
def test_add_dense_leaves_alone_what_is_no_dense_hyperloglog(
    add_dense: Callable[[bytearray, bytes], bool | None],
) -> None:
    dense, sparse = hyperloglog.new(), hyperloglog.new()
    hyperloglog.make_dense(dense)
    others = [sparse, bytearray(), dense + b"\0", dense[:-1]]
    for at in range(5):
        for step in (-1, 1):
            broken = dense[:]
            broken[at] = broken[at] + step & 0xFF
            others.append(broken)
    for other in others:
        before = other[:]
        assert add_dense(other, b"a") is None
        assert other == before
    assert add_dense(dense, b"a") is True


def test_hyperloglog_counts_with_the_promised_standard_error() -> None:
    errors = []
    for seed in range(40):
        rng = random.Random(seed)
        data = hyperloglog.new()
        for _ in range(2000):
            hyperloglog.add(data, rng.randbytes(8), 500)
        errors.append((estimate(hyperloglog.registers(data)) - 2000) / 2000)
    assert math.sqrt(sum(error * error for error in errors) / len(errors)) < 0.0081


def test_dense_registers_keep_their_values_beside_rising_neighbours() -> None:
    rng = random.Random(5)
    data = hyperloglog.new()
    hyperloglog.make_dense(data)
    wanted = bytearray(hyperloglog.REGISTERS)
    for _ in range(20_000):
        index, value = rng.choice((rng.randrange(64), hyperloglog.REGISTERS - 1 - rng.randrange(8))), rng.randrange(64)
        assert hyperloglog.raise_register(data, index, value, 0) == (value > wanted[index])
        wanted[index] = max(wanted[index], value)
    assert hyperloglog.registers(data) == wanted


@pytest.mark.parametrize("bit", [0, 1])
@pytest.mark.parametrize("place", [0, 7, 65535 * 8, 65536 * 8 + 3, 3 * 65536 * 8 - 1, -1])
def test_find_bit_in_long_strings(bit: int, place: int) -> None:
    data = bytearray(b"\x00" if bit else b"\xff") * (3 * 65536)
    last = 8 * len(data) - 1
    if place >= 0:
        bits.set_bit(data, place, bit)
    assert bits.find_bit(data, bit, 0, last) == place
    assert bits.find_bit(bytes(data), bit, max(place, 0), last) == place
    assert bits.find_bit(data, bit, place + 1, last) == -1 if place < last else True
    if place > 0:
        assert bits.find_bit(data, bit, 0, place - 1) == -1


def test_combine_works_piece_by_piece() -> None:
    long, short = bytes(range(256)) * 1000, b"\xf0" * 70_001
    padded = short.ljust(len(long), b"\0")
    assert bits.combine(b"AND", [long, short]) == bytes(a & b for a, b in zip(long, padded, strict=True))
    assert bits.combine(b"XOR", [short, long]) == bytes(a ^ b for a, b in zip(long, padded, strict=True))
    assert bits.combine(b"NOT", [long]) == bytes(a ^ 255 for a in long)
    assert bits.combine(b"NOT", [bytearray(short)]) == b"\x0f" * 70_001
