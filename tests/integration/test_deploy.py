"""deploy/: no container engine here, so the same commands, environment and health checks run as plain processes."""

from __future__ import annotations

import ipaddress
import os
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

from tests.support.processes import PROJECT_ROOT, free_port_block, wait_until

COMPOSE = PROJECT_ROOT / "deploy" / "compose.yml"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return document


def services(compose: dict[str, Any], prefix: str) -> dict[str, dict[str, Any]]:
    return {name: body for name, body in compose["services"].items() if name.startswith(prefix)}


def test_compose_file_describes_six_nodes_three_sentinels_and_a_creator(compose: dict[str, Any]) -> None:
    nodes, sentinels = services(compose, "node"), services(compose, "sentinel")
    assert (len(nodes), len(sentinels)) == (6, 3)
    network = ipaddress.ip_network(compose["networks"]["mesh"]["ipam"]["config"][0]["subnet"])
    addresses = [body["networks"]["mesh"]["ipv4_address"] for body in (nodes | sentinels).values()]
    assert len(set(addresses)) == 9
    assert all(ipaddress.ip_address(address) in network for address in addresses)
    for name, body in (nodes | sentinels).items():
        port = body["environment"].get("PORT") or body["environment"]["SENTINEL_PORT"]
        assert body["ports"] == [f"127.0.0.1:{port}:{port}"], "the same port inside and outside, on loopback only"
        assert body["volumes"] == [f"{name}:/data"]
        assert name in compose["volumes"]
        assert "clusterctl ping" in body["healthcheck"]["test"][1]
    creator = compose["services"]["creator"]
    assert set(creator["depends_on"]) == set(nodes)
    named = [word for word in creator["command"] if ":" in word]
    assert named == [f"{b['networks']['mesh']['ipv4_address']}:{b['environment']['PORT']}" for b in nodes.values()]
    gateway = compose["networks"]["mesh"]["ipam"]["config"][0]["gateway"]
    assert f"--cluster-announce-view {gateway}/32 127.0.0.1" in nodes["node1"]["command"][2]


def test_image_copies_what_it_installs_and_runs_as_nobody_special() -> None:
    text = (PROJECT_ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("COPY") and "--from=" not in line:  # the latter comes out of an earlier stage
            for source in [word for word in line.split()[1:-1] if not word.startswith("--")]:
                assert (PROJECT_ROOT / source).exists(), source
    assert "\nUSER slotmesh\n" in text


class Composed:
    """The services of the compose file as processes on loopback, with other ports and directories of their own."""

    def __init__(self, compose: dict[str, Any], folder: Path) -> None:
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
        return text.replace("$$", "$")

    def environment(self, name: str) -> dict[str, str]:
        declared = self.compose["services"][name].get("environment", {})
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"PATH": path} | {key: self.translated(str(value)) for key, value in declared.items()}

    def start(self, name: str) -> None:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        command = [
            self.translated(word).replace("/data", str(home)) for word in self.compose["services"][name]["command"]
        ]
        if command[0] == "sentinel-entrypoint":
            script = (PROJECT_ROOT / "deploy" / "sentinel-entrypoint.sh").read_text(encoding="utf-8")
            command = ["sh", "-c", script.replace("/data", str(home))]
        with open(home / "log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment(name), stdout=log, stderr=log, cwd=home
            )

    def healthy(self, name: str) -> bool:
        kind, check = self.compose["services"][name]["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        assert self.processes[name].poll() is None, (self.folder / name / "log").read_text()
        return (
            subprocess.run(["sh", "-c", self.translated(check)], env=self.environment(name), check=False).returncode
            == 0
        )

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
            wait_until(lambda n=name: self.healthy(n), 40, f"{name} healthy")  # type: ignore[misc]
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
    stack = Composed(compose, tmp_path)
    yield stack
    stack.kill()


def test_services_of_the_compose_file_form_one_cluster_that_survives_down_and_up(composed: Composed) -> None:
    assert "already" not in composed.up()
    client = redis.RedisCluster(host="127.0.0.1", port=composed.base, socket_timeout=5)
    for number in range(60):
        client.set(f"key:{number}", number)
    ids = sorted(node["node_id"] for node in client.cluster_nodes().values())
    client.close()
    composed.down()

    assert "already" in composed.up()
    client = redis.RedisCluster(host="127.0.0.1", port=composed.base, socket_timeout=5)
    assert [int(client.get(f"key:{number}")) for number in range(60)] == list(range(60))
    assert sorted(node["node_id"] for node in client.cluster_nodes().values()) == ids
    client.close()
