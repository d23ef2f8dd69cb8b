"""What scripts must not be able to do: leave something for the next script, reach Python, or go on after their end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import hiredis
import pytest

from tests.support.inprocess import InProcessClient, InProcessNode


@pytest.fixture
def client() -> Iterator[InProcessClient]:
    with InProcessNode() as node:
        yield node.client()


def run(client: InProcessClient, script: str | bytes, *args: str) -> Any:
    return client.call("EVAL", script, *(args or ("0",)))


#: Statements that would change what all scripts share.
CHANGES = [
    "x = 1",
    "_G.x = 1",
    "rawset(_G, 'x', 1)",
    "setmetatable(_G, {})",
    "getmetatable(_G).__index = function() return 1 end",
    "getmetatable(_G).__newindex = nil",
    "redis.call = nil",
    "rawset(redis, 'call', nil)",
    "setmetatable(redis, {__index = {}})",
    "string.x = 1",
    "rawset(string, 'x', 1)",
    "getmetatable('').__index = {}",
    "getmetatable('').__index.x = 1",
    "getmetatable('').__metatable = nil",
    "table.insert(_G, 1)",
    "table.insert(redis, 1, 2)",
    "math.random = nil",
    "coroutine.wrap = nil",
    "cjson.encode = nil",
    "server.x = 1",
]


@pytest.mark.parametrize("change", CHANGES)
def test_shared_table_cannot_be_changed(client: InProcessClient, change: str) -> None:
    reply = run(client, change)
    assert isinstance(reply, hiredis.ReplyError)
    assert "Attempt to modify a readonly table" in str(reply)
    assert run(client, "return {type(redis.call), type(string.x or 1), ('x'):upper(), #redis}")[2] == b"X"


@pytest.mark.parametrize(
    "name", ["python", "debug", "io", "os", "package", "require", "module", "dofile", "loadfile", "print", "newproxy"]
)
def test_dangerous_global_is_not_there(client: InProcessClient, name: str) -> None:
    assert f"nonexistent global variable '{name}'" in str(run(client, f"return {name}"))
    assert f"nonexistent global variable '{name}'" in str(run(client, f"return loadstring('return {name}')()"))
    assert run(client, f"return rawget(_G, '{name}')") is None


#: Expressions for the type of what a script gets hold of when a function of the server fails.
DOORS = [
    "type(select(2, pcall(redis.call, 'nosuch')))",
    "type(select(2, xpcall(function() redis.call('nosuch') end, function(e) return e end)))",
    "type(select(2, coroutine.resume(coroutine.create(redis.call), 'nosuch')))",
    "type(select(2, coroutine.resume(coroutine.create(function() redis.call('nosuch') end))))",
    "type(select(2, pcall(coroutine.wrap(function() redis.call('nosuch') end))))",
    "type(select(2, pcall(string.gsub, 'x', 'x', redis.call)))",
    "type(select(2, pcall(table.sort, {3, 2, 1}, redis.call)))",
    "type(select(2, load(function() redis.call('nosuch') end)))",
    "type(select(2, xpcall(redis.call, redis.call)))",
    "type(redis.pcall('nosuch'))",
    "type(redis.call)",
    "type(redis.sha1hex)",
]


@pytest.mark.parametrize("expression", DOORS)
def test_script_never_sees_a_python_object(client: InProcessClient, expression: str) -> None:
    assert run(client, f"return {expression}") in (b"string", b"table", b"function")


def test_bytecode_is_refused_however_it_comes(client: InProcessClient) -> None:
    dump = "local code = string.dump(function() return 1 end) "
    assert run(client, dump + "return type(loadstring(code))") == b"nil"
    assert run(
        client, dump + "local n = 0 return type(load(function() n = n + 1 return n == 1 and code or nil end))"
    ) == (b"nil")
    pieces = (
        "local n = 0 return type(load(function() n = n + 1 local c = code:sub(n, n) return c ~= '' and c or nil end))"
    )
    assert run(client, dump + pieces) == b"nil"
    assert "Error compiling script" in str(run(client, b"\x1bLua"))


def test_script_leaves_nothing_for_the_next_one(client: InProcessClient) -> None:
    run(client, "KEYS.mine = 1 ARGV.mine = 1 local t = {} t.x = 1", "1", "k")
    assert run(client, "return {KEYS.mine or 0, ARGV.mine or 0, #KEYS}") == [0, 0, 0]
    run(client, "redis.setresp(3)")
    assert run(client, "return redis.call('get', 'nosuch') == false") == 1


def test_call_outside_of_a_run_is_refused(client: InProcessClient) -> None:
    """A function that a library kept from its loading has nobody in whose name it could call."""
    engine = client.node.server.scripting.engine
    function = engine.compile(b"return redis.call('ping')")
    reply = engine._run(function, False, 0)
    assert reply[3] == b"ERR redis.call/pcall can only be called inside a script invocation"


@pytest.mark.parametrize(
    "use",
    [
        "type(cjson.encode)",
        "type(rawget(_G, 'bit').band)",
        "coroutine.wrap(function() return type(struct.pack) end)()",
        "(function() for k, v in pairs(_G) do if k == 'cmsgpack' then return type(v.pack) end end end)()",
    ],
)
def test_library_is_there_when_it_is_used_first(client: InProcessClient, use: str) -> None:
    before = client.node.server.scripting.engine.bytes_used
    assert run(client, f"return {use}") == b"function"
    assert client.node.server.scripting.engine.bytes_used > before + 10_000
    assert "Attempt to modify a readonly table" in str(run(client, "cjson.encode = nil"))


def test_world_without_libraries_is_small(client: InProcessClient) -> None:
    run(client, "return collectgarbage()")
    assert client.node.server.scripting.engine.bytes_used < 250_000


def test_flushed_world_is_freed(client: InProcessClient) -> None:
    scripting = client.node.server.scripting
    run(client, "return 1")
    world = weakref.ref(scripting.engine)
    client.call("SCRIPT", "FLUSH")
    gc.collect()
    assert world() is None
    assert run(client, "return 1") == 1


def test_script_that_may_do_everything_can_flush_its_own_world(client: InProcessClient) -> None:
    client.node.server.scripting.allow_all_commands = True
    assert str(run(client, "redis.call('script', 'flush') return redis.pcall('nosuch')")).startswith("ERR Unknown")
    assert client.call("SCRIPT", "EXISTS", "a" * 40) == [0]
    assert run(client, "return 1") == 1


def test_recursive_table_ends_with_an_error_not_with_the_process(client: InProcessClient) -> None:
    assert b"-ERR reached lua stack limit\r\n" in client.raw("EVAL", "local a = {} a[1] = a return a", "0")
    assert run(client, "return 1") == 1


def test_endless_recursion_is_an_error(client: InProcessClient) -> None:
    assert "stack overflow" in str(run(client, "local function f() return 1 + f() end return f()"))
    assert run(client, "return 1") == 1


def test_many_arguments_go_over_as_they_are(client: InProcessClient) -> None:
    words = [str(number) for number in range(20_000)]
    assert run(client, "return {#KEYS, #ARGV, KEYS[1], ARGV[#ARGV]}", "5000", *words) == [5000, 15000, b"0", b"19999"]


def test_more_arguments_than_lua_can_hold_are_an_error_that_says_so(client: InProcessClient) -> None:
    reply = run(client, "local t = {} for i = 1, 7999 do t[i] = i end redis.call('del', unpack(t))")
    assert "too many arguments for one call" in str(reply)
