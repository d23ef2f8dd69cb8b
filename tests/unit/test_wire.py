"""Tests of ``cluster.wire`` without a peer: round trips, every cut of the stream, and malformed frames.

Frames of a real stock node are checked in ``tests/oracle/test_bus_frames.py``.
"""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.cluster.messages import (
    AuthAck,
    AuthRequest,
    Extensions,
    Fail,
    ForgottenNode,
    GossipEntry,
    Header,
    ManualFailoverStart,
    Meet,
    Message,
    OpenSlots,
    Ping,
    Pong,
    Publish,
    Unknown,
    Update,
)
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.terms import MESSAGE_EXTENSIONS
from slotmesh.cluster.wire import HEADER_BYTES, BusProtocolError, FrameDecoder, decode_frame, encode_message

A, B, C = "a" * 40, "b" * 40, "c0" * 20

ids = st.sampled_from([A, B, C])
ports = st.integers(0, 65535)
epochs = st.integers(0, 2**64 - 1)
offsets = st.integers(-(2**63), 2**63 - 1)
addresses = st.sampled_from(["", "127.0.0.1", "10.0.0.255", "2001:db8::1", "node-1.example.org"])
slot_sets = st.sets(st.integers(0, 16383), max_size=20).map(SlotSet)
headers = st.builds(
    Header,
    sender=ids,
    port=ports,
    cport=ports,
    pport=ports,
    ip=addresses,
    flags=st.integers(0, 65535),
    cluster_ok=st.booleans(),
    message_flags=st.sampled_from([0, 1, 2, 3, 1 << 23]),
    current_epoch=epochs,
    config_epoch=epochs,
    offset=offsets,
    slots=slot_sets,
    primary_id=st.sampled_from(["", A, C]),
)
seconds = st.integers(0, 2**32 - 1)
gossip = st.builds(GossipEntry, ids, seconds, seconds, addresses, ports, ports, st.integers(0, 65535), ports)
open_tables = st.dictionaries(st.integers(0, 16383), ids, max_size=9).map(lambda table: tuple(sorted(table.items())))
extensions = st.builds(
    Extensions,
    hostname=st.sampled_from(["", "h", "host-7", "a.b.example.org"]),
    human_nodename=st.sampled_from(["", "blue"]),
    shard_id=st.sampled_from(["", B]),
    forgotten=st.lists(st.builds(ForgottenNode, ids, epochs), max_size=3).map(tuple),
    open_slots=st.none() | st.builds(OpenSlots, open_tables, open_tables, epochs),
)
heartbeat_parts = (headers, st.lists(gossip, max_size=5).map(tuple), extensions)
messages = st.one_of(
    st.builds(Ping, *heartbeat_parts),
    st.builds(Pong, *heartbeat_parts),
    st.builds(Meet, *heartbeat_parts),
    st.builds(Fail, headers, ids),
    st.builds(Publish, headers, st.binary(max_size=50), st.binary(max_size=50), st.booleans()),
    st.builds(Update, headers, ids, epochs, slot_sets),
    st.builds(AuthRequest, headers),
    st.builds(AuthAck, headers),
    st.builds(ManualFailoverStart, headers),
)


def strip_extension_flag(message: Message) -> Message:
    """The message without the flag that the encoder adds when there are extensions."""
    header = message.header
    bare = attrs.evolve(header, message_flags=header.message_flags & ~MESSAGE_EXTENSIONS)
    return attrs.evolve(message, header=bare)


@given(messages)
def test_message_encoded_and_decoded_is_the_same(message: Message) -> None:
    decoded = decode_frame(encode_message(message))
    assert type(decoded) is type(message)
    assert strip_extension_flag(decoded) == message


@given(st.lists(messages, min_size=1, max_size=3), st.lists(st.integers(1, 5000), min_size=1, max_size=8))
def test_decoder_fed_in_any_pieces_gives_all_messages_in_order(sent: list[Message], sizes: list[int]) -> None:
    stream = b"".join(map(encode_message, sent))
    decoder = FrameDecoder()
    received: list[Message] = []
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        received += decoder.feed(stream[at : at + size])
        at += size
        turn += 1
    assert [strip_extension_flag(message) for message in received] == sent
    assert decoder.buffered_bytes == 0


def test_decoder_fed_byte_by_byte_gives_message_at_its_last_byte_only() -> None:
    entry = GossipEntry(B, 1, 2, "10.0.0.2", 7002, 17002, 1)
    frame = encode_message(Ping(Header(A, 7001, 17001), (entry,), Extensions(hostname="here")))
    decoder = FrameDecoder()
    got = [decoder.feed(frame[at : at + 1]) for at in range(len(frame))]
    assert [len(one) for one in got] == [0] * (len(frame) - 1) + [1]


def test_frame_sizes_are_those_of_the_protocol() -> None:
    header = Header(A, 7001, 17001)
    entry = GossipEntry(B, 1, 2, "10.0.0.2", 7002, 17002, 1)
    assert len(encode_message(AuthRequest(header))) == HEADER_BYTES == 2256
    assert len(encode_message(Ping(header, (entry, entry)))) == 2256 + 2 * 104
    assert len(encode_message(Ping(header, (), Extensions(hostname="1234567")))) == 2256 + 16
    assert len(encode_message(Ping(header, (), Extensions(hostname="12345678")))) == 2256 + 24
    assert len(encode_message(Fail(header, B))) == 2256 + 40
    assert len(encode_message(Update(header, B, 3, SlotSet()))) == 2256 + 8 + 40 + 2048
    assert len(encode_message(Publish(header, b"abc", b"de"))) == 2256 + 8 + 5


def patched(frame: bytes, at: int, data: bytes) -> bytes:
    return frame[:at] + data + frame[at + len(data) :]


PING = encode_message(Ping(Header(A, 7001, 17001), (GossipEntry(B, 1, 2, "10.0.0.2", 7002, 17002, 1),)))
HOST_PING = encode_message(Ping(Header(A, 7001, 17001), (), Extensions(hostname="here")))
OPEN_PING = encode_message(Ping(Header(A, 7001, 17001), (), Extensions(open_slots=OpenSlots(((5, B),), ((6, C),)))))
OPEN_AT = HEADER_BYTES + 8 + 8
PUBLISH = encode_message(Publish(Header(A, 7001, 17001), b"abc", b"de"))

MALFORMED = {
    "signature": patched(PING, 0, b"RCmc"),
    "length below the header": patched(PING, 4, (2255).to_bytes(4, "big")),
    "absurd length": patched(PING, 4, b"\xff\xff\xff\xff"),
    "more gossip than bytes": patched(PING, 14, (2).to_bytes(2, "big")),
    "less gossip than bytes": patched(PING, 14, (0).to_bytes(2, "big")),
    "sender id": patched(PING, 40, b"\n"),
    "null sender": patched(PING, 40, b"\0" * 40),
    "gossiped id": patched(PING, HEADER_BYTES, b" "),
    "gossiped address": patched(PING, HEADER_BYTES + 48, b"1 2\n"),
    "announced address": patched(PING, 2168, b"1.2.3.4 evil"),
    "extension longer than the frame": patched(HOST_PING, HEADER_BYTES, (24).to_bytes(4, "big")),
    "extension of length 0": patched(HOST_PING, HEADER_BYTES, (0).to_bytes(4, "big")),
    "extension not padded": patched(HOST_PING, HEADER_BYTES, (15).to_bytes(4, "big")),
    "extension missing": patched(HOST_PING, 2214, (2).to_bytes(2, "big")),
    "hostname": patched(HOST_PING, HEADER_BYTES + 8, b"a b\n"),
    "open slots: more groups than bytes": patched(OPEN_PING, OPEN_AT, (5).to_bytes(2, "big")),
    "open slots: node id": patched(OPEN_PING, OPEN_AT + 2, b"\n"),
    "open slots: neither migrating nor importing": patched(OPEN_PING, OPEN_AT + 42, (2).to_bytes(2, "big")),
    "open slots: more slots than bytes": patched(OPEN_PING, OPEN_AT + 44, (99).to_bytes(2, "big")),
    "open slots: no such slot": patched(OPEN_PING, OPEN_AT + 46, (16384).to_bytes(2, "big")),
    "publish channel length": patched(PUBLISH, HEADER_BYTES, (2**31).to_bytes(4, "big")),
    "publish payload length": patched(PUBLISH, HEADER_BYTES + 4, (1).to_bytes(4, "big")),
    "body on a vote": patched(patched(PING, 12, (6).to_bytes(2, "big")), 14, b"\0\0"),
    "short update": patched(PING, 12, (7).to_bytes(2, "big")),
    "wrong fail length": patched(PING, 12, (3).to_bytes(2, "big")),
    "short publish": patched(encode_message(AuthAck(Header(A, 1))), 12, (4).to_bytes(2, "big")),
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_malformed_frame_is_the_peers_error(name: str) -> None:
    with pytest.raises(BusProtocolError):
        FrameDecoder().feed(MALFORMED[name] + PING)


@given(st.binary(max_size=300), st.integers(0, len(PING)))
def test_any_damage_gives_messages_or_the_peers_error(noise: bytes, at: int) -> None:
    try:
        FrameDecoder().feed(patched(PING, at, noise) + PING)
    except BusProtocolError:
        return


def test_frame_of_another_version_is_skipped() -> None:
    decoder = FrameDecoder()
    future = patched(PING, 8, (2).to_bytes(2, "big"))
    assert [type(message) for message in decoder.feed(future + PING + future)] == [Ping]
    assert decoder.skipped == 2


@pytest.mark.parametrize("type_code", [9, 11, 200])
def test_unknown_type_is_passed_on_as_unknown(type_code: int) -> None:
    message = decode_frame(patched(PING, 12, type_code.to_bytes(2, "big")))
    assert isinstance(message, Unknown)
    assert (message.type_code, message.header.sender) == (type_code, A)


def test_unknown_extension_is_skipped() -> None:
    frame = patched(HOST_PING, HEADER_BYTES + 4, (77).to_bytes(2, "big"))
    message = decode_frame(frame)
    assert isinstance(message, Ping)
    assert not message.extensions


def test_extension_count_without_its_flag_is_ignored() -> None:
    frame = patched(PING, 2214, (9).to_bytes(2, "big"))
    message = decode_frame(frame)
    assert isinstance(message, Ping)
    assert len(message.gossip) == 1
