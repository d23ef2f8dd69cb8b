"""What the fuzzers of the data plane share: data of every kind, and a node whose faults of its own are found."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from tests.fuzz.values import NUMBER_TEXTS
from tests.support.inprocess import InProcessNode

#: Keys by type, so that every command finds one of its own.
KEYS = (b"string", b"number", b"hash", b"timed", b"list", b"set", b"ints", b"zset", b"stream", b"hll", b"nosuch")
SETUP: tuple[tuple[str | int, ...], ...] = (
    ("SET", "string", "some text that is longer than sixty-four letters, so that it is no embstr, PX", "PX", 10**9),
    ("SET", "number", 10),
    ("HSET", "hash", "f", "1", "g", "2.5", "h", "text"),
    ("HSET", "timed", "f", "1", "g", "2"),
    ("HPEXPIRE", "timed", 10**8, "FIELDS", 1, "f"),
    ("RPUSH", "list", "a", "b", "1", "2"),
    ("SADD", "set", "a", "b", "1"),
    ("SADD", "ints", 1, 2, 2**40),
    ("ZADD", "zset", 1, "a", "2.5", "b", "inf", "c"),
    ("GEOADD", "zset", 13, 38, "here"),
    ("XADD", "stream", "1-1", "f", "v"),
    ("XADD", "stream", "2-1", "f", "v", "g", "w"),
    ("XGROUP", "CREATE", "stream", "g", "0"),
    ("XREADGROUP", "GROUP", "g", "me", "COUNT", 1, "STREAMS", "stream", ">"),
    ("PFADD", "hll", "a", "b"),
)
INTS = (-(2**63) - 1, -(2**63), -(2**63) + 1, -(2**31) - 1, 2**31 - 1, 2**63 - 1000)
HOSTILE = (
    *(text.encode() for text in NUMBER_TEXTS),
    *(b"%d" % number for number in INTS),
    *(b"inf", b"-inf", b"nan", b"1e308", b"-1e308", b"1e-320", b"1e5000", b"0x1p1023", b"-0", b"1." + b"0" * 5000),
    *(b"18446744073709551615-18446744073709551615", b"0-0", b"1-", b"-", b"+", b"(", b"(1", b"[", b"\xff\xfe", b"\0"),
)


class _Faults(logging.Handler):
    """Collects what is logged with a traceback: bugs of the node that its guards caught."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(logging.Formatter().format(record))


@contextmanager
def no_faults() -> Iterator[None]:
    """Raises AssertionError with the traceback of every fault that was logged meanwhile."""
    log, faults = logging.getLogger("node"), _Faults()
    before = log.level, log.propagate
    log.addHandler(faults)
    log.setLevel(logging.ERROR)  # tens of thousands of refusals are nobody's news
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(faults)
        log.setLevel(before[0])
        log.propagate = before[1]
    assert not faults.found, "\n".join(faults.found[:3])


@contextmanager
def filled_node(rng: Random) -> Iterator[InProcessNode]:
    """A node of a random level with some data in it, and with limits that keep it small."""
    level = rng.choice(("7.0", "7.2"))
    options = ("--compat-level", level, "--proto-max-bulk-len", "1048576", "--maxmemory-policy", "allkeys-lru")
    with no_faults(), InProcessNode(*options) as node:
        fill(node)
        yield node


def fill(node: InProcessNode) -> None:
    """Make the data what they were at the start."""
    client = node.client()
    client.call("FLUSHALL")
    for words in SETUP:
        reply = client.call(*words)
        assert not isinstance(reply, Exception), f"{words}: {reply}"
    client.sock.close()
