"""The model server of the sentinels' simulation: a plain one, or a node of a cluster with guard and bus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import Factory, define, field

from slotmesh.cluster.errors import ClusterRefusal
from slotmesh.cluster.guard import SENTINEL_CHANNEL, Fence, Guard
from slotmesh.node.resp.values import OK, PONG
from slotmesh.sentinel.effects import ErrorReply
from tests.sim.lag import Lag
from tests.sim.sentinel_hosts import LEASE_MARGIN_MS, SERVER_PORT, SimHost

REPLICATE_MS = 60
GOSSIP_MS = 120
PAUSE_MS = 30
"""How long a plain primary waits at most for the replica that is to take its place."""


@define(eq=False)
class SimServer(SimHost):
    """A server. In a cluster `shard` >= 0, and `owners` is its view of the bus: shard -> (node id, config epoch).

    Without one it has the real guard, for which it is the `GuardedNode`.
    """

    node_id: str = ""
    shard: int = -1
    ours: bool = True
    priority: int = 100
    offset: int = 0
    lag: Lag = Factory(Lag)
    primary: SimServer | None = None  # whom we replicate, as a plain server
    owners: dict[int, tuple[str, int]] = Factory(dict)
    current_epoch: int = 0
    fence_epoch: int = 0
    armed: bool = False
    peers: list[SimServer] = Factory(list)  # all servers, ourselves included
    reign: int = 0  # of the unit's primaries, when we accepted our last write as one; 0: we followed since
    on_write: Callable[[SimServer], None] = lambda server: None
    on_ordered: Callable[[SimServer], None] = lambda server: None
    run_id: str = ""
    link_up: bool = False
    link_down_ms: int = 0  # since when the link is down; 0: it never was up since the start
    born_ms: int = 0
    voters: int = 0
    guard: Guard = field(init=False)
    guard_disk: tuple[str, int, int] = ("", 0, 0)
    paused_for: SimServer | None = None  # who is to take our place; our writers are paused
    _entries: dict[bytes, tuple[int, bool]] = field(factory=dict, init=False)  # sentinel -> (expiry, write lease?)
    _subscribers: list[int] = field(factory=list, init=False)
    _queued: dict[int, list[tuple[bytes, ...]]] = field(factory=dict, init=False)

    # Life

    def boot(self) -> None:
        self.run_id = f"{self.rng.getrandbits(160):040x}"
        self.born_ms = self.clock_ms()
        self._entries.clear()
        self._subscribers.clear()
        self._queued.clear()
        self.link_up, self.link_down_ms = False, 0
        self.lag.restart(self.offset)
        self.paused_for = None
        if not self.clustered:
            self.guard = Guard(self)
            self.guard.restore(*self.guard_disk)
        self.later(int(self.rng.random() * REPLICATE_MS), self._work)
        if self.shard >= 0:
            self.later(int(self.rng.random() * GOSSIP_MS), self._gossip)

    @property
    def clustered(self) -> bool:
        return self.shard >= 0

    @property
    def leads(self) -> SimServer | None:
        """The primary we follow; None when we are one."""
        if not self.clustered:
            return self.primary
        owner = self.owners[self.shard][0]
        return None if owner == self.node_id else self._by_id(owner)

    def _by_id(self, node_id: str) -> SimServer:
        return next(peer for peer in self.peers if peer.node_id == node_id)

    def writable(self) -> bool:
        """Whether a write would be accepted now."""
        if not self.up or self.frozen or self.leads is not None:
            return False
        if not self.clustered:
            return self.paused_for is None and not self.guard.is_fenced(self.clock_ms() + LEASE_MARGIN_MS)
        return not self.armed or self._leased_until() > self.clock_ms() + LEASE_MARGIN_MS

    @property
    def is_armed(self) -> bool:
        """Whether writes need leases."""
        return self.armed if self.clustered else self.guard.is_armed

    def _leased_until(self) -> int:
        expiries = sorted((expiry for expiry, lease in self._entries.values() if lease), reverse=True)
        needed = self.voters // 2 + 1
        return expiries[needed - 1] if len(expiries) >= needed else 0

    # Data

    def _work(self) -> None:
        self.later(REPLICATE_MS, self._work)
        leader = self.leads
        if leader is None:
            if self.writable():
                self.offset += 1 + int(self.rng.random() * 9)
                self.on_write(self)
            return
        network = self.network
        linked = leader.up and not leader.frozen and leader.leads is None
        linked = linked and not network.is_cut(self, leader) and not network.is_cut(leader, self)
        if linked:
            self.offset = self.lag.receive(self.offset, leader.offset)
        else:
            self.offset = self.lag.apply(self.offset)
            if self.link_up:
                self.link_down_ms = self.clock_ms()
        self.link_up = linked

    def _begin_to_lead(self) -> None:
        if self.leads is not None:
            self.offset = self.lag.drain(self.offset)

    # Bus

    def _gossip(self) -> None:
        self.later(GOSSIP_MS, self._gossip)
        self.tell_bus()

    def tell_bus(self) -> None:
        for peer in self.peers:
            if peer is not self and not self.network.is_cut(self, peer):
                delay = 1 + int(self.rng.random() * self.network.max_delay_ms)
                self.network.after(delay, peer.offer, peer._hear_bus, dict(self.owners), self.current_epoch)

    def _hear_bus(self, owners: dict[int, tuple[str, int]], current_epoch: int) -> None:
        self.current_epoch = max(self.current_epoch, current_epoch)
        for shard, (owner, epoch) in owners.items():
            if epoch > self.owners[shard][1]:
                self.owners[shard] = (owner, epoch)

    # Commands

    def closed(self, key: int, refused: bool) -> None:
        if key in self._subscribers:
            self._subscribers.remove(key)
        self._queued.pop(key, None)

    def received(self, key: int, payload: Any) -> None:
        name = payload[0].upper()
        if name == b"MULTI":
            self._queued[key] = []
            self.reply(key, OK)
        elif name == b"EXEC":
            self.reply(key, [self._run(key, argv) for argv in self._queued.pop(key, [])])
        elif key in self._queued:
            self._queued[key].append(payload)
            self.reply(key, b"QUEUED")
        elif name == b"SUBSCRIBE":
            self._subscribers.append(key)
            self.reply(key, [b"subscribe", payload[1], 1])
        else:
            self.reply(key, self._run(key, payload))

    def _run(self, key: int, argv: tuple[bytes, ...]) -> Any:
        name = argv[0].upper()
        if name == b"PING":
            return PONG
        if name == b"INFO":
            return self._info()
        if name == b"PUBLISH":
            return self._publish(argv[1], argv[2])
        if name == b"FAILOVER" and self.ours and not self.clustered:
            return self._hand_over(argv[2])
        if name == b"SLAVEOF":
            return self._replica_of(argv[1], argv[2])
        if name == b"CLIENT" and argv[1].upper() == b"KILL":
            return self._kill_clients(key)
        if name == b"CLUSTER" and self.clustered:
            return self._cluster(argv)
        if name == b"CLUSTER" and self.ours:
            return self._guarded_alone(argv)
        return OK if name in (b"CLIENT", b"AUTH", b"CONFIG") else ErrorReply("ERR unknown command")

    def _kill_clients(self, key: int) -> int:
        others = [(other, connection) for other, connection in self.connections.items() if other not in (key,)]
        for other, connection in others:
            del self.connections[other]
            self.closed(other, False)
            self.network.close(connection, self)
        return len(others)

    def _replica_of(self, host: bytes, port: bytes) -> Any:
        if self.clustered:
            return ErrorReply("ERR REPLICAOF not allowed in cluster mode.")
        if self.paused_for is not None:
            return ErrorReply("ERR REPLICAOF not allowed while failing over.")
        if host.upper() == b"NO":
            self._begin_to_lead()
            self.follow(None)
        else:
            self.follow(next(peer for peer in self.peers if peer.address == host.decode()))
        return OK

    def _hand_over(self, host: bytes) -> Any:
        """The coordinated failover of a plain primary: with everything at the replica, the roles change."""
        heir = next(peer for peer in self.peers if peer.address == host.decode())
        if self.paused_for is not None or not self._may_hand_over(heir):
            return ErrorReply("ERR FAILOVER target HOST and PORT is not a replica.")
        self.paused_for = heir
        self.guard.name_heir(f"{heir.address}:{SERVER_PORT}")
        self.later(1 + int(self.rng.random() * PAUSE_MS), self._end_pause, heir)
        return OK

    def _may_hand_over(self, heir: SimServer) -> bool:
        cut = self.network.is_cut(self, heir) or self.network.is_cut(heir, self)
        return self.primary is None and heir.primary is self and heir.link_up and not cut and heir.up

    def _end_pause(self, heir: SimServer) -> None:
        if self.paused_for is not heir:
            return
        if self._may_hand_over(heir):
            self.follow(heir)
            self.paused_for = None
            self.network.after(1 + int(self.rng.random() * 5), heir.offer, heir._succeed, self.offset)
        else:
            self.paused_for = None
            self.guard.end_hand_over()

    def follow(self, leader: SimServer | None) -> None:
        """Be a replica of that one, or a primary."""
        if leader is not None:
            self.reign = 0
        self.primary, self.link_up, self.link_down_ms = leader, False, 0

    # What the guard of a server without a cluster sees of it, and asks

    @property
    def now_ms(self) -> int:
        return self.clock_ms()

    @property
    def own_id(self) -> str:
        return self.run_id

    @property
    def primary_id(self) -> str:
        return "" if self.primary is None else f"{self.primary.address}:{SERVER_PORT}"

    @property
    def hands_over(self) -> bool:
        return self.paused_for is not None

    @property
    def newest_epoch(self) -> int:
        return self.guard.fence_epoch

    def save(self) -> None:
        self.guard_disk = (self.guard.name, self.guard.voters, self.guard.fence_epoch)

    def notice(self, text: str) -> None: ...

    def publish(self, payload: bytes) -> None:
        self._publish(SENTINEL_CHANNEL, payload)

    def _guarded_alone(self, argv: tuple[bytes, ...]) -> Any:
        """The commands of the guard without a cluster."""
        sub, args = argv[1].upper(), [word.decode() for word in argv[2:]]
        try:
            if sub == b"GUARD":
                numbers = [int(word) for word in args[3:6]]
                told = self.guard.on_guard(args[0], args[1], *numbers, watch=len(args) > 6)
                heir = [told.heir.encode()] if told.heir else []
                return [told.clock_ms, told.fence_epoch, int(told.armed), int(told.fenced), *heir]
            if sub == b"UNGUARD":
                return int(self.guard.release(args[0]))
            if sub == b"FAILOVER" and args[:2] == ["TAKEOVER", "FENCE"]:
                self.guard.obey(Fence(int(args[2]), int(args[3]), int(args[4])))
                if self.primary is not None:
                    self._begin_to_lead()
                    self.follow(None)
                    self.on_ordered(self)
                return OK
        except ClusterRefusal as refusal:
            return ErrorReply(f"ERR {refusal}")
        return ErrorReply("ERR This instance has cluster support disabled")

    def _succeed(self, offset: int) -> None:
        self.offset = offset
        self.follow(None)

    def _publish(self, channel: bytes, message: bytes) -> int:
        for peer in self.peers if self.clustered else [self]:
            if peer is self:
                self._hand_out(channel, message)
            elif not self.network.is_cut(self, peer):
                self.network.after(1 + int(self.rng.random() * 5), peer.offer, peer._hand_out, channel, message)
        return len(self._subscribers)

    def _hand_out(self, channel: bytes, message: bytes) -> None:
        for key in list(self._subscribers):
            self.reply(key, [b"message", channel, message])

    def _info(self) -> bytes:
        lines = [f"run_id:{self.run_id}", f"cluster_enabled:{int(self.clustered)}"]
        lines.append(f"uptime_in_seconds:{(self.clock_ms() - self.born_ms) // 1000}")
        if self.ours:
            lines.append("server_name:slotmesh")
        if not self.clustered and self.guard.is_armed:
            fenced = self.primary is None and self.guard.is_fenced(self.clock_ms() + LEASE_MARGIN_MS)
            lines += ["cluster_guard_leases:0", f"cluster_guard_fenced:{int(fenced)}"]
        leader = self.leads
        if leader is None:
            lines.append("role:master")
            followers = [peer for peer in self.peers if peer.leads is self and peer.link_up]
            lines += [f"slave{i}:ip={peer.address},port={SERVER_PORT},state=online" for i, peer in enumerate(followers)]
        else:
            status = "up" if self.link_up else "down"
            lines += ["role:slave", f"master_host:{leader.address}", f"master_port:{SERVER_PORT}"]
            lines += [f"master_link_status:{status}", f"slave_priority:{self.priority}"]
            lines += [f"slave_repl_offset:{self.lag.to_succeed(self.offset, linked=self.link_up)}"]
            if not self.link_up:
                down_s = (self.clock_ms() - self.link_down_ms) // 1000 if self.link_down_ms else -1
                lines.append(f"master_link_down_since_seconds:{down_s}")
        return "\r\n".join(lines).encode()

    # Cluster commands

    def _cluster(self, argv: tuple[bytes, ...]) -> Any:
        sub = argv[1].upper()
        if sub == b"MYID":
            return self.node_id.encode()
        if sub == b"INFO":
            return f"cluster_state:ok\r\ncluster_current_epoch:{self.current_epoch}\r\n".encode()
        if sub == b"NODES":
            return self._nodes()
        if sub == b"SHARDS":
            return []
        if sub == b"FAILOVER":
            return self._failover(argv[2:])
        if sub == b"GUARD" and self.ours:
            return self._guard(argv[2:])
        return ErrorReply("ERR unknown subcommand")

    def _nodes(self) -> bytes:
        lines = []
        for peer in self.peers:
            owner, epoch = self.owners[peer.shard]
            flags = "master" if owner == peer.node_id else "slave"
            flags = f"myself,{flags}" if peer is self else flags
            slots = f" {peer.shard * 100}-{peer.shard * 100 + 99}" if owner == peer.node_id else ""
            above = "-" if owner == peer.node_id else owner
            lines.append(
                f"{peer.node_id} {peer.address}:{SERVER_PORT}@16379 {flags} {above} 0 0 {epoch} connected{slots}"
            )
        return ("\n".join(lines) + "\n").encode()

    def _failover(self, args: tuple[bytes, ...]) -> Any:
        leader = self.leads
        if leader is None:
            return ErrorReply("ERR You should send CLUSTER FAILOVER to a replica")
        least = 0
        if len(args) >= 4 and args[1].upper() == b"FENCE":
            fence, least, void_ms = int(args[2]), int(args[3]), int(args[4])
            if fence < self.fence_epoch or self.clock_ms() > void_ms:
                return ErrorReply("ERR stale order")
            self.fence_epoch = fence
            self.on_ordered(self)
        if not args:  # coordinated: only with a primary that answers, which stops writing first
            if not self.link_up or not leader.up or leader.frozen or leader.leads is not None:
                return OK
            self.offset = self.lag.received = leader.offset
        self.take_over(least)
        if not args:
            leader._hear_bus(dict(self.owners), self.current_epoch)
        return OK

    def take_over(self, least: int) -> None:
        """Take the shard, with a new config epoch of at least `least`."""
        self._begin_to_lead()
        self.current_epoch = max(self.current_epoch + 1, least)
        self.owners[self.shard] = (self.node_id, self.current_epoch)
        self.tell_bus()

    def _guard(self, args: tuple[bytes, ...]) -> Any:
        """The rules of `cluster.guard`: the lease runs from the echoed clock; WATCH guards without a lease."""
        sentinel, lease_ms, voters, echo = args[1], int(args[3]), int(args[4]), int(args[5])
        watch = len(args) > 6
        now = self.clock_ms()
        self.voters = voters
        held, held_is_lease = self._entries.get(sentinel, (0, False))
        if self.born_ms <= echo <= now:
            longer = held if held_is_lease != watch else 0
            self._entries[sentinel] = (max(echo + lease_ms, longer), not watch)
        elif watch and held_is_lease:
            del self._entries[sentinel]
        alive = sum(expiry > now for expiry, _ in self._entries.values())
        if alive >= voters // 2 + 1:
            self.armed = True
        return [now, self.fence_epoch, int(self.armed)]
