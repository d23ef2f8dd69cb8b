"""Is a history of reads and writes of one register linearizable? For registers where every write has its own value.

Every value that was ever written owns a *zone*: from the earliest end to the latest start among its write and its
reads. A zone that runs forward (from < to) is a time in which the register must have held the value; one that runs
backward is a time somewhere in which it can have held it. The history is linearizable exactly when no value is read
before its write began, no two forward zones overlap, and no backward zone lies within a forward one (Gibbons and
Korach, Testing Shared Memories, SIAM J. Comput. 26, 1997).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

import attrs

INITIAL = None
"""What a register holds before its first write."""


@attrs.frozen
class Operation:
    """A write of `value`, or a read that returned it, between two points of time."""

    start: float
    end: float
    is_write: bool
    value: object


def why_not_linearizable(history: Iterable[Operation]) -> str:
    """The first contradiction in words, empty when there is none."""
    of_value: dict[object, list[Operation]] = defaultdict(list)
    for operation in history:
        of_value[operation.value].append(operation)
    of_value[INITIAL].append(Operation(float("-inf"), float("-inf"), True, INITIAL))
    zones: list[tuple[float, float, object]] = []
    for value, operations in of_value.items():
        writes = [operation for operation in operations if operation.is_write]
        if len(writes) != 1:
            return f"{value!r} was read but written {len(writes)} times"
        if any(operation.end < writes[0].start for operation in operations):
            return f"{value!r} was read before its write began"
        zones.append((min(o.end for o in operations), max(o.start for o in operations), value))
    forward = sorted(zone for zone in zones if zone[0] < zone[1])
    for (_, held_until, value), (held_from, _, other) in pairwise(forward):
        if held_from < held_until:
            return f"{value!r} and {other!r} were held at the same time"
    for high, low, value in zones:
        if high >= low:
            for start, end, other in forward:
                if start < low and high < end:
                    return f"{value!r} came and went while {other!r} was held"
    return ""
