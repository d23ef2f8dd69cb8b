"""`make bench`: slotmesh and redis-server side by side, in one run, as ratios.

Machines are noisy, so nothing absolute is claimed. For every workload and pipeline depth the two servers take turns
(ours, stock, ours, stock, ...), each alone on the same processor while the load generator has another; a pair gives one
ratio, and the median of the pairs is what counts. Server time per request is read from the operating system, so it
holds even where the generator is the bottleneck.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from typing import Any

import click
from attrs import frozen
from rich.console import Console
from rich.table import Table

from slotmesh.tools.bench.servers import RunningServer, our_command, pinned_server, stock_command
from slotmesh.tools.bench.workloads import BASIC, FAMILIES, Workload, run


@frozen
class Sample:
    """One run against one server: requests per second, and server microseconds of processor per request."""

    rate: float
    cpu_micros: float


@frozen
class Result:
    """All pairs of one workload at one depth."""

    workload: str
    pipeline: int
    ours: tuple[Sample, ...]
    stock: tuple[Sample, ...]

    @property
    def rate_ratio(self) -> float:
        """Median of ours/stock in throughput: 1.0 is equal, more is better."""
        return statistics.median(a.rate / b.rate for a, b in zip(self.ours, self.stock, strict=True))

    @property
    def cpu_ratio(self) -> float:
        """Median of stock/ours in server time per request: 1.0 is equal, more is better."""
        return statistics.median(
            b.cpu_micros / a.cpu_micros for a, b in zip(self.ours, self.stock, strict=True) if a.cpu_micros
        )

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "workload": self.workload,
            "pipeline": self.pipeline,
            "rate_ratio": round(self.rate_ratio, 3),
            "cpu_ratio": round(self.cpu_ratio, 3),
            "ours_rate": round(statistics.median(s.rate for s in self.ours)),
            "stock_rate": round(statistics.median(s.rate for s in self.stock)),
            "ours_cpu_us": round(statistics.median(s.cpu_micros for s in self.ours), 2),
            "stock_cpu_us": round(statistics.median(s.cpu_micros for s in self.stock), 2),
        }


def measure(server: RunningServer, workload: Workload, requests: int, pipeline: int, generator: int) -> Sample:
    """One run."""
    before = server.cpu_seconds()
    rate = run(workload, server.port, requests, pipeline, generator)
    return Sample(rate, (server.cpu_seconds() - before) / requests * 1e6)


def compare(
    ours: RunningServer,
    stock: RunningServer,
    workload: Workload,
    pipeline: int,
    pairs: int,
    requests: int,
    generator: int,
) -> Result:
    """Interleaved pairs; one short run of each goes first and is not counted."""
    count = max(2000, int(requests * workload.weight * (4 if pipeline > 1 else 1)))
    for server in (ours, stock):
        measure(server, workload, count // 5, pipeline, generator)
    ours_samples, stock_samples = [], []
    for _ in range(pairs):
        ours_samples.append(measure(ours, workload, count, pipeline, generator))
        stock_samples.append(measure(stock, workload, count, pipeline, generator))
    return Result(workload.name, pipeline, tuple(ours_samples), tuple(stock_samples))


def show(console: Console, results: list[Result], pairs: int) -> None:
    """The table."""
    table = Table(title=f"slotmesh against redis-server, medians of {pairs} pairs, 50 clients, 64-byte values")
    for name in ("workload", "pipeline", "ours/s", "stock/s", "throughput", "ours µs cpu", "stock µs cpu", "cpu"):
        table.add_column(name, justify="left" if name == "workload" else "right")
    for result in results:
        row = result.as_json()
        table.add_row(
            result.workload,
            str(result.pipeline),
            f"{row['ours_rate']:,}",
            f"{row['stock_rate']:,}",
            f"{result.rate_ratio:.2f}",
            f"{row['ours_cpu_us']:.2f}",
            f"{row['stock_cpu_us']:.2f}",
            f"{result.cpu_ratio:.2f}",
        )
    console.print(table)
    console.print("throughput: ours/stock; cpu: stock/ours server time per request. 1.00 is equal, more is better.")


@click.command()
@click.option("--pairs", default=5, show_default=True, help="Pairs of runs per workload.")
@click.option(
    "--requests", default=100_000, show_default=True, help="Requests per run at pipeline 1 (four times that at 16)."
)
@click.option("--basic", is_flag=True, help="GET and SET only.")
@click.option("--only", default="", help="Comma-separated workload names.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def main(pairs: int, requests: int, basic: bool, only: str, as_json: bool) -> None:
    """Compare the throughput and the processor time of a node with redis-server's, in the same run."""
    stock = stock_command()
    if stock is None:
        sys.exit("bench: redis-server is not on PATH; install it to compare with it")
    processors = sorted(os.sched_getaffinity(0))
    server_cpu, generator_cpu = processors[0], processors[-1]
    chosen: tuple[Workload, ...] = BASIC if basic else BASIC + FAMILIES
    if only:
        chosen = tuple(w for w in chosen if w.name in only.upper().split(","))
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else 120)
    results: list[Result] = []
    with (
        pinned_server("slotmesh", our_command(), str(server_cpu)) as ours,
        pinned_server("redis-server", stock, str(server_cpu)) as theirs,
        console.status("measuring") as status,
    ):
        for pipeline in (1, 16):
            for workload in chosen:
                status.update(f"{workload.name}, pipeline {pipeline}")
                results.append(compare(ours, theirs, workload, pipeline, pairs, requests, generator_cpu))
    if as_json:
        click.echo(json.dumps([result.as_json() for result in results], indent=2))
    else:
        show(console, results, pairs)


if __name__ == "__main__":
    main()
