"""Hash commands on stock and on ours: any sequence of them gets the same replies and leaves the same keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.command_strategies import KEYS, command, floats, integers, keys, maybe, members, one_of, some
from tests.support.histories import play_histories
from tests.support.processes import have_stock
from tests.support.twins import Twins, running_twins, unordered

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

pairs = some(st.tuples(members, members), most=6)
exact = st.one_of(
    command(one_of("HSET", "hmset"), keys, pairs, maybe(members)),
    command("HSETNX", keys, members, members),
    command("HGET", keys, members),
    command("HMGET", keys, some(members)),
    command("HDEL", keys, some(members)),
    command(one_of("HLEN", "HGETALL", "TYPE", "HRANDFIELD"), one_of("never", "text")),
    command(one_of("HEXISTS", "HSTRLEN"), keys, members),
    command("HINCRBY", keys, members, integers),
    command("HINCRBYFLOAT", keys, members, floats),
    command("HLEN", keys),
    command("HRANDFIELD", keys, one_of("0", "x", "-9223372036854775808"), maybe("withvalues", "x")),
    command("HSCAN", keys, one_of("x", "1x"), maybe(("COUNT", "5"))),
    command("HSCAN", "never", "0", maybe("nonsense")),
    command("OBJECT", "ENCODING", keys),
    command(one_of("DEL", "EXISTS"), keys),
)
loose = st.one_of(
    command(one_of("HKEYS", "HVALS"), keys),
    command("HRANDFIELD", keys, "100"),
)
scans = command("HSCAN", keys, "0", "COUNT", "1000", maybe(("MATCH", "[ab1]*"), ("COUNT", "x"), ("MATCH",)))
flat_maps = st.one_of(command("HGETALL", keys), command("HRANDFIELD", keys, "100", "WITHVALUES"))


def _page(value: Any) -> Any:
    """View: a page of HSCAN as sorted pairs."""
    return [value[0], _as_pairs(value[1])] if isinstance(value, list) else value


def _as_pairs(value: Any) -> Any:
    """View: a map, flat or not, as sorted pairs."""
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list) and all(isinstance(item, list) for item in value):
        return sorted(map(tuple, value))
    return sorted(zip(value[::2], value[1::2], strict=True)) if isinstance(value, list) else value


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("hashes"), "--hash-max-listpack-entries", "8") as pair:
        yield pair


class Hashes(RuleBasedStateMachine):
    """One history of hash commands. `twins` is set by the test."""

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
    def ask_for_a_set(self, words: tuple[str | bytes, ...]) -> None:
        self.twins.ask(*words, view=unordered)

    @rule(words=flat_maps)
    def ask_for_a_map(self, words: tuple[str | bytes, ...]) -> None:
        self.twins.ask(*words, view=_as_pairs)

    @rule(words=scans)
    def scan(self, words: tuple[str | bytes, ...]) -> None:
        self.twins.ask(*words, view=_page)

    def teardown(self) -> None:
        for key in KEYS:
            self.twins.same_key(key)


def test_histories_of_hash_commands_agree(twins: Twins) -> None:
    play_histories(Hashes, twins)
