"""Positions in sorted sets: adding, reading, measuring. Searching is in `geo_search.py`."""

from __future__ import annotations

import math
from typing import Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.sorted_sets import cmd_zadd
from slotmesh.node.resp.values import NULL_ARRAY, Raw
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.arguments import floating
from slotmesh.node.spec.key_specs import KEY_READ, KEY_UPDATE
from slotmesh.node.spec.registry import DENYOOM, READONLY, WRITE, command
from slotmesh.node.types import geohash
from slotmesh.node.types.geohash import Point
from slotmesh.node.types.long_double import format_exact
from slotmesh.node.types.sorted_set import SortedSetValue

_UNITS: Final = {b"M": 1.0, b"KM": 1000.0, b"FT": 0.3048, b"MI": 1609.34}
_BAD_UNIT: Final = ErrorReply("ERR unsupported unit provided. please use M, KM, FT, MI")
_ZADD_OPTIONS: Final = (b"NX", b"XX", b"CH")


def parse_unit(text: bytes) -> float:
    """Metres per unit. Raises CommandError."""
    metres = _UNITS.get(text.upper())
    if metres is None:
        raise CommandError(_BAD_UNIT)
    return metres


def parse_point(lon_text: bytes, lat_text: bytes) -> Point:
    """A position. Raises CommandError when it is outside of the map."""
    lon, lat = floating(lon_text), floating(lat_text)
    if not (geohash.LON_MIN <= lon <= geohash.LON_MAX and geohash.LAT_MIN <= lat <= geohash.LAT_MAX):
        raise CommandError(f"ERR invalid longitude,latitude pair {lon:f},{lat:f}")
    return lon, lat


def read_positions(client: NodeClient, key: bytes) -> SortedSetValue | None:
    """The sorted set of a key. Raises WRONGTYPE."""
    return client.db.read_as(key, SortedSetValue)


def distance_text(metres: float, unit: float) -> bytes:
    """A distance with four digits behind the point."""
    return b"%.4f" % (round(metres / unit * 10_000) / 10_000)


def point_reply(client: NodeClient, point: Point) -> list[Any]:
    """A position as reply: all its digits, which a RESP3 double of ours would cut to 17."""
    texts = [format_exact(degrees) for degrees in point]
    return [Raw(b",%b\r\n" % text) for text in texts] if client.resp3 else list(texts)


@command(
    "geoadd",
    arity=-5,
    syntax="key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
    flags=WRITE | DENYOOM,
    keys=KEY_UPDATE,
    group="geo",
    since="3.2.0",
    complexity="O(log(N)) per member, N the size of the sorted set",
    summary="Stores members with their positions.",
)
def cmd_geoadd(client: NodeClient, argv: list[bytes]) -> Any:
    at = 2
    options = set()
    while at < len(argv) and argv[at].upper() in _ZADD_OPTIONS:
        options.add(argv[at].upper())
        at += 1
    if (len(argv) - at) % 3 or {b"NX", b"XX"} <= options:
        raise CommandError(errors.SYNTAX)
    zadd = [b"zadd", *argv[1:at]]
    for i in range(at, len(argv), 3):
        zadd += (b"%d" % geohash.encode(parse_point(argv[i], argv[i + 1])), argv[i + 2])
    dirty = client.db.keyspace.dirty
    result = cmd_zadd(client, zadd)
    if client.db.keyspace.dirty != dirty:
        client.propagate_as(zadd)
    return result


@command(
    "geopos",
    arity=-2,
    syntax="key [member [member ...]]",
    flags=READONLY,
    keys=KEY_READ,
    group="geo",
    since="3.2.0",
    complexity="O(1) per member",
    summary="Returns the longitude and latitude of members.",
)
def cmd_geopos(client: NodeClient, argv: list[bytes]) -> Any:
    return [
        NULL_ARRAY if score is None else point_reply(client, geohash.decode(score))
        for score in _scores(client, argv[1], argv[2:])
    ]


@command(
    "geohash",
    arity=-2,
    syntax="key [member [member ...]]",
    flags=READONLY,
    keys=KEY_READ,
    group="geo",
    since="3.2.0",
    complexity="O(1) per member",
    summary="Returns the positions of members as geohashes of 11 letters.",
)
def cmd_geohash(client: NodeClient, argv: list[bytes]) -> Any:
    return [None if score is None else geohash.text(score) for score in _scores(client, argv[1], argv[2:])]


def _scores(client: NodeClient, key: bytes, members: list[bytes]) -> list[float | None]:
    positions = read_positions(client, key)
    scores = {} if positions is None else positions.scores
    return [scores.get(member) for member in members]


@command(
    "geodist",
    arity=-4,
    syntax="key member1 member2 [M | KM | FT | MI]",
    flags=READONLY,
    keys=KEY_READ,
    group="geo",
    since="3.2.0",
    complexity="O(1)",
    summary="Returns the distance between two members.",
)
def cmd_geodist(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 5:
        raise CommandError(errors.SYNTAX)
    unit = parse_unit(argv[4]) if len(argv) == 5 else 1.0
    first, second = _scores(client, argv[1], argv[2:4])
    if first is None or second is None:
        return None
    metres = geohash.distance(geohash.decode(first), geohash.decode(second))
    assert math.isfinite(metres)
    return distance_text(metres, unit)
