"""FUNCTION DUMP payloads: the records of all libraries as in an RDB, then version and checksum as for a value."""

from __future__ import annotations

from collections.abc import Iterable

from slotmesh.node.persistence.crc64 import crc64
from slotmesh.node.persistence.errors import FormatError, ShortRead
from slotmesh.node.persistence.payload import body_end_of
from slotmesh.node.persistence.rdb_file import OP_FUNCTION2, OP_FUNCTION_OLD, WRITE_VERSION
from slotmesh.node.persistence.rdb_strings import Reader, encode_string


def dump_functions(codes: Iterable[bytes], compress: bool = True) -> bytes:
    """The payload of libraries with these texts."""
    records = b"".join(b"%c%b" % (OP_FUNCTION2, encode_string(code, compress)) for code in codes)
    payload = records + WRITE_VERSION.to_bytes(2, "little")
    return payload + crc64(payload).to_bytes(8, "little")


def load_functions(payload: bytes, verify: bool = True) -> list[bytes]:
    """The texts of the libraries in a payload. Raises BadPayload, or FormatError when it holds something else."""
    reader = Reader(payload[: body_end_of(payload, 0, verify)])
    codes: list[bytes] = []
    while reader.pos < reader.end:
        kind = reader.byte()
        if kind == OP_FUNCTION_OLD:
            raise FormatError("failed loading the given functions payload")
        if kind != OP_FUNCTION2:
            raise FormatError("given type is not a function")
        try:
            codes.append(reader.string())
        except ShortRead:
            raise FormatError("failed loading the given functions payload") from None
    return codes
