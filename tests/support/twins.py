"""Two servers that are asked the same: a stock one, whose word is law, and ours.

Replies are compared as raw bytes, so order, types, nulls and error texts count. Where the truth is a matter of chance
or of the moment (the order of a set, the time left), the caller names a `view` that both replies are seen through.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hiredis

from slotmesh.node.resp.encoder import encode_command
from tests.support.processes import start_node, start_stock_server

Arg = str | bytes | int | float
View = Callable[[Any], Any]


def to_bytes(arg: Arg) -> bytes:
    """An argument as it goes over the wire."""
    return arg if isinstance(arg, bytes) else str(arg).encode()


class Wire:
    """A plain connection that knows where a reply ends and keeps its bytes."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, args: Sequence[Arg]) -> bytes:
        """The raw reply to one command."""
        self._sock.sendall(encode_command([to_bytes(arg) for arg in args]))
        reader = hiredis.Reader(notEnoughData=Ellipsis)
        received: list[bytes] = []
        while True:
            chunk = self._sock.recv(1 << 18)
            assert chunk, f"the server hung up on {args!r}"
            received.append(chunk)
            reader.feed(chunk)
            if reader.gets() is not Ellipsis:
                return b"".join(received)

    def close(self) -> None:
        """Hang up."""
        self._sock.close()


def parse(raw: bytes) -> Any:
    """The value of a raw reply; an error becomes its text."""
    reader = hiredis.Reader()
    reader.feed(raw)
    value = reader.gets()
    return f"error: {value}" if isinstance(value, hiredis.ReplyError) else value


def unordered(value: Any) -> Any:
    """View: the elements of an array, in whatever order."""
    return sorted(value, key=repr) if isinstance(value, list) else value


class Within:
    """View: a number that may differ by no more than `tolerance`."""

    def __init__(self, tolerance: int) -> None:
        self._tolerance = tolerance

    def __call__(self, value: Any) -> Any:
        return _Near(value, self._tolerance) if isinstance(value, int) and value >= 0 else value


class _Near:
    def __init__(self, value: int, tolerance: int) -> None:
        self.value = value
        self.tolerance = tolerance

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Near) and abs(self.value - other.value) <= self.tolerance

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"{self.value} +-{self.tolerance}"


class Twins:
    """Both servers."""

    def __init__(self, stock_port: int, our_port: int) -> None:
        self.ports = (stock_port, our_port)
        self.stock = Wire(stock_port)
        self.ours = Wire(our_port)

    def ask(self, *args: Arg, view: View | None = None) -> Any:
        """Give both the same command and demand the same reply, which is returned parsed."""
        wanted, got = self.stock.call(args), self.ours.call(args)
        if view is None:
            assert got == wanted, f"{args!r}\n  stock: {wanted!r}\n  ours:  {got!r}"
            return parse(wanted)
        wanted_value, got_value = view(parse(wanted)), view(parse(got))
        assert got_value == wanted_value, f"{args!r}\n  stock: {wanted_value!r}\n  ours:  {got_value!r}"
        return parse(wanted)

    def both(self, *args: Arg) -> None:
        """Give both the same command, whatever they say."""
        self.stock.call(args)
        self.ours.call(args)

    def same_key(self, key: Arg) -> None:
        """Demand that a key is the same on both: type, encoding, content, time to live."""
        kind = self.ask("TYPE", key)
        self.ask("TTL", key, view=Within(1))
        if kind == b"none":
            return
        if kind != b"string":
            self.ask("OBJECT", "ENCODING", key)
        reading: dict[bytes, tuple[tuple[Arg, ...], View | None]] = {
            b"string": (("GET", key), None),
            b"list": (("LRANGE", key, 0, -1), None),
            b"set": (("SMEMBERS", key), unordered),
            b"hash": (("HGETALL", key), unordered),
            b"zset": (("ZRANGE", key, 0, -1, "WITHSCORES"), None),
        }
        command, view = reading[kind]
        self.ask(*command, view=view)

    def close(self) -> None:
        """Hang up on both."""
        self.stock.close()
        self.ours.close()


@contextmanager
def running_twins(directory: Path, *options: str) -> Iterator[Twins]:
    """Start both servers with the same options."""
    with start_stock_server(directory / "stock", *options) as stock, start_node(directory / "ours", *options) as ours:
        twins = Twins(stock.port, ours.port)
        try:
            yield twins
        finally:
            twins.close()
