"""String commands on stock and on ours: any sequence of them gets the same replies and leaves the same keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.histories import play_histories
from tests.support.processes import have_stock
from tests.support.twins import Twins, Within, running_twins

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

KEYS = ("a", "b", "c", "list", "hash")
INTEGERS = (
    "0",
    "1",
    "-1",
    "42",
    "-17",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "007",
    "1e3",
    "",
)
FLOATS = (
    "0.1",
    "3.0",
    "-2.5",
    "1e10",
    "5e-3",
    "0x10",
    "inf",
    "-inf",
    "nan",
    " 1",
    "1 ",
    "abc",
    "1.7976931348623157e308",
)
INDEXES = ("0", "1", "-1", "3", "-5", "100", "-100", "9223372036854775807", "-9223372036854775808", "x")
EXPIRIES = ("100", "0", "-1", "1000000", "abc", "9223372036854775807", "9223372036854775")

keys = st.sampled_from(KEYS)
integers = st.sampled_from(INTEGERS) | st.integers(-(10**6), 10**6).map(str)
floats = st.sampled_from(FLOATS) | st.floats(-1e6, 1e6).map(repr)
values = (
    integers
    | floats
    | st.binary(max_size=80)
    | st.sampled_from((b"x" * 44, b"x" * 45, b"\x00\r\n", b"ohmytext", b"mynewtext"))
)
indexes = st.sampled_from(INDEXES)
expiry = st.tuples(st.sampled_from(("EX", "px", "EXAT", "PxAt")), st.sampled_from(EXPIRIES) | st.just("99999999999"))


def flat(groups: Iterable[str | Sequence[str]]) -> list[str]:
    """Options, each a word or a tuple of words, as one list of words."""
    words: list[str] = []
    for group in groups:
        words += (group,) if isinstance(group, str) else group
    return words


set_options = st.lists(st.sampled_from(("NX", "xx", "GET", "KEEPTTL", "EX", "nonsense")) | expiry, max_size=3).map(flat)
getex_options = st.lists(st.just("PERSIST") | expiry, max_size=2).map(flat)
lcs_options = st.lists(
    st.sampled_from(
        ("IDX", "LEN", "WITHMATCHLEN", ("MINMATCHLEN", "2"), ("minmatchlen", "-1"), ("MINMATCHLEN", "x"), "?")
    ),
    max_size=3,
).map(flat)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("strings")) as pair:
        yield pair


class Strings(RuleBasedStateMachine):
    """One history of string commands. `twins` is set by the test."""

    twins: Twins

    @initialize(resp3=st.booleans())
    def start(self, resp3: bool) -> None:
        self.twins.both("HELLO", 3 if resp3 else 2)
        self.twins.ask("FLUSHALL")
        self.twins.ask("RPUSH", "list", "1")
        self.twins.ask("HSET", "hash", "f", "v")

    @rule(key=keys)
    def get(self, key: str) -> None:
        self.twins.ask("GET", key)
        self.twins.ask("STRLEN", key)

    @rule(key=keys, value=values, options=set_options)
    def set(self, key: str, value: str, options: list[str]) -> None:
        self.twins.ask("SET", key, value, *options)

    @rule(key=keys, value=values)
    def plain_set(self, key: str, value: str) -> None:
        self.twins.ask("SET", key, value)
        self.twins.ask("OBJECT", "ENCODING", key)

    @rule(key=keys, value=values, command=st.sampled_from(("SETNX", "GETSET", "APPEND")))
    def store(self, key: str, value: str, command: str) -> None:
        self.twins.ask(command, key, value)

    @rule(key=keys, value=values, seconds=st.sampled_from(EXPIRIES), command=st.sampled_from(("SETEX", "PSETEX")))
    def store_for(self, key: str, value: str, seconds: str, command: str) -> None:
        if not (command == "PSETEX" and seconds == "100"):  # gone before both were asked about it
            self.twins.ask(command, key, seconds, value)

    @rule(key=keys, options=getex_options)
    def getex(self, key: str, options: list[str]) -> None:
        if "px" not in options or "100" not in options:
            self.twins.ask("GETEX", key, *options)

    @rule(key=keys)
    def getdel(self, key: str) -> None:
        self.twins.ask("GETDEL", key)

    @rule(key=keys, command=st.sampled_from(("INCR", "decr")))
    def count(self, key: str, command: str) -> None:
        self.twins.ask(command, key)

    @rule(key=keys, amount=integers, command=st.sampled_from(("INCRBY", "DECRBY")))
    def count_by(self, key: str, amount: str, command: str) -> None:
        self.twins.ask(command, key, amount)

    @rule(key=keys, amount=floats | integers)
    def count_by_float(self, key: str, amount: str) -> None:
        self.twins.ask("INCRBYFLOAT", key, amount)

    @rule(key=keys, start=indexes, end=indexes, command=st.sampled_from(("GETRANGE", "SUBSTR")))
    def part(self, key: str, start: str, end: str, command: str) -> None:
        self.twins.ask(command, key, start, end)

    @rule(
        key=keys, offset=st.sampled_from(("0", "3", "60", "-1", "536870912", "9223372036854775807", "x")), value=values
    )
    def overwrite_part(self, key: str, offset: str, value: str) -> None:
        self.twins.ask("SETRANGE", key, offset, value)

    @rule(names=st.lists(keys | st.just("none"), min_size=1, max_size=4))
    def mget(self, names: list[str]) -> None:
        self.twins.ask("MGET", *names)

    @rule(words=st.lists(keys, min_size=1, max_size=5), command=st.sampled_from(("MSET", "MSETNX")))
    def mset(self, words: list[str], command: str) -> None:
        self.twins.ask(command, *words)

    @rule(first=keys, second=keys, options=lcs_options)
    def lcs(self, first: str, second: str, options: list[str]) -> None:
        self.twins.ask("LCS", first, second, *options)

    @rule(key=keys)
    def time_left(self, key: str) -> None:
        self.twins.ask("TTL", key, view=Within(1))

    def teardown(self) -> None:
        for key in KEYS:
            self.twins.same_key(key)
        self.twins.ask("DBSIZE")


def test_histories_of_string_commands_agree(twins: Twins) -> None:
    play_histories(Strings, twins)


@pytest.mark.parametrize(
    "text",
    [
        "0.1", "0.2", "0.30000000000000004", "1e-17", "1e17", "123456789.987654321", "-0.0", "5e-324", "1e308",
        "1e4000", "1e-4000", "1e5000", "3.141592653589793238462643383279", "0.5e1", ".5", "5.", "-.5", "+7", "1e",
        "0x1p4", "0x.8",
        "99999999999999999999.5", "1" * 100, "1" * 4400, "infinity", "-Inf", "", "-",
    ],
)  # fmt: skip
def test_incrbyfloat_of_odd_number_agrees(twins: Twins, text: str) -> None:
    twins.both("DEL", "n")
    twins.ask("INCRBYFLOAT", "n", text)
    twins.ask("INCRBYFLOAT", "n", "0.1")
    twins.ask("INCRBYFLOAT", "n", "-0.3")
    twins.ask("SET", "n", text)
    twins.ask("INCRBYFLOAT", "n", "1.5")
    twins.ask("GET", "n")
