"""Generic commands on stock and on ours: deleting, naming, copying, expiry, listing, sorting, whole databases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.histories import play_histories
from tests.support.processes import have_stock
from tests.support.twins import Twins, Within, running_twins, unordered

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

KEYS = ("a", "b", "ab", "list", "set", "zset", "hash", "none")
PATTERNS = (
    "*",
    "a*",
    "?",
    "[ab]",
    "[^a]*",
    "l[h-k]st",
    "[z-a]*",
    "\\a",
    "*s*t",
    "[",
    "[a",
    "a\\",
    "**a**",
    "[]",
    "h[^]]sh",
)
CONDITIONS = ("NX", "xx", "GT", "lt", "nonsense")

keys = st.sampled_from(KEYS)
seconds = st.sampled_from(
    ("100", "1000", "0", "-1", "9223372036854775807", "-9223372036854775808", "9223372036854775", "x")
)
conditions = st.lists(st.sampled_from(CONDITIONS), max_size=2)
db_index = st.sampled_from(("0", "1", "9", "15", "16", "-1", "x", "9223372036854775808"))


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("keys")) as pair:
        yield pair


class Keys(RuleBasedStateMachine):
    """One history of generic commands. `twins` is set by the test."""

    twins: Twins

    @initialize(resp3=st.booleans())
    def start(self, resp3: bool) -> None:
        self.twins.both("HELLO", 3 if resp3 else 2)
        self.twins.ask("SELECT", 0)
        self.twins.ask("FLUSHALL")
        self.fill()

    @rule()
    def fill(self) -> None:
        ask = self.twins.ask
        ask("MSET", "a", "1", "b", "text")
        self.twins.both("RPUSH", "list", "3", "1", "2")
        self.twins.both("SADD", "set", "x", "y", "10")
        self.twins.both("ZADD", "zset", "2", "two", "1", "one")
        self.twins.both("HSET", "hash", "f", "v", "g", "w")

    @rule(names=st.lists(keys, min_size=1, max_size=4), command=st.sampled_from(("DEL", "UNLINK", "EXISTS", "TOUCH")))
    def several(self, names: list[str], command: str) -> None:
        self.twins.ask(command, *names)

    @rule(key=keys)
    def describe(self, key: str) -> None:
        self.twins.ask("TYPE", key)
        self.twins.ask("OBJECT", "ENCODING", key)
        # Not REFCOUNT: COPY makes stock's shared integers unshared (docs/differences.md).
        self.twins.ask("OBJECT", "FREQ", key)

    @rule(key=keys, other=keys, command=st.sampled_from(("RENAME", "RENAMENX")))
    def rename(self, key: str, other: str, command: str) -> None:
        self.twins.ask(command, key, other)

    @rule(key=keys, index=db_index)
    def move(self, key: str, index: str) -> None:
        self.twins.ask("MOVE", key, index)

    @rule(
        key=keys,
        other=keys,
        options=st.lists(st.sampled_from((("REPLACE",), ("DB", "1"), ("db", "16"), ("x",))), max_size=2),
    )
    def copy(self, key: str, other: str, options: list[tuple[str, ...]]) -> None:
        self.twins.ask("COPY", key, other, *(word for option in options for word in option))

    @rule(first=db_index, second=db_index)
    def swap(self, first: str, second: str) -> None:
        self.twins.ask("SWAPDB", first, second)

    @rule(index=st.sampled_from((0, 1)))
    def select(self, index: int) -> None:
        self.twins.ask("SELECT", index)

    @rule(words=st.sampled_from((("FLUSHDB",), ("FLUSHALL", "ASYNC"), ("flushdb", "sync"), ("FLUSHALL", "x"))))
    def flush(self, words: tuple[str, ...]) -> None:
        self.twins.ask(*words)

    @rule(key=keys, amount=seconds, words=conditions)
    def expire(self, key: str, amount: str, words: list[str]) -> None:
        self.twins.ask("EXPIRE", key, amount, *words)

    @rule(key=keys, amount=seconds, words=conditions)
    def pexpire(self, key: str, amount: str, words: list[str]) -> None:
        amount = {"100": "200000", "1000": "3000000"}.get(amount, amount)
        self.twins.ask("PEXPIRE", key, amount, *words)

    @rule(
        key=keys,
        amount=st.sampled_from((100, -100, 5000)),
        words=conditions,
        command=st.sampled_from(("EXPIREAT", "PEXPIREAT")),
    )
    def expire_at(self, key: str, amount: int, words: list[str], command: str) -> None:
        when = int(time.time()) + amount
        self.twins.ask(command, key, when * 1000 if command == "PEXPIREAT" else when, *words)
        self.twins.ask("EXPIRETIME", key, view=Within(1))

    @rule(key=keys)
    def time_left(self, key: str) -> None:
        self.twins.ask("TTL", key, view=Within(1))
        self.twins.ask("PTTL", key, view=Within(1000))
        self.twins.ask("PEXPIRETIME", key, view=Within(1000))

    @rule(key=keys)
    def persist(self, key: str) -> None:
        self.twins.ask("PERSIST", key)

    @rule(pattern=st.sampled_from(PATTERNS))
    def list_keys(self, pattern: str) -> None:
        self.twins.ask("KEYS", pattern, view=unordered)
        self.twins.ask("SCAN", "0", "COUNT", "1000", "MATCH", pattern, view=_keys_of_page)

    @rule(kind=st.sampled_from(("string", "LIST", "set", "zset", "hash", "stream", "nonsense")))
    def scan_type(self, kind: str) -> None:
        self.twins.ask("SCAN", "0", "COUNT", "1000", "TYPE", kind, view=_keys_of_page)

    @rule()
    def count(self) -> None:
        self.twins.ask("DBSIZE")

    def teardown(self) -> None:
        for index in (0, 1):
            self.twins.ask("SELECT", index)
            for key in KEYS:
                self.twins.same_key(key)
            self.twins.ask("DBSIZE")


def _keys_of_page(page: Any) -> Any:
    return unordered(page[1]) if isinstance(page, list) else page


def test_histories_of_generic_commands_agree(twins: Twins) -> None:
    play_histories(Keys, twins)


class Sorting(RuleBasedStateMachine):
    """SORT with every option on lists, sets and sorted sets."""

    twins: Twins

    @initialize(resp3=st.booleans())
    def start(self, resp3: bool) -> None:
        both = self.twins.both
        both("HELLO", 3 if resp3 else 2)
        both("SELECT", 0)
        both("FLUSHALL")
        both("RPUSH", "list", "3", "1", "2", "10", "1")
        both("SADD", "intset", "3", "1", "2", "10")
        both("RPUSH", "words", "b", "a", "", "10", "B", "a b")
        both("ZADD", "zset", "1", "30", "2", "20", "3", "10")
        both(
            "MSET",
            "w_1",
            "9",
            "w_2",
            "8",
            "w_10",
            "7",
            "w_a",
            "x",
            "w_b",
            "",
            "o_1",
            "obj1",
            "o_3",
            "obj3",
            "w_30",
            "1e3",
        )
        for element in ("1", "2", "a"):
            both("HSET", f"h_{element}", "f", f"field {element}", "n", f"{len(element)}")
        both("SET", "string", "x")

    @rule(
        key=st.sampled_from(("list", "intset", "words", "zset", "none", "string")),
        command=st.sampled_from(("SORT", "SORT_RO")),
        options=st.lists(
            st.sampled_from(
                (
                    ("ASC",), ("desc",), ("ALPHA",), ("LIMIT", "1", "2"), ("LIMIT", "-1", "-1"), ("LIMIT", "9", "1"),
                    ("LIMIT", "x", "1"), ("BY", "w_*"), ("BY", "nosort"), ("BY", "h_*->n"), ("GET", "o_*"),
                    ("GET", "#"), ("GET", "h_*->f"), ("GET", "nosuch"), ("GET", "h_*->"), ("STORE", "dst"),
                    ("LIMIT", "1"), ("x",),
                )
            ),
            max_size=4,
        ),
    )  # fmt: skip
    def sort(self, key: str, command: str, options: list[tuple[str, ...]]) -> None:
        words = [word for option in options for word in option]
        stores = "STORE" in words
        if key == "intset" and not stores and "nosort" in words:
            return  # the order of a set is nobody's promise
        if "ALPHA" in words and "BY" in words and (key != "list" or "LIMIT" in words):
            return  # where weights are equal, stock leaves the order to its hash tables or to a partial quicksort
        self.twins.ask(command, key, *words)
        if stores:
            self.twins.same_key("dst")


def test_sort_with_any_options_agrees(twins: Twins) -> None:
    play_histories(Sorting, twins, histories=30)


MALFORMED = (
    "SCAN x", "SCAN 18446744073709551615 COUNT 0", "SCAN 18446744073709551616", "SCAN 0 COUNT",
    "SCAN 0 MATCH", "SCAN 0 COUNT x", "SCAN 0 COUNT -5", "SCAN 0 TYPE", "SCAN 0 NOVALUES", "SCAN", "OBJECT",
    "OBJECT nosuch a", "OBJECT ENCODING", "OBJECT FREQ", "OBJECT IDLETIME nosuch", "EXPIRE a", "EXPIRE a 1 NX XX",
    "EXPIRE a 1 GT LT", "DBSIZE x", "KEYS", "RANDOMKEY x", "COPY a", "COPY a a", "COPY a b DB", "RENAME nosuch x",
    "RENAMENX nosuch nosuch", "SWAPDB 0", "SWAPDB a 0", "SWAPDB 0 b", "SWAPDB 0 99", "MOVE a 0", "TYPE", "SORT",
    "SORT a LIMIT 1", "SORT_RO list STORE x", "PERSIST", "TTL a b", "TOUCH", "DEL",
)  # fmt: skip


@pytest.mark.parametrize("words", MALFORMED)
def test_malformed_call_gets_the_same_error(twins: Twins, words: str) -> None:
    twins.both("SELECT", 0)
    twins.both("FLUSHALL")
    twins.both("SET", "a", "1")
    twins.both("RPUSH", "list", "1")
    twins.ask(*words.split())


def test_idle_time_of_fresh_key_is_zero(twins: Twins) -> None:
    twins.both("SET", "idle", "x")
    twins.ask("OBJECT", "IDLETIME", "idle", view=Within(1))
    twins.ask("OBJECT", "IDLETIME", "nosuch")
