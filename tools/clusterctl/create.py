"""The verb create: plan a layout over empty nodes, show it, and form the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from slotmesh.cluster.plan import Layout, plan_layout
from slotmesh.tools.clusterctl.connect import Access, for_each, parse_address
from slotmesh.tools.clusterctl.finishing import finish, look
from slotmesh.tools.clusterctl.forming import form_cluster, require_fresh
from slotmesh.tools.clusterctl.output import Output
from slotmesh.tools.clusterctl.session import (
    Session,
    access_options,
    dry_run_option,
    finish_with_exit_status,
    json_option,
    verb_name,
    yes_option,
)


def describe_layout(layout: Layout) -> dict[str, Any]:
    """The layout for JSON output. `same_host_pairs` counts nodes of one shard that share a host."""
    return {
        "shards": [
            {
                "primary": str(shard.primary),
                "slots": shard.slots.to_text(),
                "slot_count": len(shard.slots),
                "replicas": [str(replica) for replica in shard.replicas],
            }
            for shard in layout.shards
        ],
        "same_host_pairs": layout.conflicts,
    }


def show_layout(out: Output, layout: Layout) -> None:
    table = Table("primary", "slots", "replicas", box=None)
    for shard in layout.shards:
        table.add_row(str(shard.primary), shard.slots.to_text(), ", ".join(map(str, shard.replicas)) or "none")
    out.show(table)
    hosts = {address.host for shard in layout.shards for address in (shard.primary, *shard.replicas)}
    if layout.conflicts and len(hosts) > 1:
        out.say(f"{layout.conflicts} times two nodes of one shard share a host: one failure would take both", "yellow")
    if len(layout.shards) < 3:
        out.say("fewer than three primaries cannot outvote a failed one: failover then needs sentinels", "yellow")


def _finished(layout: Layout, access: Access, out: Output, dry_run: bool) -> bool:
    """Finish a cluster that was begun; False when nothing was, and all is still to do."""
    work = look(layout, access)
    if work.is_fresh:
        return False
    if work.is_whole:
        out.say("these nodes form a cluster already", "green")
        out.finish({"created": False, "finished": []})
        return True
    steps = work.describe()
    out.say("these nodes form a cluster that is not finished:")
    for step in steps:
        out.say(f"  {step}")
    if not dry_run:
        with out.waiting("the nodes meet and agree"):
            finish(work, access)
        out.say("the cluster is finished and serves all slots", "green")
    out.finish({"created": False, "finished": steps, "dry_run": dry_run})
    return True


@click.command()
@click.argument("addresses", nargs=-1, required=True, metavar="HOST:PORT...")
@click.option("--replicas", type=click.IntRange(0), default=0, show_default=True, help="Replicas per primary.")
@click.option(
    "--if-needed",
    is_flag=True,
    help="Finish what an earlier run left unfinished; do nothing when these nodes form a whole cluster.",
)
@dry_run_option
@yes_option
@access_options
@json_option
def create(
    addresses: tuple[str, ...],
    replicas: int,
    if_needed: bool,
    dry_run: bool,
    yes: bool,
    password: str | None,
    user: str | None,
    timeout_s: float,
    json_mode: bool,
) -> None:
    """Form a cluster out of empty nodes that already run.

    All slots are split evenly over the primaries; the nodes of a shard are kept on different hosts where possible.
    Returns when every node agrees and the cluster serves all slots.
    """
    out = Output(verb_name(), json_mode)

    def body() -> None:
        access = Access(user, password, timeout_s)
        targets = [parse_address(text) for text in addresses]
        layout = plan_layout(targets, replicas)
        if if_needed and _finished(layout, access, out, dry_run):
            return
        members = [a for shard in layout.shards for a in (shard.primary, *shard.replicas)]
        for_each(members, lambda address: require_fresh(address, access))
        show_layout(out, layout)
        if dry_run:
            out.finish({**describe_layout(layout), "created": False, "dry_run": True})
            return
        Session(access, members, Path(), out).confirm("Form this cluster?", yes)
        with out.waiting("nodes meet and agree"):
            owned = form_cluster(layout, access)
        out.say(f"the cluster serves all slots: {len(owned)} primaries, {len(members) - len(owned)} replicas", "green")
        out.finish({**describe_layout(layout), "created": True, "dry_run": False})

    finish_with_exit_status(out, body)
