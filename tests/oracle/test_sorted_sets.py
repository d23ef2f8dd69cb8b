"""Sorted set commands on stock and on ours: any sequence of them gets the same replies and leaves the same keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.command_strategies import (
    KEYS,
    command,
    floats,
    integers,
    keys,
    maybe,
    members,
    one_of,
    small,
    some,
)
from tests.support.histories import play_histories
from tests.support.processes import have_stock
from tests.support.twins import Twins, running_twins

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

#: Keys whose members all have the score 0: ranges by member mean nothing otherwise.
flat_keys = one_of("zero", "naught")
simple_scores = st.integers(-3, 5).map(str)
options = st.lists(st.sampled_from(("nx", "XX", "gt", "LT", "ch", "INCR")), max_size=2)
score_bounds = one_of("-inf", "+inf", "(1", "1", "2", "(2", "0", "x", "(", "", "(x", "1.5", "( 1", " 1", "nan")
lex_bounds = one_of("-", "+", "[a", "(b", "[c", "(", "[", "x", "[1", "(2")
limit = maybe(st.tuples(st.just("LIMIT"), small, small), ("LIMIT", "0"), ("limit", "x", "1"))
scored = maybe("WITHSCORES", "x")
counted = maybe(st.tuples(st.just("COUNT"), small), ("COUNT",), "x")
sources = st.tuples(one_of("1", "2", "2", "2", "3", "0", "x"), keys, keys)
combining = maybe(
    st.tuples(st.just("WEIGHTS"), floats, floats),
    st.tuples(st.just("AGGREGATE"), one_of("SUM", "min", "MAX", "x")),
    "WITHSCORES",
    ("WEIGHTS", "2", "3", "AGGREGATE", "MIN"),
    ("WEIGHTS", "1"),
    ("AGGREGATE",),
)
ends = one_of("MIN", "max", "MID")

changes = st.one_of(
    command("ZADD", keys, options, some(st.tuples(floats, members))),
    command("ZADD", keys, options, some(st.tuples(simple_scores, members), most=10)),
    command("ZADD", flat_keys, some(st.tuples(st.just("0"), members), most=10)),
    command("ZADD", keys, simple_scores, members),
    command("ZINCRBY", keys, floats, members),
    command("ZREM", keys, some(members)),
    command("ZRANGESTORE", keys, keys, small, small, maybe("REV", "WITHSCORES")),
    command("ZRANGESTORE", keys, keys, score_bounds, score_bounds, "BYSCORE", limit),
    command("ZRANGESTORE", flat_keys, flat_keys, lex_bounds, lex_bounds, "BYLEX", limit),
    command("ZREMRANGEBYRANK", keys, small, small),
    command("ZREMRANGEBYSCORE", keys, score_bounds, score_bounds),
    command("ZREMRANGEBYLEX", flat_keys, lex_bounds, lex_bounds),
    command(one_of("ZPOPMIN", "ZPOPMAX"), keys, maybe(small, integers, ("1", "2"))),
    command("ZMPOP", one_of("1", "2", "3", "0", "x"), keys, keys, ends, counted),
    command("BZMPOP", one_of("0.001", "x"), one_of("1", "2", "3", "0"), keys, keys, ends, counted),
    command(one_of("BZPOPMIN", "BZPOPMAX"), keys, keys, one_of("0.001", "-1", "x")),
    command(one_of("ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"), keys, sources, combining),
    command("SADD", keys, some(members)),
    command("DEL", keys),
)
questions = st.one_of(
    command("ZSCORE", keys, members),
    command("ZMSCORE", keys, some(members)),
    command("ZCARD", keys),
    command(one_of("ZRANK", "zrevrank"), keys, members),
    command("ZRANGE", keys, integers, integers, scored),
    command(
        "ZRANGE", keys, small, small, maybe("REV", ("REV", "WITHSCORES"), ("LIMIT", "0", "1"), ("limit", "0", "-1"))
    ),
    command("ZREVRANGE", keys, small, small, scored),
    command("ZRANGE", keys, score_bounds, score_bounds, "BYSCORE", maybe("REV", "WITHSCORES", "BYLEX"), limit),
    command("ZRANGE", flat_keys, lex_bounds, lex_bounds, "BYLEX", maybe("REV", "WITHSCORES"), limit),
    command(one_of("ZRANGEBYSCORE", "ZREVRANGEBYSCORE"), keys, score_bounds, score_bounds, scored, limit),
    command(one_of("ZRANGEBYLEX", "ZREVRANGEBYLEX"), flat_keys, lex_bounds, lex_bounds, limit),
    command("ZCOUNT", keys, score_bounds, score_bounds),
    command("ZLEXCOUNT", flat_keys, lex_bounds, lex_bounds),
    command(one_of("ZUNION", "ZINTER", "ZDIFF"), sources, combining),
    command("ZINTERCARD", sources, maybe(st.tuples(st.just("LIMIT"), integers), "LIMIT")),
    command("ZRANDMEMBER", keys, one_of("0", "x", "-9223372036854775808")),
    command("OBJECT", "ENCODING", keys),
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("sorted_sets"), "--zset-max-listpack-entries", "8") as pair:
        yield pair


class SortedSets(RuleBasedStateMachine):
    """One history of sorted set commands. `twins` is set by the test."""

    twins: Twins

    @initialize(resp3=st.booleans())
    def start(self, resp3: bool) -> None:
        self.twins.both("HELLO", 3 if resp3 else 2)
        self.twins.ask("FLUSHALL")
        self.twins.ask("SET", "text", "x")

    @rule(words=changes)
    def change(self, words: tuple[str | bytes, ...]) -> None:
        self.twins.ask(*words)

    @rule(words=questions)
    def ask(self, words: tuple[str | bytes, ...]) -> None:
        self.twins.ask(*words)

    def teardown(self) -> None:
        for key in (*KEYS, "zero", "naught"):
            self.twins.same_key(key)


def test_histories_of_sorted_set_commands_agree(twins: Twins) -> None:
    play_histories(SortedSets, twins)
