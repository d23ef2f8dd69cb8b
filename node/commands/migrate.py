"""MIGRATE: move keys to another server, each of them on exactly one side at any moment.

The whole exchange happens inside the handler, as in stock (`node/persistence/migrate_links.py` says why): the keys go
out as pipelined RESTORE commands, and every one that the target has acknowledged is deleted here and propagated as DEL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from slotmesh.cluster.numbers import INT32_MAX
from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.keyspace.notify import GENERIC
from slotmesh.node.persistence.migrate_links import Link, LinkError
from slotmesh.node.persistence.payload import dump_payload
from slotmesh.node.resp.encoder import encode_command
from slotmesh.node.resp.values import OK, Status
from slotmesh.node.spec.arguments import integer
from slotmesh.node.spec.key_specs import KeySpec
from slotmesh.node.spec.registry import WRITE, command

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_NO_KEY: Final = Status(b"NOKEY")
_DEFAULT_TIMEOUT_MS: Final = 1000
_SEND_AT: Final = 1 << 20
_CONNECT_FAILED: Final = ErrorReply("IOERR error or timeout connecting to the client")
_WRITE_FAILED: Final = ErrorReply("IOERR error or timeout writing to target instance")
_READ_FAILED: Final = ErrorReply("IOERR error or timeout reading to target instance")
_KEYS_NEED_EMPTY: Final = ErrorReply(
    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string"
)

_KEY_SPECS: Final = (
    KeySpec((b"RW", b"ACCESS", b"DELETE"), ("index", 3), ("range", 0, 1, 0)),
    KeySpec((b"RW", b"ACCESS", b"DELETE", b"INCOMPLETE"), ("keyword", b"KEYS", -2), ("range", -1, 1, 0)),
)
#: Options that take arguments, and how many.
_OPTION_ARGUMENTS: Final = {b"AUTH": 1, b"AUTH2": 2}


def _find_keys(argv: list[bytes]) -> list[int]:
    """The single key, or what follows KEYS when the single key is empty."""
    if not argv[3]:
        position = 6
        while position < len(argv):
            word = argv[position].upper()
            if word == b"KEYS":
                return list(range(position + 1, len(argv)))
            position += 1 + _OPTION_ARGUMENTS.get(word, 0)
    return [3]


@attrs.define
class _Move:
    """What one MIGRATE was asked to do."""

    host: bytes
    port: bytes
    keys: list[bytes]
    target_db: int
    timeout_ms: int
    copy: bool = False
    replace: bool = False
    credentials: list[bytes] = attrs.field(factory=list)


def _parse(argv: list[bytes]) -> _Move:
    move = _Move(argv[1], argv[2], [argv[3]], 0, 0)
    position = 6
    while position < len(argv):
        word = argv[position].upper()
        arguments = _OPTION_ARGUMENTS.get(word, 0)
        if word == b"COPY":
            move.copy = True
        elif word == b"REPLACE":
            move.replace = True
        elif arguments and position + arguments < len(argv):
            move.credentials = argv[position + 1 : position + 1 + arguments]
        elif word == b"KEYS":
            if argv[3]:
                raise CommandError(_KEYS_NEED_EMPTY)
            move.keys = argv[position + 1 :]
            break
        else:
            raise CommandError(errors.SYNTAX)
        position += 1 + arguments
    move.timeout_ms = min(integer(argv[5]), INT32_MAX)  # no socket waits longer
    move.target_db = integer(argv[4])
    if move.timeout_ms <= 0:
        move.timeout_ms = _DEFAULT_TIMEOUT_MS
    return move


@command(
    "migrate",
    arity=-6,
    syntax=(
        'host port <key | ""> destination-db timeout(integer) [COPY] [REPLACE] [AUTH password | AUTH2 '
        "username password] [KEYS key [key ...]]"
    ),
    flags=WRITE,
    keys=_KEY_SPECS,
    find_keys=_find_keys,
    group="generic",
    since="2.6.0",
    complexity=(
        "A DUMP and a DEL of every key here and a RESTORE there, which see, plus an O(N) transfer of the data between "
        "the two servers."
    ),
    summary="Atomically transfers keys to another server.",
    categories=("dangerous",),
    tips=(b"nondeterministic_output",),
)
def cmd_migrate(client: NodeClient, argv: list[bytes]) -> Any:
    move = _parse(argv)
    present = [key for key in move.keys if client.db.read(key) is not None]
    if not present:
        return _NO_KEY
    links = client.server.persistence.migrate_links
    may_retry = True
    while True:
        try:
            link = links.get(move.host, move.port, move.timeout_ms)
        except LinkError as error:
            # stock learns of a refused connection when it writes, and says so
            raise CommandError(_WRITE_FAILED if error.refused else _CONNECT_FAILED) from None
        exchange = _Exchange(client, move, link)
        try:
            exchange.run(present)
        except LinkError as error:
            links.close(move.host, move.port)
            exchange.delete_moved()
            if exchange.refusal is None and exchange.replies == 0 and may_retry and not error.timed_out:
                may_retry = False  # a kept connection that had died: nothing was done, so once more on a new one
                continue
            if exchange.refusal is None:
                raise CommandError(_READ_FAILED if exchange.sent else _WRITE_FAILED) from None
        else:
            exchange.delete_moved()
        if exchange.refusal is not None:
            raise CommandError(b"ERR Target instance replied with error: " + exchange.refusal)
        link.selected_db = move.target_db
        return OK


class _Exchange:
    """One attempt on one connection. `refusal` is the first error that the target gave."""

    def __init__(self, client: NodeClient, move: _Move, link: Link) -> None:
        self._client = client
        self._move = move
        self._link = link
        self._moved: list[bytes] = []
        self.sent = False
        self.replies = 0
        self.refusal: bytes | None = None

    def run(self, keys: list[bytes]) -> None:
        """Send the keys and take in the replies. Raises LinkError."""
        link, move = self._link, self._move
        preface = []
        if move.credentials:
            preface.append(encode_command([b"AUTH", *move.credentials]))
        if link.selected_db != move.target_db:
            preface.append(encode_command([b"SELECT", b"%d" % move.target_db]))
        gone_out = self._send(preface, keys)
        self.sent = True
        for _ in preface:
            self._note(link.read_line())
        preface_refused = self.refusal is not None
        for key in gone_out:
            reply = link.read_line()
            self.replies += 1
            if not reply.startswith(b"-") and not preface_refused:
                self._moved.append(key)
            self._note(reply)

    def _note(self, reply: bytes) -> None:
        if reply.startswith(b"-") and self.refusal is None:
            self._link.selected_db = -1
            self.refusal = reply[1:]

    def _send(self, preface: list[bytes], keys: list[bytes]) -> list[bytes]:
        """Send everything in pieces of about a megabyte; the keys that have not expired meanwhile."""
        server, db = self._client.server, self._client.db
        restore = b"RESTORE-ASKING" if server.cluster is not None else b"RESTORE"
        options = [b"REPLACE"] if self._move.replace else []
        pieces, size = preface.copy(), 0
        gone_out: list[bytes] = []
        for key in keys:
            expire_at_ms = db.expire_at(key)
            ttl_ms = 0
            if expire_at_ms is not None:
                ttl_ms = expire_at_ms - db.keyspace.now_ms
                if ttl_ms < 0:
                    continue
                ttl_ms = max(ttl_ms, 1)
            payload = dump_payload(db.peek(key), server.config.rdbcompression)
            pieces.append(encode_command([restore, key, b"%d" % ttl_ms, payload, *options]))
            gone_out.append(key)
            size += len(payload)
            if size >= _SEND_AT:
                self._link.send(b"".join(pieces))
                pieces, size = [], 0
        if pieces:
            self._link.send(b"".join(pieces))
        return gone_out

    def delete_moved(self) -> None:
        """The target has these keys: remove them here, and tell the log and the replicas."""
        if self._move.copy or not self._moved:
            return
        db = self._client.db
        for key in self._moved:
            if db.delete(key):
                db.changed(key, GENERIC, b"del")
        self._client.propagate_as([b"DEL", *self._moved])
