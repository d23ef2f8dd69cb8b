"""The workloads: what redis-benchmark is told to send. One process of it is the load generator for both servers."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Final

from attrs import frozen

_RATE: Final = re.compile(r"([0-9.]+) requests per second")


@frozen
class Workload:
    """One kind of request. `args` follow redis-benchmark's own options; `weight` scales the number of requests."""

    name: str
    args: tuple[str, ...]
    weight: float = 1.0
    prepare: tuple[tuple[str, ...], ...] = ()


KEY: Final = "key:__rand_int__"
MEMBER: Final = "member:__rand_int__"
VALUE: Final = "x" * 64

BASIC: Final = (
    Workload("GET", ("get", KEY)),
    Workload("SET", ("set", KEY, VALUE)),
)
FAMILIES: Final = (
    Workload("INCR", ("incr", "counter:__rand_int__")),
    Workload("LPUSH", ("lpush", "list", VALUE)),
    Workload(
        "LRANGE_100",
        ("lrange", "hundred", "0", "99"),
        0.2,
        (("del", "hundred"), ("rpush", "hundred", *([VALUE] * 100))),
    ),
    Workload("SADD", ("sadd", "set", MEMBER)),
    Workload("HSET", ("hset", "hash", "field:__rand_int__", VALUE)),
    Workload("ZADD", ("zadd", "zset", "__rand_int__", MEMBER)),
    Workload("ZRANGE", ("zrange", "zset", "0", "9"), 0.5),
    Workload("XADD", ("xadd", "stream", "MAXLEN", "~", "100000", "*", "field", VALUE)),
    Workload("PFADD", ("pfadd", "hll", MEMBER)),
    # The offset is fixed: the generator pads its numbers with zeros, which no server takes for an offset.
    Workload("SETBIT", ("setbit", "bits:__rand_int__", "12345", "1")),
    Workload("MSET_10", ("mset", *(word for _ in range(10) for word in (KEY, VALUE))), 0.2),
)


def run(workload: Workload, port: int, requests: int, pipeline: int, processor: int, clients: int = 50) -> float:
    """Send the workload to a server; requests per second as redis-benchmark counts them.

    Raises RuntimeError when redis-benchmark fails or reports errors.
    """
    for command in workload.prepare:
        subprocess.run(["redis-cli", "-p", str(port), *command], check=True, stdout=subprocess.DEVNULL, timeout=60)
    argv = ["redis-benchmark", "-p", str(port), "-n", str(requests), "-c", str(clients), "-P", str(pipeline)]
    argv += ["-r", "100000", "-q", *workload.args]
    if shutil.which("taskset"):
        argv = ["taskset", "-c", str(processor), *argv]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    rates = _RATE.findall(done.stdout)
    if done.returncode or not rates or "rror from server" in done.stdout + done.stderr:
        raise RuntimeError(f"redis-benchmark failed for {workload.name}: {done.stdout[-300:]}{done.stderr[-300:]}")
    return float(rates[-1])
