"""All replicas attached to this node: handing out the stream, acknowledgements, lag, and who must go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from slotmesh.node.clients.client import GATE_REPLICA, GATE_REPLY, KIND_REPLICA, REPLY_OFF, Client
from slotmesh.node.replication.backlog import NOTHING
from slotmesh.node.replication.replica import ONLINE, SNAPSHOT, WAITING, Introduction, Replica
from slotmesh.node.spec.registry import MAY_REPLICATE, READONLY, WRITE, CommandSpec

if TYPE_CHECKING:
    from slotmesh.node.state import NodeState

log = logging.getLogger("node")


class Replicas:
    """The attached replicas, in the order in which they came."""

    def __init__(self, state: NodeState, refresh_write_gate: Callable[[], None]) -> None:
        """`refresh_write_gate`: to be called when there are enough replicas for writes, or no longer."""
        self._state = state
        self._refresh_write_gate = refresh_write_gate
        self._replicas: dict[int, Replica] = {}  # by client id
        self._introductions: dict[int, Introduction] = {}
        #: Since when nobody is attached, in monotonic ms: the time to live of the backlog counts from here.
        self.none_since_ms = state.clock.mono_ms
        #: Online replicas within `min-replicas-max-lag`, as counted by the last `refresh_good`.
        self.good = 0

    def __len__(self) -> int:
        return len(self._replicas)

    def __iter__(self) -> Iterator[Replica]:
        return iter(list(self._replicas.values()))

    # -- coming and going ------------------------------------------------------------------------------------

    def introduction(self, client: Client) -> Introduction:
        """What a connection has said of itself so far, to be read and added to."""
        replica: Replica | None = client.replica
        if replica is not None:
            return replica.intro
        return self._introductions.setdefault(client.id, Introduction())

    def attach(self, client: Client) -> Replica:
        """A connection becomes a replica. Nothing but the stream is sent to it from here on: replies are off."""
        replica = Replica(client, self.introduction(client))
        self._introductions.pop(client.id, None)
        self._replicas[client.id] = replica
        client.replica = replica
        client.reply_mode = REPLY_OFF
        client.set_gate(GATE_REPLICA | GATE_REPLY, True)
        return replica

    def forget(self, client: Client) -> None:
        """A connection is gone."""
        self._introductions.pop(client.id, None)
        replica = self._replicas.pop(client.id, None)
        if replica is None:
            return
        log.info("Connection with replica %s lost.", replica.name)
        replica.release()
        replica.on_drained()
        if not self._replicas:
            self.none_since_ms = self._state.clock.mono_ms
        self.refresh_good()

    def drop(self, replica: Replica) -> None:
        """Close a replica's connection; it will come back if it wants to."""
        replica.client.server.data_plane.drop(replica.client)

    def turn_out(self, client: Client, spec: CommandSpec) -> None:
        """A replica sent a command that is for clients: close the connection."""
        name = spec.full_name.decode()
        if spec.flags & (READONLY | WRITE | MAY_REPLICATE):
            log.warning(
                "== CRITICAL == This master is sending an error to its replica: 'Replica can't interact with the "
                "keyspace' after processing the command '%s'",
                name,
            )
        log.warning("Replica generated a reply to command '%s', disconnecting it: %s", name, client.addr)
        client.close_at_once = True

    def drop_all(self) -> None:
        """Make all replicas connect again: the history they follow has another name now, or is another one."""
        for replica in self:
            self.drop(replica)

    def put_online(self, replica: Replica) -> None:
        """The replica has all data up to the stream it is given now."""
        replica.state = ONLINE
        replica.online_ms = self._state.clock.now_ms
        self.refresh_good()

    # -- sending ---------------------------------------------------------------------------------------------

    def deliver(self, chunk: bytes) -> None:
        """Send a chunk of the stream to all who follow it, or hold it for those who are not ready."""
        for replica in list(self._replicas.values()):
            if replica.held is None:
                self.send(replica, (chunk,))
            elif replica.state != WAITING and not replica.intro.rdb_only:
                replica.hold(chunk)
                self._enforce_limit(replica)

    def oldest_held(self, next_offset: int) -> int:
        """Offset of the oldest byte of the stream before `next_offset` that waits here for a replica."""
        oldest = NOTHING
        for replica in self._replicas.values():
            if replica.held:
                oldest = min(oldest, replica.snapshot_offset + 1)
            elif replica.held is None and replica.client.unsent_bytes:
                oldest = min(oldest, next_offset - replica.client.unsent_bytes)
        return oldest

    def send(self, replica: Replica, data: Sequence[bytes]) -> None:
        """Queue bytes for a replica's socket."""
        client = replica.client
        client.out += data
        self._state.stats.repl_output_bytes += sum(map(len, data))
        if not client.pending and client.sock is not None:
            client.pending = True
            client.server.data_plane.touch(client)

    def start_stream(self, replica: Replica) -> None:
        """Let go of what was held: from now on the replica gets the stream as it comes."""
        self.send(replica, replica.release())

    def _enforce_limit(self, replica: Replica) -> None:
        """`client-output-buffer-limit replica` for what is held; the data plane sees to what is queued.

        A limit below the size of the backlog would cut off replicas that could resume at once, so it is raised to
        that, as in stock.
        """
        config, now_ms = self._state.config, self._state.clock.mono_ms
        hard, soft, soft_s = config.client_output_buffer_limit[KIND_REPLICA]
        size = replica.held_bytes
        over = bool(hard) and size > max(hard, config.repl_backlog_size)
        if soft and size > max(soft, config.repl_backlog_size):
            replica.over_soft_limit_since_ms = replica.over_soft_limit_since_ms or now_ms
            over = over or now_ms - replica.over_soft_limit_since_ms > soft_s * 1000
        else:
            replica.over_soft_limit_since_ms = 0
        if over:
            log.warning("Replica %s closed for overcoming of output buffer limits.", replica.name)
            self._state.stats.output_buffer_disconnections += 1
            self.drop(replica)

    # -- acknowledgements ------------------------------------------------------------------------------------

    def on_ack(self, replica: Replica, offset: int, aof_offset: int | None) -> None:
        """REPLCONF ACK."""
        replica.ack_offset = max(replica.ack_offset, offset)
        if aof_offset is not None:
            replica.aof_offset = max(replica.aof_offset, aof_offset)
        if replica.start_on_ack and replica.state == ONLINE:
            self.start_stream(replica)

    def acknowledged(self, offset: int) -> int:
        """How many replicas have applied everything up to `offset`."""
        return sum(replica.state == ONLINE and replica.ack_offset >= offset for replica in self._replicas.values())

    def acknowledged_on_disk(self, offset: int) -> int:
        """How many replicas have everything up to `offset` in their synced log."""
        return sum(replica.state == ONLINE and replica.aof_offset >= offset for replica in self._replicas.values())

    def find(self, host: str, port: int) -> Replica | None:
        """The replica that is reached at an address."""
        host = host.lower()
        return next((each for each in self if each.host.lower() == host and each.intro.port == port), None)

    # -- time ------------------------------------------------------------------------------------------------

    def lag_s(self, replica: Replica) -> int:
        """Seconds since an online replica was last heard of, 0 for others."""
        return replica.silent_ms(self._state.clock.now_ms) // 1000 if replica.state == ONLINE else 0

    def refresh_good(self) -> None:
        """Count the replicas that count for `min-replicas-to-write`."""
        config, before = self._state.config, self.good
        limit = config.min_replicas_max_lag
        if config.min_replicas_to_write and limit:
            online = (replica for replica in self._replicas.values() if replica.state == ONLINE)
            self.good = sum(self.lag_s(replica) <= limit for replica in online)
        else:
            self.good = 0
        if self.good != before:
            self._refresh_write_gate()

    def drop_silent(self) -> None:
        """Close replicas that let `repl-timeout` pass: without a word, or without taking any of their snapshot."""
        now_ms, limit_ms = self._state.clock.now_ms, self._state.config.repl_timeout * 1000
        for replica in self:
            if replica.state == ONLINE:
                if not replica.old_sync and replica.silent_ms(now_ms) > limit_ms:
                    log.warning("Disconnecting timedout replica (streaming sync): %s", replica.name)
                    self.drop(replica)
            elif replica.state == SNAPSHOT and self._is_stuck(replica, now_ms, limit_ms):
                log.warning("Disconnecting timedout replica (full sync): %s", replica.name)
                self.drop(replica)

    def _is_stuck(self, replica: Replica, now_ms: int, limit_ms: int) -> bool:
        queued = replica.client.unsent_bytes
        if not queued or queued != replica.stuck_bytes:
            replica.stuck_bytes = queued
            replica.stuck_since_ms = now_ms
        return bool(queued) and now_ms - replica.stuck_since_ms > limit_ms
