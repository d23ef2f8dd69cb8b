"""deploy/: no container engine here, so the same commands, environment and health checks run as plain processes."""

from __future__ import annotations

import contextlib
import fnmatch
import ipaddress
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from tests.support.processes import PROJECT_ROOT, free_port_block, free_ports, wait_until

DEPLOY = PROJECT_ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yml"
BIN = Path(sys.executable).parent
PASSWORD = 'p "w" \\ $1'


def interpolated(value: Any) -> Any:
    """Every `${NAME:-default}` of the file as its default, as compose reads it without an `.env`."""
    if isinstance(value, dict):
        return {key: interpolated(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolated(inner) for inner in value]
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = interpolated(yaml.safe_load(COMPOSE.read_text(encoding="utf-8")))
    return document


def services(compose: dict[str, Any], prefix: str) -> dict[str, dict[str, Any]]:
    return {name: body for name, body in compose["services"].items() if name.startswith(prefix)}


def test_compose_file_describes_six_nodes_three_sentinels_and_a_creator(compose: dict[str, Any]) -> None:
    nodes, sentinels = services(compose, "node"), services(compose, "sentinel")
    assert (len(nodes), len(sentinels)) == (6, 3)
    network = ipaddress.ip_network(compose["networks"]["mesh"]["ipam"]["config"][0]["subnet"])
    placed = [body["networks"]["mesh"] for body in compose["services"].values() if isinstance(body["networks"], dict)]
    addresses = [place["ipv4_address"] for place in placed]
    assert len(set(addresses)) == len(addresses)
    assert all(ipaddress.ip_address(address) in network for address in addresses)
    for name, body in (nodes | sentinels).items():
        port = body["environment"].get("PORT") or body["environment"]["SENTINEL_PORT"]
        assert body["ports"] == [f"127.0.0.1:{port}:{port}"], "the same port inside and outside, on loopback only"
        assert body["volumes"] == [f"{name}:/data"]
        assert name in compose["volumes"]
    creator = compose["services"]["creator"]
    assert set(creator["depends_on"]) == set(nodes)
    named = [word for word in creator["command"] if ":" in word]
    assert named == [endpoint(body) for body in nodes.values()]
    gateway = compose["networks"]["mesh"]["ipam"]["config"][0]["gateway"]
    view = nodes["node1"]["command"].index("--cluster-announce-view")
    assert nodes["node1"]["command"][view + 1 : view + 3] == [f"{gateway}/32", "127.0.0.1"]


def endpoint(body: dict[str, Any]) -> str:
    return f"{body['networks']['mesh']['ipv4_address']}:{body['environment']['PORT']}"


def test_every_sentinel_watches_a_node_that_exists(compose: dict[str, Any]) -> None:
    nodes = {endpoint(body) for body in services(compose, "node").values()}
    watched = [
        f"{body['environment']['MESH_HOST']}:{body['environment']['MESH_PORT']}"
        for body in services(compose, "sentinel").values()
    ]
    assert len(set(watched)) == 3
    assert set(watched) <= nodes
    primary = endpoint(compose["services"]["primary"])
    for body in services(compose, "guard").values():
        assert f"{body['environment']['MESH_HOST']}:{body['environment']['MESH_PORT']}" == primary


def test_one_service_builds_the_image_and_none_pulls_it(compose: dict[str, Any]) -> None:
    assert [name for name, body in compose["services"].items() if "build" in body] == ["node1"]
    for name, body in compose["services"].items():
        assert (body["image"], body["pull_policy"]) == ("slotmesh", "never"), name
        assert body["read_only"], name


def test_profiles_have_what_they_promise(compose: dict[str, Any]) -> None:
    members = {
        profile: {name for name, body in compose["services"].items() if profile in body.get("profiles", ())}
        for profile in ("sentinel", "redlock")
    }
    assert members["sentinel"] == {"primary", "replica1", "replica2", "guard1", "guard2", "guard3"}
    assert members["redlock"] == {f"redlock{number}" for number in range(1, 6)}
    ports = [port for body in compose["services"].values() for port in body.get("ports", ())]
    assert len(set(ports)) == len(ports)


def test_image_copies_what_it_installs_and_runs_as_nobody_special() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    ignored = (PROJECT_ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    for line in text.splitlines():
        if line.startswith("COPY"):
            for source in [word for word in line.split()[1:-1] if not word.startswith("--")]:
                assert (PROJECT_ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), f"{source} is kept from the build"
    assert "\nUSER slotmesh\n" in text


class Composed:
    """The services of the compose file as processes on loopback, with other ports and directories of their own."""

    def __init__(self, compose: dict[str, Any], folder: Path, password: str = "") -> None:
        self.password = password
        self.compose = compose
        self.folder = folder
        self.base = free_port_block(9, cluster=True)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def translated(self, text: str) -> str:
        """Container addresses, ports and paths as they are on this machine."""
        for number in range(6):
            text = text.replace(f"172.30.70.1{number + 1}", "127.0.0.1").replace(
                str(7001 + number), str(self.base + number)
            )
        for number in range(3):
            text = text.replace(str(26379 + number), str(self.base + 6 + number))
        return text

    def environment(self, name: str) -> dict[str, str]:
        declared = self.compose["services"][name].get("environment", {})
        own = {key: self.translated(str(value)) for key, value in declared.items()}
        for key in ("REDIS_PASSWORD", "REDISCLI_AUTH"):
            if key in own:
                own[key] = self.password
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"PATH": path, "DATA_DIR": str(self.folder / name)} | own

    def start(self, name: str) -> None:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        script, *options = [self.translated(word) for word in self.compose["services"][name]["command"]]
        with open(home / "log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                ["sh", str(DEPLOY / f"{script}.sh"), *options],
                env=self.environment(name),
                stdout=log,
                stderr=log,
                cwd=home,
            )

    def healthy(self, name: str) -> bool:
        kind, check, argument = self.compose["services"][name]["healthcheck"]["test"]
        assert kind == "CMD"
        assert self.processes[name].poll() is None, (self.folder / name / "log").read_text()
        done = subprocess.run(
            ["bash", str(DEPLOY / f"{check}.sh"), argument],
            env=self.environment(name),
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def run_creator(self) -> str:
        command = [self.translated(word) for word in self.compose["services"]["creator"]["command"]]
        done = subprocess.run(
            command, env=self.environment("creator"), capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, shlex.join(command) + done.stdout + done.stderr
        return done.stdout

    def up(self) -> str:
        for name in services(self.compose, "node"):
            self.start(name)
        for name in services(self.compose, "node"):
            wait_until(lambda n=name: self.healthy(n), 40, f"{name} healthy")  # type: ignore[misc]
        said = self.run_creator()
        for name in services(self.compose, "sentinel"):
            self.start(name)
        for name in services(self.compose, "sentinel"):
            wait_until(lambda n=name: self.healthy(n), 60, f"{name} healthy")  # type: ignore[misc]
        return said

    def down(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(30)
        self.processes.clear()

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def composed(compose: dict[str, Any], tmp_path: Path) -> Iterator[Composed]:
    stack = Composed(compose, tmp_path, PASSWORD)
    yield stack
    stack.kill()


def test_services_of_the_compose_file_form_one_cluster_that_survives_down_and_up(composed: Composed) -> None:
    def connect() -> redis.RedisCluster:
        return redis.RedisCluster(host="127.0.0.1", port=composed.base, socket_timeout=5, password=PASSWORD)

    assert "already" not in composed.up()
    client = connect()
    for number in range(60):
        client.set(f"key:{number}", number)
    ids = sorted(node["node_id"] for node in client.cluster_nodes().values())
    client.close()
    with redis.Redis(host="127.0.0.1", port=composed.base + 6) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    for name in services(composed.compose, "node"):
        assert (composed.folder / name / "node.conf").stat().st_mode & 0o77 == 0
    composed.down()

    # A sentinel that was pointed at a place where nothing is, by an earlier version of the file.
    lost = composed.folder / "sentinel2"
    text = (lost / "sentinel.conf").read_text()
    (lost / "sentinel.conf").write_text(re.sub(r"(?m)^(sentinel monitor mesh) \S+ \d+", r"\1 127.0.0.1 1", text))
    (lost / "monitored-from-environment").unlink()
    assert "already" in composed.up()
    client = connect()
    assert [int(client.get(f"key:{number}") or -1) for number in range(60)] == list(range(60))
    assert sorted(node["node_id"] for node in client.cluster_nodes().values()) == ids
    client.close()


@contextlib.contextmanager
def entrypoint(kind: str, home: Path, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """One process as its container starts it; gives its environment."""
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "DATA_DIR": str(home)}
    everything = os.environ | path | environment
    with open(home / "log", "ab") as log:
        process = subprocess.Popen(
            ["sh", str(DEPLOY / f"{kind}-entrypoint.sh")], env=everything, stdout=log, stderr=log, cwd=home
        )
    try:
        yield everything
    finally:
        process.terminate()
        process.wait(30)


def health(kind: str, environment: dict[str, str]) -> str:
    """What the health check says; empty as long as the process is well."""
    check = ["bash", str(DEPLOY / "healthcheck.sh"), kind]
    done = subprocess.run(check, env=environment, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout


def test_sentinel_that_watches_a_place_where_nothing_is_is_not_healthy(tmp_path: Path) -> None:
    port, nobody = free_ports(2)
    where = {
        "SENTINEL_PORT": str(port),
        "MESH_HOST": "127.0.0.1",
        "MESH_PORT": str(nobody),
        "MESH_DOWN_AFTER_MS": "100",
    }
    with entrypoint("sentinel", tmp_path, where) as environment:
        wait_until(lambda: "a shard is not up" in health("sentinel", environment), 30, "a check that says so")


def test_node_keeps_the_role_that_a_sentinel_gave_it(tmp_path: Path) -> None:
    port, nobody = free_ports(2)
    first = {"PORT": str(port), "REPLICA_OF": f"127.0.0.1 {nobody}", "REDIS_PASSWORD": PASSWORD}
    node = redis.Redis(port=port, password=PASSWORD)
    with entrypoint("node", tmp_path, first) as environment:
        wait_until(lambda: not health("node", environment), 30, "a healthy node")
        assert node.info("replication")["role"] == "slave"
        node.replicaof("NO", "ONE")
        node.config_rewrite()
    with entrypoint("node", tmp_path, first) as environment:
        wait_until(lambda: not health("node", environment), 30, "a healthy node")
        assert node.info("replication")["role"] == "master"
    node.close()
