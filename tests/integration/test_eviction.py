"""A node as a process at its limit of memory: it stays there, keeps what is used, and its clients notice nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.processes import start_node, wait_until

MB = 1 << 20
_ROOM = 60 * MB
_HOT = [b"hot:%03d" % i for i in range(1000)]


def test_node_at_its_limit_stays_there_and_keeps_what_is_read(tmp_path: Path) -> None:
    """Writes more than twice what there is room for, while a thousand keys are read again and again."""
    with start_node(tmp_path, "--maxmemory-policy", "allkeys-lru") as node:
        client = node.client()
        limit = int(node.info("memory")["used_memory"]) + _ROOM
        client.config_set("maxmemory", limit)
        client.mset(dict.fromkeys(_HOT, b"h" * 1000))
        used: list[int] = []
        sizes: list[int] = []
        for batch in range(150):
            pipeline = client.pipeline(transaction=False)
            for i in range(1000):
                pipeline.set(f"cold:{batch}:{i}", b"c" * 1000)
            for key in _HOT[batch % 10 :: 10]:
                pipeline.get(key)
            pipeline.execute()  # an error would be raised here
            if batch >= 70 and batch % 10 == 0:
                used.append(int(node.info("memory")["used_memory"]))
                sizes.append(client.dbsize())
        # On a busy machine more arrives between two looks at the memory; 90 MB too many would be the failure.
        assert max(used) < limit + _ROOM // 3
        assert min(used) > limit - _ROOM // 3
        assert client.exists(*_HOT) > 950
        assert min(sizes) > 15_000
        assert max(sizes) - min(sizes) < 0.5 * max(sizes)
        client.config_set("maxmemory", 0)  # nobody goes between the two questions
        stats = node.info("stats")
        assert int(stats["evicted_keys"]) == 150_000 + len(_HOT) - client.dbsize()
        # Nothing is left to be freed beyond what the limit asked for: the data can go, and the memory with them.
        client.flushall()
        wait_until(
            lambda: int(node.info("memory")["used_memory"]) < limit - _ROOM + 15 * MB, 20, "the memory is free again"
        )


def test_large_collections_are_evicted_one_by_one_though_they_are_freed_in_slices(tmp_path: Path) -> None:
    with start_node(tmp_path, "--maxmemory-policy", "allkeys-lru") as node:
        client = node.client()
        elements = [b"element:%07d" % i for i in range(50_000)]
        client.rpush("list:0", *elements)
        before = int(node.info("memory")["used_memory"])
        client.rpush("list:1", *elements)
        one = int(node.info("memory")["used_memory"]) - before
        for i in range(2, 10):
            client.rpush(f"list:{i}", *elements)
        client.get("nothing")
        client.config_set("maxmemory", int(node.info("memory")["used_memory"]) - 2 * one)
        wait_until(lambda: int(node.info("stats")["evicted_keys"]) >= 2, 20, "two lists are evicted")
        wait_until(lambda: int(node.info("memory")["lazyfree_pending_objects"]) == 0, 20, "they are freed")
        assert 5 <= client.dbsize() <= 8
        assert client.exists("list:9") == 1


def test_replica_follows_the_evictions_of_its_primary_and_makes_none_itself(tmp_path: Path) -> None:
    (tmp_path / "primary").mkdir()
    (tmp_path / "replica").mkdir()
    with start_node(tmp_path / "primary", "--maxmemory-policy", "allkeys-lru") as primary:
        link = ("--replicaof", f"127.0.0.1 {primary.port}")
        limits = ("--maxmemory-policy", "allkeys-lru", "--maxmemory", "1mb")
        with start_node(tmp_path / "replica", *link, *limits) as replica:
            wait_until(lambda: replica.info("replication")["master_link_status"] == "up", 30, "the replica is linked")
            client = primary.client()
            client.config_set("maxmemory", int(primary.info("memory")["used_memory"]) + 3 * MB)
            for i in range(6000):
                client.set(f"key:{i}", b"v" * 1000)
            client.config_set("maxmemory", 0)
            assert 0 < client.dbsize() < 5000
            assert client.wait(1, 10_000) == 1
            assert set(replica.client().keys()) == set(client.keys())
            assert replica.info("stats")["evicted_keys"] == "0"


@pytest.mark.parametrize("lazy", ["no", "yes"])
def test_evicted_keys_are_gone_after_a_restart_from_the_log(tmp_path: Path, lazy: str) -> None:
    options = ("--appendonly", "yes", "--maxmemory-policy", "allkeys-random", "--lazyfree-lazy-eviction", lazy)
    with start_node(tmp_path, *options) as node:
        client = node.client()
        client.config_set("maxmemory", int(node.info("memory")["used_memory"]) + 2 * MB)
        for i in range(6000):
            client.set(f"key:{i}", b"v" * 1000)
        client.config_set("maxmemory", 0)
        left = set(client.keys())
        assert 0 < len(left) < 4000
        node.kill9()
        node.restart()
        assert set(node.client().keys()) == left
