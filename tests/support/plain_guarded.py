"""A plain primary of ours with two replicas, without a cluster, and three of our sentinels that watch it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.support.processes import OUR_SENTINEL, ServerHandle, start_node, start_sentinel, wait_until

NAME = "solo"


@attrs.define
class Plain:
    """The processes; `nodes[0]` began as the primary."""

    nodes: list[ServerHandle]
    sentinels: list[ServerHandle]
    name: str = NAME

    def primary(self) -> ServerHandle:
        """The node that the first sentinel tells its clients."""
        _, port = self.sentinels[0].call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return next(node for node in self.nodes if node.port == int(port))

    def settled(self) -> bool:
        """Whether all sentinels agree about a healthy primary with two replicas, and know each other."""
        ports = set()
        for sentinel in self.sentinels:
            fact = sentinel.call("SENTINEL", "MASTER", NAME)
            fact = dict(zip(fact[::2], fact[1::2], strict=True)) if isinstance(fact, list) else fact
            ports.add(fact[b"port"])
            if (fact[b"flags"], fact[b"num-slaves"], fact[b"num-other-sentinels"]) != (b"master", b"2", b"2"):
                return False
            if any(self._unlinked(row) for row in sentinel.call("SENTINEL", "REPLICAS", NAME)):
                return False
        return len(ports) == 1

    @staticmethod
    def _unlinked(row: list[bytes] | dict[bytes, bytes]) -> bool:
        fact = dict(zip(row[::2], row[1::2], strict=True)) if isinstance(row, list) else row
        return fact[b"flags"] != b"slave" or fact[b"master-link-status"] != b"ok"


@contextlib.contextmanager
def running_plain(
    directory: Path, *more: str, sentinel_lines: tuple[str, ...] = (), down_after_ms: int = 1500
) -> Iterator[Plain]:
    """The whole world, once everybody knows everybody; `more` are options of the nodes."""
    options = ("--save", "", "--repl-diskless-sync-delay", "0", *more)
    with contextlib.ExitStack() as stack:
        nodes: list[ServerHandle] = []
        for number in range(3):
            where = directory / f"node{number}"
            where.mkdir(parents=True)
            follow = ("--replicaof", f"127.0.0.1 {nodes[0].port}") if nodes else ()
            nodes.append(stack.enter_context(start_node(where, *options, *follow)))
        sentinels = [
            stack.enter_context(
                start_sentinel(
                    OUR_SENTINEL,
                    directory / f"sentinel{number}",
                    [
                        f"sentinel monitor {NAME} 127.0.0.1 {nodes[0].port} 2",
                        f"sentinel down-after-milliseconds {NAME} {down_after_ms}",
                        f"sentinel failover-timeout {NAME} 10000",
                        *sentinel_lines,
                    ],
                )
            )
            for number in range(3)
        ]
        world = Plain(nodes, sentinels)
        wait_until(world.settled, 40, "the sentinels know everybody")
        yield world
