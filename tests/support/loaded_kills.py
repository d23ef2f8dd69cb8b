"""kill -9 of a guarded primary under pipelined writes: what of the acknowledged is lost, and how long nobody writes.

`kill_under_load` does it once. As a program (`make kills`) it kills again and again, shard after shard, on one cluster:

    python -m tests.support.loaded_kills --kills 20

The writers are a process of its own. Each connection sends the next batch when the last one is acknowledged in full,
every write has a key of its own, and replies come in order; so the number of replies says which keys must be there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import selectors
import socket
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import attrs

from slotmesh.node.resp.encoder import encode_command
from tests.support.guarded import KEYS, Guarded, running_guarded
from tests.support.processes import wait_until

CONNECTIONS = 10
DEPTH = 100
VALUE = b"x" * 100
_OK = b"+OK\r\n"
_CHECK_KEYS = 1000


@attrs.frozen
class Outcome:
    """One kill: writes acknowledged and lost, writes per second before it, ms until the successor took a write."""

    acknowledged: int
    lost: int
    rate: int
    gap_ms: int

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} acknowledged, {self.lost} lost, {self.rate} a second, no writes for {self.gap_ms} ms"
        )


def kill_under_load(
    world: Guarded, key: str, write_s: float, *, connections: int = CONNECTIONS, depth: int = DEPTH
) -> Outcome:
    """Write to the shard of `key` for `write_s` seconds, kill its primary, and look for all that was acknowledged.

    Every connection has `depth` writes under way.
    """
    primary = world.primary(key)
    replica = world.replica_of(primary)
    wait_until(lambda: replica.info("replication")["master_link_status"] == "up", 30, "the replica is linked")
    tag = b"{%b}%x:" % (key.encode(), time.time_ns())
    ours, theirs = multiprocessing.Pipe()
    arguments = (primary.port, tag, connections, depth, theirs)
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=arguments, daemon=True)
    writer.start()
    assert ours.poll(60), "the writers never began"
    ours.recv()
    time.sleep(write_s)  # the load itself, no wait for anything
    began = time.monotonic()
    primary.kill9()
    gap_ms = _until_written(replica.port, tag, began)
    assert ours.poll(60), "the writers never ended"
    counts: list[int] = ours.recv()
    writer.join(30)
    with _connected(replica.port) as sock:
        lost = sum(count - _present(sock, tag, number, count) for number, count in enumerate(counts))
    return Outcome(sum(counts), lost, int(sum(counts) / write_s), gap_ms)


def _key(tag: bytes, connection: int, number: int) -> bytes:
    return b"%b%d:%d" % (tag, connection, number)


def _connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _write(port: int, tag: bytes, connections: int, depth: int, parent: Connection) -> None:
    """The writers: until every connection has ended; then the number of writes that each was acknowledged."""
    acknowledged = [0] * connections
    sent = [0] * connections
    held = [b""] * connections
    selector = selectors.DefaultSelector()

    def send_batch(number: int, sock: socket.socket) -> None:
        first = sent[number]
        sent[number] += depth
        sock.sendall(
            b"".join(encode_command([b"SET", _key(tag, number, at), VALUE]) for at in range(first, first + depth))
        )

    for number in range(connections):
        sock = _connected(port)
        selector.register(sock, selectors.EVENT_READ, number)
        send_batch(number, sock)
    parent.send("began")
    while selector.get_map():
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            sock, number = key.fileobj, key.data
            try:
                chunk = sock.recv(1 << 16)
                if chunk:
                    replies = held[number] + chunk
                    whole = len(replies) // len(_OK)
                    if replies[: whole * len(_OK)] != _OK * whole:
                        raise ConnectionAbortedError(f"no acknowledgement: {replies[:100]!r}")
                    acknowledged[number] += whole
                    held[number] = replies[whole * len(_OK) :]
                    if acknowledged[number] == sent[number]:
                        send_batch(number, sock)
                    continue
            except ConnectionError:
                pass  # that of the kill: what was acknowledged before it counts
            selector.unregister(sock)
            sock.close()
    parent.send(acknowledged)


def _until_written(port: int, tag: bytes, began: float) -> int:
    """Ms from `began` until a node takes a write."""
    command = encode_command([b"SET", tag + b"probe", b"x"])
    with _connected(port) as sock:
        while time.monotonic() < began + 30:
            sock.sendall(command)
            if sock.recv(1 << 12) == _OK:
                return int((time.monotonic() - began) * 1000)
            time.sleep(0.002)
    raise AssertionError("no successor took a write within 30 s")


def _present(sock: socket.socket, tag: bytes, connection: int, count: int) -> int:
    """How many of the first `count` keys of a connection are there."""
    found = 0
    with sock.makefile("rb") as replies:
        for first in range(0, count, _CHECK_KEYS):
            numbers = range(first, min(first + _CHECK_KEYS, count))
            sock.sendall(encode_command([b"EXISTS", *(_key(tag, connection, number) for number in numbers)]))
            line = replies.readline()
            assert line[:1] == b":", line
            found += int(line[1:])
    return found


def _restore(world: Guarded, key: str) -> None:
    """Start the dead node again, empty the shard, and wait until it is a whole one."""
    primary = world.primary(key)
    primary.client().execute_command("FLUSHALL")
    for node in world.cluster.nodes:
        if not node.running:
            node.restart()
            wait_until(lambda n=node: n.info("replication").get("master_link_status") == "up", 60, "it replicates")  # type: ignore[misc]
    world.wait_guarded()


def main() -> int:
    """Kill as often as told; 0 when nothing was lost and no gap was longer than `--most-ms`."""
    parser = argparse.ArgumentParser(description="kill -9 of guarded primaries under pipelined writes")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--write-s", type=float, default=2.0, help="seconds of writing before each kill")
    parser.add_argument("--most-ms", type=int, default=500, help="how long nobody may take writes")
    arguments = parser.parse_args()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="kills-") as home, running_guarded(Path(home)) as world:
        for number in range(arguments.kills):
            key = KEYS[number % len(KEYS)]
            outcome = kill_under_load(world, key, arguments.write_s)
            outcomes.append(outcome)
            print(f"kill {number + 1}: {outcome}, load {os.getloadavg()[0]:.1f}", flush=True)
            _restore(world, key)
    lossy = sum(outcome.lost > 0 for outcome in outcomes)
    slow = sum(outcome.gap_ms > arguments.most_ms for outcome in outcomes)
    print(
        f"{len(outcomes)} kills: {sum(one.lost for one in outcomes)} of {sum(one.acknowledged for one in outcomes)} "
        f"acknowledged writes lost, in {lossy} kills; longest gap {max(one.gap_ms for one in outcomes)} ms, "
        f"{slow} above {arguments.most_ms}"
    )
    return int(bool(lossy or slow))


if __name__ == "__main__":
    sys.exit(main())
