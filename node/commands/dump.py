"""DUMP and RESTORE: one value as a portable payload, and back. MIGRATE, which needs both, is in `migrate.py`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import attrs

from slotmesh.cluster.numbers import wrapped
from slotmesh.node.base import errors
from slotmesh.node.base.compat import server_deletion
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.keyspace.access import record_frequencies, record_times
from slotmesh.node.keyspace.database import DELETE
from slotmesh.node.keyspace.notify import GENERIC
from slotmesh.node.persistence.errors import FormatError
from slotmesh.node.persistence.payload import BadPayload, dump_payload, load_payload
from slotmesh.node.resp.values import OK
from slotmesh.node.spec.arguments import integer
from slotmesh.node.spec.key_specs import KEY_READ, key_at
from slotmesh.node.spec.registry import ASKING, DENYOOM, READONLY, WRITE, command
from slotmesh.node.types.hash import HashValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

log = logging.getLogger("node")

_BAD_FORMAT: Final = ErrorReply("ERR Bad data format")
_BAD_TTL: Final = ErrorReply("ERR Invalid TTL value, must be >= 0")
_BAD_IDLE: Final = ErrorReply("ERR Invalid IDLETIME value, must be >= 0")
_BAD_FREQUENCY: Final = ErrorReply("ERR Invalid FREQ value, must be >= 0 and <= 255")

_RESTORE_COMPLEXITY: Final = (
    "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number of "
    "objects composing the value and M their average size."
)


@command(
    "dump",
    arity=2,
    syntax="key",
    flags=READONLY,
    keys=KEY_READ,
    group="generic",
    since="2.6.0",
    complexity="O(1) to access the key and additional O(N*M) to serialize it, N objects of average size M.",
    summary="Returns a serialized representation of the value stored at a key.",
    tips=(b"nondeterministic_output",),
)
def cmd_dump(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.read(argv[1])
    return None if value is None else dump_payload(value, client.server.config.rdbcompression)


@attrs.define
class _Options:
    replace: bool = False
    absolute: bool = False
    idle_s: int | None = None
    frequency: int | None = None


def _parse_options(argv: list[bytes]) -> _Options:
    options = _Options()
    position = 4
    while position < len(argv):
        word = argv[position].upper()
        follows = position + 1 < len(argv)
        if word == b"REPLACE":
            options.replace = True
        elif word == b"ABSTTL":
            options.absolute = True
        elif word == b"IDLETIME" and follows and options.frequency is None:
            position += 1
            options.idle_s = integer(argv[position])
            if options.idle_s < 0:
                raise CommandError(_BAD_IDLE)
        elif word == b"FREQ" and follows and options.idle_s is None:
            position += 1
            options.frequency = integer(argv[position])
            if not 0 <= options.frequency <= 255:
                raise CommandError(_BAD_FREQUENCY)
        else:
            raise CommandError(errors.SYNTAX)
        position += 1
    return options


def _restore(client: NodeClient, argv: list[bytes]) -> Any:
    options = _parse_options(argv)
    key, db = argv[1], client.db
    if not options.replace and db.write(key) is not None:
        raise CommandError(errors.BUSY_KEY)
    ttl_ms = integer(argv[2])
    if ttl_ms < 0:
        raise CommandError(_BAD_TTL)
    try:
        value = load_payload(argv[3], client.server.persistence.verify_checksums)
    except BadPayload:
        raise CommandError(errors.BAD_DUMP) from None
    except FormatError as error:
        log.warning("RESTORE of a damaged payload refused: %s", error)
        raise CommandError(_BAD_FORMAT) from None
    deleted = options.replace and db.delete(key)
    now_ms = db.keyspace.now_ms
    expire_at_ms = 0 if not ttl_ms else ttl_ms if options.absolute else wrapped(ttl_ms + now_ms)
    if expire_at_ms and expire_at_ms <= now_ms and db.keyspace.expiry_mode == DELETE:
        if deleted:
            db.changed(key, GENERIC, b"del")
            client.propagate_as([server_deletion(client.server.config), key])
        return OK
    db.put(key, value)
    if expire_at_ms:
        db.set_expire(key, expire_at_ms)
        if not options.absolute:
            client.propagate_as([*argv[:2], b"%d" % expire_at_ms, *argv[3:], b"ABSTTL"])
    if type(value) is HashValue and value.ttls is not None:
        db.keyspace.field_expiry.note(db.index, key, value)
    config = client.server.config
    if config.maxmemory_policy.endswith("lfu"):
        if options.frequency is not None:
            recorder = record_frequencies(
                client.server.keyspace, client.server.rng, config.lfu_log_factor, config.lfu_decay_time
            )
            recorder.set_frequency(db.index, key, options.frequency)
    elif options.idle_s is not None:
        record_times(client.server.keyspace).set_idle_ms(db.index, key, options.idle_s * 1000)
    db.changed(key, GENERIC, b"restore")
    return OK


command(
    "restore",
    arity=-4,
    syntax="key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
    flags=WRITE | DENYOOM,
    keys=key_at(b"OW", b"UPDATE"),
    group="generic",
    since="2.6.0",
    complexity=_RESTORE_COMPLEXITY,
    summary="Creates a key from the serialized representation of a value.",
    categories=("dangerous",),
)(_restore)

command(
    "restore-asking",
    arity=-4,
    syntax="key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
    flags=WRITE | DENYOOM | ASKING,
    keys=key_at(b"OW", b"UPDATE"),
    group="server",
    since="3.0.0",
    complexity=_RESTORE_COMPLEXITY,
    summary="An internal command for migrating keys in a cluster.",
    categories=("keyspace", "dangerous"),
)(_restore)
