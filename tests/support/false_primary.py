"""A primary that lies: it takes a replica's handshake and answers PSYNC with bytes of the test's choice."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Final, Self

ID: Final = b"a" * 40
BIG: Final = b"9" * 5000
EMPTY_RDB: Final = bytes.fromhex("524544495330303130fa0972656469732d76657206372e302e3135ff") + bytes(8)
#: Whole answers to PSYNC that begin a full sync of no keys; the stream follows.
IN_SYNC: Final = b"+FULLRESYNC %b 0\r\n$%d\r\n%b" % (ID, len(EMPTY_RDB), EMPTY_RDB)


def rdb_with_aux(name: bytes, length_and_value: bytes) -> bytes:
    """An RDB of one auxiliary field whose value is given with its length in front."""
    return b"REDIS0010\xfa%c%b%b\xff" % (len(name), name, length_and_value) + bytes(8)


def snapshot(rdb: bytes) -> bytes:
    """The answer to PSYNC that sends `rdb`."""
    return b"+FULLRESYNC %b 0\r\n$%d\r\n%b" % (ID, len(rdb), rdb)


def command(*argv: bytes) -> bytes:
    """A command as the stream has it."""
    return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in argv)


class FalsePrimary:
    """Listens on `port`; `meet` waits for the replica (again) and gives the connection, at the point of PSYNC."""

    def __init__(self, timeout_s: float = 15.0) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(timeout_s)
        self._timeout_s = timeout_s
        self.port: int = self._listener.getsockname()[1]

    def meet(self) -> socket.socket:
        """The replica's next connection, which has just sent PSYNC."""
        sock, _ = self._listener.accept()
        sock.settimeout(self._timeout_s)
        said = b""
        while b"PSYNC" not in said or not said.endswith(b"\r\n"):
            data = sock.recv(4096)
            assert data, f"the replica hung up after {said!r}"
            said += data
            sock.sendall(b"+PONG\r\n" * data.count(b"PING\r\n") + b"+OK\r\n" * data.count(b"REPLCONF"))
        return sock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
