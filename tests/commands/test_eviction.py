"""What clients, the log and the replicas see of evictions, and who is refused for lack of memory.

A limit of one byte makes every key go that may; what is left of the data depends on the policy alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.inprocess import InProcessClient, InProcessNode

OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode("--maxmemory-eviction-tenacity", "100") as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def _settings(client: InProcessClient, **settings: str) -> None:
    for name, value in settings.items():
        assert client.call("CONFIG", "SET", name.replace("_", "-"), value) == b"OK"


def _fill(client: InProcessClient) -> None:
    """Two keys with an expiry, two without."""
    client.call("MSET", "a", "1", "b", "2")
    client.call("SET", "c", "3", "EX", "100")
    client.call("RPUSH", "d", "x", "y")
    client.call("EXPIRE", "d", "200")


def _squeeze(client: InProcessClient) -> None:
    """From the next command on there is no room for anything."""
    _settings(client, maxmemory="1")


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_allkeys_policies_remove_all_keys_before_the_next_command(client: InProcessClient, policy: str) -> None:
    _settings(client, maxmemory_policy=policy)
    _fill(client)
    _squeeze(client)
    assert client.raw("EXISTS", "a", "b", "c", "d") == b":0\r\n"
    assert client.raw("SET", "e", "5") == OOM


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"])
def test_volatile_policies_keep_keys_without_expiry_and_then_refuse(client: InProcessClient, policy: str) -> None:
    _settings(client, maxmemory_policy=policy)
    _fill(client)
    _squeeze(client)
    assert client.raw("EXISTS", "a", "b") == b":2\r\n"
    assert client.raw("EXISTS", "c", "d") == b":0\r\n"
    assert client.raw("SET", "e", "5", "EX", "100") == OOM
    assert client.raw("GET", "a") == b"$1\r\n1\r\n"
    assert client.raw("DEL", "a") == b":1\r\n"


def test_noeviction_keeps_everything_and_refuses_what_needs_memory(client: InProcessClient) -> None:
    _fill(client)
    _squeeze(client)
    assert client.raw("SET", "e", "5") == OOM
    assert client.raw("EXISTS", "a", "b", "c", "d") == b":4\r\n"


@pytest.mark.parametrize(("lazy", "command"), [("no", b"DEL"), ("yes", b"UNLINK")])
def test_eviction_is_propagated_as_a_deletion(
    node: InProcessNode, client: InProcessClient, lazy: str, command: bytes
) -> None:
    _settings(client, maxmemory_policy="volatile-ttl", lazyfree_lazy_eviction=lazy)
    _fill(client)
    node.take_propagated()
    _squeeze(client)
    client.call("PING")
    assert node.take_propagated() == [[command, b"c"], [command, b"d"]]


def test_eviction_raises_its_event_and_counts(node: InProcessNode, client: InProcessClient) -> None:
    _settings(client, maxmemory_policy="volatile-ttl", notify_keyspace_events="Ee")
    _fill(client)
    listener = node.client()
    listener.call("PSUBSCRIBE", "*")
    _squeeze(client)
    client.call("PING")
    pushed = listener.received()
    assert pushed.count(b"__keyevent@0__:evicted") == 2
    assert pushed.index(b"$1\r\nc\r\n") < pushed.index(b"$1\r\nd\r\n")
    info = client.call("INFO", "stats")
    assert b"evicted_keys:2\r\n" in info
    assert b"expired_keys:0\r\n" in info
    client.call("CONFIG", "RESETSTAT")
    assert b"evicted_keys:0\r\n" in client.call("INFO", "stats")


def test_watched_key_that_is_evicted_ends_the_transaction(node: InProcessNode, client: InProcessClient) -> None:
    _settings(client, maxmemory_policy="volatile-lru")
    _fill(client)
    client.call("WATCH", "c")
    _squeeze(node.client())
    node.client().call("PING")
    _settings(node.client(), maxmemory="0")
    client.call("MULTI")
    client.call("SET", "a", "2")
    assert client.raw("EXEC") == b"*-1\r\n"


def test_tracking_client_hears_of_evicted_keys(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    _settings(client, maxmemory_policy="volatile-lru")
    _fill(client)
    client.call("CLIENT", "TRACKING", "ON")
    client.call("GET", "c")
    client.received()
    _squeeze(node.client())
    node.client().call("PING")
    assert client.received() == b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nc\r\n"


def test_time_over_the_limit_is_told_by_info(node: InProcessNode, client: InProcessClient) -> None:
    _fill(client)
    _squeeze(client)
    client.call("PING")
    node.advance(1500)
    assert b"current_eviction_exceeded_time:1500\r\n" in client.call("INFO", "stats")
    _settings(client, maxmemory="0")
    info = client.call("INFO", "stats")
    assert b"total_eviction_exceeded_time:1500\r\ncurrent_eviction_exceeded_time:0\r\n" in info


def test_frequencies_count_from_the_moment_that_the_policy_is_chosen(client: InProcessClient) -> None:
    _settings(client, maxmemory_policy="allkeys-lfu", lfu_log_factor="0")
    client.call("SET", "k", "v")
    for _ in range(5):
        client.call("GET", "k")
    assert client.call("OBJECT", "FREQ", "k") == 10


def test_used_memory_falls_at_once_when_data_go(node: InProcessNode, client: InProcessClient) -> None:
    def used() -> int:
        info = client.call("INFO", "memory")
        return int(info.split(b"used_memory:")[1].split(b"\r\n")[0])

    node.server.propagation.feeds.clear()  # the one of the tests keeps what it gets
    before = used()
    for i in range(40):
        client.call("SET", f"k{i:02}", b"v" * 500_000)
    full = used()
    assert 19_000_000 < full - before < 25_000_000
    assert client.call("DEL", *(f"k{i:02}" for i in range(20))) == 20
    assert 9_000_000 < full - used() < 12_000_000
    assert client.call("DEL", *(f"k{i:02}" for i in range(20, 40))) == 20
    assert full - used() > 19_000_000
