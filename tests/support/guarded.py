"""A cluster of our nodes that our sentinels guard: three shards of two nodes, three sentinels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import redis

from tests.support.processes import (
    OUR_SENTINEL,
    ClusterHandle,
    ServerHandle,
    start_node_cluster,
    start_sentinel,
    wait_until,
)

DOWN_AFTER_MS = 1500
# One key per shard: slots 3300, 7365 and 15495.
KEYS = ("b", "c", "a")


class Guarded:
    """Three shards of two nodes, and three sentinels that guard them as `mesh`."""

    def __init__(self, cluster: ClusterHandle, sentinels: list[ServerHandle]) -> None:
        self.cluster = cluster
        self.sentinels = sentinels

    def primary(self, key: str) -> ServerHandle:
        """The running node that takes writes to `key`."""

        def find() -> ServerHandle | None:
            for node in self.cluster.nodes:
                if node.running:
                    with contextlib.suppress(redis.RedisError, OSError):
                        if node.call("SET", key, "probe") == b"OK":
                            return node
            return None

        found = wait_until(find, 20, f"some node takes writes to {key}")
        assert found is not None
        return found

    def replica_of(self, primary: ServerHandle) -> ServerHandle:
        """The other node of its shard."""
        my_id = primary.call("CLUSTER", "MYID")
        (line,) = primary.call("CLUSTER", "REPLICAS", my_id)
        port = int(line.split()[1].split(b"@")[0].rpartition(b":")[2])
        return next(node for node in self.cluster.nodes if node.port == port)

    def unit_of(self, node: ServerHandle) -> str:
        """The name under which the sentinels know the shard whose primary `node` is."""
        for flat in self.sentinels[0].call("SENTINEL", "MASTERS"):
            fields = dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat
            if int(fields[b"port"]) == node.port:
                return str(fields[b"name"].decode())
        raise AssertionError(f"no sentinel unit has {node.address} as primary")

    def wait_guarded(self) -> None:
        """Until every sentinel knows three shards with a replica each and the two others, and every node has leases."""
        for sentinel in self.sentinels:
            wait_until(lambda s=sentinel: self._sees_all(s), 40, f"{sentinel.address} sees shards and sentinels")  # type: ignore[misc]

    @staticmethod
    def _sees_all(sentinel: ServerHandle) -> bool:
        units = sentinel.call("SENTINEL", "MASTERS")
        facts = [dict(zip(one[::2], one[1::2], strict=True)) if isinstance(one, list) else one for one in units]
        return len(facts) == 3 and all(
            (fact[b"flags"], fact[b"num-slaves"], fact[b"num-other-sentinels"]) == (b"master", b"1", b"2")
            for fact in facts
        )


@contextlib.contextmanager
def running_guarded(
    directory: Path,
    *more: str,
    node_timeout_ms: int = 5000,
    down_after_ms: int = DOWN_AFTER_MS,
    failover_timeout_ms: int = 10_000,
) -> Iterator[Guarded]:
    """The whole world, once everybody knows everybody; `more` are options of the nodes."""
    options = ("--cluster-node-timeout", str(node_timeout_ms), "--save", "", "--repl-diskless-sync-delay", "0", *more)
    with start_node_cluster(directory, *options) as cluster, contextlib.ExitStack() as stack:
        sentinels = [
            stack.enter_context(
                start_sentinel(
                    OUR_SENTINEL,
                    directory / f"sentinel{number}",
                    [
                        f"sentinel monitor mesh 127.0.0.1 {cluster.nodes[number].port} 2",
                        f"sentinel down-after-milliseconds mesh {down_after_ms}",
                        f"sentinel failover-timeout mesh {failover_timeout_ms}",
                    ],
                )
            )
            for number in range(3)
        ]
        world = Guarded(cluster, sentinels)
        world.wait_guarded()
        yield world
