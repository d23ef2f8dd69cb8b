"""Clients that wait for a key hear of what no command does: expiry, eviction, other data in a replica.

What commands do to them is in `test_blocking_collections.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from slotmesh.node.base.gates import SERVER_LOADING
from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.persistence.loading import KeyspaceSink
from slotmesh.node.replication.loading import empty_data, swap_data
from slotmesh.node.server import Server
from slotmesh.node.types.stream import StreamValue
from tests.support.inprocess import InProcessClient, InProcessNode
from tests.tables.support import array, bulk, texts

GONE = b"-UNBLOCKED the stream key no longer exists\r\n"
GROUP_GONE = b"-NOGROUP the consumer group this client was blocked on no longer exists\r\n"
READER = ("XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">")


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        yield running


def waiting_reader(node: InProcessNode) -> InProcessClient:
    """A client that waits for new entries of the group `g` of `s`, which has one old entry."""
    client = node.client()
    client.call("XADD", "s", "1-0", "f", "v")
    client.call("XGROUP", "CREATE", "s", "g", "$")
    assert client.raw(*READER) == b""
    return client


def expire(server: Server) -> None:
    server.keyspace.dbs[0].set_expire(b"s", server.keyspace.now_ms - 1000)
    assert server.keyspace.expire_cycle(lambda: True) == 1


def evict(server: Server) -> None:
    server.keyspace.dbs[0].evict(b"s")


def replace_by_nothing(server: Server) -> None:
    swap_data(server.state, server.persistence, Keyspace(16))


def replace_by_nothing_at_all(server: Server) -> None:
    empty_data(server.state, server.persistence)


def replace_by_another_stream(server: Server) -> None:
    fresh = Keyspace(16)
    fresh.dbs[0].put(b"s", StreamValue())
    swap_data(server.state, server.persistence, fresh)


@pytest.mark.parametrize(
    ("what", "reply"),
    [
        (expire, GONE),
        (evict, GONE),
        (replace_by_nothing_at_all, GONE),
        (replace_by_nothing, GONE),
        (replace_by_another_stream, GROUP_GONE),
    ],
)
def test_reader_of_a_group_hears_that_its_key_is_gone_though_nobody_sends_a_command(
    node: InProcessNode, what: Callable[[Server], None], reply: bytes
) -> None:
    reader = waiting_reader(node)
    reader.send(b"ECHO next\r\n")
    what(node.server)
    node.server.data_plane.flush()  # as the cron and the links do after their work
    assert reader.received() == reply + bulk("next"), "and it goes on with what it sent meanwhile"


def test_clients_are_served_from_the_data_that_takes_the_place_of_a_replicas(node: InProcessNode) -> None:
    popper, reader = node.client(), node.client()
    assert popper.raw("BLPOP", "l", "0") == b""
    assert reader.raw("XREAD", "BLOCK", "0", "STREAMS", "t", "$") == b""
    fresh = Keyspace(16)
    with InProcessNode() as other:
        other.client().call("RPUSH", "l", "x")
        other.client().call("XADD", "t", "5-0", "f", "v")
        for key, value, _ in other.server.keyspace.dbs[0].items():
            fresh.dbs[0].put(key, value)
    swap_data(node.server.state, node.server.persistence, fresh)
    node.server.data_plane.flush()
    assert popper.received() == texts("l", "x")
    assert reader.received() == array(array(bulk("t"), array(array(bulk("5-0"), texts("f", "v")))))


def test_nobody_is_served_while_data_is_loaded(node: InProcessNode) -> None:
    popper = node.client()
    assert popper.raw("BLPOP", "l", "0") == b""
    node.server.state.set_gate(SERVER_LOADING, True)
    with InProcessNode() as other:
        other.client().call("RPUSH", "l", "x")
        sink = KeyspaceSink(node.server.keyspace, lambda code: None)
        for key, value, _ in other.server.keyspace.dbs[0].items():
            sink.on_key(key, value, None, None, None)
    node.server.data_plane.flush()
    assert popper.received() == b""
    node.server.state.set_gate(SERVER_LOADING, False)
    node.server.data_plane.flush()
    assert popper.received() == texts("l", "x")


@pytest.mark.parametrize(
    "change",
    [
        "XGROUP SETID s g 0",
        "XGROUP CREATE s other 0",
        "XGROUP CREATECONSUMER s g d",
        "XGROUP DELCONSUMER s g c",
        "XSETID s 1-0",
    ],
)
def test_orders_about_groups_wake_no_reader(node: InProcessNode, change: str) -> None:
    reader = waiting_reader(node)
    client = node.client()
    client.call(*change.split())
    assert reader.received() == b""
    client.call("XADD", "s", "2-0", "f", "v")
    new = array(bulk("2-0"), texts("f", "v"))
    entries = [array(bulk("1-0"), texts("f", "v")), new] if "SETID s g" in change else [new]
    assert reader.received() == array(array(bulk("s"), array(*entries)))


def test_end_of_a_group_wakes_its_readers(node: InProcessNode) -> None:
    reader = waiting_reader(node)
    node.client().call("XGROUP", "DESTROY", "s", "g")
    assert reader.received() == GROUP_GONE
