"""The verb up: a whole cluster with sentinels on this machine, or the rest of one that runs in part.

The first time it lays out directories and configuration files, starts the nodes, forms the cluster and starts the
sentinels. Later it starts whatever does not run and waits; ids, topology and data come from the files. Every wait is
for a condition, and a process that dies on the way ends the wait at once with the last lines of its log.

A formed cluster is never left in half: the sentinels start as soon as the nodes answer, though it be that they load
their data, and also when a node did not come up, for a guarded primary without sentinels refuses all writes. What is
wrong is said afterwards. Nodes of a cluster that could not be formed are stopped again.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from slotmesh.cluster.numbers import to_uint
from slotmesh.cluster.plan import Address, plan_layout
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.tools.clusterctl.agreement import poll_until, wait_for_agreement, wait_for_guard, wait_for_state_ok
from slotmesh.tools.clusterctl.connect import Access, NodeLink, for_each, words
from slotmesh.tools.clusterctl.errors import (
    CannotConnect,
    ClusterctlError,
    OperationFailed,
    Refused,
    StillLoading,
    UsageMistake,
    WrongPassword,
)
from slotmesh.tools.clusterctl.forming import FORM_DEADLINE_S, form_cluster, wait_for_replica_links, why_not_fresh
from slotmesh.tools.clusterctl.loading import wait_until_loaded
from slotmesh.tools.clusterctl.local import MONITOR_NAME, LocalCluster, LocalProcess, lay_out, port_is_free, who_listens
from slotmesh.tools.clusterctl.local_config import write_configs
from slotmesh.tools.clusterctl.local_verbs import stop_group
from slotmesh.tools.clusterctl.output import Output
from slotmesh.tools.clusterctl.session import (
    access_options,
    directory_option,
    finish_with_exit_status,
    json_option,
    verb_name,
)
from slotmesh.tools.clusterctl.view import Node, ask_node

START_DEADLINE_S = 60.0
STOP_PATIENCE_S = 10.0
LOG_LINES_SHOWN = 12

_OUR_NODE = shlex.join([sys.executable, "-m", "slotmesh.node"])
_OUR_SENTINEL = shlex.join([sys.executable, "-m", "slotmesh.sentinel"])


@click.command(short_help="Start a cluster with sentinels on this machine, or the rest of it.")
@click.option("--primaries", type=click.IntRange(1, 1000), default=3, show_default=True, help="Number of shards.")
@click.option("--replicas", type=click.IntRange(0, 10), default=1, show_default=True, help="Replicas per primary.")
@click.option("--sentinels", type=click.IntRange(0, 15), default=3, show_default=True, help="Sentinel processes.")
@click.option("--port", type=click.IntRange(1, 55535), default=7001, show_default=True, help="Port of the first node.")
@click.option("--sentinel-port", type=click.IntRange(1, 65535), default=26379, show_default=True,
              help="Port of the first sentinel.")  # fmt: skip
@click.option("--node-command", default=_OUR_NODE, help="Program for nodes, e.g. `redis-server`. Default: ours.")
@click.option("--sentinel-command", default=_OUR_SENTINEL, help="Program for sentinels, e.g. `redis-sentinel`.")
@click.option("--node-option", "node_options", multiple=True, metavar="LINE",
              help="A redis.conf line for every node, e.g. 'maxmemory 100mb'. Repeatable.")  # fmt: skip
@access_options
@directory_option
@json_option
def up(
    primaries: int,
    replicas: int,
    sentinels: int,
    port: int,
    sentinel_port: int,
    node_command: str,
    sentinel_command: str,
    node_options: tuple[str, ...],
    password: str | None,
    user: str | None,
    timeout_s: float,
    directory: Path,
    json_mode: bool,
) -> None:
    """Start a cluster on this machine: 3 primaries, 3 replicas and 3 sentinels unless told otherwise.

    Everything runs in the background and survives the terminal. A second `up` starts what does not run; after `down` it
    brings back the same cluster with its data. Layout options count only the first time.
    """
    out = Output(verb_name(), json_mode)

    def body() -> None:
        access = Access(user, password, timeout_s)
        cluster = LocalCluster.load(directory)
        if cluster is None:
            cluster = lay_out(
                directory,
                primaries,
                replicas,
                sentinels,
                port,
                sentinel_port,
                _split_command(node_command),
                _split_command(sentinel_command),
            )
        run_up(out, cluster, access, node_options)

    finish_with_exit_status(out, body)


def run_up(out: Output, cluster: LocalCluster, access: Access, node_options: Sequence[str]) -> None:
    """Start what is missing, wait until the whole is healthy, and say how to use it."""
    missing = [process for process in cluster.processes if process.pid() is None]
    if not missing and cluster.formed:
        out.say(f"already running: {_summary(cluster)}", "green")
        _say_how_to_connect(out, cluster, access)
        out.finish(_describe(cluster, started=[], already_running=True))
        return
    _require_free_ports(missing)
    cluster.save()
    write_configs(cluster, access.password, node_options)
    started_s = time.monotonic()
    missing_nodes = [process for process in missing if process.is_node]
    missing_sentinels = [process for process in missing if not process.is_node]
    if cluster.formed:
        _start_all(out, cluster, missing_nodes, missing_sentinels, access)
        _wait_for_nodes(out, cluster, access)
    else:
        _start_and_form(out, cluster, missing_nodes, access)
        _start(out, cluster, missing_sentinels, access)
    if cluster.sentinels:
        with out.waiting("waiting until the sentinels see each other and guard the cluster"):
            wait_for_sentinels([sentinel.address for sentinel in cluster.sentinels], access)
            wait_for_guard([node.address for node in cluster.nodes], access)
    out.say(f"running: {_summary(cluster)} (ready after {time.monotonic() - started_s:.1f} s)", "green")
    _say_how_to_connect(out, cluster, access)
    out.finish(_describe(cluster, [process.name for process in missing], already_running=False))


def _split_command(text: str) -> list[str]:
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise UsageMistake(f"the command {text!r} cannot be read: {error}") from error
    if not command:
        raise UsageMistake("an empty command cannot be started")
    return command


def _require_free_ports(missing: Sequence[LocalProcess]) -> None:
    for process in missing:
        for port in process.ports:
            if port_is_free(port):
                continue
            holder = who_listens(port)
            by_whom = f" by pid {holder[0]} ({holder[1]})" if holder else ""
            raise Refused(
                f"port {port}, which {process.name} needs, is taken{by_whom}",
                "stop that process, or choose other ports with --port / --sentinel-port and another --dir",
            )


def _start(out: Output, cluster: LocalCluster, processes: Sequence[LocalProcess], access: Access) -> None:
    """Start all at once and wait until each answers."""
    if not processes:
        return
    kind = processes[0].kind
    with out.waiting(f"starting {len(processes)} {kind}{'s' if len(processes) > 1 else ''}"):
        running = [(process, process.start(cluster.command_for(process))) for process in processes]
        answered: set[str] = set()
        poll_until(lambda: _first_silent(out, running, access, answered), START_DEADLINE_S)


def _start_all(
    out: Output,
    cluster: LocalCluster,
    nodes: Sequence[LocalProcess],
    sentinels: Sequence[LocalProcess],
    access: Access,
) -> None:
    """Start nodes, then sentinels, the latter although a node failed; the failure is raised then."""
    try:
        _start(out, cluster, nodes, access)
    finally:
        _start(out, cluster, sentinels, access)


def _start_and_form(out: Output, cluster: LocalCluster, nodes: Sequence[LocalProcess], access: Access) -> None:
    """The first time. When it fails, what was started is stopped: these nodes serve nobody yet."""
    try:
        _start(out, cluster, nodes, access)
        with out.waiting(f"{len(cluster.nodes)} nodes meet and agree"):
            _form(cluster, [node.address for node in cluster.nodes], access)
    except ClusterctlError:
        stop_group(out, nodes, STOP_PATIENCE_S)
        raise
    cluster.formed = True
    cluster.save()


def _first_silent(
    out: Output,
    running: Sequence[tuple[LocalProcess, subprocess.Popen[bytes]]],
    access: Access,
    answered: set[str],
) -> str | None:
    """Which process does not answer yet, and why; None when none is left. Those that once did are not asked again."""
    for process, child in running:
        status = child.poll()
        if status is not None:
            for line in process.log_tail(LOG_LINES_SHOWN):
                out.say(f"  {line}", "dim")
            raise OperationFailed(
                f"{process.name} ended at start with status {status}; the end of its log is above",
                f"whole log: {process.log_path}; configuration: {process.config_path}",
            )
        if process.name in answered:
            continue
        try:
            with NodeLink(process.address, _access_for(process, access)) as link:
                link.call("PING")
        except WrongPassword:
            raise  # waiting does not change it
        except StillLoading:
            pass  # it has come up; what it has to load is waited for later
        except CannotConnect as error:
            return error.message
        answered.add(process.name)
    return None


def _access_for(process: LocalProcess, access: Access) -> Access:
    """Sentinels of the local cluster have no password of their own."""
    return access if process.is_node else Access(timeout_s=access.timeout_s)


def _form(cluster: LocalCluster, addresses: Sequence[Address], access: Access) -> None:
    nodes = for_each(addresses, lambda address: ask_node(address, access))
    if any(why_not_fresh(node) for node in nodes):
        _reset_half_formed(nodes, access)
    form_cluster(plan_layout(addresses, cluster.replicas), access)


def _reset_half_formed(nodes: Sequence[Node], access: Access) -> None:
    """An earlier `up` was interrupted while forming the cluster. Nodes without a key are safe to reset."""
    for node in nodes:
        if node.key_count:
            raise Refused(
                f"{node.address} holds {node.key_count:,} keys, but the cluster was never completed",
                "repair it with `clusterctl fix`, or start over with `clusterctl down --wipe`",
            )
    for node in nodes:
        with NodeLink(node.address, access) as link:
            link.call("CLUSTER", "RESET", "HARD")


def _wait_for_nodes(out: Output, cluster: LocalCluster, access: Access) -> None:
    """Until all have loaded their data, agree and serve. Half-moved slots serve, too, so they are only mentioned."""
    addresses = [node.address for node in cluster.nodes]
    wait_until_loaded(out, addresses, access, lambda: _require_running(cluster.nodes))
    with out.waiting("waiting until all nodes agree and serve"):
        wait_for_agreement(addresses, access, deadline_s=FORM_DEADLINE_S, allow_open=True)
        wait_for_state_ok(addresses, access, FORM_DEADLINE_S)
        nodes = for_each(addresses, lambda address: ask_node(address, access))
        wait_for_replica_links([node.address for node in nodes if not node.is_primary], access)
    half_moved = SlotSet(slot for node in nodes for slot in (*node.line.migrating, *node.line.importing))
    if half_moved:
        out.say(f"{len(half_moved)} slots are half-moved: `clusterctl fix` finishes that", "yellow")


def _require_running(processes: Sequence[LocalProcess]) -> None:
    for process in processes:
        if process.pid() is None:
            raise OperationFailed(f"{process.name} has ended", f"its log: {process.log_path}")


def wait_for_sentinels(addresses: Sequence[Address], access: Access, deadline_s: float = FORM_DEADLINE_S) -> None:
    """Until each sentinel sees all the others, for every primary it watches."""
    open_access = Access(timeout_s=access.timeout_s)

    def missing() -> str | None:
        for address in addresses:
            with NodeLink(address, open_access) as link:
                seen = [_pairs(entry).get("num-other-sentinels", "0") for entry in link.call("SENTINEL", "MASTERS")]
            if not seen:
                return f"the sentinel {address} watches nothing yet"
            fewest = min(to_uint(others) or 0 for others in seen)
            if fewest < len(addresses) - 1:
                return f"the sentinel {address} sees {fewest} of {len(addresses) - 1} others"
        return None

    poll_until(missing, deadline_s)


def _pairs(flat: Sequence[Any]) -> dict[str, str]:
    return {words(flat[i]): words(flat[i + 1]) for i in range(0, len(flat) - 1, 2)}


def _summary(cluster: LocalCluster) -> str:
    nodes, sentinels = cluster.nodes, cluster.sentinels
    text = f"{len(nodes)} nodes on {nodes[0].address}-{nodes[-1].address.port}"
    if sentinels:
        text += f", {len(sentinels)} sentinels on {sentinels[0].address}-{sentinels[-1].address.port}"
    return text


def _say_how_to_connect(out: Output, cluster: LocalCluster, access: Access) -> None:
    first = cluster.nodes[0].address
    secret = " -a PASSWORD" if access.password is not None else ""
    where = "" if str(cluster.directory) == ".cluster" else f" --dir {cluster.directory}"
    password = ", password=..." if access.password is not None else ""
    lines = [
        f"  shell       redis-cli -c -p {first.port}{secret}",
        f"  python      redis.RedisCluster(host={first.host!r}, port={first.port}{password})",
    ]
    if cluster.sentinels:
        sentinel = cluster.sentinels[0].address.port
        lines.append(f"  sentinel    redis-cli -p {sentinel} sentinel masters        (watching {MONITOR_NAME})")
    lines += [
        f"  health      clusterctl status{where}",
        f"  logs        clusterctl logs -f{where}    (files in {cluster.directory}/*/*.log)",
        f"  stop        clusterctl down{where}      (data is kept; up brings it back)",
    ]
    for line in lines:
        out.say(line)


def _describe(cluster: LocalCluster, started: Sequence[str], already_running: bool) -> dict[str, Any]:
    return {
        "directory": str(cluster.directory.absolute()),
        "already_running": already_running,
        "started": list(started),
        "nodes": [str(node.address) for node in cluster.nodes],
        "sentinels": [str(sentinel.address) for sentinel in cluster.sentinels],
    }
