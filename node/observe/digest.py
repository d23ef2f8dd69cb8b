"""DEBUG DIGEST: a fingerprint of the data set that equals the stock server's for the same data.

So tests can ask whether a replica, a reloaded file or a stock server holds the same keys without fetching them.
Unordered things are combined by exclusive or, ordered ones by hashing in turn; an expiry counts, its time does not.
(The format's source is the behaviour of stock 7.0; expiry of hash fields, which stock 7.0 lacks, is left out.)
"""

from __future__ import annotations

from hashlib import sha1
from struct import pack
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.types.hash import HashValue
from slotmesh.node.types.list import ListValue
from slotmesh.node.types.set import SetValue
from slotmesh.node.types.sorted_set import SortedSetValue
from slotmesh.node.types.stream import StreamValue

if TYPE_CHECKING:
    from slotmesh.node.keyspace.database import Database
    from slotmesh.node.keyspace.keyspace import Keyspace

_STRING, _LIST, _SET, _SORTED_SET, _HASH, _STREAM = 0, 1, 2, 3, 4, 6
_ID_BITS: Final = 64


class _Digest:
    """160 bits that data are mixed into."""

    __slots__ = ("bits",)

    def __init__(self) -> None:
        self.bits = 0

    def add(self, data: bytes) -> None:
        """Add an element whose place does not matter."""
        self.bits ^= int.from_bytes(sha1(data, usedforsecurity=False).digest(), "big")

    def mix(self, data: bytes) -> None:
        """Add an element whose place matters."""
        self.add(data)
        self.bits = int.from_bytes(sha1(self.to_bytes(), usedforsecurity=False).digest(), "big")

    def to_bytes(self) -> bytes:
        """The 20 bytes."""
        return self.bits.to_bytes(20, "big")


def _pair(first: bytes, second: bytes) -> bytes:
    digest = _Digest()
    digest.mix(first)
    digest.mix(second)
    return digest.to_bytes()


def _mix_value(digest: _Digest, value: Any, has_expiry: bool) -> None:
    if isinstance(value, ListValue):
        digest.mix(pack(">I", _LIST))
        for item in value:
            digest.mix(item)
    elif isinstance(value, SetValue):
        digest.mix(pack(">I", _SET))
        for member in value.members:
            digest.add(member)
    elif isinstance(value, SortedSetValue):
        digest.mix(pack(">I", _SORTED_SET))
        for member, score in value.scores.items():
            digest.add(_pair(member, b"%.17g" % score))
    elif isinstance(value, HashValue):
        digest.mix(pack(">I", _HASH))
        for field, text in value.fields.items():
            digest.add(_pair(field, text))
    elif isinstance(value, StreamValue):
        digest.mix(pack(">I", _STREAM))
        for entry_id, flat in value:
            digest.mix(b"%d.%d" % (entry_id >> _ID_BITS, entry_id & ((1 << _ID_BITS) - 1)))
            for word in flat:
                digest.mix(word)
    else:
        digest.mix(pack(">I", _STRING))
        digest.mix(bytes(value))
    if has_expiry:
        digest.add(b"!!expire!!")


def value_digest(value: Any, has_expiry: bool) -> str:
    """The fingerprint of one value, without its key."""
    digest = _Digest()
    _mix_value(digest, value, has_expiry)
    return digest.to_bytes().hex()


def data_digest(keyspace: Keyspace) -> str:
    """The fingerprint of all databases; forty zeros when they are empty."""
    whole = _Digest()
    for db in keyspace.dbs:
        if db.size:
            whole.mix(pack(">I", db.index))
            _add_database(whole, db)
    return whole.to_bytes().hex()


def _add_database(whole: _Digest, db: Database) -> None:
    for key, value, expiry in db.items():
        digest = _Digest()
        digest.mix(key)
        _mix_value(digest, value, expiry is not None)
        whole.add(digest.to_bytes())
