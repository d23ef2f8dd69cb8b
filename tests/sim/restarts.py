"""Restarts of everything, in any order and slowly, and the next fault soon after: recovery is judged by time.

Some of the sentinels have slow disks, and some of the replicas apply the stream more slowly than they receive it.

The worlds of `sentinel_world` and `sentinel_cluster` with other faults. All that happens is that processes die, alone
or many at once, and start again each after a while of its own; wires and clocks are well. So it is known at each moment
whether the shards can be served: a majority of the sentinels and a member of each shard run. From then on, and from the
last death on, they must be writable within `limit_ms`, again and again, whatever failed before. A replica that started
without its primary gives it a head start, and only then counts as such a member; that it is promoted sooner, while
another member has more data, is a violation of safety. So is a successor that has not applied all it had received.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slotmesh.sentinel.selection import HEAD_START_MS
from tests.sim.lag import NO_LAG
from tests.sim.sentinel_cluster import ClusterWorld, GuardedNode
from tests.sim.sentinel_hosts import SimHost
from tests.sim.sentinel_world import LEADER_MS, LivenessViolation, SafetyViolation, SentinelWorld

JUDGE_MS = 50
SLOWEST_START_MS = 4_000
SPARE_MS = 1_500
"""What messages, disks, elections and their first repetitions may take together."""

DISKS_MS = (4, 4, 4, 60, 200)
PACES = (NO_LAG, NO_LAG, 4, 1)
"""How much a replica applies while its primary writes five."""

NODE_START_MS = 2_000
"""A real node that starts as a primary refuses writes for so long, as stock does (`cluster.health`)."""


class RestartWorld(SentinelWorld):
    """One seed of the above."""

    flags = "--restarts "

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.fallen_ms = 0
        self.able_ms: int | None = None
        self.started_ms: dict[str, int] = {}
        self.since_ms = 0
        self.longest_ms = 0
        for server in self.servers:
            server.lag.pace = self.rng.choice(PACES)
        for sentinel in self.sentinels:
            sentinel.disk_ms = self.rng.choice(DISKS_MS)

    def _make_sentinel(self, index: int) -> Any:
        sentinel = super()._make_sentinel(index)
        sentinel.disk = sentinel.disk.replace(" 3000\n", " 30000\n")  # failover-timeout: waiting for it would show
        return sentinel

    @property
    def limit_ms(self) -> int:
        """Silence, then one leader that died with the votes, then one that did not; each saves an epoch and a vote."""
        slowest_ms = max(sentinel.disk_ms for sentinel in self.sentinels)
        return self.down_after_ms + LEADER_MS + 1_000 + SPARE_MS + 6 * slowest_ms

    # Faults

    def run(self) -> int:
        try:
            self.warm_up()
            self._judge()
            for _ in range(self.rng.randrange(3, 6)):
                self._strike()
                self.run_for(300 + int(self.rng.expovariate(1 / 6_000)))
            self.run_for(SLOWEST_START_MS)
            for host in self.hosts:
                self._start(host)
            self.run_for(self.limit_ms + HEAD_START_MS)
            self.recover()
        except AssertionError as error:
            error.add_note("\n".join(self.log[-60:]))
            raise
        return self.network.trace

    def _strike(self) -> None:
        shard = self.rng.randrange(self.shards)
        members = [server for server in self.servers if server.shard == shard or not self.clustered]
        primaries = [server for server in self.servers if server.up and server.leads is None]
        kinds: list[Callable[[], Sequence[SimHost]]] = [
            lambda: self.hosts,
            lambda: self.hosts,
            lambda: self.servers,
            lambda: self.sentinels,
            lambda: members,
            lambda: primaries,
            lambda: [self.rng.choice(primaries or self.servers)],
            lambda: [self.rng.choice(primaries or self.servers)],
            lambda: [self.rng.choice(primaries or self.servers), self.rng.choice(self.sentinels)],
            lambda: [self.rng.choice(self.hosts)],
        ]
        for host in self.rng.choice(kinds)():
            if host.up:
                self._kill(host)

    def _kill(self, host: SimHost) -> None:
        """The process dies; it starts again later: soon, slowly, or not before the end."""
        delay_ms = self.rng.choice((20, 600, 600, SLOWEST_START_MS)) + int(self.rng.random() * 500)
        self.remember(f"kill {host.address}, back after {delay_ms}")
        host.crash()
        self.fallen_ms = self.network.now_ms
        if self.rng.random() < 0.9:
            self.network.after(delay_ms, self._start, host)

    def _start(self, host: SimHost) -> None:
        if not host.up:
            self.remember(f"start {host.address}")
            self.started_ms[host.address] = self.network.now_ms
            host.start()

    # Checks

    def _judge(self) -> None:
        """Whether the shards are writable in time, as long as they can be."""
        self.network.after(JUDGE_MS, self._judge)
        now = self.network.now_ms
        shards = [[one for one in self.servers if one.shard == number and one.up] for number in range(self.shards)]
        if not self.clustered:
            shards = [[one for one in self.servers if one.up]]
        majority = sum(sentinel.up for sentinel in self.sentinels) > len(self.sentinels) // 2
        shards = [[one for one in members if not self._outdated(one)] for members in shards]
        if not majority or not all(shards):
            self.able_ms = None
            return
        self.able_ms = now if self.able_ms is None else self.able_ms
        if all(any(member.writable() for member in members) for members in shards):
            self.since_ms = 0
            return
        # A head start that was given is not taken back by what follows it.
        useful_ms = [self._useful_ms(members) for members in shards]
        since_ms = self.since_ms = max(self.since_ms, self.able_ms, self.fallen_ms, *useful_ms)
        self.longest_ms = max(self.longest_ms, now - since_ms)
        if now - since_ms > self.limit_ms:
            raise LivenessViolation(f"a majority and a member of each shard run since {since_ms} ms, but not writable")

    def _outdated(self, server: Any) -> bool:
        """A primary that has not heard of its successor: it lacks all that one wrote, and is not promoted."""
        return self.clustered and server.leads is None and self._claim(server) < self._last_claim(server.shard)

    @staticmethod
    def _claim(server: Any) -> int:
        """The config epoch with which it claims its shard."""
        epoch: int = server.owners[server.shard][1]
        return epoch

    def _last_claim(self, shard: int) -> int:
        """That of the last write."""
        return self.writes.get(shard, (0, "", 0))[0]

    def _useful_ms(self, members: Sequence[Any]) -> int:
        """Since when one of these running members of a shard can be its primary."""
        return min(self.started_ms.get(one.address, 0) + (HEAD_START_MS if self._alone(one) else 0) for one in members)

    @staticmethod
    def _alone(server: Any) -> bool:
        """A replica that has had no link to its primary since it started."""
        if isinstance(server, GuardedNode):
            return server.leads is not None and not server.data.link_up and not server.data.last_io_ms
        return server.leads is not None and not server.link_up and not server.link_down_ms

    def _on_write(self, server: Any) -> None:
        super()._on_write(server)
        if server.lag.received > _offset(server):
            lost = server.lag.received - _offset(server)
            raise SafetyViolation(f"{server.address} leads without {lost} bytes that it had received")

    def _on_ordered(self, server: Any) -> None:
        super()._on_ordered(server)
        alive_ms = self.network.now_ms - self.started_ms.get(server.address, 0)
        behind = any(_offset(one) > _offset(server) for one in self.servers if one.shard == server.shard)
        if self._alone(server) and behind and alive_ms < HEAD_START_MS * 99 // 100:
            raise SafetyViolation(f"{server.address} is promoted for having started first, {alive_ms} ms ago")


def _offset(server: Any) -> int:
    offset: int = server.data.offset if isinstance(server, GuardedNode) else server.offset
    return offset


class RestartClusterWorld(RestartWorld, ClusterWorld):
    """The same with real nodes, which wait a little themselves before they serve."""

    flags = "--cluster --restarts "

    @property
    def limit_ms(self) -> int:
        """A node that saw too few others waits for a node timeout after that ended, and needs one to see it."""
        return int(super().limit_ms + NODE_START_MS + 2 * self.servers[0].config.node_timeout_ms)

    @staticmethod
    def _claim(server: Any) -> int:
        epoch: int = server.core.view.myself.config_epoch
        return epoch

    def _last_claim(self, shard: int) -> int:
        return self.last_writer.get(shard, (0, ""))[0]
