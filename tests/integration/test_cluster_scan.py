"""CLUSTERSCAN while slots move and primaries change: a key that is there from start to end is never missed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from slotmesh.cluster.slots import key_slot, slot_tag
from tests.support import clusterctl
from tests.support.processes import ClusterHandle, ServerHandle, start_node_cluster, wait_until

SLOT = 0
KEYS = frozenset(b"{06S}:%d" % n for n in range(400))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    patience = ("--cluster-node-timeout", "20000")
    with start_node_cluster(tmp_path_factory.mktemp("nodes"), *patience, primaries=2, replicas=1) as handle:
        yield handle


@pytest.fixture
def cluster(shared: ClusterHandle) -> ClusterHandle:
    """The shared cluster without keys."""
    for node in primaries(shared):
        node.call("FLUSHALL")
    return shared


class Scan:
    """A scan that follows MOVED and ASK, as a cluster client does."""

    def __init__(self, nodes: list[ServerHandle], *options: str | int) -> None:
        self._by_port = {node.port: node for node in nodes}
        self._options = options
        self._port = nodes[0].port
        self.cursor = b"0"
        self.found: set[bytes] = set()
        self.started = False
        self.redirections: set[str] = set()

    @property
    def done(self) -> bool:
        return self.started and self.cursor == b"0"

    def page(self) -> None:
        """One page, wherever it is."""
        port, asking = self._port, False
        for _ in range(10):
            client = redis.Redis(port=port, protocol=3)
            try:
                pipe = client.pipeline(transaction=False)
                if asking:
                    pipe.execute_command("ASKING")
                pipe.execute_command("CLUSTERSCAN", self.cursor, *self._options)
                reply = pipe.execute(raise_on_error=False)[-1]
            finally:
                client.close()
            if isinstance(reply, redis.exceptions.ResponseError):
                word = "MOVED" if isinstance(reply, redis.exceptions.MovedError) else "ASK"
                assert isinstance(reply, redis.exceptions.AskError), reply  # MovedError is one, too
                self.redirections.add(word)
                port, asking = reply.port, word == "ASK"
                if not asking:
                    self._port = port
                continue
            self.cursor, keys = reply
            self.found.update(keys)
            self.started = True
            return
        raise AssertionError(f"sent around in circles: {self.cursor!r}")

    def run(self, between: Callable[[], None] = lambda: None) -> set[bytes]:
        """All pages; what was found."""
        for _ in range(20_000):
            self.page()
            if self.done:
                return self.found
            between()
        raise AssertionError("the scan never ends")


def primaries(cluster: ClusterHandle) -> list[ServerHandle]:
    return [node for node in cluster.nodes if node.running and node.call("ROLE")[0] == b"master"]


def owner_and_other(cluster: ClusterHandle) -> tuple[ServerHandle, ServerHandle]:
    """The primary that owns slot 0, and the other one."""
    first, second = primaries(cluster)
    (port,) = [owner[1] for low, _, owner, *_ in first.call("CLUSTER", "SLOTS") if low == SLOT]
    return (first, second) if first.port == port else (second, first)


def fill(node: ServerHandle) -> None:
    pipe = node.client().pipeline(transaction=False)
    for key in KEYS:
        pipe.set(key, "v")
    pipe.execute()


class Migration:
    """Moves slot 0 key by key, as stock tools do."""

    def __init__(self, source: ServerHandle, target: ServerHandle, keys: list[bytes]) -> None:
        self.source, self.target = source, target
        self._left = keys
        self._source_id, self._target_id = source.call("CLUSTER", "MYID"), target.call("CLUSTER", "MYID")

    def open(self) -> None:
        self.target.call("CLUSTER", "SETSLOT", SLOT, "IMPORTING", self._source_id)
        self.source.call("CLUSTER", "SETSLOT", SLOT, "MIGRATING", self._target_id)

    def move(self, count: int) -> None:
        """Move the next `count` keys."""
        keys, self._left = self._left[:count], self._left[count:]
        if keys:
            self.source.call("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *keys)

    def close(self) -> None:
        """Move what is left, and hand the slot over."""
        self.move(len(self._left))
        for node in (self.target, self.source):
            node.call("CLUSTER", "SETSLOT", SLOT, "NODE", self._target_id)

    def abort(self) -> None:
        """Close the slot where it was, and take back what was moved."""
        self.source.call("CLUSTER", "SETSLOT", SLOT, "STABLE")
        there = self.target.call("CLUSTER", "GETKEYSINSLOT", SLOT, 10_000)
        if there:
            client = self.target.client()
            pipe = client.pipeline(transaction=False)
            for start in range(0, len(there), 100):
                keys = there[start : start + 100]
                pipe.execute_command("MIGRATE", "127.0.0.1", self.source.port, "", 0, 5000, "KEYS", *keys)
            pipe.execute()
        self.target.call("CLUSTER", "SETSLOT", SLOT, "STABLE")


@pytest.mark.parametrize("seed", range(6))
def test_scan_of_a_slot_that_moves_key_by_key_misses_nothing(cluster: ClusterHandle, seed: int) -> None:
    rng = random.Random(seed)
    source, target = owner_and_other(cluster)
    fill(source)
    order = sorted(KEYS)
    rng.shuffle(order)
    migration = Migration(source, target, order)
    scan = Scan(primaries(cluster), "COUNT", 7, "SLOT", SLOT)
    open_at = rng.randrange(20)
    close_at = open_at + rng.randrange(1, 120)
    turn = 0

    def between() -> None:
        nonlocal turn
        turn += 1
        if turn == open_at:
            migration.open()
        elif open_at < turn < close_at:
            migration.move(rng.randrange(12))
        elif turn == close_at:
            migration.close()

    found = scan.run(between)
    if turn >= open_at:
        migration.close()  # a slot that stays open would be the next test's
        cluster.wait_ok()
    assert found == KEYS


def test_scan_of_an_open_slot_meets_both_halves_by_ask(cluster: ClusterHandle) -> None:
    source, target = owner_and_other(cluster)
    fill(source)
    migration = Migration(source, target, sorted(KEYS))
    migration.open()
    migration.move(200)
    scan = Scan(primaries(cluster), "COUNT", 10)
    assert scan.run() == KEYS
    assert "ASK" in scan.redirections
    migration.abort()


def test_scan_across_an_aborted_move_misses_nothing(cluster: ClusterHandle) -> None:
    source, target = owner_and_other(cluster)
    fill(source)
    migration = Migration(source, target, sorted(KEYS))
    migration.open()
    migration.move(150)
    scan = Scan(primaries(cluster), "COUNT", 10, "SLOT", SLOT)
    for _ in range(8):
        scan.page()
    migration.abort()
    assert scan.run() == KEYS


def test_scan_of_all_slots_during_reshards_misses_nothing(cluster: ClusterHandle, tmp_path: Path) -> None:
    keys = {b"fill:%d" % n for n in range(3000)}
    client = cluster.client()
    try:
        for key in keys:
            client.set(key, "v")
    finally:
        client.close()
    first, second = primaries(cluster)
    over = threading.Event()
    failures: list[str] = []

    def move_to_and_fro() -> None:
        for target in (second, first):
            outcome = clusterctl.run(
                tmp_path, "reshard", "-n", first.address, "--to", target.address, "--slots", 1500, "--yes"
            )
            if outcome.code:
                failures.append(outcome.stderr)
        over.set()

    mover = threading.Thread(target=move_to_and_fro)
    mover.start()
    try:
        scans = 0
        while not over.is_set() or not scans:
            scan = Scan(primaries(cluster), "COUNT", 50)
            assert scan.run() == keys
            scans += 1
    finally:
        mover.join()
    assert not failures


def test_stock_cluster_client_scans_everything_by_routing_the_cursor(cluster: ClusterHandle) -> None:
    keys = {b"stock:%d" % n for n in range(300)}
    client = cluster.client()
    try:
        for key in keys:
            client.set(key, "v")
        found: set[bytes] = set()
        cursor, calls = b"0", 0
        while calls < 1000:
            cursor, listed = client.execute_command("CLUSTERSCAN", cursor, "COUNT", 20)
            found.update(listed)
            calls += 1
            if cursor == b"0":
                break
    finally:
        client.close()
    assert cursor == b"0"
    assert found == keys


def test_replica_serves_a_scan_to_a_readonly_client_only(cluster: ClusterHandle) -> None:
    source, _ = owner_and_other(cluster)
    fill(source)
    replica = next(
        node for node in cluster.nodes if node.call("ROLE")[0] == b"slave" and node.call("ROLE")[2] == source.port
    )
    wait_until(lambda: replica.call("DBSIZE") == source.call("DBSIZE"), 20, "the replica has all keys")
    client = replica.client()
    request = ("CLUSTERSCAN", b"0-{06S}-0", "COUNT", 1000, "SLOT", SLOT)
    pipe = client.pipeline(transaction=False)
    for words in (request, ("READONLY",), request, ("READWRITE",)):
        pipe.execute_command(*words)
    moved, _, (cursor, keys), _ = pipe.execute(raise_on_error=False)
    assert isinstance(moved, redis.exceptions.MovedError)
    assert moved.port == source.port
    assert (cursor, frozenset(keys)) == (b"0", KEYS)


def test_scan_goes_on_at_its_place_after_a_failover(cluster: ClusterHandle) -> None:
    source, _ = owner_and_other(cluster)
    fill(source)
    scan = Scan(primaries(cluster), "COUNT", 10, "SLOT", SLOT)
    for _ in range(15):
        scan.page()
    before = len(scan.found)
    replica = next(
        node for node in cluster.nodes if node.call("ROLE")[0] == b"slave" and node.call("ROLE")[2] == source.port
    )
    wait_until(lambda: replica.call("DBSIZE") == source.call("DBSIZE"), 20, "the replica has all keys")
    assert replica.call("CLUSTER", "FAILOVER") == b"OK"
    wait_until(lambda: replica.call("ROLE")[0] == b"master", 20, "the replica took over")
    wait_until(lambda: source.call("ROLE")[0] == b"slave", 20, "the old primary follows")
    cluster.wait_ok()
    assert key_slot(slot_tag(SLOT)) == SLOT
    later = Scan([replica], "COUNT", 10, "SLOT", SLOT)
    later.cursor, later.started = scan.cursor, True
    rest = later.run()
    assert scan.found | rest == KEYS
    assert len(rest) <= len(KEYS) - before + 20  # it did not start again
