"""Clients that wait: who is served, in which order, and with what, on stock and on ours."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import hiredis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from slotmesh.node.resp.encoder import encode_command
from tests.support.command_strategies import command, one_of, some
from tests.support.histories import play_histories
from tests.support.processes import have_stock
from tests.support.twins import Twins, running_twins, to_bytes

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

_CLIENTS = 4
_PATIENCE_S = 2.0

keys = one_of("a", "b", "c")
ends = one_of("LEFT", "RIGHT")
elements = some(one_of("x", "y", "1"), most=3)
ids = st.integers(1, 30).map("{}-1".format)
two_keys = st.tuples(st.just("2"), keys, keys)

#: `sorted` is made by SORT only: where it replaces a value of another type, stock forgets who waits for the key, so
#: that not even the next LPUSH wakes them; here that one does (docs/differences.md).
waits = st.one_of(
    command(one_of("BLPOP", "BRPOP"), "sorted", "0"),
    command(one_of("BLPOP", "BRPOP", "BZPOPMIN", "BZPOPMAX"), some(keys, most=3), "0"),
    command("BLMOVE", keys, keys, ends, ends, "0"),
    command("BRPOPLPUSH", keys, keys, "0"),
    command("BLMPOP", "0", two_keys, ends, one_of((), ("COUNT", "2"))),
    command("BZMPOP", "0", two_keys, one_of("MIN", "MAX"), one_of((), ("COUNT", "2"))),
    command("XREAD", "BLOCK", "0", "STREAMS", one_of("a", "b"), "$"),
    command("XREAD", "BLOCK", "0", "STREAMS", "a", "b", "$", ids),
    command("XREADGROUP", "GROUP", "g", one_of("c", "d"), "BLOCK", "0", one_of((), "NOACK"), "STREAMS", keys, ">"),
)
changes = st.one_of(
    command(one_of("LPUSH", "RPUSH"), keys, elements),
    command("ZADD", keys, one_of("1", "2"), one_of("x", "y"), "3", "z"),
    command("XADD", keys, ids, "f", "v"),
    command(one_of("DEL", "INCR", "LPOP", "ZPOPMIN"), keys),
    command("SET", keys, "text"),
    command("RENAME", keys, keys),
    command("COPY", keys, keys, "REPLACE"),
    command("SORT", keys, "BY", "nosort", "STORE", "sorted"),
    command("ZUNIONSTORE", keys, "1", keys),
    command("MOVE", keys, "1"),
    command("SWAPDB", "0", "1"),
    command("FLUSHDB"),
    command("XGROUP", "CREATE", keys, "g", one_of("$", "0"), "MKSTREAM"),
    command("XGROUP", "DESTROY", keys, "g"),
    command("EVAL", "redis.call('RPUSH', KEYS[1], 'e', 'f') return redis.call('LPOP', KEYS[1])", "1", keys),
    command("EVAL", "redis.call('DEL', KEYS[1]) return redis.call('ZADD', KEYS[1], 1, 'z')", "1", keys),
)


class _Crowd:
    """Several connections to one server, whose replies are gathered as they come."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._socks = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(_CLIENTS)
        ]
        self.heard = [b""] * _CLIENTS

    def say(self, who: int, words: tuple[str | bytes, ...]) -> None:
        self._socks[who].sendall(encode_command([to_bytes(word) for word in words]))

    def listen(self) -> None:
        """Take in what is there already."""
        for sock in select.select(self._socks, (), (), 0)[0]:
            who = self._socks.index(sock)
            self.heard[who] += sock.recv(1 << 16)


class Waiting(RuleBasedStateMachine):
    """One history of clients that wait and clients that write. `twins` is set by the test."""

    twins: Twins

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()

    @initialize(protocols=st.lists(one_of("2", "3"), min_size=_CLIENTS, max_size=_CLIENTS))
    def start(self, protocols: list[str]) -> None:
        self.twins.ask("FLUSHALL")
        self._crowds = [_Crowd(port, self._stack) for port in self.twins.ports]
        for crowd in self._crowds:
            for who, protocol in enumerate(protocols):
                crowd.say(who, ("HELLO", protocol))
        for crowd in self._crowds:
            while not all(heard and _complete(heard) for heard in crowd.heard):
                crowd.listen()
            crowd.heard = [b""] * _CLIENTS
        self._blocked = [False] * _CLIENTS

    @rule(who=st.integers(0, _CLIENTS - 1), words=waits | changes)
    def say(self, who: int, words: tuple[str | bytes, ...]) -> None:
        if not self._blocked[who]:
            self._step(who, words)

    @rule(who=st.integers(0, _CLIENTS - 1), several=st.lists(changes, min_size=2, max_size=3))
    def transaction(self, who: int, several: list[tuple[str | bytes, ...]]) -> None:
        if not self._blocked[who]:
            for words in (("MULTI",), *several, ("EXEC",)):
                self._step(who, words)

    def _step(self, who: int, words: tuple[str | bytes, ...]) -> None:
        """One client speaks; then both servers have said the same to everybody."""
        stock, ours = self._crowds
        for crowd in (stock, ours):
            crowd.say(who, words)
        self.twins.ask("PING")  # whoever answers this has run the command, and served whom it woke
        end = time.monotonic() + _PATIENCE_S
        while True:
            stock.listen()
            ours.listen()
            if (stock.heard == ours.heard and all(map(_complete, stock.heard))) or time.monotonic() > end:
                break
        assert ours.heard == stock.heard, f"client {who}: {words!r}"
        for listener, heard in enumerate(stock.heard):
            if heard:
                self._blocked[listener] = False
        self._blocked[who] = not stock.heard[who]
        stock.heard, ours.heard = [b""] * _CLIENTS, [b""] * _CLIENTS

    def teardown(self) -> None:
        self._stack.close()


def _complete(heard: bytes) -> bool:
    """Whether these are whole replies; what nobody heard is."""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    reader.feed(heard)
    while reader.has_data():
        if reader.gets() is Ellipsis:
            return False
    return True


def test_key_that_expires_ends_the_wait_for_it_though_nobody_sends_a_command(twins: Twins) -> None:
    story = ("FLUSHALL", "XADD s 1-1 f v", "XGROUP CREATE s g $", "PEXPIRE s 300")
    wait = "XREADGROUP GROUP g c BLOCK 0 STREAMS s >"
    heard = [[wire.call(words.split()) for words in (*story, wait)] for wire in (twins.stock, twins.ours)]
    assert heard[0][-1] == b"-UNBLOCKED the stream key no longer exists\r\n"
    assert heard[1] == heard[0]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("blocking")) as pair:
        yield pair


def test_clients_that_wait_hear_the_same(twins: Twins) -> None:
    play_histories(Waiting, twins)
