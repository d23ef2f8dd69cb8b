"""DUMP payloads: <type> <object> <RDB version: u16le> <CRC-64: u64le>, what DUMP gives and RESTORE and MIGRATE take."""

from __future__ import annotations

from typing import Any, Final

from slotmesh.node.persistence.crc64 import crc64
from slotmesh.node.persistence.decode import EmptyValue, decode_object
from slotmesh.node.persistence.encode import Encoder, needs_field_expiry
from slotmesh.node.persistence.errors import FormatError
from slotmesh.node.persistence.extras import encode_extra, read_extra
from slotmesh.node.persistence.rdb_file import MAX_VERSION, write_version
from slotmesh.node.persistence.rdb_strings import Reader

_FOOTER: Final = 10


class BadPayload(Exception):
    """Not a payload at all: too short, of a later version, or with a wrong checksum."""


def dump_payload(value: Any, compress: bool = True) -> bytes:
    """The payload of a value."""
    kind, body = Encoder(compress).encode(value)
    version = write_version(field_expiry=needs_field_expiry(value))
    payload = b"%c%b%b%b" % (kind, body, encode_extra(value), version.to_bytes(2, "little"))
    return payload + crc64(payload).to_bytes(8, "little")


def load_payload(payload: bytes, verify: bool = True) -> Any:
    """The value of a payload. Raises BadPayload, or FormatError when the object inside is malformed."""
    body_end = body_end_of(payload, 1, verify)
    reader = Reader(payload[1:body_end], base=1)
    try:
        value = decode_object(payload[0], reader)
    except EmptyValue:
        raise FormatError("empty container") from None
    if reader.pos != reader.end:
        read_extra(value, reader)
    if reader.pos != reader.end:
        raise reader.error("bytes behind the object")
    return value


def body_end_of(payload: bytes, least: int, verify: bool) -> int:
    """Where the version begins; the body has at least `least` bytes. Raises BadPayload."""
    body_end = len(payload) - _FOOTER
    if body_end < least or int.from_bytes(payload[body_end : body_end + 2], "little") > MAX_VERSION:
        raise BadPayload
    if verify and crc64(memoryview(payload)[:-8]) != int.from_bytes(payload[-8:], "little"):
        raise BadPayload
    return body_end
