"""Where the keys of a command stand: what routing, ACL and COMMAND GETKEYS go by, in the terms of COMMAND INFO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from slotmesh.cluster.numbers import to_int64


class KeySpec:
    """Where the keys of a command stand, in the terms of COMMAND INFO's key specifications.

    `begin` is ("index", i) or ("keyword", word, start_from); `find` is ("range", last, step, limit) with `last`
    relative to the begin (negative: from the end), or ("keynum", count_index, first_key, step) relative to the begin;
    both are ("unknown", ...) for keys that no rule can name (SORT's). `flags` are stock's words, such as b"RO",
    b"ACCESS".
    """

    __slots__ = ("begin", "find", "flags")

    def __init__(
        self,
        flags: Sequence[bytes],
        begin: tuple[str, int] | tuple[str, bytes, int],
        find: tuple[str, int, int, int],
    ) -> None:
        self.flags = tuple(flags)
        self.begin = begin
        self.find = find

    def positions(self, argv: list[bytes]) -> list[int]:
        """Indexes of the keys in `argv`; empty when the arguments are malformed (the handler says so)."""
        start = self._begin_index(argv)
        if start is None or start >= len(argv):
            return []
        kind, a, step, c = self.find
        if kind == "range":
            last = a + start if a >= 0 else len(argv) + a
            if a == -1 and c > 1:
                last = start + (len(argv) - start) // c - 1
            return list(range(start, min(last, len(argv) - 1) + 1, step))
        count_index, first_key, step = start + a, start + step, c
        count = to_int64(argv[count_index]) if count_index < len(argv) else None
        if count is None or count <= 0 or first_key + (count - 1) * step >= len(argv):
            return []
        return list(range(first_key, first_key + count * step, step))

    def _begin_index(self, argv: list[bytes]) -> int | None:
        if len(self.begin) == 2:
            return self.begin[1] if self.begin[0] == "index" else None
        _, word, start = self.begin
        if start >= 0:
            order = range(start, len(argv) - 1)
        else:
            order = range(len(argv) + start, 0, -1)
        for i in order:
            if argv[i].upper() == word:
                return i + 1
        return None


def key_at(*flags: bytes, index: int = 1) -> tuple[KeySpec, ...]:
    """One key at a fixed position."""
    return (KeySpec(flags, ("index", index), ("range", 0, 1, 0)),)


def keys_unknown(*flags: bytes) -> tuple[KeySpec, ...]:
    """Keys whose place follows from the data or the wording; the command needs a `find_keys`."""
    return (KeySpec(flags, ("unknown", 0), ("unknown", 0, 0, 0)),)


def keys_from(*flags: bytes, first: int = 1, last: int = -1, step: int = 1) -> tuple[KeySpec, ...]:
    """A run of keys; `last` counts from the first key, or from the end when negative."""
    return (KeySpec(flags, ("index", first), ("range", last, step, 0)),)


def keys_counted(*flags: bytes, index: int = 1) -> tuple[KeySpec, ...]:
    """A count at `index`, then that many keys (the `numkeys key [key ...]` form)."""
    return (KeySpec(flags, ("index", index), ("keynum", 0, 1, 1)),)


NO_KEYS: Final[tuple[KeySpec, ...]] = ()
KEY_READ: Final = key_at(b"RO", b"ACCESS")
KEY_UPDATE: Final = key_at(b"RW", b"UPDATE")
KEY_ACCESS_UPDATE: Final = key_at(b"RW", b"ACCESS", b"UPDATE")
KEY_INSERT: Final = key_at(b"RW", b"INSERT")
KEY_DELETE: Final = key_at(b"RW", b"DELETE")


def is_movable(spec: KeySpec) -> bool:
    """Whether the place of the keys depends on the request."""
    return spec.begin[0] == "keyword" or spec.find[0] == "keynum"


def legacy_range(keys: tuple[KeySpec, ...]) -> tuple[int, int, int]:
    """(first, last, step) as COMMAND INFO gives them, from the leading index/range specs."""
    first = last = step = 0
    for spec in keys:
        if spec.begin[0] != "index" or spec.find[0] != "range":
            continue
        begin, (_, reach, one_step, _limit) = int(spec.begin[1]), spec.find
        end = begin + reach if reach >= 0 else reach
        if not first:
            first, last, step = begin, end, one_step
        elif last >= 0 and begin == last + 1 and (end >= begin or end < 0):
            last = end
    return first, last, step
