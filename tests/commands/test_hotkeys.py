"""HOTKEYS: its arguments and replies, what a session measures, and that nothing is measured without one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from slotmesh.cluster.slots import slot_tag
from slotmesh.node.base.gates import SERVER_HOT_KEYS
from slotmesh.node.observe.command_log import request_bytes
from tests.support.inprocess import START_MS, InProcessClient, InProcessNode
from tests.tables.support import NIL2, NIL3, OK, Table, error, play, wrong_arity

TABLE: Table = (
    ("HOTKEYS", wrong_arity("hotkeys")),
    ("HOTKEYS NOSUCH", error("ERR unknown subcommand 'NOSUCH'. Try HOTKEYS HELP.")),
    ("HOTKEYS GET", NIL2, NIL3),
    ("HOTKEYS GET x", wrong_arity("hotkeys|get")),
    ("HOTKEYS STOP", NIL2, NIL3),
    ("HOTKEYS RESET", OK),
    ("HOTKEYS START", error("ERR METRICS parameter is required")),
    ("HOTKEYS START METRICS", error("ERR METRICS parameter is required")),
    ("HOTKEYS START COUNT 1 METRICS 1 CPU", error("ERR METRICS parameter is required")),
    ("HOTKEYS START METRICS 0", error("ERR METRICS count must be > 0 and <= 2")),
    ("HOTKEYS START METRICS 3 CPU NET", error("ERR METRICS count must be > 0 and <= 2")),
    ("HOTKEYS START METRICS x CPU", error("ERR METRICS count must be > 0 and <= 2")),
    ("HOTKEYS START METRICS 2 CPU", error("ERR METRICS count does not match number of metric types provided")),
    ("HOTKEYS START METRICS 1 CPU NET", error("ERR syntax error")),
    ("HOTKEYS START METRICS 2 CPU CPU", error("ERR METRICS CPU defined more than once!")),
    ("HOTKEYS START METRICS 2 net NET", error("ERR METRICS NET defined more than once!")),
    ("HOTKEYS START METRICS 1 GPU", error("ERR METRICS no valid metrics passed. Supported: CPU|NET")),
    ("HOTKEYS START METRICS 1 CPU COUNT", error("ERR syntax error")),
    ("HOTKEYS START METRICS 1 CPU COUNT 0", error("ERR COUNT must be between 1 and 64")),
    ("HOTKEYS START METRICS 1 CPU COUNT 65", error("ERR COUNT must be between 1 and 64")),
    ("HOTKEYS START METRICS 1 CPU DURATION 0", error("ERR DURATION must be between 1 and 1000000")),
    ("HOTKEYS START METRICS 1 CPU SAMPLE 0", error("ERR SAMPLE ratio must be positive")),
    ("HOTKEYS START METRICS 1 CPU SLOTS 1 0", error("ERR SLOTS parameter cannot be used in non-cluster mode")),
    ("HOTKEYS START METRICS 1 CPU NOSUCH 1", error("ERR syntax error")),
    ("HOTKEYS START METRICS 2 GPU cpu COUNT 5 DURATION 9 SAMPLE 2", OK),
    ("HOTKEYS START METRICS 1 NET", error("ERR hotkey tracking session already in progress")),
    ("HOTKEYS RESET", error("ERR hotkey tracking session in progress, stop tracking first")),
    ("HOTKEYS STOP", OK),
    ("HOTKEYS STOP", NIL2, NIL3),
    ("HOTKEYS RESET", OK),
    ("HOTKEYS GET", NIL2, NIL3),
)


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as node:
        yield node


@pytest.fixture
def cluster() -> Iterator[InProcessNode]:
    """A cluster of one, which owns the slots 0 to 9."""
    with InProcessNode("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no") as node:
        node.client().call("CLUSTER", "ADDSLOTSRANGE", "0", "9")
        assert node.server.cluster is not None
        node.server.cluster.core.view.cluster_ok = True
        node.server.cluster.settled()
        yield node


def report(client: InProcessClient) -> dict[str, Any]:
    """HOTKEYS GET of a RESP3 client."""
    (fields,) = client.call("HOTKEYS", "GET")
    return {name.decode(): value for name, value in fields.items()}


def costs(fields: dict[str, Any], name: str) -> dict[bytes, int]:
    listed = fields[name]
    return dict(zip(listed[::2], listed[1::2], strict=True))


@pytest.mark.parametrize("resp3", [False, True], ids=["resp2", "resp3"])
def test_every_request_gets_its_exact_reply(node: InProcessNode, resp3: bool) -> None:
    client = node.client(resp3=resp3)
    play(TABLE, lambda words: client.raw(*words), resp3=resp3)


def test_report_of_an_idle_session_has_every_field_in_order(node: InProcessNode) -> None:
    client = node.client()
    client.call("HOTKEYS", "START", "METRICS", "2", "CPU", "NET", "SAMPLE", "3")
    node.advance(250)
    (fields,) = client.call("HOTKEYS", "GET")
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    user, system = named.pop(b"total-cpu-time-user-ms"), named.pop(b"total-cpu-time-sys-ms")
    assert user >= 0
    assert system >= 0
    assert list(named.items()) == [
        (b"tracking-active", 1),
        (b"sample-ratio", 3),
        (b"selected-slots", [[0, 16383]]),
        (b"all-commands-all-slots-us", 0),
        (b"net-bytes-all-commands-all-slots", 0),
        (b"collection-start-time-unix-ms", START_MS),
        (b"collection-duration-ms", 250),
        (b"total-net-bytes", 0),
        (b"by-cpu-time-us", []),
        (b"by-net-bytes", []),
    ]


def test_bytes_of_requests_and_replies_are_shared_by_the_keys(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    client.call("HOTKEYS", "START", "METRICS", "1", "NET")
    client.call("MSET", "a", "1", "b", "2")
    client.call("GET", "a")
    client.call("PING")
    client.call("PUBLISH", "channel", "message")
    mset, get = request_bytes([b"MSET", b"a", b"1", b"b", b"2"]) + 5, request_bytes([b"GET", b"a"]) + 7
    fields = report(client)
    assert costs(fields, "by-net-bytes") == {b"a": mset // 2 + get, b"b": mset // 2}
    assert list(costs(fields, "by-net-bytes")) == [b"a", b"b"]
    assert fields["net-bytes-all-commands-all-slots"] == mset + get
    assert not {"by-cpu-time-us", "total-cpu-time-user-ms", "all-commands-selected-slots-us"} & fields.keys()


def test_key_of_slow_commands_is_the_first_by_processor_time(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    client.call("RPUSH", "long", *map(str, range(5000)))
    client.call("HOTKEYS", "START", "METRICS", "1", "CPU", "COUNT", "1")
    for _ in range(20):
        client.call("SET", "quick", "1")
        client.call("LREM", "long", "0", "nosuch")
    fields = report(client)
    assert list(costs(fields, "by-cpu-time-us")) == [b"long"]
    assert fields["all-commands-all-slots-us"] >= costs(fields, "by-cpu-time-us")[b"long"] > 0
    assert "by-net-bytes" not in fields


def test_scripts_count_as_one_command_and_transactions_by_each(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    client.call("HOTKEYS", "START", "METRICS", "1", "NET")
    script = "redis.call('set', KEYS[1], 1) redis.call('set', 'hidden', 1)"
    client.call("EVAL", script, "1", "named")
    client.call("MULTI")
    client.call("SET", "queued", "1")
    assert client.call("EXEC") == [b"OK"]
    found = costs(report(client), "by-net-bytes")
    assert found.keys() == {b"named", b"queued"}
    assert found[b"queued"] == request_bytes([b"SET", b"queued", b"1"]) + 5


def test_blocked_command_counts_when_it_is_served(node: InProcessNode) -> None:
    client, other = node.client(resp3=True), node.client()
    client.call("HOTKEYS", "START", "METRICS", "1", "NET")
    other.call("BLPOP", "list", "0")
    assert report(client)["by-net-bytes"] == []
    client.call("RPUSH", "list", "v")
    served = request_bytes([b"BLPOP", b"list", b"0"]) + len(other.received())
    pushed = request_bytes([b"RPUSH", b"list", b"v"]) + 4
    assert costs(report(client), "by-net-bytes") == {b"list": served + pushed}


def test_session_ends_by_itself_and_keeps_what_it_found(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    client.call("HOTKEYS", "START", "METRICS", "1", "NET", "DURATION", "2")
    client.call("SET", "before", "1")
    node.advance(2500)
    client.call("HOTKEYS", "GET")
    client.call("SET", "after", "1")
    fields = report(client)
    assert (fields["tracking-active"], fields["collection-duration-ms"]) == (0, 2000)
    assert costs(fields, "by-net-bytes").keys() == {b"before"}
    assert client.raw("HOTKEYS", "START", "METRICS", "1", "NET") == OK
    assert report(client)["by-net-bytes"] == []


def test_commands_leave_the_short_road_only_during_a_session(node: InProcessNode) -> None:
    client = node.client()
    assert not node.server.state.gates & SERVER_HOT_KEYS
    client.call("HOTKEYS", "START", "METRICS", "1", "CPU")
    assert node.server.state.gates & SERVER_HOT_KEYS
    client.call("HOTKEYS", "STOP")
    assert not node.server.state.gates & SERVER_HOT_KEYS


def test_sampling_looks_at_some_commands_only(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    client.call("HOTKEYS", "START", "METRICS", "1", "NET", "SAMPLE", "10")
    for _ in range(500):
        client.call("SET", "k", "1")
    one = request_bytes([b"SET", b"k", b"1"]) + 5
    fields = report(client)
    assert fields["net-bytes-all-commands-all-slots"] == 500 * one
    assert 10 * one < costs(fields, "by-net-bytes")[b"k"] < 120 * one


@pytest.mark.parametrize(
    ("slots", "text"),
    [
        ("2 0", "not enough slot numbers provided"),
        ("2 0 0", "duplicate slot number"),
        ("0", "SLOTS count must be between 1 and 16384"),
        ("1 16384", "Invalid or out of range slot"),
        ("1 10", "slot 10 not handled by this node"),
        ("1 0 SLOTS 1 5", "SLOTS parameter already specified"),
    ],
)
def test_bad_slots_are_refused(cluster: InProcessNode, slots: str, text: str) -> None:
    client = cluster.client()
    assert client.raw("HOTKEYS", "START", "METRICS", "1", "CPU", "SLOTS", *slots.split()) == error(f"ERR {text}")


def test_only_keys_of_the_selected_slots_are_looked_at(cluster: InProcessNode) -> None:
    client = cluster.client(resp3=True)
    start = ("HOTKEYS", "START", "METRICS", "2", "NET", "CPU")
    assert client.raw(*start, "SLOTS", "4", "5", "1", "0", "2", "COUNT", "3") == OK
    for slot in (0, 1, 3, 5):
        client.call("SET", b"{%b}" % slot_tag(slot), "1")
    fields = report(client)
    assert fields["selected-slots"] == [[0, 2], [5]]
    assert costs(fields, "by-net-bytes").keys() == {b"{%b}" % slot_tag(slot) for slot in (0, 1, 5)}
    assert fields["net-bytes-all-commands-selected-slots"] < fields["net-bytes-all-commands-all-slots"]
    assert "all-commands-selected-slots-us" in fields
    assert not {"sampled-commands-selected-slots-us", "net-bytes-sampled-commands-selected-slots"} & fields.keys()
    client.call("HOTKEYS", "STOP")
    assert client.raw(*start, "SAMPLE", "2", "SLOTS", "1", "0") == OK
    assert {"sampled-commands-selected-slots-us", "net-bytes-sampled-commands-selected-slots"} <= report(client).keys()
    client.call("HOTKEYS", "STOP")
    client.call(*start)
    assert report(client)["selected-slots"] == [[0, 9]]
