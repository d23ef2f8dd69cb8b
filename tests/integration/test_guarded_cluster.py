"""Sentinels guard a cluster of our nodes: crashes, a stopped primary, most primaries gone, a lost lease."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.sentinel import Sentinel

from slotmesh.node.resp.encoder import encode_command
from tests.support.guarded import DOWN_AFTER_MS, KEYS, Guarded, running_guarded
from tests.support.loaded_kills import kill_under_load
from tests.support.processes import wait_until


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    with running_guarded(tmp_path) as world:
        yield world


def test_killed_primary_is_replaced_and_comes_back_as_replica(guarded: Guarded) -> None:
    primary = guarded.primary("a")
    replica = guarded.replica_of(primary)
    unit = guarded.unit_of(primary)
    primary.call("SET", "a", "before")
    assert primary.call("WAIT", 1, 5000) == 1
    stock_client = Sentinel([("127.0.0.1", sentinel.port) for sentinel in guarded.sentinels], socket_timeout=2)
    assert stock_client.discover_master(unit) == ("127.0.0.1", primary.port)
    listener = guarded.sentinels[0].client().pubsub(ignore_subscribe_messages=True)
    listener.subscribe("+switch-master")

    primary.kill9()
    started = time.monotonic()
    wait_until(lambda: replica.call("SET", "a", "after") == b"OK", 20, "the replica takes writes")
    print(f"writes again after {time.monotonic() - started:.3f} s")
    message = wait_until(lambda: listener.get_message(timeout=0.2), 10, "+switch-master")
    assert message["data"].decode() == f"{unit} 127.0.0.1 {primary.port} 127.0.0.1 {replica.port}"
    wait_until(lambda: stock_client.discover_master(unit) == ("127.0.0.1", replica.port), 10, "redis-py follows")
    listener.close()

    primary.restart()
    wait_until(lambda: primary.info("replication").get("master_link_status") == "up", 30, "the old one replicates")
    primary.call("READONLY")
    wait_until(lambda: primary.call("GET", "a") == b"after", 10, "it has the new data")


def test_two_of_three_primaries_killed_at_once_are_both_replaced(guarded: Guarded) -> None:
    victims = [guarded.primary(key) for key in KEYS[:2]]
    survivor = guarded.primary(KEYS[2])
    for victim in victims:
        victim.kill9()
    started = time.monotonic()
    for key in KEYS:
        assert guarded.primary(key) not in victims
    print(f"all shards take writes after {time.monotonic() - started:.3f} s")
    wait_until(lambda: b"cluster_state:ok" in survivor.call("CLUSTER", "INFO"), 20, "the cluster is whole")
    guarded.cluster.wait_ok()


def test_stopped_primary_acknowledges_nothing_after_its_successor_began(guarded: Guarded) -> None:
    primary = guarded.primary("b")
    replica = guarded.replica_of(primary)
    with socket.create_connection(("127.0.0.1", primary.port), 5) as sock:
        sock.sendall(encode_command([b"SET", b"b", b"old"]))
        assert sock.recv(100) == b"+OK\r\n"
        primary.pause()
        sock.sendall(encode_command([b"SET", b"b", b"late"]))  # waits in the socket of the stopped process
        started = time.monotonic()
        wait_until(lambda: replica.call("SET", "b", "new") == b"OK", 20, "the replica takes writes")
        print(f"writes again after {time.monotonic() - started:.3f} s, down-after {DOWN_AFTER_MS} ms")
        primary.resume()
        sock.settimeout(10)
        try:
            answer = sock.recv(1000)
        except ConnectionError:
            answer = b""
        assert answer == b"" or answer.startswith((b"-CLUSTERDOWN", b"-MOVED")), answer
    wait_until(lambda: primary.info("replication").get("master_link_status") == "up", 30, "the old one replicates")
    assert replica.call("GET", "b") == b"new"


def test_primary_without_sentinels_turns_read_only_until_they_are_back(guarded: Guarded) -> None:
    primary = guarded.primary("c")
    primary.call("SET", "c", "kept")
    for sentinel in guarded.sentinels[:2]:
        sentinel.pause()

    def refused() -> bool:
        try:
            primary.call("SET", "c", "kept")
        except redis.RedisError as error:
            return "lease" in str(error)
        return False

    wait_until(refused, 10, "writes are refused")
    assert primary.call("GET", "c") == b"kept"
    for sentinel in guarded.sentinels[:2]:
        sentinel.resume()
    wait_until(lambda: primary.call("SET", "c", "again") == b"OK", 20, "writes are accepted")


def test_primary_killed_under_pipelined_writes_loses_none_that_it_acknowledged(guarded: Guarded) -> None:
    # At most what a replica takes in without applying it, so that a busy machine loses nothing either.
    outcome = kill_under_load(guarded, KEYS[0], write_s=1.0, connections=2, depth=50)
    print(outcome)
    assert outcome.acknowledged > 1000
    assert outcome.lost == 0
