"""What an operator of a cluster waits for, ours beside the stock server's: `python -m slotmesh.tools.bench.clusters`.

Four primaries of each, one after the other, and redis-cli as the tool for both. Measured are seconds of the clock

- until a fresh node that got all slots by ADDSLOTSRANGE takes a write;
- until every primary takes one after `redis-cli --cluster create` returned (the nodes had been up for a while);
- for `redis-cli --cluster reshard` of some slots with their keys, and `rebalance` that empties one primary.

`--load N` keeps N processes computing meanwhile. A rebalance of 4,096 slots is not for every day: `--rebalance`.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Final

import redis

from slotmesh.cluster.slots import SLOT_COUNT, key_slot
from slotmesh.tools.bench.servers import free_port, our_command, stock_command

PRIMARIES: Final = 4
IDLE_S: Final = 6.0
PATIENCE_S: Final = 900.0
KEYS: Final = 10_000


def _compute() -> None:
    while True:
        pass


@contextlib.contextmanager
def load(processes: int) -> Iterator[None]:
    """Keep so many processes computing."""
    busy = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(processes)]
    for process in busy:
        process.start()
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.join()


@contextlib.contextmanager
def nodes(command: list[str], count: int) -> Iterator[list[redis.Redis]]:
    """So many nodes in cluster mode that know nobody."""
    scratch = Path(tempfile.mkdtemp(prefix="slotmesh-bench-"))
    running: list[subprocess.Popen[bytes]] = []
    try:
        clients = []
        for number in range(count):
            home = scratch / str(number)
            home.mkdir()
            port, bus_port = free_port(), free_port()
            options = ["--port", str(port), "--cluster-port", str(bus_port), "--dir", str(home), "--save", ""]
            with (home / "log").open("wb") as log:
                argv = [*command, *options, "--cluster-enabled", "yes"]
                running.append(subprocess.Popen(argv, stdout=log, stderr=log))
            clients.append(redis.Redis(port=port, socket_timeout=30))
        for client in clients:
            _until(client.ping)
        yield clients
    finally:
        for process in running:
            process.kill()
            process.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def _until(call: Callable[[], object]) -> None:
    """Call until it is no error."""
    over = time.monotonic() + PATIENCE_S
    while True:
        try:
            call()
            return
        except redis.RedisError:
            if time.monotonic() > over:
                raise
            time.sleep(0.002)


def _cli(*words: str) -> float:
    """Run redis-cli; its seconds. Raises CalledProcessError."""
    began = time.monotonic()
    subprocess.run(
        ["redis-cli", "--cluster", *words, "--cluster-yes"], check=True, capture_output=True, timeout=PATIENCE_S
    )
    return time.monotonic() - began


def _port(client: redis.Redis) -> int:
    return int(client.connection_pool.connection_kwargs["port"])


def first_ok_alone(command: list[str]) -> float:
    """Seconds from ADDSLOTSRANGE to the first write, at a node that has been up for a while."""
    with nodes(command, 1) as (node,):
        time.sleep(IDLE_S)
        began = time.monotonic()
        node.cluster("ADDSLOTSRANGE", 0, SLOT_COUNT - 1)
        _until(lambda: node.set("key", "value"))
        return time.monotonic() - began


def _write_each(clients: list[redis.Redis]) -> None:
    share = SLOT_COUNT // PRIMARIES
    number = 0
    for index, client in enumerate(clients):
        while key_slot(b"%d" % number) // share != index:
            number += 1
        _until(lambda client=client, number=number: client.set(b"%d" % number, b"x"))  # type: ignore[misc]


def _fill(clients: list[redis.Redis]) -> None:
    share = SLOT_COUNT // PRIMARIES
    pipes = [client.pipeline(transaction=False) for client in clients]
    for number in range(KEYS):
        key = b"key:%d" % number
        pipes[key_slot(key) // share].set(key, b"x" * 100)
    for pipe in pipes:
        pipe.execute()


def operations(command: list[str], slots: int, *, rebalance: bool) -> dict[str, float]:
    """Seconds of everything that is done to one cluster."""
    with nodes(command, PRIMARIES) as clients:
        time.sleep(IDLE_S)
        addresses = [f"127.0.0.1:{_port(client)}" for client in clients]
        took = {"create": _cli("create", *addresses)}
        began = time.monotonic()
        _write_each(clients)
        took["first OK after create"] = time.monotonic() - began
        _fill(clients)
        ids = [client.cluster("MYID").decode() for client in clients]
        move = ("--cluster-from", ids[0], "--cluster-to", ids[1], "--cluster-slots", str(slots))
        took[f"reshard {slots} slots"] = _cli("reshard", addresses[0], *move)
        if rebalance:
            empty = ("--cluster-weight", f"{ids[3]}=0")
            took["rebalance, one primary emptied"] = _cli("rebalance", addresses[0], *empty)
        return took


def measure(command: list[str], slots: int, *, rebalance: bool) -> dict[str, float]:
    return {"first OK of a node alone": first_ok_alone(command), **operations(command, slots, rebalance=rebalance)}


def main() -> None:
    """Take turns, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slots", type=int, default=300)
    parser.add_argument("--load", type=int, default=0, help="processes that compute meanwhile")
    parser.add_argument("--rebalance", action="store_true", help="move 4,096 slots as well")
    options = parser.parse_args()
    stock = stock_command()
    if stock is None or shutil.which("redis-cli") is None:
        sys.exit("redis-server and redis-cli are wanted")
    flavours = {"ours": our_command(), "stock": stock}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in flavours}
    with load(options.load):
        for _ in range(options.rounds):
            for name, command in flavours.items():
                taken[name].append(measure(command, options.slots, rebalance=options.rebalance))
    print(f"{'seconds, medians of ' + str(options.rounds):<36}{'ours':>8}{'stock':>8}")
    for what in taken["ours"][0]:
        ours, theirs = (median(one[what] for one in taken[name]) for name in flavours)
        print(f"{what:<36}{ours:>8.2f}{theirs:>8.2f}")


if __name__ == "__main__":
    main()
