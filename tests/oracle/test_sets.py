"""Set commands on stock and on ours: any sequence of them gets the same replies and leaves the same keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.command_strategies import KEYS, command, integers, keys, maybe, members, one_of, some
from tests.support.histories import play_histories
from tests.support.processes import have_stock
from tests.support.twins import Twins, running_twins, unordered

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

numbers = st.integers(-50, 50).map(str)
limited = maybe(st.tuples(st.just("LIMIT"), integers), ("LIMIT",), "x")
exact = st.one_of(
    command("SADD", keys, some(members)),
    command("SADD", keys, some(numbers, most=10)),
    command("SREM", keys, some(members)),
    command("SREM", keys, some(numbers)),
    command("SMOVE", keys, keys, members),
    command("SISMEMBER", keys, members),
    command("SMISMEMBER", keys, some(members)),
    command("SCARD", keys),
    command(one_of("SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"), keys, some(keys, most=5)),
    command("SINTERCARD", one_of("1", "2", "3", "0", "x"), keys, keys, limited),
    command("SPOP", keys, one_of("x", "-1", ("1", "2"))),
    command("SRANDMEMBER", keys, one_of("x", "-9223372036854775808", ("1", "2"))),
    command("SSCAN", keys, one_of("x", "1x")),
    command(one_of("DEL", "EXISTS", "TYPE"), keys),
    command("OBJECT", "ENCODING", keys),
)
loose = st.one_of(
    command("SMEMBERS", keys),
    command(one_of("SINTER", "SUNION", "SDIFF"), some(keys)),
    command(one_of("SPOP", "SRANDMEMBER"), keys, one_of("0", "1000")),
)
scans = command("SSCAN", keys, "0", "COUNT", "1000", maybe(("MATCH", "[ab1]*"), ("COUNT", "0")))


def _page(value: Any) -> Any:
    """View: a page of SSCAN, its members in whatever order."""
    return [value[0], sorted(value[1])] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("sets"), "--set-max-intset-entries", "8") as pair:
        yield pair


class Sets(RuleBasedStateMachine):
    """One history of set commands. `twins` is set by the test."""

    twins: Twins

    @initialize(resp3=st.booleans())
    def start(self, resp3: bool) -> None:
        self.twins.both("HELLO", 3 if resp3 else 2)
        self.twins.ask("FLUSHALL")
        self.twins.ask("SET", "text", "x")

    @rule(words=exact)
    def ask(self, words: tuple[str | bytes, ...]) -> None:
        self.twins.ask(*words)

    @rule(words=loose)
    def ask_for_members(self, words: tuple[str | bytes, ...]) -> None:
        self.twins.ask(*words, view=unordered)

    @rule(words=scans)
    def scan(self, words: tuple[str | bytes, ...]) -> None:
        self.twins.ask(*words, view=_page)

    def teardown(self) -> None:
        for key in KEYS:
            self.twins.same_key(key)


def test_histories_of_set_commands_agree(twins: Twins) -> None:
    play_histories(Sets, twins)
