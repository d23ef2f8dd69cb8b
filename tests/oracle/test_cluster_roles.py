"""CLUSTER on a primary with data and on its replica: what each refuses, with the stock server's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.processes import (
    ClusterHandle,
    ServerHandle,
    have_stock,
    raw_call,
    start_node_cluster,
    start_stock_cluster,
)

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="redis-server is not on PATH")]

ON_THE_REPLICA = (
    "cluster setslot 5 stable",
    "cluster setslot 99999 stable",
    "cluster setslot 5 nosuch",
    "cluster setslot 5 node {primary}",
    "cluster setslot 5 migrating {primary}",
    "cluster setslot 5 importing {primary}",
    "cluster addslots 5",
    "cluster delslots 99999",
    "cluster forget {primary}",
    "cluster forget {replica}",
    "cluster replicate {replica}",
    "cluster replicate {primary}",
    "cluster replicas {replica}",
    "cluster flushslots",
    "cluster bumpepoch",
    "cluster set-config-epoch 9",
    "cluster failover nosuch",
    "cluster countkeysinslot 5061",
    "get foo",
    "set foo bar",
    "readonly",
    "get bar",
    "set bar 2",
    "dbsize",
    "readwrite",
    "get bar",
    "flushall",
    "replicaof 127.0.0.1 7000",
    "save",
)
ON_THE_PRIMARY = (
    "cluster setslot 5061 node {replica}",
    "cluster setslot 5061 migrating {replica}",
    "cluster setslot 5061 importing {replica}",
    "cluster setslot 5061 node {primary}",
    "cluster setslot 5061 migrating {primary}",
    "cluster addslots 5061",
    "cluster addslotsrange 5060 5062",
    "cluster forget {primary}",
    "cluster replicate {replica}",
    "cluster replicate {primary}",
    "cluster flushslots",
    "cluster failover",
    "cluster failover force",
    "cluster failover takeover",
    "cluster set-config-epoch 9",
    "cluster count-failure-reports {replica}",
    "cluster getkeysinslot 5061 10",
    "cluster reset",
    "cluster reset hard",
    "swapdb 0 1",
    "move bar 1",
    "copy bar baz db 1",
)


def answers(cluster: ClusterHandle) -> list[tuple[str, Any]]:
    primary, replica = cluster.nodes
    raw_call(primary.client(), "set", "bar", "1")
    raw_call(primary.client(), "wait", "1", "5000")
    names = {"primary": identity(primary), "replica": identity(replica)}
    return [
        (f"{role}: {line}", _answer(node, line.format(**names), names, cluster.nodes))
        for role, node, lines in (("replica", replica, ON_THE_REPLICA), ("primary", primary, ON_THE_PRIMARY))
        for line in lines
    ]


def identity(node: ServerHandle) -> str:
    return bytes(node.call("CLUSTER", "MYID")).decode()


def _answer(server: ServerHandle, line: str, names: dict[str, str], nodes: list[ServerHandle]) -> Any:
    """The reply, with the ids and ports of this cluster put into words."""
    try:
        reply = raw_call(server.client(), *line.split())
    except redis.RedisError as error:
        text = f"{type(error).__name__}: {error}"
        for role, name in names.items():
            text = text.replace(name, f"<{role}>")
        for role, node in zip(names, nodes, strict=True):
            text = text.replace(str(node.port), f"<port of {role}>")
        return text
    return len(reply) if isinstance(reply, list) and line.startswith("cluster replicas") else reply


def test_cluster_calls_on_a_primary_and_its_replica_answer_like_stock(tmp_path: Path) -> None:
    with (
        start_node_cluster(tmp_path / "ours", "--save", "", primaries=1) as ours,
        start_stock_cluster(tmp_path / "stock", "--save", "", primaries=1) as stock,
    ):
        differences = [
            f"{line}\n  ours  {got!r}\n  stock {wanted!r}"
            for (line, got), (_, wanted) in zip(answers(ours), answers(stock), strict=True)
            if got != wanted
        ]
    assert not differences, "\n".join(differences)
