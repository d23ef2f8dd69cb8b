"""Geo commands on stock and on ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.histories import play_histories
from tests.support.processes import have_stock
from tests.support.twins import Twins, running_twins

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

MEMBERS = tuple(f"m{i}" for i in range(40))

members = st.sampled_from((*MEMBERS, "nobody"))
keys = st.sampled_from(("geo", "geo", "geo", "none", "string"))
longitudes = st.floats(-180, 180) | st.sampled_from((-180.0, 180.0, 0.0, 181.0))
latitudes = st.floats(-85, 85) | st.sampled_from((-85.05112878, 85.05112878, 0.0, 86.0))
lengths = st.floats(0, 2000) | st.floats(0, 20000) | st.sampled_from((0.0, -1.0, 1e9))
units = st.sampled_from(("m", "km", "FT", "mi", "km", "km", "parsec"))
options = st.lists(
    st.sampled_from(
        (
            ("WITHDIST",),
            ("withcoord",),
            ("WITHHASH",),
            ("ASC",),
            ("DESC",),
            ("COUNT", "3"),
            ("COUNT", "0"),
            ("ANY",),
            ("x",),
        )
    ),
    max_size=3,
).map(lambda groups: [word for group in groups for word in group])
targets = st.sampled_from(((), (), ("STORE", "dst"), ("STOREDIST", "dst"), ("STORE",)))
centers = st.one_of(
    st.tuples(st.just("FROMMEMBER"), members),
    st.tuples(st.just("FROMLONLAT"), longitudes.map(repr), latitudes.map(repr)),
)
shapes = st.one_of(
    st.tuples(st.just("BYRADIUS"), lengths.map(repr), units),
    st.tuples(st.just("BYBOX"), lengths.map(repr), lengths.map(repr), units),
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("geo")) as pair:
        yield pair


def _distances(reply: Any) -> Any:
    """View: how far the members found are, not which they are; errors and empty replies as they are."""
    if isinstance(reply, list) and reply and isinstance(reply[0], list) and isinstance(reply[0][1], bytes):
        return [item[1] for item in reply]
    return len(reply) if isinstance(reply, list) else reply


class Geo(RuleBasedStateMachine):
    """One history of geo commands. `twins` is set by the test."""

    twins: Twins

    def ask(self, *words: str) -> None:
        """A search. Which of several members at one distance a COUNT leaves out is open (a partial quicksort)."""
        if "COUNT" in words:
            self.twins.ask(*("cut" if word == "dst" else word for word in words), view=_distances)
            return
        self.twins.ask(*words)
        if "dst" in words:
            self.twins.same_key("dst")

    @initialize(resp3=st.booleans(), places=st.lists(st.tuples(longitudes, latitudes), max_size=40, unique=True))
    def start(self, resp3: bool, places: list[tuple[float, float]]) -> None:
        self.twins.both("HELLO", 3 if resp3 else 2)
        self.twins.ask("FLUSHALL")
        self.twins.ask("SET", "string", "x")
        for member, (longitude, latitude) in zip(MEMBERS, places, strict=False):
            self.twins.ask("GEOADD", "geo", repr(longitude), repr(latitude), member)

    @rule(
        words=st.lists(st.sampled_from(("NX", "xx", "CH", "x")), max_size=2),
        places=st.lists(st.tuples(longitudes.map(repr), latitudes.map(repr), members), min_size=1, max_size=3),
    )
    def add(self, words: list[str], places: list[tuple[str, str, str]]) -> None:
        self.twins.ask("GEOADD", "geo", *words, *(word for place in places for word in place))

    @rule(key=keys, names=st.lists(members, max_size=3), command=st.sampled_from(("GEOPOS", "GEOHASH")))
    def positions(self, key: str, names: list[str], command: str) -> None:
        self.twins.ask(command, key, *names)

    @rule(key=keys, first=members, second=members, unit=units)
    def distance(self, key: str, first: str, second: str, unit: str) -> None:
        self.twins.ask("GEODIST", key, first, second, unit)
        self.twins.ask("GEODIST", key, first, second)

    @rule(key=keys, longitude=longitudes, latitude=latitudes, radius=lengths, unit=units, words=options, into=targets)
    def around_point(
        self,
        key: str,
        longitude: float,
        latitude: float,
        radius: float,
        unit: str,
        words: list[str],
        into: tuple[str, ...],
    ) -> None:
        self.ask("GEORADIUS", key, repr(longitude), repr(latitude), repr(radius), unit, *words, *into)
        self.ask("GEORADIUS_RO", key, repr(longitude), repr(latitude), repr(radius), unit, *words, *into)

    @rule(key=keys, member=members, radius=lengths, unit=units, words=options, into=targets)
    def around_member(
        self, key: str, member: str, radius: float, unit: str, words: list[str], into: tuple[str, ...]
    ) -> None:
        self.ask("GEORADIUSBYMEMBER", key, member, repr(radius), unit, *words, *into)
        self.ask("GEORADIUSBYMEMBER_RO", key, member, repr(radius), unit, *words, *into)

    @rule(key=keys, center=centers, shape=shapes, words=options)
    def search(self, key: str, center: tuple[str, ...], shape: tuple[str, ...], words: list[str]) -> None:
        self.ask("GEOSEARCH", key, *center, *shape, *words)
        self.ask("geosearch", key, *words, *shape, *center)

    @rule(key=keys, center=centers, shape=shapes, words=options, distances=st.booleans())
    def search_store(
        self, key: str, center: tuple[str, ...], shape: tuple[str, ...], words: list[str], distances: bool
    ) -> None:
        self.ask("GEOSEARCHSTORE", "dst", key, *center, *shape, *words, *(["STOREDIST"] if distances else []))


def test_histories_of_geo_commands_agree(twins: Twins) -> None:
    play_histories(Geo, twins, histories=40)
