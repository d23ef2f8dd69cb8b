"""What a pause holds back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slotmesh.node.clients.pause import BY_CLIENT, FAILOVER, FOREVER_MS, WRITES
from slotmesh.node.resp.encoder import encode_command
from tests.support.inprocess import InProcessNode

HELLO = [b"PUBLISH", b"__sentinel__:hello", b"x"]
OTHER = [b"PUBLISH", b"news", b"x"]


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as made:
        yield made


def held(node: InProcessNode, argv: list[bytes]) -> bool:
    node.client().sock.sendall(encode_command(argv))
    node.pump()
    return node.server.pause.held > 0


@pytest.mark.parametrize(
    ("purpose", "argv", "expected"),
    [
        (FAILOVER, HELLO, False),
        (FAILOVER, OTHER, True),
        (FAILOVER, [b"SET", b"k", b"v"], True),
        (FAILOVER, [b"GET", b"k"], False),
        (BY_CLIENT, HELLO, True),
    ],
)
def test_sentinels_may_talk_while_a_role_is_handed_over(
    node: InProcessNode, purpose: str, argv: list[bytes], expected: bool
) -> None:
    node.server.pause.start(purpose, WRITES, FOREVER_MS)
    assert held(node, argv) == expected


def test_what_sentinels_say_moves_no_offset_while_a_role_is_handed_over(node: InProcessNode) -> None:
    stream = node.server.replication.stream
    stream.open(1 << 20)
    stream.set_feeding(True)
    client = node.client()
    client.call("PUBLISH", "__sentinel__:hello", "x")
    before = stream.offset
    assert before > 0
    node.server.pause.start(FAILOVER, WRITES, FOREVER_MS)
    client.call("PUBLISH", "__sentinel__:hello", "x")
    assert stream.offset == before
