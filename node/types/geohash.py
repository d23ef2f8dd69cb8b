"""Geohashes of 52 bits, distances on the sphere, and the areas that a search must look at.

A position is a sorted set score: longitude and latitude, each as a fraction of its range in 26 bits, interleaved with
the longitude in the odd bits. So positions that are near each other mostly share a prefix, and a square of the map is a
range of scores. The latitude's range is that of the Web Mercator projection, +-85.05112878 degrees.

Formulas, constants and the order in which areas are visited are the stock server's (geohash.c, geohash_helper.c):
distances must agree to the last digit, and the order is that of unsorted replies.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import asin, cos, isfinite, nan, pi, sin, sqrt
from typing import Final

LON_MIN: Final = -180.0
LON_MAX: Final = 180.0
LAT_MIN: Final = -85.05112878
LAT_MAX: Final = 85.05112878
STEPS: Final = 26
EARTH_RADIUS_M: Final = 6372797.560856
_MERCATOR_MAX_M: Final = 20037726.37
_RADIANS: Final = pi / 180.0
_M64: Final = (1 << 64) - 1
_LEAST: Final = float(-(1 << 63))
_LIMIT: Final = float(1 << 64)
_ODD: Final = 0xAAAAAAAAAAAAAAAA
_EVEN: Final = 0x5555555555555555
_ALPHABET: Final = b"0123456789bcdefghjkmnpqrstuvwxyz"
#: A byte with its bits spread over the even bits of two bytes.
_SPREAD: Final = tuple(sum((byte >> i & 1) << 2 * i for i in range(8)) for byte in range(256))

Point = tuple[float, float]
"""(longitude, latitude) in degrees."""
Box = tuple[float, float, float, float]
"""(lowest longitude, lowest latitude, highest longitude, highest latitude)."""
Cell = tuple[int, int]
"""(interleaved bits, steps): a square of the map."""


# -- encoding ----------------------------------------------------------------------------------------------------------


def _spread(x: int) -> int:
    return _SPREAD[x & 255] | _SPREAD[x >> 8 & 255] << 16 | _SPREAD[x >> 16 & 255] << 32 | _SPREAD[x >> 24 & 255] << 48


def _gather(x: int) -> int:
    """The even bits, moved together."""
    x &= _EVEN
    x = (x | x >> 1) & 0x3333333333333333
    x = (x | x >> 2) & 0x0F0F0F0F0F0F0F0F
    x = (x | x >> 4) & 0x00FF00FF00FF00FF
    x = (x | x >> 8) & 0x0000FFFF0000FFFF
    return (x | x >> 16) & 0xFFFFFFFF


def encode(point: Point, steps: int = STEPS, lat_min: float = LAT_MIN, lat_max: float = LAT_MAX) -> int:
    """The interleaved bits of a position inside the ranges, `steps` bits for each coordinate."""
    lat = (point[1] - lat_min) / (lat_max - lat_min) * (1 << steps)
    lon = (point[0] - LON_MIN) / (LON_MAX - LON_MIN) * (1 << steps)
    return _spread(int(lat)) | _spread(int(lon)) << 1


def cell_box(cell: Cell) -> Box:
    """The borders of a square."""
    hash_bits, steps = cell
    lat, lon = _gather(hash_bits), _gather(hash_bits >> 1)
    unit = float(1 << steps)
    lat_span, lon_span = LAT_MAX - LAT_MIN, LON_MAX - LON_MIN
    return (
        LON_MIN + (lon / unit) * lon_span,
        LAT_MIN + (lat / unit) * lat_span,
        LON_MIN + ((lon + 1) / unit) * lon_span,
        LAT_MIN + ((lat + 1) / unit) * lat_span,
    )


def _bits(score: float) -> int:
    """A score as 64 bits; what does not fit, infinities included, as x86 converts it."""
    if _LEAST <= score < _LIMIT:
        return int(score) & _M64
    return 0 if score > 0 else 1 << 63


def decode(score: float) -> Point:
    """The position that a score stands for: the middle of its square."""
    low_lon, low_lat, high_lon, high_lat = cell_box((_bits(score), STEPS))
    lon, lat = (low_lon + high_lon) / 2, (low_lat + high_lat) / 2
    return min(max(lon, LON_MIN), LON_MAX), min(max(lat, LAT_MIN), LAT_MAX)


def text(score: float) -> bytes:
    """The usual geohash of 11 letters. Its last letter would need three bits more than we have and is always 0."""
    hash_bits = encode(decode(score), STEPS, -90.0, 90.0)
    return bytes(_ALPHABET[hash_bits >> (52 - 5 * i) & 31] for i in range(1, 11)) + b"0"


# -- distances ---------------------------------------------------------------------------------------------------------


def _latitude_distance(lat1: float, lat2: float) -> float:
    return EARTH_RADIUS_M * abs(lat2 * _RADIANS - lat1 * _RADIANS)


def distance(a: Point, b: Point) -> float:
    """Metres along the great circle (haversine formula)."""
    v = sin((b[0] * _RADIANS - a[0] * _RADIANS) / 2)
    if v == 0.0:
        return _latitude_distance(a[1], b[1])
    lat1, lat2 = a[1] * _RADIANS, b[1] * _RADIANS
    u = sin((lat2 - lat1) / 2)
    return 2.0 * EARTH_RADIUS_M * asin(min(1.0, sqrt(u * u + cos(lat1) * cos(lat2) * v * v)))


# -- shapes ------------------------------------------------------------------------------------------------------------


class Circle:
    """All points within a radius of the centre."""

    __slots__ = ("bounds", "center", "radius_m", "reach_m")

    def __init__(self, center: Point, radius_m: float) -> None:
        self.center = center
        self.radius_m = self.reach_m = radius_m
        self.bounds = _bounds(center, radius_m, radius_m)

    def distance_inside(self, point: Point) -> float | None:
        """The distance of a point from the centre, None when it is outside."""
        found = distance(self.center, point)
        return None if found > self.radius_m else found


class Rectangle:
    """A box around the centre, with edges along meridians and parallels."""

    __slots__ = ("bounds", "center", "height_m", "reach_m", "width_m")

    def __init__(self, center: Point, width_m: float, height_m: float, reach_m: float) -> None:
        """`reach_m` is the distance to a corner."""
        self.center = center
        self.width_m = width_m
        self.height_m = height_m
        self.reach_m = reach_m
        self.bounds = _bounds(center, width_m / 2, height_m / 2)

    def distance_inside(self, point: Point) -> float | None:
        """The distance of a point from the centre, None when it is outside."""
        if _latitude_distance(point[1], self.center[1]) > self.height_m / 2:
            return None
        if distance(point, (self.center[0], point[1])) > self.width_m / 2:
            return None
        return distance(self.center, point)


class Polygon:
    """A polygon whose edges are straight on the map of longitude and latitude. It may be concave."""

    __slots__ = ("bounds", "center", "reach_m", "vertices")

    def __init__(self, vertices: Sequence[Point]) -> None:
        self.vertices = tuple(vertices)
        lons, lats = [point[0] for point in vertices], [point[1] for point in vertices]
        self.bounds: Box = (min(lons), min(lats), max(lons), max(lats))
        self.center: Point = (sum(lons) / len(lons), sum(lats) / len(lats))
        low_lon, low_lat, high_lon, high_lat = self.bounds
        corners = [(lon, lat) for lon in (low_lon, high_lon) for lat in (low_lat, high_lat)]
        self.reach_m = max(distance(self.center, corner) for corner in corners)

    def distance_inside(self, point: Point) -> float | None:
        """The distance of a point from the centre of the vertices, None when it is outside."""
        return distance(self.center, point) if self._contains(point) else None

    def _contains(self, point: Point) -> bool:
        """Ray casting: a ray from an inner point crosses the border an odd number of times."""
        lon, lat = point
        inside = False
        before_lon, before_lat = self.vertices[-1]
        for next_lon, next_lat in self.vertices:
            if (next_lat > lat) != (before_lat > lat) and lon < (before_lon - next_lon) * (lat - next_lat) / (
                before_lat - next_lat
            ) + next_lon:
                inside = not inside
            before_lon, before_lat = next_lon, next_lat
        return inside


Shape = Circle | Rectangle | Polygon


def _bounds(center: Point, half_width_m: float, half_height_m: float) -> Box:
    """The box of degrees around a shape; its wider edge is the one nearer the pole."""
    lon, lat = center
    lat_delta = half_height_m / EARTH_RADIUS_M / _RADIANS
    edge = lat - lat_delta if lat < 0 else lat + lat_delta
    shrunk = cos(edge * _RADIANS) if isfinite(edge) else nan  # as C has it; comparisons with it are false
    lon_delta = half_width_m / EARTH_RADIUS_M / shrunk / _RADIANS
    return lon - lon_delta, lat - lat_delta, lon + lon_delta, lat + lat_delta


# -- areas -------------------------------------------------------------------------------------------------------------


def _steps_for(reach_m: float, lat: float) -> int:
    """How fine squares may be so that one and its neighbours cover a shape that reaches this far."""
    if reach_m == 0:
        return STEPS
    steps = 1
    while reach_m < _MERCATOR_MAX_M:
        reach_m *= 2
        steps += 1
    steps -= 2
    if abs(lat) > 66:
        steps -= 1
        if abs(lat) > 80:
            steps -= 1
    return min(max(steps, 1), STEPS)


def _moved(hash_bits: int, steps: int, lon_step: int, lat_step: int) -> int:
    """The square next to one, around the world where need be."""
    lons, lats = hash_bits & _ODD, hash_bits & _EVEN
    drop = 64 - 2 * steps
    if lon_step:
        filled = _EVEN >> drop
        lons = lons + filled + 1 if lon_step > 0 else (lons | filled) - (filled + 1)
        lons &= _ODD >> drop
    if lat_step:
        filled = _ODD >> drop
        lats = lats + filled + 1 if lat_step > 0 else (lats | filled) - (filled + 1)
        lats &= _EVEN >> drop
    return lons | lats


#: Neighbours in the order of a search: (longitude step, latitude step).
_NEIGHBORS: Final = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))


def areas(shape: Shape) -> list[tuple[int, int]]:
    """The score ranges [low, high) to look at, in order: the square of the centre and the neighbours that matter."""
    min_lon, min_lat, max_lon, max_lat = shape.bounds
    steps = _steps_for(shape.reach_m, shape.center[1])
    center = encode(shape.center, steps)
    north = cell_box((_moved(center, steps, 0, 1), steps))
    south = cell_box((_moved(center, steps, 0, -1), steps))
    east = cell_box((_moved(center, steps, 1, 0), steps))
    west = cell_box((_moved(center, steps, -1, 0), steps))
    too_fine = north[3] < max_lat or south[1] > min_lat or east[2] < max_lon or west[0] > min_lon
    if steps > 1 and too_fine:
        steps -= 1
        center = encode(shape.center, steps)
    box = cell_box((center, steps))
    skip_south = skip_north = skip_west = skip_east = False
    if steps >= 2:
        skip_west, skip_south = box[0] < min_lon, box[1] < min_lat
        skip_east, skip_north = box[2] > max_lon, box[3] > max_lat
    ranges: list[tuple[int, int]] = []
    last = -1
    shift = 2 * (STEPS - steps)
    for number, (lon_step, lat_step) in enumerate(_NEIGHBORS):
        if (
            (lat_step < 0 and skip_south)
            or (lat_step > 0 and skip_north)
            or (lon_step < 0 and skip_west)
            or (lon_step > 0 and skip_east)
        ):
            continue
        hash_bits = _moved(center, steps, lon_step, lat_step)
        # Around the world two neighbours may be the same square. Stock compares with the one before only, and never
        # with the first, so a point can come twice in a search of half the globe.
        if hash_bits == last:
            continue
        if number:
            last = hash_bits
        ranges.append((hash_bits << shift, hash_bits + 1 << shift))
    return ranges
