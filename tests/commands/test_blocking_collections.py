"""Blocking commands: who is served, with what, in which order; timeouts; what a waiting client does not wake for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.inprocess import InProcessClient, InProcessNode
from tests.tables.support import NULL_ARRAY, array, bulk, number, texts


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def _waiting(node: InProcessNode, line: str) -> InProcessClient:
    """A client that sent a command and must wait."""
    waiting = node.client()
    assert waiting.raw(*line.split()) == b""
    return waiting


#: blocking command, what wakes it, its reply
WAKING: tuple[tuple[str, str, bytes], ...] = (
    ("BLPOP none l 0", "RPUSH l a b", texts("l", "a")),
    ("BRPOP l 0", "RPUSH l a b", texts("l", "b")),
    ("BLMPOP 0 2 none l RIGHT COUNT 2", "RPUSH l a b c", array(bulk("l"), texts("c", "b"))),
    ("BLMOVE l m LEFT RIGHT 0", "RPUSH l a b", bulk("a")),
    ("BRPOPLPUSH l m 0", "RPUSH l a b", bulk("b")),
    ("BLMOVEM l m LEFT LEFT 0", "RPUSH l a b", texts("a")),
    ("BLMOVEM l m LEFT LEFT 0 COUNT 3 OBO", "RPUSH l a b", texts("b", "a")),
    ("BLMOVEM l m RIGHT LEFT 0 EXACTLY 2 BULK", "RPUSH l a b c", texts("b", "c")),
    ("BZPOPMIN z 0", "ZADD z 2 b 1 a", texts("z", "a", "1")),
    ("BZPOPMAX none z 0", "ZADD z 2 b 1 a", texts("z", "b", "2")),
    ("BZMPOP 0 1 z MIN COUNT 2", "ZADD z 2 b 1 a", array(bulk("z"), array(texts("a", "1"), texts("b", "2")))),
    ("XREAD BLOCK 0 STREAMS s $", "XADD s 5 f v", array(array(bulk("s"), array(array(bulk("5-0"), texts("f", "v")))))),
    ("BLPOP l 0", "LPUSH l a", texts("l", "a")),
    ("BLPOP d 0", "COPY some d", texts("d", "x")),
    ("BLPOP d 0", "RENAME some d", texts("d", "x")),
    ("BLPOP d 0", "SORT some BY nosort STORE d", texts("d", "x")),
    ("BLPOP d 0", "LMOVE some d LEFT LEFT", texts("d", "x")),
    ("BZPOPMIN d 0", "ZUNIONSTORE d 1 scores", texts("d", "m", "1")),
    ("BZPOPMIN d 0", "ZRANGESTORE d scores 0 -1", texts("d", "m", "1")),
    ("BZPOPMIN d 0", "GEOADD d 0 0 m", texts("d", "m", "3377699720527872")),
)


@pytest.mark.parametrize(("command", "waker", "reply"), WAKING, ids=[f"{row[0]} < {row[1]}" for row in WAKING])
def test_waiting_client_is_served_by_a_write(
    node: InProcessNode, client: InProcessClient, command: str, waker: str, reply: bytes
) -> None:
    client.call("RPUSH", "some", "x")
    client.call("ZADD", "scores", "1", "m")
    waiting = _waiting(node, command)
    client.call(*waker.split())
    assert waiting.received() == reply
    assert waiting.raw("ECHO", "next") == bulk("next")


#: blocking command, the reply of its timeout
TIMEOUTS: tuple[tuple[str, bytes], ...] = (
    ("BLPOP l 0.1", NULL_ARRAY),
    ("BRPOP l 0.1", NULL_ARRAY),
    ("BLMPOP 0.1 1 l LEFT", NULL_ARRAY),
    ("BLMOVE l m LEFT LEFT 0.1", NULL_ARRAY),
    ("BRPOPLPUSH l m 0.1", NULL_ARRAY),
    ("BLMOVEM l m LEFT LEFT 0.1", NULL_ARRAY),
    ("BLMOVEM l m LEFT LEFT 0.1 EXACTLY 2 OBO", NULL_ARRAY),
    ("BZPOPMIN z 0.1", NULL_ARRAY),
    ("BZPOPMAX z 0.1", NULL_ARRAY),
    ("BZMPOP 0.1 1 z MIN", NULL_ARRAY),
    ("XREAD BLOCK 100 STREAMS s 0", NULL_ARRAY),
    ("XREADGROUP GROUP g c BLOCK 100 STREAMS grouped >", NULL_ARRAY),
)


@pytest.mark.parametrize(("command", "reply"), TIMEOUTS, ids=[row[0] for row in TIMEOUTS])
def test_waiting_client_is_answered_after_its_timeout(
    node: InProcessNode, client: InProcessClient, command: str, reply: bytes
) -> None:
    client.call("XGROUP", "CREATE", "grouped", "g", "$", "MKSTREAM")
    waiting = _waiting(node, command)
    node.advance(99)
    assert waiting.received() == b""
    node.advance(2)
    assert waiting.received() == reply


def test_waiting_clients_are_served_longest_wait_first(node: InProcessNode, client: InProcessClient) -> None:
    first, second, third = (_waiting(node, "BLPOP l 0") for _ in range(3))
    client.call("RPUSH", "l", "a", "b")
    assert first.received() == texts("l", "a")
    assert second.received() == texts("l", "b")
    assert third.received() == b""
    client.call("RPUSH", "l", "c")
    assert third.received() == texts("l", "c")
    assert client.call("EXISTS", "l") == 0


def test_pushed_element_counts_in_the_length_before_it_is_taken(node: InProcessNode, client: InProcessClient) -> None:
    _waiting(node, "BLPOP l 0")
    assert client.call("RPUSH", "l", "a") == 1


def test_waiting_client_sees_a_transaction_only_when_it_is_over(node: InProcessNode, client: InProcessClient) -> None:
    waiting = _waiting(node, "BLPOP l 0")
    client.call("MULTI")
    client.call("RPUSH", "l", "a")
    client.call("LPUSH", "l", "b")
    client.call("EXEC")
    assert waiting.received() == texts("l", "b")
    waiting = _waiting(node, "BLPOP m 0")
    client.call("MULTI")
    client.call("RPUSH", "m", "a")
    client.call("DEL", "m")
    client.call("EXEC")
    assert waiting.received() == b""


def test_waiting_client_is_not_bothered_by_another_type(node: InProcessNode, client: InProcessClient) -> None:
    popper, scorer, reader = (
        _waiting(node, "BLPOP k 0"),
        _waiting(node, "BZPOPMIN k 0"),
        _waiting(node, "XREAD BLOCK 0 STREAMS k 0"),
    )
    client.call("SET", "k", "text")
    client.call("SADD", "other", "x")
    assert popper.received() == scorer.received() == reader.received() == b""
    client.call("DEL", "k")
    client.call("ZADD", "k", "1", "m")
    assert popper.received() == reader.received() == b""
    assert scorer.received() == texts("k", "m", "1")


def test_chain_of_blmoves_is_followed_to_its_end(node: InProcessNode, client: InProcessClient) -> None:
    first = _waiting(node, "BLMOVE a b LEFT RIGHT 0")
    second = _waiting(node, "BLMOVE b c LEFT RIGHT 0")
    client.call("RPUSH", "a", "x")
    assert first.received() == bulk("x")
    assert second.received() == bulk("x")
    assert client.call("LRANGE", "c", 0, -1) == [b"x"]


def test_blmove_into_wrong_type_fails_when_it_is_served_and_loses_nothing(
    node: InProcessNode, client: InProcessClient
) -> None:
    client.call("SET", "target", "text")
    waiting = _waiting(node, "BLMOVE l target LEFT LEFT 0")
    client.call("RPUSH", "l", "a")
    assert waiting.received().startswith(b"-WRONGTYPE")
    assert client.call("LRANGE", "l", 0, -1) == [b"a"]


def test_served_pop_is_propagated_after_the_push(node: InProcessNode, client: InProcessClient) -> None:
    _waiting(node, "BLMPOP 0 1 l RIGHT COUNT 5")
    node.take_propagated()
    client.call("RPUSH", "l", "a", "b")
    assert [b" ".join(argv) for argv in node.take_propagated()] == [b"RPUSH l a b", b"RPOP l 2"]


def test_commands_sent_while_waiting_run_afterwards(node: InProcessNode, client: InProcessClient) -> None:
    waiting = _waiting(node, "BLPOP l 0")
    assert waiting.raw("ECHO", "later") == b""
    client.call("RPUSH", "l", "a")
    assert waiting.received() == texts("l", "a") + bulk("later")


# -- streams ------------------------------------------------------------------------------------------------


def test_xread_waiting_from_dollar_gets_only_what_came_after_it_went_to_sleep(
    node: InProcessNode, client: InProcessClient
) -> None:
    client.call("XADD", "s", "1", "f", "old")
    waiting = _waiting(node, "XREAD BLOCK 0 STREAMS other s $ $")
    client.call("MULTI")
    client.call("XADD", "s", "2", "f", "v")
    client.call("XADD", "s", "3", "f", "w")
    client.call("EXEC")
    entries = array(array(bulk("2-0"), texts("f", "v")), array(bulk("3-0"), texts("f", "w")))
    assert waiting.received() == array(array(bulk("s"), entries))


def test_xread_waiting_is_not_woken_by_an_entry_below_its_id(node: InProcessNode, client: InProcessClient) -> None:
    waiting = _waiting(node, "XREAD BLOCK 0 STREAMS s 5")
    client.call("XADD", "s", "4", "f", "v")
    assert waiting.received() == b""
    client.call("XADD", "s", "6", "f", "v")
    assert b"6-0" in waiting.received()


def test_xreadgroup_waiting_consumers_share_what_comes(node: InProcessNode, client: InProcessClient) -> None:
    client.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    first = _waiting(node, "XREADGROUP GROUP g a COUNT 1 BLOCK 0 STREAMS s >")
    second = _waiting(node, "XREADGROUP GROUP g b COUNT 1 BLOCK 0 STREAMS s >")
    client.call("XADD", "s", "1", "f", "v")
    assert b"1-0" in first.received()
    assert second.received() == b""
    client.call("XADD", "s", "2", "f", "v")
    assert b"2-0" in second.received()
    assert client.call("XPENDING", "s", "g")[3] == [[b"a", b"1"], [b"b", b"1"]]


#: what happens to stream or group, the error of the client that waits on it
LOSSES: tuple[tuple[str, bytes], ...] = (
    ("DEL s", b"-UNBLOCKED the stream key no longer exists\r\n"),
    ("SET s text", b"-UNBLOCKED the stream key no longer exists\r\n"),
    ("RENAME s t", b"-UNBLOCKED the stream key no longer exists\r\n"),
    ("FLUSHALL", b"-UNBLOCKED the stream key no longer exists\r\n"),
    ("XGROUP DESTROY s g", b"-NOGROUP the consumer group this client was blocked on no longer exists\r\n"),
)


@pytest.mark.parametrize(("command", "reply"), LOSSES, ids=[row[0] for row in LOSSES])
def test_xreadgroup_waiting_hears_that_its_group_is_gone(
    node: InProcessNode, client: InProcessClient, command: str, reply: bytes
) -> None:
    client.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    waiting = _waiting(node, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >")
    client.call(*command.split())
    assert waiting.received() == reply


def test_queue_of_a_thousand_jobs_gives_each_job_to_one_worker(node: InProcessNode, client: InProcessClient) -> None:
    workers = [node.client() for _ in range(2)]
    done: list[bytes] = []
    for worker in workers:
        worker.raw("BRPOP", "queue", "0")
    for i in range(1000):
        assert client.raw("LPUSH", "queue", f"job{i}") == number(1)
        for worker in workers:
            reply = worker.received()
            if reply:
                done.append(reply)
                worker.raw("BRPOP", "queue", "0")
    assert done == [texts("queue", f"job{i}") for i in range(1000)]


def test_blmovem_exactly_waits_until_there_are_enough(node: InProcessNode, client: InProcessClient) -> None:
    waiting = _waiting(node, "BLMOVEM l m LEFT RIGHT 0 EXACTLY 3 BULK")
    client.call("RPUSH", "l", "a", "b")
    assert waiting.received() == b""
    node.take_propagated()
    client.call("RPUSH", "l", "c", "d")
    assert waiting.received() == texts("a", "b", "c")
    propagated = [b" ".join(argv) for argv in node.take_propagated() if argv[0] not in (b"MULTI", b"EXEC")]
    assert propagated == [b"RPUSH l c d", b"LPOP l 3", b"RPUSH m a b c"]


def test_blmovem_that_may_not_wait_answers_null(client: InProcessClient) -> None:
    client.call("MULTI")
    client.call("BLMOVEM", "l", "m", "LEFT", "LEFT", "0")
    assert client.raw("EXEC") == array(NULL_ARRAY)
    script = "return redis.call('BLMOVEM', 'l', 'm', 'LEFT', 'LEFT', '0', 'EXACTLY', '1', 'OBO')"
    assert client.call("EVAL", script, "0") is None
