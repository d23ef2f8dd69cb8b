"""Requests from bytes: a fast path for plain commands, an exact one for everything else.

Nearly every chunk that a client sends holds whole multibulk commands of moderate length; `parse_plain` takes those from
its start. In any doubt the rest is left to `RequestParser`, a cursor parser that knows inline commands, the stock
server's limits and its error texts, and keeps an incomplete command between chunks.

`parse_plain` has two forms with one contract. The compiled one (`node/compiled/codec.pyx`) walks the bytes. The plain
one sends them through one shared hiredis reader. As hiredis parses *replies*, it accepts more than a request may be,
and it cannot say where it stopped; so its result is proved: behind the chunk it is fed a marker reply, and only when
every value before the marker is an array of bulk strings and nothing follows it was the chunk whole. If it was not, all
up to the last likely boundary is tried the same way.

Limits and texts are those of the stock server: at most 2**31-1 arguments (10 before authentication), bulk strings up to
`proto-max-bulk-len` (16384 bytes before authentication), lines up to 64 KiB.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import hiredis

from slotmesh.cluster.numbers import to_int64
from slotmesh.node.base.native import compiled
from slotmesh.node.resp.inline import split_args

MAX_LINE: Final = 64 * 1024
MAX_ARGS: Final = 2**31 - 1
UNAUTHENTICATED_MAX_ARGS: Final = 10
UNAUTHENTICATED_MAX_BULK: Final = 16384
#: A chunk above this size is likely to hold a part of a large value, which hiredis would copy again and again.
FAST_PATH_MAX: Final = 64 * 1024 + 32
_MARKER: Final = b":0\r\n"
_BOUNDARY: Final = b"\r\n*"
#: Commands, the bytes they took, whether the rest is the beginning of one more.
Parsed = tuple[list[list[bytes]], int, bool]
NOTHING_PARSED: Final[Parsed] = ([], 0, False)
#: hiredis makes room for as many elements as a header announces, so a header may not announce more than fit in a chunk.
_announces_too_much: Final = re.compile(rb"\*[0-9]{5}").search


class ProtocolError(Exception):
    """The client broke the protocol. `args[0]` is the text of the stock server, after `-ERR `."""


_reader = hiredis.Reader()


def _parse_whole(chunk: bytes) -> list[list[bytes]] | None:
    """All commands of a chunk that is exactly a sequence of whole multibulk commands, else None.

    Empty multibulks (`*0`) are not worth a fast path: they give None as well.
    """
    global _reader
    reader = _reader
    if chunk[0] != 0x2A or _announces_too_much(chunk) or (b">" in chunk and b"\r\n>" in chunk):
        return None
    commands: list[list[bytes]] = []
    try:
        reader.feed(chunk + _MARKER)
        gets = reader.gets
        argv = gets()
        while type(argv) is list:
            b"".join(argv)  # TypeError unless every argument is a bulk string
            commands.append(argv)
            argv = gets()
        if (
            argv == 0
            and argv is not False
            and not reader.has_data()
            and all(commands)
            # hiredis gives simple strings as bytes, too: count the headers of bulk strings
            and chunk.count(b"\r\n$") >= sum(map(len, commands))
        ):
            return commands
    except (hiredis.ProtocolError, TypeError):
        pass  # not a plain chunk: the exact parser judges it
    _reader = hiredis.Reader()
    return None


def _is_beginning(rest: bytes) -> bool:
    """Whether a command that the fast path may take later begins here, and does not end."""
    probe = RequestParser(FAST_PATH_MAX)
    probe.feed(rest)
    try:
        return rest[:1] == b"*" and probe.next_command() is None and not probe.idle
    except ProtocolError:
        return False


def parse_plain_in_python(chunk: bytes) -> Parsed:
    """The plain commands that `chunk` starts with, how many bytes they took, and whether what is left, if anything, is
    the beginning of one more: then it may be parsed again when more has come. Else it is for the exact parser."""
    commands = _parse_whole(chunk)
    if commands is not None:
        return commands, len(chunk), False
    cut = chunk.rfind(_BOUNDARY) + 2
    if cut > 2:
        commands = _parse_whole(chunk[:cut])
        if commands is not None:
            return commands, cut, _is_beginning(chunk[cut:])
    return [], 0, len(chunk) <= FAST_PATH_MAX and _is_beginning(chunk)


parse_plain: Callable[[bytes], Parsed] = parse_plain_in_python if compiled is None else compiled.parse_plain


class RequestParser:
    """The exact parser of one client: give it bytes with `feed`, take commands with `next_command`."""

    __slots__ = (
        "_arg_bytes",
        "_arg_count",
        "_args",
        "_buffer",
        "_bulk_len",
        "_pos",
        "authenticated",
        "max_bulk",
        "needs_more",
    )

    def __init__(self, max_bulk: int, authenticated: bool = True) -> None:
        self.max_bulk = max_bulk
        self.authenticated = authenticated
        #: Set by whoever knows that what is held is the beginning of a command; true until the next `feed`.
        self.needs_more = False
        self._buffer = bytearray()
        self._pos = 0
        self._args: list[bytes] = []
        self._arg_bytes = 0
        self._arg_count = 0  # arguments still to come of the multibulk under way; 0: between commands
        self._bulk_len = -1  # length of the bulk under way, -1: its header has not come yet

    def feed(self, chunk: bytes) -> None:
        """Take bytes from the client."""
        if self._pos:
            del self._buffer[: self._pos]
            self._pos = 0
        self._buffer += chunk
        self.needs_more = False

    @property
    def idle(self) -> bool:
        """True when no part of a command is held, so that the fast path may take the next chunk."""
        return not self._arg_count and self._pos == len(self._buffer)

    @property
    def untouched(self) -> bool:
        """True while nothing of what is held has been looked at, so that the fast path may take it instead."""
        return not self._arg_count and not self._pos

    def take_held(self) -> bytes:
        """What is held, which is forgotten here. Only while `untouched`."""
        held = bytes(self._buffer)
        self._buffer.clear()
        self.needs_more = False
        return held

    @property
    def in_long_argument(self) -> bool:
        """Whether much of an argument is still to come."""
        return self._bulk_len - len(self._buffer) + self._pos > FAST_PATH_MAX

    @property
    def unread_bytes(self) -> int:
        """Bytes behind the last command; exact right after a `next_command` (replication counts them)."""
        return len(self._buffer) - self._pos

    @property
    def held_bytes(self) -> int:
        """Bytes kept for the command under way (counts against `client-query-buffer-limit`)."""
        return len(self._buffer) - self._pos + self._arg_bytes

    def next_command(self) -> list[bytes] | None:
        """The next whole command, or None when more bytes are needed. Empty commands are skipped.

        Raises ProtocolError; the parser must not be used after that.
        """
        while (argv := self.next_step()) == []:
            pass
        return argv

    def next_step(self) -> list[bytes] | None:
        """As `next_command`, but an empty command is one, too: so many can come that skipping them takes long."""
        buffer = self._buffer
        if not self._arg_count:
            if self._pos >= len(buffer):
                return None
            if buffer[self._pos] != 0x2A:  # '*'
                return self._inline()
            if not self._start_multibulk():
                return None
            if not self._arg_count:
                return []
        if not self._fill_args():
            return None
        argv, self._args = self._args, []
        self._arg_count = self._arg_bytes = 0
        return argv

    def _line(self, too_big: str) -> bytes | None:
        end = self._buffer.find(b"\r", self._pos)
        if end < 0 or end + 1 >= len(self._buffer):
            if len(self._buffer) - self._pos > MAX_LINE:
                raise ProtocolError(f"Protocol error: {too_big}")
            return None
        line = bytes(self._buffer[self._pos : end])
        self._pos = end + 2
        return line

    def _inline(self) -> list[bytes] | None:
        end = self._buffer.find(b"\n", self._pos)
        if end < 0:
            if len(self._buffer) - self._pos > MAX_LINE:
                raise ProtocolError("Protocol error: too big inline request")
            return None
        line = bytes(self._buffer[self._pos : end])
        self._pos = end + 1
        argv = split_args(line.removesuffix(b"\r"))
        if argv is None:
            raise ProtocolError("Protocol error: unbalanced quotes in request")
        return argv

    def _start_multibulk(self) -> bool:
        line = self._line("too big mbulk count string")
        if line is None:
            return False
        count = to_int64(line[1:])
        if count is None or count > MAX_ARGS:
            raise ProtocolError("Protocol error: invalid multibulk length")
        if count > UNAUTHENTICATED_MAX_ARGS and not self.authenticated:
            raise ProtocolError("Protocol error: unauthenticated multibulk length")
        self._arg_count = max(count, 0)
        return True

    def _fill_args(self) -> bool:
        buffer = self._buffer
        while len(self._args) < self._arg_count:
            if self._bulk_len < 0:
                if self._pos >= len(buffer):
                    return False
                line = self._line("too big bulk count string")
                if line is None:
                    return False
                if line[:1] != b"$":
                    got = line[:1].decode("latin-1") if line else "\r"
                    raise ProtocolError(f"Protocol error: expected '$', got '{got}'")
                length = to_int64(line[1:])
                if length is None or length < 0 or length > self.max_bulk:
                    raise ProtocolError("Protocol error: invalid bulk length")
                if length > UNAUTHENTICATED_MAX_BULK and not self.authenticated:
                    raise ProtocolError("Protocol error: unauthenticated bulk length")
                self._bulk_len = length
            end = self._pos + self._bulk_len
            if len(buffer) < end + 2:
                return False
            self._args.append(bytes(memoryview(buffer)[self._pos : end]))
            self._pos = end + 2
            self._arg_bytes += self._bulk_len
            self._bulk_len = -1
        return True
