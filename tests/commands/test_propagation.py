"""What commands send to the append-only file and the replicas, and which keyspace events they raise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slotmesh.node.keyspace.notify import parse_flags
from tests.support.inprocess import START_MS, InProcessClient, InProcessNode


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def _line(argv: list[bytes]) -> str:
    return b" ".join(argv).decode()


#: commands that prepare, the command, what it propagates as (a list), None: nothing
PROPAGATION: tuple[tuple[list[str], str, list[str] | None], ...] = (
    ([], "SET k v", ["SET k v"]),
    ([], "SET k v EX 10", [f"SET k v PXAT {START_MS + 10_000}"]),
    (["SET k v"], "SET k w XX GET", ["SET k w XX"]),
    (["SET k v"], "SET k w GET PX 500", [f"SET k w PXAT {START_MS + 500}"]),
    (["SET k v"], "SET k w NX", None),
    (["SET k v"], "SET k w IFEQ v", ["SET k w"]),
    (["SET k v"], "SET k w KEEPTTL IFEQ v", ["SET k w KEEPTTL"]),
    ([], "SETEX k 10 v", [f"SET k v PXAT {START_MS + 10_000}"]),
    ([], "PSETEX k 10 v", [f"SET k v PXAT {START_MS + 10}"]),
    (["SET k v"], "GETSET k w", ["SET k w"]),
    (["SET k v"], "GETDEL k", ["DEL k"]),
    ([], "GETDEL k", None),
    (["SET k v"], "GETEX k", None),
    (["SET k v"], "GETEX k EX 5", [f"PEXPIREAT k {START_MS + 5000}"]),
    (["SET k v EX 5"], "GETEX k PERSIST", ["PERSIST k"]),
    (["SET k v"], "GETEX k PERSIST", None),
    (["SET k v"], "GETEX k PXAT 1", ["DEL k"]),
    ([], "INCR n", ["INCR n"]),
    ([], "INCRBYFLOAT n 0.1", ["SET n 0.1 KEEPTTL"]),
    ([], "INCREX n", ["SET n 1 KEEPTTL"]),
    (["SET n 5"], "INCREX n BYINT 9 UBOUND 7 SATURATE EX 2", [f"SET n 7 PXAT {START_MS + 2000}"]),
    (["SET n 5 EX 9"], "INCREX n EX 2 ENX", ["SET n 6 KEEPTTL"]),
    (["SET n 5 EX 9"], "INCREX n BYFLOAT 0.1 PERSIST", ["SET n 5.1"]),
    (["SET n 5"], "INCREX n PERSIST", ["SET n 6 KEEPTTL"]),
    (["SET n 5"], "INCREX n UBOUND 5 EX 2", None),
    (["SET n 5"], "INCREX n PXAT 1", ["DEL n"]),
    ([], "INCREX n PXAT 1", None),
    (["SET k v"], "EXPIRE k 10", [f"PEXPIREAT k {START_MS + 10_000}"]),
    (["SET k v"], "EXPIRE k 10 NX", [f"PEXPIREAT k {START_MS + 10_000} NX"]),
    (["SET k v"], "EXPIREAT k 4102444800", ["PEXPIREAT k 4102444800000"]),
    (["SET k v"], "EXPIRE k -1", ["DEL k"]),
    (["SET k v"], "PEXPIREAT k 4102444800000", ["PEXPIREAT k 4102444800000"]),
    ([], "EXPIRE k 10", None),
    (["SET k v EX 5"], "PERSIST k", ["PERSIST k"]),
    (["SET k v"], "RENAME k l", ["RENAME k l"]),
    (["SET k v"], "COPY k l", ["COPY k l"]),
    (["SET k v"], "DEL k nosuch", ["DEL k nosuch"]),
    ([], "DEL k", None),
    ([], "FLUSHALL", ["FLUSHALL"]),
    ([], "FLUSHDB ASYNC", ["FLUSHDB ASYNC"]),
    (["RPUSH l 2 1"], "SORT l STORE d", ["SORT l STORE d"]),
    ([], "SETBIT k 1 1", ["SETBIT k 1 1"]),
    (["SETBIT k 1 1"], "SETBIT k 1 1", None),
    (["SETBIT k 1 1"], "SETBIT k 1 0", ["SETBIT k 1 0"]),
    (["SETBIT k 1 1"], "SETBIT k 8 0", ["SETBIT k 8 0"]),
    (["SET k v"], "SETBIT k 0 0", None),
    (["SET k v"], "SETBIT k 0 1", ["SETBIT k 0 1"]),
    (["SET k v"], "BITFIELD k GET u8 0", None),
    ([], "PFADD h a", ["PFADD h a"]),
    (["PFADD h a"], "PFADD h a", None),
    (["PFADD h a"], "PFCOUNT h", ["PFCOUNT h"]),
    ([], "GEOADD g NX 1 1 m", ["zadd g NX 3377822707026402 m"]),
    ([], "MSETEX 1 k v EX 1", [f"SET k v PXAT {START_MS + 1000}"]),
    (["SET k v"], "DELIFEQ k v", ["DEL k"]),
)


@pytest.mark.parametrize(("before", "command", "expected"), PROPAGATION, ids=[row[1] for row in PROPAGATION])
def test_command_is_propagated_in_its_stable_form(
    node: InProcessNode, client: InProcessClient, before: list[str], command: str, expected: list[str] | None
) -> None:
    for line in before:
        client.call(*line.split())
    node.take_propagated()
    client.call(*command.split())
    assert [_line(argv) for argv in node.take_propagated()] == (expected or [])


#: the same at compat-level 7.2
NEWER_PROPAGATION: tuple[tuple[list[str], str, list[str]], ...] = (
    ([], f"SET k v pxat {START_MS + 5}", [f"SET k v pxat {START_MS + 5}"]),
    ([], "SET k v px 5", [f"SET k v PXAT {START_MS + 5}"]),
    (["SET k v"], f"SET k w IFEQ v PXAT {START_MS + 5}", [f"SET k w PXAT {START_MS + 5}"]),
    (["SET k v"], "SET k w PXAT 1", ["UNLINK k"]),
    ([], "SET k w PXAT 1", []),
    (["SET k v"], "GETDEL k", ["DEL k"]),
    (["SADD s a b"], "SPOP s 2", ["UNLINK s"]),
    (["SADD s a b", "CONFIG SET lazyfree-lazy-server-del no"], "SPOP s 2", ["DEL s"]),
    (["SET k v"], "EXPIRE k -1", ["UNLINK k"]),
    (["SET k v"], "GETEX k PXAT 1", ["UNLINK k"]),
)


@pytest.mark.parametrize(
    ("before", "command", "expected"), NEWER_PROPAGATION, ids=[row[1] for row in NEWER_PROPAGATION]
)
def test_command_at_the_newer_level_is_propagated_as_there(
    before: list[str], command: str, expected: list[str]
) -> None:
    with InProcessNode("--compat-level", "7.2") as node:
        client = node.client()
        for line in before:
            client.call(*line.split())
        node.take_propagated()
        client.call(*command.split())
        assert [_line(argv) for argv in node.take_propagated()] == expected


@pytest.mark.parametrize(("level", "sizes"), [("7.0", [1025]), ("7.2", [1024, 1])])
def test_pop_of_many_members_is_propagated_in_batches_at_the_newer_level(level: str, sizes: list[int]) -> None:
    with InProcessNode("--compat-level", level) as node:
        client = node.client()
        client.call("SADD", "s", *map(str, range(1500)))
        node.take_propagated()
        popped = client.call("SPOP", "s", "1025")
        commands = [argv for argv in node.take_propagated() if argv[0] not in (b"MULTI", b"EXEC")]
        assert [len(argv) - 2 for argv in commands] == sizes
        assert {argv[0] for argv in commands} == {b"SREM"}
        assert sorted(member for argv in commands for member in argv[2:]) == sorted(popped)


#: commands that prepare, the command, its events
EVENTS: tuple[tuple[list[str], str, list[str]], ...] = (
    ([], "SET k v EX 10", ["new k", "set k", "expire k"]),
    (["SET k v"], "GETSET k w", ["set k"]),
    (["SET k v"], "APPEND k w", ["append k"]),
    (["SET k v"], "SETRANGE k 0 w", ["setrange k"]),
    ([], "INCR n", ["new n", "incrby n"]),
    ([], "INCRBYFLOAT n 1", ["new n", "incrbyfloat n"]),
    ([], "INCREX n EX 5", ["new n", "incrby n", "expire n"]),
    (["SET n 1 EX 9"], "INCREX n PERSIST", ["incrby n", "persist n"]),
    (["SET n 1 EX 9"], "INCREX n BYFLOAT 1 EX 5 ENX", ["incrbyfloat n"]),
    (["SET n 1"], "INCREX n EXAT 1", ["del n"]),
    (["SET k v"], "GETDEL k", ["del k"]),
    (["SET k v"], "EXPIRE k 10", ["expire k"]),
    (["SET k v"], "EXPIRE k 0", ["del k"]),
    (["SET k v EX 9"], "PERSIST k", ["persist k"]),
    (["SET k v"], "RENAME k l", ["new l", "rename_from k", "rename_to l"]),
    (["SET k v"], "COPY k l", ["new l", "copy_to l"]),
    (["SET k v"], "UNLINK k", ["del k"]),
    (["RPUSH l 1"], "SORT l STORE d", ["new d", "sortstore d"]),
    ([], "SETBIT k 1 1", ["new k", "setbit k"]),
    (["SET a x"], "BITOP NOT k a", ["new k", "set k"]),
    (["SET k x"], "BITOP AND k nosuch", ["keymiss nosuch", "del k"]),
    ([], "PFADD h a", ["new h", "pfadd h"]),
    ([], "PFMERGE h", ["keymiss h", "new h", "pfadd h"]),
    ([], "GEOADD g 1 1 m", ["new g", "zadd g"]),
    (["GEOADD g 1 1 m"], "GEOSEARCHSTORE d g FROMMEMBER m BYRADIUS 1 m", ["new d", "geosearchstore d"]),
    ([], "GET k", ["keymiss k"]),
    ([], "TTL k", ["keymiss k"]),
    ([], "XAUTOCLAIM k g c 0 0", ["keymiss k"]),
    ([], "XAUTOCLAIM k g c x 0", ["keymiss k"]),
    (["XADD s 1 a b"], "XREAD STREAMS none s 0 0", ["keymiss none", "keymiss none"]),
    (["RPUSH l 1 2"], "SORT l BY w_* GET h_*->f", ["keymiss w_1", "keymiss w_2", "keymiss h_1", "keymiss h_2"]),
    (["RPUSH l 1"], "LCS l none", ["keymiss none"]),
)


@pytest.mark.parametrize(("before", "command", "expected"), EVENTS, ids=[row[1] for row in EVENTS])
def test_command_raises_its_events_in_order(
    node: InProcessNode, client: InProcessClient, before: list[str], command: str, expected: list[str]
) -> None:
    for line in before:
        client.call(*line.split())
    mask = parse_flags("AKEmn")
    assert mask is not None
    seen: list[str] = []
    keyspace = node.server.keyspace
    keyspace.on_event = lambda _mask, event, key, _db: seen.append(f"{event.decode()} {key.decode()}")
    keyspace.set_notify_mask(mask)
    client.call(*command.split())
    assert seen == expected


def test_expired_key_is_gone_counted_and_propagated_as_del(node: InProcessNode, client: InProcessClient) -> None:
    client.call("SET", "k", "v", "PX", "50")
    node.take_propagated()
    node.advance(50)
    assert client.call("GET", "k") == b"v"
    node.advance(1)
    assert client.call("GET", "k") is None
    assert [_line(argv) for argv in node.take_propagated()] == ["DEL k"]
    assert node.server.keyspace.expired_keys == 1
    assert client.call("DBSIZE") == 0


def test_expiry_is_propagated_as_unlink_when_configured_lazy(node: InProcessNode, client: InProcessClient) -> None:
    client.call("CONFIG", "SET", "lazyfree-lazy-expire", "yes", "lazyfree-lazy-user-del", "yes")
    client.call("SET", "k", "v", "PX", "50")
    client.call("MSET", "l", "v", "m", "w")
    node.take_propagated()
    node.advance(51)
    client.call("GET", "k")
    client.call("EXPIRE", "l", "-1")
    client.call("GETDEL", "m")
    assert [_line(argv) for argv in node.take_propagated()] == ["UNLINK k", "UNLINK l", "UNLINK m"]


def test_set_over_expired_key_removes_it_first(node: InProcessNode, client: InProcessClient) -> None:
    client.call("SET", "k", "v", "PX", "50")
    node.take_propagated()
    node.advance(100)
    client.call("SET", "k", "w", "KEEPTTL")
    assert [_line(argv) for argv in node.take_propagated()] == ["DEL k", "SET k w KEEPTTL"]
    assert client.call("TTL", "k") == -1


def test_get_inside_exec_shows_the_value_of_its_moment(client: InProcessClient) -> None:
    client.call("APPEND", "k", "a")
    client.call("APPEND", "k", "b")
    client.call("MULTI")
    client.call("GET", "k")
    client.call("APPEND", "k", "c")
    client.call("GETRANGE", "k", 0, -1)
    client.call("SETBIT", "k", 7, 0)
    assert client.call("EXEC") == [b"ab", 3, b"abc", 1]


def test_copy_of_edited_string_is_independent(client: InProcessClient) -> None:
    client.call("APPEND", "k", "a")
    client.call("APPEND", "k", "b")
    client.call("COPY", "k", "l")
    client.call("APPEND", "k", "c")
    assert client.call("GET", "l") == b"ab"
    assert client.call("OBJECT", "ENCODING", "l") == b"raw"


def test_scan_removes_the_expired_keys_it_meets_whatever_their_type(
    node: InProcessNode, client: InProcessClient
) -> None:
    client.call("SET", "stays", "v")
    client.call("SET", "string", "v", "PX", "1")
    client.call("HSET", "hash", "f", "v")
    client.call("PEXPIRE", "hash", "1")
    node.advance(10)
    assert client.call("SCAN", "0", "TYPE", "string") == [b"0", [b"stays"]]
    assert client.call("DBSIZE") == 1
