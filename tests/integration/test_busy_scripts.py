"""Scripts that exceed `busy-reply-threshold`: what others are told, and what ends the script."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotmesh.node.resp.encoder import encode_command
from tests.support.processes import ServerHandle, start_node, wait_until
from tests.support.twins import Wire

BUSY_EVAL = b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n"
BUSY_FUNCTION = b"-BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.\r\n"
FOR_EVER = "while true do end"
DEAF = "while true do pcall(function() while true do end end) end"
IN_COROUTINE = "coroutine.wrap(function() while true do end end)()"
LIBRARY = "#!lua name=lib\nredis.register_function('endless', function() while true do end end)"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ServerHandle]:
    with start_node(tmp_path, "--busy-reply-threshold", "50", "--appendonly", "yes") as started:
        yield started


@pytest.fixture
def other(node: ServerHandle) -> Iterator[Wire]:
    wire = Wire(node.port)
    yield wire
    wire.close()


@contextlib.contextmanager
def running(node: ServerHandle, other: Wire, *args: str) -> Iterator[socket.socket]:
    """A connection whose script runs and is busy."""
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as sock:
        sock.sendall(encode_command([arg.encode() for arg in args]))
        wait_until(lambda: other.call(["PING"]).startswith(b"-BUSY"), 10, "the script is busy")
        yield sock


@pytest.mark.parametrize("script", [FOR_EVER, DEAF, IN_COROUTINE])
def test_script_that_only_computes_is_ended_by_script_kill(node: ServerHandle, other: Wire, script: str) -> None:
    with running(node, other, "EVAL", script, "0") as caller:
        assert other.call(["GET", "x"]) == BUSY_EVAL
        assert other.call(["FUNCTION", "KILL"]) == BUSY_EVAL
        assert other.call(["FUNCTION", "STATS"]) == BUSY_EVAL
        assert other.call(["SCRIPT", "KILL"]) == b"+OK\r\n"
        assert caller.recv(1000).startswith(b"-ERR Script killed by user with SCRIPT KILL... script: ")
    assert other.call(["PING"]) == b"+PONG\r\n"
    assert other.call(["EVAL", "local n = 0 for i = 1, 1000 do n = n + i end return n", "0"]) == b":500500\r\n"


def test_function_is_ended_by_function_kill(node: ServerHandle, other: Wire) -> None:
    other.call(["FUNCTION", "LOAD", LIBRARY])
    with running(node, other, "FCALL", "endless", "0") as caller:
        assert other.call(["GET", "x"]) == BUSY_FUNCTION
        assert other.call(["SCRIPT", "KILL"]) == BUSY_FUNCTION
        assert b"endless" in other.call(["FUNCTION", "STATS"])
        assert other.call(["FUNCTION", "KILL"]) == b"+OK\r\n"
        assert caller.recv(1000).startswith(b"-ERR Script killed by user")


def test_script_that_wrote_is_ended_by_nothing_but_shutdown_nosave(node: ServerHandle, other: Wire) -> None:
    other.call(["SET", "before", "1"])
    with running(node, other, "EVAL", "redis.call('set', 'x', 1) " + FOR_EVER, "0"):
        assert other.call(["SCRIPT", "KILL"]).startswith(b"-UNKILLABLE Sorry the script already executed write")
        assert other.call(["SHUTDOWN"]) == BUSY_EVAL
        assert other.call(["SHUTDOWN", "SAVE"]) == BUSY_EVAL
        with contextlib.suppress(AssertionError):  # the server hangs up
            other.call(["SHUTDOWN", "NOSAVE"])
        wait_until(lambda: not node.running, 10, "the node ended")
    node.restart()
    assert node.call("EXISTS", "before") == 1
    assert node.call("EXISTS", "x") == 0


def test_transaction_is_refused_and_aborted_while_a_script_is_busy(node: ServerHandle, other: Wire) -> None:
    with running(node, other, "EVAL", FOR_EVER, "0") as caller:
        assert other.call(["MULTI"]) == b"+OK\r\n"
        assert other.call(["SET", "x", "1"]) == BUSY_EVAL
        assert other.call(["EXEC"]) == b"-EXECABORT Transaction discarded because of: " + BUSY_EVAL[1:]
        assert other.call(["SCRIPT", "KILL"]) == b"+OK\r\n"
        assert caller.recv(1000)
    assert other.call(["EXISTS", "x"]) == b":0\r\n"


def test_caller_that_pipelines_gets_its_replies_in_order_after_a_busy_script(node: ServerHandle, other: Wire) -> None:
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as sock:
        first = encode_command([b"SET", b"k", b"v"]) + encode_command([b"EVAL", FOR_EVER.encode(), b"0"])
        sock.sendall(first + encode_command([b"GET", b"k"]))
        wait_until(lambda: other.call(["PING"]).startswith(b"-BUSY"), 10, "the script is busy")
        sock.sendall(encode_command([b"ECHO", b"late"]))
        assert other.call(["SCRIPT", "KILL"]) == b"+OK\r\n"
        received = b""
        while b"late" not in received:
            received += sock.recv(1000)
    assert received.startswith(b"+OK\r\n-ERR Script killed by user")
    assert received.endswith(b"\r\n$1\r\nv\r\n$4\r\nlate\r\n")


def test_new_client_is_told_that_the_server_is_busy(node: ServerHandle, other: Wire) -> None:
    with running(node, other, "EVAL", FOR_EVER, "0"):
        late = Wire(node.port)
        assert late.call(["PING"]) == BUSY_EVAL
        late.close()
        other.call(["SCRIPT", "KILL"])


def test_blocked_client_is_served_after_a_busy_script_not_within_it(node: ServerHandle, other: Wire) -> None:
    script = "redis.call('rpush', 'l', 'first') for i = 1, 6e7 do end redis.call('lpush', 'l', 'last')"
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as waiting:
        waiting.sendall(encode_command([b"BLPOP", b"l", b"0"]))
        wait_until(lambda: node.info()["blocked_clients"] == "1", 10, "the client waits")
        with running(node, other, "EVAL", script, "0") as caller:
            assert other.call(["MULTI"]) == b"+OK\r\n"  # one of the commands that are served meanwhile
            assert other.call(["DISCARD"]) == b"+OK\r\n"
            assert caller.recv(100) == b"$-1\r\n"
        assert waiting.recv(100) == b"*2\r\n$1\r\nl\r\n$4\r\nlast\r\n"


def test_keys_do_not_expire_under_a_busy_script(node: ServerHandle, other: Wire) -> None:
    other.call(["SET", "k", "v", "PX", "150"])
    script = "local n = 0 while redis.call('exists', 'k') == 1 and n < 300000 do n = n + 1 end return n"
    with socket.create_connection(("127.0.0.1", node.port), timeout=30) as sock:
        sock.sendall(encode_command([b"EVAL", script.encode(), b"0"]))
        assert sock.recv(100) == b":300000\r\n"
    assert other.call(["EXISTS", "k"]) == b":0\r\n"


def test_library_that_does_not_end_is_refused_after_half_a_second(node: ServerHandle, other: Wire) -> None:
    reply = other.call(["FUNCTION", "LOAD", "#!lua name=slow\nwhile true do end"])
    assert reply == b"-ERR Error registering functions: ERR FUNCTION LOAD timeout\r\n"
    assert other.call(["FUNCTION", "LIST"]) == b"*0\r\n"


def test_threshold_of_zero_never_makes_a_script_busy(node: ServerHandle, other: Wire) -> None:
    other.call(["CONFIG", "SET", "busy-reply-threshold", "0"])
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as sock:
        sock.sendall(encode_command([b"EVAL", b"for i = 1, 2e7 do end return 'done'", b"0"]))
        assert other.call(["PING"]) == b"+PONG\r\n"  # after the script
        assert sock.recv(100) == b"$4\r\ndone\r\n"


#: Scripts and whether they have written: each would run for ever, the last one inside of a C function of Lua.
HARDY = [
    FOR_EVER,
    DEAF,
    "redis.call('set', 'x', 1) " + FOR_EVER,
    "redis.call('set', 'x', 1) " + DEAF,
    "string.find(('a'):rep(99999), ('.-'):rep(9) .. 'b')",
    "while true do string.rep('x', 1e8) end",
    "load(math.random)",
    "loadstring('while true do end', '=prelude')()",
    "xpcall(function() while true do end end, function() while true do end end)",
]


def occupied(node: ServerHandle) -> bool:
    """Whether the node says that it is busy, or says nothing."""
    try:
        with socket.create_connection(("127.0.0.1", node.port), timeout=0.3) as probe:
            probe.sendall(b"GET before\r\n")
            return b"BUSY" in probe.recv(100)
    except TimeoutError:
        return True


@pytest.mark.parametrize(("script", "threshold"), [*((script, "50") for script in HARDY), (HARDY[1], "0")])
def test_sigterm_ends_a_node_whatever_script_runs(tmp_path: Path, script: str, threshold: str) -> None:
    options = ("--busy-reply-threshold", threshold, "--shutdown-timeout", "1", "--save", "3600 1")
    with start_node(tmp_path, *options, "--appendonly", "yes") as node:
        node.call("SET", "before", "1")
        with socket.create_connection(("127.0.0.1", node.port), timeout=20) as sock:
            sock.sendall(encode_command([b"EVAL", script.encode(), b"0"]))
            wait_until(lambda: occupied(node), 10, "the script runs")
            node.process.terminate()
            assert node.process.wait(15) in (0, 1)
        node.restart()
        assert node.call("EXISTS", "before") == 1
        assert node.call("EXISTS", "x") == 0
