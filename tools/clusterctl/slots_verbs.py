"""The verbs that move slots: reshard and rebalance."""

from __future__ import annotations

import math

import click

from slotmesh.cluster.numbers import to_float
from slotmesh.cluster.plan import Move, PlanError, apply_moves, plan_rebalance, plan_reshard, plan_slots_to
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.tools.clusterctl.errors import UsageMistake
from slotmesh.tools.clusterctl.journal import describe_moves
from slotmesh.tools.clusterctl.mover import DEFAULT_MIGRATE_TIMEOUT_MS
from slotmesh.tools.clusterctl.moving import run_moves, settled_view, show_moves
from slotmesh.tools.clusterctl.session import Session, cluster_verb, dry_run_option, yes_option
from slotmesh.tools.clusterctl.view import ClusterView, Node

migrate_timeout_option = click.option(
    "--migrate-timeout",
    "migrate_timeout_ms",
    type=click.IntRange(1),
    default=DEFAULT_MIGRATE_TIMEOUT_MS,
    show_default=True,
    help="Milliseconds that one MIGRATE may take (huge keys need more).",
)


@click.command(short_help="Move slots to one primary while clients go on working.")
@click.option("--to", "target", required=True, metavar="NODE", help="Receiving primary: id, start of one, HOST:PORT.")
@click.option("--from", "sources", default="all", show_default=True, metavar="NODES",
              help="Giving primaries, comma-separated, or `all`.")  # fmt: skip
@click.option("--slots", "count", type=click.IntRange(1, 16384), help="How many slots to move.")
@click.option("--slot-range", metavar="RANGES", help="Exactly these slots instead, for example `0-99,205`.")
@migrate_timeout_option
@dry_run_option
@yes_option
@cluster_verb
def reshard(
    session: Session,
    target: str,
    sources: str,
    count: int | None,
    slot_range: str | None,
    migrate_timeout_ms: int,
    dry_run: bool,
    yes: bool,
) -> None:
    """Move slots to one primary, with their keys, while clients go on working.

    Returns when every node agrees on the new map. Ctrl-C finishes the slots that are open and leaves the rest.
    """
    if (count is None) == (slot_range is None):
        raise UsageMistake("say how many slots with --slots, or which with --slot-range")
    view = settled_view(session)
    receiver = find_primary(view, target)
    if slot_range is not None:
        moves = plan_slots_to(view.owned(), parse_slot_ranges(slot_range), receiver.id)
    else:
        assert count is not None
        moves = plan_reshard(view.owned(), _givers(view, sources, receiver), receiver.id, count)
    carry_out(session, view, moves, migrate_timeout_ms, dry_run, yes)


@click.command()
@click.option(
    "--weight", "weights", multiple=True, metavar="NODE=W", help="Share of a primary (default 1; 0 empties it)."
)
@click.option("--threshold", type=click.FloatRange(0), default=2.0, show_default=True,
              help="Percent off its ideal share up to which a primary is left alone.")  # fmt: skip
@click.option("--use-empty-primaries", is_flag=True, help="Give slots to primaries that have none.")
@click.option("--simulate", is_flag=True, help="The same as --dry-run.")
@migrate_timeout_option
@dry_run_option
@yes_option
@cluster_verb
def rebalance(
    session: Session,
    weights: tuple[str, ...],
    threshold: float,
    use_empty_primaries: bool,
    simulate: bool,
    migrate_timeout_ms: int,
    dry_run: bool,
    yes: bool,
) -> None:
    """Even out the number of slots per primary."""
    view = settled_view(session)
    by_id = dict(_parse_weight(view, text) for text in weights)
    moves = plan_rebalance(view.owned(), by_id, threshold, use_empty_primaries)
    carry_out(session, view, moves, migrate_timeout_ms, dry_run or simulate, yes)


def carry_out(
    session: Session,
    view: ClusterView,
    moves: list[Move],
    migrate_timeout_ms: int,
    dry_run: bool,
    yes: bool,
) -> None:
    """Show the moves, ask, do them, and report; the common end of every verb that moves slots."""
    slot_count = sum(len(move.slots) for move in moves)
    after = {node: len(slots) for node, slots in apply_moves(view.owned(), moves).items()}
    if not moves:
        session.out.say("nothing to move", "green")
        session.out.finish({"moves": [], "moved_slots": 0, "moved_keys": 0, "dry_run": dry_run, "slots_after": after})
        return
    show_moves(session, view, moves)
    if dry_run:
        session.out.say(f"{slot_count:,} slots would move")
        session.out.finish({"moves": describe_moves(moves), "dry_run": True, "slots_after": after})
        return
    session.confirm(f"Move {slot_count:,} slots?", yes)
    summary = run_moves(session, view, moves, migrate_timeout_ms)
    session.out.say(summary.sentence() + "; all nodes agree", "green")
    session.out.finish({**summary.describe(), "dry_run": False, "slots_after": after})


def find_primary(view: ClusterView, reference: str) -> Node:
    """The reachable primary named by `reference`."""
    node = view.find(reference)
    if not node.is_primary:
        raise UsageMistake(f"{node.name} is a replica, not a primary")
    if not node.reachable:
        raise UsageMistake(f"{node.name} cannot be reached: {node.error}")
    return node


def parse_slot_ranges(text: str) -> SlotSet:
    """`0-99,205` or the same with blanks."""
    try:
        slots = SlotSet.from_text(text.replace(",", " "))
    except ValueError as error:
        raise UsageMistake(f"--slot-range {text!r}: {error}") from error
    if not slots:
        raise UsageMistake("--slot-range names no slot")
    return slots


def _givers(view: ClusterView, sources: str, receiver: Node) -> list[str]:
    if sources == "all":
        return [node.id for node in view.primaries if node.id != receiver.id]
    givers = [find_primary(view, word).id for word in sources.replace(",", " ").split()]
    if receiver.id in givers:
        raise PlanError(f"{receiver.name} cannot be both source and target")
    return givers


def _parse_weight(view: ClusterView, text: str) -> tuple[str, float]:
    reference, equals, number = text.rpartition("=")
    weight = to_float(number.encode("utf-8", "replace"))
    if not equals or weight is None or not 0 <= weight < math.inf:
        raise UsageMistake(f"--weight {text!r} is not NODE=NUMBER", "for example --weight 127.0.0.1:7001=2")
    return find_primary(view, reference).id, weight
