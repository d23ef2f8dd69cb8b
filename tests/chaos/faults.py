"""The faults: each strikes a running deployment and says in a few words whom it met."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from random import Random

from tests.chaos.deployments import VERB_S, ClusterWorld
from tests.chaos.hosts import Host
from tests.chaos.wire import Refused, ask
from tests.chaos.world import World

Fault = Callable[[World, Random], str]


def _back_after_s(rng: Random) -> float:
    """A supervisor's restart: at once, soon, or slowly."""
    return rng.choice((0.0, 0.2, 1.0, 4.0)) + rng.random() * 0.3


def _silence_s(rng: Random) -> float:
    return rng.choice((0.3, 0.9, 1.5, 3.0, 7.0)) + rng.random() * 0.3


def _kill(world: World, hosts: Sequence[Host], rng: Random, *, number: signal.Signals = signal.SIGKILL) -> str:
    met = []
    for host in hosts:
        delay_s = _back_after_s(rng)
        if host.running:
            world.kill(host, delay_s, number=number)
            met.append(f"{host.name}(back after {delay_s:.1f} s)")
    return " ".join(met)


def kill_primary(world: World, rng: Random) -> str:
    return _kill(world, [rng.choice(world.primaries())], rng)


def kill_one(world: World, rng: Random) -> str:
    return _kill(world, [rng.choice(world.nodes)], rng)


def kill_two(world: World, rng: Random) -> str:
    return _kill(world, rng.sample(world.nodes, 2), rng)


def kill_two_primaries(world: World, rng: Random) -> str:
    primaries = world.primaries()
    return _kill(world, rng.sample(primaries, min(2, len(primaries))), rng)


def kill_nodes(world: World, rng: Random) -> str:
    return _kill(world, rng.sample(world.nodes, len(world.nodes)), rng)


def kill_everything(world: World, rng: Random) -> str:
    return _kill(world, rng.sample(world.hosts, len(world.hosts)), rng)


def kill_sentinel(world: World, rng: Random) -> str:
    return _kill(world, [rng.choice(world.sentinels)], rng)


def kill_sentinels(world: World, rng: Random) -> str:
    return _kill(world, rng.sample(world.sentinels, rng.choice((2, 3))), rng)


def kill_shard(world: World, rng: Random) -> str:
    members = rng.choice(world.shards)
    return _kill(world, rng.sample(members, len(members)), rng)


def kill_primary_and_sentinel(world: World, rng: Random) -> str:
    return _kill(world, [rng.choice(world.primaries()), rng.choice(world.sentinels)], rng)


def end_primary(world: World, rng: Random) -> str:
    return _kill(world, [rng.choice(world.primaries())], rng, number=signal.SIGTERM)


def end_one(world: World, rng: Random) -> str:
    return _kill(world, [rng.choice(world.hosts)], rng, number=signal.SIGTERM)


def end_nodes(world: World, rng: Random) -> str:
    return _kill(world, rng.sample(world.nodes, len(world.nodes)), rng, number=signal.SIGTERM)


def _pause(world: World, host: Host, rng: Random) -> str:
    for_s = _silence_s(rng)
    if not host.running or host.paused:
        return ""
    world.pause(host, for_s)
    return f"{host.name} for {for_s:.1f} s"


def pause_primary(world: World, rng: Random) -> str:
    return _pause(world, rng.choice(world.primaries()), rng)


def pause_one(world: World, rng: Random) -> str:
    return _pause(world, rng.choice(world.hosts), rng)


def _cut(world: World, hosts: Sequence[Host], rng: Random) -> str:
    for_s = _silence_s(rng)
    if world.away:
        return ""
    world.cut(hosts, for_s)
    return f"{' '.join(host.name for host in hosts)} for {for_s:.1f} s"


def cut_primary(world: World, rng: Random) -> str:
    return _cut(world, [rng.choice(world.primaries())], rng)


def cut_primary_and_sentinel(world: World, rng: Random) -> str:
    return _cut(world, [rng.choice(world.primaries()), rng.choice(world.sentinels)], rng)


def cut_one(world: World, rng: Random) -> str:
    return _cut(world, [rng.choice(world.hosts)], rng)


def _order(host: Host, *words: str) -> str:
    try:
        return str(ask(host.address, *words, reply_s=5))
    except (OSError, Refused) as error:
        return str(error)


def failover(world: World, rng: Random) -> str:
    """By an operator: CLUSTER FAILOVER on a replica."""
    members = rng.choice(world.shards)
    replicas = [host for host in members if host.role == "slave"]
    if not replicas:
        return ""
    host = rng.choice(replicas)
    return f"{host.name}: {_order(host, 'CLUSTER', 'FAILOVER')}"


def sentinel_failover(world: World, rng: Random) -> str:
    primary, host = rng.choice(world.primaries()), rng.choice(world.sentinels)
    try:
        units = world.sentinel_units(host)
    except (OSError, Refused) as error:
        return f"{host.name}: {error}"
    name = next((unit["name"] for unit in units if unit["ip"] == primary.address[0]
                 and int(unit["port"]) == primary.address[1]), "mesh")  # fmt: skip
    return f"{primary.name} by {host.name}: {_order(host, 'SENTINEL', 'FAILOVER', name)}"


def move(world: World, rng: Random) -> str:
    """Some slots, among them one that is written to, move to another primary."""
    assert isinstance(world, ClusterWorld)
    tag, target = rng.choice(world.tags), rng.choice(world.primaries())
    done = world.clusterctl("reshard", *world.move_words(tag, target), at=world.serving_node())
    world.unfinished_move |= done.returncode != 0
    return f"slots around {tag} to {target.name}: status {done.returncode}"


def move_and_kill(world: World, rng: Random) -> str:
    """The same, and a node dies meanwhile."""
    assert isinstance(world, ClusterWorld)
    tag, target = rng.choice(world.tags), rng.choice(world.primaries())
    command = world.clusterctl_command("reshard", *world.move_words(tag, target), at=world.serving_node())
    with (world.home / "clusterctl.log").open("ab") as log:
        mover = subprocess.Popen(command, stdout=log, stderr=log, cwd=world.home)
        time.sleep(0.5 + 2 * rng.random())  # the fault is to strike somewhere in the move
        met = _kill(world, [rng.choice(world.primaries())], rng)
        try:
            status = mover.wait(VERB_S)
        except subprocess.TimeoutExpired:
            mover.kill()
            status = mover.wait()
    world.unfinished_move |= status != 0
    return f"slots around {tag} to {target.name}: status {status}; {met}"


_BOTH: dict[Fault, int] = {
    kill_primary: 4,
    kill_one: 1,
    kill_two: 2,
    kill_nodes: 1,
    kill_everything: 1,
    kill_sentinel: 1,
    kill_sentinels: 1,
    kill_primary_and_sentinel: 2,
    end_primary: 2,
    end_one: 1,
    end_nodes: 1,
    pause_primary: 2,
    pause_one: 1,
    sentinel_failover: 3,
}
_CLUSTER: dict[Fault, int] = {kill_shard: 2, kill_two_primaries: 2, failover: 3, move: 2, move_and_kill: 2}
_CUTS: dict[Fault, int] = {cut_primary: 2, cut_primary_and_sentinel: 2, cut_one: 1}


def kinds(mode: str, *, cuts: bool) -> dict[Fault, int]:
    """The faults of a mode, and how often each is drawn, relative to the others."""
    return _BOTH | (_CLUSTER if mode == "cluster" else {}) | (_CUTS if cuts else {})
