"""What servers, other sentinels and anybody on the hello channel must not achieve."""

from __future__ import annotations

import pytest

from slotmesh.cluster.epochs import MOST_CREDIBLE_EPOCH
from slotmesh.sentinel import statements
from slotmesh.sentinel.config import ConfigFileError, Statement
from slotmesh.sentinel.effects import ErrorReply, Request, Resolved
from slotmesh.sentinel.hello import HELLO_CHANNEL
from slotmesh.sentinel.info import MAX_REPLICAS, parse_info
from slotmesh.sentinel.peers import MAX_PEERS
from slotmesh.sentinel.state import MAX_NAMES
from slotmesh.sentinel.topology import parse_current_epoch, parse_nodes, parse_shard_ids
from tests.support.sentinel_bench import SentinelBench

CONFIG = "sentinel monitor m 10.0.1.1 6379 2\n"
NAMES_CONFIG = "sentinel resolve-hostnames yes\n" + CONFIG
RUN_ID = "a" * 40
HUGE = [MOST_CREDIBLE_EPOCH + 1, 2**63 - 1, 2**64 - 1, "9" * 5000]


def hello(
    host: str = "10.0.0.9",
    port: object = 26379,
    run_id: str = RUN_ID,
    epoch: object = 1,
    primary: str = "10.0.1.1",
    primary_port: object = 6379,
    config_epoch: object = 0,
) -> bytes:
    text = f"{host},{port},{run_id},{epoch},m,{primary},{primary_port},{config_epoch}"
    return text.encode("utf-8", "surrogateescape")


def say(bench: SentinelBench, payload: bytes) -> None:
    bench.step(Request(1, (b"PUBLISH", HELLO_CHANNEL.encode(), payload)))


def state(bench: SentinelBench) -> str:
    return bench.core.render()


def test_hello_that_makes_sense_is_heeded() -> None:
    bench = SentinelBench(CONFIG)
    say(bench, hello(epoch=7))
    assert list(bench.core.ctx.units["m"].sentinels) == [RUN_ID]
    assert bench.core.ctx.current_epoch == 7


@pytest.mark.parametrize(
    "payload",
    [
        hello(host="x" * 64),
        hello(host="db.example"),
        hello(host="::1 x"),
        hello(port="26_379"),
        hello(port="٢٦"),
        hello(run_id="a b"),
        hello(run_id='"'),
        hello(run_id="a" * 65),
        hello(primary="x" * 64, config_epoch=5),
        hello(primary="db.example", config_epoch=5),
        *[hello(epoch=epoch) for epoch in HUGE],
        *[hello(config_epoch=epoch) for epoch in HUGE],
        hello(epoch=-1),
        b"\xff" * 20 + b",1,a,1,m,10.0.1.1,1,1",
    ],
)
def test_hello_that_makes_no_sense_changes_nothing(payload: bytes) -> None:
    bench = SentinelBench(CONFIG)
    before = state(bench)
    say(bench, payload)
    assert state(bench) == before
    assert SentinelBench(before).core.ctx.units["m"].sentinels == {}


@pytest.mark.parametrize("host", ["x" * 64, "a..b", "-a.example", "a b", "a\0b", ".".join(["a" * 60] * 6)])
def test_what_is_no_name_is_not_looked_up_even_where_names_are_resolved(host: str) -> None:
    bench = SentinelBench(NAMES_CONFIG)
    say(bench, hello(host=host))
    say(bench, hello(primary=host, config_epoch=9))
    assert bench.core.ctx.names == {}
    assert bench.core.ctx.units["m"].sentinels == {}


def test_names_looked_up_are_bounded() -> None:
    bench = SentinelBench(NAMES_CONFIG)
    for number in range(MAX_NAMES + 10):
        bench.core.ctx.ip_of(f"h{number}.example")
    assert len(bench.core.ctx.names) == MAX_NAMES


def test_two_names_of_one_replica_in_the_file_are_one() -> None:
    """Others told both; they may lead to one address only after the file was written."""
    bench = SentinelBench(NAMES_CONFIG)
    bench.core.ctx.names.update({"a.example": "10.0.1.2", "b.example": "10.0.1.2"})
    words = [Statement(1, name, ("known-replica", "m", name, "6380")) for name in ("a.example", "b.example")]
    statements.load(bench.core, words, lambda path: False)
    assert list(bench.core.ctx.units["m"].replicas) == ["10.0.1.2:6380"]
    with pytest.raises(ConfigFileError, match="Duplicate hostname and port"):
        statements.load(bench.core, words[:1], lambda path: False)


def test_false_sentinels_are_bounded() -> None:
    bench = SentinelBench(CONFIG)
    for number in range(2000):
        bench.core.peers.on_hello(hello(port=1000 + number, run_id=f"{number:040x}"))
    assert len(bench.core.ctx.units["m"].sentinels) == MAX_PEERS


def test_names_cannot_be_given_up_while_a_primary_has_no_address_yet() -> None:
    bench = SentinelBench("sentinel resolve-hostnames yes\nsentinel monitor m db.example 6379 2\n")
    refusal = bench.call("SENTINEL", "CONFIG", "SET", "resolve-hostnames", "no")
    assert isinstance(refusal, ErrorReply)
    assert "is not known yet" in refusal.text
    bench.step(Resolved("db.example", "10.0.1.1"))
    bench.call("SENTINEL", "CONFIG", "SET", "announce-hostnames", "yes")
    bench.call("SENTINEL", "CONFIG", "SET", "resolve-hostnames", "no")
    assert "monitor m 10.0.1.1 6379 2" in state(bench)
    assert SentinelBench(state(bench)).core.ctx.units["m"].primary.address.ip == "10.0.1.1"


def test_vote_in_an_epoch_out_of_range_is_not_given() -> None:
    bench = SentinelBench(CONFIG)
    before = state(bench)
    reply = bench.call("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.1.1", "6379", str(2**63 - 1), RUN_ID)
    assert reply == [0, b"*", 0]
    assert state(bench) == before


def test_info_with_absurd_values_says_nothing() -> None:
    text = b"\r\n".join(
        [
            b"role:slave\xff",
            b"run_id:\xff\xfe",
            b"master_port:" + b"9" * 5000,
            b"master_link_down_since_seconds:" + b"%d" % (2**63 - 1),
            b"slave_priority:1_0",
            b"slave_repl_offset:" + b"9" * 30,
            b"slave0:ip=10.0.1.2,port=" + b"9" * 5000,
            "slave²:ip=10.0.1.2,port=1".encode(),
        ]
    )
    facts = parse_info(text)
    assert (facts.role, facts.primary_port, facts.priority, facts.offset) == ("", 0, None, None)
    assert facts.primary_link_down_ms < 2**63


def test_replicas_in_an_info_are_bounded() -> None:
    lines = [f"slave{n}:ip=10.0.2.{n % 250},port={1000 + n},state=online" for n in range(3000)]
    assert len(parse_info("\r\n".join(lines).encode()).replicas) == MAX_REPLICAS


def test_replica_with_a_name_for_an_address_is_not_added() -> None:
    bench = SentinelBench(CONFIG)
    unit = bench.core.ctx.units["m"]
    assert bench.core.roster.add_replica(unit, bench.core.ctx.address("x" * 64, 1)) is None


def test_views_with_foreign_bytes_are_left_out() -> None:
    line = "{id} 10.0.0.1:{port}@1 master - 0 0 {epoch} connected 0-1"
    good, nines = "b" * 40, "9" * 5000
    lines = [
        line.format(id="b b", port=1, epoch=1),
        line.format(id=good, port=nines, epoch=1),
        line.format(id=good, port="²", epoch=1),
        line.format(id=good, port=1, epoch=nines),
        line.format(id='"', port=1, epoch=1),
        line.format(id=good, port=1, epoch=1),
    ]
    assert [(view.node_id, view.port) for view in parse_nodes("\n".join(lines).encode())] == [(good, 1)]
    assert parse_current_epoch(b"cluster_current_epoch:" + b"9" * 5000) == 0
    assert parse_shard_ids([[b"id", b"\xff", b"nodes", [[b"id", b"\xff"]]]]) == {}
