"""What the operator sees: tables and colours for people, one JSON object for programs.

With `--json` standard output carries exactly one object, `{"verb": ..., "ok": ..., "exit_code": ..., ...}`, whatever
happens; everything else (steps, progress) goes to standard error. Without it, all of it goes to standard output. Long
work shows a live bar on a terminal and a plain line every few seconds elsewhere, so that a log stays readable.
"""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from slotmesh.tools.clusterctl.errors import EXIT_OK, ClusterctlError

PLAIN_INTERVAL_S = 2.0
"""Time between two progress lines when there is no terminal."""


class Output:
    """Where one run of one verb writes to."""

    def __init__(self, verb: str, json_mode: bool) -> None:
        self.verb = verb
        self.json_mode = json_mode
        # A pipe has no width: without this, rich folds tables to 80 columns in logs.
        width = None if sys.stdout.isatty() else 200
        self._out = Console(highlight=False, soft_wrap=True, width=width)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def console(self) -> Console:
        """The console for people: standard output, or standard error when JSON owns the former."""
        return self._err if self.json_mode else self._out

    def say(self, text: str, style: str | None = None) -> None:
        """A line about a step. `text` is plain: square brackets are printed as they are."""
        self.console.print(escape(text), style=style)

    def show(self, renderable: RenderableType) -> None:
        """A table or other rich object for people; nothing in JSON mode (the object has the same facts)."""
        if not self.json_mode:
            self._out.print(renderable)

    def finish(self, payload: Mapping[str, Any], exit_code: int = EXIT_OK) -> None:
        """The result object. Prints in JSON mode only: people have been told by `say` and `show`."""
        if self.json_mode:
            self._print_json({"verb": self.verb, "ok": exit_code == EXIT_OK, "exit_code": exit_code, **payload})

    def fail(self, error: ClusterctlError) -> None:
        """The one-line error with its hint."""
        if self.json_mode:
            described = {"kind": error.kind, "message": error.message, "hint": error.hint}
            self._print_json({"verb": self.verb, "ok": False, "exit_code": error.exit_code, "error": described})
        self._err.print(f"[bold red]error:[/] {escape(error.message)}")
        if error.hint:
            self._err.print(f"  [cyan]{escape(error.hint)}[/]")

    def _print_json(self, payload: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(payload, indent=2) + "\n")
        sys.stdout.flush()

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Meter]:
        """A meter for `total` units of work, shown as long as the block runs."""
        if not self.console.is_terminal:
            yield PlainMeter(self, what, total, unit)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            yield BarMeter(bar, bar.add_task(what, total=max(total, 1), detail=""), total, unit)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A spinner (or one plain line) while a condition is awaited."""
        if self.console.is_terminal:
            with self.console.status(escape(what)):
                yield
        else:
            self.say(f"{what} ...")
            yield


class Meter(ABC):
    """Counts work done. `advance` is called from one thread at a time (callers lock)."""

    def __init__(self, total: int, unit: str) -> None:
        self.total = total
        self.unit = unit
        self.done = 0
        self.started_s = time.monotonic()

    def advance(self, count: int, note: str = "") -> None:
        self.done += count
        self._update(note)

    def rate(self) -> float:
        """Units per second so far."""
        return self.done / max(time.monotonic() - self.started_s, 1e-9)

    def detail(self, note: str) -> str:
        return f"{self.done:,}/{self.total:,} {self.unit}  {self.rate():,.0f} {self.unit}/s {note}".rstrip()

    @abstractmethod
    def _update(self, note: str) -> None:
        """Show what `detail` says."""


class BarMeter(Meter):
    """On a terminal."""

    def __init__(self, bar: Progress, task: TaskID, total: int, unit: str) -> None:
        super().__init__(total, unit)
        self._bar = bar
        self._task = task

    def _update(self, note: str) -> None:
        # A total that grew (keys written meanwhile) must not stop the bar at 100 %.
        self._bar.update(self._task, completed=min(self.done, self.total), detail=self.detail(note))


class PlainMeter(Meter):
    """In a log: a line every `PLAIN_INTERVAL_S`, with the estimated time left."""

    def __init__(self, out: Output, what: str, total: int, unit: str) -> None:
        super().__init__(total, unit)
        self._out = out
        self._what = what
        self._next_s = self.started_s + PLAIN_INTERVAL_S

    def _update(self, note: str) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + PLAIN_INTERVAL_S
        left_s = max(self.total - self.done, 0) / max(self.rate(), 1e-9)
        self._out.say(f"{self._what}: {self.detail(note)}, about {left_s:.0f} s left")
