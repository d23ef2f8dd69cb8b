"""A node as a process: stock files start it, the background, the pid file, ports that change, limits."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest
import redis
from redis.cache import CacheConfig

from tests.support.processes import (
    OUR_NODE,
    PROJECT_ROOT,
    ServerHandle,
    free_ports,
    start_node,
    start_server,
    wait_until,
)

DEBIAN_CONF = Path("/etc/redis/redis.conf")
_ENV = os.environ | {"PYTHONPATH": str(PROJECT_ROOT)}


def _has_links(node: ServerHandle, count: int) -> bool:
    return len(node.call("CLUSTER", "LINKS")) == count


def _refused(node: ServerHandle, times: int) -> bool:
    return bool(node.log().count("can't exit") == times)


@pytest.mark.stock
@pytest.mark.skipif(not DEBIAN_CONF.exists(), reason="no stock configuration file on this machine")
def test_stock_configuration_file_of_debian_starts_a_node(tmp_path: Path) -> None:
    own_places = ("--daemonize", "no", "--logfile", "", "--pidfile", str(tmp_path / "pid"), "--supervised", "no")
    with start_server((*OUR_NODE, str(DEBIAN_CONF)), tmp_path, *own_places) as node:
        assert node.call("PING") == b"PONG"
        assert node.client().config_get("protected-mode") == {"protected-mode": "yes"}
        assert node.info("server")["config_file"] == str(DEBIAN_CONF)


def test_node_goes_into_the_background_and_removes_its_pid_file_at_the_end(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    pid_file, log_file = tmp_path / "node.pid", tmp_path / "node.log"
    argv = [
        *OUR_NODE,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(tmp_path),
        "--save",
        "--daemonize",
        "yes",
    ]
    argv += ["--pidfile", str(pid_file), "--logfile", str(log_file)]
    parent = subprocess.run(argv, env=_ENV, timeout=20, check=False)
    assert parent.returncode == 0
    client = redis.Redis(port=port, socket_timeout=5)
    wait_until(lambda: client.ping(), 20, "the node in the background answers")
    pid = int(pid_file.read_text())
    assert client.info("server")["process_id"] == pid
    assert os.getsid(pid) == pid
    client.shutdown(nosave=True)
    client.close()
    wait_until(lambda: not pid_file.exists(), 20, "the pid file is removed")
    assert "Removing the pid file" in log_file.read_text()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--tls-port", "17999"), "TLS is not supported"),
        (("--port", "0", "--tls-port", "17999"), "TLS is not supported"),
        (("--tls-cluster", "yes"), "TLS is not supported"),
        (("--port", "0"), "Configured to not listen anywhere, exiting."),
        (("--bind", ""), "Configured to not listen anywhere, exiting."),
        (("--unixsocket", "{dir}/none/s"), "Failed opening Unix socket {dir}/none/s: No such file or directory"),
        (("--logfile", "{dir}/none/log"), "Can't open the log file: No such file or directory ({dir}/none/log)"),
        (("--appendonly", "yes", "--appenddirname", "file"), "{dir}/file: "),
        (("--cluster-enabled", "yes", "--cluster-config-file", "none/n"), "{dir}/none/n in order to acquire a lock: "),
        (("--aclfile", "{dir}/none"), "opening file '{dir}/none': No such file or directory"),
    ],
)
def test_node_that_cannot_start_says_why_and_where_in_one_line(
    tmp_path: Path, options: tuple[str, ...], complaint: str
) -> None:
    (tmp_path / "file").write_text("")
    (port,) = free_ports(1, cluster=True)
    told = [option.replace("{dir}", str(tmp_path)) for option in options]
    done = subprocess.run(
        [*OUR_NODE, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), *told],
        env=_ENV,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert complaint.replace("{dir}", str(tmp_path)) in said
    assert "Traceback" not in said


def test_banner_tells_the_process_id_when_asked_for(tmp_path: Path) -> None:
    with start_node(tmp_path, "--always-show-logo", "yes") as node:
        assert f" PID: {node.pid}" in node.log()


@pytest.mark.parametrize("level", ["7.4", "8.0"])
def test_cache_of_redis_py_works_with_a_level_that_it_trusts(tmp_path: Path, level: str) -> None:
    with start_node(tmp_path, "--compat-level", level) as node:
        cached = redis.Redis(port=node.port, protocol=3, cache_config=CacheConfig())
        node.call("SET", "k", "old")
        assert [cached.get("k"), cached.get("k")] == [b"old", b"old"]
        cache = cached.get_cache()
        assert cache is not None
        assert cache.size == 1
        node.call("SET", "k", "new")
        assert wait_until(lambda: cached.get("k") == b"new", 10, "the node tells the cache of the change")
        cached.close()


def test_port_and_addresses_follow_the_configuration(tmp_path: Path) -> None:
    with start_node(tmp_path) as node:
        (other,) = free_ports(1)
        kept = node.client()
        assert kept.config_set("port", other)
        assert redis.Redis(port=other).ping()
        with pytest.raises(redis.ConnectionError):
            redis.Redis(port=node.port).ping()
        assert kept.ping(), "connections outlive the port they came through"
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(redis.ResponseError, match="Unable to listen on this port"):
                kept.config_set("port", taken.getsockname()[1])
        with pytest.raises(redis.ResponseError, match="Failed to bind to specified addresses"):
            kept.config_set("bind", "127.0.0.1 192.0.2.1")
        assert kept.config_get("port")["port"] == str(other)
        assert kept.config_set("bind", "127.0.0.1 -192.0.2.1")
        assert redis.Redis(port=other).ping()


def test_more_clients_than_allowed_are_turned_away(tmp_path: Path) -> None:
    with start_node(tmp_path, "--maxclients", "2") as node:
        node.client().ping()
        with (
            socket.create_connection(("127.0.0.1", node.port)),
            socket.create_connection(("127.0.0.1", node.port)) as third,
        ):
            third.settimeout(5)
            assert third.recv(100) == b"-ERR max number of clients reached\r\n"


def test_renamed_command_answers_to_its_new_name_only(tmp_path: Path) -> None:
    with start_node(tmp_path, "--rename-command", "FLUSHALL", "wipe", "--rename-command", "KEYS", "") as node:
        assert node.call("WIPE") == b"OK"
        for gone in ("FLUSHALL", "KEYS"):
            with pytest.raises(redis.ResponseError, match="unknown command"):
                node.call(gone)


def test_process_title_says_what_it_serves(tmp_path: Path) -> None:
    with start_node(tmp_path, "--proc-title-template", "{title} {port}") as node:
        cmdline = Path(f"/proc/{node.pid}/cmdline").read_bytes().rstrip(b"\0")
        assert cmdline == b"slotmesh-node %d" % node.port


def test_debug_breaks_the_bus_on_purpose_and_mends_it(tmp_path: Path) -> None:
    options = ("--cluster-enabled", "yes", "--enable-debug-command", "yes", "--cluster-node-timeout", "2000")
    with (
        start_node(tmp_path / "a", *options, cluster=True) as first,
        start_node(tmp_path / "b", *options, cluster=True) as second,
    ):
        peer = second.call("CLUSTER", "MYID")
        assert second.call("DEBUG", "DROP-CLUSTER-PACKET-FILTER", "2") == b"OK"  # MEET
        assert second.call("DEBUG", "CLOSE-CLUSTER-LINK-ON-PACKET-DROP", "1") == b"OK"
        first.call("CLUSTER", "MEET", "127.0.0.1", str(second.port))
        wait_until(lambda: "matches debug drop filter" in second.log(), 10, "a MEET is dropped")
        assert "Closing link for matching packet type 2" in second.log()
        assert b"cluster_known_nodes:1\r" in second.call("CLUSTER", "INFO")
        second.call("DEBUG", "DROP-CLUSTER-PACKET-FILTER", "-1")
        for node in (first, second):
            wait_until(partial(_has_links, node, 2), 20, "both know each other")
        assert first.info("clients")["cluster_connections"] == "2"
        assert int(first.info("memory")["mem_cluster_links"]) > 0
        assert b"cluster_stats_messages_meet_received:" in second.call("CLUSTER", "INFO"), "a dropped message counts"
        assert first.call("DEBUG", "CLUSTERLINK", "KILL", "ALL", peer) == b"OK"
        assert first.call("CLUSTER", "LINKS") == []
        wait_until(lambda: len(first.call("CLUSTER", "LINKS")) == 2, 20, "the links are made again")
        for words, text in (
            (("KILL", "SIDEWAYS", peer), "Unknown direction SIDEWAYS"),
            (("KILL", "TO", "x"), "Unknown node x"),
            (("KILL", "TO", first.call("CLUSTER", "MYID")), "Cannot free cluster link"),
        ):
            with pytest.raises(redis.ResponseError, match=text):
                first.client().execute_command("DEBUG", "CLUSTERLINK", *words)


@pytest.mark.parametrize("way", ["SIGTERM", "SHUTDOWN"])
def test_node_that_loads_ends_when_it_is_told_to(tmp_path: Path, way: str) -> None:
    with start_node(tmp_path, "--appendonly", "no") as node:
        client = node.client()
        for number in range(300):
            client.set(str(number), "v")
        client.save()
        size = (tmp_path / "dump.rdb").stat().st_size
        client.config_set("save", "")
    log_path = tmp_path / "loading.log"
    (port,) = free_ports(1)
    argv = [*OUR_NODE, "--port", str(port), "--dir", str(tmp_path), "--key-load-delay", "100000", "--save", "900 1"]
    with log_path.open("wb") as output:
        process = subprocess.Popen(argv, env=_ENV, stdout=output)
    try:
        client = redis.Redis(port=port, socket_timeout=5)
        wait_until(lambda: client.info("persistence")["loading"] == 1, 20, "it loads")
        if way == "SIGTERM":
            process.terminate()
        else:
            client.shutdown(nosave=True)
        assert process.wait(10) == 0
    finally:
        process.kill()
        client.close()
    assert "Ready to accept" not in log_path.read_text()
    assert (tmp_path / "dump.rdb").stat().st_size == size, "half a data set did not replace the whole one"


def test_second_interrupt_ends_a_node_that_is_saving(tmp_path: Path) -> None:
    with start_node(tmp_path, "--save", "900 1", "--rdb-key-save-delay", "500000") as node:
        for number in range(40):
            node.call("SET", number, "v")
        os.kill(node.pid, signal.SIGINT)
        wait_until(lambda: list(tmp_path.glob("temp-*.rdb")), 10, "the final save begins")
        os.kill(node.pid, signal.SIGTERM)  # asks once more, and is in no hurry
        os.kill(node.pid, signal.SIGINT)
        wait_until(lambda: "You insist... exiting now." in node.log(), 10, "the node ends before the save")
        wait_until(lambda: not list(tmp_path.glob("*.rdb")), 10, "the half file is gone")
        assert node.process.wait(10) == 1


def test_interrupt_after_a_refused_shutdown_is_a_first_one_again(tmp_path: Path) -> None:
    with start_node(tmp_path, "--save", "900 1", "--dbfilename", "taken") as node:
        (tmp_path / "taken").mkdir()
        node.call("SET", "k", "v")
        for times in (1, 2):
            os.kill(node.pid, signal.SIGINT)
            wait_until(partial(_refused, node, times), 10, "the shutdown is refused")
        assert node.call("GET", "k") == b"v"


def test_readiness_to_be_killed_follows_configuration_role_and_child(tmp_path: Path) -> None:
    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    with start_node(tmp_path, "--oom-score-adj-values", "10 20 30") as node:
        base = score(node.pid)
        Path(f"/proc/{node.pid}/oom_score_adj").write_text(str(base + 1))
        node.call("CONFIG", "SET", "oom-score-adj", "yes")
        assert score(node.pid) == base + 11, "relative to what it was when it was switched on"
        node.call("REPLICAOF", "127.0.0.1", "1")
        assert score(node.pid) == base + 21
        node.call("REPLICAOF", "NO", "ONE")
        assert score(node.pid) == base + 11
        node.call("CONFIG", "SET", "rdb-key-save-delay", "1000000")
        node.call("SET", "k", "v")
        node.call("BGSAVE")
        child = wait_until(lambda: next(tmp_path.glob("temp-*.rdb"), None), 10, "the child's file")
        assert score(int(child.stem.removeprefix("temp-"))) == base + 31
        node.call("CONFIG", "SET", "oom-score-adj", "no")
        assert score(node.pid) == base + 1
