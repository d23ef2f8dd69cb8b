"""HOTKEYS (Redis 8.6): which keys cost most processor time or network bytes, during a session that an operator starts.

While a session runs, a gate takes every command off the fast path; without one nothing is measured. The
cost of a command is shared equally by its keys. A transaction counts command by command, a script as one command with
the keys that it names; what replicas get is left out. The heaviest are found in bounded room (`heavy_hitters.py`).
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any, Final

from slotmesh.cluster.slots import key_slot
from slotmesh.node.acl.check import key_flags
from slotmesh.node.base.gates import SERVER_HOT_KEYS
from slotmesh.node.clients.block import Block
from slotmesh.node.clients.client import GATE_PRIMARY
from slotmesh.node.observe.command_log import request_bytes
from slotmesh.node.observe.heavy_hitters import HeavyHitters
from slotmesh.node.resp.encoder import encode

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client
    from slotmesh.node.spec.registry import CommandSpec
    from slotmesh.node.state import NodeState

#: Counters per key to be reported: the more, the less they overestimate.
_SPARE: Final = 10


class Costs:
    """What commands with keys cost together."""

    __slots__ = ("nanos", "net_bytes")

    def __init__(self) -> None:
        self.nanos = self.net_bytes = 0

    def add(self, nanos: int, net_bytes: int) -> None:
        """One command more."""
        self.nanos += nanos
        self.net_bytes += net_bytes


class Session:
    """One session. `duration_ms` 0: until it is stopped. `slots`: the only ones that are looked at, or None."""

    def __init__(
        self,
        now_ms: int,
        *,
        cpu: bool,
        net: bool,
        count: int = 10,
        duration_ms: int = 0,
        sample_ratio: int = 1,
        slots: frozenset[int] | None = None,
    ) -> None:
        self.by_cpu = HeavyHitters(count * _SPARE) if cpu else None
        self.by_net = HeavyHitters(count * _SPARE) if net else None
        self.count = count
        self.sample_ratio = sample_ratio
        self.slots = slots
        self.start_ms = now_ms
        self.end_ms = now_ms + duration_ms if duration_ms else 0
        self.active = True
        #: All commands, those of the selected slots, and of these the sampled ones.
        self.all, self.selected, self.sampled = Costs(), Costs(), Costs()
        self._cpu_at_start = _cpu_ms()
        self._cpu_at_stop = self._cpu_at_start

    def stop(self, now_ms: int) -> None:
        """Measure no more; what was found stays."""
        self.active = False
        self.end_ms = now_ms
        self._cpu_at_stop = _cpu_ms()

    def elapsed_ms(self, now_ms: int) -> int:
        """How long it has run."""
        return (now_ms if self.active else self.end_ms) - self.start_ms

    def cpu_ms(self) -> tuple[int, int]:
        """The processor time of the whole process since the start: in user mode, in the kernel."""
        user, system = _cpu_ms() if self.active else self._cpu_at_stop
        return user - self._cpu_at_start[0], system - self._cpu_at_start[1]

    def add(self, keys: list[bytes], nanos: int, net_bytes: int, *, is_sampled: bool) -> None:
        """A command with `keys` has run."""
        self.all.add(nanos, net_bytes)
        if self.slots is not None and key_slot(keys[0]) not in self.slots:
            return
        self.selected.add(nanos, net_bytes)
        if not is_sampled:
            return
        self.sampled.add(nanos, net_bytes)
        for key in keys:
            if self.by_cpu is not None:
                self.by_cpu.add(key, nanos // len(keys))
            if self.by_net is not None:
                self.by_net.add(key, net_bytes // len(keys))


def _cpu_ms() -> tuple[int, int]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int(usage.ru_utime * 1000), int(usage.ru_stime * 1000)


class HotKeys:
    """The session of a node, if there is one."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self.session: Session | None = None

    def start(self, session: Session) -> None:
        """Begin to measure."""
        self.session = session
        self._state.set_gate(SERVER_HOT_KEYS, True)

    def stop(self) -> bool:
        """Measure no more; False when nothing is measured anyway."""
        self.check()
        if self.session is None or not self.session.active:
            return False
        self._end(self._state.clock.now_ms)
        return True

    def check(self) -> bool:
        """Housekeeping: end a session whose time is over; whether one goes on."""
        session = self.session
        if session is not None and session.active and session.end_ms and self._state.clock.now_ms >= session.end_ms:
            self._end(session.end_ms)
        return session is not None and session.active

    def _end(self, at_ms: int) -> None:
        assert self.session is not None
        self.session.stop(at_ms)
        self._state.set_gate(SERVER_HOT_KEYS, False)

    def called(self, client: Client, spec: CommandSpec, argv: list[bytes], nanos: int, result: Any) -> None:
        """A command has run while the gate is up."""
        session = self.session
        if session is None or type(result) is Block or client.is_script or client.gates & GATE_PRIMARY:
            return
        keys = [argv[index] for index, _ in key_flags(spec, argv)]
        if not keys:
            return
        net_bytes = 0
        if session.by_net is not None:
            reply: list[bytes] = []
            encode(reply, result, client.resp3)
            net_bytes = request_bytes(argv) + sum(map(len, reply))
        ratio = session.sample_ratio
        session.add(keys, nanos, net_bytes, is_sampled=ratio == 1 or self._state.rng.random() * ratio < 1)
