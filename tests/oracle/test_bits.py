"""Bitmap commands on stock and on ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.histories import play_histories
from tests.support.processes import have_stock
from tests.support.twins import Twins, running_twins

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

KEYS = ("a", "b", "c", "list", "none")

keys = st.sampled_from(KEYS)
offsets = st.integers(0, 300).map(str) | st.sampled_from(("-1", "4294967296", "4294967295000", "x", "#3"))
indexes = st.integers(-40, 40).map(str) | st.sampled_from(("-1000", "1000", "x", "9223372036854775807"))
units = st.sampled_from(((), ("BIT",), ("byte",), ("x",)))
types = st.sampled_from(("u1", "i1", "u8", "i8", "u63", "i64", "i5", "u13", "u64", "i65", "u0", "8", "U8", "i", "i08"))
amounts = st.integers(-300, 300).map(str) | st.sampled_from(
    ("9223372036854775807", "-9223372036854775808", "9223372036854775808", "x")
)
operations = st.one_of(
    st.tuples(st.just("GET"), types, offsets),
    st.tuples(st.sampled_from(("SET", "incrby")), types, offsets.filter(lambda text: len(text) < 9), amounts),
    st.tuples(st.just("OVERFLOW"), st.sampled_from(("WRAP", "sat", "FAIL", "x"))),
    st.tuples(st.sampled_from(("GET", "x"))),
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("bits")) as pair:
        yield pair


class Bits(RuleBasedStateMachine):
    """One history of bitmap commands. `twins` is set by the test."""

    twins: Twins

    @initialize(resp3=st.booleans())
    def start(self, resp3: bool) -> None:
        self.twins.both("HELLO", 3 if resp3 else 2)
        self.twins.ask("FLUSHALL")
        self.twins.ask("RPUSH", "list", "1")

    @rule(key=keys, value=st.binary(max_size=40) | st.sampled_from((b"\xff" * 20, b"\x00" * 20, b"12345")))
    def set(self, key: str, value: bytes) -> None:
        self.twins.ask("SET", key, value)

    @rule(key=keys, offset=offsets, bit=st.sampled_from(("0", "1", "2", "-1", "x")))
    def setbit(self, key: str, offset: str, bit: str) -> None:
        if len(offset) < 10 or bit not in "01":
            self.twins.ask("SETBIT", key, offset, bit)

    @rule(key=keys, offset=offsets)
    def getbit(self, key: str, offset: str) -> None:
        self.twins.ask("GETBIT", key, offset)

    @rule(key=keys, start=indexes, end=indexes, unit=units)
    def count(self, key: str, start: str, end: str, unit: tuple[str, ...]) -> None:
        self.twins.ask("BITCOUNT", key)
        self.twins.ask("BITCOUNT", key, start)
        self.twins.ask("BITCOUNT", key, start, end, *unit)

    @rule(key=keys, bit=st.sampled_from(("0", "1", "2", "x")), start=indexes, end=indexes, unit=units)
    def find(self, key: str, bit: str, start: str, end: str, unit: tuple[str, ...]) -> None:
        self.twins.ask("BITPOS", key, bit)
        self.twins.ask("BITPOS", key, bit, start)
        self.twins.ask("BITPOS", key, bit, start, end, *unit)

    @rule(
        name=st.sampled_from(("AND", "or", "XOR", "NOT", "nonsense")),
        into=keys,
        sources=st.lists(keys, min_size=1, max_size=3),
    )
    def combine(self, name: str, into: str, sources: list[str]) -> None:
        self.twins.ask("BITOP", name, into, *sources)

    @rule(
        key=keys,
        words=st.lists(operations, max_size=5),
        command=st.sampled_from(("BITFIELD", "BITFIELD", "BITFIELD_RO")),
    )
    def field(self, key: str, words: list[tuple[str, ...]], command: str) -> None:
        self.twins.ask(command, key, *(word for operation in words for word in operation))

    def teardown(self) -> None:
        for key in KEYS:
            self.twins.same_key(key)
            self.twins.ask("OBJECT", "ENCODING", key)


def test_histories_of_bitmap_commands_agree(twins: Twins) -> None:
    play_histories(Bits, twins, histories=60)
