"""Reads at the replicas of a cluster: for READONLY clients only, of their primary's slots only, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import redis

from slotmesh.cluster.slots import key_slot
from tests.support.processes import start_node_cluster, wait_until


def test_replica_serves_reads_of_its_primary_to_readonly_clients_and_redirects_all_else(tmp_path: Path) -> None:
    with start_node_cluster(tmp_path, primaries=3, replicas=1) as cluster:
        client = cluster.client()
        keys = [f"key:{n}" for n in range(200)]
        for key in keys:
            client.set(key, f"v-{key}")
        replica = next(node for node in cluster.nodes if node.client().execute_command("ROLE")[0] == b"slave")
        port = replica.client().execute_command("ROLE")[2]
        primary = next(node for node in cluster.nodes if node.port == port)
        mine = [
            key
            for key in keys
            if primary.client().execute_command("CLUSTER", "COUNTKEYSINSLOT", key_slot(key.encode()))
        ]
        others = [key for key in keys if key not in mine]
        assert mine
        assert others
        connection = replica.client()

        def asked(*commands: tuple[str, ...]) -> list[object]:
            """One pipeline, so that every command of it comes in the same chunk."""
            pipe = connection.pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command)
            return pipe.execute(raise_on_error=False)

        wait_until(lambda: connection.dbsize() == len(mine), 10, "the replica to have all keys")
        first = mine[0]
        for reply in asked(("GET", first), ("READWRITE",), ("GET", first))[::2]:
            assert str(reply).startswith("MOVED") or isinstance(reply, redis.exceptions.MovedError)
        replies = asked(("READONLY",), *[("GET", key) for key in mine], *[("GET", key) for key in others])
        assert replies[1 : len(mine) + 1] == [f"v-{key}".encode() for key in mine]
        assert all(isinstance(reply, redis.exceptions.MovedError) for reply in replies[len(mine) + 1 :])
        replies = asked(("READONLY",), ("SET", first, "x"), ("GET", first), ("STRLEN", first), ("INCR", first))
        assert isinstance(replies[1], redis.exceptions.MovedError)
        assert replies[2:4] == [f"v-{first}".encode(), len(f"v-{first}")]
        assert isinstance(replies[4], redis.exceptions.MovedError)
