"""The hash value: a dict of fields, and for the few that have one, the time at which a field expires.

Field expiry costs nothing until the first field gets one: `ttls` is None then. Once it exists, a heap of due times
tells in O(1) whether anything is due, so an access to a hash whose fields are all alive does not scan them. Removing
what is due is the caller's decision (a replica must wait for its primary): `due_fields` only tells.

`packed` is the one bit of the stock encodings: a hash starts as a listpack and becomes a hashtable for good once it
holds too many fields or too long a string.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Final

from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.random_order import RandomOrder

#: The latest expiry of a field, ms of Unix time: stock's encodings have 46 bits for it.
LATEST_EXPIRY_MS: Final = (1 << 46) - 1
_DICT_ENTRY_BYTES: Final = 104
_BYTES_HEADER: Final = 33


class HashValue:
    """Fields and their values. `fields` may be read freely; change it only through the methods."""

    __slots__ = ("_due", "_order", "fields", "packed", "ttls")

    TYPE: Final = b"hash"

    def __init__(self, fields: dict[bytes, bytes] | None = None, ttls: dict[bytes, int] | None = None) -> None:
        """Take over `fields` and `ttls` (field -> absolute expiry, ms of Unix time; every field must exist)."""
        self.fields: dict[bytes, bytes] = {} if fields is None else fields
        self.ttls: dict[bytes, int] | None = None
        self.packed = True
        self._due: list[tuple[int, bytes]] = []
        self._order: RandomOrder | None = None
        if fields:
            self._check_packed(fields)
            self._check_packed(fields.values())
        for field, at_ms in (ttls or {}).items():
            self.set_ttl(field, at_ms)

    def __len__(self) -> int:
        return len(self.fields)

    def encoding(self) -> bytes:
        """The word of OBJECT ENCODING."""
        return b"listpack" if self.packed else b"hashtable"

    def copy(self) -> HashValue:
        """An independent hash with the same fields, expiries and encoding."""
        twin = HashValue()
        twin.fields = self.fields.copy()
        twin.packed = self.packed
        if self.ttls is not None:
            twin.ttls = self.ttls.copy()
            twin._due = self._due.copy()
        return twin

    def size_bytes(self, samples: int = 5) -> int:
        """Estimated memory, from the first `samples` fields (0: all)."""
        fields = self.fields
        taken = list(islice(fields.items(), samples or None))
        total = 120 + 64 * len(self.ttls or ())
        if not taken:
            return total
        text = sum(len(field) + len(value) for field, value in taken)
        return total + len(fields) * (_DICT_ENTRY_BYTES + 2 * _BYTES_HEADER) + text * len(fields) // len(taken)

    # -- fields ----------------------------------------------------------------------------------------------

    def set(self, field: bytes, value: bytes) -> bool:
        """Store one field, dropping the expiry it had; True when the field is new."""
        fields = self.fields
        before = len(fields)
        fields[field] = value
        new = len(fields) > before
        if new and self._order is not None:
            self._order.added(field)
        if self.ttls is not None:
            self.clear_ttl(field)
        if self.packed:
            self._check_packed((field, value))
        return new

    def update(self, flat: list[bytes]) -> int:
        """Store `flat` = field, value, field, value, ... as `set` does; the number of new fields."""
        if self._order is not None or self.ttls is not None:
            return sum(self.set(flat[i], flat[i + 1]) for i in range(0, len(flat), 2))
        fields = self.fields
        before = len(fields)
        for i in range(0, len(flat), 2):
            fields[flat[i]] = flat[i + 1]
        if self.packed:
            self._check_packed(flat)
        return len(fields) - before

    def replace(self, field: bytes, value: bytes) -> None:
        """Store a new value in a field whose expiry stays (HINCRBY)."""
        if field in self.fields:
            self.fields[field] = value
            if self.packed:
                self._check_packed((value,))
        else:
            self.set(field, value)

    def remove(self, field: bytes) -> bool:
        """Remove a field and its expiry; False when there is none."""
        if self.fields.pop(field, None) is None:
            return False
        if self.ttls is not None:
            self.clear_ttl(field)
        if self._order is not None:
            self._order.removed(field)
        return True

    def random_field(self, rng: random.Random) -> bytes:
        """A field, each as likely as another. The hash must not be empty."""
        order = self._order
        if order is None or order.worn:
            order = self._order = RandomOrder(self.fields)
        return order.pick(rng)

    def _check_packed(self, texts: Iterable[bytes]) -> None:
        if len(self.fields) > LIMITS.hash_max_listpack_entries:
            self.packed = False
            return
        longest = LIMITS.hash_max_listpack_value
        for text in texts:
            if len(text) > longest:
                self.packed = False
                return

    # -- expiry of fields ------------------------------------------------------------------------------------

    def set_ttl(self, field: bytes, at_ms: int) -> None:
        """Give an existing field an expiry, or change it."""
        assert field in self.fields, field
        if self.ttls is None:
            self.ttls = {}
        self.ttls[field] = at_ms
        heappush(self._due, (at_ms, field))
        if len(self._due) > 2 * len(self.ttls) + 64:
            self._due = [(at, name) for name, at in self.ttls.items()]
            heapify(self._due)

    def clear_ttl(self, field: bytes) -> bool:
        """Take a field's expiry away; False when it had none."""
        if self.ttls is None or self.ttls.pop(field, None) is None:
            return False
        if not self.ttls:
            self.ttls = None
            self._due = []
        return True

    def next_expiry_ms(self) -> int | None:
        """The earliest expiry of a field, or None when no field has one."""
        ttls, due = self.ttls, self._due
        if ttls is None:
            return None
        while ttls.get(due[0][1]) != due[0][0]:
            heappop(due)  # the field is gone or its expiry was changed
        return due[0][0]

    def due_fields(self, now_ms: int) -> list[bytes]:
        """The fields whose expiry lies before `now_ms`; they stay until removed."""
        first = self.next_expiry_ms()
        if first is None or first >= now_ms:
            return []
        assert self.ttls is not None
        return [field for field, at_ms in self.ttls.items() if at_ms < now_ms]
