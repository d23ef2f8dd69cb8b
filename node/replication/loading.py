"""Taking in the snapshot of a full sync. Four ways, by `repl-diskless-load`:

- `disabled`: it is written to a file; when it is whole, the file becomes `dbfilename` and is loaded. The old data is
  served until then.
- `on-empty-db`: where there is no data to lose, it is loaded as it arrives.
- `flush-before-load` (of Valkey 8): so it is wherever there is some; the old data goes first.
- `swapdb`: it is loaded into a second keyspace as it arrives; the two are swapped when it is whole. The old data is
  served all the time if it is from the same history, at the price of holding both.

Loading works in slices (`node/persistence/loading.py`): clients, the bus and the timers get their turn in between.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from time import time
from typing import TYPE_CHECKING, Final

import trio

from slotmesh.node.base.gates import SERVER_ASYNC_LOADING, SERVER_LOADING
from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.persistence.loading import KeyspaceSink, Progress, run_steps_slowly
from slotmesh.node.persistence.rdb_file import RdbDecoder
from slotmesh.node.persistence.saver import remove_if_there
from slotmesh.node.persistence.snapshot import sync_directory
from slotmesh.node.replication.transfer import Transfer

if TYPE_CHECKING:
    from slotmesh.node.persistence.manager import Persistence
    from slotmesh.node.state import NodeState

log = logging.getLogger("node")

#: How much of a received file may be unsynced, so that the final fsync is short.
_SYNC_EVERY: Final = 8 << 20

#: Receives more bytes from the primary. Raises what a broken link raises.
Receive = Callable[[], Awaitable[bytes]]


class Snapshot:
    """One full sync's snapshot on its way in. `begin` is called once, right before the old data goes.

    `same_history`: the old data is an earlier state of the data that comes, so it may be served meanwhile.
    """

    def __init__(
        self,
        state: NodeState,
        persistence: Persistence,
        transfer: Transfer,
        same_history: bool,
        begin: Callable[[], None],
    ) -> None:
        self._state = state
        self._persistence = persistence
        self._transfer = transfer
        self._same_history = same_history
        self._begin = begin
        #: AUX fields of the snapshot.
        self.aux: dict[bytes, bytes] = {}

    async def take(self, piece: bytes, receive: Receive) -> None:
        """Receive and load it; `piece` is what `transfer` gave of it already.

        Raises LoadError, TransferError or OSError.
        """
        way = self._state.config.repl_diskless_load
        by_file = way == "disabled" or (way == "on-empty-db" and self._state.keyspace.total_keys() > 0)
        transfer, target = self._transfer, "to disk" if by_file else "to parser"
        if transfer.streamed:
            log.info("MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF %s", target)
        else:
            log.info("MASTER <-> REPLICA sync: receiving %d bytes from master %s", transfer.total, target)
        if by_file:
            await self._by_file(piece, receive)
        elif way == "swapdb":
            await self._swap_in(piece, receive)
        else:
            await self._load_directly(piece, receive)

    # -- by file ---------------------------------------------------------------------------------------------

    async def _by_file(self, piece: bytes, receive: Receive) -> None:
        state, persistence = self._state, self._persistence
        path, temp_path = state.config.dbfilename, f"temp-{int(time())}.{os.getpid()}.rdb"
        try:
            await self._write_file(temp_path, piece, receive)
            self._kill_saving_child()
            os.rename(temp_path, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temp_path)
            raise
        await trio.to_thread.run_sync(sync_directory, os.path.dirname(path))
        await state.fibers.whole()  # a script may be reading the old data, or be one of its functions
        self._begin_loading()
        empty_data(state, persistence)
        loader = persistence.loader
        try:
            await loader.load(loader.rdb_steps(path, drop_expired=False))
        except BaseException:
            empty_data(state, persistence)
            raise
        finally:
            self._remove_unwanted(path)
        self.aux = loader.aux

    async def _write_file(self, path: str, piece: bytes, receive: Receive) -> None:
        transfer = self._transfer
        unsynced = 0
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            while True:
                unsynced += len(piece)
                view = memoryview(piece)
                while view:
                    view = view[os.write(fd, view) :]
                if transfer.finished:
                    break
                if unsynced >= _SYNC_EVERY:
                    await trio.to_thread.run_sync(os.fdatasync, fd)
                    unsynced = 0
                piece = transfer.feed(await receive())
            await trio.to_thread.run_sync(os.fsync, fd)
        finally:
            os.close(fd)

    def _kill_saving_child(self) -> None:
        """A BGSAVE that ended later would put older data over the received file."""
        child = self._persistence.child
        if child is not None and child.kind == "rdb":
            log.info("Replica is about to load the RDB received from the master: killing the pending RDB child.")
            child.kill()

    def _remove_unwanted(self, path: str) -> None:
        config = self._state.config
        if config.rdb_del_sync_files and not config.save and not config.appendonly:
            log.info("Removing the RDB file obtained from the master. This replica has persistence disabled")
            remove_if_there(path)

    def _begin_loading(self) -> None:
        log.info("MASTER <-> REPLICA sync: Loading DB in memory")
        self._begin()

    # -- as it arrives ---------------------------------------------------------------------------------------

    async def _load_directly(self, piece: bytes, receive: Receive) -> None:
        state, persistence = self._state, self._persistence
        await state.fibers.whole()
        self._begin_loading()
        empty_data(state, persistence)
        state.set_gate(SERVER_LOADING, True)
        sink = KeyspaceSink(state.keyspace, persistence.load_function, delay_us=self._key_delay_us)
        try:
            await self._decode(sink, piece, receive)
        except BaseException:
            empty_data(state, persistence)
            raise
        finally:
            state.set_gate(SERVER_LOADING, False)

    async def _swap_in(self, piece: bytes, receive: Receive) -> None:
        state, persistence = self._state, self._persistence
        log.info("MASTER <-> REPLICA sync: Loading DB in memory")
        fresh = Keyspace(state.config.databases, clustered=state.keyspace.clustered)
        functions: list[bytes] = []
        sink = KeyspaceSink(fresh, functions.append, delay_us=self._key_delay_us)
        gate = SERVER_ASYNC_LOADING if self._same_history else SERVER_LOADING
        state.set_gate(gate, True)
        try:
            await self._decode(sink, piece, receive)
            await state.fibers.whole()
            self._begin()
            log.info("MASTER <-> REPLICA sync: Swapping active DB with loaded DB")
            swap_data(state, persistence, fresh)
            for code in functions:
                persistence.load_function(code)
        finally:
            state.set_gate(gate, False)

    def _key_delay_us(self) -> int:
        return self._state.config.key_load_delay

    async def _decode(self, sink: KeyspaceSink, piece: bytes, receive: Receive) -> None:
        """Load what arrives until the snapshot ends; progress shows in INFO."""
        state, persistence, transfer = self._state, self._persistence, self._transfer
        loader = persistence.loader
        decoder = RdbDecoder(sink, verify=state.config.rdbchecksum and persistence.verify_checksums)
        loader.progress = Progress(transfer.total, time())
        try:
            while True:
                decoder.feed(piece)
                loader.progress.loaded_bytes = transfer.received
                steps = _decode_steps(decoder, sink, transfer.finished)
                await run_steps_slowly(steps, state.refresh_clock, state.fibers)
                if transfer.finished:
                    break
                piece = transfer.feed(await receive())
            if decoder.rest():
                raise LoadError("the snapshot goes on behind its end")
        except Exception as error:
            log.warning("Internal error in RDB reading offset %d: %s", decoder.offset, error)
            raise
        finally:
            loader.progress = None
        self.aux = sink.aux
        loader.keys_loaded = sink.keys_loaded


def _decode_steps(decoder: RdbDecoder, sink: KeyspaceSink, last: bool) -> Iterator[None]:
    while decoder.pump(sink.slice_items(), last=last):
        yield
    if last:
        decoder.finish()


def empty_data(state: NodeState, persistence: Persistence) -> None:
    """Remove all keys and function libraries: other data takes their place. Nobody is sent commands for it."""
    keyspace = state.keyspace
    keyspace.empty(keyspace.dbs)
    keyspace.field_expiry.clear()
    persistence.clear_functions()
    if not state.config.replica_lazy_flush:
        keyspace.lazy_free.drain()


def swap_data(state: NodeState, persistence: Persistence, fresh: Keyspace) -> None:
    """Let the data of `fresh` take the place of all data here."""
    keyspace = state.keyspace
    empty_data(state, persistence)
    for db, loaded in zip(keyspace.dbs, fresh.dbs, strict=True):
        db.swap_with(loaded)
    keyspace.field_expiry.adopt(fresh.field_expiry)
    keyspace.on_replaced()
