"""Work that time calls for: expiry, eviction, deadlines of blocked clients, idle clients, rates, memory.

`run` wakes `hz` times a second for the housekeeping, and in between exactly when a blocked client's time is up.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

import trio

from slotmesh.node.keyspace.scan import INDEXES
from slotmesh.node.memory.used import Memory
from slotmesh.node.persistence.errors import StorageError

if TYPE_CHECKING:
    from slotmesh.node.server import Server

#: Share of a period that expiry, and after it the freeing of large values, may take, as the slow expiry cycle of stock.
SLICES_SHARE: Final = 0.25
#: Longest single slice of such work: more slices follow, with the data plane's turn in between.
SLICE_NS: Final = 1_000_000
#: Indexes of scans that nobody went on with for this long are dropped.
SCAN_SWEEP_MS: Final = 30_000


def _is_before(end_ns: int) -> bool:
    return perf_counter_ns() < end_ns


class Cron:
    """The timers of one node. Parts that need housekeeping append a function to `tasks`; it is called `hz` times a
    second.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.memory = Memory()
        self.tasks: list[Callable[[], object]] = []
        self.active_expire = True
        #: DEBUG PAUSE-CRON: no periodic work, though deadlines are still met.
        self.paused = False
        self._next_sweep_ms = 0
        self._wake = trio.Event()

    def wake(self) -> None:
        """A deadline came in: look at it now."""
        self._wake.set()

    async def run(self) -> None:
        """Tick until cancelled."""
        clock = self.server.clock
        next_tick_ms = clock.mono_ms
        while True:
            clock.refresh()
            if not self.server.fibers.halfway:  # time stands still for a script
                self.server.keyspace.now_ms = clock.now_ms
            self.server.blocking.expire(clock.mono_ms)
            if clock.mono_ms >= next_tick_ms:
                if self.server.fibers.halfway:
                    self._tick_halfway()
                elif not self.paused:
                    await self._tick()
                next_tick_ms = clock.mono_ms + 1000 // self.server.config.hz
            deadline = self.server.blocking.next_deadline_ms()
            until = next_tick_ms if deadline is None else min(next_tick_ms, deadline)
            self._wake = trio.Event()
            with trio.move_on_after(max(until - clock.mono_ms, 0) / 1000):
                await self._wake.wait()

    def _tick_halfway(self) -> None:
        """While a script is halfway nothing may change or be saved; what only shows that we live goes on."""
        server = self.server
        self._run(
            lambda: server.stats.sample(server.clock.mono_ms),
            server.replication.keep_in_touch,
            server.shutdown.check,
        )
        server.data_plane.flush()

    def _run(self, *tasks: Callable[[], object]) -> None:
        """Run tasks of which none keeps the others from running. Raises StorageError."""
        for task in tasks:
            try:
                task()
            except StorageError:
                raise  # the log cannot be trusted any more
            except Exception:  # a bug of ours: the others are due all the same
                self.server.complaints.fault("a task of the housekeeping")

    async def _tick(self) -> None:
        server = self.server
        started = perf_counter_ns()
        self._run(self._sample, self._close_idle, *self.tasks, self._sweep)
        spent = perf_counter_ns() - started
        if self.active_expire:
            nanos = await self._in_slices(lambda in_time: server.keyspace.expire_cycle(in_time) > 0)
            server.latency.add("expire-cycle", nanos // 1_000_000, server.clock.now_ms // 1000)
            server.stats.expire_nanos += nanos
            spent += nanos
        spent += await self._in_slices(server.eviction.go_on)
        for lazy_free in (server.keyspace.lazy_free, INDEXES.lazy_free):
            spent += await self._in_slices(lazy_free.step)
        server.data_plane.flush()
        server.stats.loop.cron_nanos += spent
        server.stats.loop.end_cycle(spent, server.stats.commands)

    def _sample(self) -> None:
        server = self.server
        server.stats.sample(server.clock.mono_ms)
        if server.clock.mono_ms >= self.memory.next_look_ms:
            self.memory.sample(server.clock.mono_ms, server.config.maxmemory)

    def _sweep(self) -> None:
        now_ms = self.server.clock.mono_ms
        if now_ms >= self._next_sweep_ms:
            self._next_sweep_ms = now_ms + SCAN_SWEEP_MS
            INDEXES.sweep()

    async def _in_slices(self, work: Callable[[Callable[[], bool]], bool]) -> int:
        """Do work that can stop any time, in slices, up to the period's share; `work` tells if something is left.

        The result is the time it took in ns, what others did in between left out.
        """
        budget = int(SLICES_SHARE * 1e9 / self.server.config.hz)
        spent = 0
        while spent < budget and not self.server.fibers.halfway:
            started = perf_counter_ns()
            end = started + SLICE_NS
            try:
                left = work(partial(_is_before, end))
            except Exception:  # a bug of ours
                self.server.complaints.fault("a slice of the housekeeping")
                left = False
            spent += perf_counter_ns() - started
            if perf_counter_ns() < end or not left:
                break
            self.server.data_plane.flush()
            await trio.lowlevel.checkpoint()
        return spent

    def _close_idle(self) -> None:
        """Enforce `timeout`: clients that neither speak, wait, listen nor replicate."""
        server = self.server
        if not server.config.timeout:
            return
        limit = server.clock.now_ms - server.config.timeout * 1000
        for client in list(server.clients.values()):
            if (
                client.last_used_ms < limit
                and client.blocked is None
                and client.replica is None
                and client.sock is not None
                and not client.subscription_count
            ):
                server.data_plane.drop(client)
