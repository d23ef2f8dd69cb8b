"""Searching positions: GEOSEARCH and its older forms, which differ in their arguments only."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.geo import distance_text, parse_point, parse_unit, point_reply, read_positions
from slotmesh.node.keyspace.notify import GENERIC, ZSET
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.arguments import floating, integer
from slotmesh.node.spec.key_specs import KEY_READ, KeySpec, key_at
from slotmesh.node.spec.registry import DENYOOM, READONLY, WRITE, command
from slotmesh.node.types import geohash
from slotmesh.node.types.geohash import Circle, Point, Polygon, Rectangle, Shape
from slotmesh.node.types.sorted_set import SortedSetValue

Found = tuple[float, float, bytes, Point]
"""(distance in metres, score, member, position)."""

_NO_POSITION: Final = ErrorReply("ERR could not decode requested zset member")
_MIN_VERTICES: Final = 3


class _Search:
    """The arguments of a search, whichever command they came with."""

    __slots__ = (
        "any",
        "center",
        "count",
        "order",
        "positions",
        "shape",
        "store",
        "store_distances",
        "unit",
        "with_coord",
        "with_dist",
        "with_hash",
    )

    def __init__(self, positions: SortedSetValue | None) -> None:
        self.positions = positions
        self.center: Point | None = None
        self.shape: Shape | None = None
        self.unit = 1.0
        self.count = 0
        self.any = False
        self.order: bytes | None = None
        self.with_dist = self.with_hash = self.with_coord = False
        self.store: bytes | None = None
        self.store_distances = False

    def take_common(self, argv: list[bytes], i: int) -> int:
        """Take an option that all forms know; its number of arguments, 0 when it is none of those."""
        word = argv[i].upper()
        if word == b"WITHDIST":
            self.with_dist = True
        elif word == b"WITHHASH":
            self.with_hash = True
        elif word == b"WITHCOORD":
            self.with_coord = True
        elif word == b"ANY":
            self.any = True
        elif word in (b"ASC", b"DESC"):
            self.order = word
        elif word == b"COUNT" and i + 1 < len(argv):
            self.count = integer(argv[i + 1])
            if self.count <= 0:
                raise CommandError("ERR COUNT must be > 0")
            return 2
        else:
            return 0
        return 1

    def position_of(self, member: bytes) -> Point:
        """Where a member is. Raises CommandError; any place will do when there is no source, as nothing is searched."""
        if self.positions is None:
            return 0.0, 0.0
        score = self.positions.scores.get(member)
        if score is None:
            raise CommandError(_NO_POSITION)
        return geohash.decode(score)

    def check(self, store_name: str) -> None:
        """Options that exclude each other. Raises CommandError."""
        if self.store is not None and (self.with_dist or self.with_hash or self.with_coord):
            raise CommandError(f"ERR {store_name} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")

    def run(self, client: NodeClient, event: bytes) -> Any:
        """Search, and reply or store."""
        if self.any and not self.count:
            raise CommandError("ERR the ANY argument requires COUNT argument")
        found = self._find()
        if self.store is not None:
            return self._store(client, found, event)
        if not (self.with_dist or self.with_hash or self.with_coord):
            return [member for _, _, member, _ in found]
        return [self._item(client, item) for item in found]

    def _find(self) -> list[Found]:
        positions, shape = self.positions, self.shape
        if positions is None:
            return []
        assert shape is not None
        enough = self.count if self.any else 0
        found: list[Found] = []
        for low, high in geohash.areas(shape):
            if enough and len(found) >= enough:
                break
            for score, member in positions.slice(positions.first_from(low), positions.first_from(high)):
                point = geohash.decode(score)
                metres = shape.distance_inside(point)
                if metres is None:
                    continue
                found.append((metres, score, member, point))
                if enough and len(found) >= enough:
                    break
        # A count without an order would be arbitrary: the nearest ones then, unless any will do.
        if self.order or (self.count and not self.any):
            found.sort(key=_by_distance, reverse=self.order == b"DESC")
        return found[: self.count] if self.count else found

    def _item(self, client: NodeClient, item: Found) -> list[Any]:
        metres, score, member, point = item
        reply: list[Any] = [member]
        if self.with_dist:
            reply.append(distance_text(metres, self.unit))
        if self.with_hash:
            reply.append(int(score))
        if self.with_coord:
            reply.append(point_reply(client, point))
        return reply

    def _store(self, client: NodeClient, found: Sequence[Found], event: bytes) -> int:
        db, key = client.db, self.store
        assert key is not None
        if found:
            by_distance = self.store_distances
            scores = {member: metres / self.unit if by_distance else score for metres, score, member, _ in found}
            db.set(key, SortedSetValue(scores))
            db.changed(key, ZSET, event, len(found))
        elif db.delete(key):
            db.changed(key, GENERIC, b"del")
        return len(found)


def _by_distance(item: Found) -> float:
    return item[0]


def _radius(search: _Search, text: bytes, unit: bytes) -> float:
    """A radius in metres; notes the unit. Raises CommandError."""
    radius = floating(text, ErrorReply("ERR need numeric radius"))
    if radius < 0:
        raise CommandError("ERR radius cannot be negative")
    search.unit = parse_unit(unit)
    return radius * search.unit


# -- GEORADIUS and GEORADIUSBYMEMBER
# -------------------------------------------------------------------------------------


def _radius_search(client: NodeClient, argv: list[bytes], *, by_member: bool, may_store: bool) -> Any:
    search = _Search(read_positions(client, argv[1]))
    at = 5 if by_member else 6
    if by_member:
        if search.positions is not None:
            center = search.position_of(argv[2])
            search.shape = Circle(center, _radius(search, argv[3], argv[4]))
    else:
        center = parse_point(argv[2], argv[3])
        search.shape = Circle(center, _radius(search, argv[4], argv[5]))
    while at < len(argv):
        taken = search.take_common(argv, at)
        if not taken:
            word = argv[at].upper()
            if word not in (b"STORE", b"STOREDIST") or not may_store or at + 1 == len(argv):
                raise CommandError(errors.SYNTAX)
            search.store = argv[at + 1]
            search.store_distances = word == b"STOREDIST"
            taken = 2
        at += taken
    search.check("STORE option in GEORADIUS")
    return search.run(client, b"georadiusstore")


def _radius_keys(options_at: int) -> tuple[KeySpec, ...]:
    """The source, and the target of STORE or STOREDIST."""
    return key_at(b"RO", b"ACCESS") + tuple(
        KeySpec((b"OW", b"UPDATE"), ("keyword", word, options_at), ("range", 0, 1, 0))
        for word in (b"STORE", b"STOREDIST")
    )


def _find_radius_keys(options_at: int, argv: list[bytes]) -> list[int]:
    """The source and the last target named."""
    target = 0
    for i in range(options_at, len(argv) - 1):
        if argv[i].upper() in (b"STORE", b"STOREDIST"):
            target = i + 1
    return [1, target] if target else [1]


def _find_georadius_keys(argv: list[bytes]) -> list[int]:
    return _find_radius_keys(5, argv)


_RADIUS_COMPLEXITY: Final = "O(N+log(M)), N the members in the squares around the circle, M those inside it"


@command(
    "georadius",
    arity=-6,
    syntax=(
        "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT "
        "count [ANY]] [ASC | DESC] [STORE key] [STOREDIST key]"
    ),
    flags=WRITE | DENYOOM,
    keys=_radius_keys(6),
    find_keys=_find_georadius_keys,
    group="geo",
    since="3.2.0",
    complexity=_RADIUS_COMPLEXITY,
    summary="Finds or stores the members within a distance of a position.",
    deprecated=("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"),
)
def cmd_georadius(client: NodeClient, argv: list[bytes]) -> Any:
    return _radius_search(client, argv, by_member=False, may_store=True)


@command(
    "georadius_ro",
    arity=-6,
    syntax=(
        "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT "
        "count [ANY]] [ASC | DESC]"
    ),
    flags=READONLY,
    keys=KEY_READ,
    group="geo",
    since="3.2.10",
    complexity=_RADIUS_COMPLEXITY,
    summary="Finds the members within a distance of a position.",
    deprecated=("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument"),
)
def cmd_georadius_ro(client: NodeClient, argv: list[bytes]) -> Any:
    return _radius_search(client, argv, by_member=False, may_store=False)


@command(
    "georadiusbymember",
    arity=-5,
    syntax=(
        "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] "
        "[ASC | DESC] [STORE key] [STOREDIST key]"
    ),
    flags=WRITE | DENYOOM,
    keys=_radius_keys(5),
    find_keys=_find_georadius_keys,
    group="geo",
    since="3.2.0",
    complexity=_RADIUS_COMPLEXITY,
    summary="Finds or stores the members within a distance of a member.",
    deprecated=("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments"),
)
def cmd_georadiusbymember(client: NodeClient, argv: list[bytes]) -> Any:
    return _radius_search(client, argv, by_member=True, may_store=True)


@command(
    "georadiusbymember_ro",
    arity=-5,
    syntax="key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
    flags=READONLY,
    keys=KEY_READ,
    group="geo",
    since="3.2.10",
    complexity=_RADIUS_COMPLEXITY,
    summary="Finds the members within a distance of a member.",
    deprecated=("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"),
)
def cmd_georadiusbymember_ro(client: NodeClient, argv: list[bytes]) -> Any:
    return _radius_search(client, argv, by_member=True, may_store=False)


# -- GEOSEARCH
# -----------------------------------------------------------------------------------------------------------


class _Area:
    """FROM and BY of a GEOSEARCH, which may come in any order; the shape is made once both are known."""

    __slots__ = ("box", "from_member", "from_point", "radius_m", "vertices")

    def __init__(self) -> None:
        self.from_member = self.from_point = False
        self.radius_m: float | None = None
        self.box: tuple[float, float] | None = None
        self.vertices: list[Point] | None = None

    def take(self, search: _Search, argv: list[bytes], i: int) -> int:
        """Take a FROM or BY option; its number of arguments. Raises CommandError."""
        word, left = argv[i].upper(), len(argv) - i - 1
        if word == b"FROMMEMBER" and left >= 1 and not self.from_point:
            search.center = search.position_of(argv[i + 1])
            self.from_member = True
            return 2
        if word == b"FROMLONLAT" and left >= 2 and not self.from_member:
            search.center = parse_point(argv[i + 1], argv[i + 2])
            self.from_point = True
            return 3
        if word == b"BYRADIUS" and left >= 2 and self.box is None and self.vertices is None:
            self.radius_m = _radius(search, argv[i + 1], argv[i + 2])
            return 3
        if word == b"BYBOX" and left >= 3 and self.radius_m is None and self.vertices is None:
            width = floating(argv[i + 1], ErrorReply("ERR need numeric width"))
            height = floating(argv[i + 2], ErrorReply("ERR need numeric height"))
            if width < 0 or height < 0:
                raise CommandError("ERR height or width cannot be negative")
            search.unit = parse_unit(argv[i + 3])
            self.box = width, height
            return 4
        if word == b"BYPOLYGON" and left >= 1 and self.radius_m is None and self.box is None:
            count = integer(argv[i + 1])
            if count < _MIN_VERTICES:
                raise CommandError("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices")
            if left < 1 + 2 * count:
                raise CommandError(errors.SYNTAX)
            ends = range(i + 2, i + 2 + 2 * count, 2)
            self.vertices = [parse_point(argv[j], argv[j + 1]) for j in ends]
            return 2 + 2 * count
        raise CommandError(errors.SYNTAX)

    def shape(self, search: _Search, name: bytes) -> Shape:
        """The finished shape. Raises CommandError when something is missing."""
        if self.vertices is not None:
            if self.from_member or self.from_point:
                raise CommandError(errors.SYNTAX)  # a polygon is where it is
            return Polygon(self.vertices)
        if search.center is None:
            raise CommandError(b"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for %b" % name)
        if self.radius_m is not None:
            return Circle(search.center, self.radius_m)
        if self.box is not None:
            width, height = self.box
            reach = sqrt((width / 2) * (width / 2) + (height / 2) * (height / 2)) * search.unit
            return Rectangle(search.center, width * search.unit, height * search.unit, reach)
        raise CommandError(b"ERR exactly one of BYRADIUS and BYBOX can be specified for %b" % name)


def _area_search(client: NodeClient, argv: list[bytes], source: bytes, target: bytes | None) -> Any:
    search = _Search(read_positions(client, source))
    search.store = target
    area = _Area()
    at = 2 if target is None else 3
    while at < len(argv):
        if target is not None and argv[at].upper() == b"STOREDIST":
            search.store_distances = True
            at += 1
            continue
        at += search.take_common(argv, at) or area.take(search, argv, at)
    search.check("GEOSEARCHSTORE")
    search.shape = area.shape(search, argv[0])
    return search.run(client, b"geosearchstore")


@command(
    "geosearch",
    arity=-7,
    syntax=(
        "key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> "
        "| BYBOX width height <M | KM | FT | MI> | BYPOLYGON vertices(integer) longitude latitude "
        "[longitude latitude ...]> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]"
    ),
    flags=READONLY,
    keys=KEY_READ,
    group="geo",
    since="6.2.0",
    complexity="O(N+log(M)), N the members in the squares around the shape, M those inside it",
    summary="Finds the members inside a circle, a box or a polygon.",
)
def cmd_geosearch(client: NodeClient, argv: list[bytes]) -> Any:
    return _area_search(client, argv, argv[1], None)


@command(
    "geosearchstore",
    arity=-8,
    syntax=(
        "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | "
        "KM | FT | MI> | BYBOX width height <M | KM | FT | MI> | BYPOLYGON vertices(integer) longitude "
        "latitude [longitude latitude ...]> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]"
    ),
    flags=WRITE | DENYOOM,
    keys=key_at(b"OW", b"UPDATE") + key_at(b"RO", b"ACCESS", index=2),
    group="geo",
    since="6.2.0",
    complexity="O(N+log(M)), N the members in the squares around the shape, M those inside it",
    summary="Stores the members inside a circle, a box or a polygon in another key.",
)
def cmd_geosearchstore(client: NodeClient, argv: list[bytes]) -> Any:
    return _area_search(client, argv, argv[2], argv[1])
