"""HyperLogLog: how many distinct elements were added, in 12 KB at most and with a standard error of 0.81 %."""

from __future__ import annotations

import random
from typing import Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.keyspace.notify import STRING
from slotmesh.node.resp.values import OK, Status
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.key_specs import KEY_INSERT, key_at, keys_from
from slotmesh.node.spec.registry import ADMIN, DENYOOM, FAST, MAY_REPLICATE, READONLY, WRITE, command
from slotmesh.node.types import hyperloglog as hll
from slotmesh.node.types.cardinality import estimate

_NOT_ONE: Final = ErrorReply("WRONGTYPE Key is not a valid HyperLogLog string value.")
_CORRUPT: Final = ErrorReply("INVALIDOBJ Corrupted HLL object detected")
_ENCODINGS: Final = (Status(b"dense"), Status(b"sparse"))


def _checked(value: Any) -> bytes | bytearray:
    """A value that must be a HyperLogLog. Raises WRONGTYPE."""
    if type(value) is not bytes and type(value) is not bytearray:
        raise CommandError(errors.WRONG_TYPE)
    if not hll.is_hyperloglog(value):
        raise CommandError(_NOT_ONE)
    return value


def _editable(client: NodeClient, key: bytes, value: bytes | bytearray) -> bytearray:
    """The value as a bytearray that the key holds."""
    if type(value) is bytearray:
        return value
    data = bytearray(value)
    client.db.put(key, data)
    return data


def _sparse_max(client: NodeClient) -> int:
    return client.server.config.hll_sparse_max_bytes


@command(
    "pfadd",
    arity=-2,
    syntax="key [element [element ...]]",
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_INSERT,
    group="hyperloglog",
    since="2.8.9",
    complexity="O(1) per element",
    summary="Adds elements to a HyperLogLog; 1 when that changes what it knows.",
)
def cmd_pfadd(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    data = db.write(key)
    if type(data) is bytearray and len(argv) == 3:
        rose = hll.add_dense(data, argv[2])
        if rose is False:
            return 0  # which is what most calls come to
        if rose:
            db.changed(key, STRING, b"pfadd")
            return 1
    updates = 0
    if data is None:
        data = hll.new()
        db.put(key, data)
        updates = 1
    elif type(data) is not bytearray or not hll.is_hyperloglog(data):
        data = _editable(client, key, _checked(data))
    limit = client.server.config.hll_sparse_max_bytes
    try:
        for element in argv[2:]:
            rose = hll.add_dense(data, element)
            updates += hll.add(data, element, limit) if rose is None else rose
    except hll.CorruptHyperLogLog:
        raise CommandError(_CORRUPT) from None
    if not updates:
        return 0
    hll.invalidate(data)  # that of a new one, too, though nothing was added
    db.changed(key, STRING, b"pfadd", updates)
    return 1


@command(
    "pfcount",
    arity=-2,
    syntax="key [key ...]",
    flags=READONLY | MAY_REPLICATE,
    keys=keys_from(b"RW", b"ACCESS"),  # it may refresh the cached count
    group="hyperloglog",
    since="2.8.9",
    complexity="O(1) for one key, O(N) for N keys",
    summary="Estimates the number of distinct elements in one HyperLogLog or in the union of several.",
)
def cmd_pfcount(client: NodeClient, argv: list[bytes]) -> Any:
    db = client.db
    try:
        if len(argv) > 2:
            return estimate(_union(client, argv[1:])[0])
        key = argv[1]
        found = db.read(key)
        if found is None:
            return 0
        value = _checked(found)
        count = hll.cached_count(value)
        if count is None:
            count = estimate(hll.registers(value))
            hll.set_cached_count(_editable(client, key, value), count)
            db.changed(key, 0, b"")  # the cache is part of the value; it has no event of its own
        return count
    except hll.CorruptHyperLogLog:
        raise CommandError(_CORRUPT) from None


def _union(client: NodeClient, keys: list[bytes]) -> tuple[bytearray, bool]:
    """(merged registers, whether one of the values is dense)."""
    files: list[bytearray] = []
    dense = False
    for key in keys:
        found = client.db.read(key)
        if found is not None:
            value = _checked(found)
            files.append(hll.registers(value))
            dense = dense or value[4] == hll.DENSE
    return hll.merge(files), dense


@command(
    "pfmerge",
    arity=-2,
    syntax="destkey [sourcekey [sourcekey ...]]",
    flags=WRITE | DENYOOM,
    keys=key_at(b"RW", b"ACCESS", b"INSERT") + keys_from(b"RO", b"ACCESS", first=2),
    group="hyperloglog",
    since="2.8.9",
    complexity="O(N), N the number of keys",
    summary="Merges HyperLogLogs into the first one.",
)
def cmd_pfmerge(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    try:
        merged, dense = _union(client, argv[1:])
        value = db.write(key)
        if value is None:
            data = hll.new()
            db.put(key, data)
        else:
            data = _editable(client, key, value)
        hll.store(data, merged, _sparse_max(client), dense)
    except hll.CorruptHyperLogLog:
        raise CommandError(_CORRUPT) from None
    db.changed(key, STRING, b"pfadd")
    return OK


@command(
    "pfdebug",
    arity=3,
    syntax="subcommand key",
    flags=WRITE | DENYOOM | ADMIN,
    keys=key_at(b"RW", b"ACCESS", index=2),
    group="hyperloglog",
    since="2.8.9",
    complexity="N/A",
    summary="Shows or changes the inside of a HyperLogLog, for tests.",
)
def cmd_pfdebug(client: NodeClient, argv: list[bytes]) -> Any:
    db, word, key = client.db, argv[1].upper(), argv[2]
    value = db.write(key)
    if value is None:
        raise CommandError("ERR The specified key does not exist")
    data = _editable(client, key, _checked(value))
    try:
        if word == b"GETREG":
            db.keyspace.dirty += hll.make_dense(data)
            return list(hll.registers(data))
        if word == b"DECODE":
            if data[4] != hll.SPARSE:
                raise CommandError("ERR HLL encoding is not sparse")
            return b" ".join(_opcode_text(*opcode) for opcode in hll.opcodes(data))
        if word == b"ENCODING":
            return _ENCODINGS[data[4]]
        if word == b"TODENSE":
            converted = hll.make_dense(data)
            db.keyspace.dirty += converted
            return int(converted)
    except hll.CorruptHyperLogLog:
        raise CommandError(_CORRUPT) from None
    raise CommandError(b"ERR Unknown PFDEBUG subcommand '%b'" % argv[1])


def _opcode_text(value: int, run: int, extended: bool) -> bytes:
    if value:
        return b"v:%d,%d" % (value, run)
    return b"%b:%d" % (b"Z" if extended else b"z", run)


@command(
    "pfselftest",
    arity=1,
    flags=ADMIN,
    group="hyperloglog",
    since="2.8.9",
    complexity="N/A",
    summary="Checks registers, encodings and estimates of HyperLogLogs against each other.",
)
def cmd_pfselftest(client: NodeClient, argv: list[bytes]) -> Any:
    failure = _failure(client.server.rng, _sparse_max(client))
    if failure:
        raise CommandError(f"TESTFAILED {failure}")
    return OK


def _failure(rng: random.Random, sparse_max: int) -> str:
    """What is wrong with HyperLogLogs, or nothing."""
    wanted = bytearray(rng.randrange(64) for _ in range(hll.REGISTERS))
    data = hll.new()
    for index, value in enumerate(wanted):
        hll.raise_register(data, index, value, 0)
    if hll.registers(data) != wanted:
        return "registers do not hold what was stored"
    sparse, dense = hll.new(), hll.new()
    hll.make_dense(dense)
    seed = rng.getrandbits(64)
    checkpoint = 1
    for number in range(1, 100_001):
        element = (number ^ seed).to_bytes(8, "little")
        hll.add(dense, element, sparse_max)
        if number <= 1000:
            hll.add(sparse, element, sparse_max)
        if number != checkpoint:
            continue
        count = estimate(hll.registers(dense))
        if number <= 1000 and hll.registers(sparse) != hll.registers(dense):
            return "sparse and dense disagree"
        # Six standard errors, but one more at least: a collision among ten is no failure.
        if abs(count - number) > max(1, 6 * 0.0081 * number):
            return f"Too big error. card:{number} abserr:{abs(count - number)}"
        checkpoint *= 10
    return ""
