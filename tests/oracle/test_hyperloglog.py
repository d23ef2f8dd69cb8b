"""HyperLogLog on stock and on ours: the same counts, and the same bytes after any history."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.histories import play_histories
from tests.support.processes import have_stock
from tests.support.twins import Twins, running_twins

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

KEYS = ("a", "b", "c", "none")

keys = st.sampled_from((*KEYS, "string", "list", "fake"))


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("hll"), "--hll-sparse-max-bytes", "300") as pair:
        yield pair


class HyperLogLogs(RuleBasedStateMachine):
    """One history, with a low limit of sparse values so that they become dense often. `twins` is set by the test."""

    twins: Twins

    @initialize()
    def start(self) -> None:
        self.twins.ask("FLUSHALL")
        self.twins.ask("SET", "string", "just text, longer than a header")
        self.twins.ask("SET", "fake", b"HYLL\x01\x00\x00\x00" + bytes(8) + b"\x7f\xfe")
        self.twins.ask("RPUSH", "list", "1")

    @rule(key=keys, elements=st.lists(st.binary(max_size=20), max_size=4))
    def add(self, key: str, elements: list[bytes]) -> None:
        if key != "fake" or elements:
            self.twins.ask("PFADD", key, *elements)

    @rule(key=st.sampled_from(KEYS), seed=st.integers(0, 10**6), count=st.sampled_from((10, 60, 200)))
    def add_many(self, key: str, seed: int, count: int) -> None:
        rng = random.Random(seed)
        self.twins.ask("PFADD", key, *(rng.randbytes(8) for _ in range(count)))

    @rule(names=st.lists(keys, min_size=1, max_size=3))
    def count(self, names: list[str]) -> None:
        self.twins.ask("PFCOUNT", *names)

    @rule(into=keys, sources=st.lists(keys, max_size=3))
    def merge(self, into: str, sources: list[str]) -> None:
        self.twins.ask("PFMERGE", into, *sources)

    @rule(key=keys, word=st.sampled_from(("encoding", "DECODE", "GETREG", "TODENSE", "nonsense")))
    def debug(self, key: str, word: str) -> None:
        if word in ("encoding", "DECODE") or key in KEYS:
            self.twins.ask("PFDEBUG", word, key)

    def teardown(self) -> None:
        for key in (*KEYS, "string", "fake"):
            self.twins.ask("GET", key)


def test_histories_of_hyperloglog_commands_leave_the_same_bytes(twins: Twins) -> None:
    play_histories(HyperLogLogs, twins, histories=40, commands=40)


def test_dump_of_hyperloglog_is_equal_and_restores_on_the_other_server(twins: Twins) -> None:
    twins.both("FLUSHALL")
    rng = random.Random(4)
    for size in (1, 100, 3000):
        twins.ask("PFADD", "h", *(rng.randbytes(8) for _ in range(size)))
        twins.ask("PFCOUNT", "h")
        payload = twins.ask("DUMP", "h")
        twins.ask("RESTORE", "copy", "0", payload, "REPLACE")
        twins.ask("PFCOUNT", "copy")
