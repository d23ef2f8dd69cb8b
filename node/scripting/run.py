"""One run of a script or function: who asked for it, what it may do, what it has done so far."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

from slotmesh.node.clients.client import GATE_PRIMARY
from slotmesh.node.keyspace.propagation import EVERYBODY

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client
    from slotmesh.node.spec.registry import CommandSpec


class Run:
    """State of the run under way.

    `name`: the script's SHA1 or the function's name. `wrote`: a write command was tried, so the run can no longer be
    undone by ending it. `busy`: it has exceeded the time limit and others are told so. `targets`: who gets its effects
    (`redis.set_repl`). `slot`: that of the keys used so far, -1 before the first. `trusted`: its caller is the primary
    or a log, not a client. `cut_off`: the node goes down and waits for it no longer.
    """

    __slots__ = (
        "allow_cross_slot",
        "allow_oom",
        "argv",
        "busy",
        "caller",
        "cut_off",
        "is_eval",
        "killed",
        "name",
        "read_only",
        "slot",
        "spec",
        "started_ns",
        "targets",
        "trusted",
        "wrote",
    )

    def __init__(self, caller: Client, spec: CommandSpec, argv: list[bytes], name: bytes, *, is_eval: bool) -> None:
        self.caller = caller
        self.spec = spec
        self.argv = argv
        self.name = name
        self.is_eval = is_eval
        self.read_only = False
        self.allow_oom = False
        self.allow_cross_slot = True
        self.slot = -1
        self.wrote = False
        self.busy = False
        self.killed = False
        self.cut_off = False
        # Asked now: a client may be gone before its script ends.
        self.trusted = bool(caller.gates & GATE_PRIMARY) or caller.sock is None
        self.targets = EVERYBODY
        self.started_ns = perf_counter_ns()

    @property
    def duration_ms(self) -> int:
        """How long it has been running."""
        return (perf_counter_ns() - self.started_ns) // 1_000_000
