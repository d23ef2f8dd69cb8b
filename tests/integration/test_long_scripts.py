"""A node whose script runs for long is no dead node: not to the cluster, its sentinels, its replicas or its primary.

Nor does anything get under the script: what wants to change roles or data waits for its end.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from slotmesh.node.resp.encoder import encode_command
from tests.support.guarded import Guarded, running_guarded
from tests.support.processes import ServerHandle, start_node, start_node_cluster, wait_until
from tests.support.replication import wait_in_step
from tests.support.twins import Wire

TIMEOUT_MS = 1500
#: Several times what makes a silent node suspect.
LONG_S = 4 * TIMEOUT_MS / 1000
FOR_EVER = "while true do end"
#: Writes, and ends when the number in ARGV is counted.
WRITES = "redis.call('set', KEYS[1], 'half') for i = 1, ARGV[1] do end return redis.call('set', KEYS[1], 'whole')"
BUSY_SOON = ("--busy-reply-threshold", "100")


@contextlib.contextmanager
def busy(node: ServerHandle, *args: str) -> Iterator[tuple[socket.socket, Wire]]:
    """A connection whose script runs, and another one, which sees that."""
    other = Wire(node.port)
    with socket.create_connection(("127.0.0.1", node.port), timeout=60) as sock:
        sock.sendall(encode_command([arg.encode() for arg in args]))
        wait_until(lambda: other.call(["PING"]).startswith(b"-BUSY"), 15, "the script is busy")
        yield sock, other
    other.close()


def stays(condition: Callable[[], bool], duration_s: float, what: str) -> None:
    """Look again and again for a while: that nothing happens, only time can show."""
    end = time.monotonic() + duration_s
    while time.monotonic() < end:
        assert condition(), what
        time.sleep(0.05)


def link_is_up(replica: ServerHandle) -> bool:
    return replica.info("replication").get("master_link_status") == "up"


def follow(replica: ServerHandle, primary: ServerHandle) -> None:
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    wait_until(lambda: link_is_up(replica), 20, "the replica follows")


def looks_alive(guarded: Guarded, node: ServerHandle, my_id: str) -> bool:
    """Whether another node of the cluster and every sentinel think that `node` is a healthy primary."""
    watcher = next(each for each in guarded.cluster.nodes if each is not node)
    line = next(line for line in watcher.call("CLUSTER", "NODES").decode().splitlines() if line.startswith(my_id))
    return line.split()[2] == "master" and not any("+sdown" in sentinel.log() for sentinel in guarded.sentinels)


def test_long_script_is_no_death_to_cluster_and_sentinels(tmp_path: Path) -> None:
    with running_guarded(tmp_path, *BUSY_SOON, node_timeout_ms=TIMEOUT_MS, down_after_ms=TIMEOUT_MS) as guarded:
        primary = guarded.primary("a")
        replica = guarded.replica_of(primary)
        my_id = primary.call("CLUSTER", "MYID").decode()
        with busy(primary, "EVAL", FOR_EVER, "0") as (caller, other):
            stays(lambda: looks_alive(guarded, primary, my_id) and link_is_up(replica), LONG_S, "it counts as alive")
            assert other.call(["GET", "a"]).startswith(b"-BUSY")
            assert other.call(["SCRIPT", "KILL"]) == b"+OK\r\n"
            assert caller.recv(1000).startswith(b"-ERR Script killed by user")
            # Its leases were renewed all the time, but for a starved machine.
            wait_until(lambda: other.call(["SET", "a", "at once"]) == b"+OK\r\n", 10, "writes again")
        with busy(primary, "EVAL", WRITES, "1", "a", "3e8") as (caller, other):
            stays(
                lambda: looks_alive(guarded, primary, my_id) and link_is_up(replica), LONG_S / 4, "it counts as alive"
            )
            assert caller.recv(1000) == b"+OK\r\n"
        wait_in_step(primary, replica)  # WAIT counts from the last write of the connection that asks
        replica.call("READONLY")
        assert replica.call("GET", "a") == b"whole"
        assert "refusing writes" not in primary.log().split("Slow script detected", 1)[1]


def test_replica_of_a_busy_primary_stays_and_sees_no_half_of_a_script(tmp_path: Path) -> None:
    with (
        start_node(
            tmp_path / "primary", *BUSY_SOON, "--repl-timeout", "2", "--repl-ping-replica-period", "1"
        ) as primary,
        start_node(tmp_path / "replica", "--repl-timeout", "2") as replica,
    ):
        follow(replica, primary)
        primary.call("SET", "k", "before")
        assert primary.call("WAIT", 1, 5000) == 1
        with busy(primary, "EVAL", FOR_EVER.replace("do", "do redis.call('set', 'k', 'half')"), "0"):
            stays(
                lambda: link_is_up(replica) and replica.call("GET", "k") == b"before", 4, "the replica is up, as before"
            )
            primary.process.kill()
            wait_until(lambda: not link_is_up(replica), 10, "the primary is gone")
        assert replica.call("GET", "k") == b"before"


def test_transaction_around_a_long_script_stays_indivisible(tmp_path: Path) -> None:
    with start_node(tmp_path / "one", *BUSY_SOON) as primary, start_node(tmp_path / "two") as replica:
        follow(replica, primary)
        with socket.create_connection(("127.0.0.1", primary.port), timeout=60) as sock:
            for words in (["MULTI"], ["SET", "x", "1"], ["EVAL", WRITES, "1", "k", "2e8"], ["SET", "y", "2"], ["EXEC"]):
                sock.sendall(encode_command([word.encode() for word in words]))
            other = Wire(primary.port)
            wait_until(lambda: other.call(["PING"]).startswith(b"-BUSY"), 15, "the script is busy")
            stays(lambda: replica.call("DBSIZE") == 0, 0.5, "nothing of it has come out")
            received = b""
            while not received.endswith(b"*3\r\n+OK\r\n+OK\r\n+OK\r\n"):
                received += sock.recv(1000)
            other.close()
        wait_in_step(primary, replica)
        assert replica.call("MGET", "x", "k", "y") == [b"1", b"whole", b"2"]


def test_failover_under_a_script_waits_for_its_end(tmp_path: Path) -> None:
    options = ("--cluster-node-timeout", "5000", *BUSY_SOON)
    with start_node_cluster(tmp_path, *options, "--repl-diskless-sync-delay", "0") as cluster:
        world = Guarded(cluster, [])
        primary = world.primary("a")
        replica = world.replica_of(primary)
        wait_until(lambda: link_is_up(replica), 20, "the replica follows")
        with busy(primary, "EVAL", WRITES, "1", "a", "3e8") as (caller, _):
            assert replica.call("CLUSTER", "FAILOVER", "TAKEOVER") == b"OK"
            wait_until(lambda: replica.info("replication")["role"] == "master", 10, "the replica has taken over")
            assert caller.recv(1000) == b"+OK\r\n"
        wait_until(lambda: primary.info("replication")["role"] == "slave", 20, "the old primary follows")
        wait_until(lambda: link_is_up(primary), 30, "it is in step again")
        replica.call("SET", "a", "new")
        primary.call("READONLY")
        wait_until(lambda: primary.call("GET", "a") == b"new", 10, "it has the data of its successor")


def test_full_sync_under_a_function_waits_for_its_end(tmp_path: Path) -> None:
    """What CVE-2026-23631 is about: the new data set took the running function away."""
    library = "#!lua name=lib\nredis.register_function{function_name='f', callback=function() while true do end end, "
    with (
        start_node(tmp_path / "one", "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0") as primary,
        start_node(tmp_path / "two", *BUSY_SOON) as replica,
    ):
        primary.call("FUNCTION", "LOAD", library + "flags={'no-writes'}}")
        follow(replica, primary)
        with busy(replica, "FCALL_RO", "f", "0") as (caller, other):
            primary.call("DEBUG", "CHANGE-REPL-ID")
            primary.call("CLIENT", "KILL", "TYPE", "replica")
            primary.call("SET", "k", "new")
            wait_until(lambda: replica.log().count("Full resync from master") == 2, 20, "the replica asks for all data")
            stays(lambda: other.call(["PING"]).startswith(b"-BUSY"), 1, "the function runs on")
            assert replica.log().count("Finished with success") == 1
            assert other.call(["FUNCTION", "KILL"]) == b"+OK\r\n"
            assert caller.recv(1000).startswith(b"-ERR Script killed by user")
        wait_until(lambda: replica.log().count("Finished with success") == 2, 20, "the full sync is done")
        assert replica.call("GET", "k") == b"new"
        assert replica.call("FUNCTION", "LIST") != []
