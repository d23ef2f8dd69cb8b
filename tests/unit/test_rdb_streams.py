"""Streams as RDB objects."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.persistence import object_types as types
from slotmesh.node.persistence.decode import decode_object
from slotmesh.node.persistence.encode import Encoder
from slotmesh.node.persistence.errors import FormatError
from slotmesh.node.persistence.listpack import Element, encode_listpack
from slotmesh.node.persistence.payload import dump_payload, load_payload
from slotmesh.node.persistence.rdb_strings import Reader, encode_int64, encode_length, encode_string
from slotmesh.node.persistence.streams import _encode_node
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_group import NEVER_ACTIVE, Group
from slotmesh.node.types.stream_id import U64_MAX, pack_id

ENTRY = st.lists(st.binary(max_size=12), min_size=2, max_size=6).map(lambda items: items[: len(items) // 2 * 2])


def _plain(stream: StreamValue) -> Any:
    groups = {
        name: (
            group.last_id,
            group.entries_read,
            [(i, p.consumer.name, p.delivered_ms, p.count) for i, p in sorted(group.pel.values.items())],
            {n: (c.seen_ms, sorted(c.pel.values)) for n, c in group.consumers.items()},
        )
        for name, group in stream.groups.items()
    }
    return list(stream), len(stream), stream.last_id, stream.max_deleted_id, stream.entries_added, groups


def _round_trip(stream: StreamValue) -> StreamValue:
    kind, body = Encoder().encode(stream)
    assert kind == types.STREAM_LISTPACKS_2
    reader = Reader(body)
    decoded = decode_object(kind, reader)
    assert reader.pos == reader.end
    assert isinstance(decoded, StreamValue)
    return decoded


@st.composite
def streams(draw: st.DrawFn) -> StreamValue:
    stream = StreamValue()
    entry_id = draw(st.integers(1, 2**100))
    for flat in draw(st.lists(ENTRY, max_size=30)):
        entry_id += draw(st.sampled_from([1, 2, 1 << 64, (1 << 64) * 1000]))
        stream.append(entry_id, flat)
    for victim, _ in draw(st.lists(st.sampled_from(list(stream) or [(0, ())]), max_size=4)):
        if stream.remove(victim):
            stream.max_deleted_id = max(stream.max_deleted_id, victim)
    for name in draw(st.sets(st.binary(max_size=5), max_size=3)):
        group = stream.groups[name] = Group(name, draw(st.integers(0, 2**128 - 1)), draw(st.integers(-1, 50)))
        for reader in draw(st.sets(st.binary(max_size=5), min_size=1, max_size=3)):
            group.consumer(reader, draw(st.integers(0, 2**41)))
        for pending in draw(st.sets(st.integers(0, 2**128 - 1), max_size=5)):
            consumer = draw(st.sampled_from([group.consumers[n] for n in sorted(group.consumers)]))
            group.deliver(pending, consumer, draw(st.integers(0, 2**41)), draw(st.integers(1, 99)))
    return stream


@settings(max_examples=150)
@given(streams())
def test_stream_any_content_round_trips(stream: StreamValue) -> None:
    assert _plain(_round_trip(stream)) == _plain(stream)


def test_stream_without_entries_round_trips() -> None:
    stream = StreamValue()
    stream.groups[b"g"] = Group(b"g", 0)
    assert _plain(_round_trip(stream)) == _plain(stream)


def test_stream_at_the_newer_level_keeps_when_consumers_were_active(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(COMPAT, "newer", True)
    stream = StreamValue()
    group = stream.groups[b"g"] = Group(b"g", 0)
    group.consumer(b"active", 1000)[0].active_ms = 900
    group.consumer(b"idle", 2000)
    kind, body = Encoder().encode(stream)
    assert kind == types.STREAM_LISTPACKS_3
    decoded = decode_object(kind, Reader(body))
    consumers = decoded.groups[b"g"].consumers
    assert [(c.seen_ms, c.active_ms) for _, c in sorted(consumers.items())] == [(1000, 900), (2000, NEVER_ACTIVE)]


def test_stream_payload_is_that_of_stock() -> None:
    golden = bytes.fromhex(
        "1301100000000000000005000000000000000537370000001300020100010201816602816e02000102010001000181760201"
        "01050100010101dffc020101856f7468657206817a020601ff02060105050000020103677270050581ffffffffffffffff00000a00d649a2ac701e6bf4"
    )
    stream = StreamValue()
    stream.append(pack_id(5, 5), [b"f", b"v", b"n", b"1"])
    stream.append(pack_id(6, 1), [b"other", b"z"])
    stream.groups[b"grp"] = Group(b"grp", pack_id(5, 5))
    assert _plain(load_payload(golden)) == _plain(stream)
    assert dump_payload(stream, compress=False) == golden


def test_stream_nodes_are_those_of_the_value() -> None:
    stream = StreamValue()
    for i in range(1, 251):
        stream.append(i, [b"f", b"%d" % i])
    decoded = _round_trip(stream)
    assert [len(node.ids) for node in decoded.nodes] == [100, 100, 50]
    assert [node.size_bytes for node in decoded.nodes] == [node.size_bytes for node in stream.nodes]


def test_stream_nodes_of_any_shape_are_measured_exactly() -> None:
    shapes = ([b"f", b"v"], [b"f", b"1"], [b"g", b"v" * 70], [b"f", b"v", b"n", b"w"], [b"\x00", b"-5"])
    stream = StreamValue()
    for i in range(1, 60):
        stream.append(i << 64 if i % 3 else (i << 64) + 5, shapes[i % len(shapes)])
    for node in stream.nodes:
        assert node.size_bytes == len(_encode_node(node))


def _body(nodes: list[tuple[int, list[Element]]], length: int, last_id: int, rest: bytes) -> bytes:
    parts = [encode_length(len(nodes))]
    for key, elements in nodes:
        parts += (encode_string(key.to_bytes(16, "big")), encode_string(encode_listpack(elements)))
    parts += (encode_length(length), encode_length(last_id >> 64), encode_length(last_id & U64_MAX), rest)
    return b"".join(parts)


#: Two live entries and a deleted one, the last with fields of its own; master ID 5-5.
NODE: list[Element] = [2, 1, 1, b"f", 0, 2, 0, 0, b"v", 4, 3, 0, 1, b"gone", 4, 0, 1, -5, 1, b"g", b"w", 6]
MASTER = pack_id(5, 5)
LAST = pack_id(6, 0)


def test_version_1_stream_gets_its_counters_from_its_entries() -> None:
    group = encode_string(b"g") + encode_length(5) + encode_length(5) + encode_length(0) + encode_length(0)
    later = encode_string(b"h") + encode_length(9) + encode_length(0) + encode_length(0) + encode_length(0)
    body = _body([(MASTER, NODE)], 2, LAST, encode_length(2) + group + later)
    stream = decode_object(types.STREAM_LISTPACKS, Reader(body))
    assert list(stream) == [(MASTER, (b"f", b"v")), (LAST, (b"g", b"w"))]
    assert (stream.entries_added, stream.max_deleted_id) == (2, 0)
    assert stream.groups[b"g"].entries_read == 1  # its last ID is the first entry
    assert stream.groups[b"h"].entries_read == -1  # nobody can tell


def test_version_3_stream_brings_the_active_time_of_a_consumer() -> None:
    counters = b"".join(map(encode_length, (5, 5, 5, 6, 3)))
    pending = MASTER.to_bytes(16, "big")
    group = (
        encode_string(b"g")
        + b"".join(map(encode_length, (6, 0, 2, 1)))
        + (pending + encode_int64(1000) + encode_length(4))
        + (encode_length(1) + encode_string(b"c") + encode_int64(2000) + encode_int64(1500))
        + (encode_length(1) + pending)
    )
    body = _body([(MASTER, NODE)], 2, LAST, counters + encode_length(1) + group)
    stream = decode_object(types.STREAM_LISTPACKS_3, Reader(body))
    consumer = stream.groups[b"g"].consumers[b"c"]
    assert (consumer.seen_ms, consumer.active_ms) == (2000, 1500)
    assert stream.groups[b"g"].pel.values[MASTER].count == 4
    assert (stream.max_deleted_id, stream.entries_added) == (MASTER + 1, 3)


@pytest.mark.parametrize(
    ("nodes", "length", "last_id"),
    [
        ([(MASTER, NODE)], 3, LAST),  # length
        ([(MASTER, NODE)], 2, LAST - 1),  # an entry above the last ID
        ([(MASTER, NODE), (MASTER, NODE)], 4, LAST),  # order of nodes
        ([(MASTER, [1, *NODE[1:]])], 2, LAST),  # live count
        ([(MASTER, [2, 0, *NODE[2:]])], 2, LAST),  # deleted count
        ([(MASTER, [*NODE[:4], 7, *NODE[5:]])], 2, LAST),  # end of the master entry
        ([(MASTER, NODE[:-1])], 2, LAST),  # cut off
        ([(MASTER, [*NODE[:-1], 5])], 2, LAST),  # element count of an entry
        ([(MASTER, [2, 1, 99, *NODE[3:]])], 2, LAST),  # number of fields
        ([(MASTER, [2, 1, b"x", *NODE[3:]])], 2, LAST),  # text for a number
        ([(MASTER, [*NODE[:6], 9, *NODE[7:]])], 2, LAST),  # order of entries
    ],
)
def test_stream_with_contradictions_raises(nodes: list[tuple[int, list[Element]]], length: int, last_id: int) -> None:
    body = _body(nodes, length, last_id, encode_length(0))
    with pytest.raises(FormatError):
        decode_object(types.STREAM_LISTPACKS, Reader(body))


def test_stream_pending_entry_without_an_owner_raises() -> None:
    counters = b"".join(map(encode_length, (5, 5, 0, 0, 3)))
    group = encode_string(b"g") + b"".join(map(encode_length, (6, 0, 2, 1)))
    orphan = group + MASTER.to_bytes(16, "big") + encode_int64(1000) + encode_length(4) + encode_length(0)
    body = _body([(MASTER, NODE)], 2, LAST, counters + encode_length(1) + orphan)
    with pytest.raises(FormatError, match="pending"):
        decode_object(types.STREAM_LISTPACKS_2, Reader(body))


def test_stream_damaged_bytes_raise_nothing_but_format_errors() -> None:
    stream = StreamValue()
    for i in range(1, 6):
        stream.append(i, [b"f", b"%d" % i])
    group = stream.groups[b"g"] = Group(b"g", 3, 3)
    consumer, _ = group.consumer(b"c", 5)
    group.deliver(3, consumer, 7)
    kind, body = Encoder(compress=False).encode(stream)
    for cut in range(len(body)):
        with pytest.raises(FormatError):
            decode_object(kind, Reader(body[:cut]))
    rng = random.Random(2)
    for _ in range(3000):
        spoilt = bytearray(body)
        spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        with contextlib.suppress(FormatError):
            decode_object(kind, Reader(bytes(spoilt)))
