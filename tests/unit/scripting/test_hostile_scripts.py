"""Scripts that mean harm end with an error, and the process and the scripts after them live on.

The Lua that lupa brings is 5.1.5 as it was released, so every advisory about the Lua of Redis and Valkey since 2024 is
here: what they patched in C must not be reachable in our sandbox.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hiredis
import pytest

from tests.support.inprocess import InProcessClient, InProcessNode

LIMIT = 8 << 20
OUT_OF_MEMORY = "ERR The script needs more memory than lua-memory-limit allows"


@pytest.fixture
def client() -> Iterator[InProcessClient]:
    with InProcessNode() as node:
        yield node.client()


@pytest.fixture
def small(client: InProcessClient) -> InProcessClient:
    """A client of a node whose scripts have little memory."""
    assert client.call("CONFIG", "SET", "lua-memory-limit", str(LIMIT)) == b"OK"
    return client


def run(client: InProcessClient, script: str | bytes, *args: str | bytes) -> Any:
    return client.call("EVAL", script, *(args or ("0",)))


ADVISORIES = [
    pytest.param("local s = bit.tohex(65535, -2147483648) return s", b"0000FFFF", id="CVE-2024-31449"),
    pytest.param("return rawget(_G, 'newproxy')", None, id="CVE-2024-46981"),
    pytest.param("local t = {unpack({1, 2, 3}, -1, 2147483647)}", "too many results to unpack", id="CVE-2025-46817"),
    pytest.param("local t = {unpack({1, 2, 3}, 1, 2147483648)}", "too many results to unpack", id="CVE-2025-46817-b"),
    pytest.param("local t = {unpack({}, 2147483647, -2147483648)} return #t", 0, id="CVE-2025-46817-c"),
    pytest.param("local t = {unpack({}, 0/0, 0/0)}", "too many results to unpack", id="CVE-2025-46817-d"),
    pytest.param("getmetatable('').__index.upper = 1", "Attempt to modify a readonly table", id="CVE-2025-46818"),
    pytest.param("return loadstring('return [' .. ('='):rep(2^30))", "needs more memory", id="CVE-2025-46819"),
    pytest.param(
        "for i = 1, 200 do assert(loadstring('local s = {} return s', 'name\\0' .. i)) collectgarbage('step', 100) end",
        None,
        id="CVE-2025-49844",
    ),
    pytest.param("return redis.error_reply('a\\r\\n+OK\\r\\n')", "ERR a  +OK", id="CVE-2025-67733"),
    pytest.param("return {err = 'A b\\r\\n+OK'}", "A b  +OK", id="CVE-2025-67733-b"),
]


@pytest.mark.parametrize(("script", "outcome"), ADVISORIES)
def test_what_an_advisory_describes_does_no_harm(client: InProcessClient, script: str, outcome: object) -> None:
    reply = run(client, script)
    if isinstance(outcome, str):
        assert isinstance(reply, hiredis.ReplyError)
        assert outcome in str(reply)
    else:
        assert reply == outcome
    assert run(client, "return 1") == 1


#: Calls of C functions that would overflow the C stack, or compute for minutes where nothing can interrupt them.
UNBOUNDED = [
    ("local s = ('a?'):rep(220000) return ('a'):rep(9):find(s)", "pattern too complex"),
    ("return ('a'):rep(9):gsub(('(a'):rep(20000), '')", "pattern too complex"),
    ("return ('a'):rep(9):match(('a-'):rep(20000))", "pattern too complex"),
    ("for w in ('a'):rep(9):gmatch(('a*'):rep(20000)) do end", "pattern too complex"),
    ("table.insert({}, -2147483648, 1)", "position out of bounds"),
    ("local t = {} t[1] = t return cjson.encode(t)", "excessive nesting"),
    ("return loadstring(('('):rep(100000))()", "attempt to call a nil value"),
    ("local function f() return pcall(f) end return f()", None),
    ("local function f() return xpcall(f, f) end return f()", None),
    ("local function f() f() end f()", "stack overflow"),
    ("local n = 0 local function f() n = n + 1 if n == 3e6 then error('x') end return f() end return f()", "x"),
    ("local function f() return coroutine.wrap(f)() end return f()", "stack overflow"),
]


@pytest.mark.parametrize(("script", "error"), UNBOUNDED)
def test_c_functions_of_lua_keep_to_their_bounds(client: InProcessClient, script: str, error: str | None) -> None:
    reply = run(client, script)
    if error is not None:
        assert isinstance(reply, hiredis.ReplyError)
        assert error in str(reply)
    assert run(client, "return 1") == 1


def test_long_pattern_that_repeats_nothing_is_no_problem(client: InProcessClient) -> None:
    assert run(client, "local s = ('ab'):rep(20000) return (s:find(s))") == 1
    assert run(client, "return (('' ):rep(2^31))") == b""


GREEDY = [
    "local s = 'x' while true do s = s .. s end",
    "local s = 'x' while true do pcall(function() s = s .. s end) end",
    "local s = 'x' while true do xpcall(function() s = s .. s end, function() s = s .. 'y' end) end",
    "local s = 'x' while true do coroutine.resume(coroutine.create(function() s = s .. s end)) end",
    "local t = {} while true do t[#t + 1] = {} end",
    "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
    "return redis.sha1hex(('x'):rep(1e9))",
    "return {redis.call('get', 'large'), redis.call('get', 'large')}",
    "local t = {} while true do t[#t + 1] = redis.call('lrange', 'list', 0, -1) end",
    "local t = {} while true do t[#t + 1] = redis.pcall('lrange', 'list', 0, -1) end",
    "local t = {} while true do pcall(function() t[#t + 1] = redis.call('get', 'large') .. #t end) end",
    "local t = {} while true do t[#t + 1] = redis.pcall('nosuch') end",
    "local t = {} while true do t[#t + 1] = select(2, pcall(redis.call, {})) .. #t end",
    "local t = {} while true do t[#t + 1] = cjson.decode('[1,2,3]') end",
    "return load(function() return 'local x = 1 ' end)",
]


@pytest.mark.parametrize("script", GREEDY)
def test_script_beyond_its_memory_ends_and_the_next_one_has_room(small: InProcessClient, script: str) -> None:
    small.call("SET", "large", "x" * (LIMIT * 3 // 4))
    small.call("RPUSH", "list", *("x" * 50 for _ in range(5000)))
    reply = run(small, script)
    assert isinstance(reply, hiredis.ReplyError)
    assert str(reply).startswith(OUT_OF_MEMORY)
    assert run(small, "return #redis.call('get', 'large')") == LIMIT * 3 // 4
    assert run(small, "local t = {} for i = 1, 10000 do t[i] = {} end return #t") == 10000


def test_arguments_and_texts_beyond_the_memory_are_refused(small: InProcessClient) -> None:
    assert str(run(small, "return 1", "0", "x" * LIMIT)) == OUT_OF_MEMORY
    refusal = "ERR Error compiling script (new function): not enough memory"
    assert str(run(small, "return 1 --" + "x" * LIMIT)) == refusal
    assert str(small.call("FUNCTION", "LOAD", "#!lua name=a\n--" + "x" * LIMIT)).endswith("not enough memory")
    assert run(small, "return #ARGV[1]", "0", "x" * (LIMIT // 2)) == LIMIT // 2


@pytest.mark.parametrize(
    "body", ["local s = 'x' while true do s = s .. s end", "local t = {} while true do t = {t} end"]
)
def test_library_beyond_its_memory_is_refused(small: InProcessClient, body: str) -> None:
    reply = small.call("FUNCTION", "LOAD", f"#!lua name=greedy\n{body}")
    assert str(reply) == f"ERR Error registering functions: {OUT_OF_MEMORY}"
    library = "#!lua name=lib\nredis.register_function('f', function() return 5 end)"
    assert small.call("FUNCTION", "LOAD", library) == b"lib"
    assert small.call("FCALL", "f", "0") == 5


def test_function_beyond_its_memory_ends(small: InProcessClient) -> None:
    endless = "function() local t = {} while true do t[#t + 1] = {} end end"
    library = (
        f"#!lua name=lib\nredis.register_function('f', {endless}) redis.register_function('g', function() return 5 end)"
    )
    small.call("FUNCTION", "LOAD", library)
    assert str(small.call("FCALL", "f", "0")).startswith(OUT_OF_MEMORY)
    assert small.call("FCALL", "g", "0") == 5


def test_script_cannot_stop_the_garbage_collector(small: InProcessClient) -> None:
    switched_off = "collectgarbage('stop') collectgarbage('setpause', 1000000) collectgarbage('setstepmul', 0)"
    assert run(small, switched_off + " for i = 1, 1e6 do local t = {i} end return 1") == 1
    assert run(small, "for i = 1, 1e6 do local t = {i} end return 1") == 1


def test_limit_of_zero_is_none(client: InProcessClient) -> None:
    assert client.call("CONFIG", "SET", "lua-memory-limit", "0") == b"OK"
    assert run(client, "return #('x'):rep(2 ^ 26)") == 1 << 26
    assert run(client, "return (select(2, loadstring('return [' .. ('='):rep(2^26))))") == b"chunk is too long"


#: Errors of functions that the sandbox wraps, as pcall and the like show them. The texts are stock's.
PLACED = [
    ("local ok, e = pcall(function() return (string.find('x', '[')) end) return e", "malformed pattern (missing ']')"),
    ("local ok, e = pcall(function(a) return (string.rep(a)) end, 'x') return e",
     "bad argument #2 to 'rep' (number expected, got no value)"),
    ("local ok, e = xpcall(function() string.rep() end, function(e) return e end) return e",
     "bad argument #1 to 'rep' (string expected, got no value)"),
    ("local ok, e = coroutine.resume(coroutine.create(function() string.rep() end)) return e",
     "bad argument #1 to 'rep' (string expected, got no value)"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "text"), PLACED)
def test_caught_error_of_a_wrapped_function_names_the_line(client: InProcessClient, script: str, text: str) -> None:
    assert run(client, script).decode() == f"user_script:1: {text}"
