"""The sentinel as a process: start, refusal to start, its file, its clients."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.processes import OUR_SENTINEL, PROJECT_ROOT, ServerHandle, free_ports, start_sentinel, wait_until

NAME = "mymaster"


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[ServerHandle]:
    nobody = free_ports(1)[0]
    with start_sentinel(OUR_SENTINEL, tmp_path, [f"sentinel monitor {NAME} 127.0.0.1 {nobody} 2"]) as handle:
        yield handle


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OUR_SENTINEL, *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=30, check=False
    )


# Starting


def test_unknown_directive_ends_with_status_1_and_names_the_line(tmp_path: Path) -> None:
    config = tmp_path / "sentinel.conf"
    config.write_text("port 26379\nwhatever 1\n")
    done = run(str(config))
    assert done.returncode == 1
    assert "at line 2\n>>> 'whatever 1'" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("--port", "1")])
def test_start_without_a_file_is_refused(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert "needs config file" in done.stderr


def test_start_with_a_missing_file_is_refused(tmp_path: Path) -> None:
    done = run(str(tmp_path / "missing.conf"))
    assert done.returncode == 1
    assert "can't open config file" in done.stderr


def test_start_on_a_port_in_use_is_refused(sentinel: ServerHandle, tmp_path: Path) -> None:
    config = tmp_path / "second.conf"
    config.write_text(f"port {sentinel.port}\nbind 127.0.0.1\n")
    done = run(str(config))
    assert done.returncode == 1
    assert "Could not bind 127.0.0.1" in done.stdout


def test_options_of_the_command_line_come_last_and_are_kept(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config = tmp_path / "sentinel.conf"
    config.write_text("port 1\nbind 127.0.0.1\n")
    log = tmp_path / "log"
    arguments = ("--port", str(port), "--logfile", str(log), "--sentinel", "monitor", NAME, "127.0.0.1", "1", "2")
    process = subprocess.Popen([*OUR_SENTINEL, str(config), *arguments], cwd=PROJECT_ROOT)
    try:
        with redis.Redis(port=port) as client:
            wait_until(lambda: client.ping(), 20, "an answer")
            with pytest.raises(redis.ResponseError, match="NOQUORUM 1 usable Sentinels"):
                client.execute_command("SENTINEL", "CKQUORUM", NAME)
    finally:
        process.terminate()
        assert process.wait(10) == 0
    assert f"port {port}" in config.read_text()
    assert f"sentinel monitor {NAME} 127.0.0.1 1 2" in config.read_text()
    assert f"# +monitor master {NAME} 127.0.0.1 1 quorum 2" in log.read_text()


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('bind ""', "Configured to not listen anywhere, exiting."),
        ("port 0", "Configured to not listen anywhere, exiting."),
        ("logfile {dir}/none/log", "Can't open the log file {dir}/none/log: No such file or directory"),
        ("include {dir}/none", "can't open config file '{dir}/none': No such file or directory"),
    ],
)
def test_sentinel_that_cannot_start_says_why_and_where(tmp_path: Path, lines: str, complaint: str) -> None:
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {free_ports(1)[0]}\nbind 127.0.0.1\n" + lines.replace("{dir}", str(tmp_path)) + "\n")
    done = run(str(config))
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert complaint.replace("{dir}", str(tmp_path)) in said
    assert "Traceback" not in said


def test_debian_style_file_starts_although_the_folder_of_its_pid_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("sentinel monitor m 127.0.0.1 1 1\nacllog-max-len 128\n")
    lines = [f"pidfile {tmp_path}/none/sentinel.pid", f"include {tmp_path}/mo*.conf"]
    with start_sentinel(OUR_SENTINEL, tmp_path, lines) as running:
        assert len(running.call("SENTINEL", "MASTERS")) == 1
        wait_until(lambda: "sentinel monitor m" in (tmp_path / "sentinel.conf").read_text(), 20, "the state is saved")
        running.kill9()
        running.restart()
        assert len(running.call("SENTINEL", "MASTERS")) == 1
        assert f"Failed to write PID file {tmp_path}/none/sentinel.pid: No such file or directory" in running.log()


def test_version_and_help_are_told() -> None:
    assert "v=7.0.15" in run("--version").stdout
    assert "sentinel.conf" in run("--help").stdout


# The file


def test_id_is_made_once_and_kept(sentinel: ServerHandle) -> None:
    my_id = bytes(sentinel.call("SENTINEL", "MYID")).decode()
    assert len(my_id) == 40
    config = sentinel.directory / "sentinel.conf"
    assert f"sentinel myid {my_id}" in config.read_text()
    sentinel.kill9()
    sentinel.restart()
    assert sentinel.call("SENTINEL", "MYID") == my_id.encode()


def test_changes_of_settings_survive_a_crash(sentinel: ServerHandle) -> None:
    sentinel.call("SENTINEL", "SET", NAME, "down-after-milliseconds", "1234", "auth-pass", "a b")
    sentinel.call("SENTINEL", "MONITOR", "other", "127.0.0.1", "2", "3")
    sentinel.call("SENTINEL", "REMOVE", "other")
    sentinel.kill9()
    text = (sentinel.directory / "sentinel.conf").read_text()
    assert f"sentinel down-after-milliseconds {NAME} 1234" in text
    assert f'sentinel auth-pass {NAME} "a b"' in text
    assert "other" not in text
    sentinel.restart()
    with redis.Redis(port=sentinel.port, protocol=3) as client:
        assert client.execute_command("SENTINEL", "MASTER", NAME)[b"down-after-milliseconds"] == b"1234"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_file_in_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "sentinel.conf"
    config.write_text("port 26379\n")
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert "not writable" in run(str(config)).stderr
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_vote_is_refused_and_settings_fail_when_the_file_cannot_be_saved(sentinel: ServerHandle) -> None:
    """The folder of the file vanishes: nothing that rests on the disk may be told."""
    folder = sentinel.directory
    address = sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
    moved = folder.rename(folder.with_name("moved"))
    try:
        with pytest.raises(redis.ResponseError, match="Failed to save config file"):
            sentinel.call("SENTINEL", "FLUSHCONFIG")
        question = ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", *address, "7", "a" * 40)
        with pytest.raises(redis.ResponseError, match="Failed to save config file"):
            sentinel.call(*question)
        assert sentinel.call(*question)[1:] == [b"*", 0], "its epoch was raised by the first question, no vote was cast"
    finally:
        moved.rename(folder)
    wait_until(lambda: sentinel.call("SENTINEL", "FLUSHCONFIG") == b"OK", 10, "the file can be saved again")
    assert sentinel.call(*question)[1:] == [b"a" * 40, 7]


# Clients


def test_both_protocols_and_inline_commands_are_spoken(sentinel: ServerHandle) -> None:
    with redis.Redis(port=sentinel.port, protocol=3) as client:
        reply = client.execute_command("SENTINEL", "MASTER", NAME)
        assert isinstance(reply, dict)
    with socket.create_connection(("127.0.0.1", sentinel.port), 5) as sock:
        sock.sendall(b"PING\r\nsentinel myid\r\nQUIT\r\n")
        data = b""
        while chunk := sock.recv(1000):
            data += chunk
    assert data.startswith(b"+PONG\r\n$40\r\n")
    assert data.endswith(b"+OK\r\n")


def test_events_reach_subscribers_by_channel_and_by_pattern(sentinel: ServerHandle) -> None:
    listener = sentinel.client().pubsub(ignore_subscribe_messages=True)
    listener.subscribe("+set")
    listener.psubscribe("+s*")
    wait_until(lambda: sentinel.call("CLIENT", "LIST", "TYPE", "pubsub").count(b"sub=1 psub=1") == 1, 5, "subscribed")
    sentinel.call("SENTINEL", "SET", NAME, "quorum", "3")
    messages: list[tuple[str, bytes, bytes]] = []

    def heard_both() -> bool:
        message = listener.get_message(timeout=0.1)
        if message is not None:
            messages.append((message["type"], message["channel"], message["data"]))
        return len(messages) == 2

    wait_until(heard_both, 10, "both messages")
    port = sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1].decode()
    text = f"master {NAME} 127.0.0.1 {port} quorum 3".encode()
    assert messages == [("message", b"+set", text), ("pmessage", b"+set", text)]
    listener.close()


def test_subscriber_may_do_little_else_in_resp2(sentinel: ServerHandle) -> None:
    with socket.create_connection(("127.0.0.1", sentinel.port), 5) as sock:
        sock.sendall(b"SUBSCRIBE a\r\nSENTINEL MYID\r\nPING\r\n")
        data = b""
        while data.count(b"\r\n") < 12:
            data += sock.recv(1000)
    assert b"-ERR Can't execute 'sentinel'" in data
    assert data.endswith(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n")


def test_garbage_ends_the_connection_with_an_error(sentinel: ServerHandle) -> None:
    with socket.create_connection(("127.0.0.1", sentinel.port), 5) as sock:
        sock.sendall(b"*1\r\n$999999999\r\n")
        assert sock.recv(1000) == b"-ERR Protocol error: invalid bulk length\r\n"
        assert sock.recv(1000) == b""
    assert sentinel.call("PING") == b"PONG"


def test_info_has_the_sections_of_a_sentinel(sentinel: ServerHandle) -> None:
    fields = sentinel.info()
    assert fields["redis_mode"] == "sentinel"
    assert fields["tcp_port"] == str(sentinel.port)
    assert fields["master0"].startswith(f"name={NAME},status=")
    only = bytes(sentinel.call("INFO", "sentinel")).decode()
    assert only.startswith("# Sentinel\r\n")
    assert only.count("# ") == 1


def test_users_with_few_rights_are_held_to_them(tmp_path: Path) -> None:
    lines = ["user reader on >pw ~* &* -@all +ping +sentinel|masters +hello +auth"]
    with start_sentinel(OUR_SENTINEL, tmp_path, lines) as handle:
        with redis.Redis(port=handle.port, username="reader", password="pw") as client:
            assert client.execute_command("SENTINEL", "MASTERS") == []
            with pytest.raises(redis.exceptions.NoPermissionError, match=r"sentinel\|myid"):
                client.execute_command("SENTINEL", "MYID")
        assert handle.call("ACL", "WHOAMI") == b"default"


def test_shutdown_ends_the_process_with_status_0(sentinel: ServerHandle) -> None:
    with pytest.raises(redis.ConnectionError):
        sentinel.call("SHUTDOWN")
    assert sentinel.process.wait(10) == 0
    assert "bye bye" in sentinel.log()


# Hostile input


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"sentinel known-replica {NAME} {'x' * 64} 6380", "Can't resolve instance hostname."),
        (f"sentinel known-sentinel {NAME} a..b 26379 {'e' * 40}", "Can't resolve instance hostname."),
        (f"sentinel known-replica {NAME} 127.0.0.1 70000", "Invalid port number."),
        (f"sentinel current-epoch {'9' * 5000}", "Epoch out of range."),
        ("port \xe9", "argument couldn't be parsed into an integer"),
        ("bind " + "x" * 64, "Could not bind"),
    ],
)
def test_file_that_is_damaged_is_refused_without_a_traceback(tmp_path: Path, line: str, problem: str) -> None:
    config = tmp_path / "sentinel.conf"
    lines = ["port 1", "sentinel resolve-hostnames yes", f"sentinel monitor {NAME} 127.0.0.1 6379 2", line]
    config.write_bytes("\n".join(lines).encode("latin-1"))
    done = run(str(config))
    assert done.returncode == 1
    assert problem in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("names", ["no", "yes"])
def test_hello_with_a_host_that_is_none_ends_nothing_and_is_not_saved(tmp_path: Path, names: str) -> None:
    nobody = free_ports(1)[0]
    lines = [f"sentinel resolve-hostnames {names}", f"sentinel monitor {NAME} 127.0.0.1 {nobody} 2"]
    with start_sentinel(OUR_SENTINEL, tmp_path, lines) as sentinel:
        for host, epoch in (("x" * 64, 0), ("a..b", 0), ("127.0.0.9", 2**64 - 1)):
            text = f"{host},26999,{'f' * 40},{epoch},{NAME},127.0.0.1,{nobody},0"
            assert sentinel.call("PUBLISH", "__sentinel__:hello", text) == 1
        sentinel.call("SENTINEL", "FLUSHCONFIG")
        assert "known-sentinel" not in (tmp_path / "sentinel.conf").read_text()
        sentinel.kill9()
        sentinel.restart()
        assert sentinel.call("PING") == b"PONG"


def test_primary_that_answers_with_nonsense_is_left_alone_and_ends_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        lines = [f"sentinel monitor {NAME} 127.0.0.1 {server.getsockname()[1]} 2"]
        with start_sentinel(OUR_SENTINEL, tmp_path, lines) as sentinel:
            for nonsense in (b"(" + b"9" * 5000 + b"\r\n", b"*1\r\n" * 50, b"\xff" * 100, b"HTTP/1.1 400\r\n"):
                peer, _ = server.accept()
                with peer:
                    peer.sendall(nonsense)
                    with contextlib.suppress(ConnectionResetError):  # it may leave some of the nonsense unread
                        while peer.recv(65536):  # until the sentinel has had enough
                            pass
            assert sentinel.call("PING") == b"PONG"
            assert "Traceback" not in sentinel.log()
