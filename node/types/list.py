"""The list value: one array of references with free room at its front.

`collections.deque` pushes fast but reaches its middle in O(n), and it has no slices, so LRANGE deep in a long list
would walk. Here both ends push and pop in O(1) amortised, an index is one array access and a range is one C slice.
The price is a move of references when the front room runs out (it doubles, so rarely) and for inserts in the middle,
at 8 bytes per element: about a millisecond per million.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

_BYTES_HEADER: Final = 33
_MIN_ROOM: Final = 8
#: Free front cells are given back once they outnumber the elements by this many.
_SLACK: Final = 64


class ListValue:
    """A list of byte strings. Indexes are in `range(len(self))`; callers translate negative ones."""

    __slots__ = ("_cells", "_head")

    TYPE: Final = b"list"

    def __init__(self, items: Iterable[bytes] = ()) -> None:
        #: The elements are `_cells[_head:]`; the cells before hold nothing of interest.
        self._cells: list[bytes] = list(items)
        self._head = 0

    @property
    def items(self) -> tuple[bytes, ...]:
        """All elements, as of now."""
        return tuple(self._cells[self._head :])

    def __len__(self) -> int:
        return len(self._cells) - self._head

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._cells[self._head :])

    def encoding(self) -> bytes:
        """The word of OBJECT ENCODING: the 7.0 line knows one encoding of lists."""
        return b"quicklist"

    def copy(self) -> ListValue:
        """An independent list of the same elements."""
        return ListValue(self._cells[self._head :])

    def size_bytes(self, samples: int = 5) -> int:
        """Estimated memory, from the first `samples` elements (0: all)."""
        count = len(self)
        taken = self.slice(0, samples or count)
        text = sum(map(len, taken)) * count // max(1, len(taken))
        return 88 + 8 * len(self._cells) + _BYTES_HEADER * count + text

    # -- both ends -------------------------------------------------------------------------------------------

    def push_left(self, values: Sequence[bytes]) -> None:
        """Put each of `values` in front, one after the other: the last one becomes the first element."""
        count = len(values)
        if self._head < count:
            room = max(_MIN_ROOM, count, len(self._cells) - self._head)
            self._cells[: self._head] = [b""] * room
            self._head = room
        head = self._head
        if count == 1:
            self._cells[head - 1] = values[0]
        else:
            self._cells[head - count : head] = values[::-1]
        self._head = head - count

    def push_right(self, values: Sequence[bytes]) -> None:
        """Append `values`."""
        if len(values) == 1:
            self._cells.append(values[0])
        else:
            self._cells.extend(values)

    def pop_left(self, count: int = 1) -> list[bytes]:
        """Remove up to `count` first elements and return them in order."""
        head = self._head
        cells = self._cells
        if count == 1 and head < len(cells):
            value = cells[head]
            cells[head] = b""  # the cell must not keep the value alive
            taken = [value]
        else:
            taken = cells[head : head + count]
            cells[head : head + len(taken)] = [b""] * len(taken)
        self._head = head + len(taken)
        self._trim_room()
        return taken

    def pop_right(self, count: int = 1) -> list[bytes]:
        """Remove up to `count` last elements and return them, the last one first."""
        cells = self._cells
        if count == 1 and len(cells) > self._head:
            taken = [cells.pop()]
        else:
            start = max(self._head, len(cells) - count)
            taken = cells[start:]
            taken.reverse()
            del cells[start:]
        if self._head > _SLACK:
            self._trim_room()
        return taken

    def _trim_room(self) -> None:
        """Give free front cells back when they outnumber the elements, so that a queue does not creep upwards."""
        if self._head > len(self._cells) - self._head + _SLACK:
            keep = len(self._cells) - self._head
            keep = min(self._head, keep >> 1)
            del self._cells[: self._head - keep]
            self._head = keep

    # -- anywhere --------------------------------------------------------------------------------------------

    def __getitem__(self, index: int) -> bytes:
        assert index >= 0
        return self._cells[self._head + index]

    def __setitem__(self, index: int, value: bytes) -> None:
        assert index >= 0
        self._cells[self._head + index] = value

    def slice(self, start: int, stop: int) -> list[bytes]:
        """The elements from `start` to before `stop`, both in [0, len]."""
        return self._cells[self._head + start : self._head + stop]

    def keep(self, start: int, stop: int) -> None:
        """Remove everything outside `start` to before `stop`."""
        cells, head = self._cells, self._head
        del cells[head + stop :]
        cells[head : head + start] = [b""] * start
        self._head = head + start
        self._trim_room()

    def find(self, value: bytes, start: int = 0) -> int:
        """The first index from `start` on that holds `value`, or -1."""
        try:
            return self._cells.index(value, self._head + start) - self._head
        except ValueError:
            return -1

    def insert(self, index: int, value: bytes) -> None:
        """Put `value` before the element at `index`."""
        self._cells.insert(self._head + index, value)

    def remove(self, value: bytes, count: int) -> int:
        """Remove up to |count| elements equal to `value`, from the right when negative, all when 0; how many."""
        items = self._cells[self._head :]
        backwards = count < 0
        if backwards:
            items.reverse()
        limit = abs(count) or len(items)
        kept: list[bytes] = []
        removed = start = 0
        while removed < limit:
            try:
                found = items.index(value, start)
            except ValueError:
                break
            kept += items[start:found]
            start = found + 1
            removed += 1
        if removed:
            kept += items[start:]
            if backwards:
                kept.reverse()
            self._cells, self._head = kept, 0
        return removed
