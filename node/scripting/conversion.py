"""Replies of commands as Lua values, and Lua numbers as arguments of commands.

A script sees RESP2 (the default) or RESP3 (`redis.setresp(3)`), in the shapes of stock 7.0: a status is `{ok=...}`, an
error `{err=...}`, a null `false` in RESP2 and nil in RESP3, a map `{map={...}}`, a double `{double=...}`, and so on.
Everything that leaves here is bytes, a number, a boolean, None or a Lua table: a Python container would reach the
script as a foreign object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from slotmesh.node.base.errors import ErrorReply
from slotmesh.node.resp.encoder import format_double
from slotmesh.node.resp.values import Many, NoReply, NullArray, OrderedSet, Pairs, Push, Raw, Status, Verbatim

_INT64_MIN: Final = -(2**63)
_INT64_LIMIT: Final = 2**63
#: From here on `%.17g` prints an exponent.
_PLAIN: Final = 10**17


class Tables(Protocol):
    """Makes Lua tables."""

    def table_from(self, items: Any) -> Any:
        """A list or a dict as a table."""
        ...

    status_table: Callable[[bytes], Any]

    def error_table(self, text: bytes, counted: bool) -> Any:
        """What `redis.pcall` gives for an error."""
        ...


def to_lua(tables: Tables, value: Any, resp3: bool) -> Any:
    """A reply as a script sees it."""
    kind = type(value)
    if kind is bytes or kind is int:
        return value
    if kind is list or kind is tuple:
        for item in value:
            if type(item) is not bytes:
                break
        else:
            return tables.table_from(value)
        return tables.table_from([item if type(item) is bytes else to_lua(tables, item, resp3) for item in value])
    if value is None or kind is NullArray:
        return None if resp3 else False
    if kind is Status:
        return tables.status_table(value.text)
    return _CONVERTERS[kind](tables, value, resp3)


def _bool(tables: Tables, value: bool, resp3: bool) -> Any:
    return value if resp3 else int(value)


def _double(tables: Tables, value: float, resp3: bool) -> Any:
    return tables.table_from({b"double": value}) if resp3 else format_double(value)


def _text(tables: Tables, value: bytearray, resp3: bool) -> Any:
    return bytes(value)


def _map(tables: Tables, value: dict[Any, Any], resp3: bool) -> Any:
    if not resp3:
        return to_lua(tables, [word for pair in value.items() for word in pair], resp3)
    content = {to_lua(tables, key, resp3): to_lua(tables, item, resp3) for key, item in value.items()}
    return tables.table_from({b"map": tables.table_from(content)})


def _set(tables: Tables, value: Iterable[Any], resp3: bool) -> Any:
    if not resp3:
        return to_lua(tables, list(value), resp3)
    return tables.table_from({b"set": tables.table_from({to_lua(tables, item, resp3): True for item in value})})


def _pairs(tables: Tables, value: Pairs, resp3: bool) -> Any:
    if not resp3:
        return to_lua(tables, [word for pair in value.items for word in pair], resp3)
    return to_lua(tables, list(value.items), resp3)


def _verbatim(tables: Tables, value: Verbatim, resp3: bool) -> Any:
    if not resp3:
        return value.text
    content = tables.table_from({b"string": value.text, b"format": value.format})
    return tables.table_from({b"verbatim_string": content})


def _error(tables: Tables, value: ErrorReply, resp3: bool) -> Any:
    return tables.error_table(error_text(value.line), True)


def _raw(tables: Tables, value: Raw, resp3: bool) -> Any:
    """The few handlers that write RESP themselves do it for a number that Python cannot hold exactly."""
    wire = value.wire
    if wire.startswith(b","):
        return tables.table_from({b"double": float(wire[1:-2])})
    if wire.startswith(b"("):
        return tables.table_from({b"big_number": wire[1:-2]})
    raise KeyError(Raw)


_CONVERTERS: Final[dict[type, Callable[[Tables, Any, bool], Any]]] = {
    bool: _bool,
    float: _double,
    bytearray: _text,
    dict: _map,
    set: _set,
    frozenset: _set,
    OrderedSet: lambda tables, value, resp3: _set(tables, value.items, resp3),
    Pairs: _pairs,
    Push: lambda tables, value, resp3: to_lua(tables, list(value.items), resp3),
    Many: lambda tables, value, resp3: to_lua(tables, list(value.items), resp3),
    Verbatim: _verbatim,
    ErrorReply: _error,
    Raw: _raw,
    NoReply: lambda tables, value, resp3: None,
}


def error_text(line: bytes) -> bytes:
    """An error line as scripts see it: always with a code in front."""
    line = line.strip(b"\r\n")
    return line if b" " in line else b"ERR " + line


def number_text(number: float) -> bytes:
    """A Lua number as an argument of a command: `%.17g`."""
    if type(number) is int:
        return b"%d" % number if -_PLAIN < number < _PLAIN else b"%.17g" % number
    if number != number:
        return b"-nan" if math.copysign(1, number) < 0 else b"nan"
    return b"%.17g" % number


def to_int64(number: float) -> int:
    """A Lua number as an integer reply: cut off; what does not fit is the smallest, as the processor has it."""
    if type(number) is float:
        if number != number or not -_INT64_LIMIT <= number < _INT64_LIMIT:
            return _INT64_MIN
        return int(number)
    return int(number) if _INT64_MIN <= number < _INT64_LIMIT else _INT64_MIN
