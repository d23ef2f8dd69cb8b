"""The verbs down, ps and logs: the processes of the local cluster."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from slotmesh.tools.clusterctl.agreement import POLL_S
from slotmesh.tools.clusterctl.connect import Access, NodeLink, for_each, words
from slotmesh.tools.clusterctl.errors import CannotConnect, ServerError, StillLoading, UsageMistake, WrongPassword
from slotmesh.tools.clusterctl.local import LocalCluster, LocalProcess
from slotmesh.tools.clusterctl.output import Output
from slotmesh.tools.clusterctl.session import (
    STATE_FILE,
    Session,
    access_options,
    directory_option,
    finish_with_exit_status,
    json_option,
    verb_name,
    yes_option,
)

_FOLLOW_POLL_S = 0.2


@click.command()
@click.option("--wipe", is_flag=True, help="Delete all data, logs and configuration files afterwards.")
@click.option("--patience", "patience_s", type=click.FloatRange(0), default=60.0, show_default=True,
              help="Seconds a process may take to save and end before it is killed.")  # fmt: skip
@yes_option
@directory_option
@json_option
def down(wipe: bool, patience_s: float, yes: bool, directory: Path, json_mode: bool) -> None:
    """Stop the local cluster. Data and topology are kept; `up` brings them back."""
    out = Output(verb_name(), json_mode)

    def body() -> None:
        cluster = LocalCluster.load(directory)
        if cluster is None:
            out.say(f"there is no local cluster in {directory}")
            out.finish({"stopped": [], "killed": [], "wiped": False})
            return
        if wipe:
            question = f"Delete all data of the cluster in {directory}?"
            Session(Access(), [], directory, out).confirm(question, yes)
        stopped, killed = stop_all(out, cluster, patience_s)
        if wipe:
            _wipe(cluster)
        ending = "all data deleted" if wipe else "data kept in " + str(directory)
        out.say(f"stopped {len(stopped)} processes; {ending}", "green")
        out.finish({"stopped": stopped, "killed": killed, "wiped": wipe})

    finish_with_exit_status(out, body)


def stop_all(out: Output, cluster: LocalCluster, patience_s: float) -> tuple[list[str], list[str]]:
    """Names of the processes stopped, and of those that had to be killed.

    Sentinels go first: nobody may mistake the end of the nodes for a failure and fail over.
    """
    stopped: list[str] = []
    killed: list[str] = []
    for group in (cluster.sentinels, cluster.nodes):
        ended, ended_hard = stop_group(out, group, patience_s)
        stopped += ended
        killed += ended_hard
    return stopped, killed


def stop_group(out: Output, group: Sequence[LocalProcess], patience_s: float) -> tuple[list[str], list[str]]:
    """Stop those that run, side by side. Names as in `stop_all`."""
    running = [process for process in group if process.pid() is not None]
    if not running:
        return [], []
    with out.waiting(f"stopping {len(running)} {running[0].kind}{'s' if len(running) > 1 else ''}"):
        for process in running:
            # A process that is stopped (SIGSTOP) cannot take note of SIGTERM until it is continued.
            process.signal(signal.SIGTERM)
            process.signal(signal.SIGCONT)
        left = _wait_gone(running, patience_s)
        for process in left:
            out.say(f"{process.name} did not end within {patience_s:.0f} s: killed", "red")
            process.signal(signal.SIGKILL)
        _wait_gone(left, patience_s + 10)
    for process in running:
        process.pid_path.unlink(missing_ok=True)
    return [process.name for process in running], [process.name for process in left]


def _wait_gone(processes: Sequence[LocalProcess], patience_s: float) -> list[LocalProcess]:
    end = time.monotonic() + patience_s
    while True:
        left = [process for process in processes if process.pid() is not None]
        if not left or time.monotonic() > end:
            return left
        time.sleep(POLL_S)


def _wipe(cluster: LocalCluster) -> None:
    """Delete what we made and nothing else."""
    for process in cluster.processes:
        if process.home.exists():
            shutil.rmtree(process.home)
    plans = cluster.directory / "plans"
    if plans.exists():
        shutil.rmtree(plans)
    (cluster.directory / STATE_FILE).unlink()
    if not any(cluster.directory.iterdir()):
        cluster.directory.rmdir()


@click.command()
@access_options
@directory_option
@json_option
def ps(password: str | None, user: str | None, timeout_s: float, directory: Path, json_mode: bool) -> None:
    """List the processes of the local cluster."""
    out = Output(verb_name(), json_mode)

    def body() -> None:
        cluster = LocalCluster.load(directory)
        processes = list(cluster.processes) if cluster else []
        access = Access(user, password, timeout_s)
        rows = for_each(processes, lambda process: describe_process(process, access))
        if not rows:
            out.say(f"there is no local cluster in {directory}; `clusterctl up` makes one")
        table = Table("name", "role", "address", "pid", "state", box=None)
        for row in rows:
            colour = _COLOURS.get(row["state"], "red")
            table.add_row(
                row["name"],
                row["role"] or "?",
                row["address"],
                str(row["pid"] or "-"),
                f"[{colour}]{row['state']}[/]",
            )
        if rows:
            out.show(table)
            out.say(f"logs: {directory}/NAME/*.log (clusterctl logs)", "dim")
        out.finish({"directory": str(directory.absolute()), "processes": rows})

    finish_with_exit_status(out, body)


def describe_process(process: LocalProcess, access: Access) -> dict[str, Any]:
    """A process for JSON. `state`: running, loading (its data), needs password (other than ours), silent (alive but not
    answering) or stopped. `role`: null if unknown.
    """
    pid = process.pid()
    role = None
    state = "stopped"
    if pid is not None:
        state = "running"
        try:
            with NodeLink(process.address, access if process.is_node else Access(timeout_s=access.timeout_s)) as link:
                role = _ROLE_WORDS.get(words(link.call("ROLE")[0]))
        except WrongPassword:
            state = "needs password"
        except StillLoading:
            state = "loading"
        except CannotConnect:
            state = "silent"
        except ServerError:
            role = None  # it answers, but does not let us ask
    return {
        "name": process.name,
        "kind": process.kind,
        "role": role,
        "address": str(process.address),
        "pid": pid,
        "state": state,
        "config": str(process.config_path),
        "log": str(process.log_path),
    }


_COLOURS = {"running": "green", "loading": "yellow", "needs password": "yellow"}
_ROLE_WORDS = {"master": "primary", "slave": "replica", "sentinel": "sentinel"}


@click.command(short_help="Show or follow the logs of the local cluster.")
@click.argument("names", nargs=-1, metavar="[NAME|PORT]...")
@click.option("-n", "--lines", type=click.IntRange(0), default=20, show_default=True, help="Lines per process.")
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is appended, until Ctrl-C.")
@directory_option
@json_option
def logs(names: tuple[str, ...], lines: int, follow: bool, directory: Path, json_mode: bool) -> None:
    """Show the ends of the logs of the local cluster, of all processes or of those named."""
    out = Output(verb_name(), json_mode)

    def body() -> None:
        if follow and json_mode:
            raise UsageMistake("--follow and --json do not go together")
        cluster = LocalCluster.load(directory)
        chosen = _choose(list(cluster.processes) if cluster else [], names)
        tails = {process.name: process.log_tail(lines) for process in chosen}
        if not json_mode:
            for name, tail in tails.items():
                for line in tail:
                    click.echo(f"{name:<15} {line}")
        out.finish({"logs": tails})
        if follow:
            _follow(chosen)

    finish_with_exit_status(out, body)


def _choose(processes: Sequence[LocalProcess], names: Sequence[str]) -> list[LocalProcess]:
    for name in names:
        if not any(name in (process.name, str(process.address.port)) for process in processes):
            known = ", ".join(process.name for process in processes) or "none"
            raise UsageMistake(f"there is no process {name!r} here; there are: {known}")
    return [p for p in processes if not names or p.name in names or str(p.address.port) in names]


def _follow(processes: Sequence[LocalProcess]) -> None:
    positions = {p.name: p.log_path.stat().st_size if p.log_path.exists() else 0 for p in processes}
    while True:
        for process in processes:
            if not process.log_path.exists():
                continue
            with process.log_path.open("rb") as file:
                file.seek(positions[process.name])
                fresh = file.read()
            complete = fresh[: fresh.rfind(b"\n") + 1]
            positions[process.name] += len(complete)
            for line in complete.decode(errors="replace").splitlines():
                click.echo(f"{process.name:<15} {line}")
        sys.stdout.flush()
        time.sleep(_FOLLOW_POLL_S)
