"""`Replication`: what this node is to others, primary or replica, and how that changes.

State that outlives connections is here: the stream with its history, offset and backlog (`stream.py`), the attached
replicas, and for a replica whether its data is a known point of a history (`can_resume`), from which its primary or
that one's successor may let it go on.

    become_replica_of    keeps the data until the new primary says whether it is of the same history
    become_primary       goes on under a new name of the history; who followed the old one may resume here

The rest of the node uses: `offset`, `offset_to_succeed`, `flush`, `rules`, `is_replica`, `role`,
`primary_link_up`, `primary_offset_age_ms`, the two calls above, and `link_listeners`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import trio

from slotmesh.node.base import errors
from slotmesh.node.base.gates import SERVER_PAUSED, SERVER_REPLICA, SERVER_STALE
from slotmesh.node.base.log import set_role
from slotmesh.node.clients.client import GATE_MULTI
from slotmesh.node.replication.applier import new_primary_client
from slotmesh.node.replication.failover import Failover
from slotmesh.node.replication.handshake import FullSync as FullSyncAnswer
from slotmesh.node.replication.handshake import OldSync
from slotmesh.node.replication.history import History
from slotmesh.node.replication.info import memory_fields, replication_fields, traffic_fields
from slotmesh.node.replication.link import CONNECTED, LinkParts, PrimaryLink, encode_ack
from slotmesh.node.replication.local_expiry import LocalExpiry
from slotmesh.node.replication.on_disk import OnDisk
from slotmesh.node.replication.ports import Node
from slotmesh.node.replication.replica import Replica
from slotmesh.node.replication.rules import Rules
from slotmesh.node.replication.saved_place import database_of, place_as_aux, place_of
from slotmesh.node.replication.serving import Serving, new_replication_id
from slotmesh.node.replication.stream import NO_DB, Stream

if TYPE_CHECKING:
    from slotmesh.node.clients.blocking import Blocking
    from slotmesh.node.clients.client import Client
    from slotmesh.node.clients.pause import Pause
    from slotmesh.node.observe.info import Provider
    from slotmesh.node.persistence.manager import Persistence
    from slotmesh.node.replication.applier import Applying
    from slotmesh.node.state import NodeState

log = logging.getLogger("node")

PRIMARY: Final = "primary"
REPLICA: Final = "replica"


class Replication:
    """Replication of one node."""

    def __init__(
        self,
        state: NodeState,
        persistence: Persistence,
        pause: Pause,
        blocking: Blocking,
        *,
        clients: dict[int, Client],
        primary_client: Client,
        node: Node,
        applying: Callable[[LocalExpiry], Applying],
    ) -> None:
        """`primary_client`: a pseudo-client for the commands of our primary. `applying`: what they are run with."""
        self._state = state
        self._persistence = persistence
        self._blocking = blocking
        self._node = node
        self.stream = Stream(state.propagation, History(new_replication_id()))
        self.stream.may_ask = lambda: not state.gates & SERVER_PAUSED
        self.serving = Serving(state, persistence, pause, blocking, self.stream, node)
        self.replicas = self.serving.replicas
        self.failover = Failover(state, pause, self.stream, self.replicas, self)
        self.rules = Rules(state, self.replicas, lambda: self.is_replica, lambda: self.primary_link_up)
        expiry = self.local_expiry = LocalExpiry(state)
        self.on_disk = OnDisk(persistence.aof)
        self._link_parts = LinkParts(
            state, persistence, pause, clients, self.stream, self.failover, lambda: applying(expiry), node.flush
        )
        self.link: PrimaryLink | None = None
        #: Whether the data here is the state of history `stream.history` at `stream.offset`.
        self.can_resume = False
        #: Told when the link to the primary goes up or down, or the role changes.
        self.link_listeners: list[Callable[[], None]] = []
        #: Monotonic ms of the last byte from the primary before the present one, if the data are still of that history.
        self._heard_before_ms: int | None = None
        self._primary_client = new_primary_client(primary_client)
        self._nursery: trio.Nursery | None = None
        self._next_second_ms = 0

    def wire(self, provide: Callable[[str, Provider], None]) -> None:
        """Take part in the node: hear of its settings, and follow `replicaof` if it is set. `provide`: that of INFO."""
        config = self._state.config
        config.on_change("repl-backlog-size", self._resize_backlog)
        for name in ("min-replicas-to-write", "min-replicas-max-lag"):
            config.on_change(name, lambda _: self._recount())
        config.on_change("replica-read-only", lambda _: self._writability_changed())
        config.on_change("replica-serve-stale-data", lambda _: self.on_link_changed())
        provide("replication", lambda: replication_fields(self._state, self))
        provide("stats", lambda: traffic_fields(self._state.stats))
        provide("memory", lambda: memory_fields(self.stream))
        self._persistence.replication_aux = self.aux_fields
        self._persistence.on_synced = self._log_synced
        self._recount()
        if config.replicaof is not None:
            self._follow(*config.replicaof)  # from where, only a loaded RDB could tell

    def _writability_changed(self) -> None:
        """What clients may write here, or who decides that, is another now."""
        self.local_expiry.set_active(self.is_replica and not self._state.config.replica_read_only)
        self.refresh_expiry_mode()
        self._node.refresh_write_gate()

    def _recount(self) -> None:
        self.replicas.refresh_good()
        self._node.refresh_write_gate()

    def _resize_backlog(self, size: int) -> None:
        if self.stream.backlog is not None:
            self.stream.backlog.resize(size)

    async def run(self) -> None:
        """Run links and snapshots; as long as the server."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.serving.full_sync.run_in(nursery)
            if self.link is not None:
                nursery.start_soon(self.link.run)
            await trio.sleep_forever()

    # -- questions of the node -------------------------------------------------------------------------------

    @property
    def is_replica(self) -> bool:
        """Whether this node follows a primary."""
        return self.link is not None

    @property
    def starts_as_replica(self) -> bool:
        """Whether this node is, or will be once the bus runs, a replica: known before the data is loaded."""
        cluster = self._node.cluster
        return self.is_replica or (cluster is not None and cluster.core.view.myself.is_replica)

    @property
    def role(self) -> str:
        """PRIMARY or REPLICA."""
        return PRIMARY if self.link is None else REPLICA

    @property
    def offset(self) -> int:
        """Bytes of the stream produced, or applied by a replica."""
        return self.stream.offset

    @property
    def unapplied(self) -> int:
        """Bytes of the primary's stream that a replica has received and not applied yet."""
        link = self.link
        return link.incoming.unapplied if link is not None and link.incoming is not None else 0

    def offset_to_succeed(self) -> int:
        """The offset that a replica would take its primary's place with."""
        link = self.link
        return self.offset + (link.incoming.to_come() if link is not None and link.incoming is not None else 0)

    @property
    def primary_link_up(self) -> bool:
        """Whether a replica follows its primary's stream right now."""
        return self.link is not None and self.link.state == CONNECTED

    @property
    def primary_offset_age_ms(self) -> int | None:
        """Time since a primary of this history was last heard, None when it never was.

        The successor of a failed primary may fail itself before it was reached: the data are as old as the last word
        of its predecessor then.
        """
        link = self.link
        if link is None:
            return None
        heard_ms = self._heard_before_ms if link.last_io_ms is None else link.last_io_ms
        return None if heard_ms is None else max(0, self._state.clock.mono_ms - heard_ms)

    def refresh_expiry_mode(self) -> None:
        """To be called after the role, a pause or `import-mode` changed."""
        self.rules.refresh_expiry_mode()

    def flush(self) -> None:
        """End of a pass, after the log's: the stream goes to the backlog and the replicas."""
        self.stream.flush()
        if self.is_replica:
            self.on_disk.note(self.stream.offset)

    def forget(self, client: Client) -> None:
        """A client is gone."""
        self.replicas.forget(client)
        if client.replica is None:
            return
        self.serving.full_sync.left()
        backlog = self.stream.backlog
        if backlog is not None:
            backlog.trim(self.replicas.oldest_held(backlog.next_offset))

    def aux_fields(self) -> list[tuple[bytes, bytes]]:
        """What an RDB of the present data says about its place in the history, as far as there is one."""
        stream = self.stream
        if self.is_replica:
            if not self.can_resume:
                return []
            db_index = self._primary_client.db.index
        elif stream.backlog is None:
            return []
        else:
            db_index = max(stream.selected_db, 0)
        return place_as_aux(db_index, stream.history.replid, stream.offset)

    def restore(self, aux: dict[bytes, bytes], dropped: Iterable[tuple[int, bytes]]) -> None:
        """Take up the place in a history that a loaded RDB states.

        A replica may resume there. A primary goes on under a new name, and its former replicas may resume if they have
        exactly what it has; `dropped` are the keys of the RDB that have expired, which replicas only hide.
        """
        place = place_of(aux)
        if place is None:
            return
        stream = self.stream
        replid, stream.offset = place
        if self.starts_as_replica:
            stream.history.restart(replid)
            self.can_resume = True
            self._select_primary_db(aux)
        else:
            stream.history.replid = replid
            stream.history.branch(new_replication_id(), stream.offset)
            self.serving.open_stream(feeding=not self.is_replica)
            self.replicas.none_since_ms = self._state.clock.mono_ms
            for db_index, key in dropped:
                stream.feed(db_index, [b"DEL", key])

    # -- roles -----------------------------------------------------------------------------------------------

    def become_replica_of(self, host: str, port: int, *, may_resume: bool = True) -> None:
        """Follow a primary. Nothing happens if it is the one that is followed already.

        `may_resume`: what we have may be the beginning of what it has. If it is known not to be, our offset means
        nothing in its shard, and must not win an election there.
        """
        link = self.link
        if link is not None and (link.host.lower(), link.port) == (host.lower(), port):
            return
        stream = self.stream
        if link is not None and may_resume:
            link.drain(patient=False)
        stream.flush()
        age_ms = self.primary_offset_age_ms if may_resume and self.can_resume else None
        self._heard_before_ms = None if age_ms is None else self._state.clock.mono_ms - age_ms
        if link is not None:
            link.retire()
        if not may_resume:
            self.can_resume = False
        elif link is None:
            # What we had as a primary may be the beginning of what the new primary has.
            self.can_resume = True
            log.info(
                "Before turning into a replica, using my own master parameters to synthesize a cached master: I may be "
                "able to synchronize with the new master with just a partial transfer."
            )
        self._unblock_all()
        self._follow(host, port)

    def _follow(self, host: str, port: int) -> None:
        self.stream.set_feeding(False)
        self.link = PrimaryLink(self._link_parts, self, host, port, self._primary_client)
        if self._nursery is not None:
            self._nursery.start_soon(self.link.run)
        self._role_changed((host, port))

    def become_primary(self) -> None:
        """Apply what the primary has sent, stop following, take writes. Nothing happens on a primary."""
        link = self.link
        if link is None:
            return
        link.drain(patient=True)
        link.retire()
        self.link = None
        stream = self.stream
        stream.flush()
        stream.history.branch(new_replication_id(), stream.offset)
        stream.selected_db = NO_DB
        stream.set_feeding(stream.backlog is not None)
        self.can_resume = False
        # They must learn the new name; they will resume.
        self.replicas.drop_all()
        self.replicas.none_since_ms = self._state.clock.mono_ms
        self._role_changed(None)
        self._restart_log()

    def _role_changed(self, primary: tuple[str, int] | None) -> None:
        if self._node.cluster is None:
            self._state.config.replicaof = primary
        self._state.set_gate(SERVER_REPLICA, primary is not None)
        set_role("M" if primary is None else "S")
        self._node.role_changed(is_replica=primary is not None)
        self.replicas.refresh_good()
        self._writability_changed()
        self.on_link_changed()

    def _unblock_all(self) -> None:
        """Who waits for a write may wait in vain on a replica: answer, and make it look for the primary."""
        for client in list(self._blocking.blocked):
            client.close_after_reply = True
            self._blocking.complete(client, errors.UNBLOCKED_ROLE)

    def change_id(self) -> None:
        """Give the history another name: replicas that come back need a full sync (DEBUG CHANGE-REPL-ID)."""
        self.stream.history.restart(new_replication_id())

    # -- calls of the link -----------------------------------------------------------------------------------

    def on_link_changed(self) -> None:
        """The link has another state."""
        self._state.set_gate(SERVER_STALE, self.rules.is_stale())
        for listener in self.link_listeners:
            listener()

    def resume_point(self) -> tuple[bytes, int] | None:
        """(history, next offset) to ask the primary for; None: a full sync is needed."""
        return (self.stream.history.replid, self.stream.offset + 1) if self.can_resume else None

    def on_resumed(self, replid: bytes | None) -> None:
        """The primary goes on with the stream from where we are, perhaps under a new name."""
        stream = self.stream
        if replid is not None and replid != stream.history.replid:
            log.info("Master replication ID changed to %s", replid.decode())
            stream.history.branch(replid, stream.offset)
            self.replicas.drop_all()  # they must learn the new name
        self.serving.open_stream(feeding=not self.is_replica)

    def on_snapshot_begins(self) -> None:
        """The data here is about to be replaced by the primary's."""
        self.can_resume = False
        self.on_disk.restart()
        self.serving.full_sync.abort()
        self.replicas.drop_all()
        self.stream.close()
        if self._state.config.appendonly:
            self._persistence.rewriter.switch(False)

    def on_snapshot_loaded(self, answer: FullSyncAnswer | OldSync, aux: dict[bytes, bytes]) -> None:
        """The data here is the primary's, at the offset it said."""
        stream = self.stream
        if isinstance(answer, FullSyncAnswer):
            stream.history.restart(answer.replid)
            stream.offset = answer.offset
            self.can_resume = True
        else:
            stream.history.restart(new_replication_id())
            stream.offset = 0
        self._select_primary_db(aux)
        self.serving.open_stream(feeding=not self.is_replica)
        self._restart_log()

    def _select_primary_db(self, aux: dict[bytes, bytes]) -> None:
        dbs = self._state.keyspace.dbs
        self._primary_client.db = dbs[database_of(aux, len(dbs))]

    def reset_primary_client(self, client: Client) -> None:
        """The link is down: a transaction that had begun will be sent again."""
        client.multi = None
        client.multi_failed = False
        client.set_gate(GATE_MULTI, False)
        client.out.clear()

    def _restart_log(self) -> None:
        """The append-only file was closed while other data came in: begin a new one with it."""
        if self._state.config.appendonly and self._nursery is not None:
            self._persistence.rewriter.switch(True)

    def ack_command(self) -> bytes:
        """REPLCONF ACK with the offset reached."""
        return encode_ack(self.stream.offset, self.on_disk.offset)

    def _log_synced(self) -> None:
        """More of the log is on disk: clients in WAITAOF wait for it, here or at our primary."""
        self.serving.waiting.check()
        if self.link is not None:
            self.link.ack_soon()

    def ack_requested(self) -> None:
        """REPLCONF GETACK came down the stream."""
        if self.link is not None:
            self.link.ack_soon()

    def drop_link(self) -> None:
        """Break the connection to the primary; it will be made again."""
        if self.link is not None:
            self.link.break_off()

    # -- replicas and time -----------------------------------------------------------------------------------

    def on_ack(self, replica: Replica, offset: int, aof_offset: int | None) -> None:
        """A replica tells how far it is."""
        self.replicas.on_ack(replica, offset, aof_offset)
        self.failover.check()
        self._node.acknowledged()

    def tick(self) -> bool:
        """The housekeeping; whether something is to be looked at again soon."""
        self.failover.check()
        waiting = self.serving.full_sync.maybe_start()
        self.local_expiry.remove_due()
        self.keep_in_touch()
        return waiting or self.failover.is_under_way or bool(self.local_expiry)

    def keep_in_touch(self) -> None:
        """Once a second: show the replicas that we live, and see whether they do."""
        now_ms = self._state.clock.mono_ms
        if now_ms >= self._next_second_ms:
            self._next_second_ms = now_ms + 1000
            self.serving.every_second(is_replica=self.is_replica)
