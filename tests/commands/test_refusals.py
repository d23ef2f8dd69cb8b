"""Refused commands leave nothing behind: neither exceptions with their frames and arguments, nor tables that grow."""

from __future__ import annotations

import gc
import importlib
import pkgutil
import types
from collections.abc import Callable, Iterator

import pytest

import slotmesh.cluster
import slotmesh.node
import slotmesh.sentinel
from slotmesh.node.resp.encoder import encode_command
from tests.support.inprocess import InProcessClient, InProcessNode
from tests.support.refusals import KINDS, Kind

ROUNDS = 300
#: What a script has raised lives until Lua looks.
COLLECT = "collectgarbage() collectgarbage()"
_NOT_FOR_LONG = (BaseException, types.TracebackType, types.FrameType)


def held() -> int:
    """Exceptions, tracebacks and frames that are alive."""
    gc.collect()
    return sum(isinstance(thing, _NOT_FOR_LONG) for thing in gc.get_objects())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_refused_commands_leave_no_exception_and_no_frame(kind: Kind) -> None:
    with InProcessNode(*kind.options) as node:
        admin = node.client()
        kind.prepare(admin.call)
        client = node.client()
        for request in kind.enter:
            client.call(*request)
        wire = kind.wire
        for _ in range(20):
            assert kind.error in client.send(wire), kind.name
        admin.call("EVAL", COLLECT, "0")
        before = held()
        for _ in range(ROUNDS):
            client.send(wire)
        admin.call("EVAL", COLLECT, "0")
        assert held() <= before + 3


@pytest.mark.parametrize("form", [1, 2], ids=["blocked", "timed out"])
def test_blocked_clients_that_are_refused_leave_nothing(form: int) -> None:
    with InProcessNode() as node:
        blocked, admin = node.client(), node.client()

        def once() -> None:
            blocked.sock.send(encode_command([b"BLPOP", b"list", b"0" if form == 1 else b"0.001"]))
            node.pump()
            if form == 1:
                admin.call("CLIENT", "UNBLOCK", blocked.served.id, "ERROR")
                assert blocked.received().startswith(b"-UNBLOCKED")
            else:
                node.advance(5)
                assert blocked.received() == b"*-1\r\n"

        for _ in range(20):
            once()
        before = held()
        for _ in range(ROUNDS):
            once()
        assert held() <= before + 3


def modules_of_ours() -> Iterator[types.ModuleType]:
    for package in (slotmesh.cluster, slotmesh.node, slotmesh.sentinel):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def _exceptions_in(value: object, depth: int = 2) -> Iterator[BaseException]:
    if isinstance(value, BaseException):
        yield value
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from _exceptions_in(item, depth - 1)
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _exceptions_in(item, depth - 1)


def test_no_module_holds_an_exception() -> None:
    """An exception that is raised more than once keeps every frame that it went through."""
    found = []
    for module in modules_of_ours():
        for name, value in vars(module).items():
            if name.startswith("__"):
                continue
            found += [f"{module.__name__}.{name}" for _ in _exceptions_in(value)]
            if isinstance(value, type) and value.__module__ == module.__name__:
                for attribute, inner in vars(value).items():
                    found += [f"{module.__name__}.{name}.{attribute}" for _ in _exceptions_in(inner)]
    assert not found


# -- tables that refused commands could fill ---------------------------------------------------------------------------


def sized(node: InProcessNode) -> dict[str, int]:
    server = node.server
    return {
        "kinds of errors": len(server.stats.errors),
        "denials": len(server.acl.log.denials),
        "slow log": len(server.command_logs.slow.entries),
        "complaints": len(server.complaints._told_s),
        "latency events": len(server.latency.events),
    }


Filler = Callable[[InProcessClient, int], None]


def made_up_codes(client: InProcessClient, number: int) -> None:
    client.call("EVAL", "return redis.error_reply(ARGV[1])", "0", f"CODE{number} x")


def made_up_commands(client: InProcessClient, number: int) -> None:
    client.call(f"NOSUCH{number}", "x")
    client.call("CONFIG", f"NOSUCH{number}")


def made_up_users(client: InProcessClient, number: int) -> None:
    client.call("AUTH", f"user{number}", "x" * 1000)


def made_up_scripts(client: InProcessClient, number: int) -> None:
    client.call("EVALSHA", f"{number:040x}", "0")
    client.call("EVAL", f"this is no Lua {number}", "0")


@pytest.mark.parametrize("fill", [made_up_codes, made_up_commands, made_up_users, made_up_scripts])
def test_tables_that_strangers_could_fill_have_a_size(fill: Filler) -> None:
    with InProcessNode("--slowlog-log-slower-than", "0") as node:
        client = node.client()
        for number in range(400):
            fill(client, number)
        assert all(size <= 150 for size in sized(node).values()), sized(node)
        assert len(node.server.scripting.cache) <= 500


def test_errors_of_commands_leave_no_memory_in_lua() -> None:
    """lupa keeps a place for every Python object that Lua has ever seen."""
    script = "for i = 1, 30000 do pcall(redis.call, 'LPUSH', 's', 'x') end collectgarbage() collectgarbage()"
    with InProcessNode() as node:
        client = node.client()
        client.call("SET", "s", "text")

        def used() -> int:
            assert client.call("EVAL", script, "0") is None
            return int(client.call("EVAL", "return collectgarbage('count') * 1024", "0"))

        before = used()
        assert used() - before < 50_000
