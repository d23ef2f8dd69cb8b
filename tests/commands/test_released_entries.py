"""Stream entries that were given back (XNACK) on all paths: log, replica, file, payload; and who gets them next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from slotmesh.node.clients.client import GATE_PRIMARY
from slotmesh.node.keyspace.nack_encoding import is_release_command
from slotmesh.node.persistence.aof_commands import value_commands
from slotmesh.node.persistence.payload import dump_payload, load_payload
from slotmesh.node.spec.registry import LOOKUP
from slotmesh.node.types.stream import StreamValue
from tests.support.inprocess import InProcessClient, InProcessNode


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def _obedient(node: InProcessNode) -> InProcessClient:
    """A client whose commands count as those of a primary."""
    client = node.client()
    client.served.set_gate(GATE_PRIMARY, True)
    return client


def _stream(client: InProcessClient) -> StreamValue:
    value = client.served.db.peek(b"s")
    assert isinstance(value, StreamValue)
    return value


def _with_released_entries(client: InProcessClient) -> None:
    """A stream of four entries: 3, 1 and 2 were given back in this order, 4 is pending for a consumer."""
    for number in range(1, 5):
        client.call("XADD", "s", number, "f", "v")
    client.call("XGROUP", "CREATE", "s", "g", "0")
    client.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")
    client.call("XNACK", "s", "g", "FATAL", "IDS", 1, 3)
    client.call("XNACK", "s", "g", "FAIL", "IDS", 1, 1)
    client.call("XNACK", "s", "g", "SILENT", "IDS", 1, 2)


def _state(stream: StreamValue) -> Any:
    """What is pending, by ID, and the released entries in their order."""
    group = stream.groups[b"g"]
    pending = {entry_id: group.pel.values[entry_id] for entry_id in group.pel.ids()}
    return (
        [(entry_id, item.consumer.name, item.delivered_ms, item.count) for entry_id, item in pending.items()],
        list(group.unowned.pel.values),
        sorted(group.consumers),
    )


def test_released_entries_survive_dump_and_restore_in_their_order(client: InProcessClient) -> None:
    _with_released_entries(client)
    loaded = load_payload(dump_payload(_stream(client)))
    assert _state(loaded) == _state(_stream(client))
    assert [entry_id >> 64 for entry_id in loaded.groups[b"g"].unowned.pel.values] == [3, 1, 2]


def test_released_entries_survive_next_to_a_consumer_without_a_name(client: InProcessClient) -> None:
    _with_released_entries(client)
    client.call("XGROUP", "CREATECONSUMER", "s", "g", "")
    loaded = load_payload(dump_payload(_stream(client)))
    assert sorted(loaded.groups[b"g"].consumers) == [b"", b"c"]
    assert len(loaded.groups[b"g"].pel) == 4


def test_released_entries_survive_a_log_made_of_commands(node: InProcessNode, client: InProcessClient) -> None:
    _with_released_entries(client)
    wanted = _state(_stream(client))
    commands = [command for command in value_commands(b"s", _stream(client)) if command]
    client.call("DEL", "s")
    loader = _obedient(node)
    for command in commands:
        loader.call(*command)
    assert _state(_stream(client)) == wanted


def test_released_entries_are_told_to_replicas_in_words_of_stock(node: InProcessNode, client: InProcessClient) -> None:
    _with_released_entries(client)
    wanted = _state(_stream(client))
    propagated = node.take_propagated()
    told = [argv for argv in propagated if argv[0] == b"XCLAIM" and is_release_command(argv)]
    assert [argv[5] for argv in told] == [b"3-0", b"1-0", b"2-0"]
    assert all(argv[0] != b"XNACK" for argv in propagated)
    client.call("DEL", "s")
    replica = _obedient(node)
    for argv in propagated:
        replica.call(*argv)
    assert _state(_stream(client)) == wanted


def test_release_of_an_entry_that_is_gone_on_the_replica_is_nothing(
    node: InProcessNode, client: InProcessClient
) -> None:
    _with_released_entries(client)
    told = [argv for argv in node.take_propagated() if argv[0] == b"XCLAIM" and is_release_command(argv)]
    client.call("XACK", "s", "g", 1, 2, 3)
    client.call("XDEL", "s", 1, 2, 3)
    replica = _obedient(node)
    failures = LOOKUP[b"XCLAIM"].failed_calls
    for argv in told:
        replica.call(*argv)
    assert (len(told), LOOKUP[b"XCLAIM"].failed_calls) == (3, failures)
    assert len(_stream(client).groups[b"g"].pel) == 1


def test_nacked_count_is_shown_while_there_are_released_entries(client: InProcessClient) -> None:
    _with_released_entries(client)

    def count() -> Any:
        reply = client.call("XINFO", "STREAM", "s", "FULL")
        groups = dict(zip(reply[::2], reply[1::2], strict=True))[b"groups"]
        group = dict(zip(groups[0][::2], groups[0][1::2], strict=True))
        return group.get(b"nacked-count"), group[b"pel-count"]

    assert count() == (3, 4)
    client.call("XCLAIM", "s", "g", "d", 0, 1)
    assert count() == (2, 4)
    client.call("XACK", "s", "g", 2)
    assert count() == (1, 3)
    client.call("XAUTOCLAIM", "s", "g", "d", 0, 0)
    assert count() == (None, 3)
