"""One encoder from Python values to RESP2 and RESP3.

It appends to a list of `bytes` that the data plane joins once per client and pass, so no reply is copied twice. `bytes`
and `int` replies are handled inline by the data plane; all else comes through `encode`. Arrays and commands have a
compiled twin (`node/compiled/codec.pyx`).

Doubles print as the stock server of the 7.0 line prints them: 17 significant digits, trailing zeros dropped, `inf`,
`-inf`, `nan`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from slotmesh.cluster.numbers import INT64_MAX, INT64_MIN
from slotmesh.node.base.errors import ErrorReply
from slotmesh.node.base.native import compiled
from slotmesh.node.resp.values import Many, NoReply, NullArray, OrderedSet, Pairs, Push, Raw, Status, Verbatim

_CACHED: Final = 1024
#: Headers of short bulk strings and small integer replies, ready made.
BULK_HEADER: Final = tuple(b"$%d\r\n" % n for n in range(_CACHED))
INTEGER: Final = tuple(b":%d\r\n" % n for n in range(_CACHED))
CRLF: Final = b"\r\n"
#: From so many items on, a list of bytes is encoded as a whole.
_LONG: Final = 8
NULL_BULK: Final = b"$-1\r\n"
NULL3: Final = b"_\r\n"


def format_double(value: float) -> bytes:
    """The text of a double as the stock server (7.0) sends it: `%.17g`."""
    if value.is_integer():
        if value and -1e17 < value < 1e17:
            return b"%d" % value
        # A negative zero keeps its sign on the wire.
        return b"%.17g" % value
    return b"%.17g" % value if value - value == 0 else str(value).encode()


def bulk(value: bytes | bytearray) -> bytes:
    """One bulk string."""
    return b"$%d\r\n%b\r\n" % (len(value), bytes(value))


def _append_bulk(out: list[bytes], value: Any, resp3: bool) -> None:
    out.append(b"$%d\r\n%b\r\n" % (len(value), value))


def _append_int(out: list[bytes], value: Any, resp3: bool) -> None:
    if not INT64_MIN <= value <= INT64_MAX:
        raise OverflowError(f"no reply has more than 64 bits: {value:#x}")
    out.append(b":%d\r\n" % value)


def _append_none(out: list[bytes], value: Any, resp3: bool) -> None:
    out.append(NULL3 if resp3 else NULL_BULK)


def _append_bool(out: list[bytes], value: Any, resp3: bool) -> None:
    if resp3:
        out.append(b"#t\r\n" if value else b"#f\r\n")
    else:
        out.append(b":1\r\n" if value else b":0\r\n")


def _append_double(out: list[bytes], value: Any, resp3: bool) -> None:
    text = format_double(value)
    out.append(b",%b\r\n" % text if resp3 else b"$%d\r\n%b\r\n" % (len(text), text))


def _append_array(out: list[bytes], value: Any, resp3: bool) -> None:
    if compiled is not None:
        made = compiled.encode_array(value, resp3)  # None when it holds a kind that only this module knows
        if made is not None:
            out.append(made)
            return
    out.append(b"*%d\r\n" % len(value))
    _append_items(out, value, resp3)


def _append_items(out: list[bytes], items: Any, resp3: bool) -> None:
    if len(items) >= _LONG and type(items) is list and type(items[0]) is bytes and _append_strings(out, items):
        return
    append, headers = out.append, BULK_HEADER
    for item in items:
        if type(item) is bytes:
            size = len(item)
            append(headers[size] + item + CRLF if size < _CACHED else b"$%d\r\n%b\r\n" % (size, item))
        else:
            _ENCODERS[type(item)](out, item, resp3)


def _append_strings(out: list[bytes], items: list[Any]) -> bool:
    """Many bulk strings at once: 2 to 4 times faster than one by one, most of all when their lengths are equal.

    False, and nothing done, when they are not all strings after all.
    """
    headers = BULK_HEADER
    try:
        lengths = set(map(len, items))
        if len(lengths) == 1:
            header = b"$%d\r\n" % lengths.pop()
            out.append(header + (CRLF + header).join(items) + CRLF)
        elif max(lengths) < _CACHED:
            out.append(CRLF.join([headers[len(item)] + item for item in items]) + CRLF)
        else:
            out += [b"$%d\r\n%b\r\n" % (len(item), item) for item in items]
    except TypeError:  # a null, a number, a nested array
        return False
    return True


def _append_set(out: list[bytes], value: Any, resp3: bool) -> None:
    out.append(b"~%d\r\n" % len(value) if resp3 else b"*%d\r\n" % len(value))
    _append_items(out, value, resp3)


def _append_ordered_set(out: list[bytes], value: Any, resp3: bool) -> None:
    _append_set(out, value.items, resp3)


def _append_dict(out: list[bytes], value: Any, resp3: bool) -> None:
    out.append(b"%%%d\r\n" % len(value) if resp3 else b"*%d\r\n" % (2 * len(value)))
    for pair in value.items():
        _append_items(out, pair, resp3)


def _append_pairs(out: list[bytes], value: Any, resp3: bool) -> None:
    items = value.items
    if not resp3:
        out.append(b"*%d\r\n" % (2 * len(items)))
        for pair in items:
            name, score = pair
            if type(name) is bytes and type(score) is float:
                text = format_double(score)
                out.append(b"$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(text), text))
            else:
                _append_items(out, pair, resp3)
        return
    out.append(b"*%d\r\n" % len(items))
    for pair in items:
        out.append(b"*2\r\n")
        _append_items(out, pair, resp3)


def _append_push(out: list[bytes], value: Any, resp3: bool) -> None:
    out.append(b">%d\r\n" % len(value.items) if resp3 else b"*%d\r\n" % len(value.items))
    _append_items(out, value.items, resp3)


def _append_verbatim(out: list[bytes], value: Any, resp3: bool) -> None:
    text = value.text
    if resp3:
        out.append(b"=%d\r\n%b:%b\r\n" % (len(text) + 4, value.format, text))
    else:
        out.append(b"$%d\r\n%b\r\n" % (len(text), text))


def _append_status(out: list[bytes], value: Any, resp3: bool) -> None:
    out.append(value.wire)


def _append_null_array(out: list[bytes], value: Any, resp3: bool) -> None:
    out.append(NULL3 if resp3 else b"*-1\r\n")


def _append_nothing(out: list[bytes], value: Any, resp3: bool) -> None:
    pass


def _append_many(out: list[bytes], value: Any, resp3: bool) -> None:
    _append_items(out, value.items, resp3)


Encoder = Callable[[list[bytes], Any, bool], None]
_ENCODERS: dict[type, Encoder] = {
    bytes: _append_bulk,
    bytearray: _append_bulk,
    int: _append_int,
    type(None): _append_none,
    bool: _append_bool,
    float: _append_double,
    list: _append_array,
    tuple: _append_array,
    set: _append_set,
    frozenset: _append_set,
    dict: _append_dict,
    OrderedSet: _append_ordered_set,
    Pairs: _append_pairs,
    Push: _append_push,
    Many: _append_many,
    Verbatim: _append_verbatim,
    Status: _append_status,
    Raw: _append_status,
    NullArray: _append_null_array,
    NoReply: _append_nothing,
}


def register_encoder(kind: type, encoder: Encoder) -> None:
    """Teach the encoder one more type (the node's `CommandError` is one: errors nest in EXEC's array)."""
    _ENCODERS[kind] = encoder


def encode(out: list[bytes], value: Any, resp3: bool) -> None:
    """Append the RESP form of `value` to `out`.

    Raises KeyError for a value outside the reply vocabulary and OverflowError for a number beyond 64 bits: bugs of a
    handler, never of a client. `out` may then hold the beginning of the reply.
    """
    _ENCODERS[type(value)](out, value, resp3)


def encode_command_plain(argv: list[bytes]) -> bytes:
    """A command as the array of bulk strings that clients send; AOF, replicas and links share this form."""
    count = len(argv)
    # Written out for the usual lengths, at less than half the time: every write of a primary passes here.
    if count == 3:
        a, b, c = argv
        return b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(a), a, len(b), b, len(c), c)
    if count == 2:
        a, b = argv
        return b"*2\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(a), a, len(b), b)
    parts = [b"*%d\r\n" % count]
    for arg in argv:
        parts.append(b"$%d\r\n%b\r\n" % (len(arg), arg))
    return b"".join(parts)


encode_command: Callable[[list[bytes]], bytes] = encode_command_plain if compiled is None else compiled.encode_command


register_encoder(ErrorReply, lambda out, error, resp3: out.append(error.wire))
