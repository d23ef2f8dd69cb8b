"""CLUSTER on a node that knows nobody: the same calls get the same replies and error texts from ours and from stock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.processes import ServerHandle, have_stock, raw_call, start_node, start_stock_server

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="redis-server is not on PATH")]

STRANGER = "0123456789012345678901234567890123456789"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerHandle, ServerHandle]]:
    def folder(name: str) -> Path:
        return tmp_path_factory.mktemp(name)

    options = ("--cluster-enabled", "yes", "--save", "")
    with (
        start_node(folder("ours"), *options, cluster=True) as ours,
        start_stock_server(folder("stock"), *options, cluster=True) as stock,
    ):
        yield ours, stock


def answer(server: ServerHandle, words: tuple[str, ...]) -> Any:
    try:
        return raw_call(server.client(), *words)
    except redis.RedisError as error:
        return f"{type(error).__name__}: {error}"


CALLS = (
    "cluster",
    "cluster nosuch",
    "cluster keyslot foo",
    "cluster keyslot foo{}{bar}",
    "cluster keyslot foo{{bar}}zap",
    "cluster keyslot {user:42}:cart",
    "cluster keyslot",
    "cluster addslots",
    "cluster addslots abc",
    "cluster addslots -1",
    "cluster addslots 16384",
    "cluster addslots 5 5",
    "cluster addslotsrange 5",
    "cluster addslotsrange 5 4",
    "cluster addslotsrange 1 2 3",
    "cluster addslotsrange 0 99999",
    "cluster addslots 1 2 3",
    "cluster addslots 3 4",
    "cluster delslots 9",
    "cluster delslots 3 3",
    "cluster delslots 3",
    "cluster delslotsrange 1 3",
    "cluster addslotsrange 3 8 10 12",
    "cluster countkeysinslot 5",
    "cluster countkeysinslot 99999",
    "cluster countkeysinslot x",
    "cluster getkeysinslot 5 10",
    "cluster getkeysinslot 5 -1",
    "cluster getkeysinslot 99999 1",
    f"cluster setslot 5 node {STRANGER}",
    f"cluster setslot 5 migrating {STRANGER}",
    f"cluster setslot 500 migrating {STRANGER}",
    f"cluster setslot 5 importing {STRANGER}",
    f"cluster setslot 500 importing {STRANGER}",
    "cluster setslot 5 stable",
    "cluster setslot 5 stable extra",
    "cluster setslot 5 nosuch",
    "cluster setslot 99999 stable",
    "cluster setslot 5",
    f"cluster forget {STRANGER}",
    "cluster forget short",
    f"cluster replicate {STRANGER}",
    f"cluster replicas {STRANGER}",
    f"cluster slaves {STRANGER}",
    f"cluster count-failure-reports {STRANGER}",
    "cluster failover",
    "cluster failover force",
    "cluster failover nosuch",
    "cluster failover force more",
    "cluster meet",
    "cluster meet nohost 7000",
    "cluster meet 127.0.0.1 0",
    "cluster meet 127.0.0.1 abc",
    "cluster meet 127.0.0.1 99999",
    "cluster meet 127.0.0.1 7000 abc",
    "cluster meet 127.0.0.1 7000 17000 1",
    "cluster set-config-epoch abc",
    "cluster set-config-epoch -1",
    "cluster set-config-epoch 7",
    "cluster set-config-epoch 8",
    "cluster bumpepoch",
    "cluster saveconfig",
    "cluster links",
    "cluster reset nosuch",
    "cluster reset hard more",
    "readonly",
    "readwrite",
    "asking",
    "get foo",
    "mget a b",
    "cluster flushslots",
    "cluster slots",
    "cluster reset",
    "cluster reset hard",
    "select 1",
    "swapdb 0 1",
    "replicaof 127.0.0.1 7000",
)


def test_cluster_calls_in_sequence_answer_like_stock(pair: tuple[ServerHandle, ServerHandle]) -> None:
    ours, stock = pair
    differences = []
    for line in CALLS:
        words = tuple(line.split())
        got, wanted = answer(ours, words), answer(stock, words)
        if got != wanted:
            differences.append(f"{line}\n  ours  {got!r}\n  stock {wanted!r}")
    assert not differences, "\n".join(differences)


def test_cluster_info_names_the_same_fields_in_the_same_order(pair: tuple[ServerHandle, ServerHandle]) -> None:
    def names(server: ServerHandle) -> list[str]:
        text = raw_call(server.client(), "cluster", "info").decode()
        return [line.partition(":")[0] for line in text.splitlines()]

    ours, stock = pair
    assert names(ours) == names(stock)


def test_cluster_nodes_line_has_the_same_shape(pair: tuple[ServerHandle, ServerHandle]) -> None:
    def shape(server: ServerHandle) -> list[str]:
        words = raw_call(server.client(), "cluster", "nodes").decode().split()
        assert words[0] == raw_call(server.client(), "cluster", "myid").decode()
        return [words[1].partition(":")[0], *words[2:7]]

    ours, stock = pair
    assert shape(ours) == shape(stock)
