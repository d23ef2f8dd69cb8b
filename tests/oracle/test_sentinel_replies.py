"""The same command to a stock sentinel and to ours: the same reply, to the byte of every error text.

Both watch a server that accepts connections and never answers, so that neither has anything to tell but what it was
told. Numbers that are times are compared by their presence only.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hiredis
import pytest

from slotmesh.node.resp.encoder import encode_command
from tests.support.processes import OUR_SENTINEL, STOCK_SENTINEL, start_sentinel

pytestmark = [
    pytest.mark.stock,
    pytest.mark.skipif(shutil.which(STOCK_SENTINEL) is None, reason="needs redis-sentinel"),
]

TIMES = {
    "link-pending-commands",
    "last-ping-sent",
    "last-ok-ping-reply",
    "last-ping-reply",
    "role-reported-time",
    "last-hello-message",
    "info-refresh",
}

COMMANDS = """
PING
PING hi
PING a b
ECHO x
GET x
GET
MULTI
CONFIG GET port
sentinel
sentinel foo
sentinel masters x
SENTINEL master
SENTINEL master m
SENTINEL master zz
SENTINEL replicas m
SENTINEL slaves m
SENTINEL slaves zz
SENTINEL sentinels m
SENTINEL sentinels n
SENTINEL myid
SENTINEL myid x
SENTINEL get-master-addr-by-name m
SENTINEL get-master-addr-by-name zz
SENTINEL get-master-addr-by-name
SENTINEL is-master-down-by-addr 127.0.0.1 {port} 0 *
SENTINEL is-master-down-by-addr 127.0.0.1 {port} x *
SENTINEL is-master-down-by-addr 127.0.0.1 xx 0 *
SENTINEL is-master-down-by-addr 127.0.0.1 1 0 *
SENTINEL is-master-down-by-addr 127.0.0.1 {port} 5 1111111111111111111111111111111111111111
SENTINEL is-master-down-by-addr 127.0.0.1 {port} 5 2222222222222222222222222222222222222222
SENTINEL is-master-down-by-addr 127.0.0.1 {port} 4 2222222222222222222222222222222222222222
SENTINEL is-master-down-by-addr 127.0.0.1 {port} 0 *
SENTINEL ckquorum m
SENTINEL ckquorum n
SENTINEL ckquorum zz
SENTINEL ckquorum
SENTINEL failover m
SENTINEL failover zz
SENTINEL pending-scripts
SENTINEL monitor m 127.0.0.1 1 2
SENTINEL monitor q 127.0.0.1 1 0
SENTINEL monitor q 127.0.0.1 x 1
SENTINEL monitor q 127.0.0.1 1 x
SENTINEL monitor q nohost.invalid 1 1
SENTINEL monitor q 127.0.0.1 70000 1
SENTINEL monitor q 127.0.0.1
SENTINEL monitor q 127.0.0.1 {port} 3
SENTINEL get-master-addr-by-name q
SENTINEL remove q
SENTINEL remove q
SENTINEL set m
SENTINEL set m quorum
SENTINEL set m quorum x
SENTINEL set m quorum 0
SENTINEL set m quorum 2
SENTINEL set zz quorum 2
SENTINEL set m foo bar
SENTINEL set m down-after-milliseconds 30000 quorum 3 failover-timeout abc
SENTINEL master m
SENTINEL set m quorum 2
SENTINEL set m notification-script /x
SENTINEL set m client-reconfig-script /x
SENTINEL set m rename-command a
SENTINEL set m rename-command a b
SENTINEL set m parallel-syncs 2 auth-pass foo auth-user bar
SENTINEL set m parallel-syncs 1
SENTINEL set m master-reboot-down-after-period -1
SENTINEL set m master-reboot-down-after-period 5
SENTINEL config
SENTINEL config get
SENTINEL config get *
SENTINEL config get announce*
SENTINEL config set announce-ip 1.2.3.4
SENTINEL config set announce-port 99999
SENTINEL config set announce-port 12
SENTINEL config set resolve-hostnames maybe
SENTINEL config set resolve-hostnames no
SENTINEL config set foo bar
SENTINEL config set foo
SENTINEL config get *
SENTINEL debug
SENTINEL debug foo
SENTINEL debug info-period
SENTINEL debug info-period x
SENTINEL debug info-period 0
SENTINEL debug info-period 10000 ping-period 1000
SENTINEL info-cache
SENTINEL info-cache zz
SENTINEL simulate-failure
SENTINEL simulate-failure help
SENTINEL simulate-failure foo
SENTINEL simulate-failure crash-after-election
SENTINEL flushconfig
SENTINEL flushconfig x
SENTINEL reset zz*
SENTINEL reset
SENTINEL reset m
SENTINEL HELP x
PUBLISH a b
PUBLISH __sentinel__:hello garbage
ROLE x
HELLO 4
HELLO x
HELLO 3
SENTINEL config get announce*
SENTINEL master n
SENTINEL get-master-addr-by-name zz
CLIENT GETNAME
CLIENT SETNAME foo
CLIENT GETNAME
CLIENT SETNAME a\x01b
HELLO 2 SETNAME bar
CLIENT GETNAME
HELLO 2 FOO
AUTH foo
AUTH default foo
AUTH foo bar
AUTH a b c
AUTH
CLIENT foo
CLIENT
ACL WHOAMI
ACL USERS
ACL LIST
ACL CAT foo
ACL foo
COMMAND COUNT
COMMAND INFO sentinel|myid get
COMMAND INFO subscribe
COMMAND foo
SUBSCRIBE a
PING
PING x
GET x
UNSUBSCRIBE a
UNSUBSCRIBE
PUNSUBSCRIBE
SHUTDOWN foo
INFO foo
""".strip().split("\n")


class Peer:
    """A raw connection: replies as the protocol has them."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.reader = hiredis.Reader()

    def call(self, argv: list[bytes]) -> Any:
        self.socket.sendall(encode_command(argv))
        while (value := self.reader.gets()) is False:
            data = self.socket.recv(65536)
            if not data:
                return "end"
            self.reader.feed(data)
        return value


def comparable(value: Any) -> Any:
    """A reply with times taken out."""
    if isinstance(value, hiredis.ReplyError):
        return f"error: {value}"
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
        return ["map", *comparable(value)]
    if isinstance(value, list):
        parts = [comparable(part) for part in value]
        for index in range(1, len(parts)):
            name = parts[index - 1]
            if isinstance(name, bytes) and name.decode("latin-1") in (*TIMES, "id"):
                parts[index] = "some number"
        return parts
    return value


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Peer, Peer, int]]:
    """A connection to the stock sentinel, one to ours, and the port of what they watch."""
    folder = tmp_path_factory.mktemp("sentinels")
    with socket.socket() as silent, contextlib.ExitStack() as stack:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        port = silent.getsockname()[1]
        config = [
            "sentinel myid 0123456789012345678901234567890123456789",
            f"sentinel monitor m 127.0.0.1 {port} 2",
            f"sentinel monitor n 127.0.0.2 {port} 1",
            f"sentinel known-replica m 127.0.0.3 {port}",
            f"sentinel known-sentinel m 127.0.0.1 {port} abcdefabcdefabcdefabcdefabcdefabcdefabcd",
        ]
        silent_too = []
        for address in ("127.0.0.2", "127.0.0.3"):
            other = stack.enter_context(socket.socket())
            other.bind((address, port))
            other.listen(100)
            silent_too.append(other)
        stock = stack.enter_context(start_sentinel((STOCK_SENTINEL,), Path(folder) / "stock", config))
        ours = stack.enter_context(start_sentinel(OUR_SENTINEL, Path(folder) / "ours", config))
        pair = (Peer(stock.port), Peer(ours.port))
        yield (*pair, port)
        for peer in pair:
            peer.socket.close()


@pytest.mark.parametrize("command", COMMANDS)
def test_reply_equals_stocks(peers: tuple[Peer, Peer, int], command: str) -> None:
    stock, ours, port = peers
    argv = [word.encode() for word in command.format(port=port).split(" ")]
    wanted, got = comparable(stock.call(argv)), comparable(ours.call(argv))
    if command.startswith("COMMAND INFO"):
        wanted, got = _without_hints(wanted), _without_hints(got)
    assert got == wanted


def _without_hints(rows: Any) -> Any:
    """COMMAND INFO without tips: they are about clusters of servers."""
    return [row[:7] if isinstance(row, list) else row for row in rows]
