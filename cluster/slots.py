"""Which of the 16,384 hash slots a key belongs to.

The rule (Redis Cluster specification, "Keys distribution model"): the slot is CRC16(key) modulo 16384, where CRC16 is
the XMODEM variant (polynomial 0x1021, start value 0, no reflection). When the key holds a ``{``, followed later by a
``}``, with at least one byte between that ``{`` and the first ``}`` after it, only the bytes between them are hashed,
so that a client can force several keys into one slot.

``crcmod`` states which CRC is meant (:data:`crc16_reference`); ``binascii.crc_hqx`` is the same function in C and two
to three times quicker, so the hot path uses it. A test proves that the two agree.

Not here: who owns a slot (``slot_map``) and how sets of slots are written down (``slot_set``).
"""

from __future__ import annotations

import string
from binascii import crc_hqx
from collections.abc import Callable
from functools import cache
from itertools import product

import crcmod.predefined

SLOT_COUNT = 16384
_SLOT_MASK = SLOT_COUNT - 1

crc16_reference: Callable[[bytes], int] = crcmod.predefined.mkPredefinedCrcFun("xmodem")
"""The CRC that defines the slots, for tests and documentation; equal to ``crc_hqx(data, 0)``."""


def hash_tag(key: bytes) -> bytes:
    """The part of ``key`` that is hashed: the first non-empty ``{...}``, or the whole key."""
    start = key.find(b"{")
    if start < 0:
        return key
    end = key.find(b"}", start + 1)
    if end <= start + 1:
        return key
    return key[start + 1 : end]


def key_slot(key: bytes) -> int:
    """The hash slot of ``key``, 0 to 16383."""
    if b"{" not in key:
        return crc_hqx(key, 0) & _SLOT_MASK
    return crc_hqx(hash_tag(key), 0) & _SLOT_MASK


_LETTERS = (string.digits + string.ascii_lowercase + string.ascii_uppercase).encode()


@cache
def _tag_parts() -> tuple[dict[int, bytes], list[tuple[int, bytes]]]:
    """The slots of one letter, and what every beginning of up to two letters adds to the slot of the last one."""
    letters = [bytes((code,)) for code in _LETTERS]
    beginnings = [b"".join(parts) for length in range(3) for parts in product(letters, repeat=length)]
    return (
        {key_slot(letter): letter for letter in letters},
        [(key_slot(beginning + b"\0"), beginning) for beginning in beginnings],
    )


@cache
def slot_tag(slot: int) -> bytes:
    """A text whose slot is ``slot``: the shortest of letters and digits, among those the first (0-9, a-z, A-Z).

    A CRC with start value 0 is linear, so the last letter is looked up instead of searched for.
    """
    last_letters, beginnings = _tag_parts()
    return next(beginning + last_letters[slot ^ part] for part, beginning in beginnings if slot ^ part in last_letters)
