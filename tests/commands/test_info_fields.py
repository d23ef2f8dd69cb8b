"""Fields of INFO that tell what other parts hold."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from slotmesh.node.base.stats import Stats
from tests.support.inprocess import InProcessClient, InProcessNode, write_bytes


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        yield running


def _field(client: InProcessClient, section: str, name: str) -> int:
    lines = client.call("INFO", section).decode().split("\r\n")
    return int(next(line for line in lines if line.startswith(f"{name}:")).partition(":")[2])


def test_keys_that_a_writable_replica_will_expire_are_counted(node: InProcessNode) -> None:
    client = node.client()
    client.call("CONFIG", "SET", "replica-read-only", "no")
    client.call("REPLICAOF", "127.0.0.1", "1")
    client.call("SET", "k", "v", "EX", "100")
    client.call("SET", "l", "v")
    assert _field(client, "stats", "slave_expires_tracked_keys") == 1
    client.call("REPLICAOF", "NO", "ONE")
    assert _field(client, "stats", "slave_expires_tracked_keys") == 0


def test_connections_of_migrate_are_counted(node: InProcessNode) -> None:
    client = node.client()
    assert _field(client, "stats", "migrate_cached_sockets") == 0
    with socket.create_server(("127.0.0.1", 0)) as target:
        links = node.server.persistence.migrate_links
        links.get(b"127.0.0.1", b"%d" % target.getsockname()[1], 1000)
        assert _field(client, "stats", "migrate_cached_sockets") == 1
        links.close_all()
    assert _field(client, "stats", "migrate_cached_sockets") == 0


def test_unwritten_bytes_of_the_log_are_counted(node: InProcessNode) -> None:
    log = node.server.persistence.aof
    log.open_at_start(lambda path: write_bytes(path, b""))
    assert node.server.info.fields("memory")["mem_aof_buffer"] == 0
    log.feed(-1, [b"PING"])
    assert node.server.info.fields("memory")["mem_aof_buffer"] == len(b"*1\r\n$4\r\nPING\r\n")


def test_rates_of_replication_have_samples_of_their_own() -> None:
    stats = Stats()
    stats.sample(1000)
    stats.repl_input_bytes, stats.repl_output_bytes = 1600, 3200
    stats.sample(2000)
    assert (stats.repl_input_rate.per_second, stats.repl_output_rate.per_second) == (100, 200)
    assert stats.input_rate.per_second == 0
