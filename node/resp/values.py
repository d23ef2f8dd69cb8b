"""The reply vocabulary that has no plain Python counterpart.

Handlers return Python values and one encoder (`encoder.py`) turns them into RESP2 or RESP3. Plain values carry their
RESP type by themselves (bytes: bulk string, int: integer, None: null, list/tuple: array, dict: map, set: set,
float: double, bool: boolean). The few shapes below exist because RESP distinguishes more than Python does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final


class Status:
    """A simple string reply (`+OK`). Instances are made once, at import; the hot path compares them by identity."""

    __slots__ = ("text", "wire")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.wire = b"+" + text + b"\r\n"

    def __repr__(self) -> str:
        return f"Status({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Status) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class Verbatim:
    """Text for people (`=txt:...` in RESP3, a bulk string in RESP2), as INFO and CLUSTER NODES return it."""

    __slots__ = ("format", "text")

    def __init__(self, text: bytes, format: bytes = b"txt") -> None:
        self.text = text
        self.format = format


class Pairs:
    """Pairs that RESP2 flattens and RESP3 nests, as ZRANGE WITHSCORES returns them."""

    __slots__ = ("items",)

    def __init__(self, items: Sequence[tuple[Any, Any]]) -> None:
        self.items = items


class OrderedSet:
    """A set reply (`~` in RESP3) whose members come in a fixed order, such as flags."""

    __slots__ = ("items",)

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items


class Push:
    """An out-of-band message (`>` in RESP3, a plain array in RESP2)."""

    __slots__ = ("items",)

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items


class Many:
    """Several replies to one command, as SUBSCRIBE with several channels gives them."""

    __slots__ = ("items",)

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items


class Raw:
    """Bytes that are RESP already."""

    __slots__ = ("wire",)

    def __init__(self, wire: bytes) -> None:
        self.wire = wire


class NullArray:
    """The null array of RESP2 (`*-1`), as EXEC gives after a failed WATCH; RESP3 has one null only."""

    __slots__ = ()


class NoReply:
    """Nothing is sent now: the command answers later, or never (CLIENT REPLY OFF, a replica's REPLCONF ACK)."""

    __slots__ = ()


OK: Final = Status(b"OK")
PONG: Final = Status(b"PONG")
QUEUED: Final = Status(b"QUEUED")
NULL_ARRAY: Final = NullArray()
NO_REPLY: Final = NoReply()
