"""up, down, ps, logs and status: a cluster on this machine, from nothing to gone."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support import clusterctl
from tests.support.flavours import BOTH, ONLY_OURS, ONLY_STOCK, Flavour
from tests.support.processes import free_port_block, wait_until


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A working directory; whatever `up` has started in it is stopped at the end."""
    yield tmp_path
    for directory in [path.parent for path in tmp_path.glob("*/cluster.json")]:
        clusterctl.run(tmp_path, "down", "--dir", directory.name, "--patience", 5)


Up = Callable[..., tuple[int, clusterctl.Outcome]]


@pytest.fixture
def up(home: Path, flavour: Flavour) -> Up:
    """Starts a cluster in the directory `c`; returns its first port and the outcome."""

    def start(*options: str | int, port: int | None = None) -> tuple[int, clusterctl.Outcome]:
        port = port or free_port_block(6, cluster=True)
        commands = (
            "--node-command", shlex.join(flavour.node), "--sentinel-command", shlex.join(flavour.sentinel),
        )  # fmt: skip
        return port, clusterctl.run(
            home, "up", "--dir", "c", "--port", port, "--sentinel-port", free_port_block(3), *commands, *options
        )

    return start


@pytest.mark.parametrize("flavour", BOTH)
def test_up_down_up_brings_back_the_same_cluster_with_its_data(home: Path, up: Up) -> None:
    port, outcome = up("--json")
    assert outcome.ok().json["already_running"] is False
    assert len(outcome.json["nodes"]) == 6
    with redis.RedisCluster(host="127.0.0.1", port=port) as client:
        for number in range(500):
            client.set(f"key:{number}", number)
    status = clusterctl.run(home, "status", "--dir", "c", "--json").ok().json
    assert status["healthy"] is True
    assert status["covered_slots"] == 16384
    assert status["local"] == {"processes": 9, "running": 9}
    before = clusterctl.run(home, "nodes", "--dir", "c", "--json").ok().json["nodes"]

    again = clusterctl.run(home, "up", "--dir", "c", "--json").ok().json
    assert again["already_running"] is True
    assert again["started"] == []

    pids = [process["pid"] for process in clusterctl.run(home, "ps", "--dir", "c", "--json").ok().json["processes"]]
    stopped = clusterctl.run(home, "down", "--dir", "c", "--json").ok().json
    assert len(stopped["stopped"]) == 9
    assert stopped["killed"] == []
    assert not any(_lives(pid) for pid in pids)

    back = clusterctl.run(home, "up", "--dir", "c", "--json").ok().json
    assert len(back["started"]) == 9
    after = clusterctl.run(home, "nodes", "--dir", "c", "--json").ok().json["nodes"]
    assert [(n["id"], n["address"], n["role"], n["slots"]) for n in after] == [
        (n["id"], n["address"], n["role"], n["slots"]) for n in before
    ]
    with redis.RedisCluster(host="127.0.0.1", port=port) as client:
        assert [client.get(f"key:{number}") for number in range(500)] == [b"%d" % n for n in range(500)]


def _lives(pid: int) -> bool:
    """False also for a zombie that nobody has collected yet (containers without an init)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("flavour", BOTH)
def test_up_sentinels_see_each_other_and_the_cluster(home: Path, up: Up) -> None:
    _, outcome = up("--json", "--primaries", 1, "--replicas", 1)
    addresses = outcome.ok().json["sentinels"]
    assert len(addresses) == 3
    for address in addresses:
        with redis.Redis(port=int(address.rpartition(":")[2]), protocol=2) as sentinel:
            masters = sentinel.execute_command("SENTINEL", "MASTERS")
            assert masters
    processes = clusterctl.run(home, "ps", "--dir", "c", "--json").ok().json["processes"]
    assert sorted(process["role"] for process in processes) == ["primary", "replica"] + ["sentinel"] * 3


@pytest.mark.parametrize("flavour", ONLY_STOCK)
def test_up_partly_dead_cluster_starts_only_what_is_missing(home: Path, up: Up) -> None:
    up("--sentinels", 0)[1].ok()
    processes = clusterctl.run(home, "ps", "--dir", "c", "--json").ok().json["processes"]
    victim = processes[1]
    os.kill(victim["pid"], signal.SIGKILL)
    wait_until(lambda: _state(home, victim["name"]) == "stopped", 60, "the victim is gone")
    assert clusterctl.run(home, "status", "--dir", "c").code == 3
    started = clusterctl.run(home, "up", "--dir", "c", "--json").ok().json["started"]
    assert started == [victim["name"]]
    clusterctl.run(home, "status", "--dir", "c").ok()


def _state(home: Path, name: str) -> str:
    processes = clusterctl.run(home, "ps", "--dir", "c", "--json").ok().json["processes"]
    return str(next(process["state"] for process in processes if process["name"] == name))


@pytest.mark.parametrize("flavour", ONLY_OURS)
def test_up_waits_for_slow_loading_with_sentinels_running_and_half_moved_slots(home: Path, up: Up) -> None:
    """Millions of keys, or a few with `key-load-delay`: the nodes answer LOADING for seconds after the start."""
    port, outcome = up("--primaries", 2, "--replicas", 0, "--sentinels", 1)
    outcome.ok()
    nodes = [redis.Redis(port=port + number) for number in range(2)]
    with redis.RedisCluster(host="127.0.0.1", port=port) as client:
        for number in range(300):
            client.set(f"key:{number}", number)
    ids = [bytes(node.execute_command("CLUSTER MYID")).decode() for node in nodes]
    nodes[1].execute_command("CLUSTER SETSLOT", 0, "IMPORTING", ids[0])
    nodes[0].execute_command("CLUSTER SETSLOT", 0, "MIGRATING", ids[1])
    nodes[0].bgrewriteaof()
    wait_until(lambda: nodes[0].info("persistence")["aof_base_size"] > 200, 20, "the log begins with a snapshot")
    keys = nodes[0].dbsize()
    clusterctl.run(home, "down", "--dir", "c").ok()
    with (home / "c" / f"node-{port}" / "redis.conf").open("a") as conf:
        conf.write(f"key-load-delay {5_000_000 // keys}\n")

    with clusterctl.start(home, "up", "--dir", "c") as again:
        wait_until(lambda: _state(home, _sentinel(home)) == "running", 30, "the sentinel runs")
        assert nodes[0].info("persistence")["loading"] == 1
        said, complaints = again.communicate(timeout=120)
    assert again.returncode == 0, said + complaints
    assert "loading data: " in said
    assert "1 slots are half-moved" in said
    with redis.RedisCluster(host="127.0.0.1", port=port) as client:
        assert client.set("key:1", "written") is True


@pytest.mark.parametrize("flavour", ONLY_OURS)
def test_up_node_that_does_not_come_back_does_not_cost_the_others_their_sentinels(home: Path, up: Up) -> None:
    port, outcome = up("--primaries", 1, "--sentinels", 1)
    outcome.ok()
    clusterctl.run(home, "down", "--dir", "c").ok()
    broken = home / "c" / f"node-{port + 1}" / "redis.conf"
    broken.write_text(broken.read_text() + "no-such-directive yes\n")
    failed = clusterctl.run(home, "up", "--dir", "c")
    assert failed.code == 1
    assert f"node-{port + 1} ended at start" in failed.stderr
    states = {p["name"]: p["state"] for p in clusterctl.run(home, "ps", "--dir", "c", "--json").json["processes"]}
    assert [name for name, state in states.items() if state != "running"] == [f"node-{port + 1}"]
    broken.write_text(broken.read_text().replace("no-such-directive yes\n", ""))
    assert clusterctl.run(home, "up", "--dir", "c", "--json").ok().json["started"] == [f"node-{port + 1}"]

    # Without its sentinels every primary refuses writes: status and check say so, and `up` mends it.
    sentinel = next(
        p for p in clusterctl.run(home, "ps", "--dir", "c", "--json").json["processes"] if p["kind"] == "sentinel"
    )
    os.kill(sentinel["pid"], signal.SIGKILL)
    wait_until(lambda: clusterctl.run(home, "status", "--dir", "c").code == 3, 30, "status reports the lost leases")
    found = clusterctl.run(home, "check", "--dir", "c", "--json")
    assert found.code == 3
    assert {f["code"] for f in found.json["findings"]} == {"no_lease"}
    clusterctl.run(home, "up", "--dir", "c").ok()
    clusterctl.run(home, "check", "--dir", "c").ok()


def _processes(home: Path) -> list[dict[str, Any]]:
    return list(json.loads((home / "c" / "cluster.json").read_text())["processes"])


def _sentinel(home: Path) -> str:
    return str(next(process["name"] for process in _processes(home) if process["kind"] == "sentinel"))


@pytest.mark.parametrize("flavour", ONLY_STOCK)
def test_up_port_of_a_stranger_is_named_and_nothing_is_left(home: Path, up: Up) -> None:
    port = free_port_block(6, cluster=True)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", port + 3))
        stranger.listen()
        _, outcome = up(port=port)
    assert outcome.code == 5
    assert f"port {port + 3}, which node-{port + 3} needs, is taken by pid {os.getpid()}" in outcome.stderr
    assert not (home / "c").exists()


@pytest.mark.parametrize("flavour", ONLY_STOCK)
def test_up_process_dying_at_start_shows_the_end_of_its_log(home: Path, up: Up) -> None:
    _, outcome = up("--node-option", "no-such-directive yes", "--sentinels", 0)
    assert outcome.code == 1
    assert "ended at start" in outcome.stderr
    assert "no-such-directive" in outcome.stdout
    assert _state(home, f"node-{_first_port(home)}") == "stopped"


def _first_port(home: Path) -> int:
    return int(_processes(home)[0]["port"])


@pytest.mark.parametrize("flavour", ONLY_STOCK)
def test_up_interrupted_before_the_cluster_was_formed_completes_it(home: Path, up: Up) -> None:
    port, outcome = up("--sentinels", 0)
    outcome.ok()
    # As if the first run had been killed in the middle: known to each other, not marked as formed, replicas missing.
    state_path = home / "c" / "cluster.json"
    state = json.loads(state_path.read_text())
    state_path.write_text(json.dumps({**state, "formed": False}))
    with redis.Redis(port=port + 5) as node:
        node.execute_command("CLUSTER RESET")
    clusterctl.run(home, "up", "--dir", "c").ok()
    clusterctl.run(home, "check", "--dir", "c", "--strict").ok()


@pytest.mark.parametrize("flavour", ONLY_STOCK)
def test_up_with_password_every_verb_needs_it(home: Path, up: Up) -> None:
    up("-a", "open sesame", "--sentinels", 3, "--primaries", 1)[1].ok()
    refused = clusterctl.run(home, "status", "--dir", "c")
    assert refused.code == 4
    assert "password" in refused.stderr
    assert refused.stderr.count("wants a password") == 1
    assert "--node" not in refused.stderr
    clusterctl.run(home, "status", "--dir", "c", "-a", "open sesame").ok()
    (home / "secret").write_text("open sesame\n")
    clusterctl.run(home, "status", "--dir", "c", "--password-file", home / "secret").ok()
    assert {_state(home, p["name"]) for p in _processes(home) if p["kind"] == "node"} == {"needs password"}
    listed = clusterctl.run(home, "ps", "--dir", "c", "--password-file", home / "secret").ok().stdout
    assert "needs password" not in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert (next((home / "c").glob("node-*")) / "redis.conf").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("flavour", ONLY_STOCK)
def test_down_wipe_deletes_only_its_own_files(home: Path, up: Up) -> None:
    up("--sentinels", 1, "--primaries", 1, "--replicas", 0)[1].ok()
    (home / "c" / "notes.txt").write_text("mine")
    refused = clusterctl.run(home, "down", "--dir", "c", "--wipe")
    assert refused.code == 5
    assert "--dry-run" not in refused.stderr
    assert _state(home, f"node-{_first_port(home)}") == "running"
    clusterctl.run(home, "down", "--dir", "c", "--wipe", "--yes").ok()
    assert [path.name for path in (home / "c").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("flavour", ONLY_STOCK)
def test_down_hung_process_is_killed_after_the_deadline(home: Path, up: Up) -> None:
    up("--sentinels", 0, "--primaries", 1, "--replicas", 0, "--node-option", "shutdown-timeout 0")[1].ok()
    name = f"node-{_first_port(home)}"
    with redis.Redis(port=_first_port(home), socket_timeout=0.2) as client:
        client.execute_command("CONFIG", "SET", "busy-reply-threshold", "600000")
        with pytest.raises(redis.TimeoutError):
            client.eval("while true do end", 0)
    outcome = clusterctl.run(home, "down", "--dir", "c", "--patience", 1, "--json").ok()
    assert outcome.json["killed"] == [name]


@pytest.mark.parametrize("flavour", ONLY_STOCK)
def test_logs_named_process_shows_its_lines(home: Path, up: Up) -> None:
    up("--sentinels", 0, "--primaries", 1, "--replicas", 0)[1].ok()
    name = f"node-{_first_port(home)}"
    logs = clusterctl.run(home, "logs", "--dir", "c", str(_first_port(home)), "-n", 50, "--json").ok().json["logs"]
    assert any("Ready to accept connections" in line for line in logs[name])
    assert clusterctl.run(home, "logs", "--dir", "c", "nobody").code == 2


def test_up_in_a_folder_that_cannot_be_made_names_it(tmp_path: Path) -> None:
    """Nobody, root included, makes folders there."""
    refused = clusterctl.run(tmp_path, "up", "--dir", "/proc/none", "--port", free_port_block(6, cluster=True))
    assert refused.code == 1
    assert refused.stderr.startswith("error: /proc/none: no such file or directory\n")


def test_down_without_a_cluster_is_no_error(tmp_path: Path) -> None:
    assert "no local cluster" in clusterctl.run(tmp_path, "down").ok().stdout
