"""A node, wired together: what it is made of, and the questions that its parts ask of the whole.

The only place that knows all parts. Each is given `NodeState` and the others that it works with, by name; what one
needs of another that comes later in the order of the rooms, it gets as a function. Handlers of commands reach this
object as `client.server` (`NodeClient`), nobody else does. It decides little itself. `cluster` is None outside a
cluster.
"""

from __future__ import annotations

import logging
import socket

import trio

from slotmesh.node.acl.users import Acl
from slotmesh.node.base.clock import Clock
from slotmesh.node.base.errors import ErrorReply
from slotmesh.node.base.gates import SERVER_WRITES_REFUSED
from slotmesh.node.clients.blocking import Blocking
from slotmesh.node.clients.client import Client
from slotmesh.node.clients.import_mode import Importing
from slotmesh.node.clients.memory_limit import ClientEviction
from slotmesh.node.clients.pause import Pause
from slotmesh.node.clients.tracking import Tracking
from slotmesh.node.clients.watching import Watching
from slotmesh.node.clustering.host import ClusterHost
from slotmesh.node.clustering.lease import Lease
from slotmesh.node.clustering.plain_guard import PlainGuard
from slotmesh.node.config.configuration import Config
from slotmesh.node.config.live_limits import follow_config
from slotmesh.node.memory.eviction import Eviction
from slotmesh.node.memory.used import Memory
from slotmesh.node.observe import info_after_7_0
from slotmesh.node.observe.calls import CallReports
from slotmesh.node.observe.hot_keys import HotKeys
from slotmesh.node.observe.info import Info
from slotmesh.node.observe.info_sections import InfoSources, base_sections
from slotmesh.node.observe.monitors import Monitors
from slotmesh.node.persistence.manager import Persistence
from slotmesh.node.process.oom_score import OomScore
from slotmesh.node.process.shutdown import Shutdown
from slotmesh.node.pubsub.registry import PubSub
from slotmesh.node.replication.applier import Applying
from slotmesh.node.replication.manager import Replication
from slotmesh.node.scripting.calls import CallParts
from slotmesh.node.scripting.host import Scripting
from slotmesh.node.serving.admission import Admission
from slotmesh.node.serving.checks import Checks
from slotmesh.node.serving.cron import Cron
from slotmesh.node.serving.data_plane import DataPlane
from slotmesh.node.serving.dispatch import Dispatch
from slotmesh.node.serving.file_saves import FileSaves
from slotmesh.node.serving.http_guard import HttpGuard
from slotmesh.node.serving.listeners import Listeners
from slotmesh.node.state import NodeState

log = logging.getLogger("node")


class NodeClient(Client):
    """A client as handlers of commands see it, which may look at the whole node."""

    __slots__ = ()

    server: Server


class Server:
    """One node process."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self.state = state = NodeState(config, clock or Clock())
        self.config = config
        self.clock, self.run_id, self.rng = state.clock, state.run_id, state.rng
        self.keyspace = state.keyspace
        follow_config(config)
        self.stats, self.latency, self.complaints = state.stats, state.latency, state.complaints
        self.propagation, self.fibers = state.propagation, state.fibers
        removed = self.propagation.removed
        self.keyspace.on_expire_propagate = lambda db, keys: removed(db, keys, lazy=config.lazyfree_lazy_expire)
        self.keyspace.on_evict_propagate = lambda db, key: removed(db, [key], lazy=config.lazyfree_lazy_eviction)
        self.keyspace.field_expiry.on_propagate = self.propagation.feed
        self.clients: dict[int, Client] = {}
        self._next_client_id = 0
        self.cluster: ClusterHost | None = None  # set below: the host looks at the parts
        self.blocking = Blocking(state, lambda client, block: self.dispatch.run_again(client, block))
        self.shutdown_requested = trio.Event()
        self.exit_code = 0
        self.memory = Memory()
        self.client_eviction = ClientEviction(state, self.clients)
        self.pause = Pause(state, lambda: self.replication.refresh_expiry_mode())
        self.watching = Watching(self.keyspace, self.client_eviction.named)
        self.tracking = Tracking(self.keyspace, self.clients.get, self.rng)
        self.pubsub = PubSub(self.client_eviction.named)
        self.monitors = Monitors(state)
        self.hot_keys = HotKeys(state)
        self.http_guard = HttpGuard()
        self.acl = Acl(state, self.clients, self._principal)
        self.reports = CallReports(state, self.monitors, self._principal)
        self.command_logs = self.reports.command_logs
        self.blocking.note_large_reply = self.note_large_reply = self.reports.note_large_reply
        self.oom_score = OomScore(config)
        self.persistence = self._make_persistence()
        self.info = Info(base_sections(self._info_sources()))
        self._wire_serving()
        self.shutdown = Shutdown(
            state,
            self.pause,
            self.blocking,
            self.replication,
            self.scripting,
            cluster=lambda: self.cluster,
            request=self.request_shutdown,
        )
        self.listeners = Listeners(config, self.data_plane.acceptor)
        self.file_saves = FileSaves(self.blocking.complete)
        self._wire_observers()
        self.replication.wire(self.info.provide)
        self.cron.tasks.append(self.replication.tick)
        self.replication.refresh_expiry_mode()
        if config.cluster_enabled:
            self.cluster = self._make_cluster_host()
            self.info.provide("cluster", self.cluster.lease.fields)
            self.data_plane.lease = self.cluster.lease
        self.dispatch.checks.cluster = self.cluster
        self.plain_guard = None if config.cluster_enabled else self._guard_alone()

    def _wire_serving(self) -> None:
        """From the parts to those who serve clients with them."""
        state = self.state
        replication = self.replication = self._make_replication()
        self.importing = Importing(state, replication)
        self.eviction = Eviction(
            state,
            self.memory,
            leaves_it_to_others=lambda: (
                self.importing.is_on or (replication.is_replica and state.config.replica_ignore_maxmemory)
            ),
            not_counted_bytes=replication.stream.bytes_for_slow_replicas,
        )
        checks = Checks(
            state,
            self.acl.log,
            eviction=self.eviction,
            pause=self.pause,
            busy_error=lambda: self.scripting.busy_error,
            failing_over=lambda: replication.failover.in_progress,
            turn_out=replication.replicas.turn_out,
            write_refusal=self.write_refusal,
        )
        self.dispatch = Dispatch(
            state,
            checks,
            self.reports,
            hot_keys=self.hot_keys,
            http_guard=self.http_guard,
            importing=self.importing,
            tracking=self.tracking,
            watching=self.watching,
            write_offset=lambda: replication.stream.offset,
        )
        self.cron = Cron(
            state,
            self.memory,
            self.blocking,
            self.clients,
            flush=self.flush,
            evict=self.eviction.go_on,
            halfway=(replication.keep_in_touch, lambda: self.shutdown.check()),
        )
        self.blocking.timers_changed = self.cron.wake
        self.data_plane = DataPlane(
            state,
            self.dispatch,
            self.reports,
            replication.stream,
            blocking=self.blocking,
            client_eviction=self.client_eviction,
            cron=self.cron,
            eviction=self.eviction,
            pause=self.pause,
            drop_link=replication.drop_link,
            look_at_waiting=replication.serving.waiting.check,
            admit=Admission(state, self.clients, self.acl, self.new_client).admit,
            node=self,
        )

        self.scripting = self._make_scripting()

    def _make_persistence(self) -> Persistence:
        state = self.state
        return Persistence(
            state,
            self.memory,
            new_client=self.new_client,
            prepare_child=self.oom_score.apply_to_child,
            refresh_write_gate=self.refresh_write_gate,
            starts_as_replica=lambda: self.replication.starts_as_replica,
            function_sources=lambda: self.scripting.functions.sources(),
            load_function=lambda code, replace=False: self.scripting.load_saved_library(code, replace=replace),
            clear_functions=lambda: self.scripting.functions.clear(),
        )

    def _make_replication(self) -> Replication:
        state = self.state
        return Replication(
            state,
            self.persistence,
            self.pause,
            self.blocking,
            clients=self.clients,
            primary_client=self.new_client(),
            node=self,
            applying=lambda local_expiry: Applying(state, self.dispatch, self.blocking, self.reports, local_expiry),
        )

    def _make_scripting(self) -> Scripting:
        state = self.state
        return Scripting(
            CallParts(state, self.dispatch, self.acl.log, self.tracking, self.write_refusal, lambda: self.cluster),
            self.data_plane,
            self.monitors,
            new_client=self.new_client,
            signalled=lambda: self.shutdown.signalled,
        )

    def _make_cluster_host(self) -> ClusterHost:
        """Raises ClusterStartError."""
        return ClusterHost(
            self.state,
            self.pubsub,
            self.pause,
            self.blocking,
            self.replication,
            refresh_write_gate=self.refresh_write_gate,
            look_at_waiting=self.replication.serving.waiting.check,
            stir=self.cron.stir,
        )

    def _principal(self, client: Client) -> Client:
        """The client that a pseudo-client of scripts speaks for."""
        return self.scripting.principal(client)

    def _info_sources(self) -> InfoSources:
        return InfoSources(
            self.state,
            self.clients,
            self.blocking,
            self.pause,
            self.tracking,
            self.pubsub,
            self.memory,
            eviction=lambda: self.eviction,
            aof_buffered_bytes=lambda: self.persistence.aof.buffered_bytes,
            migrate_links=lambda: len(self.persistence.migrate_links),
            tracked_expiries=lambda: len(self.replication.local_expiry),
            cluster_links=self._count_links,
        )

    def _count_links(self) -> tuple[int, int]:
        return (0, 0) if self.cluster is None else (self.cluster.bus.link_count, self.cluster.bus.memory_bytes)

    def _guard_alone(self) -> PlainGuard:
        """What takes the leases of sentinels without a cluster."""
        config, replication = self.config, self.replication
        path = config.sentinel_guard_file or f"guard-{config.port}.conf"
        plain = PlainGuard(path, self.run_id, replication, self.pubsub.publish, self._tie_writes)
        replication.link_listeners.append(plain.look_at_role)
        replication.failover.guard = plain
        plain.wire(config, self.info.provide)
        return plain

    def _tie_writes(self, lease: Lease | None) -> None:
        self.data_plane.lease = lease
        self.refresh_write_gate()

    def _wire_observers(self) -> None:
        """Connect what must hear of changed keys, changed settings and the passing of time."""
        config, keyspace = self.config, self.keyspace
        keyspace.on_touched = self._key_touched
        keyspace.on_flush = self._databases_flushed
        keyspace.on_swap = self.watching.databases_swapped
        keyspace.on_event = self.pubsub.keyspace_event
        keyspace.on_subkeys = self.pubsub.subkey_event
        config.on_change("notify-keyspace-events", keyspace.set_notify_mask)
        keyspace.set_notify_mask(config.notify_keyspace_events)
        self.reports.wire()
        self.cron.tasks.append(self.hot_keys.check)
        self.cron.tasks.append(self.pause.check)
        self.cron.tasks.append(self.client_eviction.evict)
        self.cron.tasks.append(self.data_plane.enforce_soft_limits)
        self.cron.tasks.append(self.data_plane.acceptor.resume)
        self.cron.tasks.append(self.shutdown.look)
        self.info.provide("server", self.shutdown.info_fields)
        self.cron.tasks.append(self.persistence.keep_up)
        self.info.provide("persistence", self.persistence.info_fields)
        self.info.provide("memory", self.scripting.info_fields)
        self.info.provide("stats", self.scripting.stats_fields)
        self.info.provide("stats", self.persistence.stats_fields)
        info_after_7_0.supply(
            self.info.provide,
            self.state,
            self.clients,
            self.tracking,
            self.blocking,
            self.watching,
            self.acl.log.denials,
        )
        self.cron.tasks.append(lambda: self.tracking.limit_table(config.tracking_table_max_keys))

    def _key_touched(self, db_index: int, key: bytes) -> None:
        self.watching.touched(db_index, key)
        self.tracking.touched(key)

    def _databases_flushed(self, keys: dict[int, list[bytes]]) -> None:
        self.watching.databases_flushed(keys)
        self.tracking.flushed()

    # -- clients ---------------------------------------------------------------------------------------------

    def new_client(self, sock: socket.socket | None = None, addr: str = "", laddr: str = "") -> NodeClient:
        """A client with a fresh id; without a socket a pseudo-client that nobody sees in CLIENT LIST."""
        self._next_client_id += 1
        return NodeClient(self, self._next_client_id, sock, addr, laddr)

    def forget(self, client: Client) -> None:
        """A client is gone: take it out of everything that knows it, whatever fails."""
        self.clients.pop(client.id, None)
        for forget in (
            self.blocking.forget,
            self.pubsub.forget,
            self.watching.unwatch,
            self.tracking.turn_off,
            self.monitors.remove,
            self.pause.forget,
            self.replication.forget,
        ):
            try:
                forget(client)
            except Exception:  # a bug of ours
                self.complaints.fault("forgetting a client")

    # -- questions of dispatch -------------------------------------------------------------------------------

    def write_refusal(self) -> ErrorReply | None:
        """Why this node takes no writes now, or None. Dispatch asks only while a gate that concerns writes is up."""
        lease = self.data_plane.lease
        refusal = None if lease is None else lease.write_refusal()
        return refusal or self.persistence.can_write() or self.replication.rules.write_refusal()

    def refresh_write_gate(self) -> None:
        """To be called when something changed that `write_refusal` depends on."""
        self.state.set_gate(SERVER_WRITES_REFUSED, self.write_refusal() is not None)

    def before_replies(self) -> bool:
        """End of a pass, before anybody is answered: what was changed goes to the log and to the replicas.

        False when the log could not take it: what clients wrote must not be acknowledged.
        """
        if self.cluster is not None:
            self.cluster.end_pass()
        try:
            self.tracking.end_of_pass()
            self.monitors.hand_out()
        except Exception:  # a bug of ours; without the log or the stream, below, nobody could be answered
            self.complaints.fault("telling clients what changed")
        kept = self.persistence.flush() or self.replication.is_replica
        self.replication.flush()
        try:
            self.client_eviction.maybe_evict()
        except Exception:  # a bug of ours
            self.complaints.fault("the eviction of clients")
        return kept

    def flush(self) -> None:
        """Send what clients and replicas are owed."""
        self.data_plane.flush()

    def role_changed(self, *, is_replica: bool) -> None:
        """The role is another one now."""
        self.oom_score.role_changed(is_replica=is_replica)

    def acknowledged(self) -> None:
        """A replica told how far it is."""
        self.shutdown.check()

    # -- life ------------------------------------------------------------------------------------------------

    def request_shutdown(self, exit_code: int = 0, *, save: bool | None = None, force: bool = False) -> bool:
        """Save (None: if there are save points) and end `run` soon; False, and nothing ends, when saving failed.

        From now on no client is listened to. `Shutdown` comes before this: it lets the replicas catch up.
        """
        if not self.persistence.prepare_exit(save, force=force):
            return False
        self.exit_code = exit_code
        self.data_plane.stopping = True
        self.shutdown_requested.set()
        return True
