"""Stream commands on stock and on ours: any sequence of them gets the same replies and leaves the same keys."""

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

ids = st.builds("{}-{}".format, st.integers(0, 30), st.integers(0, 2))
odd_ids = one_of(
    "0", "1", "5", "20", "0-0", "x", "-", "5-", "-5", "1-1", "007", "18446744073709551615-18446744073709551614"
)
ends = one_of("-", "+", "0", "3", "(3", "5", "(5-1", "17", "(x", "(", "8-0", "(0-0")
fields = some(st.tuples(members, members), most=3)
groups = one_of("g", "h")
consumers = one_of("c", "d", "e")
counted = maybe(st.tuples(st.just("COUNT"), small), ("COUNT",), ("COUNT", "x"))
trimming = st.one_of(
    st.tuples(st.just("MAXLEN"), one_of("3", ("=", "2"), ("~", "2"), "0", "-1", "x")),
    st.tuples(st.just("MINID"), one_of("5", ("~", "12"), ("=", "7"), "x")),
    one_of(
        ("LIMIT", "3"), ("MAXLEN", "~", "2", "LIMIT", "1"), ("MAXLEN", "5", "LIMIT", "2"), ("MAXLEN", "2", "MINID", "3")
    ),
)

changes = st.one_of(
    command("XADD", keys, ids, fields),
    command("XADD", keys, ids, "field", members),
    command("XADD", keys, maybe(trimming, "NOMKSTREAM"), ids, fields),
    command("XADD", keys, maybe(trimming, "NOMKSTREAM"), odd_ids, fields, maybe(members)),
    command("XADD", keys, one_of("5-*", "20-*", "*-5"), fields),
    command("XDEL", keys, some(ids)),
    command("XTRIM", keys, trimming),
    command(
        "XSETID", keys, ids | odd_ids, maybe(st.tuples(st.just("ENTRIESADDED"), small), ("MAXDELETEDID", "3-0"), "x")
    ),
    command(
        "XGROUP", "CREATE", keys, groups, one_of("$", "0", "5-0", "x"), maybe("MKSTREAM", ("ENTRIESREAD", "2"), "x")
    ),
    command(
        "XGROUP", "SETID", keys, groups, one_of("$", "0", "5-0", "-"), maybe(st.tuples(st.just("ENTRIESREAD"), small))
    ),
    command("XGROUP", "DESTROY", keys, groups),
    command("XGROUP", one_of("CREATECONSUMER", "delconsumer"), keys, groups, consumers),
    command(
        "XREADGROUP",
        "GROUP",
        groups,
        consumers,
        maybe(("COUNT", "1"), "NOACK"),
        "STREAMS",
        keys,
        one_of(">", ">", "0", "5", "$"),
    ),
    command("XREADGROUP", "GROUP", groups, consumers, "COUNT", "2", "STREAMS", keys, keys, ">", one_of(">", "0")),
    command("XACK", keys, groups, some(ids)),
    command(
        "XCLAIM",
        keys,
        groups,
        consumers,
        one_of("0", "0", "1000000", "x"),
        some(ids),
        maybe("FORCE", "JUSTID", ("FORCE", "RETRYCOUNT", "5"), ("LASTID", "6"), "x", ("IDLE", "x")),
    ),
    command("XAUTOCLAIM", keys, groups, consumers, one_of("0", "0", "1000000", "x"), ends, maybe(counted, "JUSTID")),
    command("DEL", keys),
)
questions = st.one_of(
    command("XLEN", keys),
    command(one_of("XRANGE", "XREVRANGE"), keys, ends, ends, counted),
    command(
        "XREAD",
        maybe(("COUNT", "1"), ("BLOCK", "1"), ("BLOCK", "x"), "NOACK"),
        "STREAMS",
        keys,
        keys,
        ids,
        one_of("0", "$", ">"),
    ),
    command("XREAD", "STREAMS", keys, maybe("0")),
    command("XPENDING", keys, groups),
    command("XPENDING", keys, groups, maybe(("IDLE", "1000000")), ends, ends, integers, consumers),
    command("XINFO", one_of("STREAM", "GROUPS"), keys),
    command("XINFO", "STREAM", keys, one_of("x", ("FULL", "COUNT"))),
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("streams"), "--stream-node-max-entries", "3") as pair:
        yield pair


class Streams(RuleBasedStateMachine):
    """One history of stream commands. `twins` is set by the test."""

    twins: Twins

    @initialize(resp3=st.booleans())
    def start(self, resp3: bool) -> None:
        self.twins.both("HELLO", 3 if resp3 else 2)
        self.twins.ask("FLUSHALL")
        self.twins.ask("SET", "text", "x")
        for key in ("a", "b"):
            self.twins.ask("XGROUP", "CREATE", key, "g", "0", "MKSTREAM")

    @rule(words=changes)
    def change(self, words: tuple[str | bytes, ...]) -> None:
        self.twins.ask(*words)

    @rule(words=questions)
    def ask(self, words: tuple[str | bytes, ...]) -> None:
        self.twins.ask(*words)

    def teardown(self) -> None:
        for key in KEYS:
            if self.twins.ask("TYPE", key) != b"stream":
                self.twins.same_key(key)
                continue
            self.twins.ask("XRANGE", key, "-", "+")
            self.twins.ask("XINFO", "STREAM", key)
            self.twins.ask("XINFO", "GROUPS", key)
            for group in ("g", "h"):
                self.twins.ask("XPENDING", key, group)


def test_histories_of_stream_commands_agree(twins: Twins) -> None:
    play_histories(Streams, twins)
