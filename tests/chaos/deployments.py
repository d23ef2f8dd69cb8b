"""The two deployments: three shards of two nodes, and a plain primary with two replicas; three sentinels each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from slotmesh.cluster.slots import key_slot
from tests.chaos.hosts import CLUSTER_OPTIONS, Host, node
from tests.chaos.ledger import by_sentinels, in_turn
from tests.chaos.network import Address
from tests.chaos.wire import Refused, ask
from tests.chaos.world import World

CLUSTERCTL = (sys.executable, "-m", "slotmesh.tools.clusterctl")
VERB_S = 180


class ClusterWorld(World):
    """Three shards of a primary and a replica."""

    mode = "cluster"
    unfinished_move = False

    def _make_nodes(self) -> list[Host]:
        return [node(f"node{n}", self.network.place(), self.home, *CLUSTER_OPTIONS) for n in range(6)]

    def _form(self) -> None:
        names = [f"{ip}:{port}" for ip, port in (host.address for host in self.nodes)]
        self.clusterctl("create", "--replicas", "1", "--yes", *names, at=None).check_returncode()
        lines = ask(self.nodes[0].address, "CLUSTER", "NODES").decode().splitlines()
        at = {line.split()[0]: line.split()[1].split("@")[0] for line in lines}
        by_name = dict(zip(names, self.nodes, strict=True))
        leaders = [line.split()[0] for line in lines if "master" in line.split()[2]]
        followers = {line.split()[3]: line.split()[0] for line in lines if "slave" in line.split()[2]}
        self.shards = [[by_name[at[leader]], by_name[at[followers[leader]]]] for leader in leaders]

    def _finder(self) -> Callable[[int], Address]:
        return in_turn([host.address for host in self.nodes])

    def clusterctl_command(self, verb: str, *words: str, at: Host | None) -> list[str]:
        where = ["--node", f"{at.address[0]}:{at.address[1]}", "--dir", str(self.home / "ctl")] if at else []
        return [*CLUSTERCTL, verb, *where, *words]

    def clusterctl(self, verb: str, *words: str, at: Host | None) -> subprocess.CompletedProcess[bytes]:
        """Run a verb to its end; what it says goes to a file."""
        with (self.home / "clusterctl.log").open("ab") as log:
            log.write(f"\n$ {verb} {' '.join(words)}\n".encode())
            log.flush()
            command = self.clusterctl_command(verb, *words, at=at)
            return subprocess.run(command, stdout=log, stderr=log, cwd=self.home, timeout=VERB_S, check=False)

    def serving_node(self) -> Host:
        return next((host for host in self.nodes if host.serving), self.nodes[0])

    def repair(self) -> None:
        if self.unfinished_move:
            self.clusterctl("fix", "--forget", "--yes", at=self.serving_node())
            self.unfinished_move = False

    def move_words(self, tag: str, target: Host) -> list[str]:
        """Arguments that move the slot of a writer, and some around it, to a node."""
        slot = key_slot(tag.encode())
        return ["--to", f"{target.address[0]}:{target.address[1]}", "--slot-range", f"{slot - 20}-{slot + 20}", "--yes"]

    def trouble(self) -> str:
        primaries: list[Host] = []
        maps: list[list[tuple[int, int, bytes]]] = []
        for members in self.shards:
            roles = {}
            for host in members:
                if not host.serving:
                    return f"{host.name} does not serve"
                roles[host.name] = ask(host.address, "ROLE")
                if b"cluster_state:ok" not in ask(host.address, "CLUSTER", "INFO"):
                    return f"{host.name} says that the cluster is down"
                slots = ask(host.address, "CLUSTER", "SLOTS")
                maps.append(sorted((first, last, owner[2]) for first, last, owner, *_ in slots))
                if "[" in ask(host.address, "CLUSTER", "NODES").decode():
                    return f"{host.name} has open slots"
            leading = [host for host in members if roles[host.name][0] == b"master"]
            if len(leading) != 1:
                return f"{[host.name for host in members]} have {len(leading)} primaries"
            if any(role[0] == b"slave" and role[3] != b"connected" for role in roles.values()):
                return f"a replica of {leading[0].name} is not linked"
            primaries += leading
        if any(one != maps[0] for one in maps):
            return "the nodes do not agree about the slots"
        if sum(last - first + 1 for first, last, _ in maps[0]) != 16_384:
            return "slots without an owner"
        return self.unit_trouble(primaries, 1)

    def read(self, key: str) -> set[bytes]:
        address = self.serving_node().address
        for _ in range(5):
            try:
                return set(ask(address, "LRANGE", key, 0, -1, reply_s=10))
            except Refused as refusal:
                if not str(refusal).startswith("MOVED"):
                    raise
                host, _, port = str(refusal).split()[2].rpartition(":")
                address = (host, int(port))
        raise Refused(f"{key} is nowhere")


class PlainWorld(World):
    """A primary with two replicas, no cluster."""

    mode = "plain"
    tags = ("b", "c")

    def _make_nodes(self) -> list[Host]:
        return [node(f"node{n}", self.network.place(), self.home) for n in range(3)]

    def _form(self) -> None:
        for host in self.nodes[1:]:
            ask(host.address, "REPLICAOF", *self.nodes[0].address)
        self.shards = [self.nodes]

    def _finder(self) -> Callable[[int], Address]:
        # Asked when a writer fails: by then there are sentinels.
        return lambda failures: by_sentinels([host.address for host in self.sentinels])(failures)

    def repair(self) -> None:
        """Nothing: there are no moves to finish."""

    def trouble(self) -> str:
        if not all(host.serving for host in self.nodes):
            return f"{[host.name for host in self.nodes if not host.serving]} do not serve"
        roles = {host.name: ask(host.address, "ROLE") for host in self.nodes}
        leading = [host for host in self.nodes if roles[host.name][0] == b"master"]
        if len(leading) != 1:
            return f"{len(leading)} primaries: {[host.name for host in leading]}"
        (primary,) = leading
        for host in self.nodes:
            role = roles[host.name]
            if host is not primary and ((role[1].decode(), role[2]) != primary.address or role[3] != b"connected"):
                return f"{host.name} does not follow {primary.name}"
        return self.unit_trouble(leading, 2)

    def read(self, key: str) -> set[bytes]:
        return set(ask(self.primaries()[0].address, "LRANGE", key, 0, -1, reply_s=10))


WORLDS: dict[str, type[World]] = {"cluster": ClusterWorld, "plain": PlainWorld}
