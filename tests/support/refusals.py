"""Commands that are refused, one of every kind of refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from slotmesh.node.resp.encoder import encode_command
from tests.support.inprocess import to_bytes

Args = tuple[str | bytes, ...]
Call = Callable[..., Any]

LONG = "x" * 1000


def nothing(call: Call) -> None:
    """Nothing to prepare."""


def one_string(call: Call) -> None:
    call("SET", "s", "text")


def limited_user(call: Call) -> None:
    call("ACL", "SETUSER", "limited", "on", "nopass", "+get", "+auth", "~allowed:*")


def over_memory(call: Call) -> None:
    call("SET", "filler", "x" * 100_000)
    call("CONFIG", "SET", "maxmemory", "1")


def with_password(call: Call) -> None:
    call("CONFIG", "SET", "requirepass", "secret")


def some_slots(call: Call) -> None:
    call("CLUSTER", "ADDSLOTSRANGE", "0", "8000")


@attrs.frozen
class Kind:
    """`requests` are refused again and again, with `error` somewhere in the replies, after `enter` on the same
    connection and `prepare` on another."""

    name: str
    error: bytes
    requests: tuple[Args, ...]
    prepare: Callable[[Call], None] = nothing
    enter: tuple[Args, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def wire(self) -> bytes:
        """The requests as they are sent."""
        return b"".join(encode_command([to_bytes(word) for word in request]) for request in self.requests)


KINDS = [
    Kind("wrong type", b"-WRONGTYPE", (("LPUSH", "s", LONG),), one_string),
    Kind("syntax", b"-ERR syntax error", (("SET", "k", LONG, "NOSUCH"),)),
    Kind("no integer", b"-ERR value is not an integer", (("INCRBY", "k", LONG), ("INCR", "s")), one_string),
    Kind("arity", b"-ERR wrong number", (("GET", LONG, LONG), ("CONFIG", "GET"))),
    Kind("unknown", b"-ERR unknown command", (("NOSUCH", LONG), ("CONFIG", "NOSUCH", LONG))),
    Kind("out of memory", b"-OOM", (("SET", "k", LONG), ("LPUSH", "l", LONG)), over_memory),
    Kind("replica", b"-READONLY", (("SET", "k", LONG),), options=("--replicaof", "127.0.0.1 1")),
    Kind("no authentication", b"-NOAUTH", (("GET", LONG),), with_password),
    Kind("wrong password", b"-WRONGPASS", (("AUTH", LONG), ("AUTH", "nobody", LONG)), with_password),
    Kind("no permission", b"-NOPERM", (("SET", "k", LONG), ("GET", LONG)), limited_user, (("AUTH", "limited", "x"),)),
    Kind("no script", b"-NOSCRIPT", (("EVALSHA", "0" * 40, "0", LONG),)),
    Kind("script that does not compile", b"-ERR Error compiling", (("EVAL", "no Lua", "0", LONG),)),
    Kind(
        "redis.call",
        b"-WRONGTYPE",
        (("EVAL", "return redis.call('LPUSH', 's', ARGV[1])", "0", LONG),),
        one_string,
    ),
    Kind(
        "redis.pcall",
        b"-WRONGTYPE",
        (("EVAL", "return redis.pcall('LPUSH', 's', ARGV[1])", "0", LONG),),
        one_string,
    ),
    Kind("error of a script", b"-ERR user_script", (("EVAL", "error('x')", "0", LONG),)),
    Kind(
        "refused while queued",
        b"-EXECABORT",
        (("MULTI",), ("GET",), ("SET", "k", LONG), ("EXEC",)),
    ),
    Kind(
        "refused by EXEC",
        b"-WRONGTYPE",
        (("MULTI",), ("LPUSH", "s", LONG), ("EXEC",)),
        one_string,
    ),
    Kind(
        "blocking in EXEC",
        b"-WRONGTYPE",
        (("MULTI",), ("BLPOP", "s", "0"), ("EXEC",)),
        one_string,
    ),
    Kind("cluster", b"-CLUSTERDOWN", (("SET", "k", LONG),), options=("--cluster-enabled", "yes")),
    Kind(
        "slots",
        b"-CROSSSLOT",
        (("MGET", "b", "c", LONG), ("GET", "a")),
        some_slots,
        options=("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"),
    ),
    Kind("subscriber", b"-ERR Can't execute", (("GET", LONG),), enter=(("SUBSCRIBE", "c"),)),
    Kind("made up codes", b"-MINE", (("EVAL", "return redis.error_reply('MINE x')", "0", LONG),)),
    Kind("busy key", b"-BUSYKEY", (("RESTORE", "s", "0", LONG),), one_string),
    Kind("dump payload", b"-ERR DUMP payload", (("RESTORE", "other", "0", LONG),)),
    Kind("expiry", b"-ERR invalid expire", (("SET", "k", LONG, "EX", "-1"),)),
    Kind("timeout", b"-ERR timeout", (("BLPOP", "k", "x"),)),
    Kind("range of databases", b"-ERR", (("SELECT", "9" * 5000),)),
    Kind("configuration", b"-ERR", (("CONFIG", "SET", "nosuch", LONG), ("CONFIG", "SET", "maxmemory", LONG))),
    Kind("users", b"-ERR", (("ACL", "SETUSER", "u", LONG),)),
]
