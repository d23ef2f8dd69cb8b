"""RDB files as a stream of bytes: a writer that takes keys, a decoder that takes bytes.

    "REDIS" <version, 4 digits> AUX* FUNCTION2* (SELECTDB RESIZEDB (<key record>)*)* EOF
    <key record> = [EXPIRETIME] [IDLE | FREQ] <type> <key> <value>
    <CRC-64 of all before, little-endian; 0: not computed>

Both are free of I/O. The decoder is fed chunks of any size, from a file or from a primary's socket, and gives every
complete key to its sink; what is incomplete waits for more. The loop can therefore decode a slice at a time and answer
clients between two slices (`node/persistence/loading.py`).

We write version 10, the one of the 7.0 line, and 11 at compat-level 7.2; a file with values that only a later version
can express (field expiry of hashes) says so in its header (docs/adr/0020). Versions 1 to 12 are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from slotmesh.cluster.numbers import to_uint
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.persistence.crc64 import crc64
from slotmesh.node.persistence.decode import EmptyValue, decode_object, skip_module
from slotmesh.node.persistence.encode import Encoder
from slotmesh.node.persistence.errors import FormatError, LoadError, ShortRead
from slotmesh.node.persistence.extras import encode_extra
from slotmesh.node.persistence.rdb_strings import Reader, encode_length, encode_string

WRITE_VERSION: Final = 10
#: The same at compat-level 7.2.
WRITE_VERSION_NEWER: Final = 11
#: The version to write when a hash has fields with an expiry of their own (Redis 7.4).
FIELD_EXPIRY_VERSION: Final = 12
MAX_VERSION: Final = 12

OP_SLOT_INFO: Final = 244
OP_FUNCTION2: Final = 245
OP_FUNCTION_OLD: Final = 246
OP_MODULE_AUX: Final = 247
OP_IDLE: Final = 248
OP_FREQ: Final = 249
OP_AUX: Final = 250
OP_RESIZEDB: Final = 251
OP_EXPIRE_MS: Final = 252
OP_EXPIRE_S: Final = 253
OP_SELECTDB: Final = 254
OP_EOF: Final = 255

_FLUSH_AT: Final = 1 << 16


def write_version(*, field_expiry: bool) -> int:
    """The version to write; `field_expiry`: a hash has fields with an expiry."""
    if field_expiry:
        return FIELD_EXPIRY_VERSION
    return WRITE_VERSION_NEWER if COMPAT.newer else WRITE_VERSION


class RdbWriter:
    """Builds an RDB out of its parts, handing bytes to `write` in pieces of some 64 KB.

    `checksum` false writes 0 in its place (`rdbchecksum no`).
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        *,
        version: int = WRITE_VERSION,
        compress: bool = True,
        checksum: bool = True,
    ) -> None:
        self._write = write
        self._version = version
        self._compress = compress
        self._encoder = Encoder(compress)
        self._checksum = checksum
        self._crc = 0
        self._parts: list[bytes] = []
        self._held = 0
        self.keys = 0
        self.bytes = 0

    def _put(self, *parts: bytes) -> None:
        self._parts += parts
        for part in parts:
            self._held += len(part)
        if self._held >= _FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        """Hand over what is gathered."""
        data = b"".join(self._parts)
        self._parts.clear()
        self._held = 0
        if self._checksum:
            self._crc = crc64(data, self._crc)
        self.bytes += len(data)
        self._write(data)

    def start(self, aux: Iterable[tuple[bytes, bytes]]) -> None:
        """Magic, version and the auxiliary fields."""
        self._put(b"REDIS%04d" % self._version)
        for name, value in aux:
            self._put(b"\xfa", encode_string(name, self._compress), encode_string(value, self._compress))

    def function(self, code: bytes) -> None:
        """The source of a function library."""
        self._put(b"\xf5", encode_string(code, self._compress))

    def database(self, index: int, keys: int, expires: int) -> None:
        """What follows belongs to database `index`."""
        self._put(b"\xfe", encode_length(index), b"\xfb", encode_length(keys), encode_length(expires))

    def key(
        self,
        key: bytes,
        value: object,
        expire_at_ms: int | None = None,
        idle_s: int | None = None,
        frequency: int | None = None,
    ) -> None:
        """One key with all that is known of it."""
        self.keys += 1
        if (
            type(value) is bytes and expire_at_ms is idle_s is frequency is None
        ):  # by far the most frequent, so in one go
            compress = self._compress
            data = b"\x00%b%b" % (encode_string(key, compress), encode_string(value, compress))
            self._parts.append(data)
            self._held += len(data)
            if self._held >= _FLUSH_AT:
                self.flush()
            return
        if expire_at_ms is not None:
            self._put(b"\xfc", expire_at_ms.to_bytes(8, "little", signed=True))
        if idle_s is not None:
            self._put(b"\xf8", encode_length(idle_s))
        if frequency is not None:
            self._put(b"\xf9", bytes((frequency,)))
        object_type, payload = self._encoder.encode(value)
        self._put(bytes((object_type,)), encode_string(key, self._compress), payload, encode_extra(value))

    def end(self) -> None:
        """The end mark and the checksum."""
        self._put(b"\xff")
        self.flush()
        tail = self._crc.to_bytes(8, "little") if self._checksum else bytes(8)
        self.bytes += 8
        self._write(tail)


class RdbSink(Protocol):
    """Where decoded parts go. Any of these may raise LoadError."""

    def on_aux(self, name: bytes, value: bytes) -> None: ...

    def on_function(self, code: bytes) -> None: ...

    def on_database(self, index: int) -> None: ...

    def on_key(
        self, key: bytes, value: object, expire_at_ms: int | None, idle_s: int | None, frequency: int | None
    ) -> None: ...


class RdbDecoder:
    """Decodes an RDB fed in chunks.

    Call `feed` with bytes, then `pump`; when no more bytes come, `finish`. After `finished`, `rest()` gives the bytes
    behind the RDB (the tail of an old-style AOF, an end-of-transfer mark). Raises LoadError on bad data.
    """

    def __init__(self, sink: RdbSink, *, verify: bool = True) -> None:
        self._sink = sink
        self._verify = verify
        self._reader = Reader(b"")
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._needed = 0
        self._crc = 0
        self._crc_pos = 0
        self._expire: int | None = None
        self._idle: int | None = None
        self._frequency: int | None = None
        self.version = 0
        self.finished = False
        self.keys = 0
        self.empty_keys = 0

    @property
    def offset(self) -> int:
        """Bytes decoded so far."""
        return self._reader.base + self._reader.pos

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the RDB."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)

    def rest(self) -> bytes:
        """What follows the RDB, as far as it was fed."""
        assert self.finished
        return b"".join((self._reader.buf[self._reader.pos :], *self._waiting))

    def _refill(self) -> None:
        reader = self._reader
        self._count_crc(reader.pos)
        self._crc_pos = 0
        reader.base += reader.pos
        reader.buf = b"".join((reader.buf[reader.pos :], *self._waiting))
        reader.pos = 0
        reader.end = len(reader.buf)
        self._waiting.clear()
        self._waiting_bytes = 0

    def _count_crc(self, upto: int) -> None:
        if self._verify and upto > self._crc_pos:
            self._crc = crc64(memoryview(self._reader.buf)[self._crc_pos : upto], self._crc)
        self._crc_pos = upto

    def pump(self, max_items: int = 1 << 62, *, last: bool = False) -> bool:
        """Decode up to `max_items` keys or records; True when it stopped because of that number.

        An object that is incomplete is tried again only when twice as many bytes are there, unless `last`: a value of
        many chunks is then decoded in a time proportional to its size.
        """
        reader = self._reader
        if reader.end - reader.pos + self._waiting_bytes < self._needed and not last:
            return False
        if self._waiting:
            self._refill()
        boundary = reader.pos
        try:
            while max_items > 0 and not self.finished:
                boundary = reader.pos
                if self.version:
                    self._item(reader)
                else:
                    self._header(reader)
                max_items -= 1
        except ShortRead as short:
            have = reader.end - boundary
            reader.pos = boundary
            self._needed = max(short.needed - boundary, 2 * have)
            return False
        except FormatError as error:
            raise LoadError(f"bad RDB: {error.what}, in the item at offset {reader.base + boundary}") from error
        self._needed = 0
        return not self.finished

    def finish(self) -> None:
        """No more bytes will come. Raises LoadError when the RDB is incomplete."""
        while self.pump(last=True):
            pass
        if not self.finished:
            raise LoadError(f"unexpected end of the RDB, in the item at offset {self.offset}")

    def _header(self, reader: Reader) -> None:
        magic = reader.take(9)
        version = to_uint(magic[5:])
        if magic[:5] != b"REDIS" or version is None:
            raise FormatError("wrong signature")
        if not 1 <= version <= MAX_VERSION:
            raise FormatError(f"cannot handle RDB format version {version}")
        self.version = version

    def _item(self, reader: Reader) -> None:
        if self._short_string(reader):
            return
        kind = reader.byte()
        if kind < OP_SLOT_INFO:
            key = reader.string()
            try:
                value = reader.string() if not kind else decode_object(kind, reader)
            except EmptyValue:
                self.empty_keys += 1  # stock once wrote such keys by mistake; it skips them now, and so do we
            else:
                self.keys += 1
                self._sink.on_key(key, value, self._expire, self._idle, self._frequency)
            self._expire = self._idle = self._frequency = None
        elif kind == OP_EXPIRE_MS:
            self._expire = reader.int64()
        elif kind == OP_IDLE:
            self._idle = reader.length()
        elif kind == OP_FREQ:
            self._frequency = reader.byte()
        elif kind == OP_EOF:
            self._end(reader)
        else:
            self._rare_item(kind, reader)

    def _short_string(self, reader: Reader) -> bool:
        """Decode a key with up to 63 bytes whose value is a plain string of up to 16 KB: what most items are."""
        buf, start, end = reader.buf, reader.pos + 2, reader.end
        if start >= end or buf[start - 2] or buf[start - 1] >= 0x40:
            return False
        key_end = start + buf[start - 1]
        if key_end + 2 > end or buf[key_end] >= 0x80:
            return False
        size, value_start = buf[key_end], key_end + 1
        if size >= 0x40:
            size, value_start = (size & 0x3F) << 8 | buf[value_start], key_end + 2
        value_end = value_start + size
        if value_end > end:
            return False
        reader.pos = value_end
        self.keys += 1
        self._sink.on_key(buf[start:key_end], buf[value_start:value_end], self._expire, self._idle, self._frequency)
        self._expire = self._idle = self._frequency = None
        return True

    def _rare_item(self, kind: int, reader: Reader) -> None:
        if kind == OP_AUX:
            name, value = reader.string(), reader.string()
            self._sink.on_aux(name, value)
        elif kind == OP_SELECTDB:
            self._sink.on_database(reader.length())
        elif kind == OP_RESIZEDB:
            reader.length(), reader.length()  # a hint for hash tables that grow in steps; ours do not
        elif kind == OP_FUNCTION2:
            self._sink.on_function(reader.string())
        elif kind == OP_EXPIRE_S:
            self._expire = int.from_bytes(reader.take(4), "little", signed=True) * 1000
        elif kind == OP_SLOT_INFO:
            for _ in range(3):  # slot, its keys, its expiring keys: sizes for tables, like RESIZEDB
                reader.length()
        elif kind == OP_MODULE_AUX:
            module = skip_module(reader, aux=True)
            raise FormatError(f"the file holds data of the module {module!r}, which is not available here")
        else:
            raise FormatError("function format of a 7.0 release candidate, which no release can read")

    def _end(self, reader: Reader) -> None:
        if self.version >= 5:
            covered = reader.pos
            stored = reader.uint(8)
            self._count_crc(covered)
            if self._verify and stored and stored != self._crc:
                raise FormatError(f"RDB CRC error: the file says {stored:016x}, its content {self._crc:016x}")
        self.finished = True


def load_rdb(chunks: Iterable[bytes], sink: RdbSink, *, verify: bool = True) -> RdbDecoder:
    """Decode a whole RDB from an iterable of chunks. Raises LoadError."""
    decoder = RdbDecoder(sink, verify=verify)
    for chunk in chunks:
        decoder.feed(chunk)
        decoder.pump()
    decoder.finish()
    return decoder
