"""Our sentinels and stock ones: one quorum, one file format; and our sentinels over a stock cluster."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import (
    OUR_SENTINEL,
    STOCK_SENTINEL,
    ClusterHandle,
    ServerHandle,
    start_sentinel,
    start_stock_cluster,
    start_stock_server,
    wait_until,
)

pytestmark = [
    pytest.mark.stock,
    pytest.mark.skipif(shutil.which(STOCK_SENTINEL) is None, reason="needs redis-sentinel"),
]

NAME = "mymaster"
OURS, STOCK = OUR_SENTINEL, (STOCK_SENTINEL,)


def fields(flat: Any) -> dict[str, str]:
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return {name.decode(): value.decode() for name, value in pairs}


def facts(sentinel: ServerHandle, name: str = NAME) -> dict[str, str]:
    return fields(sentinel.call("SENTINEL", "MASTER", name))


def told_port(sentinel: ServerHandle, name: str = NAME) -> int:
    return int(sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)[1])


@contextlib.contextmanager
def quorum(tmp_path: Path, *launchers: tuple[str, ...]) -> Iterator[tuple[list[ServerHandle], list[ServerHandle]]]:
    """A primary with two replicas and one sentinel per launcher, all acquainted."""
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(start_stock_server(tmp_path / "primary", "--repl-diskless-sync-delay", "0"))
        servers = [primary]
        for number in range(2):
            options = ("--replicaof", "127.0.0.1", str(primary.port), "--repl-diskless-sync-delay", "0")
            servers.append(stack.enter_context(start_stock_server(tmp_path / f"replica{number}", *options)))
        config = [
            f"sentinel monitor {NAME} 127.0.0.1 {primary.port} 2",
            f"sentinel down-after-milliseconds {NAME} 1500",
            f"sentinel failover-timeout {NAME} 5000",
        ]
        sentinels = []
        for number, launcher in enumerate(launchers):
            sentinel = stack.enter_context(start_sentinel(launcher, tmp_path / f"sentinel{number}", config))
            sentinel.call("SENTINEL", "DEBUG", "publish-period", "400")
            sentinels.append(sentinel)
        for sentinel in sentinels:
            wait_until(lambda one=sentinel: _acquainted(one, len(launchers) - 1), 30, f"{sentinel.address} knows all")  # type: ignore[misc]
        yield servers, sentinels


def _acquainted(sentinel: ServerHandle, others: int) -> bool:
    known = facts(sentinel)
    linked = [fields(row)["flags"] for row in sentinel.call("SENTINEL", "SENTINELS", NAME)]
    replicas = [fields(row)["master-link-status"] for row in sentinel.call("SENTINEL", "REPLICAS", NAME)]
    return (
        (known["flags"], known["num-slaves"]) == ("master", "2")
        and linked == ["sentinel"] * others
        and set(replicas) == {"ok"}
    )


def wait_agreed(sentinels: list[ServerHandle], old_port: int, deadline_s: float = 30) -> int:
    """Until all tell the same new primary; its port."""
    wait_until(
        lambda: len(ports := {told_port(one) for one in sentinels}) == 1 and old_port not in ports,
        deadline_s,
        "all sentinels tell the same new primary",
    )
    return told_port(sentinels[0])


def test_mixed_sentinels_agree_on_a_new_primary(tmp_path: Path) -> None:
    with quorum(tmp_path, OURS, OURS, STOCK) as (servers, sentinels):
        for sentinel in sentinels:
            assert sentinel.call("SENTINEL", "CKQUORUM", NAME).startswith(b"OK 3 usable Sentinels.")
        servers[0].kill9()
        started = time.monotonic()
        port = wait_agreed(sentinels, servers[0].port)
        print(f"2 ours + 1 stock agree after {time.monotonic() - started:.3f} s")
        promoted = next(server for server in servers if server.port == port)
        assert promoted.call("ROLE")[0] == b"master"
        epochs = {facts(sentinel)["config-epoch"] for sentinel in sentinels}
        assert len(epochs) == 1
        servers[0].restart()
        wait_until(lambda: servers[0].call("ROLE")[0] == b"slave", 40, "the old primary is a replica")


def test_our_leader_needs_and_gets_the_vote_of_a_stock_sentinel(tmp_path: Path) -> None:
    with quorum(tmp_path, OURS, OURS, STOCK) as (servers, sentinels):
        ours, gone, stock = sentinels
        gone.kill9()
        servers[0].kill9()
        wait_agreed([ours, stock], servers[0].port, 60)
        voted = "+vote-for-leader"
        assert voted in stock.log()
        assert voted in ours.log()


def test_our_vote_elects_a_stock_leader(tmp_path: Path) -> None:
    with quorum(tmp_path, OURS, STOCK, STOCK) as (servers, sentinels):
        ours, stock, gone = sentinels
        gone.kill9()
        # Ours gives way: it must not start itself, so its quorum is out of reach.
        ours.call("SENTINEL", "SET", NAME, "quorum", "9")
        servers[0].kill9()
        wait_agreed([ours, stock], servers[0].port, 60)
        assert "+elected-leader" in stock.log()
        assert "+vote-for-leader" in ours.log()
        assert "+config-update-from" in ours.log()


@pytest.mark.parametrize("leader", [0, 1], ids=["ours leads", "stock leads"])
def test_ordered_failover_of_one_kind_is_followed_by_the_other(tmp_path: Path, leader: int) -> None:
    with quorum(tmp_path, OURS, STOCK) as (servers, sentinels):
        sentinels[leader].call("SENTINEL", "FAILOVER", NAME)
        port = wait_agreed(sentinels, servers[0].port)
        assert "+config-update-from" in sentinels[1 - leader].log()
        promoted = next(server for server in servers if server.port == port)
        others = [server for server in servers if server is not promoted]
        wait_until(
            lambda: all(server.info("replication").get("master_port") == str(port) for server in others),
            40,
            "all others follow the new primary",
        )


@pytest.mark.parametrize(("first", "second"), [(OURS, STOCK), (STOCK, OURS)], ids=["ours first", "stock first"])
def test_file_of_one_kind_continues_with_the_other(tmp_path: Path, first: Any, second: Any) -> None:
    with quorum(tmp_path, first, OURS) as (servers, sentinels):
        writer = sentinels[0]
        writer.call("SENTINEL", "SET", NAME, "down-after-milliseconds", "1700", "rename-command", "DEBUG", "NODEBUG")
        my_id = writer.call("SENTINEL", "MYID")
        writer.kill9()
        servers[0].kill9()
        config = writer.directory / "sentinel.conf"
        command = (*second, str(config))
        writer.command = command
        writer.restart()
        assert writer.call("SENTINEL", "MYID") == my_id
        known = facts(writer)
        assert (known["down-after-milliseconds"], known["num-other-sentinels"], known["num-slaves"]) == (
            "1700",
            "1",
            "2",
        )
        wait_agreed(sentinels, servers[0].port, 60)


# A stock cluster


@contextlib.contextmanager
def guarded_cluster(tmp_path: Path, primaries: int) -> Iterator[tuple[ClusterHandle, list[ServerHandle]]]:
    """A stock cluster whose own failover is too slow to matter, guarded by three of our sentinels."""
    options = ("--cluster-node-timeout", "60000", "--cluster-require-full-coverage", "no")
    with start_stock_cluster(tmp_path, *options, primaries=primaries) as cluster, contextlib.ExitStack() as stack:
        sentinels = []
        for number in range(3):
            seed = cluster.nodes[number % len(cluster.nodes)]
            config = [
                f"sentinel monitor shop 127.0.0.1 {seed.port} 2",
                "sentinel down-after-milliseconds shop 1500",
                "sentinel failover-timeout shop 5000",
            ]
            sentinel = start_sentinel(OURS, tmp_path / f"sentinel{number}", config)
            sentinels.append(stack.enter_context(sentinel))
        for sentinel in sentinels:
            wait_until(lambda one=sentinel: _guards(one, primaries), 40, f"{sentinel.address} guards all shards")  # type: ignore[misc]
        yield cluster, sentinels


def _guards(sentinel: ServerHandle, shards: int) -> bool:
    units = [fields(row) for row in sentinel.call("SENTINEL", "MASTERS")]
    return len(units) == shards and all(
        (unit["flags"], unit["num-slaves"], unit["num-other-sentinels"]) == ("master", "1", "2") for unit in units
    )


def unit_names(sentinel: ServerHandle) -> dict[int, str]:
    """Port of the primary -> name of the unit."""
    units = [fields(row) for row in sentinel.call("SENTINEL", "MASTERS")]
    return {int(unit["port"]): unit["name"] for unit in units}


def test_stock_cluster_with_one_shard_fails_over(tmp_path: Path) -> None:
    with guarded_cluster(tmp_path, 1) as (cluster, sentinels):
        primary, replica = cluster.nodes
        (name,) = unit_names(sentinels[0]).values()
        assert name == f"shop/{primary.call('CLUSTER', 'MYID').decode()[:8]}"
        primary.kill9()
        started = time.monotonic()
        wait_until(lambda: replica.call("SET", "k", "v") == b"OK", 20, "the replica takes writes")
        print(f"one shard of stock nodes: writes again after {time.monotonic() - started:.3f} s")
        wait_until(lambda: {told_port(one, name) for one in sentinels} == {replica.port}, 10, "all sentinels agree")
        primary.restart()
        wait_until(lambda: primary.call("ROLE")[0] == b"slave", 30, "the old primary follows over the bus")
        assert {told_port(one, name) for one in sentinels} == {replica.port}


def test_stock_cluster_that_lost_most_primaries_at_once_fails_over(tmp_path: Path) -> None:
    with guarded_cluster(tmp_path, 3) as (cluster, sentinels):
        names = unit_names(sentinels[0])
        assert all(unit_names(sentinel) == names for sentinel in sentinels)
        victims, replicas = cluster.nodes[:2], cluster.nodes[3:5]
        for victim in victims:
            victim.kill9()
        started = time.monotonic()
        wait_until(lambda: all(node.call("ROLE")[0] == b"master" for node in replicas), 20, "both replicas lead")
        print(f"two of three primaries of a stock cluster replaced after {time.monotonic() - started:.3f} s")
        wait_until(lambda: b"cluster_state:ok" in cluster.nodes[2].call("CLUSTER", "INFO"), 30, "the cluster is whole")
        lost = {names[victim.port] for victim in victims}
        ports = {node.port for node in replicas}
        # The cluster is whole before a sentinel that did not lead the failover has heard of it from the leader's hello.
        for sentinel in sentinels:
            wait_until(
                lambda one=sentinel: {name for port, name in unit_names(one).items() if port in ports} == lost,  # type: ignore[misc]
                20,
                f"{sentinel.address} follows both units to their new primaries",
            )


def test_failover_by_hand_in_a_guarded_stock_cluster_is_followed(tmp_path: Path) -> None:
    with guarded_cluster(tmp_path, 1) as (cluster, sentinels):
        primary, replica = cluster.nodes
        (name,) = unit_names(sentinels[0]).values()
        wait_until(lambda: replica.call("CLUSTER", "FAILOVER") == b"OK", 10, "CLUSTER FAILOVER is accepted")
        wait_until(lambda: {told_port(one, name) for one in sentinels} == {replica.port}, 20, "all sentinels follow")
        wait_until(
            lambda: sentinels[1].call("SENTINEL", "FAILOVER", name) == b"OK", 20, "SENTINEL FAILOVER is accepted"
        )
        wait_until(lambda: {told_port(one, name) for one in sentinels} == {primary.port}, 20, "and back")
        assert primary.call("ROLE")[0] == b"master"
