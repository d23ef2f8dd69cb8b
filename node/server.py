"""A node, wired together: what it is made of, who is let in, and the questions that dispatch asks of the whole.

The parts know this object (handlers reach it as `client.server`); it knows the parts. It decides little itself. Parts
that a node may lack are None then: `cluster` outside a cluster, `replication` until it is wired.
"""

from __future__ import annotations

import contextlib
import logging
import socket

import trio

from slotmesh.node.acl.users import Acl
from slotmesh.node.base import gates
from slotmesh.node.base.clock import Clock
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import ErrorReply
from slotmesh.node.base.native import HOT_PATH
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
from slotmesh.node.observe import info_after_7_0 as info_newer
from slotmesh.node.observe.command_log import CommandLogs
from slotmesh.node.observe.histogram import Histogram
from slotmesh.node.observe.hot_keys import HotKeys
from slotmesh.node.observe.info import Info
from slotmesh.node.observe.info_sections import BASE
from slotmesh.node.observe.monitors import Monitors
from slotmesh.node.persistence.errors import StorageError
from slotmesh.node.persistence.manager import Persistence
from slotmesh.node.process.oom_score import OomScore
from slotmesh.node.process.shutdown import Shutdown
from slotmesh.node.pubsub.registry import PubSub
from slotmesh.node.replication.manager import Replication
from slotmesh.node.scripting.host import Scripting
from slotmesh.node.serving import dispatch
from slotmesh.node.serving.cron import Cron
from slotmesh.node.serving.data_plane import DataPlane
from slotmesh.node.serving.file_saves import FileSaves
from slotmesh.node.serving.http_guard import HttpGuard
from slotmesh.node.serving.listeners import Listeners, address_text, is_local, set_keepalive
from slotmesh.node.serving.tasks import NeededTasks, leaves
from slotmesh.node.spec import registry
from slotmesh.node.spec.registry import CommandSpec
from slotmesh.node.state import NEVER, NodeState

log = logging.getLogger("node")

_TOO_MANY = b"-ERR max number of clients reached\r\n"
_DENIED = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for "
    b"the default user. In this mode connections are only accepted from the loopback interface. If you want to "
    b"connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable "
    b"protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by "
    b"connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly "
    b"accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively"
    b" you can just disable the protected mode by editing the Redis configuration file, and setting the "
    b"protected mode option to 'no', and then restarting the server. 3) If you started the server manually just"
    b" for testing, restart it with the '--protected-mode no' option. 4) Set up an authentication password for "
    b"the default user. NOTE: You only need to do one of the above things in order for the server to start "
    b"accepting connections from the outside.\r\n"
)


class Server:
    """One node process."""

    internal_error = ErrorReply("ERR internal error: the reply could not be encoded; see the server's log")

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self.state = state = NodeState(config, clock or Clock())
        self.config = config
        self.clock = state.clock
        self.run_id = state.run_id
        self.rng = state.rng
        self.keyspace = state.keyspace
        follow_config(config)
        self.stats = state.stats
        self.latency = state.latency
        self.complaints = state.complaints
        self.propagation = state.propagation
        self.fibers = state.fibers
        removed = self.propagation.removed
        self.keyspace.on_expire_propagate = lambda db, keys: removed(db, keys, lazy=config.lazyfree_lazy_expire)
        self.keyspace.on_evict_propagate = lambda db, key: removed(db, [key], lazy=config.lazyfree_lazy_eviction)
        self.keyspace.field_expiry.on_propagate = self.propagation.feed
        self.blocking = Blocking(self.keyspace, dispatch.run_again)
        self.clients: dict[int, Client] = {}
        self._next_client_id = 0
        self.cluster: ClusterHost | None = None  # set below: the host looks at the parts above
        #: Whether writes are tied to leases of sentinels; None for a node that none has guarded.
        self.lease: Lease | None = None
        self.scripting = Scripting(self)
        self.persistence = Persistence(self)
        self.cron = Cron(self)
        self.eviction = Eviction(self)
        self.client_eviction = ClientEviction(self)
        self.shutdown_requested = trio.Event()
        self.exit_code = 0
        self.acl = Acl(self)
        self.pubsub = PubSub()
        self.watching = Watching(self.keyspace)
        self.tracking = Tracking(self.keyspace, self.clients.get, self.rng)
        self.pause = Pause(self)
        self.monitors = Monitors(self)
        self.http_guard = HttpGuard()
        self.command_logs = CommandLogs(self)
        self.note_large_reply = self.command_logs.note_reply
        self.info = Info(self, BASE)
        self.replication = Replication(self)
        self.data_plane = DataPlane(self)
        self.importing = Importing(self)
        self.hot_keys = HotKeys(self)
        self.shutdown = Shutdown(self)
        self.listeners = Listeners(self)
        self.oom_score = OomScore(config)
        self.file_saves = FileSaves(self.blocking.complete)
        self._wire_observers()
        self.replication.wire()
        self.replication.refresh_expiry_mode()
        if config.cluster_enabled:
            self.cluster = ClusterHost(self)
        self.plain_guard = None if config.cluster_enabled else self._guard_alone()

    def _guard_alone(self) -> PlainGuard:
        """What takes the leases of sentinels without a cluster."""
        config, replication = self.config, self.replication
        path = config.sentinel_guard_file or f"guard-{config.port}.conf"
        plain = PlainGuard(path, self.run_id, replication, self.pubsub.publish, self._tie_writes)
        replication.link_listeners.append(plain.look_at_role)
        replication.failover.guard = plain
        self.info.provide("cluster", plain.fields)
        config.on_change("sentinel-guard", plain.allow)
        plain.allow(config.sentinel_guard)
        return plain

    def _tie_writes(self, lease: Lease | None) -> None:
        self.lease = lease
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
        config.on_change("latency-monitor-threshold", lambda _: self.set_slow_threshold())
        self.command_logs.wire()
        config.on_change("latency-tracking", self._set_latency_tracking)
        self._set_latency_tracking(config.latency_tracking)
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
        info_newer.supply(self, self.info.provide)
        self.cron.tasks.append(lambda: self.tracking.limit_table(config.tracking_table_max_keys))

    def _key_touched(self, db_index: int, key: bytes) -> None:
        self.watching.touched(db_index, key)
        self.tracking.touched(key)

    def _databases_flushed(self, keys: dict[int, list[bytes]]) -> None:
        for db_index, gone in keys.items():
            for key in gone:
                self.watching.touched(db_index, key)
        self.tracking.flushed()

    def set_slow_threshold(self) -> None:
        """What the data plane reports to `note_slow`: whatever the slow log or the latency monitor may want."""
        spike_ms = self.latency.threshold_ms = self.config.latency_monitor_threshold
        spike_nanos = spike_ms * 1_000_000 if spike_ms else NEVER
        self.state.slow_nanos = min(self.command_logs.slow.wanted_from * 1000, spike_nanos, NEVER)

    # -- clients ---------------------------------------------------------------------------------------------

    def admit(self, sock: socket.socket) -> Client | None:
        """A client for an accepted socket, or None when it was turned away."""
        config = self.config
        if len(self.clients) >= config.maxclients:
            self._turn_away(sock, _TOO_MANY)
            return None
        addr, laddr = address_text(sock, peer=True), address_text(sock, peer=False)
        if config.protected_mode and self._unprotected() and not is_local(sock):
            self._turn_away(sock, _DENIED)
            return None
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if config.tcp_keepalive:
                set_keepalive(sock, config.tcp_keepalive)
        client = self.new_client(sock, addr, laddr)
        self.stats.connections += 1
        self.clients[client.id] = client
        self.prepare_auth(client)
        return client

    def new_client(self, sock: socket.socket | None = None, addr: str = "", laddr: str = "") -> Client:
        """A client with a fresh id; without a socket a pseudo-client that nobody sees in CLIENT LIST."""
        self._next_client_id += 1
        return Client(self, self._next_client_id, sock, addr, laddr)

    def prepare_auth(self, client: Client) -> None:
        """A new client is the default user, logged in unless that user needs a password."""
        self.acl.start_client(client)

    def _unprotected(self) -> bool:
        return self.acl.default.no_password

    def _turn_away(self, sock: socket.socket, line: bytes) -> None:
        self.stats.rejected_connections += 1
        with contextlib.suppress(OSError):
            sock.send(line)
        sock.close()

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

    def resume(self, client: Client) -> None:
        """A client that waited goes on with the commands it sent meanwhile."""
        self.data_plane.resume(client)

    # -- questions of dispatch -------------------------------------------------------------------------------

    def write_refusal(self, spec: CommandSpec | None = None) -> ErrorReply | None:
        """Why this node takes no writes now, or None. Dispatch asks only while a gate that concerns writes is up."""
        refusal: ErrorReply | None = None
        if self.lease is not None:
            refusal = self.lease.write_refusal()
        if refusal is None:
            refusal = self.persistence.can_write()
        if refusal is None:
            refusal = self.replication.write_refusal()
        return refusal

    def refresh_write_gate(self) -> None:
        """To be called when something changed that `write_refusal` depends on."""
        self.state.set_gate(gates.SERVER_WRITES_REFUSED, self.write_refusal() is not None)

    def write_offset(self) -> int:
        """The replication offset after the last write."""
        return self.replication.stream.offset

    def note_slow(self, client: Client, spec: CommandSpec, argv: list[bytes], nanos: int) -> None:
        """A command took longer than the slow log or the latency monitor lets pass."""
        # 7.0 names no client for what a script calls.
        shown = self.scripting.principal(client) if COMPAT.newer else client
        self.command_logs.slow.maybe_add(shown, spec, argv, nanos // 1000)
        event = "fast-command" if spec.flags & registry.FAST else "command"
        self.latency.add(event, nanos // 1_000_000, self.clock.now_ms // 1000)

    def note_latency(self, spec: CommandSpec, nanos: int) -> None:
        """Record how long a call took: the first of its command, or one that the fast path cannot."""
        if spec.latency is None:
            spec.latency = Histogram()
            spec.timings = spec.latency.counts
        spec.latency.add(nanos)

    def _set_latency_tracking(self, on: bool) -> None:
        for spec in registry.every_spec():
            spec.timings = None if not on else [] if spec.latency is None else spec.latency.counts

    def handler_failed(self, spec: CommandSpec, argv: list[bytes]) -> ErrorReply:
        """A handler raised something else than CommandError: a bug of ours, which must not take the data with it."""
        log.exception("a handler failed: command %r with %d arguments", spec.full_name, len(argv))
        spec.failed_calls += 1
        return dispatch.INTERNAL_ERROR

    def reset_stats(self) -> None:
        """CONFIG RESETSTAT: all counters of INFO start again, those of commands included."""
        self.stats.reset()
        self.acl.log.denials.clear()
        keyspace = self.keyspace
        keyspace.hits = keyspace.misses = keyspace.expired_keys = keyspace.evicted_keys = 0
        keyspace.lazy_free.freed = 0
        self.eviction.reset_stats()
        self.scripting.cache.evicted = 0
        for spec in registry.every_spec():
            spec.calls = spec.nanos = spec.rejected_calls = spec.failed_calls = 0
            spec.latency = None
        self._set_latency_tracking(self.config.latency_tracking)
        if self.cluster is not None:
            self.cluster.slot_stats.reset()

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

    def timers_changed(self) -> None:
        """A deadline was set that may come before all others."""
        self.cron.wake()

    # -- life ------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Open the listening sockets. Raises OSError with a clear text when an address cannot be had."""
        self.listeners.open()
        if self.cluster is not None:
            self.cluster.listen()

    async def run(self) -> int:
        """Load the data, serve until a shutdown is requested; the exit code of the process."""
        tasks: NeededTasks | None = None
        try:
            async with trio.open_nursery() as nursery:
                tasks = NeededTasks(nursery)
                nursery.start_soon(self._cancel_when_requested, nursery.cancel_scope)
                tasks.start("the data plane", self.data_plane.run)
                tasks.start("persistence", self.persistence.run)
                await self.persistence.load_at_start()
                self.replication.restore(self.persistence.loader.aux, self.persistence.loader.dropped)
                if self.cluster is not None:
                    self.cluster.adopt_slots_of_keys()
                tasks.start("replication", self.replication.run)
                tasks.start("the housekeeping", self.cron.run)
                tasks.start("saving files", self.file_saves.run)
                if self.cluster is not None:
                    tasks.start("the cluster", self.cluster.run)
                log.info("The hot path of commands is %s.", HOT_PATH)
                log.info("Ready to accept connections")
            if not tasks.failed:
                self.persistence.close()
        except* StorageError as group:
            for error in leaves(group):
                log.warning("%s", error)
            self.exit_code = 1
        self.data_plane.close()
        if tasks is not None and tasks.failed:
            return 1
        if self.cluster is not None:
            self.cluster.close()
        return self.exit_code

    async def _cancel_when_requested(self, scope: trio.CancelScope) -> None:
        """End what runs in `scope`, a data set that is still loading included, when a shutdown is requested."""
        await self.shutdown_requested.wait()
        scope.cancel()

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
