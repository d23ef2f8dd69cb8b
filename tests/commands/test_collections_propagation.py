"""What collection commands send to the append-only file and the replicas, and which keyspace events they raise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slotmesh.node.keyspace.notify import parse_flags
from tests.support.effects_collections import CHANGES, DELIVERED, EVENTS
from tests.support.inprocess import START_MS, InProcessClient, InProcessNode


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def _line(argv: list[bytes]) -> str:
    return b" ".join(argv).decode()


def _claim(entry: int, consumer: str, count: int, last: str, at_ms: int = START_MS) -> str:
    return f"XCLAIM s g {consumer} 0 {entry}-0 TIME {at_ms} RETRYCOUNT {count} FORCE JUSTID LASTID {last}"


#: commands that prepare, the command, what it propagates as (a list), None: nothing
PROPAGATION: tuple[tuple[tuple[str, ...], str, list[str] | None], ...] = (
    ((), "HSET h a 1", ["HSET h a 1"]),
    (("HSET h a 1",), "HSETNX h a 1", None),
    (("HIMPORT PREPARE f a b",), "HIMPORT SET h f 1 2", ["HSET h a 1 b 2"]),
    (("HIMPORT PREPARE f a", "HSET h z 9"), "HIMPORT SET h f 1", ["DEL h", "HSET h a 1"]),
    ((), "HIMPORT PREPARE f a b", None),
    (("HSET h a 1",), "HDEL h none", None),
    (("HSET h a 1.5",), "HINCRBYFLOAT h a 0.25", ["HSET h a 1.75"]),
    (("HSET h a 1 b 2",), "HEXPIRE h 5 FIELDS 2 a none", [f"HPEXPIREAT h {START_MS + 5000} FIELDS 1 a"]),
    (("HSET h a 1 b 2",), "HPEXPIREAT h 1 FIELDS 2 a b", ["HDEL h a b"]),
    (("HSET h a 1",), "HEXPIRE h 5 XX FIELDS 1 a", None),
    (("HSET h a 1",), "HPERSIST h FIELDS 1 a", None),
    (("HSET h a 1",), "HGETEX h FIELDS 1 a", None),
    (("HSET h a 1",), "HGETEX h EX 5 FIELDS 1 a", [f"HPEXPIREAT h {START_MS + 5000} FIELDS 1 a"]),
    (("HSETEX h EX 5 FIELDS 1 a 1",), "HGETEX h PERSIST FIELDS 1 a", ["HPERSIST h FIELDS 1 a"]),
    (("HSET h a 1",), "HGETDEL h FIELDS 2 a b", ["HDEL h a"]),
    ((), "HSETEX h PX 5 FIELDS 1 a 1", [f"HSETEX h PXAT {START_MS + 5} FIELDS 1 a 1"]),
    ((), "HSETEX h FIELDS 1 a 1", ["HSETEX h FIELDS 1 a 1"]),
    (("RPUSH l a",), "LPUSHX l b", ["LPUSHX l b"]),
    ((), "LPUSHX l b", None),
    (("RPUSH l a b",), "LPOP l 2", ["LPOP l 2"]),
    (("RPUSH l a b",), "BLPOP none l 0", ["LPOP l"]),
    (("RPUSH l a b",), "BRPOP l 0", ["RPOP l"]),
    (("RPUSH l a b",), "LMPOP 1 l RIGHT COUNT 9", ["RPOP l 2"]),
    (("RPUSH l a b",), "BLMPOP 0 1 l LEFT", ["LPOP l 1"]),
    (("RPUSH l a b",), "BLMOVE l m LEFT RIGHT 0", ["LMOVE l m LEFT RIGHT"]),
    (("RPUSH l a b",), "BRPOPLPUSH l m 0", ["RPOPLPUSH l m"]),
    (
        ("XADD s 1 f v", "XADD s 2 f v", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >"),
        "XADD s DELREF MAXLEN 1 3 f v",
        ["XADD s MAXLEN = 1 3-0 f v", "XACK s g 1-0 2-0"],
    ),
    (
        ("XADD s 1 f v", "XADD s 2 f v", "XGROUP CREATE s g 1"),
        "XADD s ACKED MAXLEN 1 3 f v",
        ["XADD s 3-0 f v", "XDEL s 1-0"],
    ),
    (
        ("XADD s 1 f v", "XADD s 2 f v", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c COUNT 1 STREAMS s >"),
        "XTRIM s MINID 9 DELREF",
        ["XTRIM s MINID = 9-0", "XACK s g 1-0"],
    ),
    (("XADD s 1 f v", "XADD s 2 f v", "XGROUP CREATE s g 2"), "XTRIM s MAXLEN 1 ACKED", ["XDEL s 1-0"]),
    (("XADD s 1 f v", "XGROUP CREATE s g 0"), "XTRIM s MAXLEN 0 ACKED", None),
    (("XADD s 1 f v", "XADD s 2 f v"), "XTRIM s MAXLEN 1 ACKED", ["XTRIM s MAXLEN = 1"]),
    (("ZADD a 7 x",), "ZUNIONSTORE d 2 a a AGGREGATE SUM", ["ZUNIONSTORE d 2 a a AGGREGATE SUM"]),
    (("ZADD a 7 x",), "ZUNIONSTORE d 2 a a AGGREGATE COUNT", ["ZADD d 2 x"]),
    (("ZADD a 7 x", "SET d v"), "ZINTERSTORE d 1 a AGGREGATE COUNT WEIGHTS 1.5", ["DEL d", "ZADD d 1.5 x"]),
    (("SET d v",), "ZUNIONSTORE d 1 a AGGREGATE COUNT", ["DEL d"]),
    ((), "ZUNIONSTORE d 1 a AGGREGATE COUNT", None),
    (("RPUSH l a b c",), "LMOVEM l m LEFT LEFT COUNT 2 OBO", ["LPOP l 2", "LPUSH m a b"]),
    (("RPUSH l a b c",), "LMOVEM l m RIGHT RIGHT EXACTLY 2 BULK", ["RPOP l 2", "RPUSH m b c"]),
    (("RPUSH l a b c",), "LMOVEM l l LEFT LEFT COUNT 2 OBO", ["LPOP l 2", "LPUSH l a b"]),
    (("RPUSH l a b c",), "LMOVEM l l LEFT LEFT COUNT 3 OBO", ["RPUSH l c b a", "LPOP l 3"]),
    (("RPUSH l a b c",), "LMOVEM l m LEFT LEFT EXACTLY 4 OBO", None),
    (("RPUSH l a b",), "LREM l 0 none", None),
    (("SADD s a",), "SADD s a", None),
    (("SADD s a",), "SPOP s", ["SREM s a"]),
    (("SADD s a",), "SPOP s 9", ["DEL s"]),
    (("SADD s a",), "SINTERSTORE d s none", None),
    (("SADD s a",), "SUNIONSTORE d s", ["SUNIONSTORE d s"]),
    (("ZADD z 1 a",), "ZADD z 1 a", None),
    (("ZADD z 1 a",), "ZINCRBY z 1 a", ["ZINCRBY z 1 a"]),
    (("ZADD z 1 a 2 b",), "BZPOPMIN z 0", ["ZPOPMIN z"]),
    (("ZADD z 1 a 2 b",), "ZMPOP 1 z MAX COUNT 9", ["ZPOPMAX z 2"]),
    (("ZADD z 1 a 2 b",), "BZMPOP 0 1 z MIN", ["ZPOPMIN z 1"]),
    ((), "XADD s * f v", [f"XADD s {START_MS}-0 f v"]),
    ((), "XADD s 5-* f v", ["XADD s 5-0 f v"]),
    (("XADD s 1 f v",), "XADD s MAXLEN 1 2 f v", ["XADD s MAXLEN = 1 2-0 f v"]),
    (("XADD s 1 f v",), "XADD s MAXLEN ~ 1 LIMIT 5 2 f v", ["XADD s MAXLEN = 2 2-0 f v"]),
    (("XADD s 1 f v",), "XADD s MINID ~ 2 2 f v", ["XADD s MINID = 1-0 2-0 f v"]),
    (("XADD s 1 f v",), "XTRIM s MAXLEN 0", ["XTRIM s MAXLEN 0"]),
    (("XADD s 1 f v",), "XTRIM s MAXLEN ~ 0", ["XTRIM s MAXLEN = 0"]),
    (("XADD s 1 f v",), "XTRIM s MAXLEN 5", None),
    (("XADD s 1 f v",), "XREAD STREAMS s 0", None),
    (DELIVERED[:3], DELIVERED[3], [_claim(1, "c", 1, "1-0"), _claim(2, "c", 1, "2-0")]),
    (
        DELIVERED[:3],
        "XREADGROUP GROUP g c NOACK STREAMS s >",
        ["XGROUP CREATECONSUMER s g c", "XGROUP SETID s g 2-0 ENTRIESREAD 2"],
    ),
    (DELIVERED, "XREADGROUP GROUP g c STREAMS s 0", None),
    (DELIVERED, "XREADGROUP GROUP g c STREAMS s >", None),
    (DELIVERED, "XACK s g 1 9", ["XACK s g 1 9"]),
    (DELIVERED, "XACK s g 9", None),
    (DELIVERED, "XCLAIM s g d 0 1", [_claim(1, "d", 2, "2-0")]),
    (DELIVERED, "XCLAIM s g d 99 1", None),
    (DELIVERED, "XCLAIM s g d 99 1 LASTID 9", ["XGROUP SETID s g 9-0 ENTRIESREAD 2"]),
    (DELIVERED, "XAUTOCLAIM s g d 0 0 COUNT 1 JUSTID", [_claim(1, "d", 1, "2-0")]),
    ((*DELIVERED, "XDEL s 1"), "XAUTOCLAIM s g d 0 0 COUNT 1", [_claim(1, "c", 1, "2-0")]),
    (DELIVERED, "XDELEX s ACKED IDS 1 1", None),
    (DELIVERED, "XACKDEL s g IDS 1 1", ["XACKDEL s g IDS 1 1"]),
)


def _without_frame(lines: list[str]) -> list[str]:
    """Several commands of one travel inside MULTI and EXEC."""
    if len(lines) > 1:
        assert (lines[0], lines[-1]) == ("MULTI", "EXEC")
        return lines[1:-1]
    return lines


@pytest.mark.parametrize(("before", "command", "expected"), PROPAGATION, ids=[row[1] for row in PROPAGATION])
def test_command_is_propagated_in_its_stable_form(
    node: InProcessNode, client: InProcessClient, before: tuple[str, ...], command: str, expected: list[str] | None
) -> None:
    for line in before:
        client.call(*line.split())
    node.take_propagated()
    client.call(*command.split())
    assert _without_frame([_line(argv) for argv in node.take_propagated()]) == (expected or [])


@pytest.mark.parametrize(("before", "command", "expected"), EVENTS, ids=[row[1] for row in EVENTS])
def test_command_raises_its_events_in_order(
    node: InProcessNode, client: InProcessClient, before: tuple[str, ...], command: str, expected: list[str]
) -> None:
    for line in before:
        client.call(*line.split())
    mask = parse_flags("AKEmn")
    assert mask is not None
    seen: list[str] = []
    keyspace = node.server.keyspace
    keyspace.on_event = lambda _mask, event, key, _db: seen.append(f"{event.decode()} {key.decode()}")
    keyspace.set_notify_mask(mask)
    client.call(*command.split())
    assert seen == expected


@pytest.mark.parametrize(("before", "command", "count"), CHANGES, ids=[row[1] for row in CHANGES])
def test_command_counts_its_changes_as_stock_does(
    node: InProcessNode, client: InProcessClient, before: tuple[str, ...], command: str, count: int
) -> None:
    for line in before:
        client.call(*line.split())
    dirty = node.server.keyspace.dirty
    client.call(*command.split())
    assert node.server.keyspace.dirty - dirty == count


def test_xadd_with_options_like_those_before_means_its_own(client: InProcessClient) -> None:
    for _ in range(3):
        client.call("XADD", "s", "MAXLEN", "2", "*", "f", "v")
    assert client.call("XLEN", "s") == 2
    client.call("XADD", "s", "MAXLEN", "1", "*", "f", "v")
    client.call("XADD", "t", "MAXLEN", "1", "*", "f", "v")
    assert (client.call("XLEN", "s"), client.call("XLEN", "t")) == (1, 1)
    client.call("XADD", "s", "*", "f", "v")
    assert client.call("XLEN", "s") == 2
    client.call("XADD", "s", "MAXLEN", "1", "99999999999999-1", "f", "v")
    assert client.call("XLEN", "s") == 1
    assert client.call("XADD", "none", "NOMKSTREAM", "MAXLEN", "1", "*", "f", "v") is None
    assert client.raw("XADD", "s", "", "*", "f", "v").startswith(b"-ERR Invalid stream ID")
    assert client.raw("XADD", "s", "MAXLEN", "1", "*").startswith(b"-ERR wrong number of arguments")
    assert client.raw("XADD", "u", "MAXLEN", "~", "7").startswith(b"-ERR wrong number of arguments")
    assert client.call("XADD", "u", "MAXLEN", "~", "7", "1-1", "f", "v") == b"1-1"


def test_xadd_goes_on_from_the_last_id_when_the_clock_is_behind_it(
    node: InProcessNode, client: InProcessClient
) -> None:
    assert client.call("XADD", "s", "*", "f", "v") == b"%d-0" % START_MS
    assert client.call("XADD", "s", "*", "f", "v") == b"%d-1" % START_MS
    node.advance(1)
    assert client.call("XADD", "s", "*", "f", "v") == b"%d-0" % (START_MS + 1)
    node.advance(-1)
    assert client.call("XADD", "s", "*", "f", "v") == b"%d-1" % (START_MS + 1)
    client.call("XADD", "s", f"99999999999999-{2**64 - 2}", "f", "v")
    assert client.call("XADD", "s", "*", "f", "v") == b"99999999999999-%d" % (2**64 - 1)
    assert client.call("XADD", "s", "*", "f", "v") == b"100000000000000-0"
    client.call("XADD", "t", f"{START_MS}-{2**64 - 2}", "f", "v")
    assert client.call("XADD", "t", "*", "f", "v") == b"%d-%d" % (START_MS, 2**64 - 1)
    assert client.call("XADD", "t", "*", "f", "v") == b"%d-0" % (START_MS + 1)
    client.call("XADD", "t", f"{2**64 - 1}-{2**64 - 1}", "f", "v")
    assert client.raw("XADD", "t", "*", "f", "v").startswith(b"-ERR The stream has exhausted the last possible ID")
