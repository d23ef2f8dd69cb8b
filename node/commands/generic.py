"""Keys, whatever they hold: deleting, naming, copying, listing.

DEL and UNLINK do the same here: a large value leaves the keyspace at once in both, and its memory is given back in
steps (`keyspace/lazy_free.py`), so neither can hold up other clients.
"""

from __future__ import annotations

from typing import Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.base.glob import compile_glob
from slotmesh.node.keyspace.database import DELETE, Database
from slotmesh.node.keyspace.notify import GENERIC
from slotmesh.node.keyspace.random_keys import random_key
from slotmesh.node.resp.values import OK, Status
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.arguments import int32
from slotmesh.node.spec.key_specs import KeySpec, key_at, keys_from
from slotmesh.node.spec.registry import DENYOOM, FAST, READONLY, WRITE, command
from slotmesh.node.types.hash import HashValue

_KEY_LOOK: Final = key_at(b"RO")
_KEYS_LOOK: Final = keys_from(b"RO")
_KEYS_REMOVE: Final = keys_from(b"RM", b"DELETE")
_SUM_OVER_SHARDS: Final = (b"request_policy:multi_shard", b"response_policy:agg_sum")
_NO_TYPE: Final = Status(b"none")
_STRING_TYPE: Final = Status(b"string")
_TYPES: Final[dict[bytes, Status]] = {}
#: How often RANDOMKEY looks for a key that is not past its expiry, on a node that may not remove those (as stock).
_RANDOM_TRIES: Final = 100


def _two_keys(first: tuple[bytes, ...], second: tuple[bytes, ...]) -> tuple[KeySpec, ...]:
    return key_at(*first) + key_at(*second, index=2)


# -- removing and counting ---------------------------------------------------------------------------------------------


@command(
    "del",
    arity=-2,
    syntax="key [key ...]",
    flags=WRITE,
    keys=_KEYS_REMOVE,
    group="generic",
    since="1.0.0",
    complexity="O(N), N the number of keys; large values are freed in the background",
    summary="Deletes keys.",
    tips=_SUM_OVER_SHARDS,
)
def cmd_del(client: NodeClient, argv: list[bytes]) -> Any:
    db = client.db
    removed = 0
    for key in argv[1:]:
        if not db.expire_if_past(key) and db.delete(key):
            db.changed(key, GENERIC, b"del")
            removed += 1
    return removed


@command(
    "unlink",
    arity=-2,
    syntax="key [key ...]",
    flags=WRITE | FAST,
    keys=_KEYS_REMOVE,
    group="generic",
    since="4.0.0",
    complexity="O(1) per key; large values are freed in the background",
    summary="Deletes keys and frees their memory in the background.",
    tips=_SUM_OVER_SHARDS,
)
def cmd_unlink(client: NodeClient, argv: list[bytes]) -> Any:
    return cmd_del(client, argv)


@command(
    "exists",
    arity=-2,
    syntax="key [key ...]",
    flags=READONLY | FAST,
    keys=_KEYS_LOOK,
    group="generic",
    since="1.0.0",
    complexity="O(N), N the number of keys",
    summary="Counts those of the keys that exist; a key named twice counts twice.",
    tips=_SUM_OVER_SHARDS,
)
def cmd_exists(client: NodeClient, argv: list[bytes]) -> Any:
    look = client.db.look
    return sum(1 for key in argv[1:] if look(key) is not None)


@command(
    "touch",
    arity=-2,
    syntax="key [key ...]",
    flags=READONLY | FAST,
    keys=_KEYS_LOOK,
    group="generic",
    since="3.2.1",
    complexity="O(N), N the number of keys",
    summary="Counts those of the keys that exist and records that they were used.",
    tips=_SUM_OVER_SHARDS,
)
def cmd_touch(client: NodeClient, argv: list[bytes]) -> Any:
    read = client.db.read
    return sum(1 for key in argv[1:] if read(key) is not None)


@command(
    "type",
    arity=2,
    syntax="key",
    flags=READONLY | FAST,
    keys=_KEY_LOOK,
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Names the type of the value that a key holds.",
)
def cmd_type(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.look(argv[1])
    if value is None:
        return _NO_TYPE
    if type(value) is bytes:
        return _STRING_TYPE
    word = type_word(value)
    status = _TYPES.get(word)
    if status is None:
        status = _TYPES[word] = Status(word)
    return status


def type_word(value: Any) -> bytes:
    """The word of the TYPE command for a value."""
    if type(value) is bytes or type(value) is bytearray:
        return b"string"
    word: bytes = value.TYPE
    return word


# -- naming and copying ------------------------------------------------------------------------------------------------


@command(
    "rename",
    arity=3,
    syntax="key newkey",
    flags=WRITE,
    keys=_two_keys((b"RW", b"ACCESS", b"DELETE"), (b"OW", b"UPDATE")),
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Gives a key another name; a key that has that name is overwritten.",
)
def cmd_rename(client: NodeClient, argv: list[bytes]) -> Any:
    _rename(client, argv[1], argv[2], overwrite=True)
    return OK


@command(
    "renamenx",
    arity=3,
    syntax="key newkey",
    flags=WRITE | FAST,
    keys=_two_keys((b"RW", b"ACCESS", b"DELETE"), (b"OW", b"INSERT")),
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Gives a key another name, unless a key has that name.",
)
def cmd_renamenx(client: NodeClient, argv: list[bytes]) -> Any:
    return 1 if _rename(client, argv[1], argv[2], overwrite=False) else 0


def _rename(client: NodeClient, source: bytes, target: bytes, *, overwrite: bool) -> bool:
    """Move a value to another key; False when nothing was to be done. Raises CommandError without a source."""
    db = client.db
    if db.write(source) is None:
        raise CommandError(errors.NO_SUCH_KEY)
    if source == target:
        return False
    if db.write(target) is not None:
        if not overwrite:
            return False
        db.delete(target)
    _store(db, target, *db.take(source))
    db.changed(source, GENERIC, b"rename_from")
    db.changed(target, GENERIC, b"rename_to", 0)
    return True


def _store(db: Database, key: bytes, value: Any, at_ms: int | None) -> None:
    db.put(key, value)
    if at_ms is not None:
        db.set_expire(key, at_ms)
    if type(value) is HashValue:
        db.keyspace.field_expiry.note(db.index, key, value)


def database_at(client: NodeClient, text: bytes) -> Database:
    """The database of an index argument. Raises CommandError when there is none."""
    index = int32(text)
    dbs = client.server.keyspace.dbs
    if not 0 <= index < len(dbs):
        raise CommandError(errors.DB_INDEX)
    return dbs[index]


@command(
    "move",
    arity=3,
    syntax="key db",
    flags=WRITE | FAST,
    keys=key_at(b"RW", b"ACCESS", b"UPDATE"),
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Moves a key to another database.",
)
def cmd_move(client: NodeClient, argv: list[bytes]) -> Any:
    source, key = client.db, argv[1]
    if source.keyspace.clustered:
        raise CommandError("ERR MOVE is not allowed in cluster mode")
    target = database_at(client, argv[2])
    if target is source:
        raise CommandError(errors.SAME_OBJECT)
    if source.write(key) is None or target.write(key) is not None:
        return 0
    _store(target, key, *source.take(key))
    source.changed(key, GENERIC, b"move_from")
    target.changed(key, GENERIC, b"move_to", 0)
    return 1


@command(
    "copy",
    arity=-3,
    syntax="source destination [DB destination-db] [REPLACE]",
    flags=WRITE | DENYOOM,
    keys=_two_keys((b"RO", b"ACCESS"), (b"OW", b"UPDATE")),
    group="generic",
    since="6.2.0",
    complexity="O(N), N the elements of the value; O(1) for strings",
    summary="Copies the value of a key to another key.",
)
def cmd_copy(client: NodeClient, argv: list[bytes]) -> Any:
    source = target = client.db
    replace = False
    i = 3
    while i < len(argv):
        word = argv[i].upper()
        if word == b"REPLACE":
            replace = True
        elif word == b"DB" and i + 1 < len(argv):
            i += 1
            target = database_at(client, argv[i])
        else:
            raise CommandError(errors.SYNTAX)
        i += 1
    key, new_key = argv[1], argv[2]
    if source is target and key == new_key:
        raise CommandError(errors.SAME_OBJECT)
    value = source.read(key)
    if value is None:
        return 0
    at_ms = source.expire_at(key)
    if target.write(new_key) is not None:
        if not replace:
            return 0
        target.delete(new_key)
    _store(target, new_key, value if type(value) is bytes else value.copy(), at_ms)
    target.changed(new_key, GENERIC, b"copy_to")
    return 1


# -- listing -----------------------------------------------------------------------------------------------------------


@command(
    "keys",
    arity=2,
    syntax="pattern",
    flags=READONLY,
    group="generic",
    since="1.0.0",
    complexity="O(N), N the number of keys in the database",
    summary="Lists all keys whose names fit a pattern.",
    categories=("dangerous",),
    tips=(b"request_policy:all_shards", b"nondeterministic_output_order"),
)
def cmd_keys(client: NodeClient, argv: list[bytes]) -> Any:
    db, pattern = client.db, argv[1]
    glob = compile_glob(pattern)
    if glob.literal is not None:
        return [] if db.peek(glob.literal) is None else [glob.literal]
    keys = db.keys() if pattern == b"*" else db.keys_that(glob.fits)
    timed = db.expires
    return [key for key in keys if key not in timed or not db.is_past(key)] if timed else keys


@command(
    "randomkey",
    arity=1,
    flags=READONLY,
    group="generic",
    since="1.0.0",
    complexity="O(1)",
    summary="Names a key picked at random.",
    tips=(b"request_policy:all_shards", b"nondeterministic_output"),
)
def cmd_randomkey(client: NodeClient, argv: list[bytes]) -> Any:
    db, rng = client.db, client.server.rng
    tries = _RANDOM_TRIES
    while True:
        key = random_key(db, rng)
        if key is None or not db.expire_if_past(key):
            return key
        if db.keyspace.expiry_mode != DELETE:
            tries -= 1
            if not tries:
                return key
