"""Clients that write all the time and notice every lost, doubled or refused operation.

Each worker owns some counters and only ever runs INCR on them, with a stock cluster client. The reply must be exactly
the last one plus one: a lost write, a write applied twice, or a read from a stale copy shows at once. Redirects (MOVED,
ASK, TRYAGAIN) are the client's business; any other error is recorded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import redis

from tests.support.processes import ServerHandle


class Workload:
    """Counters under permanent increment while the context is open; `check` afterwards."""

    def __init__(self, ports: Sequence[int], workers: int = 4, keys_per_worker: int = 250, tag: str = "load") -> None:
        self._ports = ports
        self._stop = threading.Event()
        self._keys_per_worker = keys_per_worker
        self._tag = tag
        self._acked: dict[bytes, int] = {}
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(workers)]
        self._failed_s: dict[int, float] = {}
        self.errors: list[str] = []
        self.slowest_s = 0.0
        self.operations = 0
        self.tolerated: tuple[type[Exception], ...] = ()
        """Errors after which a worker goes on, not knowing whether its increment was applied (crash tests)."""
        self._uncertain: dict[bytes, int] = {}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_operations(self, count: int, deadline_s: float = 60.0) -> None:
        """Until `count` more operations have been acknowledged."""
        target = self.operations + count
        end = time.monotonic() + deadline_s
        while self.operations < target:
            assert not self.errors, self.errors[:3]
            assert time.monotonic() < end, f"{self.operations} of {target} operations"
            time.sleep(0.005)

    def _run(self, number: int) -> None:
        nodes = [redis.cluster.ClusterNode("127.0.0.1", port) for port in self._ports]
        client = redis.RedisCluster(startup_nodes=nodes, socket_timeout=30)
        keys = [f"{self._tag}:{number}:{index}".encode() for index in range(self._keys_per_worker)]
        turn = 0
        try:
            while not self._stop.is_set():
                self._step(client, keys[turn % len(keys)])
                turn += 1
        except Exception as error:
            self.errors.append(f"worker {number}: {type(error).__name__}: {error}")
        finally:
            client.close()

    def _step(self, client: redis.RedisCluster, key: bytes) -> None:
        started_s = time.monotonic()
        try:
            value = int(_increment(client, key))
        except self.tolerated:
            self._uncertain[key] = self._uncertain.get(key, 0) + 1
            return
        self.slowest_s = max(self.slowest_s, time.monotonic() - started_s)
        low = self._acked.get(key, 0) + 1
        high = low + self._uncertain.pop(key, 0)
        if not low <= value <= high:
            self.errors.append(f"{key!r}: INCR answered {value}, expected {low}..{high}")
        self._acked[key] = value
        self.operations += 1

    def check(self, nodes: Sequence[ServerHandle]) -> None:
        """No error was seen, every counter has its last acknowledged value, and lives on exactly one primary."""
        assert not self.errors, self.errors[:5]
        assert self._acked, "the workload has not done anything"
        nodes_list = [redis.cluster.ClusterNode("127.0.0.1", node.port) for node in nodes if node.running]
        client = redis.RedisCluster(startup_nodes=nodes_list, socket_timeout=30)
        try:
            for key, value in self._acked.items():
                found = int(client.get(key) or 0)
                assert value <= found <= value + self._uncertain.get(key, 0), (key, value, found)
        finally:
            client.close()
        holders = keys_per_primary(nodes)
        assert sum(map(len, holders)) == len(set().union(*holders)), "a key lives on two primaries"
        assert set(self._acked) <= set().union(*holders)


def _increment(client: redis.RedisCluster, key: bytes) -> int:
    """INCR, past a hole in redis-py: an ASK to a node without slots, which it has never heard of, ends in an
    AttributeError. Nothing has been executed then, so the command is simply repeated until the slot has moved.
    """
    while True:
        try:
            return int(client.incr(key))
        except AttributeError as error:
            if "redis_connection" not in str(error):
                raise
            time.sleep(0.002)


def keys_per_primary(nodes: Sequence[ServerHandle]) -> list[set[bytes]]:
    """All keys of every running primary."""
    return [set(node.call("KEYS", "*")) for node in nodes if node.running and bytes(node.call("ROLE")[0]) == b"master"]
