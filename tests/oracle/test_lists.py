"""List commands on stock and on ours: any sequence of them gets the same replies and leaves the same keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.command_strategies import KEYS, command, integers, keys, maybe, members, one_of, small, some
from tests.support.histories import play_histories
from tests.support.processes import have_stock
from tests.support.twins import Twins, running_twins

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

sides = one_of("LEFT", "right", "RIGHT", "up")
counted = maybe(st.tuples(st.just("COUNT"), small), ("COUNT",), ("COUNT", "2", "COUNT", "3"), "x")
# stock takes a rank without a negative counterpart and then overflows; ours refuses it
ranks = integers.filter(lambda text: text != "-9223372036854775808")
positions = maybe(
    st.tuples(st.just("RANK"), ranks),
    st.tuples(st.just("COUNT"), integers),
    st.tuples(st.just("MAXLEN"), integers),
    st.tuples(st.just("rank"), small, st.just("COUNT"), small),
    st.tuples(st.just("RANK"), small, st.just("COUNT"), st.just("0"), st.just("MAXLEN"), small),
    "RANK",
)
number_of_keys = one_of("1", "2", "2", "3", "0", "x")

commands = st.one_of(
    command(one_of("LPUSH", "RPUSH", "lpushx", "RPUSHX"), keys, some(members)),
    command(one_of("LPUSH", "RPUSH"), keys, some(members)),
    command(one_of("LPOP", "RPOP"), keys, maybe(small, integers, ("1", "2"))),
    command("LLEN", keys),
    command("LRANGE", keys, integers, integers),
    command("LTRIM", keys, small, small),
    command("LTRIM", keys, integers, integers),
    command("LINDEX", keys, integers),
    command("LSET", keys, integers, members),
    command("LSET", keys, small, members),
    command("LINSERT", keys, one_of("before", "AFTER", "x"), members, members),
    command("LREM", keys, integers, members),
    command("LPOS", keys, members, positions),
    command("LMOVE", keys, keys, sides, sides),
    command("RPOPLPUSH", keys, keys),
    command("LMPOP", number_of_keys, keys, keys, sides, counted),
    command(one_of("BLPOP", "BRPOP"), keys, keys, one_of("0.001", "x", "-1")),
    command("BLMOVE", keys, keys, sides, sides, one_of("0.001", "x", "-1")),
    command("BRPOPLPUSH", keys, keys, "0.001"),
    command("BLMPOP", one_of("0.001", "x", "-1"), number_of_keys, keys, keys, sides, counted),
    command(one_of("DEL", "EXISTS", "TYPE"), keys),
    command("OBJECT", "ENCODING", keys),
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("lists")) as pair:
        yield pair


class Lists(RuleBasedStateMachine):
    """One history of list commands. `twins` is set by the test."""

    twins: Twins

    @initialize(resp3=st.booleans())
    def start(self, resp3: bool) -> None:
        self.twins.both("HELLO", 3 if resp3 else 2)
        self.twins.ask("FLUSHALL")
        self.twins.ask("SET", "text", "x")

    @rule(words=commands)
    def ask(self, words: tuple[str | bytes, ...]) -> None:
        self.twins.ask(*words)

    def teardown(self) -> None:
        for key in KEYS:
            self.twins.same_key(key)


def test_histories_of_list_commands_agree(twins: Twins) -> None:
    play_histories(Lists, twins)
