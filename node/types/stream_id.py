"""Stream IDs as single integers: `ms << 64 | seq`.

One integer compares, hashes and bisects faster than a pair, and the successor of an ID is `id + 1`. The text form is
`ms-seq`; both halves are unsigned 64-bit.
"""

from __future__ import annotations

import re
from typing import Final

from slotmesh.cluster.numbers import UINT64_MAX, to_uint

U64_MAX: Final = UINT64_MAX
MAX_ID: Final = 2**128 - 1
#: A number as C's strtoull takes it, apart from its first digits if they are zeros.
_UNSIGNED: Final = re.compile(rb"[ \t\n\v\f\r]*\+?0*([0-9]+)")


def pack_id(ms: int, seq: int) -> int:
    """The ID of two halves."""
    return ms << 64 | seq


def split_id(entry_id: int) -> tuple[int, int]:
    """(ms, seq) of an ID."""
    return entry_id >> 64, entry_id & U64_MAX


def format_id(entry_id: int) -> bytes:
    """The text form `ms-seq`."""
    return b"%d-%d" % (entry_id >> 64, entry_id & U64_MAX)


def parse_u64(text: bytes) -> int | None:
    """An unsigned 64-bit decimal as C's strtoull reads it (blanks, a plus or zeros may lead), else None."""
    value = to_uint(text, U64_MAX)
    if value is not None:
        return value
    match = _UNSIGNED.fullmatch(text)
    return None if match is None else to_uint(match[1], U64_MAX)


def parse_id(text: bytes, missing_seq: int = 0) -> int | None:
    """The ID of a text `ms-seq` or `ms` (with `missing_seq` then); None when malformed."""
    ms_text, dash, seq_text = text.partition(b"-")
    ms = parse_u64(ms_text)
    seq = parse_u64(seq_text) if dash else missing_seq
    return None if ms is None or seq is None else ms << 64 | seq
