"""The primary's stream on a replica: applied in slices, counted exactly, drained before the role changes."""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Callable, Iterator

import pytest
import trio
import trio.testing

from slotmesh.node.base.native import compiled
from slotmesh.node.clients import pause
from slotmesh.node.replication import applier as applier_module
from slotmesh.node.replication.applier import Applier
from slotmesh.node.replication.incoming import Incoming
from slotmesh.node.replication.link import CONNECTED, LinkBroken, PrimaryLink
from slotmesh.node.resp.encoder import encode_command
from slotmesh.node.serving.fast_path import PlainFastPath
from tests.support.inprocess import InProcessNode

needs_compiled = pytest.mark.skipif(compiled is None, reason="the compiled twins are not built here")
FOREVER_NS = 1 << 60
UNIT = [[b"MULTI"], [b"INCR", b"n"], [b"INCR", b"n"], [b"EXEC"]]


def encoded(*commands: list[bytes]) -> bytes:
    return b"".join(map(encode_command, commands))


@pytest.fixture(params=["plain", pytest.param("compiled", marks=needs_compiled)])
def node(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcessNode]:
    """A node whose stream goes either form of the fast path, and is kept."""
    if request.param == "plain":
        monkeypatch.setattr(applier_module, "best_path", PlainFastPath)
    with InProcessNode("--repl-backlog-size", "64mb") as running:
        running.server.replication.serving.open_stream(feeding=False)
        yield running


def applier_of(node: InProcessNode) -> Applier:
    replication = node.server.replication
    return Applier(replication._link_parts.applying(), replication.stream, replication._primary_client)


def relayed(node: InProcessNode) -> bytes:
    """All that was passed on so far."""
    stream = node.server.replication.stream
    stream.flush()
    assert stream.backlog is not None
    return b"".join(stream.backlog.since(stream.backlog.first_offset))


class Follower:
    """A node made a replica of the test: `primary` is the other end of its link, which no task drives."""

    def __init__(self, node: InProcessNode, ends: tuple[socket.socket, socket.socket] | None = None) -> None:
        self.node = node
        self.replication = replication = node.server.replication
        link = PrimaryLink(replication._link_parts, replication, "127.0.0.1", 1, replication._primary_client)
        self.primary, self.served = ends or socket.socketpair()
        self.served.setblocking(False)
        replication.link = link
        replication.can_resume = True
        replication._role_changed(("127.0.0.1", 1))
        link.state = CONNECTED
        link.client.fd = self.served.fileno()
        self.incoming = link.incoming = Incoming(
            replication._link_parts.applying(), replication.stream, link.client, b"", link._heard
        )

    def close(self) -> None:
        self.primary.close()
        self.served.close()


@pytest.fixture
def follower(node: InProcessNode) -> Iterator[Follower]:
    made = Follower(node)
    yield made
    made.close()


# -- applying ----------------------------------------------------------------------------------------------------------


def test_stream_in_pieces_of_any_size_is_applied_and_passed_on_byte_by_byte(node: InProcessNode) -> None:
    rng = random.Random(7)
    units: list[list[list[bytes]]] = []
    for number in range(400):
        key = b"k%d" % rng.randrange(20)
        kinds = [
            [[b"SET", key, b"x" * rng.randrange(200)]],
            [[b"SELECT", b"%d" % rng.randrange(3)]],
            [[b"RPUSH", b"l", b"%d" % number]],
            [[b"PING"]],
            [[b"set", key, b"lower"]],
            [[b"SET", key, b"y" * 70_000]],
            UNIT,
        ]
        units.append(rng.choice(kinds))
    pieces = [encoded(*unit) for unit in units]
    stream, applier, done = b"".join(pieces), applier_of(node), 0
    ends = set(itertools.accumulate(map(len, pieces), initial=0))
    while done < len(stream):
        size = rng.choice((1, 30, 1000, 40_000))
        applier.take(stream[done : done + size])
        done += size
        while applier.has_work:
            applier.run(rng.choice((0, 1000, FOREVER_NS)))
            offset = node.server.replication.offset
            assert offset in ends, "an offset is the end of a command or transaction"
            assert applier.unapplied == min(done, len(stream)) - offset
    assert (node.server.replication.offset, applier.unapplied, relayed(node)) == (len(stream), 0, stream)
    assert node.server.stats.commands == sum(map(len, units))


def test_offset_never_stands_inside_of_a_transaction(node: InProcessNode) -> None:
    applier = applier_of(node)
    before = encoded([b"SET", b"a", b"1"])
    applier.take(before + encoded(*UNIT[:3]))
    applier.run(FOREVER_NS)
    assert (node.server.replication.offset, node.client().call("GET", "n")) == (len(before), None)
    assert not applier.has_work
    assert applier.unapplied == len(encoded(*UNIT[:3]))
    applier.take(encoded(UNIT[3]))
    applier.run(FOREVER_NS)
    assert (node.server.replication.offset, applier.unapplied) == (len(before + encoded(*UNIT)), 0)
    assert node.client().call("GET", "n") == b"2"


def test_slice_without_time_applies_a_batch_and_keeps_the_rest(node: InProcessNode) -> None:
    applier, commands = applier_of(node), [[b"INCR", b"n"]] * 100
    applier.take(encoded(*commands))
    applier.run(0)
    applied = int(node.client().call("GET", "n") or b"0")
    assert 0 < applied < 100
    assert node.server.replication.offset == applied * len(encode_command(commands[0]))
    assert relayed(node) == encoded(*commands[:applied])
    applier.run(FOREVER_NS)
    assert (node.client().call("GET", "n"), applier.unapplied) == (b"100", 0)


def test_error_of_a_command_of_the_stream_is_logged_and_counted_and_the_rest_goes_on(
    node: InProcessNode, caplog: pytest.LogCaptureFixture
) -> None:
    applier, errors = applier_of(node), node.server.stats.errors
    applier.take(encoded([b"RPUSH", b"l", b"x"], [b"INCR", b"l"], [b"NONSENSE"], [b"GET"], [b"SET", b"a", b"1"]))
    applier.run(FOREVER_NS)
    assert [record.getMessage().count("CRITICAL") for record in caplog.records] == [1, 1, 1]
    assert "after processing the command 'INCR'" in caplog.records[0].getMessage()
    assert errors == {b"WRONGTYPE": 1, b"ERR": 2}
    assert node.client().call("GET", "a") == b"1"


def test_garbage_in_the_stream_counts_nothing_of_its_chunk(node: InProcessNode) -> None:
    applier, good = applier_of(node), encoded([b"SET", b"a", b"1"])
    applier.take(good)
    applier.take(encoded([b"SET", b"a", b"2"]) + b"*1\r\n:5\r\n")
    with pytest.raises(Exception, match="Protocol error"):
        applier.run(FOREVER_NS)
    assert (node.server.replication.offset, relayed(node)) == (len(good), good)
    assert node.client().call("GET", "a") == b"1"


def test_clients_of_the_replica_that_wait_for_a_key_are_served(node: InProcessNode) -> None:
    reader = node.client()
    assert reader.raw("XREAD", "BLOCK", "0", "STREAMS", "s", "$") == b""
    applier = applier_of(node)
    applier.take(encoded([b"XADD", b"s", b"1-1", b"f", b"v"], [b"SET", b"a", b"1"]))
    applier.run(FOREVER_NS)
    assert b"1-1" in reader.received()
    assert node.client().call("GET", "a") == b"1"


def test_monitors_see_the_commands_of_the_stream(node: InProcessNode) -> None:
    monitor = node.client()
    monitor.raw("MONITOR")
    applier = applier_of(node)
    applier.take(encoded([b"SET", b"watched", b"1"]))
    applier.run(FOREVER_NS)
    assert b'"SET" "watched" "1"' in monitor.received()


# -- draining ----------------------------------------------------------------------------------------------------------


def test_promotion_applies_what_a_dead_primary_had_sent(follower: Follower) -> None:
    stream = encoded(*[[b"INCR", b"n"]] * 5000, UNIT[0])
    follower.primary.sendall(stream)
    follower.primary.close()
    assert follower.node.client().call("REPLICAOF", "NO", "ONE") == b"OK"
    assert follower.node.client().call("GET", "n") == b"5000"
    assert follower.replication.offset == len(stream) - len(encoded(UNIT[0])), "half of a transaction did not happen"
    assert follower.replication.stream.history.second_offset == follower.replication.offset + 1


def test_promotion_by_a_silent_primary_does_not_wait_for_it_to_hang_up(follower: Follower) -> None:
    follower.primary.sendall(encoded([b"SET", b"a", b"1"]))
    follower.replication.become_primary()
    assert (follower.node.client().call("GET", "a"), follower.replication.is_replica) == (b"1", False)


def test_promotion_ends_although_the_primary_goes_on_talking(follower: Follower) -> None:
    talked = 0
    incoming, receive = follower.incoming, follower.incoming.receive

    def talk() -> bool:
        nonlocal talked
        received = receive()
        talked += 1
        follower.primary.sendall(encoded([b"INCR", b"n"]))
        return received

    incoming.receive = talk  # type: ignore[method-assign]
    follower.replication.become_primary()
    assert int(follower.node.client().call("GET", "n")) == talked - 1 > 1


def test_change_of_the_primary_applies_what_has_arrived(follower: Follower) -> None:
    stream = encoded([b"SET", b"a", b"1"])
    follower.primary.sendall(stream)
    follower.replication.become_replica_of("127.0.0.1", 2)
    assert (follower.replication.resume_point() or (b"", 0))[1] == len(stream) + 1
    assert follower.node.client().call("GET", "a") == b"1"


def test_drain_within_a_transaction_is_propagated_before_it_and_once(follower: Follower) -> None:
    node = follower.node
    follower.primary.sendall(encoded([b"SET", b"a", b"1"], *UNIT))
    client = node.client()
    client.call("CONFIG", "SET", "replica-read-only", "no")
    client.call("MULTI")
    client.call("REPLICAOF", "NO", "ONE")
    client.call("SET", "b", "2")
    node.take_propagated()
    client.call("EXEC")
    own = [[b"SET", b"b", b"2"]]
    stream = [[b"SET", b"a", b"1"], *UNIT]
    assert node.take_propagated() == stream + own
    assert relayed(node) == encoded(*stream, [b"SELECT", b"0"], *own)


def told_offsets(follower: Follower) -> tuple[int, int]:
    info = bytes(follower.node.client().call("INFO", "replication")).decode()
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    return int(fields["slave_repl_offset"]), int(fields["slave_read_repl_offset"])


def test_offset_told_of_a_stream_that_has_ended_is_the_one_it_will_be_promoted_with(follower: Follower) -> None:
    stream = encoded([b"SET", b"a", b"1"])
    follower.primary.sendall(stream)
    assert told_offsets(follower) == (0, len(stream)), "a primary that works: what is applied counts"
    follower.primary.close()
    assert told_offsets(follower) == (len(stream), len(stream))
    assert follower.node.client().call("GET", "a") is None
    follower.replication.become_primary()
    assert (follower.replication.offset, follower.node.client().call("GET", "a")) == (len(stream), b"1")


def test_reset_by_the_primary_loses_nothing_received(node: InProcessNode) -> None:
    """A process that is killed with something unread resets its connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    replica_end = socket.create_connection(listener.getsockname())
    primary_end, _ = listener.accept()
    with listener, replica_end:
        replication = node.server.replication
        client, heard = replication._primary_client, list[int]()
        client.fd = replica_end.fileno()
        incoming = Incoming(replication._link_parts.applying(), replication.stream, client, b"", heard.append)
        replica_end.sendall(b"an acknowledgement that nobody reads")
        replica_end.setblocking(False)
        primary_end.sendall(encoded([b"SET", b"a", b"1"]))
        primary_end.close()
        incoming.drain(patient=True)
        assert (node.client().call("GET", "a"), type(incoming.end)) == (b"1", ConnectionResetError)
        assert sum(heard) == len(encoded([b"SET", b"a", b"1"]))


# -- the task ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def linked(node: InProcessNode) -> Iterator[Follower]:
    """A follower over TCP, whose link a task can drive."""
    listener = socket.create_server(("127.0.0.1", 0))
    served = socket.create_connection(listener.getsockname())
    primary, _ = listener.accept()
    listener.close()
    made = Follower(node, (primary, served))
    yield made
    made.close()


async def _follow(follower: Follower) -> None:
    link = follower.replication.link
    assert link is not None
    await link._follow(trio.SocketStream(trio.socket.from_stdlib_socket(follower.served)), b"")


def test_pause_on_a_replica_holds_the_stream_of_its_primary_back(linked: Follower) -> None:
    node, server = linked.node, linked.node.server
    stream = encoded([b"SET", b"k", b"v"])
    linked.primary.sendall(stream)
    server.pause.start(pause.BY_CLIENT, pause.WRITES, 1000)

    async def until(condition: Callable[[], bool]) -> None:
        with trio.fail_after(20):
            while not condition():
                await trio.sleep(0.001)

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_follow, linked)
            await until(lambda: server.replication.unapplied == len(stream))
            assert node.client().call("GET", "k") is None
            server.pause.end(pause.BY_CLIENT)
            await until(lambda: server.replication.unapplied == 0)
            assert node.client().call("GET", "k") == b"v"
            nursery.cancel_scope.cancel()

    trio.run(scenario)


def test_link_ends_with_the_stream_and_has_applied_it(linked: Follower) -> None:
    linked.primary.sendall(encoded(*[[b"INCR", b"n"]] * 1000))
    linked.primary.close()

    async def scenario() -> None:
        await _follow(linked)

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(scenario)
    assert caught.value.split((LinkBroken, ConnectionResetError))[1] is None
    assert linked.node.client().call("GET", "n") == b"1000"


def test_what_a_look_at_the_offset_received_is_applied_though_nothing_more_comes(linked: Follower) -> None:
    """A primary that pauses its writers for a hand-over says nothing more until its replica has applied all."""
    server = linked.node.server

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_follow, linked)
            await trio.testing.wait_all_tasks_blocked()  # it waits for the socket
            linked.primary.sendall(encoded([b"SET", b"k", b"v"]))
            assert (
                server.replication.offset_to_succeed() == 0
            )  # takes in what came; the primary works, so it counts not yet
            assert server.replication.unapplied
            with trio.fail_after(20):
                while server.replication.unapplied:
                    await trio.sleep(0.001)
            assert server.replication.link is not None
            assert server.replication.link.state == CONNECTED
            nursery.cancel_scope.cancel()

    trio.run(scenario)
    assert linked.node.client().call("GET", "k") == b"v"


def test_primary_that_is_silent_for_too_long_is_given_up(linked: Follower) -> None:
    linked.node.server.config.repl_timeout = 0
    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(_follow, linked)
    assert caught.value.split(LinkBroken)[1] is None
