"""Hash commands but for the expiry of fields (`hash_expiry.py`).

Hashes are looked up through `read_hash` and `write_hash`, which see to fields whose time has come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.keyspace.field_expiry import read_hash, write_hash
from slotmesh.node.keyspace.notify import HASH
from slotmesh.node.resp.values import OK, Pairs
from slotmesh.node.spec.arguments import integer, negatable, random_count, to_int64
from slotmesh.node.spec.key_specs import KEY_ACCESS_UPDATE, KEY_DELETE, KEY_INSERT, KEY_READ, KEY_UPDATE, key_at
from slotmesh.node.spec.registry import DENYOOM, FAST, READONLY, WRITE, command
from slotmesh.node.types import long_double
from slotmesh.node.types.hash import HashValue

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_KEY_LOOK: Final = key_at(b"RO")
_ANY_ORDER: Final = (b"nondeterministic_output_order",)
_ANY_OUTPUT: Final = (b"nondeterministic_output",)
_NOT_INTEGER: Final = ErrorReply("ERR hash value is not an integer")
_NOT_FLOAT: Final = ErrorReply("ERR hash value is not a float")
_INFINITE: Final = ErrorReply("ERR value is NaN or Infinity")
_WOULD_BE_INFINITE: Final = ErrorReply("ERR increment would produce NaN or Infinity")


def _open(client: NodeClient, key: bytes) -> HashValue:
    """The hash of `key`, made if need be."""
    value = write_hash(client.db, key)
    if value is None:
        value = HashValue()
        client.db.put(key, value)
    return value


@command(
    "hset",
    arity=-4,
    syntax="key field value [field value ...]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_UPDATE,
    group="hash",
    since="2.0.0",
    complexity="O(N), N the number of pairs",
    summary="Stores fields in a hash; the number of new ones.",
)
def cmd_hset(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) & 1:
        raise CommandError(errors.wrong_arity(b"hset"))
    db, key = client.db, argv[1]
    value = write_hash(db, key)
    if value is None:
        value = db.create(key, None, HashValue)
    if len(argv) > 4:
        added = value.update(argv[2:])
        db.changed(key, HASH, b"hset", (len(argv) >> 1) - 1)
        db.changed_fields(key, b"hset", argv[2::2])
        return added
    new = value.set(argv[2], argv[3])
    keyspace = db.keyspace
    keyspace.dirty += 1  # `changed`, written out
    if keyspace.observed:
        keyspace.on_changed(db.index, key, HASH, b"hset")
        db.changed_fields(key, b"hset", argv[2:3])
    return 1 if new else 0


@command(
    "hmset",
    arity=-4,
    syntax="key field value [field value ...]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_UPDATE,
    group="hash",
    since="2.0.0",
    complexity="O(N), N the number of pairs",
    summary="Stores fields in a hash.",
    deprecated=("4.0.0", "`HSET` with multiple field-value pairs"),
)
def cmd_hmset(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) & 1:
        raise CommandError(errors.wrong_arity(b"hmset"))
    cmd_hset(client, argv)
    return OK


@command(
    "hsetnx",
    arity=4,
    syntax="key field value",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_INSERT,
    group="hash",
    since="2.0.0",
    complexity="O(1)",
    summary="Stores a field unless the hash has it.",
)
def cmd_hsetnx(client: NodeClient, argv: list[bytes]) -> Any:
    _, key, field, text = argv
    value = _open(client, key)
    if field in value.fields:
        return 0
    value.set(field, text)
    client.db.changed(key, HASH, b"hset")
    client.db.changed_fields(key, b"hset", argv[2:3])
    return 1


@command(
    "hget",
    arity=3,
    syntax="key field",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="hash",
    since="2.0.0",
    complexity="O(1)",
    summary="Returns a field.",
)
def cmd_hget(client: NodeClient, argv: list[bytes]) -> Any:
    value = read_hash(client.db, argv[1])
    return None if value is None else value.fields.get(argv[2])


@command(
    "hmget",
    arity=-3,
    syntax="key field [field ...]",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="hash",
    since="2.0.0",
    complexity="O(N), N the number of fields asked for",
    summary="Returns several fields.",
)
def cmd_hmget(client: NodeClient, argv: list[bytes]) -> Any:
    value = read_hash(client.db, argv[1])
    if value is None:
        return [None] * (len(argv) - 2)
    get = value.fields.get
    return [get(field) for field in argv[2:]]


@command(
    "hgetall",
    arity=2,
    syntax="key",
    flags=READONLY,
    keys=KEY_READ,
    group="hash",
    since="2.0.0",
    complexity="O(N), N the size of the hash",
    summary="Returns all fields and their values.",
    tips=_ANY_ORDER,
)
def cmd_hgetall(client: NodeClient, argv: list[bytes]) -> Any:
    value = read_hash(client.db, argv[1])
    return {} if value is None else value.fields.copy()


@command(
    "hkeys",
    arity=2,
    syntax="key",
    flags=READONLY,
    keys=KEY_READ,
    group="hash",
    since="2.0.0",
    complexity="O(N), N the size of the hash",
    summary="Returns the names of all fields.",
    tips=_ANY_ORDER,
)
def cmd_hkeys(client: NodeClient, argv: list[bytes]) -> Any:
    value = read_hash(client.db, argv[1])
    return [] if value is None else list(value.fields)


@command(
    "hvals",
    arity=2,
    syntax="key",
    flags=READONLY,
    keys=KEY_READ,
    group="hash",
    since="2.0.0",
    complexity="O(N), N the size of the hash",
    summary="Returns the values of all fields.",
    tips=_ANY_ORDER,
)
def cmd_hvals(client: NodeClient, argv: list[bytes]) -> Any:
    value = read_hash(client.db, argv[1])
    return [] if value is None else list(value.fields.values())


@command(
    "hlen",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=_KEY_LOOK,
    group="hash",
    since="2.0.0",
    complexity="O(1)",
    summary="Returns the number of fields.",
)
def cmd_hlen(client: NodeClient, argv: list[bytes]) -> Any:
    value = read_hash(client.db, argv[1])
    return 0 if value is None else len(value.fields)


@command(
    "hexists",
    arity=3,
    syntax="key field",
    flags=READONLY | FAST,
    keys=_KEY_LOOK,
    group="hash",
    since="2.0.0",
    complexity="O(1)",
    summary="Tells whether a field exists.",
)
def cmd_hexists(client: NodeClient, argv: list[bytes]) -> Any:
    value = read_hash(client.db, argv[1])
    return 1 if value is not None and argv[2] in value.fields else 0


@command(
    "hstrlen",
    arity=3,
    syntax="key field",
    flags=READONLY | FAST,
    keys=_KEY_LOOK,
    group="hash",
    since="3.2.0",
    complexity="O(1)",
    summary="Returns the length of a field's value.",
)
def cmd_hstrlen(client: NodeClient, argv: list[bytes]) -> Any:
    value = read_hash(client.db, argv[1])
    return 0 if value is None else len(value.fields.get(argv[2], b""))


@command(
    "hdel",
    arity=-3,
    syntax="key field [field ...]",
    flags=WRITE | FAST,
    keys=KEY_DELETE,
    group="hash",
    since="2.0.0",
    complexity="O(N), N the number of fields to remove",
    summary="Removes fields; the hash goes with its last one.",
)
def cmd_hdel(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    value = write_hash(db, key)
    if value is None:
        return 0
    removed = [field for field in argv[2:] if value.remove(field)]
    if removed:
        db.changed(key, HASH, b"hdel", len(removed))
        db.changed_fields(key, b"hdel", removed)
        db.drop_if_empty(key, value)
    return len(removed)


@command(
    "hincrby",
    arity=4,
    syntax="key field increment",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_ACCESS_UPDATE,
    group="hash",
    since="2.0.0",
    complexity="O(1)",
    summary="Adds an integer to a field; a missing one counts as 0.",
)
def cmd_hincrby(client: NodeClient, argv: list[bytes]) -> Any:
    _, key, field, text = argv
    step = integer(text)
    value = _open(client, key)
    old = value.fields.get(field)
    number = 0 if old is None else to_int64(old)
    if number is None:
        raise CommandError(_NOT_INTEGER)
    number += step
    if not -(1 << 63) <= number < 1 << 63:
        raise CommandError(errors.INCREMENT_OVERFLOW)
    value.replace(field, b"%d" % number)
    client.db.changed(key, HASH, b"hincrby")
    client.db.changed_fields(key, b"hincrby", argv[2:3])
    return number


@command(
    "hincrbyfloat",
    arity=4,
    syntax="key field increment(double)",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_ACCESS_UPDATE,
    group="hash",
    since="2.6.0",
    complexity="O(1)",
    summary="Adds a decimal number to a field; a missing one counts as 0.",
)
def cmd_hincrbyfloat(client: NodeClient, argv: list[bytes]) -> Any:
    """Propagated as HSET of the result, so that no replica has to round the same way."""
    _, key, field, text = argv
    step = long_double.parse(text)
    if step is None:
        raise CommandError(errors.NOT_FLOAT)
    if isinstance(step, float):
        raise CommandError(_INFINITE)
    value = _open(client, key)
    old = long_double.parse(value.fields.get(field, b"0"))
    if old is None:
        raise CommandError(_NOT_FLOAT)
    total = long_double.add(old, step)
    if total is None or isinstance(total, float):
        raise CommandError(_WOULD_BE_INFINITE)
    result = long_double.format_plain(total)
    value.replace(field, result)
    client.db.changed(key, HASH, b"hincrbyfloat")
    client.db.changed_fields(key, b"hincrbyfloat", argv[2:3])
    told = [[b"HSET", key, field, result]]
    if value.ttls is not None and field in value.ttls:  # HSET takes the field's expiry away
        told.append([b"HPEXPIREAT", key, b"%d" % value.ttls[field], b"FIELDS", b"1", field])
    client.propagate_as(*told)
    return result


@command(
    "hrandfield",
    arity=-2,
    syntax="key [count [WITHVALUES]]",
    flags=READONLY,
    keys=KEY_READ,
    group="hash",
    since="6.2.0",
    complexity="O(N), N the number of fields returned",
    summary="Returns random fields.",
    tips=_ANY_OUTPUT,
)
def cmd_hrandfield(client: NodeClient, argv: list[bytes]) -> Any:
    """A positive count gives distinct fields, a negative one exactly that many, repeats allowed."""
    rng = client.server.rng
    if len(argv) == 2:
        value = read_hash(client.db, argv[1])
        return None if value is None else value.random_field(rng)
    with_values = len(argv) == 4
    if len(argv) > 4 or (with_values and argv[3].lower() != b"withvalues"):
        negatable(argv[2])
        raise CommandError(errors.SYNTAX)
    count = random_count(argv[2], with_values)
    value = read_hash(client.db, argv[1])
    if value is None or not count:
        return []
    fields = value.fields
    if count < 0:
        names = [value.random_field(rng) for _ in range(-count)]
    elif count >= len(fields):
        names = list(fields)
    elif count * 3 > len(fields):
        names = rng.sample(list(fields), count)
    else:
        chosen: dict[bytes, None] = {}
        while len(chosen) < count:
            chosen[value.random_field(rng)] = None
        names = list(chosen)
    return Pairs([(name, fields[name]) for name in names]) if with_values else names
