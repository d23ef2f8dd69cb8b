"""The verbs that only look: status, info, nodes, slots, and call, which runs a command everywhere."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import click
from rich.table import Table

from slotmesh.cluster.numbers import to_uint
from slotmesh.tools.clusterctl.check_fix import show_findings
from slotmesh.tools.clusterctl.connect import NodeLink, for_each, words
from slotmesh.tools.clusterctl.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_UNHEALTHY,
    CannotConnect,
    ServerError,
    UsageMistake,
)
from slotmesh.tools.clusterctl.health import find_problems, has_errors
from slotmesh.tools.clusterctl.local import LocalCluster
from slotmesh.tools.clusterctl.session import Session, cluster_verb
from slotmesh.tools.clusterctl.view import ClusterView, Node


@click.command()
@cluster_verb
def status(session: Session) -> None:
    """Say in a few lines whether the cluster is well. Exit status 3 when it is not."""
    view = session.load()
    findings = find_problems(view)
    bad = has_errors(findings)
    keys = sum(node.key_count for node in view.live_primaries)
    serving = [node for node in view.live_primaries if node.slots]
    word = "NOT OK" if bad else "ok, with warnings" if findings else "ok"
    session.out.say(f"cluster: {word}", "red" if bad else "yellow" if findings else "green")
    session.out.say(
        f"  {len(view.covered()):,} of 16,384 slots served by {len(serving)} primaries, "
        f"{len([n for n in view.reachable if not n.is_primary])} replicas, {keys:,} keys"
    )
    local = _local_processes(session)
    if local:
        session.out.say(f"  {local['running']} of {local['processes']} local processes run (clusterctl ps)")
    show_findings(session.out, findings)
    session.out.finish(
        {
            "healthy": not bad,
            "covered_slots": len(view.covered()),
            "nodes": len(view.nodes),
            "reachable_nodes": len(view.reachable),
            "primaries_with_slots": len(serving),
            "keys": keys,
            "local": local,
            "findings": [finding.describe() for finding in findings],
        },
        EXIT_UNHEALTHY if bad else EXIT_OK,
    )
    if bad:
        raise SystemExit(EXIT_UNHEALTHY)


def _local_processes(session: Session) -> dict[str, int] | None:
    cluster = LocalCluster.load(session.directory)
    if cluster is None or not {p.address for p in cluster.nodes} & set(session.seeds):
        return None
    return {
        "processes": len(cluster.processes),
        "running": sum(process.pid() is not None for process in cluster.processes),
    }


@click.command()
@cluster_verb
def info(session: Session) -> None:
    """One line per node: keys, slots, memory, load."""
    view = session.load()
    table = Table("node", "role", "keys", "slots", "memory", "ops/s", "clients", "version", box=None)
    rows = [_load_of(node) for node in view.nodes]
    for node, row in zip(view.nodes, rows, strict=True):
        if not node.reachable:
            table.add_row(node.name, "[red]unreachable[/]", *["-"] * 6)
            continue
        role = "primary" if node.is_primary else f"replica of {(node.line.primary_id or '?')[:8]}"
        slots = str(len(node.slots)) if node.is_primary else "-"
        memory = node.info.get("used_memory_human", "?")
        cells = (row["keys"], slots, memory, row["ops_per_second"], row["connected_clients"], row["version"])
        table.add_row(node.name, role, *map(str, cells))
    session.out.show(table)
    keys = sum(node.key_count for node in view.live_primaries)
    session.out.say(f"{keys:,} keys in {len(view.live_primaries)} primaries")
    session.out.finish({"nodes": rows, "keys": keys})


def _load_of(node: Node) -> dict[str, Any]:
    def number(field: str) -> int | None:
        return to_uint(node.info.get(field, ""))

    return {
        **node.describe(),
        "used_memory": number("used_memory"),
        "ops_per_second": number("instantaneous_ops_per_sec"),
        "connected_clients": number("connected_clients"),
        "uptime_seconds": number("uptime_in_seconds"),
        "version": node.info.get("redis_version"),
    }


@click.command()
@cluster_verb
def nodes(session: Session) -> None:
    """The members as a tree: every primary with its slots, its replicas below it. --json has the full ids."""
    view = session.load()
    for primary in view.primaries:
        session.out.say(_primary_line(primary), None if primary.reachable else "red")
        session.out.say(_slots_line(primary), "dim")
        for replica in view.replicas_of(primary.id):
            state = "in sync" if replica.replica_link_up else "NOT in sync"
            session.out.say(
                f"  replica  {replica.address}  {replica.short_id}  {state if replica.reachable else replica.error}",
                None if replica.reachable and replica.replica_link_up else "red",
            )
    primary_ids = {primary.id for primary in view.primaries}
    for node in view.nodes:
        if not node.is_primary and node.line.primary_id not in primary_ids:
            session.out.say(f"replica of an unknown primary  {node.address}  {node.short_id}", "red")
    session.out.finish({"nodes": [node.describe() for node in view.nodes]})


def _primary_line(node: Node) -> str:
    state = f"{node.key_count:,} keys" if node.reachable else str(node.error)
    return f"primary  {node.address}  {node.short_id}  epoch {node.line.config_epoch}  {state}"


def _slots_line(node: Node) -> str:
    """The slots, cut to the width of a terminal: `clusterctl slots` has them all."""
    if not node.slots:
        return "  no slots"
    indent = "  "
    text = f"{len(node.slots)} slots: {node.slots.to_text()}"
    return indent + textwrap.shorten(text, WIDTH - len(indent), placeholder=" ...")


WIDTH = 80
"""Columns of a plain terminal."""


@click.command()
@cluster_verb
def slots(session: Session) -> None:
    """Every range of slots with its owner and replicas, in slot order."""
    view = session.load()
    rows = slot_rows(view)
    table = Table("slots", "count", "primary", "replicas", box=None)
    for row in rows:
        text = f"{row['first']}-{row['last']}"
        count = str(row["last"] - row["first"] + 1)
        table.add_row(text, count, row["primary"], ", ".join(row["replicas"]) or "-")
    session.out.show(table)
    if uncovered := view.uncovered():
        session.out.say(f"not served: {uncovered.to_text()}", "red")
    session.out.finish({"ranges": rows, "uncovered": view.uncovered().to_text()})


def slot_rows(view: ClusterView) -> list[dict[str, Any]]:
    rows = [
        {
            "first": first,
            "last": last,
            "primary": str(node.address),
            "primary_id": node.id,
            "reachable": node.reachable,
            "replicas": [str(replica.address) for replica in view.replicas_of(node.id)],
        }
        for node in view.primaries
        for first, last in node.slots.ranges()
    ]
    return sorted(rows, key=itemgetter("first"))


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--cluster-only-primaries", "only_primaries", is_flag=True, help="Only on primaries.")
@click.option("--cluster-only-replicas", "only_replicas", is_flag=True, help="Only on replicas.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="CMD [ARG]...")
@cluster_verb
def call(session: Session, only_primaries: bool, only_replicas: bool, command: tuple[str, ...]) -> None:
    """Run one command on every node and show each answer. Options go before the command.

    Exit status 1 when a node answers with an error, 4 when one cannot be reached.
    """
    if only_primaries and only_replicas:
        raise UsageMistake("--cluster-only-primaries and --cluster-only-replicas leave no node")
    view = session.load()
    chosen = [
        node
        for node in view.nodes
        if (node.is_primary or not only_primaries) and (not node.is_primary or not only_replicas)
    ]
    answers = for_each(chosen, lambda node: _call_one(session, node, command))
    exit_code = EXIT_OK
    for node, answer in zip(chosen, answers, strict=True):
        for line in render(answer["reply"]) if answer["error"] is None else [f"error: {answer['error']}"]:
            session.out.say(f"{node.address}: {line}", None if answer["error"] is None else "red")
        exit_code = max(exit_code, answer.pop("exit_code"))
    session.out.finish({"command": list(command), "replies": answers}, exit_code)
    if exit_code != EXIT_OK:
        raise SystemExit(exit_code)


def _call_one(session: Session, node: Node, command: Sequence[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {"id": node.id, "address": str(node.address), "reply": None, "error": None}
    try:
        with NodeLink(node.address, session.access) as link:
            reply = link.call(*command)
        return {**answer, "reply": jsonable(reply), "exit_code": EXIT_OK}
    except ServerError as error:
        return {**answer, "error": error.text, "exit_code": EXIT_FAILED}
    except CannotConnect as error:
        return {**answer, "error": error.message, "exit_code": error.exit_code}


def jsonable(reply: Any) -> Any:
    """A reply with text in place of bytes."""
    if isinstance(reply, list):
        return [jsonable(item) for item in reply]
    return words(reply) if isinstance(reply, bytes) else reply


def render(reply: Any, indent: str = "") -> list[str]:
    """A reply as lines, nested lists indented and numbered."""
    if isinstance(reply, list):
        if not reply:
            return [f"{indent}(empty)"]
        return [line for number, item in enumerate(reply, 1) for line in _numbered(number, item, indent)]
    if reply is None:
        return [f"{indent}(nil)"]
    return [indent + line for line in str(reply).splitlines()] or [indent]


def _numbered(number: int, item: Any, indent: str) -> list[str]:
    if isinstance(item, list):
        return [f"{indent}{number})", *render(item, indent + "   ")]
    return [f"{indent}{number}) {line}" for line in render(item)]
