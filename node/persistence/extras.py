"""What a value has beside what its RDB object can say: today, the messages that producers of a stream have sent (IDMP).

In an RDB file it follows its key as an AUX field, at the end of a DUMP payload it stands in the same form. A stock
server skips AUX fields that it does not know, and does not look at what follows the object of a payload; so it reads
both, and loses no more than this.

    settings: seconds, messages per producer; messages ever noted, and found again; n, (producer, message, ID)*
"""

from __future__ import annotations

from typing import Final

from slotmesh.node.persistence.errors import FormatError, ShortRead
from slotmesh.node.persistence.rdb_strings import Reader, encode_length, encode_string
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_once import MAX_DURATION_S, MAX_MESSAGES, SentMessages

#: Name of the AUX field.
EXTRA: Final = b"slotmesh-stream-sent"
_AUX: Final = b"\xfa"
_ID_BYTES: Final = 16


def encode_extra(value: object) -> bytes:
    """The AUX field that belongs behind `value`; empty for nearly all values."""
    if type(value) is not StreamValue or value.sent is None:
        return b""
    sent = value.sent
    listed = sent.listed()
    numbers = (sent.duration_s, sent.max_messages, sent.added, sent.duplicates, len(listed))
    parts = [encode_length(number) for number in numbers]
    for producer, message, entry_id in listed:
        parts += (encode_string(producer, False), encode_string(message, False), entry_id.to_bytes(_ID_BYTES, "big"))
    return _AUX + encode_string(EXTRA, False) + encode_string(b"".join(parts), False)


def apply_extra(value: object, data: bytes) -> None:
    """Give `value` what the field behind it says. Raises FormatError."""
    if type(value) is not StreamValue:
        raise FormatError("sent messages behind a value that is no stream")
    try:
        value.sent = _decode(Reader(data))
    except ShortRead:
        raise FormatError("sent messages that end too early") from None


def _decode(reader: Reader) -> SentMessages:
    duration_s, max_messages, added, duplicates, count = (reader.length() for _ in range(5))
    if not 1 <= duration_s <= MAX_DURATION_S or not 1 <= max_messages <= MAX_MESSAGES:
        raise FormatError("sent messages with bad settings")
    listed: list[tuple[bytes, bytes, int]] = []
    for _ in range(count):
        producer = reader.string()
        listed.append((producer, reader.string(), int.from_bytes(reader.take(_ID_BYTES), "big")))
    if reader.pos != reader.end:
        raise FormatError("bytes behind sent messages")
    sent = SentMessages()
    sent.configure(duration_s, max_messages)
    sent.restore(listed, added, duplicates)
    return sent


def read_extra(value: object, reader: Reader) -> None:
    """Take the field that stands at the end of a payload. Raises FormatError."""
    if reader.take(1) != _AUX or reader.string() != EXTRA:
        raise reader.error("bytes behind the object")
    apply_extra(value, reader.string())
