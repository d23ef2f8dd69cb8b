"""Frames that no honest node sends, and damaged state files, against real nodes."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotmesh.cluster.messages import Extensions, ForgottenNode, Header, Meet, Ping
from slotmesh.cluster.terms import FLAG_PRIMARY, MESSAGE_EXTENSIONS
from slotmesh.cluster.wire import encode_message
from tests.support.processes import (
    OUR_NODE,
    PROJECT_ROOT,
    ClusterHandle,
    ServerHandle,
    free_ports,
    start_node_cluster,
    wait_until,
)

ID_A, ID_B = "a" * 40, "b" * 40


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    with start_node_cluster(tmp_path_factory.mktemp("cluster"), replicas=0) as running:
        running.wait_ok()
        yield running


def members(node: ServerHandle) -> list[list[str]]:
    return [line.split() for line in node.call("CLUSTER", "NODES").decode().splitlines()]


def violations(node: ServerHandle) -> int:
    info = dict(line.split(":") for line in node.call("CLUSTER", "INFO").decode().splitlines())
    return int(info.get("total_cluster_links_protocol_violations", 0))


def say(node: ServerHandle, frame: bytes) -> bytes:
    """Send a frame to the bus port; the answer, empty when the link is dropped."""
    with socket.create_connection(("127.0.0.1", node.port + 10_000), timeout=20) as link:
        link.sendall(frame)
        return link.recv(65536)


def test_greatest_epoch_drops_its_link_and_is_not_saved(cluster: ClusterHandle) -> None:
    node = min(cluster.nodes, key=lambda one: one.call("CLUSTER", "MYID"))  # the one that yields in a collision
    mine = next(member for member in members(node) if "myself" in member[2])
    other = next(member for member in members(node) if "myself" not in member[2])
    before = violations(node)
    header = Header(
        sender=other[0],
        port=7000,
        cport=17000,
        flags=FLAG_PRIMARY,
        current_epoch=2**64 - 1,
        config_epoch=int(mine[6]),
    )
    assert say(node, encode_message(Ping(header))) == b""
    assert violations(node) == before + 1
    node.call("CLUSTER", "SAVECONFIG")
    assert str(2**64 - 1) not in (node.directory / "nodes.conf").read_text()
    node.kill9()
    node.restart()
    cluster.wait_ok()


def test_primary_with_slots_is_not_forgotten_on_a_forged_word(cluster: ClusterHandle) -> None:
    node = cluster.nodes[0]
    sender, victim = [member for member in members(node) if "myself" not in member[2]]
    port, cport = (int(text) for text in sender[1].split(",")[0].rpartition(":")[2].split("@"))
    slots = next(other for other in cluster.nodes if other.port == port)
    header = Header(sender[0], port, cport, flags=FLAG_PRIMARY, message_flags=MESSAGE_EXTENSIONS, current_epoch=1)
    forged = Ping(header, (), Extensions(forgotten=(ForgottenNode(victim[0], 600),)))
    assert say(node, encode_message(forged))
    assert victim[0] in [member[0] for member in members(node)]
    assert slots.running


def test_meet_with_a_name_leads_to_no_connection(cluster: ClusterHandle) -> None:
    node = cluster.nodes[0]
    with socket.create_server(("127.0.0.1", 0)) as lure:
        port = lure.getsockname()[1]
        for ip in ("localhost", "127.0.0.1"):
            assert say(node, encode_message(Meet(Header("f" * 40, port, port, ip=ip, flags=FLAG_PRIMARY))))
        lure.settimeout(20)
        first, _ = lure.accept()
        with first:
            handshakes = [member[1] for member in members(node) if "handshake" in member[2]]
        assert handshakes == [f"127.0.0.1:{port}@{port}"], "only the MEET with an address led here"


LINE = f"{ID_A} 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-16383\n"
VARS = "vars currentEpoch 1 lastVoteEpoch 0\n"
DAMAGED = {
    "not ASCII": LINE.replace("connected", "connected\xe9") + VARS,
    "truncated": LINE[:60],
    "no vars value": LINE + "vars currentEpoch",
    "epoch of 2^64-1": LINE + f"vars currentEpoch {2**64 - 1} lastVoteEpoch 0\n",
    "epoch of 5000 digits": LINE + f"vars currentEpoch {'9' * 5000} lastVoteEpoch 0\n",
    "slots of 5000 digits": LINE.replace("16383", "9" * 5000) + VARS,
    "voters of 5000 digits": LINE + VARS.replace("\n", f" guard mesh/{'9' * 5000}\n"),
    "bus port out of range": LINE.replace(":7000@17000", ":60000") + VARS,
    "nobody is myself": LINE.replace("myself,", "") + VARS,
    "two are myself": LINE + LINE.replace(ID_A, ID_B) + VARS,
    "master and slave": LINE.replace("master -", f"master,slave {ID_B}") + VARS,
    "shard id of another kind": LINE.replace("@17000", "@17000,,shard-id=nope") + VARS,
    "binary": "\0\x01\x02" * 500,
}


@pytest.mark.parametrize("name", list(DAMAGED))
def test_damaged_nodes_conf_is_one_clear_line_and_status_1(name: str, tmp_path: Path) -> None:
    (tmp_path / "nodes.conf").write_bytes(DAMAGED[name].encode("latin-1"))
    (port,) = free_ports(1, cluster=True)
    argv = [*OUR_NODE, "--port", str(port), "--cluster-enabled", "yes", "--dir", str(tmp_path)]
    ended = subprocess.run(argv, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=30, check=False)
    told = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert "Traceback" not in told
    assert [line for line in told.splitlines() if "Unrecoverable error: corrupted cluster config file" in line]
    assert max(map(len, told.splitlines())) < 500
    assert (tmp_path / "nodes.conf").read_bytes() == DAMAGED[name].encode("latin-1"), "the file is left alone"


def test_nodes_conf_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "nodes.conf").mkdir()
    (port,) = free_ports(1, cluster=True)
    argv = [*OUR_NODE, "--port", str(port), "--cluster-enabled", "yes", "--dir", str(tmp_path)]
    ended = subprocess.run(argv, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "in order to acquire a lock" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_disk_that_is_full_ends_the_node_as_in_stock(cluster: ClusterHandle) -> None:
    """A vote that is not on disk could be cast twice."""
    node = cluster.nodes[-1]
    aside = node.directory / f"nodes.conf.tmp-{node.pid}"
    aside.mkdir()  # where the new file would be written
    with pytest.raises(Exception, match=r"closed|reset|refused|Connection"):
        node.call("CLUSTER", "SAVECONFIG")
    wait_until(lambda: not node.running, 20, "the node ends")
    assert "Fatal: can't update cluster config file" in node.log()
