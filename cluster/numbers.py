"""Numbers that come from outside: from a peer, a file, a client. The only place that turns foreign text into an int.

``int()`` is no parser for foreign text: it raises for more than 4,300 digits, and takes blanks, underscores and the
digits of other scripts. These functions raise nothing and know the limits; what to do about None is the caller's.

Beneath all other modules, so that ``cluster``, ``sentinel`` and ``node`` share it.
"""

from __future__ import annotations

import math
import re
from typing import Final

INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1
INT64_MIN: Final = -(2**63)
UINT64_MAX: Final = 2**64 - 1
#: Fewer digits than this are always an int64.
_SAFE_DIGITS: Final = 19
#: No number below 2**64 has more, leading zeros apart.
_MOST_DIGITS: Final = 20
_ZERO: Final = 0x30
_INTEGER: Final = re.compile(rb"-?[1-9][0-9]{0,18}|0")
_FLOAT: Final = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?|inf(?:inity)?)", re.I)
_HEX_FLOAT: Final = re.compile(rb"[+-]?0x[0-9a-f]+\.?[0-9a-f]*(?:p[+-]?[0-9]+)?", re.I)


def to_int64(text: bytes | bytearray) -> int | None:
    """A canonical decimal int64 (no spaces, no plus, no leading zeros), else None."""
    if len(text) < _SAFE_DIGITS and text.isdigit() and (text[0] != _ZERO or len(text) == 1):
        return int(text)
    if _INTEGER.fullmatch(text) is None:
        return None
    value = int(text)
    return value if INT64_MIN <= value <= INT64_MAX else None


def to_uint(text: bytes | str, most: int = INT64_MAX) -> int | None:
    """The number that ASCII digits stand for (zeros in front are allowed), None for all else and above ``most``."""
    if len(text) > _MOST_DIGITS or not text.isascii() or not text.isdigit():
        return None
    value = int(text)
    return value if value <= most else None


def wrapped(value: int) -> int:
    """What is left of `value` in an int64, as C's unsigned numbers wrap around."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def to_float(text: bytes | bytearray) -> float | None:
    """A double as C's strtod reads it whole (infinities allowed, NaN not), else None.

    A finite number that overflows, or underflows to zero, is None as well, as it is an error in stock.
    """
    if text.isdigit() and len(text) < _SAFE_DIGITS:
        return float(text)
    value = to_lenient_float(text)
    if value is None:
        return None
    if math.isinf(value):
        return value if b"n" in text.lower() else None
    if value or text[:3].lower().lstrip(b"+-").startswith(b"0x"):
        return value
    return None if text.lower().partition(b"e")[0].strip(b"+-.0") else value


def to_lenient_float(text: bytes | bytearray) -> float | None:
    """`to_float`, where what overflows is an infinity and what underflows is zero, as strtod alone has it."""
    if _FLOAT.fullmatch(text):
        return float(text)
    if _HEX_FLOAT.fullmatch(text):
        try:
            return float.fromhex(text.decode("ascii"))
        except OverflowError:
            return -math.inf if text[:1] == b"-" else math.inf
    return None
