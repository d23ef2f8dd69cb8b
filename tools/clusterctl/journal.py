"""The written plan of a move of slots, so that a killed clusterctl leaves a trace to follow.

A journal is one JSON file, written and synced before the first slot is touched and removed after the last one has
arrived and all nodes agree. It holds only the intention (the moves). How far the work came is not written down: the
cluster itself knows which slots have changed their owner, and two records of one truth would sooner or later differ.

`clusterctl fix` reads the journals that nobody holds: it closes what is half-moved, then goes on (`--resume`), goes
back (`--rollback`) or forgets the plan. A running clusterctl holds a lock on its file, which dies with it.

File: `{"version": 1, "id", "verb", "created_at" (ISO 8601, UTC), "moves": [{"source", "target", "slots": "0-99 105"}]}`
in `plans/` under the state directory of `clusterctl up`, or under `~/.slotmesh` for other clusters.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import attrs

from slotmesh.cluster.plan import Move
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.tools.clusterctl.errors import OperationFailed

FORMAT_VERSION = 1


@attrs.frozen
class Plan:
    """A journal as read from its file."""

    id: str
    verb: str
    created_at: str
    moves: tuple[Move, ...]
    path: Path

    def concerns(self, node_ids: Iterable[str]) -> bool:
        """Whether all nodes of the plan are among `node_ids`, so whether it is about this cluster."""
        known = set(node_ids)
        return all(move.source in known and move.target in known for move in self.moves)

    def describe(self) -> dict[str, Any]:
        return {"id": self.id, "verb": self.verb, "created_at": self.created_at, "moves": describe_moves(self.moves)}


def describe_moves(moves: Sequence[Move]) -> list[dict[str, Any]]:
    """Moves for JSON output: `slots` is text like "0-99 105"."""
    return [
        {"source": m.source, "target": m.target, "slots": m.slots.to_text(), "slot_count": len(m.slots)} for m in moves
    ]


class Journal:
    """A plan being carried out: holds the file's lock while used as a context manager."""

    def __init__(self, directory: Path, verb: str, moves: Sequence[Move]) -> None:
        now = datetime.datetime.now(datetime.UTC)
        name = f"{now:%Y%m%dT%H%M%S}-{verb}-{secrets.token_hex(3)}"
        self.plan = Plan(name, verb, now.isoformat(timespec="seconds"), tuple(moves), directory / f"{name}.json")
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        path = self.plan.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("x", encoding="utf-8")
        except OSError as error:
            raise OperationFailed(f"cannot write the plan file {path}: {error.strerror}") from error
        fcntl.flock(self._file, fcntl.LOCK_EX)
        json.dump({"version": FORMAT_VERSION, **self.plan.describe()}, self._file, indent=1)
        self._file.flush()
        os.fsync(self._file.fileno())
        _sync_directory(path.parent)
        return self

    def done(self) -> None:
        """The moves are complete: nothing to resume."""
        self.plan.path.unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unfinished_plans(directory: Path, node_ids: Iterable[str]) -> tuple[list[Plan], list[Plan]]:
    """The plans about the cluster of `node_ids`: (abandoned by their clusterctl, still being carried out)."""
    known = list(node_ids)
    abandoned: list[Plan] = []
    running: list[Plan] = []
    for path in sorted(directory.glob("*.json")):
        plan, locked = _read(path)
        if plan is not None and plan.concerns(known):
            (running if locked else abandoned).append(plan)
    return abandoned, running


def _read(path: Path) -> tuple[Plan | None, bool]:
    try:
        with path.open(encoding="utf-8") as file:
            locked = not _try_lock(file)
            text = file.read()
    except FileNotFoundError:
        return None, False  # finished between the listing and now
    try:
        data = json.loads(text)
        if data["version"] != FORMAT_VERSION:
            raise OperationFailed(f"the plan file {path} has format {data['version']}, not {FORMAT_VERSION}")
        moves = tuple(Move(m["source"], m["target"], SlotSet.from_text(m["slots"])) for m in data["moves"])
        return Plan(data["id"], data["verb"], data["created_at"], moves, path), locked
    except (ValueError, KeyError, TypeError) as error:
        if locked or not text:
            return None, locked  # killed (or still busy) before the plan was complete: no slot has been touched yet
        raise OperationFailed(f"the plan file {path} cannot be read: {error}", "look at it and delete it") from error


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
