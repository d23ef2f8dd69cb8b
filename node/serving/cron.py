"""Work that time calls for: expiry, eviction, deadlines of blocked clients, idle clients, rates, memory.

`run` wakes `hz` times a second for the housekeeping while there is anything to do, and in between exactly when a
blocked client's time is up. A node at rest has nothing to do: then it wakes once a second, and when a key falls due.
Commands end the rest, but for those by which others see whether the node is well (`QUIET_COMMANDS`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter_ns, thread_time_ns
from typing import Final

import trio

from slotmesh.node.clients.blocking import Blocking
from slotmesh.node.clients.client import Client
from slotmesh.node.keyspace.database import DELETE
from slotmesh.node.keyspace.scan import INDEXES
from slotmesh.node.memory.used import Memory
from slotmesh.node.persistence.errors import StorageError
from slotmesh.node.spec import registry
from slotmesh.node.state import NodeState

#: Share of a period that expiry, and after it the freeing of large values, may take from clients, as the slow expiry
#: cycle of stock, and the share that it may take while clients want nothing. Both are of processor time: on a busy
#: machine, waiting for a processor is no work done, and whoever asks for less would never keep up.
SLICES_SHARE: Final = 0.25
IDLE_SHARE: Final = 0.75
#: Longest single slice of such work: more slices follow, with the data plane's turn in between.
SLICE_NS: Final = 1_000_000
#: How long the housekeeping pauses at most while there is nothing to do.
REST_MS: Final = 1000
#: Commands that call for no housekeeping: others ask whether the node is well, and replicas say that they are.
QUIET_COMMANDS: Final = (
    "ping",
    "info",
    "role",
    "publish",
    "replconf",
    "cluster|guard",
    "cluster|info",
    "cluster|nodes",
)
#: So many commands in one period, and the rates in INFO are worth a sample in the next.
FEW_COMMANDS: Final = 20
#: Indexes of scans that nobody went on with for this long are dropped.
SCAN_SWEEP_MS: Final = 30_000


def _is_before(end_ns: int) -> bool:
    return perf_counter_ns() < end_ns


class Cron:
    """The timers of one node. Parts that need housekeeping append a function to `tasks`. It is called `hz` times a
    second as long as one of them returns something true: that it has more to do soon.
    """

    def __init__(
        self,
        state: NodeState,
        memory: Memory,
        blocking: Blocking,
        clients: Mapping[int, Client],
        *,
        flush: Callable[[], None],
        evict: Callable[[Callable[[], bool]], bool],
        halfway: Sequence[Callable[[], object]],
    ) -> None:
        """`flush`: sends what clients are owed. `evict`: makes room, and says whether there is more to do. `halfway`:
        what goes on while a script is halfway, because it only shows that we live.
        """
        self._state = state
        self.memory = memory
        self._blocking = blocking
        self._clients = clients
        self._flush = flush
        self._evict = evict
        self._halfway = halfway
        self.tasks: list[Callable[[], object]] = []
        self.active_expire = True
        #: DEBUG PAUSE-CRON: no periodic work, though deadlines are still met.
        self.paused = False
        self._next_sweep_ms = 0
        self._quiet = [spec for spec in map(registry.known, QUIET_COMMANDS) if spec is not None]
        self._loud_commands = 0
        self._commands = 0
        self.at_rest = False
        #: When the next tick comes if nothing happens, at rest.
        self._rest_until_ms = 0
        self._ticked_ms = 0
        self._wake = trio.Event()

    def wake(self) -> None:
        """A deadline came in: look at it now."""
        self._wake.set()

    def end_pass(self) -> None:
        """A pass of the data plane ends while we rest: a command that was not quiet ends the rest."""
        if self._count_loud() != self._loud_commands:
            self.stir()

    def stir(self) -> None:
        """Something happened: the housekeeping is due again `hz` times a second."""
        if self.at_rest:
            self.at_rest = False
            self._wake.set()

    async def run(self) -> None:
        """Tick until cancelled."""
        clock = self._state.clock
        while True:
            clock.refresh()
            if not self._state.fibers.halfway:  # time stands still for a script
                self._state.keyspace.now_ms = clock.now_ms
            self._blocking.expire(clock.mono_ms)
            if clock.mono_ms >= self._next_tick_ms():
                goes_on, self.at_rest = True, False
                started_ms = clock.mono_ms  # the clock goes on while the tick gives way to clients
                if self._state.fibers.halfway:
                    self._tick_halfway()
                elif not self.paused:
                    goes_on = await self._tick()
                self._ticked_ms = started_ms
                if not goes_on:
                    self._rest()
            next_tick_ms = self._next_tick_ms()
            deadline = self._blocking.next_deadline_ms()
            until = next_tick_ms if deadline is None else min(next_tick_ms, deadline)
            self._wake = trio.Event()
            with trio.move_on_after(max(until - clock.mono_ms, 0) / 1000):
                await self._wake.wait()

    def _next_tick_ms(self) -> int:
        return self._rest_until_ms if self.at_rest else self._ticked_ms + 1000 // self._state.config.hz

    def _rest(self) -> None:
        """There is nothing to do: rest until something happens, or a key falls due."""
        state = self._state
        rest_ms = REST_MS
        if self.active_expire and state.keyspace.expiry_mode == DELETE:
            rest_ms = min(rest_ms, state.keyspace.next_expiry_ms() - state.clock.now_ms + 1)
        self.at_rest = rest_ms > 1000 // state.config.hz
        self._rest_until_ms = self._ticked_ms + rest_ms

    def _count_loud(self) -> int:
        """How many commands were run that may call for housekeeping."""
        return self._state.stats.commands - sum(spec.calls for spec in self._quiet)

    def _is_quiet(self) -> bool:
        """Whether few commands, and none but quiet ones, were run since this was asked last."""
        commands, loud = self._state.stats.commands, self._count_loud()
        quiet = loud == self._loud_commands and commands - self._commands < FEW_COMMANDS * REST_MS // 100
        self._loud_commands, self._commands = loud, commands
        return quiet

    def _tick_halfway(self) -> None:
        """While a script is halfway nothing may change or be saved; what only shows that we live goes on."""
        state = self._state
        self._run(lambda: state.stats.sample(state.clock.mono_ms), *self._halfway)
        self._flush()

    def _run(self, *tasks: Callable[[], object]) -> bool:
        """Run tasks of which none keeps the others from running; whether one has more to do. Raises StorageError."""
        goes_on = False
        for task in tasks:
            try:
                goes_on |= bool(task())
            except StorageError:
                raise  # the log cannot be trusted any more
            except Exception:  # a bug of ours: the others are due all the same
                self._state.complaints.fault("a task of the housekeeping")
        return goes_on

    async def _tick(self) -> bool:
        """The housekeeping; whether there is more to do soon."""
        state = self._state
        goes_on = not self._is_quiet()
        started = perf_counter_ns()
        goes_on |= self._run(self._sample, self._close_idle, *self.tasks, self._sweep)
        spent = perf_counter_ns() - started
        if self.active_expire:
            nanos, left = await self._in_slices(lambda in_time: state.keyspace.expire_cycle(in_time) > 0)
            goes_on |= left
            state.latency.add("expire-cycle", nanos // 1_000_000, state.clock.now_ms // 1000)
            state.stats.expire_nanos += nanos
            spent += nanos
        for work in (self._evict, state.keyspace.lazy_free.step, INDEXES.lazy_free.step):
            nanos, left = await self._in_slices(work)
            spent += nanos
            goes_on |= left
        self._flush()
        state.stats.loop.cron_nanos += spent
        state.stats.loop.end_cycle(spent, state.stats.commands)
        return goes_on

    def _sample(self) -> None:
        state = self._state
        state.stats.sample(state.clock.mono_ms)
        if state.clock.mono_ms >= self.memory.next_look_ms:
            self.memory.sample(state.clock.mono_ms, state.config.maxmemory)

    def _sweep(self) -> None:
        now_ms = self._state.clock.mono_ms
        if now_ms >= self._next_sweep_ms:
            self._next_sweep_ms = now_ms + SCAN_SWEEP_MS
            INDEXES.sweep()

    async def _in_slices(self, work: Callable[[Callable[[], bool]], bool]) -> tuple[int, bool]:
        """Do work that can stop any time, in slices, up to the period's share; `work` tells if something is left.

        The share is counted in processor time. A slice before which no client sent a command counts for less: nobody
        waited for it. The result is the time it took in ns, what others did in between left out, and whether something
        is left.
        """
        period_ns = 1e9 / self._state.config.hz
        stats, commands = self._state.stats, -1
        spent, used, left = 0, 0.0, True
        while used < period_ns and not self._state.fibers.halfway:
            share = IDLE_SHARE if stats.commands == commands else SLICES_SHARE
            commands = stats.commands
            started, started_cpu = perf_counter_ns(), thread_time_ns()
            end = started + SLICE_NS
            try:
                left = work(partial(_is_before, end))
            except Exception:  # a bug of ours
                self._state.complaints.fault("a slice of the housekeeping")
                left = False
            took = perf_counter_ns() - started
            spent += took
            used += (thread_time_ns() - started_cpu) / share
            if started + took < end or not left:
                break
            self._flush()
            await trio.lowlevel.checkpoint()
        return spent, left

    def _close_idle(self) -> None:
        """Enforce `timeout`: clients that neither speak, wait, listen nor replicate."""
        state = self._state
        if not state.config.timeout:
            return
        limit = state.clock.now_ms - state.config.timeout * 1000
        for client in list(self._clients.values()):
            if (
                client.last_used_ms < limit
                and client.blocked is None
                and client.replica is None
                and client.sock is not None
                and not client.subscription_count
            ):
                client.server.data_plane.drop(client)
