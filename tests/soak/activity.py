"""What the soak does to a primary and its replica, one kind of activity a function.

Each is run again and again, ends with nothing of its own left in the server, and expects nothing but an answer: whether
answers are right is what the other tests ask.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import redis

from tests.commands.test_tables import ALL as TABLES
from tests.support.processes import ServerHandle, raw_call, wait_until
from tests.tables.support import words


@attrs.define
class Pair:
    """A primary and its replica; `swap` changes their roles."""

    primary: ServerHandle
    replica: ServerHandle
    rng: random.Random
    round: int = 0

    def swap(self) -> None:
        """A failover by hand: the replica takes over, and the old primary follows it."""
        self.replica.call("REPLICAOF", "NO", "ONE")
        self.primary.call("REPLICAOF", "127.0.0.1", self.replica.port)
        self.primary, self.replica = self.replica, self.primary
        self.wait_in_sync()

    def wait_in_sync(self) -> None:
        wait_until(lambda: self.replica.info("replication")["master_link_status"] == "up", 60, "a replica in sync")


@contextlib.contextmanager
def _client(server: ServerHandle, **options: Any) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port, socket_timeout=30, **options) as client:
        yield client


def _try(client: redis.Redis, *request: str | bytes | int) -> None:
    with contextlib.suppress(redis.ResponseError, redis.exceptions.InvalidResponse):
        raw_call(client, *request)


def every_command(pair: Pair) -> None:
    """The tables of all commands of data, right and wrong requests alike."""
    for protocol in (2, 3):
        with _client(pair.primary, protocol=protocol) as client:
            for table in TABLES.values():
                for row in table:
                    _try(client, *words(row[0]))
    pair.primary.call("FLUSHALL")


def refusals(pair: Pair) -> None:
    """Refused requests, pipelined, in transactions, in scripts and at the replica."""
    long = b"x" * 1000
    with _client(pair.primary) as client, _client(pair.replica) as reader:
        client.set("s", "x")
        for _ in range(200):
            pipe = client.pipeline(transaction=False)
            for _ in range(20):
                pipe.execute_command("LPUSH", "s", long)
                pipe.execute_command("NONSENSE", long)
                pipe.execute_command("SET", "s", long, "NX", "XX")
            pipe.execute(raise_on_error=False)
        for _ in range(200):
            _try(client, "EVAL", "return redis.call('LPUSH', KEYS[1], ARGV[1])", 1, "s", long)
            _try(client, "EVALSHA", "f" * 40, 0, long)
            _try(reader, "SET", "s", long)
            _try(client, "MULTI")
            _try(client, "LPUSH", "s", long)
            _try(client, "NONSENSE", long)
            _try(client, "EXEC")
        client.delete("s")


def strangers(pair: Pair) -> None:
    """Clients that come, do something, and go without a word: half a command, a subscription, tracking, a wait."""
    halves = (
        b"*2\r\n$3\r\nGET\r\n$100\r\nhalf",
        b"SUBSCRIBE a b c\r\nPSUBSCRIBE d*\r\nSSUBSCRIBE e\r\n",
        b"HELLO 3\r\nCLIENT TRACKING ON BCAST PREFIX user:\r\nGET user:1\r\n",
        b"HELLO 3\r\nCLIENT TRACKING ON\r\nMGET user:1 user:2\r\n",
        b"BLPOP nothing 0\r\n",
        b"XREAD BLOCK 0 STREAMS nothing $\r\n",
        b"MULTI\r\nSET user:1 x\r\n",
        b"WATCH user:1\r\n",
        b"MONITOR\r\n",
        b"AUTH nobody wrong\r\n",
        b"CLIENT SETNAME someone\r\nCLIENT REPLY OFF\r\nSET user:1 y\r\n",
    )
    for _ in range(40):
        for half in halves:
            with socket.create_connection(("127.0.0.1", pair.primary.port), timeout=10) as sock:
                sock.sendall(half)
        with _client(pair.primary) as client:
            client.set("user:1", "1")
            client.publish("a", "message")
            client.publish("dog", "message")
    pair.primary.call("DEL", "user:1")


def scripts(pair: Pair) -> None:
    """Scripts that nobody has seen before, libraries that replace each other, errors in both."""
    with _client(pair.primary) as client:
        for number in range(300):
            _try(
                client, "EVAL", f"local t = {{}} for i = 1, 100 do t[i] = i * {number} end return #t + {pair.round}", 0
            )
            _try(client, "EVAL", f"return redis.call('NONSENSE', {number}, {pair.round})", 0)
            _try(client, "EVAL", f"syntax error {number} {pair.round}", 0)
        for number in range(20):
            body = f"#!lua name=soak\nredis.register_function('f', function(keys, args) return {number} end)"
            _try(client, "FUNCTION", "LOAD", "REPLACE", body)
            _try(client, "FCALL", "f", 0)
        _try(client, "FUNCTION", "DELETE", "soak")
        _try(client, "SCRIPT", "FLUSH")


def users(pair: Pair) -> None:
    """Users that are made, used, refused and removed."""
    with _client(pair.primary) as client:
        for number in range(50):
            name = f"user{number}"
            _try(client, "ACL", "SETUSER", name, "on", ">p", "~k*", "+get", "(+set ~w*)")
            with _client(pair.primary, username=name, password="p") as limited:
                for request in (("GET", "k1"), ("SET", "w1", "x"), ("SET", "k1", "x"), ("CONFIG", "GET", "*")):
                    _try(limited, *request)
            _try(client, "ACL", "DELUSER", name)
        _try(client, "ACL", "LOG", "RESET")


def settings(pair: Pair) -> None:
    """CONFIG SET, LATENCY, SLOWLOG, MEMORY, INFO and the like."""
    with _client(pair.primary) as client:
        for _ in range(30):
            for request in (
                ("CONFIG", "SET", "slowlog-log-slower-than", "0"),
                ("CONFIG", "SET", "slowlog-log-slower-than", "10000"),
                ("CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "allkeys-lru"),
                ("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction"),
                ("INFO", "everything"),
                ("COMMAND", "DOCS"),
                ("MEMORY", "STATS"),
                ("LATENCY", "HISTOGRAM"),
                ("CLIENT", "LIST"),
                ("CONFIG", "GET", "*"),
                ("KEYS", f"*{pair.rng.random()}*"),
                ("SCAN", "0", "MATCH", f"{pair.rng.random()}?*"),
                ("PUBSUB", "CHANNELS", f"{pair.rng.random()}*"),
            ):
                _try(client, *request)
        _try(client, "SLOWLOG", "RESET")


def expiry(pair: Pair) -> None:
    """Keys and fields that expire, untouched and touched."""
    with _client(pair.primary) as client:
        client.flushall()
        pipe = client.pipeline(transaction=False)
        for number in range(3000):
            pipe.set(f"e:{number}", "x" * 50, px=pair.rng.randint(1, 200))
            pipe.execute_command("HSET", f"h:{number % 50}", number, "v")
            pipe.execute_command("HPEXPIRE", f"h:{number % 50}", pair.rng.randint(1, 200), "FIELDS", 1, number)
        pipe.execute(raise_on_error=False)
        wait_until(lambda: client.dbsize() == 0, 60, "all keys expired")


def saving(pair: Pair) -> None:
    """A save and a rewrite of the log."""
    for command, field in (("BGSAVE", "rdb_bgsave_in_progress"), ("BGREWRITEAOF", "aof_rewrite_in_progress")):
        with _client(pair.primary) as client:
            _try(client, command)
        wait_until(lambda field=field: pair.primary.info("persistence")[field] == "0", 60, f"{command} at its end")  # type: ignore[misc]


def resyncs(pair: Pair) -> None:
    """A replica whose link is cut, one that must take everything anew, and a change of roles."""
    with _client(pair.primary) as client:
        client.client_kill_filter(_type="slave")
    pair.wait_in_sync()
    pair.replica.call("REPLICAOF", "NO", "ONE")
    pair.replica.call("SET", "of my own", "x")
    pair.replica.call("REPLICAOF", "127.0.0.1", pair.primary.port)
    pair.wait_in_sync()
    pair.swap()


ACTIVITIES: tuple[Callable[[Pair], None], ...] = (
    every_command,
    refusals,
    strangers,
    scripts,
    users,
    settings,
    expiry,
    saving,
    resyncs,
)
