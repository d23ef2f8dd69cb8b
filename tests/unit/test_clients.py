"""Listeners, caches, pauses and greedy clients: the parts of a node that keep track of its connections."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from slotmesh.node.base.gates import SERVER_MONITORS, SERVER_PAUSED
from slotmesh.node.clients import pause
from slotmesh.node.clients.client import GATE_SUBSCRIBED, GATE_TRACKING
from slotmesh.node.resp.encoder import encode_command
from tests.support.inprocess import InProcessClient, InProcessNode


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        yield running


# -- subscriptions ---------------------------------------------------------------------------------------------


def test_shard_channels_end_with_their_slot(node: InProcessNode) -> None:
    listener = node.client()
    listener.call("SSUBSCRIBE", "stays")
    listener.call("SSUBSCRIBE", "goes")
    node.server.pubsub.drop_shard_channels(lambda channel: channel == b"goes")
    assert listener.received() == b"*3\r\n$12\r\nsunsubscribe\r\n$4\r\ngoes\r\n:1\r\n"
    assert listener.served.gates & GATE_SUBSCRIBED
    node.server.pubsub.drop_shard_channels(lambda channel: True)
    assert not listener.served.gates & GATE_SUBSCRIBED


def test_client_that_goes_away_leaves_no_subscription_behind(node: InProcessNode) -> None:
    listener = node.client()
    for word in ("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"):
        listener.call(word, "a")
    listener.sock.close()
    node.pump()
    pubsub = node.server.pubsub
    assert [family.subscribers for family in (pubsub.channels, pubsub.patterns, pubsub.shard_channels)] == [{}, {}, {}]


def test_several_channels_are_confirmed_one_by_one(node: InProcessNode) -> None:
    listener = node.client()
    reply = listener.raw("SUBSCRIBE", "a", "b", "a")
    assert reply.count(b"subscribe") == 3
    assert [reply[-4:], reply.count(b":2")] == [b":2\r\n", 2]
    assert listener.raw("UNSUBSCRIBE").count(b"unsubscribe") == 2


def test_message_reaches_a_client_once_for_each_way_it_listens(node: InProcessNode) -> None:
    listener = node.client(resp3=True)
    listener.call("SUBSCRIBE", "news")
    listener.call("PSUBSCRIBE", "n*")
    assert node.client().call("PUBLISH", "news", "m") == 2
    assert listener.received().count(b"message") == 2


# -- tracking --------------------------------------------------------------------------------------------------


def test_table_of_tracked_keys_is_bounded_and_what_is_forgotten_is_told(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    client.call("CLIENT", "TRACKING", "on")
    for number in range(50):
        client.call("GET", f"k{number}")
    tracking = node.server.tracking
    assert (tracking.keys, tracking.total_items) == (50, 50)
    tracking.limit_table(20)
    assert (tracking.keys, tracking.total_items) == (20, 20)
    assert client.received().count(b"invalidate") == 30
    tracking.limit_table(0)
    assert tracking.keys == 20


def test_tracking_costs_nothing_when_nobody_tracks(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    client.call("CLIENT", "TRACKING", "on", "BCAST", "PREFIX", "a")
    client.call("GET", "x")
    assert node.server.keyspace.observed
    client.call("CLIENT", "TRACKING", "off")
    assert not node.server.keyspace.observed
    assert not client.served.gates & GATE_TRACKING
    assert (node.server.tracking.clients, node.server.tracking.prefix_count) == (0, 0)


def test_client_that_tracked_and_left_hears_nothing(node: InProcessNode) -> None:
    client, other = node.client(resp3=True), node.client()
    client.call("CLIENT", "TRACKING", "on")
    client.call("GET", "k")
    client.sock.close()
    node.pump()
    assert node.server.tracking.keys == 0
    other.call("SET", "k", "v")


# -- pauses ----------------------------------------------------------------------------------------------------


def test_pause_ends_by_itself_and_the_waiting_commands_run_in_order(node: InProcessNode) -> None:
    client = node.client()
    node.client().call("CLIENT", "PAUSE", 100)
    assert client.send(b"SET k 1\r\nINCR k\r\nGET k\r\n") == b""
    node.advance(99)
    node.server.pause.check()
    assert client.received() == b""
    node.advance(2)
    node.server.pause.check()
    assert client.received() == b"+OK\r\n:2\r\n$1\r\n2\r\n"
    assert not node.server.state.gates & SERVER_PAUSED


def test_pauses_for_several_reasons_end_one_by_one(node: InProcessNode) -> None:
    subject = node.server.pause
    subject.start(pause.BY_CLIENT, pause.ALL, 1000)
    subject.start(pause.FAILOVER, pause.WRITES, pause.FOREVER_MS)
    assert subject.kind == pause.ALL
    subject.end(pause.BY_CLIENT)
    assert subject.kind == pause.WRITES
    subject.end(pause.FAILOVER)
    assert subject.kind == 0


def test_shorter_pause_does_not_shorten_a_longer_one(node: InProcessNode) -> None:
    subject = node.server.pause
    subject.start(pause.BY_CLIENT, pause.WRITES, 1000)
    subject.start(pause.BY_CLIENT, pause.ALL, 10)
    node.advance(500)
    subject.check()
    assert subject.kind == pause.ALL


def test_nothing_expires_during_a_pause(node: InProcessNode) -> None:
    client = node.client()
    client.call("SET", "k", "v", "PX", 10)
    client.call("CLIENT", "PAUSE", 1000, "WRITE")
    node.take_propagated()
    node.advance(20)
    assert client.call("GET", "k") is None
    assert client.call("DBSIZE") == 1
    assert node.take_propagated() == []
    client.call("CLIENT", "UNPAUSE")
    assert client.call("GET", "k") is None
    assert node.take_propagated() == [[b"DEL", b"k"]]


# -- greed -----------------------------------------------------------------------------------------------------


def test_greediest_clients_are_closed_until_the_others_fit(node: InProcessNode) -> None:
    small, large, spared = node.client(), node.client(), node.client()
    spared.call("CLIENT", "NO-EVICT", "on")
    for client, size in ((small, 1000), (large, 400_000), (spared, 400_000)):
        client.send(b"*2\r\n$4\r\nECHO\r\n$%d\r\n%b" % (size * 2, b"x" * size))
    caller = node.client()
    caller.call("CONFIG", "SET", "maxmemory-clients", "300000")
    assert (large.served.sock, small.served.sock is None, spared.served.sock is None) == (None, False, False)
    assert node.server.stats.evicted_clients == 1
    spared.served.no_evict = False
    assert node.server.client_eviction.evict() == 1
    assert node.server.client_eviction.evict() == 0


def test_limit_of_clients_may_be_a_share_of_maxmemory(node: InProcessNode) -> None:
    client = node.client()
    client.call("CONFIG", "SET", "maxmemory", "1000000000", "maxmemory-clients", "5%")
    assert node.server.client_eviction.limit == 50_000_000
    client.call("CONFIG", "SET", "maxmemory", "0")
    assert node.server.client_eviction.limit == 0


def _overdo(client: InProcessClient, data: bytes) -> None:
    """Send what must have the client closed, at the latest by its last byte."""
    with contextlib.suppress(BrokenPipeError):
        client.send(data)
    assert client.served.sock is None


def test_greedy_client_is_closed_in_the_pass_in_which_it_grew(node: InProcessNode) -> None:
    caller = node.client()
    caller.call("SET", "large", "x" * 900_000)
    caller.call("CONFIG", "SET", "maxmemory-clients", "3000000")
    sender, queuer, watcher, listener, deaf = (node.client() for _ in range(5))
    _overdo(sender, b"*1\r\n$5000000\r\n" + b"x" * 3_000_000)
    queuer.call("MULTI")
    for _ in range(3):
        assert queuer.call("SET", "k", "x" * 900_000) == b"QUEUED"
    _overdo(queuer, encode_command([b"SET", b"k", b"x" * 900_000]))
    for client, name in ((watcher, b"WATCH"), (listener, b"SSUBSCRIBE")):
        _overdo(client, encode_command([name, *(b"%d" % number for number in range(40_000))]))
    _overdo(deaf, encode_command([b"GET", b"large"]) * 10)
    assert caller.call("PING") == b"PONG"
    assert node.server.stats.evicted_clients == 5


def test_client_that_is_no_longer_spared_is_closed_at_once(node: InProcessNode) -> None:
    client, caller = node.client(), node.client()
    caller.call("CLIENT", "NO-EVICT", "on")
    client.call("CLIENT", "NO-EVICT", "on")
    client.call("WATCH", *(str(number) for number in range(10_000)))
    caller.call("CONFIG", "SET", "maxmemory-clients", "500000")
    assert client.served.sock is not None
    client.send(encode_command([b"CLIENT", b"NO-EVICT", b"off"]))
    assert client.served.sock is None


# -- monitors --------------------------------------------------------------------------------------------------


def test_monitor_sees_commands_as_they_ran_and_no_secrets(node: InProcessNode) -> None:
    watcher, client = node.client(), node.client()
    assert watcher.call("MONITOR") == b"OK"
    client.call("SET", "k", 'a"\n')
    client.call("MULTI")
    client.call("INCR", "n")
    client.call("EXEC")
    client.call("AUTH", "secret")
    client.call("CONFIG", "GET", "hz")
    lines = [line.partition(b"] ")[2] for line in watcher.received().splitlines()]
    assert lines == [
        b'"SET" "k" "a\\"\\n"',
        b'"MULTI"',
        b'"INCR" "n"',
        b'"EXEC"',
        b'"AUTH" "(redacted)"',
    ]
    assert node.server.state.gates & SERVER_MONITORS
    assert watcher.raw("RESET") == b"+RESET\r\n"
    assert not node.server.state.gates & SERVER_MONITORS


def test_monitor_shows_a_blocked_command_once(node: InProcessNode) -> None:
    watcher, client = node.client(), node.client()
    watcher.call("MONITOR")
    client.raw("BLPOP", "l", 0)
    node.client().call("RPUSH", "l", "x")
    assert client.received() == b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n"
    assert watcher.received().count(b"BLPOP") == 1


def test_pause_of_writes_holds_a_transaction_back_by_what_its_scripts_would_do(node: InProcessNode) -> None:
    reading, writing, other = node.client(), node.client(), node.client()
    for client, flags in ((reading, " flags=no-writes"), (writing, "")):
        client.call("MULTI")
        client.call("EVAL", f"#!lua{flags}\nreturn 12", "0")
    other.call("CLIENT", "PAUSE", "60000", "WRITE")
    assert reading.raw("EXEC") == b"*1\r\n:12\r\n"
    assert writing.raw("EXEC") == b""
    other.call("CLIENT", "UNPAUSE")
    assert writing.received() == b"*1\r\n:12\r\n"
