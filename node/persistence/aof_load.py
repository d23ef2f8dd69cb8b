"""Replaying an append-only file.

Each file is an RDB, commands, or (the single file of old servers) an RDB with commands behind it. Commands run by their
handlers, without the checks of dispatch: they ran once, so they may run again. A transaction runs when its EXEC is
read.

A file that ends inside a command or a transaction is what a crash leaves: with `aof-load-truncated` the last file is
cut to its last whole command and loading goes on, with a warning. Anything else that is wrong stops the server.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Final

from slotmesh.cluster.numbers import to_uint
from slotmesh.node.base.errors import CommandError, wrong_arity
from slotmesh.node.clients.client import Client
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.persistence.loading import CHUNK, ITEMS_PER_SLICE, KeyspaceSink, Progress, Steps
from slotmesh.node.persistence.rdb_file import RdbDecoder
from slotmesh.node.spec import registry

log = logging.getLogger("node")

_HASH: Final = 0x23
_STAR: Final = 0x2A
_DOLLAR: Final = 0x24
_CRLF: Final = b"\r\n"
_MAX_LOGGED_ERRORS: Final = 10
#: No count of arguments and no length of one is larger.
_MAX_LENGTH: Final = 1 << 40


class CommandParser:
    """Splits the bytes of a log into commands. `offset` is where the next command begins in the file."""

    def __init__(self, offset: int = 0) -> None:
        self._buf = b""
        self._pos = 0
        self._base = offset
        self._needed = 0

    @property
    def offset(self) -> int:
        """Bytes of the file that are understood: whole commands and annotations."""
        return self._base + self._pos

    @property
    def leftover(self) -> int:
        """Bytes behind `offset`."""
        return len(self._buf) - self._pos

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._base += self._pos
        self._buf = self._buf[self._pos :] + data
        self._pos = 0

    def next_command(self, last: bool = False) -> list[bytes] | None:
        """The next command, or None when more bytes are needed. Raises LoadError on bytes that are no log.

        An incomplete command is looked at again once twice as many bytes are there, or when `last` says that no more
        come.
        """
        buf, size = self._buf, len(self._buf)
        while self._pos < size and buf[self._pos] == _HASH:  # an annotation, such as #TS:
            end = buf.find(b"\n", self._pos)
            if end < 0:
                return None
            self._pos = end + 1
        if size - self._pos < self._needed and not last:
            return None
        self._needed = 0
        argv = self._parse(buf, self._pos)
        if argv is None:
            self._needed = 2 * (size - self._pos)
        return argv

    def _parse(self, buf: bytes, pos: int) -> list[bytes] | None:
        end = buf.find(_CRLF, pos)
        if pos < len(buf) and buf[pos] != _STAR:
            raise self._bad(pos)
        if end < 0:
            return None
        count = self._number(buf[pos + 1 : end], pos)
        if count < 1:
            raise self._bad(pos)
        pos = end + 2
        argv: list[bytes] = []
        for _ in range(count):
            end = buf.find(_CRLF, pos)
            if pos < len(buf) and buf[pos] != _DOLLAR:
                raise self._bad(pos)
            if end < 0:
                return None
            start = end + 2
            stop = start + self._number(buf[pos + 1 : end], pos)
            if stop + 2 > len(buf):
                return None
            argv.append(buf[start:stop])
            pos = stop + 2
        self._pos = pos
        return argv

    def _number(self, text: bytes, pos: int) -> int:
        number = to_uint(text, _MAX_LENGTH)
        if number is None:
            raise self._bad(pos)
        return number

    def _bad(self, pos: int) -> LoadError:
        return LoadError(
            f"Bad file format reading the append only file at offset {self._base + pos}: make a backup of your AOF "
            "file, then use ./redis-check-aof --fix <filename.manifest>"
        )


class Replay:
    """Runs the commands of a log on a pseudo-client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queue: list[list[bytes]] | None = None
        self.errors = 0

    @property
    def in_transaction(self) -> bool:
        """Between a MULTI and its EXEC."""
        return self._queue is not None

    def run(self, argv: list[bytes]) -> None:
        """Run one command, or queue it. Raises LoadError when it is unknown."""
        name = argv[0].upper()
        if name == b"MULTI":
            self._queue = []
        elif name == b"EXEC":
            queue, self._queue = self._queue or [], None
            for queued in queue:
                self._call(queued)
        elif self._queue is not None:
            self._queue.append(argv)
        else:
            self._call(argv)

    def _call(self, argv: list[bytes]) -> None:
        try:
            spec = registry.find(argv)
        except CommandError as error:
            name = argv[0].decode(errors="replace")
            raise LoadError(f"Unknown command '{name}' reading the append only file: {_text(error)}") from error
        try:
            if not spec.takes(len(argv)) or spec.handler is None:
                raise CommandError(wrong_arity(spec.full_name))
            spec.handler(self._client, argv)
        except CommandError as error:
            self.errors += 1
            if self.errors <= _MAX_LOGGED_ERRORS:
                log.warning("A command of the AOF failed: %r: %s", argv[0], _text(error))
        except Exception as error:  # a bug of ours; without the command the data would be other data
            raise LoadError(f"The command {argv[0]!r} of the append only file met a bug of this server") from error
        self._client.rewritten = None


def _text(error: CommandError) -> str:
    return error.reply.line.decode(errors="replace")


def load_log_steps(
    new_client: Callable[[], Client],
    path: str,
    sink: KeyspaceSink,
    progress: Progress,
    *,
    verify: bool,
    may_truncate: bool,
) -> Steps:
    """Load one file of a log. Raises LoadError, whose text names the file, or OSError.

    `new_client` makes a pseudo-client for its commands. `may_truncate`: an incomplete end is cut off the file, with a
    warning.
    """
    with open(path, "rb", buffering=0) as file:
        try:
            parser = CommandParser()
            chunk = file.read(CHUNK)
            if chunk.startswith(b"REDIS"):
                decoder = RdbDecoder(sink, verify=verify)
                while True:
                    decoder.feed(chunk)
                    progress.loaded_bytes += len(chunk)
                    while decoder.pump(sink.slice_items(), last=len(chunk) < CHUNK):
                        yield
                    yield
                    if decoder.finished or not chunk:
                        break
                    chunk = file.read(CHUNK)
                decoder.finish()
                parser = CommandParser(decoder.offset)
                chunk = decoder.rest()
                progress.loaded_bytes -= len(chunk)
            replay = Replay(new_client())
            valid_end = parser.offset
            while True:
                parser.feed(chunk)
                progress.loaded_bytes += len(chunk)
                done = 0
                while (argv := parser.next_command(last=not chunk)) is not None:
                    replay.run(argv)
                    if not replay.in_transaction:
                        valid_end = parser.offset
                    done += 1
                    if done % ITEMS_PER_SLICE == 0:
                        yield
                if not chunk:
                    break
                yield
                chunk = file.read(CHUNK)
        except LoadError as error:
            raise LoadError(f"{path}: {error}") from error
    if replay.in_transaction:
        log.warning("Revert incomplete MULTI/EXEC transaction in AOF file %s", path)
    if parser.leftover or replay.in_transaction:
        _cut(path, valid_end, may_truncate)


def _cut(path: str, valid_end: int, may_truncate: bool) -> None:
    if not may_truncate:
        raise LoadError(
            f"Unexpected end of file reading the append only file {path}. You can: 1) Make a backup of your AOF file, "
            "then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the "
            "'aof-load-truncated' configuration option to yes and restart the server."
        )
    log.warning("!!! Warning: short read while loading the AOF file %s!!!", path)
    log.warning("!!! Truncating the AOF %s at offset %d !!!", path, valid_end)
    os.truncate(path, valid_end)
    log.warning("AOF %s loaded anyway because aof-load-truncated is enabled", path)
