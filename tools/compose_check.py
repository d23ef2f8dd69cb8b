"""`make compose-check`: does `deploy/compose.yml` survive what container engines do to it?

Builds and starts the stack with the engine that is there, then kills, pauses, partitions and restarts containers, and
looks each time whether every shard takes writes again. It removes the stack's volumes before and after, so it refuses
to run where the stack exists already. Every check prints PASS or FAIL; the exit status is the number of failures.

ENGINE names another engine than `docker` (`podman`), PREFIX a command in front of it (`sudo`).
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import redis

COMPOSE_FILE = Path(__file__).resolve().parents[1] / "deploy" / "compose.yml"
NODES = {f"node{number}": 7000 + number for number in range(1, 7)}
SENTINELS = {"sentinel1": 26379, "sentinel2": 26380, "sentinel3": 26381}
KEYS = ("{b}", "{c}", "{a}")
"""One in each shard."""

READY_S = 180.0
FAILOVER_S = 20.0
REJOIN_S = 40.0
IDLE_SAMPLE_S = 20.0
MOST_IDLE_PERCENT = 15
"""Of one core, for the nine containers together."""


class Stack:
    """The containers of the compose file."""

    def __init__(self) -> None:
        prefix = shlex.split(os.environ.get("PREFIX", ""))
        self._engine = [*prefix, os.environ.get("ENGINE", "docker")]
        self._compose = [*self._engine, "compose", "-f", str(COMPOSE_FILE)]

    def compose(self, *words: str, timeout_s: float = READY_S) -> subprocess.CompletedProcess[str]:
        """Run `docker compose WORDS`."""
        return self._run([*self._compose, *words], timeout_s)

    def engine(self, *words: str) -> str:
        """What `docker WORDS` prints; it must succeed."""
        done = self._run([*self._engine, *words], READY_S)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def inside(self, service: str, *command: str) -> int:
        """The exit status of a command run in a service's container."""
        return self._run([*self._engine, "exec", self.container(service), *command], READY_S).returncode

    @staticmethod
    def _run(command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)

    def container(self, service: str) -> str:
        """The name of a service's container."""
        return f"slotmesh-{service}-1"

    def started(self) -> list[str]:
        """When each container of a node or sentinel started."""
        names = [self.container(service) for service in (*NODES, *SENTINELS)]
        return self.engine("inspect", "-f", "{{.Name}} {{.State.StartedAt}}", *names).splitlines()

    def processor_seconds(self) -> float:
        """Processor time that the containers have used, as the kernel counts it for process 1 and its children."""
        total = 0.0
        for service in (*NODES, *SENTINELS):
            pid = self.engine("inspect", "-f", "{{.State.Pid}}", self.container(service))
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(float, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        return total


class Cluster:
    """The cluster as clients on this machine see it."""

    def writes(self) -> bool:
        """Whether every shard takes a write, asked from nodes that answer."""
        for port in NODES.values():
            try:
                client = redis.RedisCluster(host="127.0.0.1", port=port, socket_timeout=1, socket_connect_timeout=1)
            except (redis.RedisError, OSError):
                continue
            try:
                return all(client.set(f"{tag}check", "1") for tag in KEYS)
            except (redis.RedisError, OSError):
                return False
            finally:
                client.close()
        return False

    def primary(self) -> str:
        """The service that owns the slots of the last key."""
        slot = redis.crc.key_slot(f"{KEYS[-1]}check".encode())
        for port in NODES.values():
            try:
                with redis.Redis(port=port, socket_timeout=1) as node:
                    shards = node.execute_command("CLUSTER", "SLOTS")
            except (redis.RedisError, OSError):
                continue
            ports = [shard[2][1] for shard in shards if shard[0] <= slot <= shard[1]]
            return next(name for name, served in NODES.items() if served == ports[0])
        raise RuntimeError("no node answers")

    def role(self, service: str) -> str:
        """`master`, `slave`, or what went wrong."""
        try:
            with redis.Redis(port=NODES[service], socket_timeout=1) as node:
                return str(node.info("replication")["role"])
        except (redis.RedisError, OSError) as error:
            return str(error)

    def sentinels_agree(self) -> bool:
        """Whether each sentinel sees three shards that are up, and two other sentinels for each."""
        for port in SENTINELS.values():
            try:
                with redis.Redis(port=port, socket_timeout=1) as sentinel:
                    info = sentinel.info("sentinel")
            except (redis.RedisError, OSError):
                return False
            shards = [value for name, value in info.items() if name.startswith("master") and name[6:].isdigit()]
            if [(shard["status"], shard["sentinels"]) for shard in shards] != [("ok", 3)] * 3:
                return False
        return True


class Checks:
    """Runs checks and counts failures."""

    def __init__(self) -> None:
        self.failures = 0

    def tell(self, what: str, right: bool, detail: str = "") -> None:
        print(f"{'PASS' if right else 'FAIL'} {what}{': ' if detail else ''}{detail}", flush=True)
        self.failures += not right

    def within(self, what: str, seconds: float, condition: Callable[[], bool]) -> None:
        """Check that `condition` comes true in time, and say after how long."""
        began = time.monotonic()
        while not (right := condition()) and time.monotonic() - began < seconds:
            time.sleep(0.05)
        self.tell(what, right, f"{time.monotonic() - began:.2f} s")


def check_start(stack: Stack, cluster: Cluster, checks: Checks) -> bool:
    """False when the stack does not even start, so that nothing else can be checked."""
    began = time.monotonic()
    done = stack.compose("up", "-d", "--build", "--wait", timeout_s=1200)
    checks.tell("up --build --wait", done.returncode == 0, f"{time.monotonic() - began:.0f} s")
    if done.returncode:
        print(done.stderr[-2000:])
        return False
    checks.tell("sentinels see each other and all shards", cluster.sentinels_agree())
    before = stack.started()
    stack.compose("up", "-d", "--wait")
    checks.tell("a second up restarts nothing", before == stack.started())
    checks.tell("every shard takes writes from this machine", cluster.writes())
    checks.tell("a client inside the network", stack.compose("run", "--rm", "shell").returncode == 0)
    before_s = stack.processor_seconds()
    time.sleep(IDLE_SAMPLE_S)
    percent = (stack.processor_seconds() - before_s) / IDLE_SAMPLE_S * 100
    checks.tell("the idle stack takes little", percent < MOST_IDLE_PERCENT, f"{percent:.0f} % of a core")
    return True


def check_faults(stack: Stack, cluster: Cluster, checks: Checks) -> None:
    victim = cluster.primary()
    stack.engine("kill", stack.container(victim))
    checks.within(f"writes after docker kill of the primary {victim}", FAILOVER_S, cluster.writes)
    stack.engine("start", stack.container(victim))
    checks.within(f"{victim} comes back as a replica", REJOIN_S, lambda: cluster.role(victim) == "slave")
    checks.within("sentinels agree again", REJOIN_S, cluster.sentinels_agree)

    victim = cluster.primary()
    stack.engine("pause", stack.container(victim))
    checks.within(f"writes after pause of the primary {victim}", FAILOVER_S, cluster.writes)
    stack.engine("unpause", stack.container(victim))
    checks.within(f"{victim} comes back as a replica", REJOIN_S, lambda: cluster.role(victim) == "slave")

    stack.engine("stop", stack.container("sentinel1"))
    time.sleep(4)
    checks.tell("writes go on without sentinel1", cluster.writes())
    stack.engine("start", stack.container("sentinel1"))
    checks.within("sentinels agree again", REJOIN_S, cluster.sentinels_agree)

    victim = cluster.primary()
    stack.engine("network", "disconnect", "slotmesh_mesh", stack.container(victim))
    checks.within(f"writes after a partition of the primary {victim}", FAILOVER_S, cluster.writes)
    write = f"import redis; redis.Redis(port={NODES[victim]}).set('{KEYS[-1]}check', 1)"
    refused = stack.inside(victim, "python", "-c", write)
    checks.tell("the isolated primary refuses writes", refused != 0)
    address = f"172.30.70.1{victim.removeprefix('node')}"
    stack.engine("network", "connect", "--ip", address, "slotmesh_mesh", stack.container(victim))
    checks.within(f"{victim} comes back as a replica", REJOIN_S, lambda: cluster.role(victim) == "slave")


def check_restart(stack: Stack, cluster: Cluster, checks: Checks) -> None:
    client = redis.RedisCluster(host="127.0.0.1", port=7001)
    for number in range(1000):
        client.set(f"keep:{number}", number)
    ids = sorted(node["node_id"] for node in client.cluster_nodes().values())
    client.close()
    stack.compose("down")
    began = time.monotonic()
    done = stack.compose("up", "-d", "--wait")
    checks.tell("up after down", done.returncode == 0, f"{time.monotonic() - began:.0f} s")
    client = redis.RedisCluster(host="127.0.0.1", port=7001)
    kept = sum(client.get(f"keep:{number}") == str(number).encode() for number in range(1000))
    checks.tell(
        "data and node ids are the same",
        (kept, sorted(n["node_id"] for n in client.cluster_nodes().values())) == (1000, ids),
    )
    client.close()


def main() -> int:
    stack, cluster, checks = Stack(), Cluster(), Checks()
    if json.loads(stack.engine("volume", "ls", "--format", "json", "-f", "name=slotmesh_node1") or "null"):
        print(
            "the stack has volumes on this machine already; `docker compose -f deploy/compose.yml down -v` removes them"
        )
        return 2
    try:
        if check_start(stack, cluster, checks):
            check_faults(stack, cluster, checks)
            check_restart(stack, cluster, checks)
    finally:
        stack.compose("down", "-v")
    print(f"{checks.failures} failed")
    return checks.failures


if __name__ == "__main__":
    sys.exit(main())
