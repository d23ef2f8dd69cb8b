"""Frames of ``cluster.wire`` against a stock node: its frames re-encode to the same bytes, and it accepts ours.

The test plays one cluster node by hand over plain sockets: it MEETs the stock node, listens on its own bus port, and
answers what comes in.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from slotmesh.cluster.messages import AuthRequest, Extensions, Header, Meet, Message, Ping, Pong, Publish
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.terms import FLAG_MYSELF, FLAG_PRIMARY, MESSAGE_EXTENSIONS
from slotmesh.cluster.wire import FrameDecoder, encode_message
from tests.support.processes import ServerHandle, free_ports, have_stock, start_stock_server, wait_until

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

OUR_ID = "0123456789abcdef0123456789abcdef01234567"


class Link:
    """One bus connection that keeps the raw bytes of every frame it receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.settimeout(10)
        self._decoder = FrameDecoder()
        self._inbox: list[Message] = []
        self.raw = b""

    def send(self, message: Message) -> None:
        self._sock.sendall(encode_message(message))

    def receive(self) -> Message:
        while not self._inbox:
            data = self._sock.recv(65536)
            assert data, "the stock node closed the link"
            self.raw += data
            self._inbox += self._decoder.feed(data)
        return self._inbox.pop(0)

    def receive_type(self, kind: type[Message]) -> Message:
        while True:
            message = self.receive()
            if isinstance(message, kind):
                return message


@attrs.define
class Peer:
    """Our hand-played node and the stock node it has met."""

    stock: ServerHandle
    header: Header
    outgoing: Link
    incoming: Link


def our_nodes_line(stock: ServerHandle) -> str:
    text = bytes(stock.call("CLUSTER", "NODES")).decode()
    return next((line for line in text.splitlines() if line.startswith(OUR_ID)), "")


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """A handshake done as the protocol wants it: MEET -> PONG, then the stock node PINGs us and gets our PONG."""
    (our_port,) = free_ports(1, cluster=True)
    hostname = ("--cluster-announce-hostname", "stock-7.example.org")
    with start_stock_server(tmp_path, *hostname, cluster=True) as stock, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", our_port + 10000))
        listener.listen()
        listener.settimeout(10)
        header = Header(OUR_ID, our_port, our_port + 10000, flags=FLAG_MYSELF | FLAG_PRIMARY)
        with socket.create_connection(("127.0.0.1", stock.port + 10000), 10) as out:
            outgoing = Link(out)
            outgoing.send(Meet(header))
            outgoing.receive_type(Pong)
            accepted, _ = listener.accept()
            with accepted:
                incoming = Link(accepted)
                incoming.receive_type(Ping)
                incoming.send(Pong(header, (), Extensions(hostname="ours.example.org", shard_id="5" * 40)))
                wait_until(lambda: our_nodes_line(stock), 10, "the stock node lists us")
                yield Peer(stock, header, outgoing, incoming)


def test_stock_frames_decode_and_encode_to_the_same_bytes(peer: Peer) -> None:
    peer.outgoing.send(Ping(peer.header))
    pong = peer.outgoing.receive_type(Pong)
    stock_id = bytes(peer.stock.call("CLUSTER", "MYID")).decode()
    assert pong.header.sender == stock_id
    assert pong.header.port == peer.stock.port
    assert pong.header.cport == peer.stock.port + 10000
    assert pong.header.flags & FLAG_PRIMARY
    assert isinstance(pong, Pong)
    assert pong.extensions.hostname == "stock-7.example.org"
    assert pong.header.message_flags & MESSAGE_EXTENSIONS
    for link in (peer.outgoing, peer.incoming):
        messages = FrameDecoder().feed(link.raw)
        assert b"".join(map(encode_message, messages)) == link.raw


def test_our_heartbeat_is_taken_by_stock_with_all_extensions(peer: Peer) -> None:
    assert our_nodes_line(peer.stock).split()[2] == "master"
    claimed = attrs.evolve(peer.header, slots=SlotSet.from_range(100, 200), config_epoch=7, current_epoch=9)
    peer.outgoing.send(Ping(claimed, (), Extensions("ours2.example.org", "human", "5" * 40)))
    wait_until(lambda: our_nodes_line(peer.stock).endswith(" 100-200"), 10, "the stock node lists our slots")
    line = our_nodes_line(peer.stock)
    assert line.split()[6] == "7"
    assert "ours2.example.org" in line
    assert b"cluster_current_epoch:9" in peer.stock.call("CLUSTER", "INFO")


def test_our_publish_reaches_the_subscribers_of_stock(peer: Peer) -> None:
    subscriber = peer.stock.client().pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("news")
    assert wait_until(lambda: peer.stock.call("PUBSUB", "NUMSUB", "news")[1] == 1, 10, "subscribed")
    peer.outgoing.send(Publish(peer.header, b"news", b"\x00payload\r\n"))
    got = wait_until(lambda: subscriber.get_message(timeout=0.1), 10, "the message")
    assert got["data"] == b"\x00payload\r\n"
    subscriber.close()


def test_stock_publish_arrives_as_record(peer: Peer) -> None:
    peer.stock.call("PUBLISH", "chan", "hello")
    message = peer.incoming.receive_type(Publish)
    assert isinstance(message, Publish)
    assert (message.channel, message.payload, message.sharded) == (b"chan", b"hello", False)


def test_vote_request_from_a_primary_is_refused_without_losing_the_link(peer: Peer) -> None:
    peer.outgoing.send(AuthRequest(attrs.evolve(peer.header, current_epoch=50)))
    peer.outgoing.send(Ping(peer.header))
    peer.outgoing.receive_type(Pong)
    counters = bytes(peer.stock.call("CLUSTER", "INFO")).decode()
    assert "cluster_stats_messages_auth-req_received:1" in counters


def test_stock_drops_or_ignores_what_our_decoder_calls_malformed(peer: Peer) -> None:
    broken = bytearray(encode_message(Ping(peer.header)))
    broken[14:16] = (3).to_bytes(2, "big")
    with socket.create_connection(("127.0.0.1", peer.stock.port + 10000), 10) as sock:
        sock.sendall(bytes(broken))
        sock.sendall(encode_message(Ping(peer.header)))
        answer = Link(sock).receive()
    assert isinstance(answer, Pong), "stock skipped the broken frame and answered only the good one"
