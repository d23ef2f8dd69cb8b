"""Parsing of command arguments with the stock server's rules and error texts. The one place for it."""

from __future__ import annotations

import math
from typing import Final

from slotmesh.cluster.numbers import INT64_MAX as INT64_MAX
from slotmesh.cluster.numbers import INT64_MIN as INT64_MIN
from slotmesh.cluster.numbers import to_float as to_float
from slotmesh.cluster.numbers import to_int64 as to_int64
from slotmesh.cluster.numbers import to_lenient_float
from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.types.sorted_set import LexBound, ScoreBound

#: Indexes and counts are mostly small: a look-up takes a quarter of the time that reading digits takes.
_SMALL_INTEGERS: Final = {b"%d" % number: number for number in range(-1024, 1025)}
_NOT_POSITIVE: Final = ErrorReply("ERR value is out of range, must be positive")
_NOT_INT32: Final = ErrorReply("ERR value is out of range, value must between -2147483648 and 2147483647")


def integer(text: bytes, error: ErrorReply = errors.NOT_INTEGER) -> int:
    """An int64 argument. Raises `error` otherwise."""
    value = _SMALL_INTEGERS.get(text)
    if value is None:
        value = to_int64(text)
        if value is None:
            raise CommandError(error)
    return value


def integer_between(text: bytes, low: int, high: int, error: ErrorReply) -> int:
    """An integer argument in [low, high]. Raises `error` when out of range or no integer."""
    value = integer(text, error)
    if not low <= value <= high:
        raise CommandError(error)
    return value


def int32(text: bytes) -> int:
    """An integer that fits into 32 bits, as the number of a database. Raises CommandError with the stock text."""
    value = integer(text)
    if not -(1 << 31) <= value < 1 << 31:
        raise CommandError(_NOT_INT32)
    return value


def positive_count(text: bytes) -> int:
    """A count that must not be negative, as LPOP's. Raises CommandError with the stock text."""
    return integer_between(text, 0, INT64_MAX, _NOT_POSITIVE)


def floating(text: bytes, error: ErrorReply = errors.NOT_FLOAT) -> float:
    """A double argument. Raises `error` otherwise."""
    value = to_float(text)
    if value is None:
        raise CommandError(error)
    return value


def wait_timeout_ms(text: bytes, now_ms: int) -> int:
    """The timeout of a wait for replicas: ms, 0 for ever. The moment it ends at must be a time, too."""
    timeout = integer(text, ErrorReply("ERR timeout is not an integer or out of range"))
    if timeout < 0:
        raise CommandError(errors.TIMEOUT_NEGATIVE)
    if timeout > INT64_MAX - now_ms:
        raise CommandError("ERR timeout is out of range")
    return timeout


def timeout_ms(text: bytes) -> int:
    """The timeout of a blocking command: seconds with fraction; the result in ms, 0 for ever.

    Raises CommandError for what is no number, negative or too large.
    """
    seconds = floating(text, errors.TIMEOUT_NOT_FLOAT)
    if seconds < 0:
        raise CommandError(errors.TIMEOUT_NEGATIVE)
    if seconds * 1000 > INT64_MAX:  # where the 7.0 line lets the number wrap around
        raise CommandError(ErrorReply("ERR timeout is out of range") if COMPAT.newer else errors.TIMEOUT_NEGATIVE)
    return math.ceil(seconds * 1000)


_OUT_OF_RANGE: Final = ErrorReply("ERR value is out of range")
_NOT_NEGATABLE: Final = ErrorReply(f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}")
#: Most elements that one command may pick with repetition; stock has no bound but memory.
_MAX_PICKS: Final = 1 << 27


def negatable(text: bytes) -> int:
    """An int64 whose negative is one as well."""
    value = integer(text)
    if value < -INT64_MAX:
        raise CommandError(_NOT_NEGATABLE)
    return value


def random_count(text: bytes, doubled: bool = False) -> int:
    """The count of HRANDFIELD, SRANDMEMBER and ZRANDMEMBER: negative allows repeats. `doubled`: with values.

    Raises CommandError; a negative count below -2**27 is refused, as its reply would not fit into memory.
    """
    count = negatable(text)
    if (doubled and abs(count) > INT64_MAX // 2) or count < -_MAX_PICKS:
        raise CommandError(_OUT_OF_RANGE)
    return count


_BAD_SCORE_RANGE: Final = ErrorReply("ERR min or max is not a float")
_BAD_LEX_RANGE: Final = ErrorReply("ERR min or max not valid string range item")
_SPACES: Final = b" \t\n\v\f\r"


def score_bound(text: bytes) -> ScoreBound:
    """`1.5`, `(1.5`, `-inf`: one end of a score range, read as leniently as C's strtod does."""
    exclusive = text[:1] == b"("
    number = (text[1:] if exclusive else text).lstrip(_SPACES)
    if not number and not text.strip(b"("):
        return 0.0, exclusive
    value = to_lenient_float(number)
    if value is not None:
        return value, exclusive
    if b"\0" in text:
        return score_bound(text.partition(b"\0")[0])  # for C the text ends here
    raise CommandError(_BAD_SCORE_RANGE)


def lex_bound(text: bytes) -> LexBound:
    """`[a`, `(a`, `-`, `+`: one end of a range of members."""
    if text == b"-":
        return -1, b"", True
    if text == b"+":
        return 1, b"", True
    if text[:1] == b"(":
        return 0, text[1:], True
    if text[:1] == b"[":
        return 0, text[1:], False
    raise CommandError(_BAD_LEX_RANGE)
