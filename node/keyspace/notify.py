"""Classes of keyspace events and the letters of `notify-keyspace-events`."""

from __future__ import annotations

from typing import Final

KEYSPACE: Final = 1 << 0  # K
KEYEVENT: Final = 1 << 1  # E
GENERIC: Final = 1 << 2  # g
STRING: Final = 1 << 3  # $
LIST: Final = 1 << 4  # l
SET: Final = 1 << 5  # s
HASH: Final = 1 << 6  # h
ZSET: Final = 1 << 7  # z
EXPIRED: Final = 1 << 8  # x
EVICTED: Final = 1 << 9  # e
STREAM: Final = 1 << 10  # t
KEY_MISS: Final = 1 << 11  # m, not in A
MODULE: Final = 1 << 13  # d
NEW: Final = 1 << 14  # n, not in A
ALL: Final = GENERIC | STRING | LIST | SET | HASH | ZSET | EXPIRED | EVICTED | STREAM | MODULE  # A

_LETTERS: Final = (
    ("A", ALL),
    ("g", GENERIC),
    ("$", STRING),
    ("l", LIST),
    ("s", SET),
    ("h", HASH),
    ("z", ZSET),
    ("x", EXPIRED),
    ("e", EVICTED),
    ("t", STREAM),
    ("d", MODULE),
    ("n", NEW),
    ("K", KEYSPACE),
    ("E", KEYEVENT),
    ("m", KEY_MISS),
)


def parse_flags(letters: str) -> int | None:
    """The mask that `letters` mean, or None when one is unknown."""
    masks = dict(_LETTERS)
    mask = 0
    for letter in letters:
        if letter not in masks:
            return None
        mask |= masks[letter]
    return mask


def format_flags(mask: int) -> str:
    """The letters of a mask in the order of the stock server (A stands for all of its members)."""
    shown = "A" if mask & ALL == ALL else ""
    for letter, bit in _LETTERS[1:]:
        if mask & bit and not (shown[:1] == "A" and bit & ALL):
            shown += letter
    return shown
