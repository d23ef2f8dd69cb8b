"""RDB files: what the writer writes the decoder reads, in chunks of any size; damage and old versions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.persistence.crc64 import crc64
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.persistence.rdb_file import RdbDecoder, RdbWriter, load_rdb
from slotmesh.node.persistence.rdb_strings import encode_length, encode_string
from slotmesh.node.types.hash import HashValue
from slotmesh.node.types.list import ListValue

AUX = [(b"redis-ver", b"7.0.15"), (b"ctime", b"1700000000")]


class Recorder:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_aux(self, name: bytes, value: bytes) -> None:
        self.heard.append(("aux", name, value))

    def on_function(self, code: bytes) -> None:
        self.heard.append(("function", code))

    def on_database(self, index: int) -> None:
        self.heard.append(("database", index))

    def on_key(
        self, key: bytes, value: object, expire_at_ms: int | None, idle_s: int | None, frequency: int | None
    ) -> None:
        shown = list(value) if isinstance(value, ListValue) else value
        self.heard.append(("key", key, shown, expire_at_ms, idle_s, frequency))


EXPECTED = [
    ("aux", b"redis-ver", b"7.0.15"),
    ("aux", b"ctime", b"1700000000"),
    ("function", b"#!lua name=x"),
    ("database", 0),
    ("key", b"plain", b"value", None, None, None),
    ("key", b"list", [b"%d" % i for i in range(2000)], 4_000_000_000_000, None, None),
    ("key", b"used", b"12", None, 70, None),
    ("key", b"often", b"x" * 300, -5, None, 200),
    ("database", 3),
    ("key", b"k", b"", None, None, None),
]


def _file(**options: Any) -> bytes:
    parts: list[bytes] = []
    writer = RdbWriter(parts.append, **options)
    writer.start(AUX)
    writer.function(b"#!lua name=x")
    writer.database(0, 4, 2)
    writer.key(b"plain", b"value")
    writer.key(b"list", ListValue([b"%d" % i for i in range(2000)]), 4_000_000_000_000)
    writer.key(b"used", b"12", idle_s=70)
    writer.key(b"often", b"x" * 300, -5, frequency=200)
    writer.database(3, 1, 0)
    writer.key(b"k", b"")
    writer.end()
    assert writer.keys == 5
    assert writer.bytes == sum(map(len, parts))
    return b"".join(parts)


FILE = _file()


def _heard(data: bytes, chunk: int, **options: Any) -> list[Any]:
    sink = Recorder()
    load_rdb((data[i : i + chunk] for i in range(0, len(data), chunk)), sink, **options)
    return sink.heard


@pytest.mark.parametrize("options", [{}, {"compress": False}, {"checksum": False}, {"version": 12}], ids=str)
def test_written_file_decodes_to_what_was_written(options: dict[str, Any]) -> None:
    assert _heard(_file(**options), 1 << 20) == EXPECTED


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100, 4096])
def test_decoder_chunks_of_any_size_give_the_same(chunk: int) -> None:
    assert _heard(FILE, chunk) == EXPECTED


def test_decoder_pump_stops_after_the_items_it_is_allowed() -> None:
    sink = Recorder()
    decoder = RdbDecoder(sink)
    decoder.feed(FILE)
    slices = 0
    while decoder.pump(2):
        slices += 1
    assert decoder.finished
    assert slices > 5
    assert sink.heard == EXPECTED


def test_decoder_gives_back_what_follows_the_file() -> None:
    decoder = RdbDecoder(Recorder())
    decoder.feed(FILE + b"*1\r\n")
    decoder.pump()
    decoder.feed(b"$4\r\nPING\r\n")
    assert decoder.finished
    assert decoder.offset == len(FILE)
    assert decoder.rest() == b"*1\r\n$4\r\nPING\r\n"


def test_decoder_large_value_in_small_chunks_is_not_decoded_again_for_each() -> None:
    parts: list[bytes] = []
    writer = RdbWriter(parts.append, compress=False)
    writer.start([])
    writer.key(b"h", HashValue({b"%d" % i: b"v" for i in range(50_000)}))
    writer.end()
    data = b"".join(parts)
    attempts = 0

    class Counting(RdbDecoder):
        def _item(self, reader: Any) -> None:
            nonlocal attempts
            attempts += 1
            super()._item(reader)

    decoder = Counting(Recorder())
    for i in range(0, len(data), 1024):
        decoder.feed(data[i : i + 1024])
        decoder.pump()
    decoder.finish()
    assert attempts < 30  # not the 400 chunks that it came in


@given(st.integers(0, len(FILE) - 1))
def test_file_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(LoadError):
        _heard(FILE[:cut], 512)


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_file_with_any_byte_changed_is_refused(position: int, change: int) -> None:
    spoilt = bytearray(FILE)
    spoilt[position] ^= change
    if position >= len(FILE) - 8 and not any(spoilt[-8:]):
        return  # a checksum of zero means that there is none
    with pytest.raises(LoadError):
        _heard(bytes(spoilt), 1 << 20)


def test_checksum_is_ignored_when_told_so_or_zero() -> None:
    wrong = FILE[:-1] + bytes((FILE[-1] ^ 1,))
    with pytest.raises(LoadError, match="CRC error"):
        _heard(wrong, 1 << 20)
    assert _heard(wrong, 1 << 20, verify=False) == EXPECTED
    assert _heard(FILE[:-8] + bytes(8), 1 << 20) == EXPECTED


def test_errors_say_where_and_what() -> None:
    with pytest.raises(LoadError, match="wrong signature"):
        _heard(b"NOTREDIS0010", 100)
    with pytest.raises(LoadError, match="format version 13"):
        _heard(b"REDIS0013\xff", 100)
    with pytest.raises(LoadError, match="unknown object type 99, in the item at offset 9"):
        _heard(b"REDIS0010\x63\x01k\x01v", 100)
    with pytest.raises(LoadError, match="unexpected end of the RDB, in the item at offset 9"):
        _heard(b"REDIS0010\x00\x05ke", 100)
    with pytest.raises(LoadError, match="release candidate"):
        _heard(b"REDIS0010\xf6", 100)


def test_old_file_has_no_checksum_and_expiry_in_seconds() -> None:
    data = b"REDIS0003\xfe\x00\xfd" + (1_700_000_000).to_bytes(4, "little") + b"\x00\x01k\x01v\xff"
    assert _heard(data, 5) == [("database", 0), ("key", b"k", b"v", 1_700_000_000_000, None, None)]


def test_slot_hints_and_empty_values_are_read_over() -> None:
    body = (
        b"REDIS0012\xf4" + encode_length(5) + encode_length(100) + encode_length(70_000)
        + b"\x01" + encode_string(b"empty-list") + encode_length(0)
        + b"\x00\x01k\x01v\xff"
    )  # fmt: skip
    sink = Recorder()
    decoder = load_rdb([body + crc64(body).to_bytes(8, "little")], sink)
    assert sink.heard == [("key", b"k", b"v", None, None, None)]
    assert (decoder.keys, decoder.empty_keys) == (1, 1)
