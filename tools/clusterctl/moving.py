"""Carrying out a list of moves: journal, parallel workers, progress, Ctrl-C, and the wait until all nodes agree.

One worker per source node: a MIGRATE occupies its source anyway, so two workers on one source would only queue there.
In every plan a node is a source or a target, never both. That matters beyond speed: a target takes a fresh config epoch
when it takes slots, and a source that raised its own meanwhile could, by gossip, win slots back that it has given away.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs
from rich.table import Table

from slotmesh.cluster.plan import Move, apply_moves
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.tools.clusterctl.agreement import AGREEMENT_DEADLINE_S, wait_for_agreement
from slotmesh.tools.clusterctl.errors import (
    EXIT_INTERRUPTED,
    ClusterctlError,
    Interrupted,
    OperationFailed,
    Unhealthy,
)
from slotmesh.tools.clusterctl.journal import Journal, describe_moves, unfinished_plans
from slotmesh.tools.clusterctl.mover import ClassicMover, MoveResult, Party, SlotMover
from slotmesh.tools.clusterctl.output import Meter
from slotmesh.tools.clusterctl.session import Session
from slotmesh.tools.clusterctl.view import ClusterView, Node

SETTLE_DEADLINE_S = 15.0
"""How long a cluster whose gossip is still settling is given before a verb refuses to move anything."""


@attrs.define
class Summary:
    """What a run of moves did."""

    moves: list[Move]
    result: MoveResult
    seconds: float

    def describe(self) -> dict[str, Any]:
        return {
            "moves": describe_moves(self.moves),
            "moved_slots": len(self.result.slots),
            "moved_keys": self.result.keys,
            "replaced_keys": self.result.replaced,
            "seconds": round(self.seconds, 3),
            "keys_per_second": round(self.result.keys / self.seconds) if self.seconds else 0,
        }

    def sentence(self) -> str:
        described = self.describe()
        return (
            f"moved {described['moved_slots']:,} slots with {described['moved_keys']:,} keys "
            f"in {self.seconds:.1f} s ({described['keys_per_second']:,} keys/s)"
        )


def party(node: Node) -> Party:
    return Party(node.id, node.address)


def settled_view(session: Session) -> ClusterView:
    """A view fit for moving slots: no slot open, all nodes of one mind (waited for briefly), no plan under way.

    Nodes that cannot be reached do not matter here unless they hold slots: a dead node without slots blocks nothing.
    """
    end = time.monotonic() + SETTLE_DEADLINE_S
    while True:
        view = session.load()
        problem = _unsettled(view)
        if problem is None:
            break
        if view.open_slots() or time.monotonic() > end:
            raise Unhealthy(problem, "heal the cluster first: clusterctl fix")
        time.sleep(0.1)
    _, running = unfinished_plans(session.plan_directory, [node.id for node in view.nodes])
    if running:
        raise Unhealthy(f"another clusterctl is moving slots (plan {running[0].id})", "wait for it to end")
    return view


def _unsettled(view: ClusterView) -> str | None:
    if open_slots := view.open_slots():
        return f"{len(open_slots)} slots are half-moved: {_shorten(open_slots)}"
    if dissenters := view.dissenters():
        return f"the nodes do not agree on the slot map ({dissenters[0].address} differs)"
    for node in view.primaries:
        if node.slots and not node.reachable:
            return f"{node.name} holds slots but cannot be reached: {node.error}"
    return None


def _shorten(slots: SlotSet) -> str:
    text = slots.to_text()
    return text if len(text) <= 60 else text[:57] + "..."


def show_moves(session: Session, view: ClusterView, moves: Sequence[Move]) -> None:
    """The plan as a table."""
    names = {node.id: node.name for node in view.nodes}
    table = Table("from", "to", "slots", "ranges", box=None)
    for move in moves:
        table.add_row(names[move.source], names[move.target], str(len(move.slots)), _shorten(move.slots))
    session.out.show(table)


def run_moves(session: Session, view: ClusterView, moves: Sequence[Move], migrate_timeout_ms: int) -> Summary:
    """Carry out `moves`. Returns when every node agrees on the new map.

    After Ctrl-C (or SIGTERM) the open windows are finished, the nodes agree, and `Interrupted` is raised; the journal
    stays for `clusterctl fix`. When a node fails on the way, the first error is raised with the way to heal.
    """
    stop = threading.Event()
    mover = ClassicMover(session.access, [party(node) for node in view.live_primaries], stop, migrate_timeout_ms)
    return run_moves_with(mover, stop, session, view, moves)


def run_moves_with(
    mover: SlotMover, stop: threading.Event, session: Session, view: ClusterView, moves: Sequence[Move]
) -> Summary:
    """`run_moves` with a given mover, which watches `stop`."""
    assert not {move.source for move in moves} & {move.target for move in moves}, "a source may not be a target"
    parties = {node.id: party(node) for node in view.nodes}
    started_s = time.monotonic()
    with Journal(session.plan_directory, session.out.verb, moves) as journal, _stop_on_signals(session, stop):
        total = sum(mover.count_keys(parties[move.source], move.slots) for move in moves)
        slot_total = sum(len(move.slots) for move in moves)
        what = f"moving {slot_total:,} slots"
        # Few keys in many slots: the slots are the work, so they are what the bar counts.
        by_keys = total >= slot_total
        with session.out.progress(what, total if by_keys else slot_total, "keys" if by_keys else "slots") as meter:
            result, arrived, error = _run_workers(mover, parties, moves, stop, meter, by_keys)
        if error is not None:
            way_out = "`clusterctl fix` closes what is half-moved; --resume goes on, --rollback goes back"
            raise OperationFailed(
                f"{error.message} (after {len(result.slots):,} of {slot_total:,} slots)",
                f"{way_out} ({error.hint})" if error.hint else way_out,
            )
        addresses = [node.address for node in view.reachable]
        with session.out.waiting("waiting until all nodes agree"):
            wait_for_agreement(addresses, session.access, apply_moves(view.owned(), arrived), AGREEMENT_DEADLINE_S)
        if len(result.slots) < slot_total:
            raise Interrupted(
                f"stopped after {len(result.slots):,} of {slot_total:,} slots; none is half-moved",
                "go on with `clusterctl fix --resume`, go back with --rollback, or leave it: `clusterctl fix --forget`",
            )
        journal.done()
    return Summary(list(moves), result, time.monotonic() - started_s)


def _run_workers(
    mover: SlotMover,
    parties: dict[str, Party],
    moves: Sequence[Move],
    stop: threading.Event,
    meter: Meter,
    by_keys: bool,
) -> tuple[MoveResult, list[Move], ClusterctlError | None]:
    lock = threading.Lock()
    result = MoveResult()
    arrived: list[Move] = []
    errors: list[ClusterctlError] = []

    def progress(slots: int, keys: int) -> None:
        with lock:
            meter.advance(keys if by_keys else slots)

    def work(queue: Sequence[Move]) -> None:
        for move in queue:
            if stop.is_set():
                return
            try:
                done = mover.move(parties[move.source], parties[move.target], move.slots, progress)
            except ClusterctlError as error:
                errors.append(error)
                stop.set()
                return
            with lock:
                result.add(done)
                arrived.append(Move(move.source, move.target, done.slots))

    by_source: dict[str, list[Move]] = {}
    for move in moves:
        by_source.setdefault(move.source, []).append(move)
    with ThreadPoolExecutor(max(1, len(by_source)), thread_name_prefix="move") as pool:
        for future in [pool.submit(work, queue) for queue in by_source.values()]:
            future.result()
    return result, arrived, errors[0] if errors else None


@contextmanager
def _stop_on_signals(session: Session, stop: threading.Event) -> Iterator[None]:
    """First Ctrl-C or SIGTERM: finish the open slots. Second: leave at once, for `clusterctl fix` to clean up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os.write(2, b"left at once; run `clusterctl fix`\n")
            os._exit(EXIT_INTERRUPTED)
        stop.set()
        os.write(2, b"finishing the slots that are open (again to leave at once)\n")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
