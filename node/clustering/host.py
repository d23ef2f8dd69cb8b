"""The node's side of the cluster: it owns the core, the bus and the routing, and makes the core's wishes come true.

`ClusterCore` decides; this module carries its node-side effects out on the keyspace, replication, pub/sub and the
clients, and keeps `nodes.conf`.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import socket
from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn

import trio

from slotmesh.cluster.bus import Bus, BusClock
from slotmesh.cluster.config import ClusterConfig
from slotmesh.cluster.core import ClusterCore
from slotmesh.cluster.effects import (
    DEBUG,
    NOTICE,
    VERBOSE,
    WARNING,
    DeleteKeysInSlots,
    DeliverPublish,
    Effect,
    EmptyKeyspace,
    Log,
    PauseWrites,
    ResumeWrites,
    RoleChanged,
    SlotsChanged,
)
from slotmesh.cluster.events import ReplicationStatus, WritesPaused
from slotmesh.cluster.guard import GuardReply
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.slots import key_slot
from slotmesh.cluster.state_file import StateFileError
from slotmesh.node.base import errors
from slotmesh.node.clients.blocking import Blocking
from slotmesh.node.clients.pause import FAILOVER, WRITES, Pause
from slotmesh.node.clustering.lease import Lease
from slotmesh.node.clustering.roles import Roles
from slotmesh.node.clustering.routing import Routing
from slotmesh.node.clustering.state_store import StateInUse, StateStore
from slotmesh.node.keyspace.notify import GENERIC
from slotmesh.node.observe.slot_stats import SlotStats
from slotmesh.node.pubsub.registry import PubSub
from slotmesh.node.state import NodeState

log = logging.getLogger("cluster")

_LEVELS: Final = {
    DEBUG: logging.DEBUG,
    VERBOSE: logging.DEBUG + 1,
    NOTICE: logging.INFO,
    WARNING: logging.WARNING,
}
#: Settings that make up the core's `ClusterConfig`.
_WATCHED: Final = (
    "cluster-node-timeout",
    "cluster-ping-interval",
    "cluster-require-full-coverage",
    "cluster-replica-validity-factor",
    "cluster-replica-no-failover",
    "cluster-migration-barrier",
    "cluster-allow-replica-migration",
    "cluster-announce-ip",
    "cluster-announce-port",
    "cluster-announce-bus-port",
    "cluster-announce-tls-port",
    "cluster-announce-hostname",
    "repl-ping-replica-period",
)


class ClusterStartError(Exception):
    """The node cannot start in cluster mode; the text is for the operator."""


class ClusterHost:
    """The cluster part of one node. Built before the data is loaded; `run` serves the bus."""

    def __init__(
        self,
        state: NodeState,
        pubsub: PubSub,
        pause: Pause,
        blocking: Blocking,
        replication: Roles,
        *,
        refresh_write_gate: Callable[[], None],
        look_at_waiting: Callable[[], None],
        stir: Callable[[], None],
    ) -> None:
        """`refresh_write_gate`: to be called when clients may not write any more, or again. `look_at_waiting`: when
        what clients wait for may have come true. `stir`: when there may be work for the housekeeping.
        Raises ClusterStartError when nodes.conf is damaged or in use by another process.
        """
        self.state = state
        self._pubsub = pubsub
        self._pause = pause
        self._blocking = blocking
        self._replication = replication
        self._look_at_waiting = look_at_waiting
        self._stir = stir
        self._path = state.config.cluster_config_file
        self._full_path = os.path.abspath(self._path)
        self._store = self._open_state()
        self.clock = BusClock()
        rng = random.Random(state.rng.getrandbits(64))
        try:
            text = self._read_state()
            self.core = ClusterCore(self._settings(), rng, self.clock.now_ms(), text)
        except (StateFileError, UnicodeDecodeError) as error:
            raise ClusterStartError(
                f"Unrecoverable error: corrupted cluster config file {self._path!r}: {error}"
            ) from error
        self.routing = Routing(state, self.core.view)
        self.bus = Bus(self.core, self, self.clock, lambda: state.config.cluster_link_sendbuf_limit)
        self.slot_stats = SlotStats(state)
        self._listeners: list[socket.socket] = []
        self.lease = Lease(
            self.core.guard,
            lambda: self.clock.now_ms(),
            lambda: self.core.view.myself.is_replica,
            refresh_write_gate,
            lambda: errors.FENCED,
        )
        self._settles_late = False
        self._settle_due = False
        state.served = self.routing.served
        state.readable = self.routing.readable
        for name in _WATCHED:
            state.config.on_change(name, lambda _value: self._settings_changed())
        if text:
            log.info("Node configuration loaded, I'm %s", self.core.view.myself.node_id)
        else:
            log.info("No cluster configuration found, I'm %s", self.core.view.myself.node_id)

    # -- settings and state ----------------------------------------------------------------------------------

    def _settings(self) -> ClusterConfig:
        config = self.state.config
        return ClusterConfig(
            port=config.port,
            cport=config.cluster_port or config.port + 10000,
            node_timeout_ms=config.cluster_node_timeout,
            ping_interval_ms=config.cluster_ping_interval,
            require_full_coverage=config.cluster_require_full_coverage,
            replica_validity_factor=config.cluster_replica_validity_factor,
            repl_ping_period_ms=config.repl_ping_replica_period * 1000,
            replica_no_failover=config.cluster_replica_no_failover,
            migration_barrier=config.cluster_migration_barrier,
            allow_replica_migration=config.cluster_allow_replica_migration,
            announce_ip=config.cluster_announce_ip,
            announce_port=config.cluster_announce_port,
            announce_cport=config.cluster_announce_bus_port,
            announce_hostname=config.cluster_announce_hostname,
        )

    def _settings_changed(self) -> None:
        self.core.set_config(self.clock.now_ms(), self._settings())
        self.bus.settle()

    def _open_state(self) -> StateStore:
        """Lock nodes.conf, which is made where there was none."""
        try:
            return StateStore(self._path)
        except OSError as error:
            raise ClusterStartError(
                f"Can't open {self._full_path} in order to acquire a lock: {error.strerror}"
            ) from error
        except StateInUse:
            raise ClusterStartError(
                f"Sorry, the cluster configuration file {self._path} is already used by a different Redis Cluster "
                "node. Please make sure that different nodes use different cluster configuration files."
            ) from None

    def _read_state(self) -> str:
        try:
            return self._store.load()
        except OSError as error:
            raise ClusterStartError(
                f"Loading the cluster node config from {self._full_path}: {error.strerror}"
            ) from error

    def persist(self, text: str, *, sync: bool) -> None:
        """Save the state. A failure to write is fatal, as in stock: a vote that is not on disk could be cast twice."""
        try:
            self._store.save(text, sync=sync)
        except OSError as error:
            self._cannot_save(error)

    def save_config(self) -> None:
        """Have `nodes.conf` itself hold the present state, on disk."""
        try:
            self._store.replace(self.core.state_text())
        except OSError as error:
            self._cannot_save(error)

    def persist_soon(self) -> None:
        """Have the state saved before long."""
        self._store.save_soon()

    async def _keep_state(self) -> None:
        try:
            await self._store.keep_written(self.core.state_text)
        except OSError as error:
            self._cannot_save(error)

    def _cannot_save(self, error: OSError) -> NoReturn:
        # At once, as stock's exit(1): whatever catches exceptions between here and main would go on without it.
        log.critical("Fatal: can't update cluster config file %s: %s", self._full_path, error.strerror)
        logging.shutdown()
        os._exit(1)

    def listen(self) -> None:
        """Open the bus port. Raises OSError."""
        config = self.state.config
        port = config.cluster_port or config.port + 10000
        if port > 65535:
            raise ClusterStartError(
                "Redis port number too high. Cluster communication port number can't be greater than 65535."
            )
        for name in config.bind:
            optional, host = name.startswith("-"), {"*": "0.0.0.0", "::*": "::"}.get(name.lstrip("-"), name.lstrip("-"))
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind((host, port))
                listener.listen(config.tcp_backlog)
            except OSError as error:
                listener.close()
                if optional and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    continue
                log.warning("Could not create the cluster bus socket %s:%d: %s", host, port, error.strerror)
                raise OSError(error.errno, f"Failed listening on port {port} (TCP), aborting.") from error
            listener.setblocking(False)
            self._listeners.append(listener)

    def adopt_slots_of_keys(self) -> None:
        """After the data were loaded: `Admin.adopt_slots_of_keys` for what is there, in whichever database."""
        held = SlotSet(slot for db in self.state.keyspace.dbs for slot, keys in enumerate(db.slots) if keys)
        self.core.admin(self.clock.now_ms()).adopt_slots_of_keys(held)
        self.bus.settle()
        self.settled()

    async def run(self) -> None:
        """Serve the bus until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_state)
            await self.bus.run(self._listeners)

    def close(self) -> None:
        """Save a last time; what was not synced so far is now."""
        self.bus.settle()
        try:
            self._store.close(self.core.state_text())
        except OSError as error:
            self._cannot_save(error)

    # -- door of the bus -------------------------------------------------------------------------------------

    def replication_status(self) -> ReplicationStatus:
        """How replication stands, for elections and heartbeats."""
        replication = self._replication
        if self.core.view.myself.is_primary:
            return ReplicationStatus(replication.offset)
        if not replication.can_resume:
            # Data that are about to be replaced, or are half replaced, are at no offset and of no age: the node counts
            # as loading, and does not stand for election.
            return ReplicationStatus(0, replication.primary_link_up)
        age_ms = replication.primary_offset_age_ms
        last_io_ms = 0 if age_ms is None else (self.clock.now_ms() - age_ms) // 1000 * 1000
        return ReplicationStatus(replication.offset_to_succeed(), replication.primary_link_up, last_io_ms)

    def settled(self) -> None:
        """After a step: refresh the routing, redirect blocked clients, look at the lease."""
        self.lease.check()
        if self.state.fibers.halfway:
            self._settle_late()
        elif self.routing.refresh():
            self._redirect_blocked()
        self._look_at_waiting()  # a SETSLOT may wait for what replicas say on the bus

    def _settle_late(self) -> None:
        """A script finds the slots as they were when it began."""
        if not self._settles_late:
            self._settles_late = True
            self.state.fibers.when_whole(self._settle_now)

    def _settle_now(self) -> None:
        self._settles_late = False
        self.settled()

    def settle_before_replies(self) -> None:
        """Carry out the effects of an order at the end of the pass: a batch of SETSLOT costs one sync of nodes.conf,
        not one each. Redirections follow at once, as later commands of the same pass depend on them.
        """
        self._settle_due = True
        self.settled()

    def end_pass(self) -> None:
        """Before the replies of a pass are sent."""
        if self._settle_due:
            self._settle_due = False
            self.bus.settle()

    def carry_out(self, effect: Effect) -> None:
        """A wish of the core that concerns this node. Roles and data stay as they are under a script."""
        if isinstance(effect, Log):
            log.log(_LEVELS[effect.level], "%s", effect.text)
        elif isinstance(effect, DeliverPublish):
            if effect.sharded:
                self._pubsub.publish_to_shard(effect.channel, effect.payload)
            else:
                self._pubsub.publish(effect.channel, effect.payload)
        else:
            if self.state.fibers.halfway and isinstance(effect, RoleChanged) and effect.primary_id:
                self.lease.demoted_halfway = True
            self.state.fibers.when_whole(partial(self._change, effect))

    def _change(self, effect: Effect) -> None:
        self._stir()
        if isinstance(effect, RoleChanged):
            self.lease.demoted_halfway = False
            self._change_role(effect)
        elif isinstance(effect, SlotsChanged):
            self._end_shard_subscriptions(effect.lost)
            self.slot_stats.forget(effect.lost)
        elif isinstance(effect, DeleteKeysInSlots):
            for slot in effect.slots:
                self.delete_slot(slot)
        elif isinstance(effect, EmptyKeyspace):
            self.state.keyspace.empty(self.state.keyspace.dbs)
        elif isinstance(effect, PauseWrites):
            self._pause.start(FAILOVER, WRITES, effect.until_ms - self.clock.now_ms())
            self.bus.step(WritesPaused(self._replication.offset))
        elif isinstance(effect, ResumeWrites):
            self._pause.end(FAILOVER)

    def _change_role(self, effect: RoleChanged) -> None:
        replication = self._replication
        address = effect.primary_address
        if not effect.primary_id:
            replication.become_primary()
        elif address is not None and address.ip:
            replication.become_replica_of(address.ip, address.port, may_resume=not effect.other_shard)

    def delete_slot(self, slot: int) -> int:
        """Remove all keys of a slot, telling replicas and observers; the number removed."""
        db = self.state.keyspace.dbs[0]
        keys = db.keys_in_slot(slot)
        for key in keys:
            db.delete(key)
            db.changed(key, GENERIC, b"del")
            self.state.propagation.feed(0, [b"DEL", key])
        return len(keys)

    # -- clients ---------------------------------------------------------------------------------------------

    def publish(self, channel: bytes, message: bytes, *, sharded: bool) -> None:
        """Spread a message over the bus."""
        self.core.publish(self.clock.now_ms(), channel, message, sharded=sharded)
        self.bus.settle()

    def _redirect_blocked(self) -> None:
        blocking = self._blocking
        for client, block in list(blocking.blocked.items()):
            error = self.routing.blocked_error(client, block.keys) if block.keys else None
            if error is not None:
                blocking.complete(client, error)

    def _end_shard_subscriptions(self, lost: SlotSet) -> None:
        """Shard channels follow their slot: whoever listens here is told to go."""
        self._pubsub.drop_shard_channels(lambda channel: key_slot(channel) in lost)

    # -- the sentinels ---------------------------------------------------------------------------------------

    def on_guard(
        self, name: str, sentinel_id: str, lease_ms: int, voters: int, echo_ms: int, *, watch: bool = False
    ) -> GuardReply:
        """A guard ping. Raises ClusterRefusal."""
        reply = self.core.on_guard(self.clock.now_ms(), name, sentinel_id, lease_ms, voters, echo_ms, watch=watch)
        self.bus.settle()
        return reply

    def release_guard(self, name: str) -> bool:
        """The sentinels of `name` no longer guard this node; true when they did."""
        released = self.core.release_guard(self.clock.now_ms(), name)
        self.bus.settle()
        return released
