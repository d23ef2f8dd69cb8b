"""``nodes.conf`` both ways with a stock node: it starts from our file, and we start from its."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from slotmesh.cluster import reports
from slotmesh.cluster.config import ClusterConfig
from slotmesh.cluster.core import ClusterCore
from slotmesh.cluster.guard import Fence
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.state_file import decode_state, encode_state
from tests.support.lone_core import LoneCore, node_id
from tests.support.processes import ServerHandle, free_ports, have_stock, start_stock_server, wait_until

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]


def start_from(text: str, directory: Path) -> ServerHandle:
    """A stock node that finds ``text`` as its nodes.conf."""
    directory.mkdir()
    (directory / "nodes.conf").write_text(text)
    (port,) = free_ports(1, cluster=True)
    return start_stock_server(directory, port=port, cluster=True)


def described(text: str) -> dict[str, tuple[object, ...]]:
    """What must be equal in two files about each node: flags but for failures, primary, slots, open slots."""
    return {
        node.node_id: (
            node.flags & ~(4 | 8),
            node.primary_id,
            node.slots,
            node.migrating_to,
            node.importing_from,
            node.address.hostname,
        )
        for node in decode_state(text).nodes
    }


def test_stock_node_starts_from_our_file_and_agrees_on_everything(tmp_path: Path) -> None:
    lone = LoneCore("R2", announce_hostname="two.example.org")
    lone.greet()
    lone.core.on_guard(lone.now_ms, "shard", "s1", 1000, 1, lone.now_ms)
    lone.order("failover", takeover=True, fence=Fence(epoch=9))
    lone.order("set_slot_migrating", 6000, node_id("P1"))
    lone.order("set_slot_importing", 3, node_id("P1"))
    text = lone.core.state_text()
    assert "shardId" in text
    assert "fenceEpoch 9 guard shard/1" in text
    with start_from(text, tmp_path / "stock") as stock:
        assert stock.call("CLUSTER", "MYID") == node_id("R2").encode()
        info = bytes(stock.call("CLUSTER", "INFO")).decode()
        assert "cluster_current_epoch:4\r\n" in info
        assert "cluster_my_epoch:4\r\n" in info
        # Its own host name comes from its settings, not from the file.
        theirs = described(bytes(stock.call("CLUSTER", "NODES")).decode())
        ours = described(text)
        assert {i: one[:-1] for i, one in theirs.items()} == {i: one[:-1] for i, one in ours.items()}
        assert stock.call("CLUSTER", "SAVECONFIG") == b"OK"
        rewritten = (tmp_path / "stock" / "nodes.conf").read_text()
    assert "Skipping unknown cluster config variable 'shardId'" in stock.log()
    assert decode_state(rewritten).last_vote_epoch == 0


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[ServerHandle]:
    with start_stock_server(
        tmp_path / "stock", "--cluster-announce-hostname", "stock.example.org", cluster=True
    ) as handle:
        yield handle


def test_our_node_starts_from_the_file_of_a_stock_cluster(stock: ServerHandle, tmp_path: Path) -> None:
    with start_stock_server(tmp_path / "other", cluster=True) as other:
        stock.call("CLUSTER", "ADDSLOTSRANGE", 0, 99, 200, 300)
        stock.call("CLUSTER", "SET-CONFIG-EPOCH", 5)
        other.call("CLUSTER", "SET-CONFIG-EPOCH", 6)
        stock.call("CLUSTER", "MEET", "127.0.0.1", other.port)
        other_id = bytes(other.call("CLUSTER", "MYID")).decode()
        wait_until(lambda: f"{other_id} 127.0.0.1" in stock_text(stock), 10, "the nodes met")
        wait_until(lambda: b"cluster_current_epoch:6" in stock.call("CLUSTER", "INFO"), 10, "the epoch arrived")
        stock.call("CLUSTER", "SETSLOT", 7, "MIGRATING", other_id)
        stock.call("CLUSTER", "SETSLOT", 1000, "IMPORTING", other_id)
        stock.call("CLUSTER", "SAVECONFIG")
        text = (tmp_path / "stock" / "nodes.conf").read_text()
        shown = stock_text(stock)
    core = ClusterCore(ClusterConfig(port=stock.port, cport=stock.port + 10000), Random(1), 10**12, text)
    view = core.view
    assert view.myself.node_id == bytes_id(shown)
    assert view.myself.slots == SlotSet([*range(100), *range(200, 301)])
    assert view.epochs.current_epoch == 6
    other_member = view.members.get(other_id)
    assert view.slots.migrating_to == {7: other_member}
    assert view.slots.importing_from == {1000: other_member}
    ours = described(reports.nodes_text(view))
    theirs = described(shown)
    # Host names are announced, not remembered: ours is not set here.
    assert {i: one[:-1] for i, one in ours.items()} == {i: one[:-1] for i, one in theirs.items()}
    assert "stock.example.org" in text


def stock_text(stock: ServerHandle) -> str:
    return bytes(stock.call("CLUSTER", "NODES")).decode()


def bytes_id(shown: str) -> str:
    return next(line for line in shown.splitlines() if "myself" in line)[:40]


def test_file_of_stock_is_written_back_byte_for_byte(stock: ServerHandle, tmp_path: Path) -> None:
    stock.call("CLUSTER", "ADDSLOTSRANGE", 0, 99, 200, 300)
    stock.call("CLUSTER", "SAVECONFIG")
    text = (tmp_path / "stock" / "nodes.conf").read_text()
    assert "stock.example.org" in text
    assert encode_state(decode_state(text)) == text
