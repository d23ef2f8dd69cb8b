"""The verbs check and fix: look for what is wrong, and put it right.

`fix` works on what the nodes say now, not on what some log says should be: it can be run at any time, again after being
killed, and does nothing on a sound cluster. Journals of interrupted moves only add the wish to go on or to go back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import attrs
import click
from rich.table import Table

from slotmesh.cluster.plan import Move, plan_slots_to, split_into_stages
from slotmesh.cluster.plan_repair import SlotRepair
from slotmesh.cluster.slot_set import NO_SLOTS, SlotSet
from slotmesh.tools.clusterctl.agreement import wait_for_agreement, wait_for_state_ok
from slotmesh.tools.clusterctl.errors import EXIT_OK, EXIT_UNHEALTHY, Unhealthy, UsageMistake
from slotmesh.tools.clusterctl.health import Finding, find_problems, has_errors
from slotmesh.tools.clusterctl.journal import Plan, unfinished_plans
from slotmesh.tools.clusterctl.mover import DEFAULT_MIGRATE_TIMEOUT_MS
from slotmesh.tools.clusterctl.moving import run_moves, settled_view, show_moves
from slotmesh.tools.clusterctl.output import Output
from slotmesh.tools.clusterctl.repair import (
    Repairer,
    Takeover,
    collect_facts,
    find_strays,
    introduce_strangers,
    plan_repairs,
    plan_takeovers,
    separate_epochs,
    slots_of_the_dead,
    take_over,
    teach_map,
)
from slotmesh.tools.clusterctl.session import Session, cluster_verb, dry_run_option, yes_option
from slotmesh.tools.clusterctl.view import ClusterView

MAX_ROUNDS = 4
"""Repairs can uncover others (a promoted replica holds keys of a half-moved slot). Each round looks anew."""


@click.command(short_help="Look for anything wrong; exit status 3 when something is.")
@click.option("--strict", is_flag=True, help="Let warnings count as errors in the exit status.")
@cluster_verb
def check(session: Session, strict: bool) -> None:
    """Look for anything wrong: coverage, half-moved slots, stray keys, refused writes, dead nodes, missing replicas.

    Exit status 3 when something is.
    """
    view = session.load()
    findings = find_problems(view, find_strays(view, session.access))
    abandoned, running = unfinished_plans(session.plan_directory, [node.id for node in view.nodes])
    show_findings(session.out, findings)
    for plan in abandoned:
        session.out.say(f"note: the {plan.verb} of {plan.created_at} was interrupted (plan {plan.id})", "yellow")
    bad = has_errors(findings) or (strict and bool(findings))
    if not findings:
        primaries = view.live_primaries
        session.out.say(
            f"all good: {len(view.nodes)} nodes agree, {len(primaries)} primaries cover all 16384 slots", "green"
        )
    session.out.finish(
        {
            "findings": [finding.describe() for finding in findings],
            "nodes": len(view.nodes),
            "primaries": len(view.live_primaries),
            "covered_slots": len(view.covered()),
            "interrupted_plans": [plan.describe() for plan in abandoned],
            "running_plans": [plan.describe() for plan in running],
        },
        EXIT_UNHEALTHY if bad else EXIT_OK,
    )
    if bad:
        raise SystemExit(EXIT_UNHEALTHY)


def show_findings(out: Output, findings: Sequence[Finding]) -> None:
    for finding in findings:
        colour = "red" if finding.severity == "error" else "yellow"
        out.say(f"{finding.severity}: {finding.message}", colour)
        if finding.hint:
            out.say(f"  {finding.hint}", "cyan")


@attrs.define
class FixPlan:
    """What one round of `fix` is about to do."""

    takeovers: list[Takeover]
    repairs: list[tuple[SlotRepair, SlotSet]]
    strangers: bool
    other_errors: bool
    dead_slots: SlotSet

    @property
    def empty(self) -> bool:
        return not (self.takeovers or self.repairs or self.strangers or self.other_errors)


def plan_round(session: Session, view: ClusterView, give_up_dead_slots: bool) -> FixPlan:
    """Look at the cluster and decide. With takeovers to do, slots wait for the next round: owners will change."""
    takeovers = plan_takeovers(view)
    dead = slots_of_the_dead(view)
    repairs: list[tuple[SlotRepair, SlotSet]] = []
    if not takeovers and view.live_primaries:
        leave_out = NO_SLOTS if give_up_dead_slots else dead
        repairs = plan_repairs(view, collect_facts(view, leave_out, session.access))
    codes = {finding.code for finding in find_problems(view)}
    return FixPlan(takeovers, repairs, "node_unknown" in codes, bool(codes & {"views_differ", "epoch_shared"}), dead)


@click.command(short_help="Repair: half-moved, unowned or doubly owned slots, dead primaries.")
@click.option("--resume", "after", flag_value="resume", help="Afterwards go on with an interrupted move of slots.")
@click.option("--rollback", "after", flag_value="rollback", help="Afterwards undo an interrupted move of slots.")
@click.option("--forget", "after", flag_value="forget", help="Afterwards drop the plan of an interrupted move.")
@click.option("--give-up-dead-slots", is_flag=True,
              help="Give slots of dead primaries without replicas to others. Their keys are lost.")  # fmt: skip
@dry_run_option
@yes_option
@cluster_verb
def fix(session: Session, after: str | None, give_up_dead_slots: bool, dry_run: bool, yes: bool) -> None:
    """Repair the cluster: close half-moved slots, give every slot one owner, promote replicas of dead primaries.

    Keys are never dropped while a repair can keep them. A dead node without slots does not matter.
    """
    view = session.load()
    abandoned, running = unfinished_plans(session.plan_directory, [node.id for node in view.nodes])
    if running:
        raise Unhealthy(f"a clusterctl is moving slots right now (plan {running[0].id})", "let it finish first")
    if loading := [node.name for node in view.nodes if node.loading]:
        # Taken for dead, its slots could be given up.
        raise Unhealthy(f"{', '.join(loading)} is still loading its data", "let it finish first")
    plan = plan_round(session, view, give_up_dead_slots)
    _show_plan(session.out, view, plan)
    report: dict[str, Any] = {"takeovers": [], "repairs": [], "moved_keys": 0, "dry_run": dry_run}
    if dry_run:
        _add_to_report(report, plan)
        session.out.finish(report)
        return
    if not plan.empty:
        session.confirm("Carry this out?", yes)
        view = _repair_rounds(session, view, plan, give_up_dead_slots, report)
    report["plans"] = [_after(session, journal, after, yes) for journal in abandoned]
    view = session.load()
    findings = find_problems(view, find_strays(view, session.access))
    report["findings"] = [finding.describe() for finding in findings]
    show_findings(session.out, findings)
    bad = has_errors(findings)
    if not bad:
        session.out.say("nothing was wrong" if plan.empty else "repaired; all nodes agree", "green")
    session.out.finish(report, EXIT_UNHEALTHY if bad else EXIT_OK)
    if bad:
        raise SystemExit(EXIT_UNHEALTHY)


def _repair_rounds(
    session: Session, view: ClusterView, plan: FixPlan, give_up_dead_slots: bool, report: dict[str, Any]
) -> ClusterView:
    for _ in range(MAX_ROUNDS):
        _add_to_report(report, plan)
        _carry_out(session, view, plan, report)
        view = session.load()
        plan = plan_round(session, view, give_up_dead_slots)
        if plan.empty:
            return view
        _show_plan(session.out, view, plan)
    raise Unhealthy(
        "the repairs do not hold: something keeps changing the cluster", "`clusterctl check` shows the rest"
    )


def _carry_out(session: Session, view: ClusterView, plan: FixPlan, report: dict[str, Any]) -> None:
    access = session.access
    for takeover in plan.takeovers:
        session.out.say(f"promoting {takeover.replica.name} in place of {takeover.dead.name}")
        take_over(takeover, access)
    if plan.strangers:
        introduce_strangers(view, access)
    if plan.other_errors:
        _settle(session)
    if plan.repairs:
        _repair_slots(session, view, plan, report)
    with session.out.waiting("waiting until all nodes agree"):
        _wait_agreed(session, allow_open=bool(plan.takeovers))


def _repair_slots(session: Session, view: ClusterView, plan: FixPlan, report: dict[str, Any]) -> None:
    def on_keys(count: int) -> None:
        report["moved_keys"] += count

    repairer = Repairer(view, session.access, on_keys)
    total = sum(len(slots) for _, slots in plan.repairs)
    carrying = any(repair.carry_from for repair, _ in plan.repairs)
    try:
        repairer.adopt(plan.repairs)
        if carrying and not plan.dead_slots:
            # While a node thinks the cluster is down it takes no keys in: after a failover that lasts some seconds.
            wait_for_state_ok([node.address for node in view.live_primaries], session.access)
        with session.out.progress("repairing", total, "slots") as meter:
            for repair, slots in plan.repairs:
                repairer.run(repair, slots)
                meter.advance(len(slots))
    finally:
        repairer.close()


def _settle(session: Session) -> None:
    """Disagreement mostly settles by itself; after a while we help."""
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        view = session.load()
        if not view.dissenters():
            break
        time.sleep(0.2)
    else:
        teach_map(session.load(), session.access)
    separate_epochs(session.load(), session.access)


def _wait_agreed(session: Session, allow_open: bool) -> None:
    """Slots of dead nodes stay as they are, so only agreement is asked for, not coverage.

    After takeovers half-moved slots are still to be repaired, in the next round (`allow_open`).
    """
    view = session.load()
    addresses = [node.address for node in view.reachable]
    wait_for_agreement(addresses, session.access, allow_open=allow_open)
    if not view.uncovered():
        wait_for_state_ok(addresses, session.access)


def _add_to_report(report: dict[str, Any], plan: FixPlan) -> None:
    report["takeovers"] += [{"dead": t.dead.id, "promoted": t.replica.id} for t in plan.takeovers]
    report["repairs"] += [
        {"slots": slots.to_text(), "owner": repair.owner, "carry_from": list(repair.carry_from), "why": repair.why}
        for repair, slots in plan.repairs
    ]


def _show_plan(out: Output, view: ClusterView, plan: FixPlan) -> None:
    names = {node.id: node.name for node in view.nodes}
    for takeover in plan.takeovers:
        out.say(f"to do: promote {takeover.replica.name} in place of the dead {takeover.dead.name}")
    if plan.repairs:
        table = Table("slots", "what", "owner", "keys from", box=None)
        for repair, slots in plan.repairs:
            text = slots.to_text()
            sources = ", ".join(names[node] for node in repair.carry_from) or "-"
            table.add_row(text if len(text) < 60 else text[:57] + "...", repair.why, names[repair.owner], sources)
        out.show(table)
    if plan.strangers:
        out.say("to do: introduce nodes that do not know each other")
    if plan.other_errors:
        out.say("to do: bring the nodes to one opinion")
    if plan.dead_slots and not plan.takeovers:
        out.say(
            f"{len(plan.dead_slots)} slots belong to dead primaries without a live replica; bring those back, or give "
            "their keys up with --give-up-dead-slots",
            "yellow",
        )


def _after(session: Session, plan: Plan, after: str | None, yes: bool) -> dict[str, Any]:
    """What becomes of one interrupted plan, once no slot is half-moved."""
    if after == "forget":
        plan.path.unlink(missing_ok=True)
        session.out.say(f"the plan of the interrupted {plan.verb} ({plan.id}) is dropped")
        return {"id": plan.id, "slots_left": None, "outcome": "forgotten"}
    view = settled_view(session)
    forward, back = remaining_moves(view, plan)
    left = sum(len(move.slots) for move in forward)
    outcome = {"id": plan.id, "slots_left": left, "outcome": after or "kept"}
    if not forward:
        session.out.say(f"the interrupted {plan.verb} ({plan.id}) is complete")
        outcome["outcome"] = "complete"
    elif after in ("resume", "rollback"):
        moves = forward if after == "resume" else back
        show_moves(session, view, moves)
        session.confirm(f"{after.capitalize()} the {plan.verb}?", yes)
        for stage in split_into_stages(moves):
            summary = run_moves(session, session.load(), stage, DEFAULT_MIGRATE_TIMEOUT_MS)
            session.out.say(summary.sentence(), "green")
    else:
        session.out.say(
            f"the {plan.verb} of {plan.created_at} is unfinished: {left:,} slots have not moved "
            "(--resume, --rollback or --forget)",
            "yellow",
        )
        return outcome
    plan.path.unlink(missing_ok=True)
    return outcome


def remaining_moves(view: ClusterView, plan: Plan) -> tuple[list[Move], list[Move]]:
    """(what is left to do, what would undo the done part), by who owns the slots now. Failovers are followed."""
    owned = view.owned()
    forward: list[Move] = []
    back: list[Move] = []
    for move in plan.moves:
        source, target = current_parties(view, move)
        done = owned[target] & move.slots
        forward += plan_slots_to(owned, move.slots - done, target)
        if done:
            back.append(Move(target, source, done))
    return forward, back


def current_parties(view: ClusterView, move: Move) -> tuple[str, str]:
    """The primaries that stand for source and target of an old move now."""
    source, target = _living_primary(view, move.source), _living_primary(view, move.target)
    if source is None and target is not None:
        source = _heir(view, move.slots, target)
    elif target is None and source is not None:
        target = _heir(view, move.slots, source)
    if source is None or target is None:
        raise UsageMistake("the nodes of the interrupted move are gone", "drop the plan: clusterctl fix --forget")
    return source, target


def _living_primary(view: ClusterView, node_id: str) -> str | None:
    node = view.get(node_id)
    if node is not None and not node.is_primary:
        node = view.get(node.line.primary_id or "")
    return node.id if node is not None and node.is_primary and node.reachable else None


def _heir(view: ClusterView, slots: SlotSet, other: str) -> str | None:
    """Who has taken over from a dead party: besides the `other` party, the one that owns most of the slots."""
    heirs = [node for node in view.live_primaries if node.id != other and node.slots & slots]
    return max(heirs, key=lambda node: len(node.slots & slots)).id if heirs else None
