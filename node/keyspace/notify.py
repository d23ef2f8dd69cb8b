"""Classes of keyspace events and the letters of `notify-keyspace-events`.

S, T, I and V (Redis 8.8) each switch a channel on that tells of the fields of hashes; they need no other letter.
"""

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
SUBKEYSPACE: Final = 1 << 15  # S, and the next three: not in A
SUBKEYEVENT: Final = 1 << 16  # T
SUBKEYSPACEITEM: Final = 1 << 17  # I
SUBKEYSPACEEVENT: Final = 1 << 18  # V
SUBKEYS: Final = SUBKEYSPACE | SUBKEYEVENT | SUBKEYSPACEITEM | SUBKEYSPACEEVENT
#: The class of a change that is no event of the documentation: observers hear of it, listeners do not.
NO_EVENT: Final = 0
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
    ("S", SUBKEYSPACE),
    ("T", SUBKEYEVENT),
    ("I", SUBKEYSPACEITEM),
    ("V", SUBKEYSPACEEVENT),
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
