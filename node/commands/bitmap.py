"""Strings as arrays of bits, and of integers of any width (BITFIELD)."""

from __future__ import annotations

from typing import Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.string_options import editable_string, longest_string, read_string
from slotmesh.node.keyspace.notify import GENERIC, STRING
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.arguments import integer, to_int64
from slotmesh.node.spec.key_specs import KEY_ACCESS_UPDATE, KEY_READ, key_at, keys_from
from slotmesh.node.spec.registry import DENYOOM, FAST, READONLY, WRITE, command
from slotmesh.node.types import bits
from slotmesh.node.types.string import clamp_range

_BAD_OFFSET: Final = ErrorReply("ERR bit offset is not an integer or out of range")
_BAD_BIT: Final = ErrorReply("ERR bit is not an integer or out of range")
_BAD_TYPE: Final = ErrorReply(
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
)
_BITS: Final = {b"0": 0, b"1": 1}
_OVERFLOWS: Final = {b"WRAP": bits.WRAP, b"SAT": bits.SAT, b"FAIL": bits.FAIL}
_NEED_TWO: Final = (b"DIFF", b"DIFF1", b"ANDOR")


def _offset(client: NodeClient, text: bytes, width: int = 0) -> int:
    """A bit offset; with a width, `#n` counts in integers of that width. Raises CommandError."""
    if width and text.startswith(b"#"):
        value = integer(text[1:], _BAD_OFFSET) * width
    else:
        found = to_int64(text)
        if found is None:
            raise CommandError(_BAD_OFFSET)
        value = found
    if value < 0 or value >> 3 >= longest_string(client):
        raise CommandError(_BAD_OFFSET)
    return value


def _grown(client: NodeClient, key: bytes, last_bit: int) -> tuple[bytearray, bool]:
    """The string of `key`, made or lengthened to hold a bit; and whether it had to be."""
    size = (last_bit >> 3) + 1
    data = editable_string(client, key)
    if data is None:
        data = bytearray(size)
        client.db.put(key, data)
        return data, True
    missing = size - len(data)
    if missing > 0:
        data.extend(bytes(missing))
    return data, missing > 0


@command(
    "setbit",
    arity=4,
    syntax="key offset value(integer)",
    flags=WRITE | DENYOOM,
    keys=KEY_ACCESS_UPDATE,
    group="bitmap",
    since="2.2.0",
    complexity="O(1)",
    summary="Sets or clears one bit of a string and returns what it was.",
)
def cmd_setbit(client: NodeClient, argv: list[bytes]) -> Any:
    position = _offset(client, argv[2])
    bit = _BITS.get(argv[3])
    if bit is None:
        raise CommandError(_BAD_BIT)
    db, key = client.db, argv[1]
    data = db.write(key)
    byte = position >> 3
    if type(data) is bytearray and byte < len(data):
        held, mask = data[byte], 0x80 >> (position & 7)
        old = 1 if held & mask else 0
        if old == bit:
            return old
        data[byte] = held ^ mask
    else:
        data, grown = _grown(client, key, position)
        old = bits.get_bit(data, position)
        if old == bit and not grown:
            return old
        bits.set_bit(data, position, bit)
    db.changed(key, STRING, b"setbit")
    return old


@command(
    "getbit",
    arity=3,
    syntax="key offset",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="bitmap",
    since="2.2.0",
    complexity="O(1)",
    summary="Returns one bit of a string.",
)
def cmd_getbit(client: NodeClient, argv: list[bytes]) -> Any:
    position = _offset(client, argv[2])
    return bits.get_bit(read_string(client, argv[1]) or b"", position)


def _unit(word: bytes) -> bool:
    """True for BIT, False for BYTE. Raises CommandError."""
    word = word.upper()
    if word not in (b"BIT", b"BYTE"):
        raise CommandError(errors.SYNTAX)
    return word == b"BIT"


def _check_range(argv: list[bytes], at: int) -> None:
    """7.2 refuses a bad `[start [end [unit]]]` (from `at` on) before it looks for the key. Raises CommandError."""
    if len(argv) > at + 3:
        raise CommandError(errors.SYNTAX)
    if len(argv) > at:
        integer(argv[at])
    if len(argv) == at + 3:
        _unit(argv[at + 2])
    if len(argv) > at + 1:
        integer(argv[at + 1])


@command(
    "bitcount",
    arity=-2,
    syntax="key [start(integer) end(integer) [BYTE | BIT]]",
    flags=READONLY,
    keys=KEY_READ,
    group="bitmap",
    since="2.6.0",
    complexity="O(N), N the bytes looked at",
    summary="Counts the set bits of a string or of a part of it.",
)
def cmd_bitcount(client: NodeClient, argv: list[bytes]) -> Any:
    if COMPAT.newer:
        _check_range(argv, 2)
    data = read_string(client, argv[1])
    if data is None:
        return 0
    if len(argv) == 2:
        return bits.count_ones(data)
    if len(argv) not in (4, 5) and not (len(argv) == 3 and COMPAT.newer):
        raise CommandError(errors.SYNTAX)
    start, end = integer(argv[2]), integer(argv[3]) if len(argv) > 3 else -1
    if start < 0 and end < 0 and start > end:
        return 0
    in_bits = len(argv) == 5 and _unit(argv[4])
    first, stop = clamp_range(start, end, 8 * len(data) if in_bits else len(data))
    if first >= stop:
        return 0
    return bits.count_ones_between(data, first, stop - 1) if in_bits else bits.count_ones(data[first:stop])


@command(
    "bitpos",
    arity=-3,
    syntax="key bit [start(integer) [end(integer) [BYTE | BIT]]]",
    flags=READONLY,
    keys=KEY_READ,
    group="bitmap",
    since="2.8.7",
    complexity="O(N), N the bytes looked at",
    summary="Finds the first set or clear bit of a string or of a part of it.",
)
def cmd_bitpos(client: NodeClient, argv: list[bytes]) -> Any:
    bit = integer(argv[2])
    if bit not in (0, 1):
        raise CommandError("ERR The bit argument must be 1 or 0.")
    if COMPAT.newer:
        _check_range(argv, 3)
    data = read_string(client, argv[1])
    if data is None:
        return -1 if bit else 0
    if len(argv) > 6:
        raise CommandError(errors.SYNTAX)
    start = integer(argv[3]) if len(argv) > 3 else 0
    in_bits = len(argv) == 6 and _unit(argv[5])
    end = integer(argv[4]) if len(argv) > 4 else len(data) - 1
    length = 8 * len(data) if in_bits else len(data)
    # Unlike elsewhere, a range whose negative ends are out of order selects what they mean after they were clamped to
    # 0.
    first = max(0, start + length) if start < 0 else start
    last = min(max(0, end + length) if end < 0 else end, length - 1)
    if first > last:
        return -1
    if not in_bits:
        first, last = 8 * first, 8 * last + 7
    found = bits.find_bit(data, bit, first, last)
    if found < 0 and not bit and len(argv) < 5:
        return 8 * len(data)  # without an end the string goes on with zeros for ever
    return found


@command(
    "bitop",
    arity=-4,
    syntax="<AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]",
    flags=WRITE | DENYOOM,
    keys=key_at(b"OW", b"UPDATE", index=2) + keys_from(b"RO", b"ACCESS", first=3),
    group="bitmap",
    since="2.6.0",
    complexity="O(N), N the bytes of all strings",
    summary="Combines strings bit by bit and stores the result.",
)
def cmd_bitop(client: NodeClient, argv: list[bytes]) -> Any:
    name, target = argv[1].upper(), argv[2]
    if name != b"NOT" and name not in bits.OPERATIONS:
        raise CommandError(errors.SYNTAX)
    if name == b"NOT" and len(argv) != 4:
        raise CommandError("ERR BITOP NOT must be called with a single source key.")
    if name in _NEED_TWO and len(argv) < 5:
        raise CommandError(b"ERR BITOP %b must be called with at least two source keys." % name)
    sources = [read_string(client, key) or b"" for key in argv[3:]]
    result = bits.combine(name, sources)
    db = client.db
    if result:
        db.set(target, result)
        db.changed(target, STRING, b"set")
    elif db.delete(target):
        db.changed(target, GENERIC, b"del")
    return len(result)


class _FieldOperation:
    """One GET, SET or INCRBY of a BITFIELD. `operand` is None for GET."""

    __slots__ = ("increments", "operand", "overflow", "position", "signed", "width")

    def __init__(self, client: NodeClient, type_text: bytes, offset: bytes, overflow: int) -> None:
        self.signed = type_text.startswith(b"i")
        width = to_int64(type_text[1:])
        if not type_text.startswith((b"i", b"u")) or width is None or not 1 <= width <= (64 if self.signed else 63):
            raise CommandError(_BAD_TYPE)
        self.width = width
        self.position = _offset(client, offset, width)
        self.overflow = overflow
        self.operand: int | None = None
        self.increments = False

    def read(self, data: bytes | bytearray) -> int:
        """The integer as it is."""
        return bits.get_field(data, self.position, self.width, self.signed)

    def run(self, data: bytearray) -> tuple[int | None, bool]:
        """(reply, whether the string changed) of a SET or INCRBY."""
        assert self.operand is not None
        old = self.read(data)
        wanted = old + self.operand if self.increments else self.operand
        if not self.signed and not self.increments:
            wanted &= (1 << 64) - 1  # a negative value is a very large one here, as it is in stock
        if self.overflow == bits.SAT and not self.increments and wanted < (1 << self.width - 1) - (1 << 63) < 0:
            wanted = 1 << 63  # so far below the least value that stock's difference wraps: it saturates at the greatest
        new = bits.fit(wanted, self.width, self.signed, self.overflow)
        if new is None:
            return None, False
        bits.set_field(data, self.position, self.width, new)
        return (new if self.increments else old), new != old


def _parse_operations(client: NodeClient, argv: list[bytes]) -> list[_FieldOperation]:
    operations: list[_FieldOperation] = []
    overflow = bits.WRAP
    i, count = 2, len(argv)
    while i < count:
        word, left = argv[i].upper(), count - i - 1
        if word == b"OVERFLOW" and left >= 1:
            rule = _OVERFLOWS.get(argv[i + 1].upper())
            if rule is None:
                raise CommandError("ERR Invalid OVERFLOW type specified")
            overflow = rule
            i += 2
        elif word == b"GET" and left >= 2:
            operations.append(_FieldOperation(client, argv[i + 1], argv[i + 2], overflow))
            i += 3
        elif word in (b"SET", b"INCRBY") and left >= 3:
            operation = _FieldOperation(client, argv[i + 1], argv[i + 2], overflow)
            operation.operand = integer(argv[i + 3])
            operation.increments = word == b"INCRBY"
            operations.append(operation)
            i += 4
        else:
            raise CommandError(errors.SYNTAX)
    return operations


@command(
    "bitfield",
    arity=-2,
    syntax=(
        "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset "
        "value(integer) | INCRBY encoding offset increment> [GET encoding offset | [OVERFLOW <WRAP | "
        "SAT | FAIL>] <SET encoding offset value(integer) | INCRBY encoding offset increment> ...]]"
    ),
    flags=WRITE | DENYOOM,
    keys=key_at(b"RW", b"ACCESS", b"UPDATE", b"VARIABLE_FLAGS"),
    group="bitmap",
    since="3.2.0",
    complexity="O(1) per subcommand",
    summary="Reads, writes and increments integers of any width inside a string.",
)
def cmd_bitfield(client: NodeClient, argv: list[bytes]) -> Any:
    operations = _parse_operations(client, argv)
    writes = [operation for operation in operations if operation.operand is not None]
    key = argv[1]
    if not writes:
        return _read_fields(client, key, operations)
    last_bit = max(operation.position + operation.width for operation in writes) - 1
    data, grown = _grown(client, key, last_bit)
    replies: list[int | None] = []
    changes = 0
    for operation in operations:
        if operation.operand is None:
            replies.append(operation.read(data))
            continue
        reply, changed = operation.run(data)
        replies.append(reply)
        changes += changed or (grown and reply is not None)
    if changes or grown:
        client.db.changed(key, STRING, b"setbit", max(changes, 1))
    return replies


@command(
    "bitfield_ro",
    arity=-2,
    syntax="key [GET encoding offset [GET encoding offset ...]]",
    flags=READONLY | FAST,
    keys=KEY_READ,
    group="bitmap",
    since="6.0.0",
    complexity="O(1) per subcommand",
    summary="Reads integers of any width inside a string.",
)
def cmd_bitfield_ro(client: NodeClient, argv: list[bytes]) -> Any:
    operations = _parse_operations(client, argv)
    if any(operation.operand is not None for operation in operations):
        raise CommandError("ERR BITFIELD_RO only supports the GET subcommand")
    return _read_fields(client, argv[1], operations)


def _read_fields(client: NodeClient, key: bytes, operations: list[_FieldOperation]) -> list[int]:
    data = read_string(client, key) or b""
    return [operation.read(data) for operation in operations]
