"""Full sync, the primary's side: one snapshot of the data for all replicas that wait for one.

Two ways, as in stock:

- streamed (`repl-diskless-sync yes`, and every waiting replica knows the end mark): a child serialises into a pipe, the
  server passes each piece on to all of the replicas, and reads on when every socket has taken it. To let more replicas
  join, it waits `repl-diskless-sync-delay` seconds first.
- by file: the child saves `dbfilename`, then the file is sent to each replica at its own pace. A replica that comes
  while the file is being made may join, with a copy of the stream that the others are waiting for.

The child is the one of BGSAVE (`node/persistence/child.py`); there is one child at a time. What is written meanwhile is
held for each replica (`Replica.hold`) and follows its snapshot.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Callable
from typing import Final

import attrs
import trio

from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.persistence.child import Child, ChildResult, Report
from slotmesh.node.persistence.manager import Persistence
from slotmesh.node.persistence.saver import remove_if_there, temp_name
from slotmesh.node.persistence.snapshot import SnapshotOptions, save_file, write_snapshot
from slotmesh.node.replication.replica import (
    CAN_EOF,
    DONE,
    SENDING,
    SNAPSHOT,
    WAITING,
    WITHOUT_DATA,
    WITHOUT_FUNCTIONS,
    Replica,
)
from slotmesh.node.replication.replicas import Replicas
from slotmesh.node.replication.stream import NO_DB, Stream
from slotmesh.node.replication.transfer import MARK_LENGTH
from slotmesh.node.state import NodeState

log = logging.getLogger("node")

#: Kind of the child, as INFO and the log know it: it saves an RDB.
RDB: Final = "rdb"
_PIPE_SIZE: Final = 1 << 20
_READ_SIZE: Final = 1 << 18
_FAILED: Final = b"-ERR BGSAVE failed, replication can't continue\r\n"


@attrs.define(eq=False)
class Round:
    """One snapshot and the replicas it is for. The first one sets the terms: who joins must be able to do all it can.

    `result` is there once the child has ended, which `ended` tells.
    """

    replicas: list[Replica]
    offset: int
    streamed: bool
    ended: trio.Event = attrs.Factory(trio.Event)
    result: ChildResult | None = None

    @property
    def filters(self) -> int:
        """What the snapshot leaves out."""
        return self.replicas[0].intro.filters

    def alive(self) -> list[Replica]:
        """Its replicas that are still connected."""
        return [replica for replica in self.replicas if replica.client.sock is not None]


class FullSync:
    """Makes snapshots for the waiting replicas of one node."""

    def __init__(
        self, state: NodeState, persistence: Persistence, replicas: Replicas, stream: Stream, flush: Callable[[], None]
    ) -> None:
        """`flush`: sends what clients and replicas are owed."""
        self._state = state
        self._persistence, self._flush = persistence, flush
        self._replicas, self._stream = replicas, stream
        self._nursery: trio.Nursery | None = None
        self._round: Round | None = None

    def run_in(self, nursery: trio.Nursery) -> None:
        """Use `nursery` for the tasks that pass snapshots on."""
        self._nursery = nursery

    @property
    def is_streaming(self) -> bool:
        """Whether a snapshot is being passed on as it is made: nothing else may be sent to its replicas."""
        return self._round is not None and self._round.streamed

    # -- who is next -----------------------------------------------------------------------------------------

    def enlist(self, replica: Replica) -> None:
        """A replica needs a snapshot: let it join the one that is being made, begin one, or let it wait."""
        current = self._round
        if current is not None and not current.streamed and current.result is None and self._may_join(replica, current):
            self._join(replica, current)
            return
        self.maybe_start()

    def _may_join(self, replica: Replica, current: Round) -> bool:
        leader = next((each for each in current.alive() if not each.intro.rdb_only or replica.intro.rdb_only), None)
        return (
            leader is not None
            and replica.intro.filters == current.filters
            and replica.intro.capabilities & leader.intro.capabilities == leader.intro.capabilities
        )

    def _join(self, replica: Replica, current: Round) -> None:
        leader = next(each for each in current.alive() if not each.intro.rdb_only or replica.intro.rdb_only)
        self._stream.flush()
        for chunk in leader.held or ():
            replica.hold(chunk)
        current.replicas.append(replica)
        self._announce(replica, current.offset)
        log.info("Waiting for end of BGSAVE for SYNC")

    def maybe_start(self) -> bool:
        """Begin a snapshot if somebody waits for one and it is time; whether somebody still waits.

        Called when one comes, and by the cron.
        """
        self._start_if_time()
        return any(replica.state == WAITING for replica in self._replicas)

    def _start_if_time(self) -> None:
        persistence = self._persistence
        if self._nursery is None or self._round is not None or persistence.child is not None:
            return
        if self._state.fibers.halfway:
            return  # the cron asks again
        waiting = [replica for replica in self._replicas if replica.state == WAITING]
        if not waiting:
            return
        filters = waiting[0].intro.filters
        chosen = [replica for replica in waiting if replica.intro.filters == filters]
        can_stream = all(replica.intro.capabilities & CAN_EOF for replica in chosen)
        streamed = can_stream and (self._state.config.repl_diskless_sync or bool(filters))
        if streamed and not self._is_time(chosen):
            return
        self._start(chosen, streamed)

    def _is_time(self, waiting: list[Replica]) -> bool:
        config = self._state.config
        enough = config.repl_diskless_sync_max_replicas
        if enough and len(waiting) >= enough:
            return True
        oldest_ms = min(replica.waiting_since_ms for replica in waiting)
        return self._state.clock.now_ms - oldest_ms >= config.repl_diskless_sync_delay * 1000

    # -- a round ---------------------------------------------------------------------------------------------

    def _start(self, replicas: list[Replica], streamed: bool) -> None:
        log.info("Starting BGSAVE for SYNC with target: %s", "replicas sockets" if streamed else "disk")
        stream = self._stream
        stream.flush()
        stream.selected_db = NO_DB
        current = Round(replicas, stream.offset, streamed)
        try:
            if streamed:
                self._start_streamed(current)
            else:
                self._start_file(current)
        except OSError as error:
            log.warning("BGSAVE for replication failed: %s", error.strerror)
            for replica in replicas:
                self._replicas.send(replica, (_FAILED,))
                replica.client.close_after_reply = True
            return
        self._round = current
        for replica in replicas:
            self._announce(replica, current.offset)

    def _announce(self, replica: Replica, offset: int) -> None:
        """From here on the stream is held for the replica; tell it where its snapshot stands."""
        replica.state = SNAPSHOT
        replica.snapshot_offset = offset
        if not replica.old_sync:
            self._replicas.send(replica, (b"+FULLRESYNC %b %d\r\n" % (self._stream.history.replid, offset),))

    def _options(self, filters: int) -> SnapshotOptions:
        options: SnapshotOptions = self._persistence.snapshot_options()
        return attrs.evolve(options, functions=()) if filters & WITHOUT_FUNCTIONS else options

    def _child_ended(self, current: Round, result: ChildResult) -> None:
        current.result = result
        current.ended.set()

    def _finish(self, current: Round) -> None:
        assert self._round is current
        self._round = None
        self.maybe_start()

    def _give_up(self, current: Round, reason: str) -> None:
        log.warning("SYNC failed: %s", reason)
        for replica in current.alive():
            self._replicas.drop(replica)

    def left(self) -> None:
        """A replica is gone: a file that nobody waits for is not worth its memory, unless it is a save, too."""
        current = self._round
        if current is not None and not current.streamed and not current.alive() and not self._state.config.save:
            log.info("Background saving for replicas is of no use any more: killing it.")
            self._kill_child(current)

    def abort(self) -> None:
        """The data is about to be replaced: a snapshot of the old one is of no use to anybody."""
        if self._round is not None:
            self._kill_child(self._round)

    def _kill_child(self, current: Round) -> None:
        child = self._persistence.child
        if current.result is None and child is not None:
            child.kill()

    # -- streamed --------------------------------------------------------------------------------------------

    def _start_streamed(self, current: Round) -> None:
        assert self._nursery is not None
        keyspace, options = self._state.keyspace, self._options(current.filters)
        with_data = not current.filters & WITHOUT_DATA
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        os.set_blocking(read_fd, False)
        try:
            child = self._persistence.children.start(
                RDB,
                lambda report: _write_to_pipe(write_fd, keyspace, options, with_data, report),
                lambda _child, result: self._child_ended(current, result),
                (write_fd,),
            )
        except OSError:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        log.info("Background RDB transfer started by pid %d", child.pid)
        self._nursery.start_soon(self._guarded_round, current, read_fd)

    async def _guarded_round(self, current: Round, read_fd: int) -> None:
        try:
            await self._pass_on(current, read_fd)
        except Exception:  # a bug of ours, or a system call that nobody expected to fail: these replicas try again
            self._state.complaints.fault("a full sync")
            self._kill_child(current)
            self._give_up(current, "the transfer failed")
            self._finish(current)

    async def _pass_on(self, current: Round, read_fd: int) -> None:
        """Send what the child writes to all replicas of the round, then the end mark."""
        mark = secrets.token_hex(MARK_LENGTH // 2).encode()
        try:
            self._send_to_all(current, b"$EOF:" + mark + b"\r\n")
            while current.alive():
                await trio.lowlevel.wait_readable(read_fd)
                data = os.read(read_fd, _READ_SIZE)
                if not data:
                    up = len(current.alive())
                    log.info("Diskless rdb transfer, done reading from pipe, %d replicas still up.", up)
                    break
                self._send_to_all(current, data)
                await self._sockets_took(current)
        finally:
            trio.lowlevel.notify_closing(read_fd)
            os.close(read_fd)
        if not current.alive() and current.result is None:
            log.warning("Diskless rdb transfer, last replica dropped, killing fork child.")
            self._kill_child(current)
        await current.ended.wait()
        assert current.result is not None
        if current.result.error:
            self._give_up(current, f"BGSAVE child returned an error: {current.result.error}")
        else:
            self._send_to_all(current, mark)
            for replica in current.alive():
                self._streamed_to(replica)
            self._flush()
        self._finish(current)

    def _streamed_to(self, replica: Replica) -> None:
        if replica.intro.rdb_only:
            self._close_when_sent(replica)
            return
        log.info(
            "Streamed RDB transfer with replica %s succeeded (socket). Waiting for REPLCONF ACK from replica to enable "
            "streaming",
            replica.name,
        )
        replica.start_on_ack = True
        self._replicas.put_online(replica)

    def _close_when_sent(self, replica: Replica) -> None:
        """An rdb-only client has what it wanted."""
        replica.state = DONE
        replica.client.close_after_reply = True

    def _send_to_all(self, current: Round, data: bytes) -> None:
        for replica in current.alive():
            self._replicas.send(replica, (data,))

    async def _sockets_took(self, current: Round) -> None:
        """Until every replica's socket took what was queued for it: the slowest sets the pace, nothing piles up."""
        self._flush()
        for replica in current.alive():
            while replica.client.sock is not None and replica.client.unsent is not None:
                await replica.drained.wait()

    # -- by file ---------------------------------------------------------------------------------------------

    def _start_file(self, current: Round) -> None:
        keyspace, options = self._state.keyspace, self._options(current.filters)
        path = self._state.config.dbfilename

        def work(report: Report) -> None:
            save_file(path, temp_name(os.getpid()), keyspace, options, report.progress, lambda: not report.orphaned())

        def done(child: Child, result: ChildResult) -> None:
            self._child_ended(current, result)
            if result.error:
                remove_if_there(temp_name(child.pid))
                self._give_up(current, f"BGSAVE child returned an error: {result.error}")
                self._finish(current)
            else:
                self._send_file(current, path)

        self._persistence.children.start(RDB, work, done)

    def _send_file(self, current: Round, path: str) -> None:
        assert self._nursery is not None
        log.info("Background saving for replicas terminated with success")
        try:
            size = os.stat(path).st_size
            files = [(replica, os.open(path, os.O_RDONLY | os.O_CLOEXEC)) for replica in current.alive()]
        except OSError as error:
            self._give_up(current, f"can't open the RDB after BGSAVE: {error.strerror}")
        else:
            for replica, fd in files:
                replica.state = SENDING
                self._nursery.start_soon(self._guarded_sending, replica, fd, size)
            self._maybe_remove(path)
        self._finish(current)

    def _maybe_remove(self, path: str) -> None:
        """`rdb-del-sync-files`: a node without persistence of its own leaves no files behind. They are open still."""
        config = self._state.config
        if config.rdb_del_sync_files and not config.save and not config.appendonly:
            log.info("Removing the RDB file used to feed replicas in a persistence-less instance")
            remove_if_there(path)

    async def _guarded_sending(self, replica: Replica, fd: int, size: int) -> None:
        try:
            await self._send_file_to(replica, fd, size)
        except OSError as error:
            log.warning("Can't read the RDB for replica %s: %s", replica.name, error.strerror)
            replica.client.server.data_plane.drop(replica.client)
        except Exception:  # a bug of ours
            replica.client.server.data_plane.fault(replica.client)

    async def _send_file_to(self, replica: Replica, fd: int, size: int) -> None:
        client = replica.client
        try:
            self._replicas.send(replica, (b"$%d\r\n" % size,))
            while client.sock is not None and (data := os.read(fd, _READ_SIZE)):
                self._replicas.send(replica, (data,))
                self._flush()
                while client.sock is not None and client.unsent is not None:
                    await replica.drained.wait()
                await trio.lowlevel.checkpoint()
        finally:
            os.close(fd)
        if client.sock is None:
            return
        if replica.intro.rdb_only:
            self._close_when_sent(replica)
            client.server.data_plane.drop(client)
            return
        log.info("Synchronization with replica %s succeeded", replica.name)
        self._replicas.put_online(replica)
        self._replicas.start_stream(replica)


def _write_to_pipe(fd: int, keyspace: Keyspace, options: SnapshotOptions, with_data: bool, report: Report) -> None:
    """The child's work: the whole snapshot into the pipe. Raises OSError when the server has closed its end."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    write_snapshot(write, keyspace if with_data else Keyspace(1), options, report.progress)
