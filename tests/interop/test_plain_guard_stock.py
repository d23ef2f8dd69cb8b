"""Plain primaries, sentinels, and who of them are ours: only ours among themselves know leases."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.support.processes import (
    OUR_SENTINEL,
    STOCK_SENTINEL,
    ServerHandle,
    start_node,
    start_sentinel,
    start_stock_server,
    wait_until,
)

pytestmark = [
    pytest.mark.stock,
    pytest.mark.skipif(shutil.which(STOCK_SENTINEL) is None, reason="needs redis-sentinel"),
]

NAME = "mymaster"
OURS, STOCK = OUR_SENTINEL, (STOCK_SENTINEL,)
Start = Callable[..., ServerHandle]


@contextlib.contextmanager
def watched(
    tmp_path: Path, start: Start, *launchers: tuple[str, ...]
) -> Iterator[tuple[list[ServerHandle], list[ServerHandle]]]:
    """A primary with two replicas, and acquainted sentinels."""
    with contextlib.ExitStack() as stack:
        servers: list[ServerHandle] = []
        for number in range(3):
            follow = ("--replicaof", f"127.0.0.1 {servers[0].port}") if servers else ()
            options = ("--save", "", "--repl-diskless-sync-delay", "0", *follow)
            servers.append(stack.enter_context(start(tmp_path / f"server{number}", *options)))
        config = [
            f"sentinel monitor {NAME} 127.0.0.1 {servers[0].port} 2",
            f"sentinel down-after-milliseconds {NAME} 1500",
            f"sentinel failover-timeout {NAME} 5000",
        ]
        sentinels = []
        for number, launcher in enumerate(launchers):
            sentinel = stack.enter_context(start_sentinel(launcher, tmp_path / f"sentinel{number}", config))
            sentinel.call("SENTINEL", "DEBUG", "publish-period", "400")
            sentinels.append(sentinel)
        for sentinel in sentinels:
            wait_until(lambda one=sentinel: _knows(one, len(launchers) - 1), 40, "the sentinels know everybody")  # type: ignore[misc]
        yield servers, sentinels


def _facts(sentinel: ServerHandle) -> dict[bytes, bytes]:
    told = sentinel.call("SENTINEL", "MASTER", NAME)
    return dict(zip(told[::2], told[1::2], strict=True)) if isinstance(told, list) else told


def _knows(sentinel: ServerHandle, others: int) -> bool:
    facts = _facts(sentinel)
    return (facts[b"flags"], facts[b"num-slaves"], facts[b"num-other-sentinels"]) == (b"master", b"2", b"%d" % others)


def guarded(server: ServerHandle) -> bool:
    return server.info("cluster").get("guarded_by") == NAME


def write(server: ServerHandle) -> str:
    """The error of a write, empty when it was acknowledged."""
    try:
        return "" if server.call("SET", "k", "v") == b"OK" else "no answer"
    except (redis.RedisError, OSError) as error:
        return str(error) or type(error).__name__


def succeeded(servers: list[ServerHandle]) -> ServerHandle:
    return wait_until(
        lambda: next((one for one in servers[1:] if not write(one)), None), 60, "a successor takes writes"
    )


def test_stock_sentinels_guard_nobody(tmp_path: Path) -> None:
    with watched(tmp_path, start_node, STOCK, STOCK, STOCK) as (servers, _):
        servers[0].kill9()
        succeeded(servers)
        servers[0].restart()
        assert not write(servers[0])
        assert not any(guarded(server) for server in servers)
        assert not list(tmp_path.glob("server*/guard-*"))


def test_two_of_three_sentinels_of_ours_guard(tmp_path: Path) -> None:
    with watched(tmp_path, start_node, OURS, OURS, STOCK) as (servers, _):
        wait_until(lambda: all(map(guarded, servers)), 30, "all are guarded")
        servers[0].kill9()
        new = succeeded(servers)
        servers[0].restart()
        assert "leases" in write(servers[0])
        wait_until(lambda: servers[0].info("replication")["role"] == "slave", 60, "the old primary is a replica")
        assert not write(new)


def test_one_of_three_sentinels_of_ours_does_not(tmp_path: Path) -> None:
    with watched(tmp_path, start_node, OURS, STOCK, STOCK) as (servers, _):
        servers[0].kill9()
        succeeded(servers)
        assert not any(guarded(server) for server in servers[1:])


def test_stock_servers_are_told_nothing_new_by_our_sentinels(tmp_path: Path) -> None:
    with watched(tmp_path, start_stock_server, OURS, OURS, OURS) as (servers, _):
        servers[0].kill9()
        new = succeeded(servers)
        for server in servers[1:]:
            assert not [name for name in server.info("commandstats") if name.startswith("cmdstat_cluster")]
        assert "cmdstat_slaveof" in new.info("commandstats") or "cmdstat_replicaof" in new.info("commandstats")


def test_stock_sentinel_takes_over_the_file_of_one_of_ours(tmp_path: Path) -> None:
    with watched(tmp_path, start_node, OURS, OURS, OURS) as (servers, sentinels):
        wait_until(lambda: all(map(guarded, servers)), 30, "all are guarded")
        sentinels[0].call("SENTINEL", "FLUSHCONFIG")
        text = (tmp_path / "sentinel0" / "sentinel.conf").read_text()
        sentinels[0].stop()
        lines = [line for line in text.splitlines() if line.startswith("sentinel ")]
        with start_sentinel(STOCK, tmp_path / "stock", lines) as stock:
            wait_until(lambda: _knows(stock, 2), 40, "it knows everybody")
            assert not write(servers[0]), "the two others are a majority"
