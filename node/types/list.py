"""The list value: one array of references with free room at its front.

`collections.deque` pushes fast but reaches its middle in O(n), and it has no slices, so LRANGE deep in a long list
would walk. Here both ends push and pop in O(1) amortised, an index is one array access and a range is one C slice.
The price is a move of references when the front room runs out (it doubles, so rarely) and for inserts in the middle,
at 8 bytes per element: about a millisecond per million.

Since 7.2 a short list has an encoding of its own (`list_nodes.py`). At that level a list knows whether it is `packed`,
and how many bytes its listpack would have while that matters: all the time while it is packed, and from the first
removal of an element that leaves few enough for it to become packed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.list_nodes import alone_bytes, node_bounds, packed_bounds
from slotmesh.node.types.listpack_size import EMPTY_LISTPACK_BYTES, text_size

_BYTES_HEADER: Final = 33
_MIN_ROOM: Final = 8
#: Free front cells are given back once they outnumber the elements by this many.
_SLACK: Final = 64
#: Values of `_bytes` beside a size.
_NOT_KEPT: Final = 0
_UNKNOWN: Final = -1
#: The size of a quicklist is forgotten at so many elements; half of that is more than any list with a size to learn.
_TOO_LONG: Final = 1 << 15


class ListValue:
    """A list of byte strings. Indexes are in `range(len(self))`; callers translate negative ones."""

    __slots__ = ("_bytes", "_cells", "_head", "packed")

    TYPE: Final = b"list"

    def __init__(self, items: Iterable[bytes] = ()) -> None:
        #: The elements are `_cells[_head:]`; the cells before hold nothing of interest.
        self._cells: list[bytes] = list(items)
        self._head = 0
        #: Whether the encoding is `listpack`.
        self.packed = False
        #: The size of the elements as one listpack; `_UNKNOWN`; or `_NOT_KEPT`, at a level without packed lists.
        self._bytes = _NOT_KEPT
        if COMPAT.newer:
            self._bytes = _UNKNOWN
            self._maybe_pack(*node_bounds(LIMITS.list_max_listpack_size))

    @property
    def items(self) -> tuple[bytes, ...]:
        """All elements, as of now."""
        return tuple(self._cells[self._head :])

    def __len__(self) -> int:
        return len(self._cells) - self._head

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._cells[self._head :])

    def encoding(self) -> bytes:
        """The word of OBJECT ENCODING."""
        return b"listpack" if self.packed else b"quicklist"

    def copy(self) -> ListValue:
        """An independent list of the same elements and encoding."""
        twin = ListValue()
        twin._cells = self._cells[self._head :]
        twin.packed, twin._bytes = self.packed, self._bytes
        return twin

    def size_bytes(self, samples: int = 5) -> int:
        """Estimated memory, from the first `samples` elements (0: all)."""
        count = len(self)
        taken = self.slice(0, samples or count)
        text = sum(map(len, taken)) * count // max(1, len(taken))
        return 88 + 8 * len(self._cells) + _BYTES_HEADER * count + text

    # -- the encoding ----------------------------------------------------------------------------------------

    def _grow(self, values: Sequence[bytes]) -> None:
        """`values` are about to be added. As in stock, their plain lengths decide whether one node still does."""
        count = len(self._cells) - self._head + len(values)
        if self.packed:
            most_bytes, most = node_bounds(LIMITS.list_max_listpack_size)
            added = len(values[0]) if len(values) == 1 else sum(map(len, values))
            if count > most or self._bytes + added > most_bytes:
                self.packed = False
                self._bytes = _UNKNOWN
                return
        elif count > _TOO_LONG:
            self._bytes = _UNKNOWN
            return
        self._bytes += _size(values)

    def _shrink(self, removed: Sequence[bytes]) -> None:
        """`removed` are gone."""
        if self._bytes > 0:
            self._bytes -= _size(removed)
        if not self.packed:
            self._maybe_pack(*packed_bounds(LIMITS.list_max_listpack_size))

    def _maybe_pack(self, most_bytes: int, most: int) -> None:
        """Become packed if there are at most so many bytes and elements. Looks at them only if they are few."""
        count = len(self._cells) - self._head
        if self._bytes > most_bytes or count > most or 2 * count > most_bytes:  # no element takes less than two bytes
            return
        if self._bytes < 0:
            self._bytes = EMPTY_LISTPACK_BYTES + _size(self._cells[self._head :])
        self.packed = self._bytes <= most_bytes and not (count and max(map(len, self)) >= alone_bytes())

    # -- both ends -------------------------------------------------------------------------------------------

    def push_left(self, values: Sequence[bytes]) -> None:
        """Put each of `values` in front, one after the other: the last one becomes the first element."""
        if self._bytes > 0:
            self._grow(values)
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
        if self._bytes > 0:
            self._grow(values)
        if len(values) == 1:
            self._cells.append(values[0])
        else:
            self._cells.extend(values)

    def push_first(self, value: bytes) -> int:
        """`push_left` of one value; the new length. (Written out where there is room: it is the hot path of LPUSH.)"""
        head = self._head
        if not head or self._bytes > 0:
            self.push_left((value,))
            return len(self)
        head -= 1
        cells = self._cells
        cells[head] = value
        self._head = head
        return len(cells) - head

    def push_last(self, value: bytes) -> int:
        """`push_right` of one value; the new length."""
        if self._bytes > 0:
            self._grow((value,))
        cells = self._cells
        cells.append(value)
        return len(cells) - self._head

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
        if self._bytes:
            self._shrink(taken)
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
        if self._bytes:
            self._shrink(taken)
        return taken

    def rotate(self, from_left: bool, to_left: bool) -> bytes:
        """Move an element from an end to an end, the same or the other; the list must not be empty.

        The encoding follows from the length that the list has before and after, not from the one in between.
        """
        was_quicklist = not self.packed
        element = (self.pop_left() if from_left else self.pop_right())[0]
        if to_left:
            self.push_left((element,))
        else:
            self.push_right((element,))
        if was_quicklist and self.packed:
            self.packed = False
            self._maybe_pack(*packed_bounds(LIMITS.list_max_listpack_size))
        return element

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
        if self._bytes > 0:
            self._grow((value,))
        index += self._head
        old, self._cells[index] = self._cells[index], value
        if self._bytes:
            self._shrink((old,))

    def slice(self, start: int, stop: int) -> list[bytes]:
        """The elements from `start` to before `stop`, both in [0, len]."""
        return self._cells[self._head + start : self._head + stop]

    def keep(self, start: int, stop: int) -> None:
        """Remove everything outside `start` to before `stop`."""
        cells, head = self._cells, self._head
        removed = cells[head : head + start] + cells[head + stop :] if self._bytes else []
        del cells[head + stop :]
        cells[head : head + start] = [b""] * start
        self._head = head + start
        self._trim_room()
        if self._bytes:
            self._shrink(removed)

    def find(self, value: bytes, start: int = 0) -> int:
        """The first index from `start` on that holds `value`, or -1."""
        try:
            return self._cells.index(value, self._head + start) - self._head
        except ValueError:
            return -1

    def insert(self, index: int, value: bytes) -> None:
        """Put `value` before the element at `index`."""
        if self._bytes > 0:
            self._grow((value,))
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
            if self._bytes:
                self._shrink([value] * removed)
        return removed


def _size(elements: Sequence[bytes]) -> int:
    """Bytes of `elements` in a listpack."""
    return text_size(elements[0]) if len(elements) == 1 else sum(map(text_size, elements))
