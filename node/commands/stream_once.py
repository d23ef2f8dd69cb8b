"""XADD that adds a message at most once (IDMP, IDMPAUTO), and XCFGSET, XIDMPRECORD (Redis 8.6 to 8.8).

A producer that does not know whether its message arrived sends it again, under the same name, and gets the ID of the
entry that it became the first time. With IDMPAUTO the name is a digest of the message's fields and values, in whatever
order they come. What is remembered, and for how long, is `node/types/stream_once.py`'s.

AOF and replicas get the XADD with its ID, as always, and an XIDMPRECORD behind it, as a marker command that means
nothing to servers that know no such command (`node/keyspace/markers.py`).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.stream_args import must_obey, strict_id
from slotmesh.node.commands.stream_new_id import AUTO
from slotmesh.node.keyspace.markers import marked, marker
from slotmesh.node.keyspace.notify import NO_EVENT
from slotmesh.node.resp.values import OK
from slotmesh.node.spec.arguments import integer
from slotmesh.node.spec.key_specs import KEY_UPDATE
from slotmesh.node.spec.registry import DENYOOM, FAST, WRITE, command
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_id import format_id
from slotmesh.node.types.stream_once import MAX_DURATION_S, MAX_MESSAGES, SentMessages

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_DIGEST_BYTES: Final = 16
_TWICE: Final = ErrorReply("ERR IDMP/IDMPAUTO specified multiple times")
_NOT_AUTO: Final = ErrorReply("ERR IDMP/IDMPAUTO can be used only with auto-generated IDs")
_NO_PRODUCER: Final = ErrorReply("ERR IDMP requires a non-empty producer ID")
_NO_MESSAGE: Final = ErrorReply("ERR IDMP requires a non-empty idempotent ID")
_NO_PRODUCER_AUTO: Final = ErrorReply("ERR IDMPAUTO requires a non-empty producer ID")
_NOTHING_SET: Final = ErrorReply("ERR At least one parameter must be specified")
_BAD_DURATION: Final = ErrorReply(f"ERR IDMP-DURATION must be between 1 and {MAX_DURATION_S} seconds")
_BAD_MAXSIZE: Final = ErrorReply(f"ERR IDMP-MAXSIZE must be between 1 and {MAX_MESSAGES} entries")
_RECORD_EMPTY: Final = ErrorReply("ERR XIDMPRECORD requires a non-empty producer ID and idempotent ID")
_RECORD_NO_ENTRY: Final = ErrorReply("ERR XIDMPRECORD requires the ID of an existing entry")
_RECORD_TAKEN: Final = ErrorReply("ERR XIDMPRECORD: the idempotent ID belongs to another entry")


class Once:
    """The option of one XADD: who sends, and what the message is called (None: by its content)."""

    __slots__ = ("_message", "_producer")

    def __init__(self, producer: bytes, message: bytes | None) -> None:
        self._producer = producer
        self._message = message

    @classmethod
    def parse(cls, argv: list[bytes], at: int, given: Once | None) -> tuple[Once, int]:
        """IDMP or IDMPAUTO at index `at`, and the index behind it. `given`: the one before. Raises CommandError."""
        if given is not None:
            raise CommandError(_TWICE)
        auto = argv[at].lower() == b"idmpauto"
        end = at + (2 if auto else 3)
        if end > len(argv):
            raise CommandError(errors.SYNTAX)
        if not argv[at + 1]:
            raise CommandError(_NO_PRODUCER_AUTO if auto else _NO_PRODUCER)
        if not auto and not argv[at + 2]:
            raise CommandError(_NO_MESSAGE)
        return cls(argv[at + 1], None if auto else argv[at + 2]), end

    def find(self, client: NodeClient, key: bytes, kind: int, flat: list[bytes]) -> bytes | None:
        """The ID of the entry that the message became before, None when it is new. Raises CommandError."""
        if kind != AUTO:
            raise CommandError(_NOT_AUTO)
        if not flat or len(flat) & 1:
            raise CommandError(errors.wrong_arity(b"xadd"))
        if self._message is None:
            self._message = _digest(flat)
        value = client.db.write_as(key, StreamValue)
        if value is None or value.sent is None:
            return None
        entry_id = value.sent.find(self._producer, self._message, client.db.keyspace.now_ms)
        if entry_id is None:
            return None
        value.sent.duplicates += 1
        return format_id(entry_id)

    def remember(self, client: NodeClient, key: bytes, text: bytes, flat: list[bytes]) -> None:
        """The message became the entry `text`: note it, and tell AOF and replicas both."""
        assert self._message is not None
        value = client.db.peek(key)
        assert isinstance(value, StreamValue)
        if value.sent is None:
            value.sent = SentMessages()
        value.sent.remember(self._producer, self._message, strict_id(text), client.db.keyspace.now_ms)
        told = client.rewritten or [[b"XADD", key, text, *flat]]
        client.propagate_as(*told, marker(b"XIDMPRECORD", key, self._producer, self._message, text))


def _digest(flat: list[bytes]) -> bytes:
    """A name for a message made of its fields and values, whatever their order."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for pair in sorted(zip(flat[::2], flat[1::2], strict=True)):
        for text in pair:
            digest.update(b"%d:" % len(text))
            digest.update(text)
    return digest.digest()


@command(
    "xcfgset",
    arity=-2,
    syntax="key [IDMP-DURATION idmp-duration(integer)] [IDMP-MAXSIZE idmp-maxsize(integer)]",
    flags=WRITE | FAST,
    keys=KEY_UPDATE,
    group="stream",
    since="8.6.0",
    complexity="O(1)",
    summary="Sets for how long, and how many, messages of each producer are remembered; if changed, all is forgotten.",
)
def cmd_xcfgset(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    value = db.write_as(key, StreamValue)
    duration_s = max_messages = 0
    for at in range(2, len(argv), 2):
        option = argv[at].upper()
        if option not in (b"IDMP-DURATION", b"IDMP-MAXSIZE") or at + 1 == len(argv):
            raise CommandError(errors.SYNTAX)
        number = integer(argv[at + 1])
        if option == b"IDMP-DURATION":
            duration_s = _within(number, MAX_DURATION_S, _BAD_DURATION)
        else:
            max_messages = _within(number, MAX_MESSAGES, _BAD_MAXSIZE)
    if not duration_s and not max_messages:
        raise CommandError(_NOTHING_SET)
    if value is None:
        raise CommandError(errors.NO_SUCH_KEY)
    if value.sent is None:
        value.sent = SentMessages()
    sent = value.sent
    sent.configure(duration_s or sent.duration_s, max_messages or sent.max_messages)
    db.changed(key, NO_EVENT, b"xcfgset")
    client.propagate_as(marker(b"XCFGSET", *argv[1:]))
    return OK


def _within(number: int, most: int, error: ErrorReply) -> int:
    if not 1 <= number <= most:
        raise CommandError(error)
    return number


@command(
    "xidmprecord",
    arity=5,
    syntax="key pid iid stream-id",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_UPDATE,
    group="stream",
    since="8.8.0",
    complexity="O(1)",
    summary="Notes which entry a producer's message became, as logs and replicas need it.",
)
def cmd_xidmprecord(client: NodeClient, argv: list[bytes]) -> Any:
    db, key, producer, message = client.db, argv[1], argv[2], argv[3]
    value = db.write_as(key, StreamValue)
    if not producer or not message:
        raise CommandError(_RECORD_EMPTY)
    entry_id = strict_id(argv[4])
    if value is None:
        raise CommandError(errors.NO_SUCH_KEY)
    if value.get(entry_id) is None and not must_obey(client):
        raise CommandError(_RECORD_NO_ENTRY)
    if value.sent is None:
        value.sent = SentMessages()
    now_ms = db.keyspace.now_ms
    known = value.sent.find(producer, message, now_ms)
    if known is not None and known != entry_id:
        raise CommandError(_RECORD_TAKEN)
    if known is None:
        value.sent.remember(producer, message, entry_id, now_ms)
        db.changed(key, NO_EVENT, b"xidmprecord")
        client.propagate_as(marker(b"XIDMPRECORD", *argv[1:]))
    return OK


_MARKERS: Final = {b"XCFGSET": cmd_xcfgset, b"XIDMPRECORD": cmd_xidmprecord}


def obey_marker(client: NodeClient, argv: list[bytes]) -> bool:
    """Take an EVAL from our primary or from the log for the command that it stands for; False: it is a script."""
    told = marked(argv)
    handler = None if told is None else _MARKERS.get(told[0])
    if told is None or handler is None or not must_obey(client):
        return False
    handler(client, told)
    return True
