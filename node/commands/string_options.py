"""What string commands share: the options of SET and its kin, access to values, conditions (no command lives here)."""

from __future__ import annotations

from typing import Any, Final

import xxhash

from slotmesh.node.base import errors
from slotmesh.node.base.compat import deletion
from slotmesh.node.base.errors import CommandError
from slotmesh.node.clients.client import GATE_PRIMARY
from slotmesh.node.keyspace.database import DELETE
from slotmesh.node.keyspace.notify import GENERIC
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.arguments import INT64_MAX, integer

# Options of SET and GETEX.
NX: Final = 1 << 0
XX: Final = 1 << 1
GET: Final = 1 << 2
KEEPTTL: Final = 1 << 3
PERSIST: Final = 1 << 4
EX: Final = 1 << 5
PX: Final = 1 << 6
EXAT: Final = 1 << 7
PXAT: Final = 1 << 8
IFEQ: Final = 1 << 9
IFNE: Final = 1 << 10
IFDEQ: Final = 1 << 11
IFDNE: Final = 1 << 12
EXPIRY: Final = EX | PX | EXAT | PXAT
COMPARISON: Final = IFEQ | IFNE | IFDEQ | IFDNE
CONDITION: Final = NX | XX | COMPARISON

#: word -> (its bit, the bits it excludes, whether a value follows)
Options = dict[bytes, tuple[int, int, bool]]
EXPIRY_OPTIONS: Final[Options] = {
    b"EX": (EX, KEEPTTL | PERSIST | EXPIRY & ~EX, True),
    b"PX": (PX, KEEPTTL | PERSIST | EXPIRY & ~PX, True),
    b"EXAT": (EXAT, KEEPTTL | PERSIST | EXPIRY & ~EXAT, True),
    b"PXAT": (PXAT, KEEPTTL | PERSIST | EXPIRY & ~PXAT, True),
}


def digest(value: bytes | bytearray) -> bytes:
    """What DIGEST answers and IFDEQ and IFDNE compare with: XXH3 (64 bits, seed 0) as 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(value).encode()


def parse_options(argv: list[bytes], start: int, known: Options) -> tuple[int, bytes, bytes]:
    """(bits, value of the expiry option, value to compare with) of the options from `argv[start]` on.

    Raises CommandError for an unknown word, one that another excludes, or a missing value.
    """
    bits, expiry, operand = 0, b"", b""
    i, count = start, len(argv)
    while i < count:
        option = known.get(argv[i]) or known.get(argv[i].upper())
        if option is None or bits & option[1]:
            raise CommandError(errors.SYNTAX)
        bits |= option[0]
        i += 1
        if option[2]:
            if i == count:
                raise CommandError(errors.SYNTAX)
            if option[0] & EXPIRY:
                expiry = argv[i]
            else:
                operand = argv[i]
            i += 1
    return bits, expiry, operand


def expiry_ms(text: bytes, bits: int, now_ms: int, command_name: bytes) -> int:
    """The absolute time in ms that an expiry option means. Raises CommandError when it is not positive or overflows."""
    when = integer(text)
    if when <= 0 or (bits & (EX | EXAT) and when > INT64_MAX // 1000):
        raise CommandError(errors.invalid_expire(command_name))
    if bits & (EX | EXAT):
        when *= 1000
    if bits & (EX | PX):
        when += now_ms
    if when > INT64_MAX:
        raise CommandError(errors.invalid_expire(command_name))
    return when


def read_string(client: NodeClient, key: bytes) -> bytes | bytearray | None:
    """The string for a reading command, or None. Raises WRONGTYPE."""
    value = client.db.read(key)
    if value is None or type(value) is bytes or type(value) is bytearray:
        return value
    raise CommandError(errors.WRONG_TYPE)


def write_string(client: NodeClient, key: bytes) -> bytes | bytearray | None:
    """The string for a command that will change it, or None. Raises WRONGTYPE."""
    value = client.db.write(key)
    if value is None or type(value) is bytes or type(value) is bytearray:
        return value
    raise CommandError(errors.WRONG_TYPE)


def editable_string(client: NodeClient, key: bytes) -> bytearray | None:
    """The string as the `bytearray` that the key holds from now on, or None when there is no key. Raises WRONGTYPE."""
    value = client.db.write(key)
    if type(value) is bytearray or value is None:
        return value
    if type(value) is not bytes:
        raise CommandError(errors.WRONG_TYPE)
    data = bytearray(value)
    client.db.put(key, data)
    return data


#: Where a string was accepted the limit may have been another one, but not by more than this factor.
_OTHER_LIMITS: Final = 64


def is_trusted(client: NodeClient) -> bool:
    """Whether what `client` sends was accepted elsewhere, whatever the limits are here: our primary and the append-only
    file."""
    return (client.sock is None and not client.is_script) or bool(client.gates & GATE_PRIMARY)


def longest_string(client: NodeClient) -> int:
    """How long `client` may make a string: `proto-max-bulk-len`, and more for those who are trusted."""
    limit: int = client.server.config.proto_max_bulk_len
    return limit * _OTHER_LIMITS if is_trusted(client) else limit


def check_length(client: NodeClient, size: int) -> None:
    """Refuse a string that is longer than `longest_string`."""
    if size > client.server.config.proto_max_bulk_len and size > longest_string(client):
        raise CommandError(errors.STRING_TOO_LONG)


def past(client: NodeClient, at_ms: int) -> bool:
    """Whether an absolute expiry has come, on a node that may act on it: not a replica, not while loading."""
    keyspace = client.db.keyspace
    return at_ms <= keyspace.now_ms and keyspace.expiry_mode == DELETE


def remove_expired(client: NodeClient, key: bytes) -> None:
    """Delete a key that was given an expiry in the past, and propagate that instead of the command."""
    client.db.delete(key)
    client.db.changed(key, GENERIC, b"del")
    client.propagate_as([deletion(lazy=client.server.config.lazyfree_lazy_expire), key])


def string_condition_holds(value: Any, bits: int, operand: bytes) -> bool:
    """IFEQ, IFNE, IFDEQ and IFDNE: compare a string, or its digest, with an operand. Raises WRONGTYPE.

    An absent key equals nothing: the negative conditions hold.
    """
    if value is None:
        return bool(bits & (IFNE | IFDNE))
    if type(value) is not bytes and type(value) is not bytearray:
        raise CommandError(errors.WRONG_TYPE)
    if bits & (IFDEQ | IFDNE):
        return (digest(value) == operand.lower()) == bool(bits & IFDEQ)
    return (value == operand) == bool(bits & IFEQ)
