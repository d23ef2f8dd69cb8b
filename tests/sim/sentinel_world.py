"""One simulated run of sentinels: a while of quiet, a while of faults, then peace, in which everything has to recover.

Checked after every step:
- one vote per sentinel, unit and epoch, across restarts that forget what was not on disk;
- a promotion order only with the votes of a majority (or by an operator's order), and one leader per unit and epoch;
- epochs of a sentinel never go back, not even over a restart;
- a node of a cluster is promoted only when no other node of its shard accepts writes;
- writes of a shard, or of a plain primary and its replicas, are accepted by one node at a time: never again by a
  primary after its successor accepted one.
Then: all sentinels agree on every unit's primary, it accepts writes, and all its replicas follow it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from slotmesh.sentinel.core import SentinelCore
from slotmesh.sentinel.effects import Effect, Send
from tests.sim.bugs import bug_option
from tests.sim.network import Network
from tests.sim.sentinel_hosts import (
    SENTINEL_PORT,
    SERVER_PORT,
    EpochsTold,
    Note,
    SimHost,
    SimSentinel,
    VoteSaved,
    emitted,
)
from tests.sim.sentinel_server import SimServer

WARM_UP_MS = 4_000
RECOVERY_MS = 60_000
GUARD_NAME = "shop"
LEADER_MS = 1_500
MAX_CUT_MS, MAX_FREEZE_MS = 2_500, 1_500
"""A promotion order may be on its way for a cut plus a freeze: for longer than it is valid."""


class SafetyViolation(AssertionError):
    """Something happened that must never happen."""


class LivenessViolation(AssertionError):
    """The sentinels did not recover in time after all faults had ended."""


class SentinelWorld:
    """The simulation of one seed. Odd seeds guard a cluster, even ones watch a plain primary."""

    flags = ""
    """What ``python -m tests.sim.sentinel_run`` needs besides the seed to run this kind of world."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = Random(seed)
        self.network = Network(Random(rng.getrandbits(64)))
        self.network.max_delay_ms = rng.choice((2, 5, 15))
        self.clustered = seed % 2 == 1
        self.shards = rng.choice((1, 2)) if self.clustered else 1
        self.down_after_ms = rng.choice((800, 1200, 2000))
        self.log: list[str] = []
        self.servers = self._make_servers(rng.choice((1, 2)))
        self.sentinels = [self._make_sentinel(index) for index in range(rng.choice((3, 3, 5)))]
        self.hosts: list[SimHost] = [*self.servers, *self.sentinels]
        for host in self.hosts:
            self.network.add(host)
            host.rate = 1 + rng.uniform(-0.002, 0.002)
            host.skew_ms = rng.randrange(0, 2_000)
        self.votes: dict[tuple[str, str, int], str] = {}
        self.orders: dict[tuple[str, int], str] = {}
        self.epochs: dict[tuple[str, str], int] = {}
        self.writes: dict[int, tuple[int, str, int]] = {}  # shard -> claim epoch, node and time of the last write
        self.write_count = 0
        self.plain_writer: SimServer | None = None  # of the plain unit
        self.reign = 0  # how many primaries it has had
        self.switches = 0
        self.end_ms = 0
        self.ambush = self.vote_ambush = False

    @property
    def replay(self) -> str:
        """The command that runs this seed again."""
        return f"python -m tests.sim.sentinel_run {self.flags}{bug_option()}--seed {self.seed}"

    # ------------------------------------------------------------------------------------------------------- building

    def _make_servers(self, replicas: int) -> list[SimServer]:
        servers: list[SimServer] = []
        for shard in range(self.shards):
            for _ in range(1 + replicas):
                server = SimServer(
                    self.network,
                    f"10.0.0.{len(servers) + 1}",
                    Random(self.rng.getrandbits(64)),
                    node_id=f"{self.rng.getrandbits(160):040x}",
                    shard=shard if self.clustered else -1,
                    on_write=self._on_write,
                    on_ordered=self._on_ordered,
                )
                servers.append(server)
        owners = {shard: (servers[shard * (1 + replicas)].node_id, shard + 1) for shard in range(self.shards)}
        for server in servers:
            server.peers = servers
            server.owners, server.current_epoch = dict(owners), self.shards
            if not self.clustered and server is not servers[0]:
                server.primary = servers[0]
        return servers

    def _make_sentinel(self, index: int) -> SimSentinel:
        name = GUARD_NAME if self.clustered else "plain"
        quorum = self.rng.choice((2, 2, 1))
        config = (
            f"sentinel myid {self.rng.getrandbits(160):040x}\n"
            f"sentinel monitor {name} 10.0.0.1 {SERVER_PORT} {quorum}\n"
            f"sentinel down-after-milliseconds {name} {self.down_after_ms}\n"
            f"sentinel failover-timeout {name} 3000\n"
        )
        rng = Random(self.rng.getrandbits(64))
        return SimSentinel(
            self.network, f"10.0.1.{index + 1}", rng, disk=config, tune=self._tune, watch=self._on_effect
        )

    @staticmethod
    def _tune(core: SentinelCore) -> None:
        """Stock's periods divided by about five: the same behaviour in less simulated time."""
        core.ctx.port = SENTINEL_PORT
        timing = core.ctx.timing
        timing.info_period, timing.publish_period, timing.ask_period = 2_000, 500, 400
        timing.ping_period, timing.tilt_period, timing.election_timeout = 300, 3_000, 2_000
        timing.slave_reconf_timeout, timing.min_link_reconnect_period = 2_000, 3_000
        core.ctx.leader_time_ms = LEADER_MS

    # -------------------------------------------------------------------------------------------------------- running

    def run(self) -> int:
        """The whole run; the checksum of its trace."""
        try:
            self.warm_up()
            self.end_ms = self.network.now_ms + self.rng.randrange(3, 9) * 1000
            self._next_fault()
            self._run_until(self.end_ms)
            self.make_peace()
            self.recover()
        except AssertionError as error:
            error.add_note(f"seed {self.seed} at {self.network.now_ms} ms; replay: {self.replay}")
            error.add_note("\n".join(self.log[-60:]))
            raise
        return self.network.trace

    def warm_up(self) -> None:
        """Start everything and wait until all is well."""
        for host in self.hosts:
            host.start()
        self.run_for(WARM_UP_MS)
        missing = self._missing()
        if missing:
            raise LivenessViolation(f"not ready after {WARM_UP_MS} ms: {missing}")

    def run_for(self, duration_ms: int) -> None:
        self._run_until(self.network.now_ms + duration_ms)

    def _run_until(self, end_ms: int) -> None:
        self.network.run_until(end_ms, _nothing)

    def remember(self, text: str) -> None:
        self.log.append(f"{self.network.now_ms:>6} {text}")
        self.network.note(self.log[-1])

    # --------------------------------------------------------------------------------------------------------- faults

    def _next_fault(self) -> None:
        gap_ms = 100 + int(self.rng.expovariate(1 / 500))
        if self.network.now_ms + gap_ms < self.end_ms:
            self.network.after(gap_ms, self._strike)

    def _strike(self) -> None:
        faults: list[Callable[[], None]] = [
            self._crash_primary,
            self._crash_any,
            self._crash_any,
            self._freeze,
            self._partition,
            self._partition,
            self._isolate_primary,
            self._cut_some_pairs,
            self._cut_some_pairs,
            self._lay_ambush,
            self._lay_ambush,
            self._break_connections,
            self._jump_wall_clock,
            self._order_failover,
            self._order_takeover,
            self._heal,
        ]
        self.rng.choice(faults)()
        self._next_fault()

    def _crash(self, host: SimHost) -> None:
        if not host.up:
            return
        down_ms = 20 + int(self.rng.expovariate(1 / 1_500))
        self.remember(f"crash {host.address} for {down_ms}")
        host.crash()
        self.network.after(down_ms, self._restart, host)

    def _restart(self, host: SimHost) -> None:
        if not host.up:
            self.remember(f"restart {host.address}")
            host.start()

    def _crash_primary(self) -> None:
        primaries = [server for server in self.servers if server.up and server.leads is None]
        if primaries:
            self._crash(self.rng.choice(primaries))

    def _crash_any(self) -> None:
        self._crash(self.rng.choice(self.hosts))

    def _freeze(self) -> None:
        host = self.rng.choice([host for host in self.hosts if host.up] or self.hosts)
        if host.up:
            duration_ms = min(int(self.rng.expovariate(1 / self.down_after_ms)), MAX_FREEZE_MS)
            self.remember(f"freeze {host.address} for {duration_ms}")
            host.freeze(duration_ms)

    def _partition(self) -> None:
        side = [host for host in self.hosts if self.rng.random() < 0.4]
        rest = [host for host in self.hosts if host not in side]
        both_ways = self.rng.random() < 0.7
        self.remember(f"partition {[host.address for host in side]} both_ways={both_ways}")
        self.network.cut(side, rest, both_ways=both_ways)
        self._heal_later(200)

    def _isolate_primary(self) -> None:
        """A primary with a minority of the sentinels on one side: the classic split."""
        primaries: list[SimHost] = [server for server in self.servers if server.leads is None]
        side = [self.rng.choice(primaries or list(self.servers)), self.rng.choice(self.sentinels)]
        rest = [host for host in self.hosts if host not in side]
        self.remember(f"isolate {[host.address for host in side]}")
        self.network.cut(side, rest, both_ways=True)
        self._heal_later(self.down_after_ms)

    def _cut_some_pairs(self) -> None:
        """One server and some sentinels lose sight of each other, or only one of the other; all else works."""
        primaries = [server for server in self.servers if server.leads is None]
        server: SimHost = self.rng.choice(primaries if self.rng.random() < 0.7 and primaries else self.servers)
        part = self.rng.choice((0.2, 0.5))
        blind: list[SimHost] = [sentinel for sentinel in self.sentinels if self.rng.random() < part]
        both_ways, deaf = self.rng.random() < 0.5, self.rng.random() < 0.5
        self.remember(f"cut {server.address} {[host.address for host in blind]} both_ways={both_ways} deaf={deaf}")
        sources, targets = ([server], blind) if deaf else (blind, [server])
        self.network.cut(sources, targets, both_ways=both_ways)
        self._heal_later(self.down_after_ms)

    def _lay_ambush(self) -> None:
        """The next leader dies, or is stopped: as soon as its promotion order is out, or while the votes come in."""
        self.ambush = self.rng.random() < 0.5
        self.vote_ambush = not self.ambush

    def _stop_candidate(self, run_id: str) -> None:
        """The old primary can be reached again, and the candidate comes late with its majority."""
        self.vote_ambush = False
        self.network.heal()
        for sentinel in self.sentinels:
            if sentinel.up and sentinel.core.ctx.my_id == run_id:
                self.remember(f"heal, and stop the candidate {sentinel.address}")
                self.network.after(1, sentinel.freeze, MAX_FREEZE_MS)

    def _spring_ambush(self, leader: SimSentinel, promoted: str) -> None:
        self.ambush = False
        if not leader.up:
            return
        blind: list[SimHost] = [sentinel for sentinel in self.sentinels if self.rng.random() < 0.6]
        server: list[SimHost] = [one for one in self.servers if one.address == promoted]
        self.remember(f"ambush of {leader.address}; {promoted} unseen by {[host.address for host in blind]}")
        self.network.cut(server, blind, both_ways=True)
        self._heal_later(2 * self.down_after_ms)
        if self.rng.random() < 0.5:
            self._crash(leader)
        else:
            leader.freeze(MAX_FREEZE_MS)

    def _heal_later(self, least_ms: int) -> None:
        self.network.after(min(least_ms + int(self.rng.expovariate(1 / 1_500)), MAX_CUT_MS), self._heal)

    def _heal(self) -> None:
        self.network.heal()

    def _order_takeover(self) -> None:
        """An operator takes over by hand, behind the sentinels' back and without asking the old primary."""
        replicas = [server for server in self.servers if server.up and not server.frozen and server.leads is not None]
        if self.clustered and replicas:
            server = self.rng.choice(replicas)
            self.remember(f"CLUSTER FAILOVER TAKEOVER at {server.address}")
            old = server.leads
            kind = self.rng.choice(("open", "bus cut", "old primary alone"))
            if kind != "open" and old is not None:  # the old primary does not hear of it
                others: list[SimHost] = [other for other in self.servers if other is not old]
                self.network.cut([old], self.hosts if kind == "old primary alone" else others, both_ways=True)
                self._heal_later(self.down_after_ms)
            server.offer(server.take_over, 0)
            if self.rng.random() < 0.5:
                for sentinel in self.sentinels:
                    self.network.after(int(self.rng.random() * 200), self.bounce, sentinel)

    def bounce(self, sentinel: SimSentinel) -> None:
        """A sentinel that its supervisor restarts at once: it forgets its leases, the servers do not."""
        if sentinel.up:
            self.remember(f"bounce {sentinel.address}")
            sentinel.crash()
            sentinel.start()

    def _break_connections(self) -> None:
        self.remember("connections break")
        for connection in list(self.network.live_connections()):
            if self.rng.random() < 0.3:
                self.network.reset(connection)

    def _jump_wall_clock(self) -> None:
        sentinel = self.rng.choice(self.sentinels)
        jump_ms = self.rng.choice((-5_000, 5_000))
        self.remember(f"wall clock of {sentinel.address} jumps {jump_ms}")
        sentinel.wall_jump_ms += jump_ms

    def _order_failover(self) -> None:
        """An operator asks for a failover of a healthy primary."""
        sentinel = self.rng.choice([one for one in self.sentinels if one.up] or self.sentinels)
        if sentinel.up and not sentinel.frozen and sentinel.core.ctx.units:
            name = self.rng.choice(list(sentinel.core.ctx.units))
            self.remember(f"SENTINEL FAILOVER {name} at {sentinel.address}")
            sentinel.offer(sentinel.order, (b"SENTINEL", b"FAILOVER", name.encode()))

    def make_peace(self) -> None:
        self.remember("peace")
        self.network.heal()
        self.network.max_delay_ms = 5
        for host in self.hosts:
            if not host.up:
                host.start()
            if host.frozen:
                host.freeze(0)

    # ------------------------------------------------------------------------------------------------------- checking

    def _on_effect(self, sentinel: SimSentinel, effect: Effect | Note) -> None:
        """Before an effect of a sentinel is carried out."""
        me = sentinel.core.ctx.my_id
        if isinstance(effect, VoteSaved):
            self.remember(f"{sentinel.address} votes in {effect.unit_name} {effect.epoch} for {effect.candidate[:8]}")
            key = (me, effect.unit_name, effect.epoch)
            if self.votes.setdefault(key, effect.candidate) != effect.candidate:
                raise SafetyViolation(f"{sentinel.address} voted twice in {effect.unit_name} in epoch {effect.epoch}")
            return
        if isinstance(effect, EpochsTold):
            self._check_epochs(sentinel, effect)
            return
        if isinstance(effect, Send):
            self._check_order(sentinel, effect)
            return
        for channel in ("+switch-master", "+elected-leader", "+sdown", "+odown", "-sdown"):
            message = emitted(effect, channel)
            if message is not None:
                self.remember(f"{sentinel.address} {channel} {message}")
        if emitted(effect, "+switch-master") is not None:
            self.switches += 1
        vote = emitted(effect, "+vote-for-leader")
        if vote is not None and self.vote_ambush and vote.split()[0] != me:
            self.network.after(0, self._stop_candidate, vote.split()[0])

    def _check_epochs(self, sentinel: SimSentinel, told: EpochsTold) -> None:
        me = sentinel.core.ctx.my_id
        for name, epoch in told.epochs:
            if epoch < self.epochs.get((me, name), 0):
                raise SafetyViolation(f"{name} epoch of {sentinel.address} went back to {epoch}")
            self.epochs[me, name] = epoch

    def _check_order(self, sentinel: SimSentinel, effect: Send) -> None:
        words = [word.upper() for word in effect.argv]
        plain = words[:3] == [b"SLAVEOF", b"NO", b"ONE"]
        takeover = words[:3] == [b"CLUSTER", b"FAILOVER", b"TAKEOVER"]
        if not plain and not takeover:
            return
        address = sentinel.connections[effect.conn_id].peer(sentinel).address if self._open(sentinel, effect) else ""
        for unit in sentinel.core.ctx.units.values():
            promoted = unit.failover.promoted
            if promoted is None or promoted.address.host != address:
                continue
            epoch, me = unit.failover.epoch, sentinel.core.ctx.my_id
            self.remember(f"{sentinel.address} promotes {address} of {unit.name} in {epoch}")
            if self.ambush:
                delay_ms = int(self.rng.random() * 2 * self.network.max_delay_ms)
                self.network.after(delay_ms, self._spring_ambush, sentinel, address)
            if unit.failover.forced:
                continue  # an operator's order asks nobody, as in stock: its epoch is not elected
            if self.orders.setdefault((unit.name, epoch), me) != me:
                raise SafetyViolation(f"two leaders of {unit.name} in epoch {epoch}")
            cast = [vote for (_, name, when), vote in self.votes.items() if (name, when) == (unit.name, epoch)]
            votes = cast.count(me)
            if votes < len(self.sentinels) // 2 + 1:
                raise SafetyViolation(f"{me} promotes in {unit.name} with {votes} votes in epoch {epoch}")

    @staticmethod
    def _open(sentinel: SimSentinel, effect: Send) -> bool:
        return effect.conn_id in sentinel.connections

    def _on_ordered(self, server: SimServer) -> None:
        """A server obeys the sentinels' promotion: by now nobody else of its shard may accept writes."""
        for other in self.servers:
            if other is not server and other.shard == server.shard and other.writable():
                raise SafetyViolation(f"{server.address} is promoted while {other.address} accepts writes")

    def _on_write(self, server: SimServer) -> None:
        """A server accepted a write."""
        self.write_count += 1
        if not self.clustered:
            self._check_reign(server)
            return
        epoch = server.owners[server.shard][1]
        last_epoch, last_node, when_ms = self.writes.get(server.shard, (0, server.node_id, 0))
        if epoch < last_epoch or (epoch == last_epoch and last_node != server.node_id):
            raise SafetyViolation(
                f"{server.address} accepted a write of shard {server.shard} with epoch {epoch}, after {last_node[:8]} "
                f"accepted one with epoch {last_epoch} at {when_ms} ms"
            )
        if last_node != server.node_id:
            self.remember(f"first write of {server.address} (epoch {epoch})")
        self.writes[server.shard] = (epoch, server.node_id, self.network.now_ms)

    def _check_reign(self, server: SimServer) -> None:
        """A plain primary that was succeeded writes no more, unless it has followed its successor meanwhile."""
        if server is not self.plain_writer:
            self.reign += 1
            self.remember(f"first write of {server.address} (reign {self.reign})")
        self.plain_writer = server
        if server.reign not in (0, self.reign):
            raise SafetyViolation(f"{server.address} accepted a write after its successor accepted one")
        server.reign = self.reign
        writers = [other.address for other in self.servers if other.writable()]
        if len(writers) > 1:
            raise SafetyViolation(f"{writers} accept writes at the same time")

    # ------------------------------------------------------------------------------------------------------- recovery

    def recover(self) -> None:
        limit_ms = self.network.now_ms + RECOVERY_MS
        calm = 0
        while calm < 2:
            self.run_for(500)
            missing = self._missing()
            calm = 0 if missing else calm + 1
            if self.network.now_ms > limit_ms:
                raise LivenessViolation(f"not recovered in {RECOVERY_MS} ms: {missing}")

    def _missing(self) -> str:
        """What is not as it should be when all is well; empty when it is."""
        for shard in range(self.shards):
            members = [server for server in self.servers if server.shard == shard or not self.clustered]
            primaries = [server for server in members if server.leads is None]
            if len(primaries) != 1:
                return f"shard {shard} has {len(primaries)} primaries"
            primary = primaries[0]
            if not primary.writable():
                return f"{primary.address} refuses writes"
            unguarded = [server.address for server in members if not server.is_armed]
            if unguarded:
                return f"{unguarded} are not guarded"
            for server in members:
                if server is not primary and (server.leads is not primary or not server.link_up):
                    return f"{server.address} does not follow {primary.address}"
            problem = self._unsettled_sentinel(primary, len(members))
            if problem:
                return problem
        return ""

    def _unsettled_sentinel(self, primary: SimServer, members: int) -> str:
        for sentinel in self.sentinels:
            units = [u for u in sentinel.core.ctx.units.values() if u.primary.address.host == primary.address]
            if len(units) != 1:
                return f"{sentinel.address} has {len(units)} units with primary {primary.address}"
            unit = units[0]
            if unit.failover.active or unit.primary.sdown or unit.odown or sentinel.core.ctx.tilt:
                return f"{sentinel.address} still works on {unit.name}"
            if len(unit.replicas) != members - 1 or len(unit.sentinels) != len(self.sentinels) - 1:
                return f"{sentinel.address} knows {len(unit.replicas)} replicas, {len(unit.sentinels)} sentinels"
        names = {tuple(sorted(sentinel.core.ctx.units)) for sentinel in self.sentinels}
        return "" if len(names) == 1 else f"unit names differ: {sorted(names)}"


def _nothing() -> None: ...


def run_seed(seed: int) -> SentinelWorld:
    """Run one seed; the world afterwards."""
    world = SentinelWorld(seed)
    world.run()
    return world
