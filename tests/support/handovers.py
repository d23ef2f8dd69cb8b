"""Planned failovers under writes: for how long nobody writes, and what of the acknowledged is lost.

    python -m tests.support.handovers --mode cluster --times 10
    python -m tests.support.handovers --mode plain --times 10

`cluster`: a guarded cluster, by turns CLUSTER FAILOVER on the replica and SENTINEL FAILOVER. `plain`: a primary with
two replicas without a cluster, SENTINEL FAILOVER. A few clients write one key after the other, each with keys of its
own, to whoever takes it. The gap is the longest time between two acknowledgements that any client had in a row; so it
holds what the client takes to find the new primary.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs
import redis

from slotmesh.node.resp.encoder import encode_command
from tests.support.guarded import running_guarded
from tests.support.plain_guarded import running_plain
from tests.support.processes import ServerHandle, wait_until

Answer = TypeVar("Answer")

CLIENTS = 4
SETTLE_WRITES = 200
"""Acknowledged by every client before a failover, and again after it."""


CHUNK = 500


@attrs.frozen
class Handover:
    """One planned failover: the longest gap of any client in ms, writes acknowledged in all, and those lost."""

    how: str
    gap_ms: float
    acknowledged: int
    lost: int

    def __str__(self) -> str:
        return f"{self.how}: no writes for {self.gap_ms:.0f} ms, {self.acknowledged} acknowledged, {self.lost} lost"


class Writer(threading.Thread):
    """Writes numbered keys to whichever of `nodes` accepts them, until stopped."""

    def __init__(self, nodes: list[ServerHandle], prefix: bytes) -> None:
        super().__init__(daemon=True)
        self._nodes = itertools.cycle(nodes)
        self._prefix = prefix
        self.acknowledged: list[bytes] = []
        self.times: list[float] = []
        self.done = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.done.is_set():
            with contextlib.suppress(OSError):
                sock = socket.create_connection(("127.0.0.1", next(self._nodes).port), 10)
                with sock:
                    while not self.done.is_set():
                        number += 1
                        key = b"%b:%d" % (self._prefix, number)
                        sock.sendall(encode_command([b"SET", key, b"v"]))
                        reply = sock.recv(4096)
                        if reply != b"+OK\r\n":
                            break
                        self.times.append(time.monotonic())
                        self.acknowledged.append(key)

    def wait_written(self, count: int) -> None:
        """Until `count` more writes are acknowledged."""
        wanted = len(self.times) + count
        wait_until(lambda: len(self.times) >= wanted, 60, f"{count} more writes")


def hand_over(
    nodes: list[ServerHandle], slot_key: str, how: str, order: tuple[ServerHandle, tuple[str, ...]]
) -> Handover:
    """Give `order` to a server while clients write to the shard of `slot_key`; then look for everything."""
    run = time.time_ns()
    writers = [Writer(nodes, b"{%b}%x:%d" % (slot_key.encode(), run, each)) for each in range(CLIENTS)]
    old = _primary(nodes)
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.wait_written(SETTLE_WRITES)
    began = time.monotonic()
    server, words = order
    server.call(*words)
    wait_until(lambda: (new := _primary(nodes, others_than=old)) is not None and new, 30, "another primary")
    for writer in writers:
        writer.wait_written(SETTLE_WRITES)
    for writer in writers:
        writer.done.set()
    for writer in writers:
        writer.join(30)
    new = _again(lambda: _primary(nodes, others_than=old))
    assert new is not None
    keys = [key for writer in writers for key in writer.acknowledged]
    lost = sum(_absent(new, keys[at : at + CHUNK]) for at in range(0, len(keys), CHUNK))
    gap_ms = max(_longest(writer.times, began) for writer in writers) * 1000
    return Handover(how, gap_ms, len(keys), lost)


def _again(ask: Callable[[], Answer]) -> Answer:
    """The answer; asked twice if need be, since sentinels disconnect the clients of servers whose role changes."""
    try:
        return ask()
    except redis.ConnectionError:
        return ask()


def _absent(node: ServerHandle, keys: list[bytes]) -> int:
    """How many of `keys` are not there."""
    present = _again(lambda: node.call("EXISTS", *keys))
    assert isinstance(present, int)
    return len(keys) - present


def _longest(times: list[float], began: float) -> float:
    pairs = itertools.pairwise(times)
    return max(later - earlier for earlier, later in pairs if later >= began)


def _primary(nodes: list[ServerHandle], others_than: ServerHandle | None = None) -> ServerHandle | None:
    found = [node for node in nodes if node is not others_than and node.info("replication")["role"] == "master"]
    return found[0] if found else None


def _in_step(nodes: list[ServerHandle]) -> bool:
    infos = [node.info("replication") for node in nodes]
    return sum(info["role"] == "master" for info in infos) == 1 and all(
        info["role"] == "master" or info["master_link_status"] == "up" for info in infos
    )


def cluster_handovers(directory: Path, times: int) -> Iterator[Handover]:
    """By turns both ways of asking for it, on one shard."""
    with running_guarded(directory) as world:
        primary = world.primary("a")
        shard = [primary, world.replica_of(primary)]
        for turn in range(times):
            wait_until(lambda: _in_step(shard), 30, "the replica is linked")
            old = _primary(shard)
            assert old is not None
            heir = shard[1 - shard.index(old)]
            unit = wait_until(partial(_unit, world.sentinels, old), 30, "the sentinels know the primary")
            orders = (heir, ("CLUSTER", "FAILOVER")), (world.sentinels[0], ("SENTINEL", "FAILOVER", unit))
            yield hand_over(shard, "a", " ".join(orders[turn % 2][1][:2]), orders[turn % 2])


def plain_handovers(directory: Path, times: int) -> Iterator[Handover]:
    """SENTINEL FAILOVER again and again."""
    with running_plain(directory) as world:
        for turn in range(times):
            wait_until(lambda: _in_step(world.nodes), 30, "the replicas are linked")
            sentinel = world.sentinels[turn % len(world.sentinels)]
            wait_until(world.settled, 30, "the sentinels know the primary")
            yield hand_over(world.nodes, "a", "SENTINEL FAILOVER", (sentinel, ("SENTINEL", "FAILOVER", world.name)))


def _unit(sentinels: list[ServerHandle], primary: ServerHandle) -> str:
    """The name of the unit whose primary that is, once all sentinels agree about it; empty until then."""
    names = set()
    for sentinel in sentinels:
        for flat in sentinel.call("SENTINEL", "MASTERS"):
            fields = dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat
            if int(fields[b"port"]) == primary.port and fields[b"flags"] == b"master":
                names.add((sentinel.port, fields[b"name"].decode()))
    return next(iter(names))[1] if len(names) == len(sentinels) else ""


def main() -> int:
    """Report every failover, and the median and worst gap; status 1 when a write was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=("cluster", "plain"), default="cluster")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--dir", type=Path, help="keep the files there, new")
    options = parser.parse_args()
    found: list[Handover] = []
    with tempfile.TemporaryDirectory() as directory:
        runs = cluster_handovers if options.mode == "cluster" else plain_handovers
        for handover in runs(options.dir or Path(directory), options.times):
            found.append(handover)
            print(handover, flush=True)
    gaps = sorted(handover.gap_ms for handover in found)
    lost = sum(handover.lost for handover in found)
    print(f"{len(gaps)} times: median {statistics.median(gaps):.0f} ms, worst {gaps[-1]:.0f} ms, {lost} lost")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
