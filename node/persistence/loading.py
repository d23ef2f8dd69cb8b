"""Loading files a slice at a time, so that clients are answered meanwhile.

Loading is written once, as generators that yield every few hundred keys or commands. At start trio steps through them
and gives the data plane its turn between two slices (it answers LOADING); DEBUG RELOAD and tests run them to the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter, sleep
from typing import Final

import trio

from slotmesh.node.base.fibers import Fibers
from slotmesh.node.keyspace.access import AccessFrequencies, AccessTimes
from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.persistence.extras import EXTRA, apply_extra
from slotmesh.node.persistence.rdb_file import RdbDecoder
from slotmesh.node.types.hash import HashValue

CHUNK: Final = 1 << 20
#: Keys or commands between two yields: about a millisecond.
ITEMS_PER_SLICE: Final = 512
#: How long loading may hold the loop before the data plane gets its turn.
HOLD_S: Final = 0.01

Steps = Iterator[None]
_END: Final = object()


class Progress:
    """How far loading is, for INFO."""

    def __init__(self, total_bytes: int, started_s: float) -> None:
        self.total_bytes = total_bytes
        self.loaded_bytes = 0
        self.started_s = started_s


class KeyspaceSink:
    """Puts what an RDB holds into a keyspace.

    `drop_expired`: keys whose time is over are left out (a primary loading a snapshot; the base of an AOF keeps them,
    because the commands behind it were run when they existed). `replace`: a key that exists already is replaced, not an
    error. `delay_us`: what `key-load-delay` says now, microseconds of waiting for each key, for tests of slow loading.
    """

    def __init__(
        self,
        keyspace: Keyspace,
        on_function: Callable[[bytes], None],
        *,
        drop_expired: bool = False,
        replace: bool = False,
        delay_us: Callable[[], int] = lambda: 0,
    ) -> None:
        self._keyspace = keyspace
        self._db = keyspace.dbs[0]
        self._on_function = on_function
        self._drop_expired = drop_expired
        self._replace = replace
        self._delay_us = delay_us
        self._delay_s = 0.0
        self.aux: dict[bytes, bytes] = {}
        self._last: object = None
        self.keys_loaded = 0
        self.keys_expired = 0
        #: (database, key) of what was left out of data that replicas may hold as well: they must be told.
        self.dropped: list[tuple[int, bytes]] = []

    def slice_items(self) -> int:
        """How many keys to load before others may have their turn."""
        self._delay_s = max(0, self._delay_us()) / 1e6
        return 1 if self._delay_s else ITEMS_PER_SLICE

    def on_aux(self, name: bytes, value: bytes) -> None:
        """Remember an auxiliary field, or give it to the key before."""
        if name == EXTRA:
            apply_extra(self._last, value)
        else:
            self.aux[name] = value

    def on_function(self, code: bytes) -> None:
        """Hand a function library on."""
        self._on_function(code)

    def on_database(self, index: int) -> None:
        """Go on with another database."""
        if index >= len(self._keyspace.dbs):
            raise LoadError(
                f"the file holds keys of database {index}, but this server is configured for "
                f"{len(self._keyspace.dbs)} databases"
            )
        self._db = self._keyspace.dbs[index]

    def on_key(
        self, key: bytes, value: object, expire_at_ms: int | None, idle_s: int | None, frequency: int | None
    ) -> None:
        """Store a key."""
        self._last = value
        db = self._db
        if expire_at_ms is not None and self._drop_expired and expire_at_ms < self._keyspace.now_ms:
            self.keys_expired += 1
            if b"repl-id" in self.aux:
                self.dropped.append((db.index, key))
            return
        before = db.size
        db.put(key, value)
        if db.size == before:
            if not self._replace:
                raise LoadError(f"duplicate key {key!r} in database {db.index}")
            db.clear_expire(key)
        if expire_at_ms is not None:
            db.set_expire(key, expire_at_ms)
        if type(value) is HashValue and value.ttls is not None:
            self._keyspace.field_expiry.note(db.index, key, value)
        access = self._keyspace.access
        if idle_s is not None and isinstance(access, AccessTimes):
            access.set_idle_ms(db.index, key, idle_s * 1000)
        elif frequency is not None and isinstance(access, AccessFrequencies):
            access.set_frequency(db.index, key, frequency)
        self.keys_loaded += 1
        if self._delay_s:
            sleep(self._delay_s)


def load_rdb_steps(path: str, sink: KeyspaceSink, progress: Progress, *, verify: bool) -> Steps:
    """Load an RDB file. Raises LoadError, whose text names the file, or OSError."""
    with open(path, "rb", buffering=0) as file:
        decoder = RdbDecoder(sink, verify=verify)
        try:
            while not decoder.finished and (chunk := file.read(CHUNK)):
                decoder.feed(chunk)
                while decoder.pump(sink.slice_items()):
                    yield
                progress.loaded_bytes += len(chunk)
                yield
            while decoder.pump(sink.slice_items(), last=True):
                yield
            decoder.finish()
        except LoadError as error:
            raise LoadError(f"{path}: {error}") from error


def run_steps(steps: Iterable[None]) -> None:
    """Run a loading generator to its end at once."""
    for _ in steps:
        pass


async def run_steps_slowly(steps: Steps, between: Callable[[], None], fibers: Fibers) -> None:
    """Run a loading generator to its end, letting other tasks in; `between` is called after each break."""
    deadline = perf_counter() + HOLD_S
    while await fibers.run(advance, steps):
        if perf_counter() > deadline:
            await trio.lowlevel.checkpoint()
            between()
            deadline = perf_counter() + HOLD_S


def advance(steps: Steps) -> bool:
    """One step; whether there was one left."""
    return next(steps, _END) is not _END


def file_size(path: str) -> int:
    """Size of a file in bytes, 0 when there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
