"""Persistence of a running node: background saves, save points, full disks, crashes, loading, switching the log."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from slotmesh.node.persistence.rdb_file import RdbWriter
from tests.support.processes import (
    OUR_NODE,
    PROJECT_ROOT,
    ServerHandle,
    free_ports,
    start_node,
    start_server,
    wait_until,
)

LOG = ("--appendonly", "yes")
#: A node whose files may not grow beyond 64 KB: as good as a full disk, without the right to mount one.
SMALL_DISK = ("sh", "-c", 'ulimit -f 64 && exec "$@"', "sh", *OUR_NODE)


def _persistence(node: ServerHandle) -> dict[str, str]:
    return node.info("persistence")


def _settled(node: ServerHandle) -> dict[str, str]:
    """The INFO section once no child is active."""

    def idle() -> dict[str, str] | None:
        fields = _persistence(node)
        busy = fields["rdb_bgsave_in_progress"] != "0" or fields["aof_rewrite_in_progress"] != "0"
        return None if busy or fields["aof_rewrite_scheduled"] != "0" else fields

    return wait_until(idle, 20, "no child")


def _fill(node: ServerHandle, keys: int, size: int = 100) -> None:
    pipe = node.client().pipeline(transaction=False)
    for i in range(keys):
        pipe.set(f"key:{i}", os.urandom(size // 2).hex())
        if i % 1000 == 999:
            pipe.execute()
    pipe.execute()


def _write_kilobytes(node: ServerHandle, acknowledged: list[int] | None = None) -> None:
    """A hundred keys of a kilobyte, noting in `acknowledged` those that were answered."""
    for i in range(100):
        node.call("SET", f"k{i}", "x" * 1000)
        if acknowledged is not None:
            acknowledged.append(i)


# -- snapshots -----------------------------------------------------------------------------------------------------


def test_save_point_starts_a_save_by_itself(tmp_path: Path) -> None:
    with start_node(tmp_path, "--save", "1 10") as node:
        for i in range(9):
            node.call("SET", f"k{i}", i)
        assert _persistence(node)["rdb_saves"] == "0"
        node.call("SET", "the tenth", "change")
        wait_until(lambda: (tmp_path / "dump.rdb").exists(), 10, "the save")
        fields = _settled(node)
        assert fields["rdb_last_bgsave_status"] == "ok"
        assert fields["rdb_changes_since_last_save"] == "0"
        node.kill9()
        node.restart()
        assert node.call("DBSIZE") == 10


def test_clients_are_served_while_a_child_saves_and_a_second_save_is_refused(tmp_path: Path) -> None:
    with start_node(tmp_path, "--rdb-key-save-delay", "1000") as node:
        _fill(node, 300)
        assert node.call("BGSAVE") == b"Background saving started"
        with pytest.raises(redis.ResponseError, match="Background save already in progress"):
            node.call("BGSAVE")
        with pytest.raises(redis.ResponseError, match="Background save already in progress"):
            node.call("SAVE")
        assert node.call("BGREWRITEAOF") == b"Background append only file rewriting scheduled"
        assert _persistence(node)["rdb_bgsave_in_progress"] == "1"
        assert node.call("SET", "meanwhile", "x") == b"OK"
        fields = _settled(node)
        assert fields["rdb_changes_since_last_save"] == "1"  # the snapshot is older than that
        assert fields["aof_rewrites"] == "1"  # the scheduled rewrite ran when the save was over


def test_child_that_is_killed_counts_as_a_failure_until_a_save_succeeds(tmp_path: Path) -> None:
    with start_node(tmp_path, "--save", "3600 1", "--rdb-key-save-delay", "10000") as node:
        _fill(node, 1000)
        node.call("BGSAVE")
        child = wait_until(lambda: next(tmp_path.glob("temp-*.rdb"), None), 10, "the child's file")
        os.kill(int(child.stem.removeprefix("temp-")), signal.SIGKILL)
        assert wait_until(lambda: _settled(node)["rdb_last_bgsave_status"] == "err", 10, "the failure")
        assert not child.exists()
        with pytest.raises(redis.ResponseError, match="MISCONF Redis is configured to save RDB snapshots"):
            node.call("SET", "k", "v")
        assert node.call("GET", "key:1") is not None
        node.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        assert node.call("SET", "k", "v") == b"OK"
        node.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes", "rdb-key-save-delay", "0")
        with pytest.raises(redis.ResponseError, match="MISCONF"):
            node.call("SET", "k", "v")
        assert node.call("BGSAVE") == b"Background saving started"
        assert _settled(node)["rdb_last_bgsave_status"] == "ok"
        assert node.call("SET", "k", "v") == b"OK"


def test_save_is_called_off_at_the_newer_level_and_counts_as_no_failure(tmp_path: Path) -> None:
    with start_node(tmp_path, "--compat-level", "7.2", "--rdb-key-save-delay", "1000000") as node:
        _fill(node, 100)
        not_running = "Background saving is currently not in progress or scheduled"
        node.call("BGSAVE")
        wait_until(lambda: list(tmp_path.glob("temp-*.rdb")), 10, "the child's file")
        assert node.call("BGSAVE", "CANCEL") == b"Background saving cancelled"
        fields = _settled(node)
        assert fields["rdb_last_bgsave_status"] == "ok"
        assert not list(tmp_path.glob("*.rdb"))
        with pytest.raises(redis.ResponseError, match=not_running):
            node.call("BGSAVE", "CANCEL")
        node.call("BGREWRITEAOF")
        assert node.call("BGSAVE", "SCHEDULE") == b"Background saving scheduled"
        assert node.call("BGSAVE", "CANCEL") == b"Scheduled background saving cancelled"
        with pytest.raises(redis.ResponseError, match=not_running):
            node.call("BGSAVE", "CANCEL")


def test_full_disk_refuses_writes_but_not_reads_and_keeps_the_old_snapshot(tmp_path: Path) -> None:
    with start_server(SMALL_DISK, tmp_path, "--save", "3600 1", "--logfile", "/dev/null") as node:
        node.call("SET", "small", "data")
        assert node.call("SAVE") == b"OK"
        before = (tmp_path / "dump.rdb").read_bytes()
        _fill(node, 1000)
        with pytest.raises(redis.ResponseError, match=r"^(ERR)?$"):
            node.call("SAVE")
        node.call("BGSAVE")
        assert _settled(node)["rdb_last_bgsave_status"] == "err"
        with pytest.raises(redis.ResponseError, match="MISCONF"):
            node.call("SET", "k", "v")
        assert node.call("GET", "small") == b"data"
        assert (tmp_path / "dump.rdb").read_bytes() == before
        assert sorted(path.name for path in tmp_path.glob("temp-*")) == []


def test_shutdown_saves_or_not_as_told(tmp_path: Path) -> None:
    for words, saved in (
        (("SAVE",), True),
        (("NOSAVE",), False),
        ((), False),  # there are no save points
    ):
        directory = tmp_path / "-".join(("x", *words))
        with start_node(directory) as node:
            node.call("SET", "k", "v")
            with pytest.raises(redis.ConnectionError):
                node.call("SHUTDOWN", *words)
            assert node.process.wait(10) == 0
            assert (directory / "dump.rdb").exists() == saved


def test_sigterm_saves_when_there_are_save_points(tmp_path: Path) -> None:
    with start_node(tmp_path, "--save", "3600 1") as node:
        node.call("SET", "k", "v")
        assert node.stop() == 0
        node.restart()
        assert node.call("GET", "k") == b"v"


def test_failed_final_save_keeps_the_server_alive_unless_forced(tmp_path: Path) -> None:
    with start_server(SMALL_DISK, tmp_path, "--save", "3600 1", "--logfile", "/dev/null") as node:
        _fill(node, 1500)
        with pytest.raises(redis.ResponseError, match="Errors trying to SHUTDOWN"):
            node.call("SHUTDOWN")
        assert node.call("DBSIZE") == 1500
        with pytest.raises(redis.ConnectionError):
            node.call("SHUTDOWN", "FORCE")
        assert node.process.wait(10) == 0


# -- the log -------------------------------------------------------------------------------------------------------


def test_log_switched_on_inside_a_transaction_holds_its_changes_once(tmp_path: Path) -> None:
    """The base is written when the transaction is over: the log is told of all of its changes, at its end."""
    with (
        start_node(tmp_path, "--save", "", "--repl-diskless-sync", "no") as node,
        socket.create_connection(("127.0.0.1", node.port), timeout=10) as replica,
    ):
        replica.sendall(b"PSYNC ? -1\r\n")  # with a replica, what the transaction does first is gathered, too
        assert replica.recv(11) == b"+FULLRESYNC"
        wait_until(lambda: node.info("persistence")["rdb_bgsave_in_progress"] == "0", 20, "the snapshot")
        client = redis.Redis(port=node.port, socket_timeout=5)
        with client.pipeline(transaction=True) as transaction:
            transaction.incr("n")
            transaction.config_set("appendonly", "yes")
            transaction.incr("n")
            transaction.execute()
        client.close()
        wait_until(lambda: node.info("persistence")["aof_rewrite_scheduled"] == "0", 20, "the base")
        wait_until(lambda: node.info("persistence")["aof_rewrite_in_progress"] == "0", 20, "its end")
        node.call("INCR", "n")
        node.kill9()
        node.restart("--appendonly", "yes")
        assert int(node.call("GET", "n")) == 3


@pytest.mark.parametrize("policy", ["always", "everysec", "no"])
def test_killed_process_has_lost_nothing_it_acknowledged(tmp_path: Path, policy: str) -> None:
    """What reached the kernel outlives the process, whatever the policy; the policies differ in a power cut."""
    with start_node(tmp_path, *LOG, "--appendfsync", policy) as node:
        acknowledged = [0, 0, 0]
        stop = threading.Event()

        def write(number: int) -> None:
            client = redis.Redis(port=node.port, socket_timeout=5)
            try:
                while not stop.is_set():
                    acknowledged[number] = client.incr(f"n{number}")
            except (redis.ConnectionError, redis.TimeoutError):
                pass  # the kill
            finally:
                client.close()

        writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for writer in writers:
            writer.start()
        wait_until(lambda: min(acknowledged) > 100, 20, "some writes")
        node.kill9()
        stop.set()
        for writer in writers:
            writer.join(10)
        node.restart()
        for number, value in enumerate(acknowledged):
            assert int(node.call("GET", f"n{number}")) >= value


def test_log_grows_and_is_rewritten_by_itself(tmp_path: Path) -> None:
    options = ("--auto-aof-rewrite-percentage", "100", "--auto-aof-rewrite-min-size", "100kb")
    with start_node(tmp_path, *LOG, *options) as node:
        pipe = node.client().pipeline(transaction=False)
        for i in range(4000):
            pipe.set("same key", f"{i:050d}")
        pipe.execute()
        wait_until(lambda: _persistence(node)["aof_rewrites"] != "0", 20, "an automatic rewrite")
        fields = wait_until(
            lambda: f if (f := _persistence(node))["aof_rewrite_in_progress"] == "0" else None,
            20,
            "its end",
        )
        assert fields["aof_last_bgrewrite_status"] == "ok"
        assert int(fields["aof_current_size"]) < 350_000  # 4000 commands of about 95 bytes were logged
        node.kill9()
        node.restart()
        assert node.call("GET", "same key") == b"%050d" % 3999


def test_rewrite_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    with start_node(tmp_path, *LOG, "--rdb-key-save-delay", "10000") as node:
        _fill(node, 500)
        node.call("BGREWRITEAOF")
        node.call("SET", "during", "the rewrite")
        wait_until(lambda: list(tmp_path.glob("appendonlydir/temp-*.base")), 10, "the child's file")
        node.kill9()
        assert len(list((tmp_path / "appendonlydir").glob("*.incr.aof"))) == 2
        node.restart()
        assert not list(tmp_path.glob("appendonlydir/temp-*"))
        assert node.call("DBSIZE") == 501
        assert node.call("GET", "during") == b"the rewrite"
        node.call("CONFIG", "SET", "rdb-key-save-delay", "0")
        node.call("BGREWRITEAOF")
        _settled(node)
        node.kill9()
        node.restart()
        assert node.call("DBSIZE") == 501


def test_log_switched_on_at_run_time_holds_old_and_new_data(tmp_path: Path) -> None:
    with start_node(tmp_path) as node:
        node.call("SET", "old", "1")
        node.call("CONFIG", "SET", "appendonly", "yes")
        node.call("SET", "new", "2")
        fields = _settled(node)
        assert fields["aof_enabled"] == "1"
        node.call("SET", "newer", "3")
        node.kill9()
        node.restart("--appendonly", "yes")
        assert sorted(node.call("KEYS", "*")) == [b"new", b"newer", b"old"]
        node.call("CONFIG", "SET", "appendonly", "no")
        node.call("SET", "unlogged", "4")
        assert _persistence(node)["aof_enabled"] == "0"
        node.call("CONFIG", "SET", "appendonly", "yes")
        _settled(node)
        node.kill9()
        node.restart("--appendonly", "yes")
        assert node.call("GET", "unlogged") == b"4"


def test_full_disk_under_the_log_refuses_writes_until_there_is_room(tmp_path: Path) -> None:
    with start_server(SMALL_DISK, tmp_path, *LOG, "--appendfsync", "everysec", "--logfile", "/dev/null") as node:
        acknowledged: list[int] = []
        with pytest.raises(redis.ConnectionError):  # the write that the disk did not take any more
            _write_kilobytes(node, acknowledged)
        with pytest.raises(redis.ResponseError, match="MISCONF Errors writing to the AOF file: File too large"):
            node.call("SET", "another", "x")
        assert len(node.call("GET", "k0")) == 1000
        assert _persistence(node)["aof_last_write_status"] == "err"
        node.kill9()
        node.restart()
        assert node.call("DBSIZE") == len(acknowledged) > 10  # nothing that was acknowledged is lost
        assert len(node.call("GET", "k0")) == 1000


def test_full_disk_under_always_ends_the_process_unanswered(tmp_path: Path) -> None:
    with start_server(SMALL_DISK, tmp_path, *LOG, "--appendfsync", "always", "--logfile", "/dev/null") as node:
        acknowledged: list[int] = []
        with pytest.raises(redis.ConnectionError):
            _write_kilobytes(node, acknowledged)
        assert node.process.wait(10) == 1
        node.restart()
        assert node.call("DBSIZE") == len(acknowledged) > 10


def test_log_that_cannot_be_switched_on_is_refused_and_stays_off(tmp_path: Path) -> None:
    with start_node(tmp_path) as node:
        node.call("SET", "k", "v")
        (tmp_path / "appendonlydir").write_text("in the way")
        with pytest.raises(redis.ResponseError, match="Unable to turn on AOF"):
            node.call("CONFIG", "SET", "appendonly", "yes")
        assert node.client().config_get("appendonly") == {"appendonly": "no"}
        assert _persistence(node)["aof_enabled"] == "0"
        assert _persistence(node)["aof_rewrite_scheduled"] == "0"
        assert node.call("SET", "k", "w") == b"OK"
        (tmp_path / "appendonlydir").unlink()
        node.call("CONFIG", "SET", "appendonly", "yes")
        assert _settled(node)["aof_enabled"] == "1"


# -- loading -------------------------------------------------------------------------------------------------------


def test_clients_are_told_that_the_data_is_being_loaded(tmp_path: Path) -> None:
    keys = 400_000
    with (tmp_path / "dump.rdb").open("wb") as file:
        writer = RdbWriter(file.write)
        writer.start([])
        for i in range(keys):
            writer.key(b"key:%d" % i, b"value")
        writer.end()
    port = free_ports(1)[0]
    command = (*OUR_NODE, "--port", str(port), "--dir", str(tmp_path), "--save", "")
    seen: set[str] = set()

    def loaded() -> bool:
        with redis.Redis(port=port, socket_timeout=5, retry=Retry(NoBackoff(), 0)) as client:
            about = client.info("persistence")
            if about["loading"] and about["loading_total_bytes"] > 1_000_000:
                seen.add("progress")
            try:
                return bool(client.get("key:1") == b"value" and client.dbsize() == keys)
            except redis.BusyLoadingError:
                seen.add("refused")
                return False

    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(loaded, 30, "the data", poll_s=0.001)
        finally:
            process.kill()
    assert seen == {"progress", "refused"}


def _exit_of(directory: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [*OUR_NODE, "--port", str(free_ports(1)[0]), "--bind", "127.0.0.1", "--dir", str(directory), *options],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=PROJECT_ROOT,
    )
    return done.returncode, done.stdout


def test_damaged_snapshot_ends_the_start_with_a_clear_line(tmp_path: Path) -> None:
    with start_node(tmp_path) as node:
        _fill(node, 100)
        node.call("SAVE")
    data = (tmp_path / "dump.rdb").read_bytes()
    (tmp_path / "dump.rdb").write_bytes(data[:500] + b"\x00\x00\x00" + data[503:])
    code, output = _exit_of(tmp_path)
    assert code == 1
    assert "dump.rdb: bad RDB" in output
    assert "Traceback" not in output
    (tmp_path / "dump.rdb").write_bytes(data[:500])
    code, output = _exit_of(tmp_path)
    assert code == 1
    assert "unexpected end of the RDB" in output


def test_damaged_log_ends_the_start_with_a_clear_line(tmp_path: Path) -> None:
    with start_node(tmp_path, *LOG) as node:
        node.call("SET", "a", "1")
        node.call("SET", "b", "2")
    log = tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof"
    data = log.read_bytes()
    log.write_bytes(data[:30] + b"garbage" + data[30:])
    code, output = _exit_of(tmp_path, *LOG)
    assert code == 1
    assert "Bad file format reading the append only file at offset" in output
    assert "Traceback" not in output
    log.write_bytes(data[:-2])
    code, output = _exit_of(tmp_path, *LOG, "--aof-load-truncated", "no")
    assert code == 1
    assert "Unexpected end of file" in output
    with start_node(tmp_path, *LOG) as node:  # the default: cut and go on
        assert node.call("KEYS", "*") == [b"a"]
        assert "Truncating the AOF" in node.log()
    log.unlink()
    code, output = _exit_of(tmp_path, *LOG)
    assert code == 1
    assert "appendonly.aof.1.incr.aof of the manifest: No such file or directory" in output


def test_memory_only_node_starts_empty(tmp_path: Path) -> None:
    with start_node(tmp_path) as node:
        node.call("SET", "k", "v")
        node.stop()
        node.restart()
        assert node.call("DBSIZE") == 0
        assert not list(tmp_path.glob("*.rdb"))


def test_debug_reload_and_loadaof_bring_back_what_is_on_disk(tmp_path: Path) -> None:
    with start_node(tmp_path, *LOG, "--enable-debug-command", "yes") as node:
        node.call("SET", "k", "v", "PX", 1_000_000)
        node.call("RPUSH", "l", 1, 2)
        digest = node.call("DEBUG", "DIGEST")
        assert node.call("DEBUG", "RELOAD") == b"OK"
        assert node.call("DEBUG", "DIGEST") == digest
        assert node.call("DEBUG", "LOADAOF") == b"OK"
        assert node.call("DEBUG", "DIGEST") == digest
        with pytest.raises(redis.ResponseError, match="Error trying to load the RDB dump"):
            node.call("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH")  # every key exists already
        assert node.call("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE") == b"OK"
        assert node.call("DEBUG", "DIGEST") == digest
        node.call("SET", "later", "x")
        node.kill9()
        node.restart()
        assert node.call("GET", "later") == b"x"
