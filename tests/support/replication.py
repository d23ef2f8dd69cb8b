"""Helpers of replication tests: random writes of every kind, being in step, equal data, and a link that can be cut."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self

import redis

from tests.support.processes import ServerHandle, wait_until

Command = tuple[str | bytes | int | float, ...]
#: Options for servers in replication tests: no wait before a snapshot, DEBUG for comparing data.
OPTIONS = ("--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes")


class RandomWrites:
    """An endless, reproducible mix of writing commands over few keys, so that they often meet.

    `volatile`: some keys get an expiry of a second or two. They make the primary write later on, by itself.
    """

    def __init__(self, seed: int, keys: int = 40, *, volatile: bool = True) -> None:
        self._ttl_unit = 1 if volatile else 100_000
        self._rng = random.Random(seed)
        self._keys = keys
        self._makers: list[Callable[[], Command]] = [
            self._string,
            self._counter,
            self._list,
            self._set,
            self._hash,
            self._sorted_set,
            self._stream,
            self._key_command,
        ]

    def _key(self, kind: str) -> str:
        return f"{kind}:{self._rng.randrange(self._keys)}"

    def _word(self) -> str:
        return f"w{self._rng.randrange(50)}"

    def _string(self) -> Command:
        key, rng = self._key("s"), self._rng
        choices: list[Command] = [
            ("SET", key, "x" * rng.randrange(200)),
            ("SET", key, self._word(), "EX", rng.randrange(1, 3) * self._ttl_unit),
            ("SET", key, self._word(), "KEEPTTL"),
            ("APPEND", key, self._word()),
            ("SETRANGE", key, rng.randrange(100), self._word()),
            ("GETDEL", key),
            ("GETEX", key, "PX", rng.randrange(10, 2000) * self._ttl_unit),
            ("MSET", key, "1", self._key("s"), "2"),
            ("SETBIT", key, rng.randrange(500), 1),
        ]
        return rng.choice(choices)

    def _counter(self) -> Command:
        key, rng = self._key("c"), self._rng
        choices: list[Command] = [("INCRBY", key, rng.randrange(100)), ("INCRBYFLOAT", key, rng.random()), ("DEL", key)]
        return rng.choice(choices)

    def _list(self) -> Command:
        key, rng = self._key("l"), self._rng
        choices: list[Command] = [
            ("RPUSH", key, *(self._word() for _ in range(rng.randrange(1, 10)))),
            ("LPUSH", key, self._word()),
            ("LPOP", key, rng.randrange(1, 4)),
            ("LMOVE", key, self._key("l"), "LEFT", "RIGHT"),
            ("LREM", key, 1, self._word()),
            ("LTRIM", key, 0, 30),
            ("BRPOP", key, 0.01),
        ]
        return rng.choice(choices)

    def _set(self) -> Command:
        key, rng = self._key("t"), self._rng
        choices: list[Command] = [
            ("SADD", key, *(self._word() for _ in range(rng.randrange(1, 10)))),
            ("SREM", key, self._word()),
            ("SPOP", key),
            ("SPOP", key, 3),
            ("SMOVE", key, self._key("t"), self._word()),
            ("SUNIONSTORE", key, self._key("t"), self._key("t")),
        ]
        return rng.choice(choices)

    def _hash(self) -> Command:
        key, rng = self._key("h"), self._rng
        choices: list[Command] = [
            ("HSET", key, self._word(), self._word(), self._word(), rng.randrange(1000)),
            ("HINCRBY", key, "counter", 3),
            ("HINCRBYFLOAT", key, "float", rng.random()),
            ("HDEL", key, self._word()),
        ]
        return rng.choice(choices)

    def _sorted_set(self) -> Command:
        key, rng = self._key("z"), self._rng
        choices: list[Command] = [
            ("ZADD", key, rng.randrange(100), self._word(), rng.random(), self._word()),
            ("ZINCRBY", key, rng.random(), self._word()),
            ("ZPOPMIN", key),
            ("ZREM", key, self._word()),
            ("ZUNIONSTORE", key, 2, self._key("z"), self._key("z")),
            ("ZREMRANGEBYRANK", key, 20, -1),
        ]
        return rng.choice(choices)

    def _stream(self) -> Command:
        key, rng = self._key("x"), self._rng
        choices: list[Command] = [
            ("XADD", key, "*", "f", self._word()),
            ("XADD", key, "MAXLEN", 20, "*", "f", self._word(), "n", rng.randrange(1000)),
            ("XTRIM", key, "MAXLEN", 10),
            ("XGROUP", "CREATE", key, "g", "0", "MKSTREAM"),
            ("XREADGROUP", "GROUP", "g", "c", "COUNT", 2, "STREAMS", key, ">"),
        ]
        return rng.choice(choices)

    def _key_command(self) -> Command:
        kind, rng = self._rng.choice("sclthzx"), self._rng
        key = self._key(kind)
        choices: list[Command] = [
            ("DEL", key),
            ("UNLINK", key, self._key(kind)),
            ("PEXPIRE", key, rng.randrange(10, 1500) * self._ttl_unit),
            ("EXPIRE", key, 100 * self._ttl_unit),
            ("PERSIST", key),
            ("RENAME", key, self._key(kind)),
            ("COPY", key, self._key(kind), "REPLACE"),
            ("SELECT", rng.randrange(3)),
        ]
        return rng.choice(choices)

    def __iter__(self) -> Iterator[Command]:
        while True:
            yield self._rng.choice(self._makers)()

    def take(self, count: int) -> list[Command]:
        """The next `count` commands."""
        commands = iter(self)
        return [next(commands) for _ in range(count)]


def run_pipeline(server: ServerHandle, commands: Sequence[Command], *, transaction: bool = False) -> list[Any]:
    """Run commands in one go; errors are among the replies (random commands may make no sense)."""
    with server.client().pipeline(transaction=transaction) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        replies = pipe.execute(raise_on_error=False)
        with contextlib.suppress(redis.ResponseError):
            server.call("SELECT", 0)
        return replies


def write_random(server: ServerHandle, seed: int, count: int, *, volatile: bool = True) -> None:
    """Random writes, every fifth batch as a transaction."""
    writes = RandomWrites(seed, volatile=volatile)
    batch = 50
    for number in range(count // batch):
        run_pipeline(server, writes.take(batch), transaction=not number % 5)


def follow(replica: ServerHandle, primary_port: int) -> None:
    """Make `replica` a replica of the server behind a port, and wait until it is in step."""
    assert bytes(replica.call("REPLICAOF", "127.0.0.1", primary_port)).startswith(b"OK")
    wait_linked(replica)


def wait_linked(replica: ServerHandle, deadline_s: float = 30.0) -> None:
    """Until the link of a replica is up."""
    wait_until(
        lambda: replica.info("replication").get("master_link_status") == "up",
        deadline_s,
        f"{replica.address} linked",
        poll_s=0.05,
    )


def offset(server: ServerHandle) -> int:
    """The replication offset: produced, or applied."""
    return int(server.info("replication")["master_repl_offset"])


def wait_in_step(*servers: ServerHandle, deadline_s: float = 20.0) -> int:
    """Until all servers have the same history and offset, without a write in between; that offset."""

    def in_step() -> int:
        seen = {(i["master_replid"], i["master_repl_offset"]) for i in (s.info("replication") for s in servers)}
        return int(next(iter(seen))[1]) if len(seen) == 1 else 0

    return wait_until(in_step, deadline_s, f"{[server.address for server in servers]} in step", poll_s=0.05)


def digest(server: ServerHandle) -> bytes:
    """The fingerprint of all data of a server: keys, values, expiry times."""
    return bytes(server.call("DEBUG", "DIGEST"))


def assert_equal_data(first: ServerHandle, *others: ServerHandle, deadline_s: float = 10.0) -> None:
    """All servers come to hold the same: keys may expire while we look. Keys that differ in the end are named."""
    end = time.monotonic() + deadline_s
    while len({digest(server) for server in (first, *others)}) > 1:
        if time.monotonic() > end:
            found = {other.address: list(islice(_differences(first, other), 10)) for other in others}
            raise AssertionError(f"not the same data as in {first.address}: {found}")
        time.sleep(0.1)


def _differences(first: ServerHandle, other: ServerHandle) -> Iterator[str]:
    for db in range(4):
        with _in_db(first, db) as a, _in_db(other, db) as b:
            for key in sorted({*a.keys(), *b.keys()}):
                values = [
                    (c.execute_command("DEBUG", "DIGEST-VALUE", key), c.execute_command("PEXPIRETIME", key))
                    for c in (a, b)
                ]
                if values[0] != values[1]:
                    yield f"db {db} {key!r}: {values}"


@contextlib.contextmanager
def _in_db(server: ServerHandle, db: int) -> Iterator[Any]:
    client = redis.Redis(host="127.0.0.1", port=server.port, db=db, socket_timeout=10)
    try:
        yield client
    finally:
        client.close()


class CuttableLink:
    """A TCP proxy before a server: its connections can be cut, and new ones refused, without the server knowing why."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._open = True
        self._closing = False
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, reopen: bool = True) -> None:
        """Break all connections; refuse new ones until `reopen`."""
        with self._lock:
            self._open = reopen
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for side in pair:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
                side.close()

    def reopen(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._open = True

    def _accept(self) -> None:
        while not self._closing:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if not self._open:
                    near.close()
                    continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                near.close()
                continue
            self.connections += 1
            with self._lock:
                self._pairs.append((near, far))
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut everything and listen no more."""
        self._closing = True
        self._listener.close()
        self.cut(reopen=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
