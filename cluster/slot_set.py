"""An immutable set of hash slots, kept as one big integer.

Bit *n* of the integer is slot *n*. That makes the wire form (a bitmap of 2,048 bytes, slot *n* in bit ``n % 8`` of byte
``n // 8``) just the little-endian bytes of the integer, and union, difference and comparison of whole slot maps single
operations in C. Gossip compares such a bitmap with what is known for every ping received, so this has to be cheap.

The text form is that of ``CLUSTER NODES`` and ``nodes.conf``: ``0-5460 7000 7010-7019``.

Not here: who owns the slots (``slot_map``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from slotmesh.cluster.numbers import to_uint
from slotmesh.cluster.slots import SLOT_COUNT

BITMAP_BYTES = SLOT_COUNT // 8
_ALL = (1 << SLOT_COUNT) - 1

#: Of a set in more pieces the runs are found in its text: each step on a large number takes half a microsecond.
_MANY_RUNS = 16
_RUN = re.compile("1+")
_FLAGS = bytes.maketrans(b"01", b"\0\1")


class SlotSet:
    """A frozen set of slot numbers (0 to 16383). Iterates in ascending order; hashable; compares by content."""

    __slots__ = ("_text", "mask")

    mask: int
    _text: str

    def __init__(self, slots: Iterable[int] = ()) -> None:
        """From slot numbers; ``ValueError`` for one outside 0..16383."""
        mask = 0
        for slot in slots:
            if not 0 <= slot < SLOT_COUNT:
                raise ValueError(f"slot out of range: {slot}")
            mask |= 1 << slot
        self.mask = mask

    @classmethod
    def from_mask(cls, mask: int) -> SlotSet:
        """From an integer whose bit *n* stands for slot *n*; ``ValueError`` when a bit above 16383 is set."""
        if not 0 <= mask <= _ALL:
            raise ValueError("slot mask out of range")
        made = cls.__new__(cls)
        made.mask = mask
        return made

    @classmethod
    def from_bitmap(cls, bitmap: bytes) -> SlotSet:
        """From the 2,048-byte bitmap of the bus protocol; ``ValueError`` for another length."""
        if len(bitmap) != BITMAP_BYTES:
            raise ValueError(f"a slot bitmap has {BITMAP_BYTES} bytes, not {len(bitmap)}")
        made = cls.__new__(cls)
        made.mask = int.from_bytes(bitmap, "little")
        return made

    @classmethod
    def from_range(cls, first: int, last: int) -> SlotSet:
        """All slots from ``first`` to ``last``, both included; ``ValueError`` when that is not a range of slots."""
        if not 0 <= first <= last < SLOT_COUNT:
            raise ValueError(f"not a range of slots: {first}-{last}")
        return cls.from_mask((1 << (last + 1)) - (1 << first))

    @classmethod
    def from_text(cls, text: str) -> SlotSet:
        """From ``"0-5460 7000"`` (blank-separated, any order); ``ValueError`` for anything else."""
        mask = 0
        for word in text.split():
            first, dash, last = word.partition("-")
            low = to_uint(first)
            high = to_uint(last) if dash else low
            if low is None or high is None:
                raise ValueError(f"not a slot or a range of slots: {word!r}")
            mask |= cls.from_range(low, high).mask
        return cls.from_mask(mask)

    def to_bitmap(self) -> bytes:
        """The 2,048-byte bitmap of the bus protocol."""
        return self.mask.to_bytes(BITMAP_BYTES, "little")

    def to_flags(self) -> bytes:
        """A byte for each slot: 1 when it is in the set, else 0."""
        digits = bin(self.mask)[:1:-1].encode() if self.mask else b""
        return digits.translate(_FLAGS).ljust(SLOT_COUNT, b"\0")

    def to_text(self) -> str:
        """The ranges as ``CLUSTER NODES`` writes them, e.g. ``"0-5460 7000"``; empty for the empty set."""
        try:
            return self._text
        except AttributeError:  # made once: sets live long, and all slots are written whenever one changes
            runs = [f"{first}-{last}" if first != last else str(first) for first, last in self.ranges()]
            self._text = " ".join(runs)
            return self._text

    def ranges(self) -> list[tuple[int, int]]:
        """Maximal runs of consecutive slots as (first, last), both included, ascending."""
        if (self.mask & ~(self.mask << 1)).bit_count() > _MANY_RUNS:
            return [(run.start(), run.end() - 1) for run in _RUN.finditer(bin(self.mask)[:1:-1])]
        runs: list[tuple[int, int]] = []
        rest = self.mask
        base = 0
        while rest:
            gap = (rest & -rest).bit_length() - 1
            rest >>= gap
            length = (~rest & (rest + 1)).bit_length() - 1
            first = base + gap
            runs.append((first, first + length - 1))
            rest >>= length
            base = first + length
        return runs

    def __iter__(self) -> Iterator[int]:
        for first, last in self.ranges():
            yield from range(first, last + 1)

    def __len__(self) -> int:
        return self.mask.bit_count()

    def __bool__(self) -> bool:
        return self.mask != 0

    def __contains__(self, slot: int) -> bool:
        return self.mask >> slot & 1 == 1

    def __or__(self, other: SlotSet) -> SlotSet:
        return SlotSet.from_mask(self.mask | other.mask)

    def __and__(self, other: SlotSet) -> SlotSet:
        return SlotSet.from_mask(self.mask & other.mask)

    def __sub__(self, other: SlotSet) -> SlotSet:
        return SlotSet.from_mask(self.mask & ~other.mask)

    def __le__(self, other: SlotSet) -> bool:
        """Whether every slot of this set is in ``other``."""
        return self.mask & ~other.mask == 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SlotSet) and self.mask == other.mask

    def __hash__(self) -> int:
        return hash(self.mask)

    def __repr__(self) -> str:
        return f"SlotSet({self.to_text()!r})"


NO_SLOTS = SlotSet()
ALL_SLOTS = SlotSet.from_mask(_ALL)
