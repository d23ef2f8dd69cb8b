"""Commands about the expiry of single hash fields: HEXPIRE and kin, HTTL and kin, HPERSIST.

The 7.0 line knows none of them; replies and error texts are those of Redis 7.4, which Valkey 9 shares. AOF and replicas
get absolute times only: HPEXPIREAT, HDEL, HPERSIST. The parts shared with `hash_getex.py` have public names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.keyspace.database import DELETE
from slotmesh.node.keyspace.field_expiry import read_hash, write_hash
from slotmesh.node.keyspace.notify import HASH
from slotmesh.node.spec.arguments import integer, integer_between
from slotmesh.node.spec.key_specs import KEY_READ, KEY_UPDATE
from slotmesh.node.spec.registry import DENYOOM, FAST, READONLY, WRITE, command
from slotmesh.node.types.hash import LATEST_EXPIRY_MS, HashValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

NO_FIELD: Final = -2
NO_TTL: Final = -1
NOT_MET: Final = 0
DONE: Final = 1
DELETED: Final = 2

_MAX_COUNT: Final = 2**63 - 1
_NEGATIVE: Final = ErrorReply("ERR invalid expire time, must be >= 0")
_NO_FIELDS_WORD: Final = ErrorReply("ERR Mandatory argument FIELDS is missing or not at the right position")
_COUNT_BELOW_ONE: Final = ErrorReply("ERR Parameter `numFields` should be greater than 0")
_COUNT_NOT_POSITIVE: Final = ErrorReply("ERR Number of fields must be a positive integer")
_COUNT_MISMATCH: Final = ErrorReply("ERR The `numfields` parameter must match the number of arguments")
_CONDITIONS: Final = frozenset((b"NX", b"XX", b"GT", b"LT"))


def field_list(argv: list[bytes], at: int, width: int = 1, error: ErrorReply = _COUNT_NOT_POSITIVE) -> list[bytes]:
    """The arguments behind `FIELDS count` at index `at`; `width` arguments belong to each field."""
    if at + 1 >= len(argv) or argv[at].upper() != b"FIELDS":
        raise CommandError(_NO_FIELDS_WORD)
    count = integer_between(argv[at + 1], 1, _MAX_COUNT, error)
    if count * width != len(argv) - at - 2:
        raise CommandError(_COUNT_MISMATCH)
    return argv[at + 2 :]


def absolute_ms(client: NodeClient, text: bytes, unit_ms: int, relative: bool, name: bytes) -> int:
    """A time argument as Unix time in ms. Raises CommandError when negative or beyond the range."""
    number = integer(text)
    if number < 0:
        raise CommandError(_NEGATIVE)
    at_ms = number * unit_ms + (client.server.keyspace.now_ms if relative else 0)
    if at_ms > LATEST_EXPIRY_MS:
        raise CommandError(errors.invalid_expire(name))
    return at_ms


def _condition_holds(condition: bytes, old: int | None, at_ms: int) -> bool:
    """Whether a field with expiry `old` may get `at_ms`; no expiry counts as one that never comes."""
    if condition == b"NX":
        return old is None
    if condition == b"XX":
        return old is not None
    if condition == b"GT":
        return old is not None and at_ms > old
    if condition == b"LT":
        return old is None or at_ms < old
    return True


def may_delete(client: NodeClient, at_ms: int) -> bool:
    """True when a field with this expiry is to be deleted at once; a replica leaves that to its primary."""
    keyspace = client.server.keyspace
    return at_ms <= keyspace.now_ms and keyspace.expiry_mode == DELETE


class FieldChanges:
    """What one command did to the fields of a hash: for events, propagation and the dirty count."""

    __slots__ = ("deleted", "expired", "persisted")

    def __init__(self) -> None:
        self.expired: list[bytes] = []
        self.deleted: list[bytes] = []
        self.persisted: list[bytes] = []

    def report(self, client: NodeClient, key: bytes, value: HashValue, at_ms: int = 0) -> None:
        """Events in stock's order, and commands with absolute times for AOF and replicas."""
        db = client.db
        commands: list[list[bytes]] = []
        if self.expired:
            commands.append([b"HPEXPIREAT", key, b"%d" % at_ms, b"FIELDS", b"%d" % len(self.expired), *self.expired])
            db.changed(key, HASH, b"hexpire", len(self.expired))
            db.changed_fields(key, b"hexpire", self.expired)
            db.keyspace.field_expiry.note(db.index, key, value)
        if self.persisted:
            commands.append([b"HPERSIST", key, b"FIELDS", b"%d" % len(self.persisted), *self.persisted])
            db.changed(key, HASH, b"hpersist")
            db.changed_fields(key, b"hpersist", self.persisted)
        if self.deleted:
            commands.append([b"HDEL", key, *self.deleted])
            db.changed(key, HASH, b"hdel", len(self.deleted))
            db.changed_fields(key, b"hdel", self.deleted)
            db.drop_if_empty(key, value)
        if commands:
            client.propagate_as(*commands)


def _expire_fields(client: NodeClient, argv: list[bytes], name: bytes, unit_ms: int, relative: bool) -> list[int]:
    """HEXPIRE and kin: a result code per field."""
    db, key = client.db, argv[1]
    value = write_hash(db, key)
    at_ms = absolute_ms(client, argv[2], unit_ms, relative, name)
    condition = argv[3].upper()
    if condition in _CONDITIONS:
        fields = field_list(argv, 4, error=_COUNT_BELOW_ONE)
    else:
        condition = b""
        fields = field_list(argv, 3, error=_COUNT_BELOW_ONE)
    if value is None:
        return [NO_FIELD] * len(fields)
    changes = FieldChanges()
    codes: list[int] = []
    for field in fields:
        if field not in value.fields:
            codes.append(NO_FIELD)
        elif condition and not _condition_holds(condition, (value.ttls or {}).get(field), at_ms):
            codes.append(NOT_MET)
        elif may_delete(client, at_ms):
            value.remove(field)
            changes.deleted.append(field)
            codes.append(DELETED)
        else:
            value.set_ttl(field, at_ms)
            changes.expired.append(field)
            codes.append(DONE)
    db.keyspace.field_expiry.expired += len(changes.deleted)
    changes.report(client, key, value, at_ms)
    return codes


@command(
    "hexpire",
    arity=-6,
    syntax="key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_UPDATE,
    group="hash",
    since="7.4.0",
    complexity="O(N), N the number of fields named",
    summary="Gives hash fields an expiry in seconds from now.",
)
def cmd_hexpire(client: NodeClient, argv: list[bytes]) -> Any:
    return _expire_fields(client, argv, b"hexpire", 1000, True)


@command(
    "hpexpire",
    arity=-6,
    syntax="key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_UPDATE,
    group="hash",
    since="7.4.0",
    complexity="O(N), N the number of fields named",
    summary="Gives hash fields an expiry in milliseconds from now.",
)
def cmd_hpexpire(client: NodeClient, argv: list[bytes]) -> Any:
    return _expire_fields(client, argv, b"hpexpire", 1, True)


@command(
    "hexpireat",
    arity=-6,
    syntax="key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_UPDATE,
    group="hash",
    since="7.4.0",
    complexity="O(N), N the number of fields named",
    summary="Gives hash fields an expiry at a Unix time in seconds.",
)
def cmd_hexpireat(client: NodeClient, argv: list[bytes]) -> Any:
    return _expire_fields(client, argv, b"hexpireat", 1000, False)


@command(
    "hpexpireat",
    arity=-6,
    syntax="key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_UPDATE,
    group="hash",
    since="7.4.0",
    complexity="O(N), N the number of fields named",
    summary="Gives hash fields an expiry at a Unix time in milliseconds.",
)
def cmd_hpexpireat(client: NodeClient, argv: list[bytes]) -> Any:
    return _expire_fields(client, argv, b"hpexpireat", 1, False)


def _field_times(client: NodeClient, argv: list[bytes], unit_ms: int, relative: bool) -> list[int]:
    """HTTL and kin: a time, or a negative code, per field. Seconds round up, as a field lives that long."""
    value = read_hash(client.db, argv[1])
    fields = field_list(argv, 2)
    if value is None:
        return [NO_FIELD] * len(fields)
    base = client.server.keyspace.now_ms if relative else 0
    ttls = value.ttls or {}
    found: list[int] = []
    for field in fields:
        at_ms = ttls.get(field)
        if at_ms is None:
            found.append(NO_TTL if field in value.fields else NO_FIELD)
        else:
            found.append((at_ms - base + unit_ms - 1) // unit_ms)
    return found


@command(
    "httl",
    arity=-5,
    syntax="key FIELDS numfields field [field ...]",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="hash",
    since="7.4.0",
    complexity="O(N), N the number of fields named",
    summary="Returns how many seconds hash fields have left.",
    tips=(b"nondeterministic_output",),
)
def cmd_httl(client: NodeClient, argv: list[bytes]) -> Any:
    return _field_times(client, argv, 1000, True)


@command(
    "hpttl",
    arity=-5,
    syntax="key FIELDS numfields field [field ...]",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="hash",
    since="7.4.0",
    complexity="O(N), N the number of fields named",
    summary="Returns how many milliseconds hash fields have left.",
    tips=(b"nondeterministic_output",),
)
def cmd_hpttl(client: NodeClient, argv: list[bytes]) -> Any:
    return _field_times(client, argv, 1, True)


@command(
    "hexpiretime",
    arity=-5,
    syntax="key FIELDS numfields field [field ...]",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="hash",
    since="7.4.0",
    complexity="O(N), N the number of fields named",
    summary="Returns the Unix time in seconds at which hash fields expire.",
)
def cmd_hexpiretime(client: NodeClient, argv: list[bytes]) -> Any:
    return _field_times(client, argv, 1000, False)


@command(
    "hpexpiretime",
    arity=-5,
    syntax="key FIELDS numfields field [field ...]",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="hash",
    since="7.4.0",
    complexity="O(N), N the number of fields named",
    summary="Returns the Unix time in milliseconds at which hash fields expire.",
)
def cmd_hpexpiretime(client: NodeClient, argv: list[bytes]) -> Any:
    return _field_times(client, argv, 1, False)


@command(
    "hpersist",
    arity=-5,
    syntax="key FIELDS numfields field [field ...]",
    flags=WRITE | FAST,
    keys=KEY_UPDATE,
    group="hash",
    since="7.4.0",
    complexity="O(N), N the number of fields named",
    summary="Takes the expiry of hash fields away.",
)
def cmd_hpersist(client: NodeClient, argv: list[bytes]) -> Any:
    value = write_hash(client.db, argv[1])
    fields = field_list(argv, 2)
    if value is None:
        return [NO_FIELD] * len(fields)
    codes = [(DONE if value.clear_ttl(field) else NO_TTL) if field in value.fields else NO_FIELD for field in fields]
    if DONE in codes:
        client.db.changed(argv[1], HASH, b"hpersist")
        persisted = [field for field, code in zip(fields, codes, strict=True) if code == DONE]
        client.db.changed_fields(argv[1], b"hpersist", persisted)
    return codes
