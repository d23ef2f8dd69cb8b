"""INCREX: a counter with bounds and an expiry, in one step (Redis 8.8, Valkey 9.2).

What a rate limiter needs, which else takes a script: count, stop at a limit, start the window with the first request.
A result outside of the bounds changes nothing, not even the expiry, and answers [current value, 0]; with SATURATE it
stops at the bound. NX and XX are Valkey's: a condition that fails answers the same way.

The arithmetic is that of INCRBY and INCRBYFLOAT (64-bit integers, extended doubles). AOF and replicas get the SET of
the outcome, so that they need neither the bounds nor the clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.string_options import (
    EXPIRY,
    EXPIRY_OPTIONS,
    NX,
    PERSIST,
    XX,
    Options,
    expiry_ms,
    past,
    remove_expired,
    write_string,
)
from slotmesh.node.keyspace.notify import GENERIC, STRING
from slotmesh.node.resp.values import Raw
from slotmesh.node.spec.arguments import INT64_MAX, INT64_MIN, integer
from slotmesh.node.spec.key_specs import KEY_ACCESS_UPDATE
from slotmesh.node.spec.registry import DENYOOM, FAST, WRITE, command
from slotmesh.node.types.long_double import LARGEST, LongDouble, add, format_plain, parse

if TYPE_CHECKING:
    from fractions import Fraction

    from slotmesh.node.server import NodeClient

# Options beside those of `string_options`.
_SATURATE: Final = 1 << 16
_ENX: Final = 1 << 17
_BYINT: Final = 1 << 18
_BYFLOAT: Final = 1 << 19
_LBOUND: Final = 1 << 20
_UBOUND: Final = 1 << 21
#: No option may come twice, so each excludes itself.
_OPTIONS: Final[Options] = {
    b"NX": (NX, NX | XX, False),
    b"XX": (XX, NX | XX, False),
    b"SATURATE": (_SATURATE, _SATURATE, False),
    b"ENX": (_ENX, _ENX | PERSIST, False),
    b"PERSIST": (PERSIST, PERSIST | EXPIRY | _ENX, False),
    b"BYINT": (_BYINT, _BYINT | _BYFLOAT, True),
    b"BYFLOAT": (_BYFLOAT, _BYINT | _BYFLOAT, True),
    b"LBOUND": (_LBOUND, _LBOUND, True),
    b"UBOUND": (_UBOUND, _UBOUND, True),
    **{word: (bit, PERSIST | EXPIRY, True) for word, (bit, _, _) in EXPIRY_OPTIONS.items()},
}
_BAD_INTEGER: Final = ErrorReply("ERR Increment is not an integer or out of range")
_BAD_FLOAT: Final = ErrorReply("ERR Increment is not a valid float")
_INFINITE: Final = ErrorReply("ERR BYFLOAT increment cannot be Infinity")
_INFINITE_VALUE: Final = ErrorReply("ERR value cannot be Infinity")
_INFINITE_STEP: Final = ErrorReply("ERR applied increment would be Infinity")
_STEP_OVERFLOW: Final = ErrorReply("ERR applied increment would overflow")
_ENX_ALONE: Final = ErrorReply("ERR ENX flag requires an expiration")
_NO_RANGE: Final = ErrorReply("ERR LBOUND can't be greater than UBOUND")
_INTEGER: Final = b"an integer or out of range"
_FLOAT: Final = b"a valid float"
#: (the new value as it is stored, what was added, whether anything is to be stored).
_Outcome = tuple[bytes, bytes, bool]


class _Request:
    """The options as they were written: their bits, and the texts behind them by bit."""

    __slots__ = ("bits", "texts")

    def __init__(self, argv: list[bytes]) -> None:
        """Parse. Raises CommandError."""
        self.bits = 0
        self.texts: dict[int, bytes] = {}
        at, count = 2, len(argv)
        while at < count:
            option = _OPTIONS.get(argv[at].upper())
            if option is None or self.bits & option[1]:
                raise CommandError(errors.SYNTAX)
            self.bits |= option[0]
            at += 1
            if option[2]:
                if at == count:
                    raise CommandError(errors.SYNTAX)
                self.texts[option[0]] = argv[at]
                at += 1
        if self.bits & _ENX and not self.bits & EXPIRY:
            raise CommandError(_ENX_ALONE)


class _Integers:
    """Counting in 64-bit integers."""

    __slots__ = ("_increment", "_lower", "_saturate", "_upper")

    def __init__(self, request: _Request) -> None:
        """Raises CommandError for what is no integer."""
        texts = request.texts
        self._increment = integer(texts.get(_BYINT, b"1"), _BAD_INTEGER)
        self._lower = integer(texts[_LBOUND], _bad_bound(b"LBOUND", _INTEGER)) if _LBOUND in texts else INT64_MIN
        self._upper = integer(texts[_UBOUND], _bad_bound(b"UBOUND", _INTEGER)) if _UBOUND in texts else INT64_MAX
        if self._lower > self._upper:
            raise CommandError(_NO_RANGE)
        self._saturate = bool(request.bits & _SATURATE)

    def look(self, text: bytes) -> bytes:
        """The value as a reply would have it. Raises CommandError when it is none."""
        return b"%d" % integer(text)

    def add_to(self, text: bytes) -> _Outcome:
        """Count on from the value `text`. Raises CommandError when it is no integer, or the step none."""
        current = integer(text)
        total = current + self._increment
        bounded = max(self._lower, min(self._upper, total))
        if bounded != total and not self._saturate:
            return b"%d" % current, b"0", False
        step = bounded - current
        if not INT64_MIN <= step <= INT64_MAX:
            raise CommandError(_STEP_OVERFLOW)
        return b"%d" % bounded, b"%d" % step, True


class _Floats:
    """Counting in extended doubles."""

    __slots__ = ("_increment", "_lower", "_saturate", "_upper")

    def __init__(self, request: _Request) -> None:
        """Raises CommandError for what is no number; only a bound may be infinite."""
        texts = request.texts
        increment = _float(texts[_BYFLOAT], _BAD_FLOAT)
        if isinstance(increment, float):
            raise CommandError(_INFINITE)
        self._increment = increment
        self._lower: LongDouble = -LARGEST
        self._upper: LongDouble = LARGEST
        if _LBOUND in texts:
            self._lower = _float(texts[_LBOUND], _bad_bound(b"LBOUND", _FLOAT))
        if _UBOUND in texts:
            self._upper = _float(texts[_UBOUND], _bad_bound(b"UBOUND", _FLOAT))
        if self._lower > self._upper:
            raise CommandError(_NO_RANGE)
        self._saturate = bool(request.bits & _SATURATE)

    def look(self, text: bytes) -> bytes:
        """The value as a reply would have it. Raises CommandError when it is none."""
        return format_plain(self._current(text))

    def add_to(self, text: bytes) -> _Outcome:
        """Count on from the value `text`. Raises CommandError when it is no finite number, or the step none."""
        current, increment = self._current(text), self._increment
        total = add(current, increment)
        if total is not None and self._lower <= total <= self._upper:
            return format_plain(total), format_plain(increment), True
        if not self._saturate:
            return format_plain(current), b"0", False
        if total is None:
            total = LARGEST if increment > 0 else -LARGEST
        bounded = max(self._lower, min(self._upper, total))
        step = add(bounded, -current)
        if step is None or isinstance(bounded, float):
            raise CommandError(_INFINITE_STEP)
        return format_plain(bounded), format_plain(step), True

    @staticmethod
    def _current(text: bytes) -> Fraction:
        current = _float(text, errors.NOT_FLOAT)
        if isinstance(current, float):
            raise CommandError(_INFINITE_VALUE)
        return current


def _float(text: bytes, error: ErrorReply) -> LongDouble:
    value = parse(text)
    if value is None:
        raise CommandError(error)
    return value


def _bad_bound(name: bytes, kind: bytes) -> ErrorReply:
    return ErrorReply(b"ERR %b is not %b" % (name, kind))


@command(
    "increx",
    arity=-2,
    syntax=(
        "key [NX | XX] [BYFLOAT increment(double) | BYINT increment] [LBOUND lowerbound] [UBOUND upperbound] "
        "[SATURATE] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] "
        "[ENX]"
    ),
    flags=WRITE | DENYOOM | FAST,
    keys=KEY_ACCESS_UPDATE,
    group="string",
    since="8.8.0",
    complexity="O(1)",
    summary="Adds to a counter within bounds and sets its expiry; the new value and what was added.",
)
def cmd_increx(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[1]
    request = _Request(argv)
    bits = request.bits
    numbers = _Floats(request) if bits & _BYFLOAT else _Integers(request)
    at_ms = 0
    if bits & EXPIRY:
        at_ms = expiry_ms(request.texts[bits & EXPIRY], bits, db.keyspace.now_ms, b"increx")
    value = write_string(client, key)
    text = b"0" if value is None else bytes(value)
    if bits & (XX if value is None else NX):
        return _reply(client, bits, numbers.look(text), b"0")
    result, step, accepted = numbers.add_to(text)
    if accepted:
        _store(client, key, result, bits, at_ms, value is not None)
    return _reply(client, bits, result, step)


def _store(client: NodeClient, key: bytes, result: bytes, bits: int, at_ms: int, existed: bool) -> None:
    """Make `result` the value of `key`, see to its expiry, and tell everyone."""
    db = client.db
    expires = bool(bits & EXPIRY) and not (bits & _ENX and existed and db.expire_at(key) is not None)
    if expires and past(client, at_ms):
        if existed:
            remove_expired(client, key)
        return
    db.put(key, result)
    db.changed(key, STRING, b"incrbyfloat" if bits & _BYFLOAT else b"incrby")
    if expires:
        db.set_expire(key, at_ms)
        db.changed(key, GENERIC, b"expire", 0)
        client.propagate_as([b"SET", key, result, b"PXAT", b"%d" % at_ms])
    elif bits & PERSIST and db.clear_expire(key):
        db.changed(key, GENERIC, b"persist", 0)
        client.propagate_as([b"SET", key, result])
    else:
        client.propagate_as([b"SET", key, result, b"KEEPTTL"])


def _reply(client: NodeClient, bits: int, *digits: bytes) -> list[Any]:
    """The numbers as integers; those of BYFLOAT as text, or as doubles with all of their digits in RESP3."""
    if not bits & _BYFLOAT:
        return [integer(text) for text in digits]
    return [Raw(b",%b\r\n" % text) for text in digits] if client.resp3 else list(digits)
