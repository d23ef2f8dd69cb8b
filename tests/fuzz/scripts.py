"""Scripts made of what hurts: memory filled to the last bytes, then every function that crosses to Python, with errors
caught by every means there is. Each must end, and the node, its Lua world and the next script must be as before.
"""

from __future__ import annotations

from random import Random

import hiredis

from tests.support.inprocess import InProcessNode

STEPS = 6
LIMIT = 8 << 20
OUT_OF_MEMORY = "The script needs more memory than lua-memory-limit allows"

#: Fills the memory up to ARGV[2] bytes beyond what the limit leaves, less ARGV[1].
FILL = """
local keep, n = {}, 0
for power = 20, 3, -1 do
  while collectgarbage('count') * 1024 + 2 ^ power + ARGV[1] <= LIMIT + ARGV[2] do
    n = n + 1
    if not pcall(function() keep[n] = string.rep(string.char(65 + n % 26) .. n, 2 ^ power / 8) end) then break end
  end
end
""".replace("LIMIT", str(LIMIT))

ACTIONS = (
    "redis.call('get', 'large')",
    "redis.call({})",
    "redis.call({}, {}, {})",
    "redis.pcall('nosuch')",
    "redis.log(0, 'x')",
    "redis.sha1hex('abc')",
    "redis.pcall('lrange', 'list', 0, 100)",
    "redis.call('get', 'list')",
    "redis.call('lrange', 'list', 0, -1)",
    "cjson.encode({1, 2})",
    "cjson.decode('[[1,2],{\"a\":null}]')",
    "cmsgpack.pack(1)",
    "struct.pack('>I', 1)",
    "bit.tohex(3)",
    "math.random()",
    "redis.setresp(3)",
    "redis.setresp(0/0)",
    "redis.set_repl(1/0)",
    "redis.acl_check_cmd('get', 'x')",
    "redis.register_function('f', function() end)",
    "local t = {} for i = 1, 7000 do t[i] = {} end redis.call(unpack(t))",
    "local t = {} for i = 1, 7900 do t[i] = i end redis.call('rpush', 'out', unpack(t))",
    "unpack({}, -2147483648, 2147483647)",
    "loadstring('return 1')()",
    "loadstring('return \\0', 'name\\0' .. math.random())",
    "load(function() return '' end)",
    "load(math.random)",
    "error('x')",
    "error({})",
    "error('not enough memory', 0)",
    "for i = 1, 1e5 do local t = {} end",
    "string.gsub(string.rep('x', 1000), '.', redis.call)",
    "table.sort({3, 2, 1}, redis.call)",
    "table.foreach({1, 2}, redis.pcall)",
    "('a'):rep(5):find(('a?'):rep(20000))",
    "collectgarbage()",
    "collectgarbage('stop')",
    "getmetatable('').__index.x = 1",
    "setmetatable({}, {__index = redis.call}).x()",
    "local s = 'x' while true do s = s .. s end",
    "local t = {} while true do t = {t} end",
    "return {1, 2, {3}}",
    "return string.rep('x', 100000)",
    "return redis.call('lrange', 'list', 0, -1)",
)
#: Ways to run an action, most of which catch its error.
FRAMES = (
    "do {0} end",
    "pcall(function() {0} end)",
    "pcall(function(a) {0} end, 1)",
    "xpcall(function() {0} end, function(e) return e end)",
    "xpcall(function() {0} end, function(e) for i = 1, 20 do pcall(redis.call, {{}}) end {1} end)",
    "coroutine.resume(coroutine.create(function() {0} end))",
    "coroutine.wrap(function() pcall(function() {0} end) coroutine.yield() end)()",
    "for i = 1, 3 do pcall(function() {0} end) end",
)


def run(seed: int) -> int:
    """One node, and scripts of the history `seed`; how many there were. Raises AssertionError."""
    rng = Random(seed)
    with InProcessNode() as node:
        client = node.client()
        client.call("CONFIG", "SET", "lua-memory-limit", str(LIMIT), "busy-reply-threshold", "0")
        client.call("SET", "large", "x" * (LIMIT * 3 // 4))
        client.call("RPUSH", "list", *map(str, range(2000)))
        for _ in range(STEPS):
            lines = [rng.choice(FRAMES).format(*rng.sample(ACTIONS, 2)) for _ in range(3)]
            body = (FILL if rng.random() < 0.7 else "") + "\n".join(lines)
            spare = rng.choice((0, 8, 16, 40, 64, 100, 1000, 5000, 1 << 19, 1 << 20, (1 << 20) + 100))
            beyond = rng.choice((0, 0, -(1 << 20), -(1 << 20) - 50, -(1 << 20) + 50, -(1 << 19)))
            if rng.random() < 0.2:
                client.call("FUNCTION", "LOAD", "REPLACE", f"#!lua name=lib\n{lines[0]}")
            reply = client.call("EVAL", body, "0", str(spare), str(beyond))
            assert not isinstance(reply, hiredis.ReplyError) or "internal error" not in str(reply), (body, reply)
            after = client.call("EVAL", "return {#redis.call('get', 'large'), pcall(redis.call, 'get', 'list')}", "0")
            assert isinstance(after, list), (body, reply, after)
            assert after[0] == LIMIT * 3 // 4
            client.call("DEL", "out")
        engine = node.server.scripting.engine
        client.call("EVAL", "return collectgarbage()", "0")
        assert not engine.memory.exceeded
        assert engine.bytes_used < LIMIT // 4
    return STEPS
