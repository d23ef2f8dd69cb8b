"""ASKING at a node that imports a slot, byte for byte as between two stock nodes with an open slot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import (
    OUR_NODE,
    STOCK_SERVER,
    ClusterHandle,
    have_stock,
    start_cluster,
)
from tests.support.twins import Wire

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

#: Of the first node of two; on its way to the second.
SLOT = 3300  # of {b}

CONVERSATIONS = [
    "ASKING|MULTI|SET {b}1 a|GET {b}1|EXEC|GET {b}1",
    "ASKING|MULTI|SET {b}1 a|SET {b}1 b|EXEC|ASKING|GET {b}1",
    "ASKING|MULTI|SET {b}2 a|SET {b}3 b|EXEC",
    "ASKING|MULTI|SET {b}1 a|DISCARD|GET {b}1",
    "ASKING|MULTI|MULTI|SET {b}1 a|EXEC",
    "ASKING|MULTI|GET|SET {b}1 a|EXEC|GET {b}1",
    "MULTI|ASKING|SET {b}1 a|EXEC",
    "MULTI|SET {b}1 a|EXEC",
    "ASKING|GET {b}1|GET {b}1",
    "ASKING|GET|GET {b}1",
    "ASKING|NOSUCH|GET {b}1",
    "ASKING|CONFIG NOSUCH|GET {b}1",
    "ASKING|GET c|GET {b}1",
    "ASKING|ASKING|GET {b}1",
    "ASKING|ASKING x|GET {b}1",
    "ASKING|PING|GET {b}1",
    "ASKING|EVAL return 0|GET {b}1",
    "ASKING|MGET {b}1 {b}1|MGET {b}4 {b}4",
    "ASKING|MGET {b}4 {b}5",
    "ASKING|MSET {b}4 1 {b}4 2|ASKING|DEL {b}4",
    "ASKING|SET {b}1 x|ASKING|EXISTS {b}1 {b}1|ASKING|EXISTS {b}1 {b}9",
    "ASKING|SPUBLISH {b}1 message|SPUBLISH {b}1 message",
    "ASKING|MULTI|SPUBLISH {b}1 message|EXEC|GET {b}1",
    "SSUBSCRIBE {b}1",
    "ASKING|SSUBSCRIBE {b}1|SUNSUBSCRIBE {b}1|GET {b}1",
    "ASKING|SSUBSCRIBE {b}1 {b}2",
    "ASKING|WATCH {b}1|MULTI|PING|EXEC",
    "ASKING|RESET|GET {b}1",
    "READONLY|GET {b}1|READWRITE",
    "RESTORE-ASKING {b}7 0 x|GET {b}7",
]


@pytest.fixture(scope="module", params=["importing", "migrating"])
def side(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ClusterHandle, ClusterHandle]]:
    def folder(name: str) -> Path:
        return tmp_path_factory.mktemp(name)

    with (
        start_cluster((STOCK_SERVER,), folder("stock"), primaries=2, replicas=0) as stock,
        start_cluster(OUR_NODE, folder("ours"), primaries=2, replicas=0) as ours,
    ):
        for cluster in (stock, ours):
            source, target = cluster.nodes
            ids = [bytes(node.call("CLUSTER", "MYID")) for node in cluster.nodes]
            target.call("CLUSTER", "SETSLOT", SLOT, "IMPORTING", ids[0])
            source.call("SET", "{b}here", "1")
            source.call("CLUSTER", "SETSLOT", SLOT, "MIGRATING", ids[1])
        yield stock, ours


def transcript(cluster: ClusterHandle, side: str, conversation: str) -> list[bytes]:
    """The replies to each command of a conversation on a connection of its own; ports become the names of nodes."""
    source, target = cluster.nodes
    wire = Wire((target if side == "importing" else source).port)
    replies = [wire.call(command.split(" ")) for command in conversation.split("|")]
    wire.close()
    for node, name in ((source, b"source"), (target, b"target")):
        replies = [reply.replace(b":%d\r" % node.port, b":" + name + b"\r") for reply in replies]
    return replies


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_open_slot_answers_like_stock(
    clusters: tuple[ClusterHandle, ClusterHandle], side: str, conversation: str
) -> None:
    stock, ours = clusters
    wanted = transcript(stock, side, conversation)
    got = transcript(ours, side, conversation)
    assert got == wanted
