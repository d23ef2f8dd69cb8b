"""Connections to nodes: one call, or a batch of commands in one write.

A `NodeLink` is a redis-py `Connection` (host, password, timeouts, parser) with three things changed for a tool that
repairs clusters: replies stay raw (bytes, ints, lists), redirects are errors and not followed, and an error is one of
ours with the address in it. Commands of a batch are packed here, because moving slots sends hundreds of thousands of
keys and redis-py's general packer costs several times the rest.

A link belongs to one thread. Nothing reconnects by itself: after an error the caller decides.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from slotmesh.cluster.numbers import to_uint
from slotmesh.cluster.plan import Address
from slotmesh.tools.clusterctl.errors import CannotConnect, ServerError, StillLoading, UsageMistake, WrongPassword

Argument = bytes | str | int
T = TypeVar("T")
R = TypeVar("R")

MAX_PARALLEL = 32
"""Nodes asked at the same time when a question goes to all of them."""

_PASSWORD_HINT = "give it with --ask-password or --password-file, or in the variable REDISCLI_AUTH"

_BATCH_COMMANDS = 1000
"""Commands in flight on one link: enough to hide the round trip, few enough not to fill a node's output buffers."""


@attrs.frozen
class Access:
    """How to get in, the same for all nodes. Timeouts are seconds for connecting and for one reply."""

    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    timeout_s: float = 5.0


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `[IPV6]:PORT` or just `PORT` (on 127.0.0.1). A bus port as `7001@17001` is cut off."""
    host, colon, port = text.partition("@")[0].rpartition(":")
    if not colon:
        host = "127.0.0.1"
    host = host.removeprefix("[").removesuffix("]")
    number = to_uint(port, 65535)
    if not number or not host:
        raise UsageMistake(f"{text!r} is not an address", "write HOST:PORT, for example 127.0.0.1:7001")
    return Address(host, number)


def ip_of(address: Address) -> str:
    """The IP address of a host that may be given by name: MEET takes no names. `CannotConnect` for an unknown one."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _unknown_host(address, error) from error
    return str(found[0][4][0])


def _unknown_host(address: Address, error: OSError) -> CannotConnect:
    return CannotConnect(
        f"the host name {address.host} cannot be resolved: {str(error.strerror).lower()}",
        "is it right, and known on this machine?",
    )


def pack(command: Sequence[Argument]) -> bytes:
    """One command as a RESP array of bulk strings."""
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def words(reply: Any) -> str:
    """A bulk or simple string reply as text; bytes that are not UTF-8 stay visible as escapes."""
    return bytes(reply).decode("utf-8", "backslashreplace") if isinstance(reply, bytes | bytearray) else str(reply)


def _name_of(command: Sequence[Argument]) -> str:
    """The command for messages: with its subcommand where the first word says little."""
    first = words(command[0])
    return f"{first} {words(command[1])}" if first in ("CLUSTER", "SENTINEL", "CONFIG") and len(command) > 1 else first


class NodeLink:
    """One connection to one node. Open lazily with the first command; use as a context manager."""

    __slots__ = ("_connection", "access", "address")

    def __init__(self, address: Address, access: Access, reply_timeout_s: float | None = None) -> None:
        """`reply_timeout_s` replaces the general timeout for replies (commands that may run long)."""
        self.address = address
        self.access = access
        self._connection = redis.Connection(
            host=address.host,
            port=address.port,
            username=access.username,
            password=access.password,
            socket_connect_timeout=access.timeout_s,
            socket_timeout=reply_timeout_s or access.timeout_s,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
        )

    def call(self, *command: Argument) -> Any:
        """One command, its reply; an error reply raises `ServerError`."""
        reply = self.batch([command])[0]
        if isinstance(reply, ServerError):
            raise reply
        return reply

    def batch(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """All replies in order; an error reply is returned in its place as a `ServerError`, not raised."""
        replies: list[Any] = []
        for start in range(0, len(commands), _BATCH_COMMANDS):
            part = commands[start : start + _BATCH_COMMANDS]
            self.send(b"".join(map(pack, part)))
            replies += [self.receive(_name_of(command)) for command in part]
        return replies

    def send(self, packed: bytes) -> None:
        """Write packed commands; every one must be answered by a `receive`."""
        with _ConnectionErrors(self.address):
            self._connection.send_packed_command([packed], check_health=False)

    def receive(self, command_name: str) -> Any:
        """The next reply; an error reply is returned as a `ServerError`."""
        with _ConnectionErrors(self.address):
            try:
                return self._connection.read_response()
            except redis.ConnectionError:
                raise
            except redis.ResponseError as error:
                return ServerError(str(self.address), command_name, error_text(error))

    def close(self) -> None:
        self._connection.disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def error_text(error: redis.ResponseError) -> str:
    """The error as the node sent it: redis-py cuts the code off those it has classes for."""
    text = str(error)
    code = getattr(error, "status_code", None)
    if code is None:
        code = next((name for kind, name in _CODES if isinstance(error, kind)), None)
    return text if code is None or text.startswith(f"{code} ") else f"{code} {text}"


_CODES: tuple[tuple[type[Exception], str], ...] = (
    (redis.exceptions.MovedError, "MOVED"),
    (redis.exceptions.AskError, "ASK"),
    (redis.exceptions.TryAgainError, "TRYAGAIN"),
    (redis.exceptions.ClusterDownError, "CLUSTERDOWN"),
    (redis.exceptions.ReadOnlyError, "READONLY"),
    (redis.exceptions.NoPermissionError, "NOPERM"),
)


class _ConnectionErrors:
    """Turns what redis-py raises for a connection into `CannotConnect` with a reason and a hint."""

    __slots__ = ("_address",)

    def __init__(self, address: Address) -> None:
        self._address = address

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, redis.AuthenticationError):
            raise WrongPassword(f"{self._address} wants a password: {error}", _PASSWORD_HINT) from error
        if isinstance(error, redis.exceptions.BusyLoadingError):
            raise StillLoading(f"{self._address} is still loading its data", "try again in a moment") from error
        if isinstance(error, redis.ResponseError):
            raise CannotConnect(f"{self._address} does not let us in: {error}") from error
        if isinstance(error, redis.TimeoutError):
            raise CannotConnect(
                f"{self._address} does not answer in time", "is it hung, stopped or very busy?"
            ) from error
        if (unknown := _cause(error, socket.gaierror)) is not None:
            raise _unknown_host(self._address, unknown) from error
        if isinstance(error, redis.ConnectionError | OSError):
            raise CannotConnect(
                f"cannot connect to {self._address}: {_reason(error)}", "is the node running?"
            ) from error


def _cause(error: BaseException | None, kind: type[OSError]) -> OSError | None:
    """The first error of `kind` that has a number, from `error` back to what caused it."""
    while error is not None:
        if isinstance(error, kind) and error.errno is not None:
            return error
        error = error.__cause__ or error.__context__
    return None


def _reason(error: BaseException) -> str:
    cause = _cause(error, OSError)
    if cause is not None and cause.errno is not None:
        return os.strerror(cause.errno).lower()
    return str(error).rstrip(".").lower()


def for_each(items: Iterable[T], work: Callable[[T], R]) -> list[R]:
    """`work` on every item in parallel threads; results in order. The first exception is raised when all are done."""
    todo = list(items)
    if len(todo) <= 1:
        return [work(item) for item in todo]
    with ThreadPoolExecutor(min(MAX_PARALLEL, len(todo))) as pool:
        return list(pool.map(work, todo))
