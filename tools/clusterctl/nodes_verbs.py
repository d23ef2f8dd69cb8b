"""The verbs that change the membership: add-node and del-node."""

from __future__ import annotations

from typing import Any

import click

from slotmesh.cluster.plan import Address, choose_primary_for_replica, plan_drain, plan_rebalance
from slotmesh.tools.clusterctl.agreement import open_links, poll_until, wait_for_agreement, wait_for_state_ok
from slotmesh.tools.clusterctl.connect import NodeLink, for_each, parse_address, words
from slotmesh.tools.clusterctl.errors import CannotConnect, Refused, ServerError, UsageMistake
from slotmesh.tools.clusterctl.forming import follow, meet, require_fresh, wait_for_replica_links
from slotmesh.tools.clusterctl.moving import run_moves, settled_view, show_moves
from slotmesh.tools.clusterctl.session import Session, cluster_verb, dry_run_option, yes_option
from slotmesh.tools.clusterctl.slots_verbs import migrate_timeout_option
from slotmesh.tools.clusterctl.view import ClusterView, Node, ask_node, parse_nodes

FORGET_DEADLINE_S = 30.0


@click.command("add-node")
@click.argument("address", metavar="HOST:PORT")
@click.option("--replica-of", metavar="NODE|auto", help="Join as a replica of this primary; `auto` picks the neediest.")
@click.option("--rebalance", "then_rebalance", is_flag=True, help="Give the new primary its share of the slots.")
@migrate_timeout_option
@yes_option
@cluster_verb
def add_node(
    session: Session, address: str, replica_of: str | None, then_rebalance: bool, migrate_timeout_ms: int, yes: bool
) -> None:
    """Take an empty node that already runs into the cluster.

    Returns when every member knows it and, for a replica, when its data is in sync.
    """
    if replica_of is not None and then_rebalance:
        raise UsageMistake("a replica owns no slots: --replica-of and --rebalance do not go together")
    newcomer = parse_address(address)
    view = settled_view(session)
    _require_stranger(view, newcomer, ask_node(newcomer, session.access))
    fresh = require_fresh(newcomer, session.access)
    primary = None if replica_of is None else _primary_for(view, replica_of, newcomer)
    with session.out.waiting(f"{newcomer} meets the cluster"):
        _give_epoch(session, view, newcomer)
        meet(newcomer, [node.address for node in view.reachable], session.access)
        if primary is not None:
            with NodeLink(newcomer, session.access) as link:
                follow(link, primary.id)
            wait_for_replica_links([newcomer], session.access)
        wait_for_state_ok([newcomer], session.access)
        wait_for_agreement([newcomer, *(node.address for node in view.reachable)], session.access, view.owned())
    role = "a primary without slots" if primary is None else f"a replica of {primary.name}"
    session.out.say(f"{newcomer} ({fresh.short_id}) is in the cluster as {role}", "green")
    result: dict[str, Any] = {"id": fresh.id, "address": str(newcomer), "primary_id": primary.id if primary else None}
    if then_rebalance:
        view = settled_view(session)
        moves = plan_rebalance(view.owned(), use_empty=True)
        show_moves(session, view, moves)
        session.confirm(f"Move {sum(len(move.slots) for move in moves):,} slots?", yes)
        summary = run_moves(session, view, moves, migrate_timeout_ms)
        session.out.say(summary.sentence() + "; all nodes agree", "green")
        result |= summary.describe()
    elif primary is None:
        session.out.say("it owns no slots yet: clusterctl rebalance --use-empty-primaries")
    session.out.finish(result)


def _require_stranger(view: ClusterView, address: Address, node: Node) -> None:
    """A member of this cluster must not be sent away with the advice to empty it."""
    if (member := view.get(node.id)) is not None:
        role = "a primary" if member.is_primary else f"a replica of {(member.line.primary_id or '?')[:8]}"
        text = f"{address} ({node.short_id}) is in this cluster already, as {role}"
        raise Refused(text, "`clusterctl nodes` lists all members")


def _primary_for(view: ClusterView, reference: str, newcomer: Address) -> Node:
    if reference != "auto":
        node = view.find(reference)
        if not node.is_primary:
            raise UsageMistake(f"{node.name} is itself a replica", "name its primary")
        return node
    shards = [
        (node.id, [node.address.host, *(replica.address.host for replica in view.replicas_of(node.id))])
        for node in view.live_primaries
        if node.slots
    ]
    chosen = view.get(choose_primary_for_replica(shards, newcomer.host))
    assert chosen is not None
    return chosen


def _give_epoch(session: Session, view: ClusterView, newcomer: Address) -> None:
    """A config epoch of its own, above all others, so that two newcomers do not arrive with epoch 0 both.

    A node that had a life before (reset softly) keeps the epoch it has; the cluster sorts out equal ones.
    """
    highest = max(node.line.config_epoch for node in view.nodes)
    with NodeLink(newcomer, session.access) as link:
        try:
            link.call("CLUSTER", "SET-CONFIG-EPOCH", highest + 1)
        except ServerError as error:
            if "already non-zero" not in error.text:
                raise


@click.command("del-node")
@click.argument("node", metavar="NODE")
@click.option("--shutdown", is_flag=True, help="Shut the node down instead of resetting it to an empty one.")
@migrate_timeout_option
@dry_run_option
@yes_option
@cluster_verb
def del_node(session: Session, node: str, shutdown: bool, migrate_timeout_ms: int, dry_run: bool, yes: bool) -> None:
    """Take a node out of the cluster.

    A primary's slots move to the others first, and its replicas are given to other primaries. A dead node is forgotten
    if it owns no slots. All members forget it; the node itself ends up empty, or shut down.
    """
    view = session.load()
    leaving = view.find(node)
    _require_removable(view, leaving)
    if leaving.slots:
        view = settled_view(session)
        leaving = view.find(leaving.id)
    recipients = [p.id for p in view.live_primaries if p.slots and p.id != leaving.id]
    moves = plan_drain(view.owned(), leaving.id, recipients) if leaving.slots else []
    orphans = [replica for replica in view.replicas_of(leaving.id) if replica.reachable]
    if moves:
        show_moves(session, view, moves)
    result: dict[str, Any] = {"id": leaving.id, "address": str(leaving.address), "dry_run": dry_run}
    if dry_run:
        session.out.say(
            f"{leaving.name} would go; {len(leaving.slots):,} slots would move, {len(orphans)} replicas too"
        )
        session.out.finish(result)
        return
    session.confirm(f"Take {leaving.name} out of the cluster?", yes)
    if moves:
        summary = run_moves(session, view, moves, migrate_timeout_ms)
        session.out.say(summary.sentence(), "green")
        result |= summary.describe()
    _rehome(session, view, leaving, orphans)
    with session.out.waiting("all members forget the node"):
        _forget_everywhere(session, view, leaving, shutdown)
    session.out.say(f"{leaving.name} is out of the cluster", "green")
    session.out.finish(result)


def _require_removable(view: ClusterView, leaving: Node) -> None:
    if leaving.slots and not leaving.reachable:
        raise Refused(
            f"{leaving.name} is dead and owns {len(leaving.slots):,} slots",
            "promote its replica first: clusterctl fix, or clusterctl failover --takeover",
        )
    others = [node for node in view.live_primaries if node.id != leaving.id and node.slots]
    if leaving.is_primary and not others:
        raise Refused(f"{leaving.name} is the last primary", "stop the nodes to end the cluster")


def _rehome(session: Session, view: ClusterView, leaving: Node, orphans: list[Node]) -> None:
    """Give the replicas of a leaving primary to the primaries that need them most."""
    staying = [p for p in view.live_primaries if p.id != leaving.id and (p.slots or not leaving.slots)]
    shards = {p.id: [p.address.host, *(r.address.host for r in view.replicas_of(p.id))] for p in staying}
    for orphan in orphans:
        new_primary = choose_primary_for_replica(list(shards.items()), orphan.address.host)
        shards[new_primary].append(orphan.address.host)
        with NodeLink(orphan.address, session.access) as link:
            follow(link, new_primary)
        session.out.say(f"{orphan.name} now replicates {new_primary[:8]}")


def _forget_everywhere(session: Session, view: ClusterView, leaving: Node, shutdown: bool) -> None:
    """FORGET on every member, then silence the node, then check that gossip has not brought it back.

    A node that is not told keeps gossiping about the forgotten one, and after a minute everybody would know it again;
    so members that cannot be reached are named.
    """
    members = [node for node in view.reachable if node.id != leaving.id]
    for_each(members, lambda member: _forget(session, member, leaving))
    if leaving.reachable:
        _silence(session, leaving, shutdown)
    absent = [node for node in view.nodes if not node.reachable and node.id != leaving.id]
    if absent:
        names = ", ".join(node.name for node in absent)
        session.out.say(f"not told, because they cannot be reached: {names}; they may bring it back", "yellow")

    with open_links([member.address for member in members], session.access) as links:

        def missing() -> str | None:
            for link in links:
                if any(
                    line.id == leaving.id for line in parse_nodes(words(link.call("CLUSTER", "NODES")), link.address)
                ):
                    return f"{link.address} still knows {leaving.name}"
            return None

        poll_until(missing, FORGET_DEADLINE_S)


def _forget(session: Session, member: Node, leaving: Node) -> None:
    with NodeLink(member.address, session.access) as link:
        try:
            link.call("CLUSTER", "FORGET", leaving.id)
        except ServerError as error:
            if "Unknown node" not in error.text:  # it never knew the node, or has forgotten it already
                raise


def _silence(session: Session, leaving: Node, shutdown: bool) -> None:
    with NodeLink(leaving.address, session.access) as link:
        if shutdown:
            try:
                link.call("SHUTDOWN", "NOSAVE")
            except CannotConnect:
                return  # the connection ends with the process
        link.call("CLUSTER", "RESET", "HARD")
