"""CLUSTERSCAN on a cluster of one: cursors, options, refusals; the pages of a scan and what they leave out."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from slotmesh.cluster.slots import SLOT_COUNT, key_slot, slot_tag
from slotmesh.node.commands.cluster_scan import slot_of_pattern
from tests.support.inprocess import InProcessClient, InProcessNode
from tests.tables.support import Table, array, bulk, error, play, texts, wrong_arity

NOTHING = array()


def page(cursor: str, *keys: str) -> bytes:
    """The exact reply of a page."""
    return array(bulk(cursor), texts(*keys) if keys else NOTHING)


REFUSED: Table = (
    ("CLUSTERSCAN", wrong_arity("clusterscan")),
    *(
        (("CLUSTERSCAN", cursor), error("ERR Invalid cursor"))
        for cursor in (
            "invalid", "abc-def-ghi", "0-", "0-{0}", "0-{0}-", "0-{}-0", "0-{06S}-x", "0-{06S}--1", "0-{06S}-0-0", "1",
            "", "-{06S}-0", "00", "0-{06S}-18446744073709551616",
        )
    ),
    ("CLUSTERSCAN 0 UNKNOWN", error("ERR syntax error")),
    ("CLUSTERSCAN 0 NOVALUES", error("ERR syntax error")),
    ("CLUSTERSCAN 0-{06S}-0 COUNT 10 BADOPTION", error("ERR syntax error")),
    ("CLUSTERSCAN 0 COUNT 0", error("ERR syntax error")),
    ("CLUSTERSCAN 0 COUNT -1", error("ERR syntax error")),
    ("CLUSTERSCAN 0 COUNT x", error("ERR value is not an integer or out of range")),
    ("CLUSTERSCAN 0 TYPE notatype", error("ERR unknown type name 'notatype'")),
    ("CLUSTERSCAN 0 SLOT 16384", error("ERR Invalid or out of range slot")),
    ("CLUSTERSCAN 0 SLOT -1", error("ERR Invalid or out of range slot")),
    ("CLUSTERSCAN 0 SLOT 0 SLOT 0", error("ERR SLOT option can only be specified once")),
    ("CLUSTERSCAN 0-{06S}-0 SLOT 1", error("ERR Cursor slot mismatch")),
    ("SCAN 0 SLOT 0", error("ERR syntax error")),
)  # fmt: skip

#: The start of a scan, and patterns that fit the keys of one slot only. {06S} is slot 0, {Qi} 1, {6ZJ} the last.
STEPS: Table = (
    ("CLUSTERSCAN 0", page("0-{06S}-0")),
    ("CLUSTERSCAN 0 SLOT 1", page("0-{Qi}-0")),
    ("CLUSTERSCAN 0-{06S}-0", page("0")),
    ("SET {06S}a 1", b"+OK\r\n"),
    ("SET {Qi}a 1", b"+OK\r\n"),
    ("CLUSTERSCAN 0-{06S}-0 SLOT 0", page("0", "{06S}a")),
    ("CLUSTERSCAN 0-{06S}-0", page("0", "{06S}a", "{Qi}a")),
    ("CLUSTERSCAN 0-{06S}-99 COUNT 1 SLOT 0", page("0", "{06S}a")),
    ("CLUSTERSCAN 0-{Qi}-0", page("0", "{Qi}a")),
    ("CLUSTERSCAN 0-{6ZJ}-0", page("0")),
    ("CLUSTERSCAN 0 MATCH {Qi}*", page("0-{Qi}-0")),
    ("CLUSTERSCAN 0-{06S}-0 MATCH {Qi}*", page("0-{Qi}-0")),
    ("CLUSTERSCAN 0-{Qi}-0 MATCH {Qi}*", page("0", "{Qi}a")),
    ("CLUSTERSCAN 0-{Qi}-0 MATCH {06S}*", page("0")),
    ("CLUSTERSCAN 0 SLOT 0 MATCH {Qi}*", page("0")),
    ("CLUSTERSCAN 0-{06S}-0 SLOT 0 MATCH {Qi}*", page("0")),
    ("CLUSTERSCAN 0-{06S}-0 MATCH *a TYPE list", page("0")),
    ("CLUSTERSCAN 0-{06S}-0 MATCH *a TYPE String", page("0", "{06S}a", "{Qi}a")),
    ("CLUSTERSCAN 0-{06S}-0 MATCH slot slot 0", page("0")),
)


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode("--cluster-enabled", "yes") as node:
        node.client().call("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        assert node.server.cluster is not None
        node.server.cluster.core.view.cluster_ok = True
        node.server.cluster.settled()
        yield node


def walk(client: InProcessClient, *options: str, start: str = "0") -> list[bytes]:
    """Everything that a whole scan returns."""
    found: list[bytes] = []
    cursor = start
    for _ in range(20_000):
        raw, keys = client.call("CLUSTERSCAN", cursor, *options)
        cursor = raw.decode()
        found += keys
        if cursor == "0":
            return found
    raise AssertionError("the scan never ends")


@pytest.mark.parametrize("resp3", [False, True], ids=["resp2", "resp3"])
@pytest.mark.parametrize("table", [REFUSED, STEPS], ids=["refused", "steps"])
def test_every_request_gets_its_exact_reply(node: InProcessNode, table: Table, resp3: bool) -> None:
    client = node.client(resp3=resp3)
    play(table, lambda words: client.raw(*words), resp3=resp3)


def test_clusterscan_outside_a_cluster_is_refused() -> None:
    with InProcessNode() as node:
        assert node.client().raw("CLUSTERSCAN", "0") == error("ERR This instance has cluster support disabled")


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_scan_returns_every_key_once_while_nothing_changes(node: InProcessNode, count: int) -> None:
    client = node.client()
    keys = [b"key:%d" % n for n in range(300)] + [b"{06S}:%d" % n for n in range(500)]
    for key in keys:
        client.call("SET", key, "")
    assert sorted(walk(client, "COUNT", str(count))) == sorted(keys)
    assert sorted(walk(client, "COUNT", str(count), "SLOT", "0")) == sorted(keys[300:])
    assert sorted(walk(client, "COUNT", str(count), "MATCH", "{06S}:*")) == sorted(keys[300:])


def test_page_takes_keys_of_several_slots_until_there_are_enough(node: InProcessNode) -> None:
    client = node.client()
    for slot in range(0, 100, 2):
        client.call("SET", b"{%b}" % slot_tag(slot), "")
    cursor, keys = client.call("CLUSTERSCAN", "0-{06S}-0", "COUNT", "10")
    assert [key_slot(key) for key in keys] == list(range(0, 20, 2))
    assert key_slot(cursor) == 20
    assert not cursor.startswith(b"0-")


def test_expired_keys_are_not_listed(node: InProcessNode) -> None:
    client = node.client()
    client.call("SET", "{06S}a", "1", "PX", "10")
    client.call("SET", "{06S}b", "1")
    node.advance(11)
    assert walk(client) == [b"{06S}b"]


def test_keys_that_stay_are_met_while_others_come_and_go(node: InProcessNode) -> None:
    client = node.client()
    rng = random.Random(4)
    stay = [b"{06S}stay:%d" % n for n in range(1000)]
    for key in stay:
        client.call("SET", key, "")
    found: set[bytes] = set()
    cursor = b"0"
    for turn in range(10_000):
        cursor, keys = client.call("CLUSTERSCAN", cursor, "COUNT", "20")
        found.update(keys)
        if cursor == b"0":
            break
        for n in range(20):
            client.call("SET", b"{06S}%d:%d" % (turn, n), "")
        client.call("DEL", *(b"{06S}%d:%d" % (rng.randrange(turn + 1), n) for n in range(20)))
    assert found.issuperset(stay)


def test_cursor_of_another_node_goes_on_at_its_place(node: InProcessNode) -> None:
    client = node.client()
    for n in range(500):
        client.call("SET", b"{06S}:%d" % n, "")
    cursor, first = client.call("CLUSTERSCAN", "0-{06S}-0", "COUNT", "100")
    other = b"s01234567" + cursor[cursor.index(b"-") :]
    with InProcessNode("--cluster-enabled", "yes") as second:
        copy = second.client()
        copy.call("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        assert second.server.cluster is not None
        second.server.cluster.core.view.cluster_ok = True
        second.server.cluster.settled()
        for n in range(500):
            copy.call("SET", b"{06S}:%d" % n, "")
        for start in (cursor, other):
            rest = walk(copy, start=start.decode())
            assert len(set(first) | set(rest)) == 500
            assert len(rest) < 450  # it did not start again


def test_scan_leads_to_the_next_slot_that_is_not_ours(node: InProcessNode) -> None:
    client = node.client()
    assert node.server.cluster is not None
    client.call("CONFIG", "SET", "cluster-require-full-coverage", "no")
    client.call("CLUSTER", "DELSLOTSRANGE", "10", "16383")
    node.server.cluster.core.view.cluster_ok = True
    node.server.cluster.settled()
    client.call("SET", "{06S}a", "1")
    assert client.raw("CLUSTERSCAN", "0-{06S}-0") == page(f"0-{{{slot_tag(10).decode()}}}-0", "{06S}a")
    assert client.raw("CLUSTERSCAN", "0-{06S}-0", "SLOT", "0") == page("0", "{06S}a")
    assert client.raw("CLUSTERSCAN", b"0-{%b}-0" % slot_tag(10)) == error("CLUSTERDOWN Hash slot not served")
    node.server.cluster.core.view.cluster_ok = False
    node.server.cluster.settled()
    assert client.raw("CLUSTERSCAN", "0-{06S}-0") == error("CLUSTERDOWN The cluster is down")


@pytest.mark.parametrize("strange", ["aBcDeF", "m01234567", "t01234567", "0B3a21"])
def test_unknown_fingerprint_starts_the_slot_again(node: InProcessNode, strange: str) -> None:
    client = node.client()
    for n in range(20):
        client.call("SET", b"{06S}:%d" % n, "")
    assert len(walk(client, start=f"{strange}-{{06S}}-16777215")) == 20


@pytest.mark.parametrize(
    ("pattern", "slot"),
    [
        (b"user", key_slot(b"user")),
        (b"{tag}*", key_slot(b"tag")),
        (b"a{tag}?", key_slot(b"tag")),
        (b"{a}{b}*", key_slot(b"a")),
        (b"{}plain", key_slot(b"{}plain")),
        (b"{}x}*", None),
        (b"{tag*", None),
        (b"*{tag}", None),
        (b"{t?g}", None),
        (b"{t\\ag}x", None),
        (b"[{tag}", None),
        (b"tag}*", None),
        (b"*", None),
        (None, None),
    ],
)
def test_pattern_with_a_literal_tag_fits_one_slot(pattern: bytes | None, slot: int | None) -> None:
    assert slot_of_pattern(pattern) == slot


def test_every_slot_has_a_tag_of_its_own() -> None:
    tags = [slot_tag(slot) for slot in range(SLOT_COUNT)]
    assert [key_slot(tag) for tag in tags] == list(range(SLOT_COUNT))
    assert all(tag.isalnum() and len(tag) <= 3 for tag in tags)
    # Those that the vendor's page shows.
    assert tags[:2] == [b"06S", b"Qi"]
