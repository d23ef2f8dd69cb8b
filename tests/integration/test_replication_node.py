"""What clients see of a primary, of a replica, and of the change between the two. Our nodes only."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.processes import ServerHandle, raw_call, start_node, start_node_cluster, wait_until
from tests.support.replication import (
    OPTIONS,
    CuttableLink,
    assert_equal_data,
    follow,
    offset,
    wait_in_step,
    wait_linked,
    write_random,
)

QUIET = ("--repl-ping-replica-period", "3600")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[ServerHandle, ServerHandle]]:
    """A primary and its replica, in step."""
    with start_node(tmp_path / "p", *OPTIONS) as primary, start_node(tmp_path / "r", *OPTIONS) as replica:
        follow(replica, primary.port)
        yield primary, replica


def error_of(server: ServerHandle, *args: Any) -> str:
    """The error that a command ends with."""
    with pytest.raises(redis.ResponseError) as caught:
        server.call(*args)
    return str(caught.value)


def test_replica_refuses_writes_and_serves_reads(pair: tuple[ServerHandle, ServerHandle]) -> None:
    primary, replica = pair
    primary.call("SET", "k", "v")
    wait_in_step(primary, replica)
    assert replica.call("GET", "k") == b"v"
    with pytest.raises(redis.ReadOnlyError, match="You can't write against a read only replica"):
        replica.call("SET", "k", "x")
    assert replica.call("PUBLISH", "channel", "message") == 0, "publishing is no write"
    replica.call("CONFIG", "SET", "replica-read-only", "no")
    assert replica.call("SET", "local", "x") == b"OK"
    assert primary.call("GET", "local") is None


def test_roles_are_told_by_role_and_info(pair: tuple[ServerHandle, ServerHandle]) -> None:
    primary, replica = pair
    wait_until(lambda: primary.call("ROLE")[2], 5, "the replica is listed")
    wait_until(lambda: primary.call("ROLE")[2][0][2] == b"%d" % offset(primary), 5, "it has acknowledged")
    at = offset(primary)
    assert primary.call("ROLE") == [b"master", at, [[b"127.0.0.1", b"%d" % replica.port, b"%d" % at]]]
    assert replica.call("ROLE") == [b"slave", b"127.0.0.1", primary.port, b"connected", at]
    info = replica.info("replication")
    expected = {
        "role": "slave",
        "master_host": "127.0.0.1",
        "master_port": str(primary.port),
        "master_link_status": "up",
        "master_sync_in_progress": "0",
        "slave_repl_offset": str(at),
        "slave_read_only": "1",
        "connected_slaves": "0",
    }
    assert {name: info[name] for name in expected} == expected
    assert primary.info("replication")["slave0"].startswith(f"ip=127.0.0.1,port={replica.port},state=online,offset=")


def test_primary_without_enough_good_replicas_refuses_writes(pair: tuple[ServerHandle, ServerHandle]) -> None:
    primary, replica = pair
    primary.call("CONFIG", "SET", "min-replicas-max-lag", 2)
    primary.call("CONFIG", "SET", "min-replicas-to-write", 1)
    assert primary.call("SET", "k", "1") == b"OK"
    primary.call("CONFIG", "SET", "min-replicas-to-write", 2)
    assert "NOREPLICAS" in error_of(primary, "SET", "k", "2")
    assert primary.call("GET", "k") == b"1"
    primary.call("CONFIG", "SET", "min-replicas-to-write", 1)
    assert primary.call("SET", "k", "3") == b"OK"
    replica.pause()

    def refused() -> bool:
        try:
            primary.call("SET", "k", "4")
        except redis.ResponseError as error:
            return "NOREPLICAS" in str(error)
        return False

    wait_until(refused, 10, "a silent replica does not count", poll_s=0.1)
    replica.resume()
    wait_until(lambda: primary.call("SET", "k", "5") == b"OK", 10, "it counts again")


def test_replica_without_link_is_stale_if_it_is_told_to_be(tmp_path: Path) -> None:
    with (
        start_node(tmp_path / "p", *OPTIONS) as primary,
        start_node(tmp_path / "r", *OPTIONS) as replica,
        CuttableLink(primary.port) as link,
    ):
        primary.call("SET", "k", "v")
        follow(replica, link.port)
        link.cut(reopen=False)
        wait_until(lambda: replica.info("replication")["master_link_status"] == "down", 5, "the link is down")
        assert replica.call("GET", "k") == b"v"
        replica.call("CONFIG", "SET", "replica-serve-stale-data", "no")
        assert "Link with MASTER is down and replica-serve-stale-data is set to 'no'" in error_of(replica, "GET", "k")
        assert int(replica.info("replication")["master_link_down_since_seconds"]) >= 0
        link.reopen()
        wait_linked(replica)
        assert replica.call("GET", "k") == b"v"


def test_blocked_clients_are_released_when_their_node_becomes_a_replica(tmp_path: Path) -> None:
    with start_node(tmp_path / "p", *OPTIONS) as primary, start_node(tmp_path / "r", *OPTIONS) as other:
        client = redis.Redis(port=other.port, socket_timeout=10)
        found: list[str] = []

        def wait() -> None:
            try:
                client.execute_command("BLPOP", "nothing", 0)
            except redis.ResponseError as error:
                found.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        wait_until(lambda: other.info("clients")["blocked_clients"] == "1", 5, "the client is blocked")
        follow(other, primary.port)
        thread.join(10)
        client.close()
        assert found == ["UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"]


def test_client_kill_of_the_link_is_followed_by_a_partial_resync(pair: tuple[ServerHandle, ServerHandle]) -> None:
    primary, replica = pair
    assert b"flags=M" in replica.call("CLIENT", "LIST", "TYPE", "master")
    assert replica.call("CLIENT", "KILL", "TYPE", "master") == 1
    wait_until(lambda: primary.info("stats")["sync_partial_ok"] == "1", 10, "the replica has resumed")
    assert primary.call("CLIENT", "KILL", "TYPE", "replica") == 1
    wait_until(lambda: primary.info("stats")["sync_partial_ok"] == "2", 10, "the replica has resumed again")
    assert primary.info("stats")["sync_full"] == "1"


def test_writes_reach_the_replica_in_order_under_load(pair: tuple[ServerHandle, ServerHandle]) -> None:
    primary, replica = pair
    stop = threading.Event()

    def load() -> None:
        client = redis.Redis(port=primary.port)
        while not stop.is_set():
            with client.pipeline(transaction=False) as pipe:
                for i in range(50):
                    pipe.set(f"load{i}", "x" * 100)
                pipe.execute()
            time.sleep(0.01)  # 5,000 writes a second
        client.close()

    writer = threading.Thread(target=load)
    writer.start()
    lags = []
    try:
        for number in range(200):
            primary.call("SET", "probe", number)
            written = time.perf_counter()
            while replica.call("GET", "probe") != b"%d" % number:
                assert time.perf_counter() - written < 5
            lags.append(time.perf_counter() - written)
    finally:
        stop.set()
        writer.join()
    print(f"lag under load: p99 {sorted(lags)[int(len(lags) * 0.99)] * 1000:.1f} ms")  # measured, not demanded


def test_replica_with_a_log_has_the_primary_s_data_after_a_restart(tmp_path: Path) -> None:
    with (
        start_node(tmp_path / "p", *OPTIONS) as primary,
        start_node(tmp_path / "r", *OPTIONS, "--appendonly", "yes") as replica,
    ):
        replica.call("SET", "gone", "x")
        write_random(primary, 1, 500, volatile=False)
        follow(replica, primary.port)
        wait_until(lambda: replica.info("persistence")["aof_rewrite_in_progress"] == "0", 20, "the log has a new base")
        write_random(primary, 2, 500, volatile=False)
        wait_in_step(primary, replica)
        replica.stop()
        replica.restart()
        assert_equal_data(primary, replica)


def test_writable_replica_expires_what_was_written_to_it(pair: tuple[ServerHandle, ServerHandle]) -> None:
    primary, replica = pair
    primary.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    primary.call("SET", "theirs", "v", "PX", 50)
    wait_in_step(primary, replica)
    replica.call("CONFIG", "SET", "replica-read-only", "no")
    replica.call("SET", "ours", "v", "PX", 50)
    wait_until(lambda: replica.call("EXISTS", "ours", "theirs") == 0, 5, "both are past")
    wait_until(lambda: replica.call("DBSIZE") == 1, 5, "ours is removed, theirs only hidden")
    assert replica.call("INCR", "theirs") == 1, "a write finds no expired key"
    assert replica.call("TTL", "theirs") == -1


def test_replica_that_flushes_first_has_nothing_while_it_loads_and_after_a_broken_load(tmp_path: Path) -> None:
    with (
        start_node(tmp_path / "p", *OPTIONS, "--rdb-key-save-delay", "200000") as primary,
        start_node(tmp_path / "r", *OPTIONS, "--repl-diskless-load", "flush-before-load") as replica,
    ):
        for number in range(100):
            primary.call("SET", number, "x" * 100_000)
        replica.call("SET", "old", "data")
        replica.call("REPLICAOF", "127.0.0.1", primary.port)
        wait_until(lambda: replica.info("persistence")["loading"] == "1", 20, "it loads")
        assert not list((tmp_path / "r").glob("temp-*")), "no file in between"
        primary.call("CONFIG", "SET", "repl-diskless-sync-delay", "60")
        primary.call("CLIENT", "KILL", "TYPE", "replica")
        wait_until(lambda: replica.info("persistence")["loading"] == "0", 20, "the load broke off")
        assert replica.call("DBSIZE") == 0


def test_failover_without_a_caught_up_replica_is_aborted_by_its_timeout(
    pair: tuple[ServerHandle, ServerHandle],
) -> None:
    primary, replica = pair
    assert "not a replica" in error_of(primary, "FAILOVER", "TO", "127.0.0.1", 1)
    replica.pause()
    primary.call("SET", "k", "v")
    assert primary.call("FAILOVER", "TIMEOUT", 300) == b"OK"
    assert primary.info("replication")["master_failover_state"] == "waiting-for-sync"
    assert "already in progress" in error_of(primary, "FAILOVER")
    assert "not allowed while failing over" in error_of(primary, "REPLICAOF", "127.0.0.1", 1)
    wait_until(lambda: primary.info("replication")["master_failover_state"] == "no-failover", 5, "it gave up")
    assert primary.call("SET", "k", "w") == b"OK"
    assert primary.call("ROLE")[0] == b"master"
    replica.resume()
    assert "No failover in progress" in error_of(primary, "FAILOVER", "ABORT")


def test_failover_moves_the_writes_that_wait_for_it(pair: tuple[ServerHandle, ServerHandle]) -> None:
    """A write during the hand-over is held, and then told that this is no primary any more: nothing is lost."""
    primary, replica = pair
    acknowledged = []
    refused = threading.Event()

    def write_on() -> None:
        client = redis.Redis(port=primary.port, socket_timeout=10)
        for number in range(100_000):
            try:
                client.rpush("log", number)
            except redis.ResponseError:
                refused.set()
                break
            acknowledged.append(number)
        client.close()

    writer = threading.Thread(target=write_on)
    writer.start()
    wait_until(lambda: len(acknowledged) > 50, 10, "writes go on")
    assert primary.call("FAILOVER") == b"OK"
    wait_until(lambda: replica.call("ROLE")[0] == b"master", 15, "the replica was promoted")
    writer.join(15)
    assert refused.is_set()
    wait_linked(primary)
    assert [int(item) for item in replica.call("LRANGE", "log", 0, -1)] == acknowledged
    assert replica.info("stats")["sync_partial_ok"] == "1"


def test_redirected_client_waits_while_the_hand_over_is_under_way(pair: tuple[ServerHandle, ServerHandle]) -> None:
    primary, replica = pair
    replica.pause()
    primary.call("SET", "k", "v")
    assert primary.call("FAILOVER", "TO", "127.0.0.1", replica.port, "TIMEOUT", 100, "FORCE") == b"OK"
    wait_until(
        lambda: primary.info("replication")["master_failover_state"] == "failover-in-progress", 5, "it is handing over"
    )
    with redis.Redis(port=primary.port, socket_timeout=20, single_connection_client=True) as client:
        client.execute_command("CLIENT", "CAPA", "redirect")
        assert client.connection is not None
        client.connection.send_command("SET", "k", "w")
        wait_until(lambda: primary.info("clients")["blocked_clients"] == "1", 5, "the writer waits")
        replica.resume()
        with pytest.raises(redis.ResponseError, match=f"^REDIRECT 127.0.0.1:{replica.port}$"):
            client.connection.read_response()
    assert replica.call("ROLE")[0] == b"master"


def test_shutdown_waits_for_a_replica_that_is_behind(tmp_path: Path) -> None:
    with start_node(tmp_path / "p", *OPTIONS) as primary, start_node(tmp_path / "r", *OPTIONS) as replica:
        follow(replica, primary.port)
        replica.pause()
        primary.call("SET", "last", "write")
        client = redis.Redis(port=primary.port, socket_timeout=20)
        pool = client.connection_pool
        connection = pool.get_connection()
        connection.send_command("SHUTDOWN")
        wait_until(lambda: "shutdown_in_milliseconds" in primary.info("server"), 5, "the shutdown waits")
        assert primary.call("GET", "last") == b"write"
        assert primary.call("SHUTDOWN", "ABORT") == b"OK"
        with pytest.raises(redis.ResponseError, match="Errors trying to SHUTDOWN"):
            connection.read_response()
        connection.send_command("SHUTDOWN")
        wait_until(lambda: "shutdown_in_milliseconds" in primary.info("server"), 5, "the shutdown waits again")
        replica.resume()
        wait_until(lambda: not primary.running, 10, "the primary has ended")
        wait_until(lambda: replica.call("GET", "last") == b"write", 5, "nothing is lost")
        connection.disconnect()
        client.close()


def test_primary_started_with_replicaof_needs_no_command(tmp_path: Path) -> None:
    with start_node(tmp_path / "p", *OPTIONS) as primary:
        primary.call("SET", "k", "v")
        with start_node(tmp_path / "r", *OPTIONS, "--replicaof", "127.0.0.1", str(primary.port)) as replica:
            wait_linked(replica)
            assert replica.call("GET", "k") == b"v"
            assert replica.client().config_get("replicaof") == {"replicaof": f"127.0.0.1 {primary.port}"}


def test_replica_authenticates_with_user_and_password(tmp_path: Path) -> None:
    with (
        start_node(tmp_path / "p", *OPTIONS) as primary,
        start_node(tmp_path / "r", *OPTIONS, "--masteruser", "repl", "--masterauth", "wrong") as replica,
    ):
        primary.call("ACL", "SETUSER", "repl", "on", ">secret", "+psync", "+replconf", "+ping")
        primary.call("ACL", "SETUSER", "default", "-psync")
        replica.call("REPLICAOF", "127.0.0.1", primary.port)
        wait_until(lambda: "Unable to AUTH to MASTER" in replica.log(), 10, "the password was refused")
        replica.call("CONFIG", "SET", "masterauth", "secret")
        wait_linked(replica)


def test_commands_that_concern_one_node_are_not_passed_on(pair: tuple[ServerHandle, ServerHandle]) -> None:
    """SAVE and SHUTDOWN reset the count of changes, which must not look like a change."""
    primary, replica = pair
    primary.call("SET", "k", "v")
    assert primary.call("SAVE") == b"OK"
    primary.call("CONFIG", "SET", "save", "3600 1")
    with pytest.raises(redis.ConnectionError):
        primary.call("SHUTDOWN")
    wait_until(lambda: not primary.running, 10, "the primary has ended")
    assert replica.call("GET", "k") == b"v"
    commandstats = replica.info("commandstats")
    assert "cmdstat_save" not in commandstats
    assert "cmdstat_shutdown" not in commandstats


def test_waitaof_waits_for_the_logs_of_both_sides(tmp_path: Path) -> None:
    logged = (*OPTIONS, "--appendonly", "yes")
    with start_node(tmp_path / "p", *logged) as primary, start_node(tmp_path / "r", *logged) as replica:
        assert primary.call("WAITAOF", 1, 0, 1000) == [1, 0]
        with primary.client().client() as connection:
            connection.set("alone", "1")
            assert connection.execute_command("WAITAOF", 1, 0, 5000) == [1, 0]
            assert connection.execute_command("WAITAOF", 1, 1, 50) == [1, 0]
            follow(replica, primary.port)
            connection.set("both", "1")
            assert connection.execute_command("WAITAOF", 1, 1, 20_000) == [1, 1]
            replica.call("CONFIG", "SET", "appendonly", "no")
            connection.set("not on the replica's disk", "1")
            assert connection.execute_command("WAITAOF", 0, 1, 300)[1] == 0
            with socket.create_connection(("127.0.0.1", primary.port), timeout=20) as waiting:
                waiting.sendall(b"SET k v\r\nWAITAOF 1 1 0\r\n")
                wait_until(lambda: primary.info("clients")["blocked_clients"] == "1", 10, "a client waits")
                primary.call("CONFIG", "SET", "appendonly", "no")
                received = b""
                while b"appendonly is disabled" not in received:
                    chunk = waiting.recv(4096)
                    assert chunk
                    received += chunk
            assert "appendonly is disabled" in error_of(primary, "WAITAOF", 1, 0, 0)
        assert "cannot be used with replica instances" in error_of(replica, "WAITAOF", 0, 0, 0)


def test_replica_that_sends_commands_of_clients_is_turned_out(tmp_path: Path) -> None:
    with start_node(tmp_path / "p", *OPTIONS) as primary:
        for command in (b"GET k\r\n", b"SET k v\r\n", b"PING\r\n"):
            with socket.create_connection(("127.0.0.1", primary.port), timeout=10) as fake:
                fake.sendall(b"PSYNC ? -1\r\n")
                received = fake.recv(1000)
                assert received.startswith(b"+FULLRESYNC")
                fake.sendall(command)
                while chunk := fake.recv(65536):
                    received += chunk
            assert b"PONG" not in received
            assert b"-ERR" not in received
        assert primary.call("EXISTS", "k") == 0
        assert "Replica generated a reply to command 'get', disconnecting it" in primary.log()


def test_command_that_reaches_a_replica_late_finds_keys_that_have_expired_meanwhile(
    pair: tuple[ServerHandle, ServerHandle],
) -> None:
    """The primary ran it in time, so it must have the same effect: time stands still for the stream."""
    primary, replica = pair
    primary.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    primary.call("SET", "k", "1", "PX", 1000)
    due_ms = primary.call("PEXPIRETIME", "k")
    wait_in_step(primary, replica)
    replica.pause()
    assert primary.call("INCR", "k") == 2
    wait_until(lambda: time.time() * 1000 > due_ms + 10, 5, "the key's time is over")
    replica.resume()
    wait_in_step(primary, replica)
    assert replica.call("EXISTS", "k") == 0
    assert b"encoding:int" in replica.call("DEBUG", "OBJECT", "k"), "it is hidden, and still there"
    assert primary.call("EXISTS", "k") == 0
    wait_until(lambda: replica.call("DBSIZE") == 0, 5, "the primary's DEL arrived")


def test_commands_unknown_to_a_replica_are_logged_and_skipped(pair: tuple[ServerHandle, ServerHandle]) -> None:
    primary, replica = pair
    primary.call("DEBUG", "REPLICATE", "fake-command", "x")
    primary.call("SET", "k", "v")
    wait_in_step(primary, replica)
    assert replica.call("GET", "k") == b"v"
    assert replica.log().count("== CRITICAL ==") == 1
    assert "fake-command" in replica.log()


def test_cluster_replica_resumes_after_its_restart(tmp_path: Path) -> None:
    """Its role is in nodes.conf, not in `replicaof`; the place in the history is in its RDB all the same."""
    with start_node_cluster(tmp_path, primaries=1, replicas=1) as cluster:
        primary, replica = cluster.nodes
        primary.call("SET", "k", "1")
        wait_in_step(primary, replica)
        assert replica.call("SAVE") == b"OK"
        primary.call("SET", "k", "2")
        replica.kill9()
        primary.call("SET", "k", "3")
        full = primary.info("stats")["sync_full"]
        replica.restart()
        wait_linked(replica)
        wait_in_step(primary, replica)
        stats = primary.info("stats")
        assert (stats["sync_full"], stats["sync_partial_ok"]) == (full, "1")
        replica.call("READONLY")
        assert replica.call("GET", "k") == b"3"


def test_client_that_can_follow_is_sent_from_the_replica_to_its_primary(
    pair: tuple[ServerHandle, ServerHandle],
) -> None:
    primary, replica = pair
    redirect = f"REDIRECT 127.0.0.1:{primary.port}"
    assert error_of(replica, "READONLY") == "This instance has cluster support disabled"
    assert replica.call("GET", "k") is None  # served as ever
    assert replica.call("CLIENT", "CAPA", "redirect", "of-the-future") == b"OK"
    assert error_of(replica, "SET", "k", "v") == redirect
    assert error_of(replica, "GET", "k") == redirect
    assert replica.call("PING") == b"PONG"
    assert replica.call("READONLY") == b"OK"
    assert replica.call("GET", "k") is None
    assert error_of(replica, "SET", "k", "v") == redirect
    assert replica.call("READWRITE") == b"OK"
    replica.call("MULTI")
    assert error_of(replica, "SET", "k", "v") == redirect
    assert error_of(replica, "EXEC") == "Transaction discarded because of previous errors."
    with redis.Redis(port=primary.port) as client:
        raw_call(client, "CLIENT", "CAPA", "redirect")
        raw_call(client, "MULTI")
        assert raw_call(client, "SET", "k", "v") == b"QUEUED"
        primary.call("REPLICAOF", "127.0.0.1", replica.port)
        with pytest.raises(redis.ResponseError, match=f"^REDIRECT 127.0.0.1:{replica.port}$"):
            raw_call(client, "EXEC")
    assert replica.call("RESET") == b"RESET"
    assert replica.call("GET", "k") is None
