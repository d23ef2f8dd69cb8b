"""Frames of the stock cluster bus protocol, version 1: bytes <-> the records of ``messages``.

A frame is a header of 2,256 bytes and a body whose form depends on the type; all numbers are big-endian. PING, PONG and
MEET carry gossip entries of 104 bytes and, when flagged, extensions padded to 8 bytes. The facts are those of stock
7.0 to 7.4; a 7.0 peer sends only the hostname extension and skips the others.

What a peer may get wrong ends in :class:`BusProtocolError` and the driver drops the link. What a *newer* peer may do is
no error: another protocol version, an unknown message type and an unknown extension are skipped.

Not here: sockets (``bus``) and any judgement of what the messages say (``core``).
"""

from __future__ import annotations

import re
from struct import Struct

from slotmesh.cluster.messages import (
    TYPE_NAMES,
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
from slotmesh.cluster.slots import SLOT_COUNT
from slotmesh.cluster.terms import MESSAGE_EXTENSIONS

SIGNATURE = b"RCmb"
PROTOCOL_VERSION = 1
HEADER_BYTES = 2256
MAX_FRAME_BYTES = HEADER_BYTES + 8 + 2 * 512 * 1024 * 1024
"""Longest frame accepted: a PUBLISH of the largest channel name and payload a client may send."""

MAX_STRANGER_FRAME_BYTES = 4 * 1024 * 1024
"""Longest frame of a peer that has not said yet who it is: a heartbeat with gossip about a very large cluster."""

_HEADER = Struct(">4sIHHHHQQq40s2048s40s46sH30xHHHB3s")
_PREFIX = Struct(">4sIH")
_GOSSIP = Struct(">40sII46sHHHHH")
_PUBLISH = Struct(">II")
_UPDATE = Struct(">Q40s2048s")
_EXTENSION = Struct(">IH2x")
_FORGOTTEN = Struct(">40sQ")

_EXT_HOSTNAME, _EXT_HUMAN_NODENAME, _EXT_FORGOTTEN, _EXT_SHARD_ID = range(4)
_EXT_OPEN_SLOTS = 0x736D
"""Ours ("sm"): number of the statement, how many groups, then for each (node id, 0 migrating or 1 importing, how many
slots) and the slots."""
_STATEMENT = Struct(">QH")
_GROUP = Struct(">40sHH")
_NO_ID = b"\0" * 40
_ID = re.compile(rb"[0-9a-z]{40}\Z")
_ADDRESS = re.compile(rb"[0-9A-Za-z:.%_-]*\Z")
_NAME = re.compile(rb"[0-9A-Za-z._-]{0,255}\Z")
"""Addresses and names end up in nodes.conf and in replies: nothing that separates fields there may be in them."""


class BusProtocolError(Exception):
    """The peer sent what the protocol does not allow; its link is to be dropped. The text says what was wrong."""


def _encode_id(node_id: str) -> bytes:
    return node_id.encode("ascii") if node_id else _NO_ID


def _decode_id(raw: bytes, what: str) -> str:
    if _ID.match(raw) is None:
        raise BusProtocolError(f"bad node id in {what}")
    return raw.decode("ascii")


def _decode_text(raw: bytes, pattern: re.Pattern[bytes], what: str) -> str:
    text = raw.partition(b"\0")[0]
    if pattern.match(text) is None:
        raise BusProtocolError(f"bad characters in {what}")
    return text.decode("ascii")


def _encode_header(message: Message, message_flags: int, body_bytes: int, count: int, extensions: int) -> bytes:
    h = message.header
    return _HEADER.pack(
        SIGNATURE,
        HEADER_BYTES + body_bytes,
        PROTOCOL_VERSION,
        h.port,
        message.type_code,
        count,
        h.current_epoch,
        h.config_epoch,
        h.offset,
        _encode_id(h.sender),
        h.slots.to_bitmap(),
        _encode_id(h.primary_id),
        h.ip.encode("ascii"),
        extensions,
        h.pport,
        h.cport,
        h.flags,
        0 if h.cluster_ok else 1,
        message_flags.to_bytes(3, "little"),
    )


def _encode_extension(code: int, data: bytes) -> bytes:
    padded = data + b"\0" * (-len(data) % 8)
    return _EXTENSION.pack(_EXTENSION.size + len(padded), code) + padded


def _encode_extensions(extensions: Extensions) -> list[bytes]:
    parts = []
    if extensions.hostname:
        parts.append(_encode_extension(_EXT_HOSTNAME, extensions.hostname.encode("ascii") + b"\0"))
    if extensions.human_nodename:
        parts.append(_encode_extension(_EXT_HUMAN_NODENAME, extensions.human_nodename.encode("ascii") + b"\0"))
    for gone in extensions.forgotten:
        parts.append(_encode_extension(_EXT_FORGOTTEN, _FORGOTTEN.pack(_encode_id(gone.node_id), gone.ttl_s)))
    if extensions.shard_id:
        parts.append(_encode_extension(_EXT_SHARD_ID, _encode_id(extensions.shard_id)))
    if extensions.open_slots is not None:
        parts.append(_encode_extension(_EXT_OPEN_SLOTS, _encode_open_slots(extensions.open_slots)))
    return parts


def _encode_open_slots(opened: OpenSlots) -> bytes:
    groups: dict[tuple[str, int], list[int]] = {}
    for kind, entries in enumerate((opened.migrating_to, opened.importing_from)):
        for slot, node_id in entries:
            groups.setdefault((node_id, kind), []).append(slot)
    parts = [_STATEMENT.pack(opened.number, len(groups))]
    for (node_id, kind), slots in groups.items():
        parts += [_GROUP.pack(_encode_id(node_id), kind, len(slots)), Struct(f">{len(slots)}H").pack(*slots)]
    return b"".join(parts)


def _decode_open_slots(data: bytes) -> OpenSlots:
    tables: tuple[dict[int, str], dict[int, str]] = ({}, {})
    if len(data) < _STATEMENT.size:
        raise BusProtocolError("truncated open-slots extension")
    number, groups = _STATEMENT.unpack_from(data)
    at = _STATEMENT.size
    for _ in range(groups):
        if at + _GROUP.size > len(data):
            raise BusProtocolError("truncated open-slots extension")
        raw_id, kind, count = _GROUP.unpack_from(data, at)
        at += _GROUP.size
        if kind > 1 or at + 2 * count > len(data):
            raise BusProtocolError("bad group in an open-slots extension")
        node_id = _decode_id(raw_id, "open-slots extension")
        slots = Struct(f">{count}H").unpack_from(data, at)
        at += 2 * count
        if any(slot >= SLOT_COUNT for slot in slots):
            raise BusProtocolError("bad slot in an open-slots extension")
        tables[kind].update(dict.fromkeys(slots, node_id))
    migrating, importing = (tuple(sorted(table.items())) for table in tables)
    return OpenSlots(migrating, importing, number)


def _encode_gossip(entry: GossipEntry) -> bytes:
    return _GOSSIP.pack(
        _encode_id(entry.node_id),
        entry.ping_sent_s,
        entry.pong_received_s,
        entry.ip.encode("ascii"),
        entry.port,
        entry.cport,
        entry.flags,
        entry.pport,
        0,
    )


def encode_message(message: Message) -> bytes:
    """One frame. ``struct.error`` or ``ValueError`` when a field is out of range: that is a bug of the caller."""
    count = 0
    extension_count = 0
    message_flags = message.header.message_flags
    body: list[bytes] = []
    if isinstance(message, Ping | Pong | Meet):
        extensions = _encode_extensions(message.extensions)
        if extensions:
            message_flags |= MESSAGE_EXTENSIONS
        count = len(message.gossip)
        extension_count = len(extensions)
        body = [_encode_gossip(entry) for entry in message.gossip] + extensions
    elif isinstance(message, Publish):
        body = [_PUBLISH.pack(len(message.channel), len(message.payload)), message.channel, message.payload]
    elif isinstance(message, Fail):
        body = [_encode_id(message.node_id)]
    elif isinstance(message, Update):
        body = [_UPDATE.pack(message.config_epoch, _encode_id(message.node_id), message.slots.to_bitmap())]
    elif isinstance(message, Unknown):
        raise ValueError("a message of unknown type cannot be encoded")
    header = _encode_header(message, message_flags, sum(map(len, body)), count, extension_count)
    return b"".join([header, *body])


def _decode_extensions(frame: bytes, at: int, count: int) -> Extensions:
    hostname = human_nodename = shard_id = ""
    forgotten: list[ForgottenNode] = []
    open_slots: OpenSlots | None = None
    for _ in range(count):
        if at + _EXTENSION.size > len(frame):
            raise BusProtocolError("extension exceeds its frame")
        length, code = _EXTENSION.unpack_from(frame, at)
        if length % 8 or length < _EXTENSION.size or at + length > len(frame):
            raise BusProtocolError("bad extension length")
        data = frame[at + _EXTENSION.size : at + length]
        at += length
        if code == _EXT_HOSTNAME:
            hostname = _decode_text(data, _NAME, "hostname")
        elif code == _EXT_HUMAN_NODENAME:
            human_nodename = _decode_text(data, _NAME, "node name")
        elif code == _EXT_FORGOTTEN:
            if len(data) != _FORGOTTEN.size:
                raise BusProtocolError("bad length of a forgotten-node extension")
            raw_id, ttl_s = _FORGOTTEN.unpack(data)
            forgotten.append(ForgottenNode(_decode_id(raw_id, "forgotten-node extension"), ttl_s))
        elif code == _EXT_SHARD_ID:
            shard_id = _decode_id(data, "shard-id extension")
        elif code == _EXT_OPEN_SLOTS:
            open_slots = _decode_open_slots(data)
    if at != len(frame):
        raise BusProtocolError("frame longer than its content")
    return Extensions(hostname, human_nodename, shard_id, tuple(forgotten), open_slots)


def _decode_heartbeat(
    kind: type[Ping] | type[Pong] | type[Meet], header: Header, frame: bytes, count: int, extensions: int
) -> Message:
    end = HEADER_BYTES + count * _GOSSIP.size
    if end > len(frame):
        raise BusProtocolError("gossip exceeds its frame")
    gossip = []
    for at in range(HEADER_BYTES, end, _GOSSIP.size):
        raw_id, ping_s, pong_s, raw_ip, port, cport, flags, pport, _ = _GOSSIP.unpack_from(frame, at)
        node_id = _decode_id(raw_id, "gossip")
        ip = _decode_text(raw_ip, _ADDRESS, "gossiped address")
        gossip.append(GossipEntry(node_id, ping_s, pong_s, ip, port, cport, flags, pport))
    if not header.message_flags & MESSAGE_EXTENSIONS:
        extensions = 0
    return kind(header, tuple(gossip), _decode_extensions(frame, end, extensions))


def _decode_publish(header: Header, body: bytes, sharded: bool) -> Publish:
    if len(body) < _PUBLISH.size:
        raise BusProtocolError("truncated publish")
    channel_bytes, payload_bytes = _PUBLISH.unpack_from(body)
    end = _PUBLISH.size + channel_bytes
    if len(body) != end + payload_bytes:
        raise BusProtocolError("lengths inside a publish do not add up")
    return Publish(header, body[_PUBLISH.size : end], body[end:], sharded)


def decode_frame(frame: bytes) -> Message:
    """The message of one whole frame of version 1; :class:`BusProtocolError` when it is malformed."""
    if len(frame) < HEADER_BYTES:
        raise BusProtocolError("frame shorter than its header")
    (
        signature,
        total,
        version,
        port,
        type_code,
        count,
        current_epoch,
        config_epoch,
        offset,
        raw_sender,
        bitmap,
        raw_primary,
        raw_ip,
        extensions,
        pport,
        cport,
        flags,
        state,
        message_flags,
    ) = _HEADER.unpack_from(frame)
    if signature != SIGNATURE or total != len(frame) or version != PROTOCOL_VERSION:
        raise BusProtocolError("not one frame of version 1")
    header = Header(
        sender=_decode_id(raw_sender, "header"),
        port=port,
        cport=cport,
        pport=pport,
        ip=_decode_text(raw_ip, _ADDRESS, "announced address"),
        flags=flags,
        cluster_ok=state == 0,
        message_flags=int.from_bytes(message_flags, "little"),
        current_epoch=current_epoch,
        config_epoch=config_epoch,
        offset=offset,
        slots=SlotSet.from_bitmap(bitmap),
        primary_id="" if raw_primary == _NO_ID else _decode_id(raw_primary, "header"),
    )
    return _decode_body(header, type_code, frame, count, extensions)


def _decode_body(header: Header, type_code: int, frame: bytes, count: int, extensions: int) -> Message:
    name = TYPE_NAMES[type_code] if type_code < len(TYPE_NAMES) else ""
    if name == "ping":
        return _decode_heartbeat(Ping, header, frame, count, extensions)
    if name == "pong":
        return _decode_heartbeat(Pong, header, frame, count, extensions)
    if name == "meet":
        return _decode_heartbeat(Meet, header, frame, count, extensions)
    body = frame[HEADER_BYTES:]
    if name in ("publish", "publishshard"):
        return _decode_publish(header, body, name == "publishshard")
    if name == "fail":
        return Fail(header, _decode_id(body, "fail message"))
    if name == "update":
        if len(body) != _UPDATE.size:
            raise BusProtocolError("bad length of an update")
        epoch, raw_id, bitmap = _UPDATE.unpack(body)
        return Update(header, _decode_id(raw_id, "update message"), epoch, SlotSet.from_bitmap(bitmap))
    if name in ("auth-req", "auth-ack", "mfstart"):
        if body:
            raise BusProtocolError(f"{name} message with a body")
        if name == "auth-req":
            return AuthRequest(header)
        return AuthAck(header) if name == "auth-ack" else ManualFailoverStart(header)
    return Unknown(header, type_code)


class FrameDecoder:
    """Cuts a byte stream into messages, whatever the cuts of the transport.

    After a :class:`BusProtocolError` the stream is out of step and the decoder must not be fed again.
    """

    __slots__ = ("_buffer", "skipped")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.skipped = 0
        """Frames of another protocol version, ignored."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes waiting for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes, most_bytes: int = MAX_FRAME_BYTES) -> list[Message]:
        """Take ``data``; return the messages completed by it, in order. ``most_bytes``: a longer frame is refused."""
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        at = 0
        while len(buffer) - at >= _PREFIX.size:
            signature, total, version = _PREFIX.unpack_from(buffer, at)
            if signature != SIGNATURE:
                raise BusProtocolError("bad signature")
            if not HEADER_BYTES <= total <= most_bytes:
                raise BusProtocolError(f"bad frame length {total}")
            if len(buffer) - at < total:
                break
            if version == PROTOCOL_VERSION:
                messages.append(decode_frame(bytes(buffer[at : at + total])))
            else:
                self.skipped += 1
            at += total
        if at:
            del buffer[:at]
        return messages
