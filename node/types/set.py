"""The set value: a Python set, plus a random order once somebody asks for random members.

Set algebra is done by the commands directly on `members`, where C does the work. The encodings are those of stock: an
intset while all members are integers and few, a listpack when the configuration allows one (as of 7.2; off by
default), else a hashtable; never back.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import islice
from typing import Final

from slotmesh.cluster.numbers import to_int64
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.random_order import RandomOrder

INTSET: Final = 0
LISTPACK: Final = 1
HASHTABLE: Final = 2
_ENCODING_WORDS: Final = (b"intset", b"listpack", b"hashtable")
_SET_ENTRY_BYTES: Final = 66


def is_int64(text: bytes) -> bool:
    """True for the canonical decimal form of an int64: what an intset can hold."""
    return to_int64(text) is not None


class SetValue:
    """A set of byte strings. `members` may be read freely; change it only through the methods."""

    __slots__ = ("_order", "form", "members")

    TYPE: Final = b"set"

    def __init__(self, members: Iterable[bytes] = ()) -> None:
        self.members: set[bytes] = members if type(members) is set else set(members)
        self._order: RandomOrder | None = None
        #: Which of the stock encodings this set has by now.
        self.form = INTSET
        if self.members:
            self._check_form(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, member: bytes) -> bool:
        return member in self.members

    def encoding(self) -> bytes:
        """The word of OBJECT ENCODING."""
        return _ENCODING_WORDS[self.form]

    def copy(self) -> SetValue:
        """An independent set with the same members and encoding."""
        twin = SetValue()
        twin.members = self.members.copy()
        twin.form = self.form
        return twin

    def size_bytes(self, samples: int = 5) -> int:
        """Estimated memory, from `samples` members (0: all)."""
        count = len(self.members)
        taken = list(islice(self.members, samples or None))
        text = sum(map(len, taken)) * count // max(1, len(taken))
        return 264 + (_SET_ENTRY_BYTES + (8 if self._order is not None else 0)) * count + text

    def listed(self) -> list[bytes]:
        """All members; those of an intset in ascending order, as stock keeps them."""
        if self.form == INTSET:
            return sorted(self.members, key=int)
        return list(self.members)

    def expect(self, first: bytes, count: int) -> None:
        """`count` members, `first` and others, are about to be added. Stock 7.2 takes the encoding that would hold them
        all if none of them were there already, and looks at no more than the first."""
        if not self.members:
            self.form = INTSET if is_int64(first) and count <= LIMITS.set_max_intset_entries else LISTPACK
        if count > (LIMITS.set_max_intset_entries if self.form == INTSET else LIMITS.set_max_listpack_entries):
            self.form = HASHTABLE

    def add(self, member: bytes) -> bool:
        """Add a member; False when it was there."""
        members = self.members
        if member in members:
            return False
        members.add(member)
        if self._order is not None:
            self._order.added(member)
        if self.form != HASHTABLE:
            self._check_form((member,))
        return True

    def remove(self, member: bytes) -> bool:
        """Remove a member; False when there was none."""
        members = self.members
        if member not in members:
            return False
        members.discard(member)
        if self._order is not None:
            self._order.removed(member)
        return True

    def random_member(self, rng: random.Random) -> bytes:
        """A member, each as likely as another. The set must not be empty."""
        return self._random_order().pick(rng)

    def pop_random(self, rng: random.Random) -> bytes:
        """Remove and return a random member. The set must not be empty."""
        member = self._random_order().pop(rng)
        self.members.discard(member)
        return member

    def _random_order(self) -> RandomOrder:
        order = self._order
        if order is None or order.worn:
            order = self._order = RandomOrder(self.members)
        return order

    def _check_form(self, added: Iterable[bytes]) -> None:
        """Move on to the next encoding if `added`, or the size, no longer fits."""
        size = len(self.members)
        if self.form == INTSET:
            if all(map(is_int64, added)):
                if size > LIMITS.set_max_intset_entries:
                    self.form = HASHTABLE  # even where a listpack might hold so many
                return
            self.form = LISTPACK
            added = self.members
        longest = LIMITS.set_max_listpack_value
        most = LIMITS.set_max_listpack_entries if COMPAT.newer else 0  # 7.0 knows no listpack of members
        if size > most or any(len(member) > longest for member in added):
            self.form = HASHTABLE
